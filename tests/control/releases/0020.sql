--
-- PostgreSQL database dump
--


-- Dumped from database version 18.6
-- Dumped by pg_dump version 18.6

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

--
-- Name: mds; Type: SCHEMA; Schema: -; Owner: mds_owner
--

CREATE SCHEMA mds;


ALTER SCHEMA mds OWNER TO mds_owner;

--
-- Name: store; Type: SCHEMA; Schema: -; Owner: mds_owner
--

CREATE SCHEMA store;


ALTER SCHEMA store OWNER TO mds_owner;

--
-- Name: bars_last_values(bigint[], timestamp with time zone[], timestamp with time zone[], timestamp with time zone[], double precision[], boolean[], text, bigint); Type: FUNCTION; Schema: mds; Owner: mds_owner
--

CREATE FUNCTION mds.bars_last_values(ids bigint[], first_ts timestamp with time zone[], last_ts timestamp with time zone[], price_ts timestamp with time zone[], price double precision[], unpriced boolean[], on_conflict text, renames bigint DEFAULT 0) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
#variable_conflict use_column
DECLARE
  held integer;
  named bigint;
  unsure bigint[];
BEGIN
  -- Whose newest price the rows have to say: one that was there first may have stayed, or the one with the newest price
  -- may have lost it.
  SELECT count(*), sum(s.renames), array_agg(s.series_id) FILTER (WHERE CASE
           WHEN n.price_ts >= coalesce(s.last_price_ts, n.price_ts)
           THEN on_conflict = 'keep' AND n.price_ts <= s.last_ts
           ELSE on_conflict = 'replace' AND n.unpriced AND s.last_price_ts BETWEEN n.first_ts AND n.last_ts
         END)
    INTO held, named, unsure
    FROM (SELECT series_id, last_ts, last_price_ts, renames FROM mds.series
           WHERE series_id = ANY (ids) ORDER BY series_id FOR NO KEY UPDATE) AS s JOIN unnest($1, $2, $3, $4, $5, $6) AS n("series_id", "first_ts", "last_ts", "price_ts", "price", "unpriced") USING (series_id);
  IF held < cardinality(ids) OR named <> renames THEN RAISE SQLSTATE 'MDS01' USING MESSAGE = 'a series is not there any more, or has another name'; END IF;
  UPDATE mds.series AS s
     SET last_ts = greatest(s.last_ts, n.last_ts),
         last_price_ts = CASE WHEN coalesce(n.price_ts >= coalesce(s.last_price_ts, n.price_ts)
                        AND NOT (on_conflict = 'keep' AND coalesce(n.price_ts <= s.last_ts, false)), false) THEN n.price_ts ELSE s.last_price_ts END,
         last_price = CASE WHEN coalesce(n.price_ts >= coalesce(s.last_price_ts, n.price_ts)
                        AND NOT (on_conflict = 'keep' AND coalesce(n.price_ts <= s.last_ts, false)), false) THEN n.price ELSE s.last_price END
    FROM unnest($1, $2, $3, $4, $5, $6) AS n("series_id", "first_ts", "last_ts", "price_ts", "price", "unpriced")
   WHERE s.series_id = n.series_id
     AND (n.last_ts > coalesce(s.last_ts, '-infinity')
          OR (coalesce(n.price_ts >= coalesce(s.last_price_ts, n.price_ts)
                        AND NOT (on_conflict = 'keep' AND coalesce(n.price_ts <= s.last_ts, false)), false) AND (n.price_ts, n.price) IS DISTINCT FROM (s.last_price_ts, s.last_price)));
  IF unsure IS NOT NULL THEN
    UPDATE mds.series AS s SET last_price_ts = n.price_ts, last_price = n.price
      FROM (SELECT w.series_id, r.price_ts, r.price
              FROM unnest(unsure) AS w(series_id)
              LEFT JOIN LATERAL (
                SELECT b."ts" AS price_ts, b."close_price" AS price FROM mds."bars" AS b
                 WHERE b.series_id = w.series_id AND b."close_price" IS NOT NULL ORDER BY b."ts" DESC LIMIT 1
              ) AS r ON true) AS n
     WHERE s.series_id = n.series_id AND (s.last_price_ts, s.last_price) IS DISTINCT FROM (n.price_ts, n.price) AND (n.price_ts IS NOT NULL OR NOT EXISTS (SELECT FROM mds.cold_fences));
  END IF;
END
$_$;


ALTER FUNCTION mds.bars_last_values(ids bigint[], first_ts timestamp with time zone[], last_ts timestamp with time zone[], price_ts timestamp with time zone[], price double precision[], unpriced boolean[], on_conflict text, renames bigint) OWNER TO mds_owner;

--
-- Name: delete_bars(uuid, bigint, timestamp with time zone, timestamp with time zone, integer); Type: FUNCTION; Schema: mds; Owner: mds_owner
--

CREATE FUNCTION mds.delete_bars(tenant uuid, wanted bigint, since timestamp with time zone, until timestamp with time zone, most integer, OUT deleted bigint, OUT following timestamp with time zone) RETURNS record
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
#variable_conflict use_variable
DECLARE
  cut timestamptz;
  first_ts timestamptz;
  last_ts timestamptz;
  fence timestamptz;
BEGIN
  PERFORM mds.is_tenant(tenant);
  deleted := 0;
  -- Within the tenant's own range, or refused: without a tenant both bounds are NULL.
  IF (wanted > store.tenant_floor() AND wanted < store.tenant_ceiling()) IS NOT TRUE THEN
    PERFORM store.refuse();
  END IF;
  IF most < 1 THEN
    RAISE invalid_parameter_value USING MESSAGE = 'a step deletes at least one row';
  END IF;
  -- What is in files is not deleted here, and must not look as if it were.
  SELECT f.cold_before INTO fence FROM store.cold_fences AS f
   WHERE f.tenant_no = store.tenant_no() AND f.kind = 'bars';
  IF fence > since THEN
    RAISE SQLSTATE 'MDS04' USING
      MESSAGE = format('%s from before %s are kept in files, and are deleted by another function', 'bars', fence);
  END IF;
  SELECT min(r."ts") INTO first_ts FROM "store"."bars" AS r
   WHERE r.series_id = wanted AND r."ts" >= since AND r."ts" < until;
  IF first_ts IS NULL THEN
    RETURN;
  END IF;
  SELECT r."ts" INTO cut FROM "store"."bars" AS r
   WHERE r.series_id = wanted AND r."ts" >= first_ts AND r."ts" < until
   ORDER BY r."ts" OFFSET most LIMIT 1;
  -- Rows of one time go together.
  cut := CASE WHEN cut IS NULL THEN until ELSE greatest(cut, first_ts + interval '1 microsecond') END;
  SELECT max(r."ts") INTO last_ts FROM "store"."bars" AS r
   WHERE r.series_id = wanted AND r."ts" >= first_ts AND r."ts" < cut;
  DELETE FROM "store"."bars" AS r WHERE r.series_id = wanted AND r."ts" >= first_ts AND r."ts" < cut;
  GET DIAGNOSTICS deleted = ROW_COUNT;
  IF cut < until THEN
    following := cut;
  END IF;
  -- Behind the rows, as writers do it: who writes to the series meanwhile waits here, and finds it as it is then.
  PERFORM FROM store.series AS s WHERE s.series_id = wanted FOR UPDATE;
  IF fence IS NOT NULL AND NOT EXISTS (SELECT FROM "store"."bars" AS r WHERE r.series_id = wanted) THEN
    -- The files know the series by its name. The client gives its last values, which are in files now. Checked behind
    -- the lock, because another call may have deleted the other rows.
    RETURN;
  END IF;
  UPDATE store.series AS s
     SET last_ts = (SELECT max(r."ts") FROM "store"."bars" AS r WHERE r.series_id = wanted),
         (last_price_ts, last_price) = (
           SELECT r."ts", r."close_price" FROM "store"."bars" AS r WHERE r.series_id = wanted AND r."close_price" IS NOT NULL
            ORDER BY r."ts" DESC LIMIT 1)
   WHERE s.series_id = wanted;
  -- A series without a row is a name that somebody may have mistyped.
  DELETE FROM store.series AS s
   WHERE s.series_id = wanted AND NOT EXISTS (SELECT FROM "store"."bars" AS r WHERE r.series_id = wanted);
END
$$;


ALTER FUNCTION mds.delete_bars(tenant uuid, wanted bigint, since timestamp with time zone, until timestamp with time zone, most integer, OUT deleted bigint, OUT following timestamp with time zone) OWNER TO mds_owner;

--
-- Name: delete_fundamentals(uuid, bigint, timestamp with time zone, timestamp with time zone, integer); Type: FUNCTION; Schema: mds; Owner: mds_owner
--

CREATE FUNCTION mds.delete_fundamentals(tenant uuid, wanted bigint, since timestamp with time zone, until timestamp with time zone, most integer, OUT deleted bigint, OUT following timestamp with time zone) RETURNS record
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
#variable_conflict use_variable
DECLARE
  cut timestamptz;
  first_ts timestamptz;
  last_ts timestamptz;
BEGIN
  PERFORM mds.is_tenant(tenant);
  deleted := 0;
  -- Within the tenant's own range, or refused: without a tenant both bounds are NULL.
  IF (wanted > store.tenant_floor() AND wanted < store.tenant_ceiling()) IS NOT TRUE THEN
    PERFORM store.refuse();
  END IF;
  IF most < 1 THEN
    RAISE invalid_parameter_value USING MESSAGE = 'a step deletes at least one row';
  END IF;
  SELECT min(r."asof") INTO first_ts FROM "store"."fundamentals" AS r
   WHERE r.series_id = wanted AND r."asof" >= since AND r."asof" < until;
  IF first_ts IS NULL THEN
    RETURN;
  END IF;
  SELECT r."asof" INTO cut FROM "store"."fundamentals" AS r
   WHERE r.series_id = wanted AND r."asof" >= first_ts AND r."asof" < until
   ORDER BY r."asof" OFFSET most LIMIT 1;
  -- Rows of one time go together.
  cut := CASE WHEN cut IS NULL THEN until ELSE greatest(cut, first_ts + interval '1 microsecond') END;
  SELECT max(r."asof") INTO last_ts FROM "store"."fundamentals" AS r
   WHERE r.series_id = wanted AND r."asof" >= first_ts AND r."asof" < cut;
  DELETE FROM "store"."fundamentals" AS r WHERE r.series_id = wanted AND r."asof" >= first_ts AND r."asof" < cut;
  GET DIAGNOSTICS deleted = ROW_COUNT;
  IF cut < until THEN
    following := cut;
  END IF;
  -- Behind the rows, as writers do it: who writes to the series meanwhile waits here, and finds it as it is then.
  PERFORM FROM store.series AS s WHERE s.series_id = wanted FOR UPDATE;
  UPDATE store.series AS s
     SET last_ts = (SELECT max(r."asof") FROM "store"."fundamentals" AS r WHERE r.series_id = wanted)
   WHERE s.series_id = wanted;
  -- A series without a row is a name that somebody may have mistyped.
  DELETE FROM store.series AS s
   WHERE s.series_id = wanted AND NOT EXISTS (SELECT FROM "store"."fundamentals" AS r WHERE r.series_id = wanted);
END
$$;


ALTER FUNCTION mds.delete_fundamentals(tenant uuid, wanted bigint, since timestamp with time zone, until timestamp with time zone, most integer, OUT deleted bigint, OUT following timestamp with time zone) OWNER TO mds_owner;

--
-- Name: delete_instruments(uuid, bigint, timestamp with time zone, timestamp with time zone, integer); Type: FUNCTION; Schema: mds; Owner: mds_owner
--

CREATE FUNCTION mds.delete_instruments(tenant uuid, wanted bigint, since timestamp with time zone, until timestamp with time zone, most integer, OUT deleted bigint, OUT following timestamp with time zone) RETURNS record
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
#variable_conflict use_variable
DECLARE
  cut timestamptz;
  first_ts timestamptz;
  last_ts timestamptz;
BEGIN
  PERFORM mds.is_tenant(tenant);
  deleted := 0;
  -- Within the tenant's own range, or refused: without a tenant both bounds are NULL.
  IF (wanted > store.tenant_floor() AND wanted < store.tenant_ceiling()) IS NOT TRUE THEN
    PERFORM store.refuse();
  END IF;
  IF most < 1 THEN
    RAISE invalid_parameter_value USING MESSAGE = 'a step deletes at least one row';
  END IF;
  SELECT min(r."asof") INTO first_ts FROM "store"."instruments" AS r
   WHERE r.series_id = wanted AND r."asof" >= since AND r."asof" < until;
  IF first_ts IS NULL THEN
    RETURN;
  END IF;
  SELECT r."asof" INTO cut FROM "store"."instruments" AS r
   WHERE r.series_id = wanted AND r."asof" >= first_ts AND r."asof" < until
   ORDER BY r."asof" OFFSET most LIMIT 1;
  -- Rows of one time go together.
  cut := CASE WHEN cut IS NULL THEN until ELSE greatest(cut, first_ts + interval '1 microsecond') END;
  SELECT max(r."asof") INTO last_ts FROM "store"."instruments" AS r
   WHERE r.series_id = wanted AND r."asof" >= first_ts AND r."asof" < cut;
  DELETE FROM "store"."instruments" AS r WHERE r.series_id = wanted AND r."asof" >= first_ts AND r."asof" < cut;
  GET DIAGNOSTICS deleted = ROW_COUNT;
  IF cut < until THEN
    following := cut;
  END IF;
  -- Behind the rows, as writers do it: who writes to the series meanwhile waits here, and finds it as it is then.
  PERFORM FROM store.series AS s WHERE s.series_id = wanted FOR UPDATE;
  UPDATE store.series AS s
     SET last_ts = (SELECT max(r."asof") FROM "store"."instruments" AS r WHERE r.series_id = wanted)
   WHERE s.series_id = wanted;
  -- A series without a row is a name that somebody may have mistyped.
  DELETE FROM store.series AS s
   WHERE s.series_id = wanted AND NOT EXISTS (SELECT FROM "store"."instruments" AS r WHERE r.series_id = wanted);
END
$$;


ALTER FUNCTION mds.delete_instruments(tenant uuid, wanted bigint, since timestamp with time zone, until timestamp with time zone, most integer, OUT deleted bigint, OUT following timestamp with time zone) OWNER TO mds_owner;

--
-- Name: delete_late_bars(uuid, bigint, timestamp with time zone, timestamp with time zone, timestamp with time zone, timestamp with time zone, timestamp with time zone, double precision); Type: FUNCTION; Schema: mds; Owner: mds_owner
--

CREATE FUNCTION mds.delete_late_bars(tenant uuid, wanted bigint, since timestamp with time zone, until timestamp with time zone, known timestamp with time zone, newest timestamp with time zone, price_ts timestamp with time zone, price double precision) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
#variable_conflict use_variable
DECLARE
  fence timestamptz;
BEGIN
  PERFORM mds.is_tenant(tenant);
  IF (wanted > store.tenant_floor() AND wanted < store.tenant_ceiling()) IS NOT TRUE THEN
    PERFORM store.refuse();
  END IF;
  -- While rows are brought back this raises an error, as for late rows.
  fence := store.cold_ceiling('bars');
  IF fence IS DISTINCT FROM known THEN
    -- The caller has looked for rows before another fence, and has to look again.
    RAISE SQLSTATE 'MDS04' USING MESSAGE = format('the time before which %s are kept in files has changed', 'bars');
  END IF;
  -- One for each month with files, late rows or rows that will move, because each is folded on its own where there is
  -- no file of its year.
  INSERT INTO "store"."late_bars" (series_id, "ts", mode, until)
  SELECT wanted, greatest(since, m.first), 'delete', least(until, fence, m.over)
    FROM (SELECT g.month AT TIME ZONE 'UTC', (g.month + interval '1 month') AT TIME ZONE 'UTC'
            FROM store.cold_periods AS p
           CROSS JOIN generate_series(
                   p.period_start AT TIME ZONE 'UTC', p.period_end AT TIME ZONE 'UTC' - interval '1 day',
                   interval '1 month'
                 ) AS g(month)
           WHERE p.tenant_no = store.tenant_no() AND p.kind = 'bars' AND p.replaced_at IS NULL
           UNION
          SELECT date_trunc('month', r.moment, 'UTC'),
                 (date_trunc('month', r.moment AT TIME ZONE 'UTC') + interval '1 month') AT TIME ZONE 'UTC'
            FROM (SELECT l."ts" FROM "store"."late_bars" AS l WHERE l.series_id = wanted AND l."ts" >= since AND l."ts" < until
                   UNION ALL
                  SELECT h."ts" FROM "store"."bars" AS h
                   WHERE h.series_id = wanted AND h."ts" >= since AND h."ts" < least(until, fence)) AS r(moment)
         ) AS m(first, over)
   WHERE m.first < least(until, fence) AND m.over > since
   ORDER BY m.first;
  -- Behind the rows, as writers do it.
  PERFORM FROM store.series AS s WHERE s.series_id = wanted FOR UPDATE;
  UPDATE store.series AS s
     SET last_ts = greatest((SELECT max(r."ts") FROM "store"."bars" AS r WHERE r.series_id = wanted), newest),
         (last_price_ts, last_price) = (
           SELECT b.moment, b.price
             FROM ((SELECT r."ts", r."close_price" FROM "store"."bars" AS r WHERE r.series_id = wanted AND r."close_price" IS NOT NULL
                     ORDER BY r."ts" DESC LIMIT 1)
                   UNION ALL SELECT price_ts, price) AS b(moment, price)
            ORDER BY b.moment DESC NULLS LAST LIMIT 1)
   WHERE s.series_id = wanted;
END
$$;


ALTER FUNCTION mds.delete_late_bars(tenant uuid, wanted bigint, since timestamp with time zone, until timestamp with time zone, known timestamp with time zone, newest timestamp with time zone, price_ts timestamp with time zone, price double precision) OWNER TO mds_owner;

--
-- Name: delete_late_options(uuid, bigint, timestamp with time zone, timestamp with time zone, timestamp with time zone, timestamp with time zone); Type: FUNCTION; Schema: mds; Owner: mds_owner
--

CREATE FUNCTION mds.delete_late_options(tenant uuid, wanted bigint, since timestamp with time zone, until timestamp with time zone, known timestamp with time zone, newest timestamp with time zone) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
#variable_conflict use_variable
DECLARE
  fence timestamptz;
BEGIN
  PERFORM mds.is_tenant(tenant);
  IF (wanted > store.tenant_floor() AND wanted < store.tenant_ceiling()) IS NOT TRUE THEN
    PERFORM store.refuse();
  END IF;
  -- While rows are brought back this raises an error, as for late rows.
  fence := store.cold_ceiling('options');
  IF fence IS DISTINCT FROM known THEN
    -- The caller has looked for rows before another fence, and has to look again.
    RAISE SQLSTATE 'MDS04' USING MESSAGE = format('the time before which %s are kept in files has changed', 'options');
  END IF;
  -- One for each month with files, late rows or rows that will move, because each is folded on its own where there is
  -- no file of its year.
  INSERT INTO "store"."late_options" (series_id, "ts", mode, until)
  SELECT wanted, greatest(since, m.first), 'delete', least(until, fence, m.over)
    FROM (SELECT g.month AT TIME ZONE 'UTC', (g.month + interval '1 month') AT TIME ZONE 'UTC'
            FROM store.cold_periods AS p
           CROSS JOIN generate_series(
                   p.period_start AT TIME ZONE 'UTC', p.period_end AT TIME ZONE 'UTC' - interval '1 day',
                   interval '1 month'
                 ) AS g(month)
           WHERE p.tenant_no = store.tenant_no() AND p.kind = 'options' AND p.replaced_at IS NULL
           UNION
          SELECT date_trunc('month', r.moment, 'UTC'),
                 (date_trunc('month', r.moment AT TIME ZONE 'UTC') + interval '1 month') AT TIME ZONE 'UTC'
            FROM (SELECT l."ts" FROM "store"."late_options" AS l WHERE l.series_id = wanted AND l."ts" >= since AND l."ts" < until
                   UNION ALL
                  SELECT h."ts" FROM "store"."options" AS h
                   WHERE h.series_id = wanted AND h."ts" >= since AND h."ts" < least(until, fence)) AS r(moment)
         ) AS m(first, over)
   WHERE m.first < least(until, fence) AND m.over > since
   ORDER BY m.first;
  -- Behind the rows, as writers do it.
  PERFORM FROM store.series AS s WHERE s.series_id = wanted FOR UPDATE;
  UPDATE store.series AS s
     SET last_ts = greatest((SELECT max(r."ts") FROM "store"."options" AS r WHERE r.series_id = wanted), newest)
   WHERE s.series_id = wanted;
END
$$;


ALTER FUNCTION mds.delete_late_options(tenant uuid, wanted bigint, since timestamp with time zone, until timestamp with time zone, known timestamp with time zone, newest timestamp with time zone) OWNER TO mds_owner;

--
-- Name: delete_news(uuid, bigint, timestamp with time zone, timestamp with time zone, integer); Type: FUNCTION; Schema: mds; Owner: mds_owner
--

CREATE FUNCTION mds.delete_news(tenant uuid, wanted bigint, since timestamp with time zone, until timestamp with time zone, most integer, OUT deleted bigint, OUT following timestamp with time zone) RETURNS record
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
#variable_conflict use_variable
DECLARE
  cut timestamptz;
  first_ts timestamptz;
  last_ts timestamptz;
BEGIN
  PERFORM mds.is_tenant(tenant);
  deleted := 0;
  -- Within the tenant's own range, or refused: without a tenant both bounds are NULL.
  IF (wanted > store.tenant_floor() AND wanted < store.tenant_ceiling()) IS NOT TRUE THEN
    PERFORM store.refuse();
  END IF;
  IF most < 1 THEN
    RAISE invalid_parameter_value USING MESSAGE = 'a step deletes at least one row';
  END IF;
  SELECT min(r."published_at") INTO first_ts FROM "store"."news" AS r
   WHERE r.series_id = wanted AND r."published_at" >= since AND r."published_at" < until;
  IF first_ts IS NULL THEN
    RETURN;
  END IF;
  SELECT r."published_at" INTO cut FROM "store"."news" AS r
   WHERE r.series_id = wanted AND r."published_at" >= first_ts AND r."published_at" < until
   ORDER BY r."published_at" OFFSET most LIMIT 1;
  -- Rows of one time go together.
  cut := CASE WHEN cut IS NULL THEN until ELSE greatest(cut, first_ts + interval '1 microsecond') END;
  SELECT max(r."published_at") INTO last_ts FROM "store"."news" AS r
   WHERE r.series_id = wanted AND r."published_at" >= first_ts AND r."published_at" < cut;
  DELETE FROM "store"."news" AS r WHERE r.series_id = wanted AND r."published_at" >= first_ts AND r."published_at" < cut;
  GET DIAGNOSTICS deleted = ROW_COUNT;
  IF cut < until THEN
    following := cut;
  END IF;
  -- Behind the rows, as writers do it: who writes to the series meanwhile waits here, and finds it as it is then.
  PERFORM FROM store.series AS s WHERE s.series_id = wanted FOR UPDATE;
  UPDATE store.series AS s
     SET last_ts = (SELECT max(r."published_at") FROM "store"."news" AS r WHERE r.series_id = wanted)
   WHERE s.series_id = wanted;
  -- A series without a row is a name that somebody may have mistyped.
  DELETE FROM store.series AS s
   WHERE s.series_id = wanted AND NOT EXISTS (SELECT FROM "store"."news" AS r WHERE r.series_id = wanted);
END
$$;


ALTER FUNCTION mds.delete_news(tenant uuid, wanted bigint, since timestamp with time zone, until timestamp with time zone, most integer, OUT deleted bigint, OUT following timestamp with time zone) OWNER TO mds_owner;

--
-- Name: delete_options(uuid, bigint, timestamp with time zone, timestamp with time zone, integer); Type: FUNCTION; Schema: mds; Owner: mds_owner
--

CREATE FUNCTION mds.delete_options(tenant uuid, wanted bigint, since timestamp with time zone, until timestamp with time zone, most integer, OUT deleted bigint, OUT following timestamp with time zone) RETURNS record
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
#variable_conflict use_variable
DECLARE
  cut timestamptz;
  first_ts timestamptz;
  last_ts timestamptz;
  fence timestamptz;
BEGIN
  PERFORM mds.is_tenant(tenant);
  deleted := 0;
  -- Within the tenant's own range, or refused: without a tenant both bounds are NULL.
  IF (wanted > store.tenant_floor() AND wanted < store.tenant_ceiling()) IS NOT TRUE THEN
    PERFORM store.refuse();
  END IF;
  IF most < 1 THEN
    RAISE invalid_parameter_value USING MESSAGE = 'a step deletes at least one row';
  END IF;
  -- What is in files is not deleted here, and must not look as if it were.
  SELECT f.cold_before INTO fence FROM store.cold_fences AS f
   WHERE f.tenant_no = store.tenant_no() AND f.kind = 'options';
  IF fence > since THEN
    RAISE SQLSTATE 'MDS04' USING
      MESSAGE = format('%s from before %s are kept in files, and are deleted by another function', 'options', fence);
  END IF;
  SELECT min(r."ts") INTO first_ts FROM "store"."options" AS r
   WHERE r.series_id = wanted AND r."ts" >= since AND r."ts" < until;
  IF first_ts IS NULL THEN
    RETURN;
  END IF;
  SELECT r."ts" INTO cut FROM "store"."options" AS r
   WHERE r.series_id = wanted AND r."ts" >= first_ts AND r."ts" < until
   ORDER BY r."ts" OFFSET most LIMIT 1;
  -- Rows of one time go together.
  cut := CASE WHEN cut IS NULL THEN until ELSE greatest(cut, first_ts + interval '1 microsecond') END;
  SELECT max(r."ts") INTO last_ts FROM "store"."options" AS r
   WHERE r.series_id = wanted AND r."ts" >= first_ts AND r."ts" < cut;
  DELETE FROM "store"."options" AS r WHERE r.series_id = wanted AND r."ts" >= first_ts AND r."ts" < cut;
  GET DIAGNOSTICS deleted = ROW_COUNT;
  IF cut < until THEN
    following := cut;
  END IF;
  -- Behind the rows, as writers do it: who writes to the series meanwhile waits here, and finds it as it is then.
  PERFORM FROM store.series AS s WHERE s.series_id = wanted FOR UPDATE;
  IF fence IS NOT NULL AND NOT EXISTS (SELECT FROM "store"."options" AS r WHERE r.series_id = wanted) THEN
    -- The files know the series by its name. The client gives its last values, which are in files now. Checked behind
    -- the lock, because another call may have deleted the other rows.
    RETURN;
  END IF;
  UPDATE store.series AS s
     SET last_ts = (SELECT max(r."ts") FROM "store"."options" AS r WHERE r.series_id = wanted)
   WHERE s.series_id = wanted;
  -- A series without a row is a name that somebody may have mistyped.
  DELETE FROM store.series AS s
   WHERE s.series_id = wanted AND NOT EXISTS (SELECT FROM "store"."options" AS r WHERE r.series_id = wanted);
END
$$;


ALTER FUNCTION mds.delete_options(tenant uuid, wanted bigint, since timestamp with time zone, until timestamp with time zone, most integer, OUT deleted bigint, OUT following timestamp with time zone) OWNER TO mds_owner;

--
-- Name: fundamentals_last_values(bigint[], timestamp with time zone[], text, bigint); Type: FUNCTION; Schema: mds; Owner: mds_owner
--

CREATE FUNCTION mds.fundamentals_last_values(ids bigint[], last_ts timestamp with time zone[], on_conflict text, renames bigint DEFAULT 0) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
#variable_conflict use_column
DECLARE
  held integer;
  named bigint;
  unsure bigint[];
BEGIN
  SELECT count(*), sum(s.renames) INTO held, named FROM (SELECT series_id, last_ts, last_price_ts, renames FROM mds.series
           WHERE series_id = ANY (ids) ORDER BY series_id FOR NO KEY UPDATE) AS s;
  IF held < cardinality(ids) OR named <> renames THEN RAISE SQLSTATE 'MDS01' USING MESSAGE = 'a series is not there any more, or has another name'; END IF;
  UPDATE mds.series AS s SET last_ts = n.last_ts FROM unnest($1, $2) AS n("series_id", "last_ts")
   WHERE s.series_id = n.series_id AND n.last_ts > coalesce(s.last_ts, '-infinity');
END
$_$;


ALTER FUNCTION mds.fundamentals_last_values(ids bigint[], last_ts timestamp with time zone[], on_conflict text, renames bigint) OWNER TO mds_owner;

--
-- Name: instruments_last_values(bigint[], timestamp with time zone[], text, bigint); Type: FUNCTION; Schema: mds; Owner: mds_owner
--

CREATE FUNCTION mds.instruments_last_values(ids bigint[], last_ts timestamp with time zone[], on_conflict text, renames bigint DEFAULT 0) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
#variable_conflict use_column
DECLARE
  held integer;
  named bigint;
  unsure bigint[];
BEGIN
  SELECT count(*), sum(s.renames) INTO held, named FROM (SELECT series_id, last_ts, last_price_ts, renames FROM mds.series
           WHERE series_id = ANY (ids) ORDER BY series_id FOR NO KEY UPDATE) AS s;
  IF held < cardinality(ids) OR named <> renames THEN RAISE SQLSTATE 'MDS01' USING MESSAGE = 'a series is not there any more, or has another name'; END IF;
  UPDATE mds.series AS s SET last_ts = n.last_ts FROM unnest($1, $2) AS n("series_id", "last_ts")
   WHERE s.series_id = n.series_id AND n.last_ts > coalesce(s.last_ts, '-infinity');
END
$_$;


ALTER FUNCTION mds.instruments_last_values(ids bigint[], last_ts timestamp with time zone[], on_conflict text, renames bigint) OWNER TO mds_owner;

--
-- Name: is_hot(uuid, text, timestamp with time zone); Type: FUNCTION; Schema: mds; Owner: mds_owner
--

CREATE FUNCTION mds.is_hot(wanted uuid, of_kind text, since timestamp with time zone) RETURNS boolean
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
  fence timestamp with time zone;
BEGIN
  IF EXISTS (SELECT FROM store.cold_fences AS f WHERE f.cold_before > since) THEN
    SELECT f.cold_before INTO fence FROM store.cold_fences AS f
     WHERE f.tenant_no = store.tenant_no() AND f.kind = of_kind AND f.cold_before > since;
    IF FOUND THEN
      RAISE SQLSTATE 'MDS04' USING
        MESSAGE = format('%s from before %s are kept in files, and this statement reads none', of_kind, fence);
    END IF;
  END IF;
  RETURN mds.is_tenant(wanted);
END
$$;


ALTER FUNCTION mds.is_hot(wanted uuid, of_kind text, since timestamp with time zone) OWNER TO mds_owner;

--
-- Name: is_tenant(uuid); Type: FUNCTION; Schema: mds; Owner: mds_owner
--

CREATE FUNCTION mds.is_tenant(wanted uuid) RETURNS boolean
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
  IF wanted IS NULL OR wanted = (SELECT t.id FROM store.tenants AS t WHERE t.no = store.tenant_no()) THEN
    RETURN true;
  END IF;
  RAISE with_check_option_violation USING
    MESSAGE = format('the statement is meant for tenant %s, which is not the tenant of this transaction', wanted);
END
$$;


ALTER FUNCTION mds.is_tenant(wanted uuid) OWNER TO mds_owner;

--
-- Name: news_last_values(bigint[], timestamp with time zone[], text, bigint); Type: FUNCTION; Schema: mds; Owner: mds_owner
--

CREATE FUNCTION mds.news_last_values(ids bigint[], last_ts timestamp with time zone[], on_conflict text, renames bigint DEFAULT 0) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
#variable_conflict use_column
DECLARE
  held integer;
  named bigint;
  unsure bigint[];
BEGIN
  SELECT count(*), sum(s.renames) INTO held, named FROM (SELECT series_id, last_ts, last_price_ts, renames FROM mds.series
           WHERE series_id = ANY (ids) ORDER BY series_id FOR NO KEY UPDATE) AS s;
  IF held < cardinality(ids) OR named <> renames THEN RAISE SQLSTATE 'MDS01' USING MESSAGE = 'a series is not there any more, or has another name'; END IF;
  UPDATE mds.series AS s SET last_ts = n.last_ts FROM unnest($1, $2) AS n("series_id", "last_ts")
   WHERE s.series_id = n.series_id AND n.last_ts > coalesce(s.last_ts, '-infinity');
END
$_$;


ALTER FUNCTION mds.news_last_values(ids bigint[], last_ts timestamp with time zone[], on_conflict text, renames bigint) OWNER TO mds_owner;

--
-- Name: options_last_values(bigint[], timestamp with time zone[], text, bigint); Type: FUNCTION; Schema: mds; Owner: mds_owner
--

CREATE FUNCTION mds.options_last_values(ids bigint[], last_ts timestamp with time zone[], on_conflict text, renames bigint DEFAULT 0) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
#variable_conflict use_column
DECLARE
  held integer;
  named bigint;
  unsure bigint[];
BEGIN
  SELECT count(*), sum(s.renames) INTO held, named FROM (SELECT series_id, last_ts, last_price_ts, renames FROM mds.series
           WHERE series_id = ANY (ids) ORDER BY series_id FOR NO KEY UPDATE) AS s;
  IF held < cardinality(ids) OR named <> renames THEN RAISE SQLSTATE 'MDS01' USING MESSAGE = 'a series is not there any more, or has another name'; END IF;
  UPDATE mds.series AS s SET last_ts = n.last_ts FROM unnest($1, $2) AS n("series_id", "last_ts")
   WHERE s.series_id = n.series_id AND n.last_ts > coalesce(s.last_ts, '-infinity');
END
$_$;


ALTER FUNCTION mds.options_last_values(ids bigint[], last_ts timestamp with time zone[], on_conflict text, renames bigint) OWNER TO mds_owner;

--
-- Name: rename_series(uuid, bigint[], bigint, text, text, text, boolean); Type: FUNCTION; Schema: mds; Owner: mds_owner
--

CREATE FUNCTION mds.rename_series(tenant uuid, wanted bigint[], renames bigint, to_vendor text, to_symbol text, to_timeframe text, dry_run boolean) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
#variable_conflict use_column
DECLARE
  held integer;
  known bigint;
  said text;
BEGIN
  PERFORM mds.is_tenant(tenant);
  -- Within the tenant's own range, or refused: without a tenant both bounds are NULL.
  IF wanted IS NULL OR EXISTS (
    SELECT FROM unnest(wanted) AS w(id)
     WHERE (w.id > store.tenant_floor() AND w.id < store.tenant_ceiling()) IS NOT TRUE) THEN
    PERFORM store.refuse();
  END IF;
  -- In the order of writers. A writer that was first is waited for. The next one waits, and learns of the new name.
  SELECT count(*), coalesce(sum(s.renames), 0) INTO held, known FROM (
    SELECT renames FROM store.series WHERE series_id = ANY (wanted) ORDER BY series_id FOR UPDATE) AS s;
  IF held < cardinality(wanted) OR known IS DISTINCT FROM renames THEN
    RAISE SQLSTATE 'MDS01' USING MESSAGE = 'a series is not there any more, or has another name';
  END IF;
  -- Files name the series of their rows. Whoever moves a fence waits for this transaction before names are read.
  SELECT format('%s from before %s are kept in files under the names of their series: have an operator bring them back '
                'first (datastore cold restore), then rename', f.kind, f.cold_before)
    INTO said FROM store.cold_fences AS f
   WHERE f.tenant_no = store.tenant_no() AND f.cold_before IS NOT NULL
     AND f.kind IN (SELECT s.kind FROM store.series AS s WHERE s.series_id = ANY (wanted));
  IF said IS NULL THEN
    SELECT format('backfill %s still writes %s of %s %s and would go on under this name: wait for it, or cancel it '
                  '(datastore backfill cancel)', b.id, b.kind, s.vendor, s.symbol) INTO said
      FROM store.backfills AS b
      JOIN store.jobs AS j ON j.tenant_no = b.tenant_no AND j.job_type = 'backfill'
       AND j.state IN ('queued', 'running') AND j.payload ->> 'backfill' = b.id::text
      JOIN store.series AS s ON s.series_id = ANY (wanted) AND s.kind = b.kind AND s.vendor = b.vendor
       AND s.timeframe = b.timeframe
       AND j.payload @> jsonb_build_object('spans', jsonb_build_array(jsonb_build_object('symbol', s.symbol)))
     WHERE b.tenant_no = store.tenant_no() LIMIT 1;
  END IF;
  IF said IS NOT NULL THEN
    RAISE SQLSTATE 'MDS06' USING MESSAGE = said;
  END IF;
  -- A series keeps the calendar that is set for its symbol, and no other series of the new symbol gets it: what is set
  -- for a symbol of any vendor is copied for the series' own. That of the whole vendor is copied for a new vendor.
  INSERT INTO store.calendars (tenant_no, vendor, symbol, calendar)
  SELECT DISTINCT ON (n.vendor, n.symbol) store.tenant_no(), n.vendor, n.symbol, n.calendar FROM (
    SELECT coalesce(to_vendor, s.vendor) AS vendor, coalesce(to_symbol, s.symbol) AS symbol, c.calendar,
           c.vendor IS NULL AS of_any
      FROM store.calendars AS c
      JOIN store.series AS s ON s.series_id = ANY (wanted) AND s.symbol = c.symbol
       AND s.vendor = coalesce(c.vendor, s.vendor)
     WHERE c.tenant_no = store.tenant_no() AND (c.vendor IS NOT NULL OR to_symbol <> c.symbol)
     UNION ALL
    SELECT to_vendor, NULL, c.calendar, false
      FROM store.calendars AS c
     WHERE c.tenant_no = store.tenant_no() AND c.symbol IS NULL AND c.vendor <> to_vendor
       AND EXISTS (SELECT FROM store.series AS s
                    WHERE s.series_id = ANY (wanted) AND s.vendor = c.vendor AND s.symbol IS NOT NULL)
       AND NOT EXISTS (SELECT FROM store.series AS s
                        WHERE (s.series_id >> 40) = c.tenant_no AND s.kind = ANY (ARRAY['bars', 'fundamentals', 'news', 'options', 'instruments']) AND s.vendor = to_vendor)
  ) AS n
   WHERE NOT dry_run
   ORDER BY n.vendor, n.symbol, n.of_any
  ON CONFLICT DO NOTHING;
  BEGIN
    UPDATE store.series AS s SET renames = s.renames + 1, "vendor" = CASE WHEN "s"."vendor" IS NOT NULL THEN coalesce("to_vendor", "s"."vendor") END, "symbol" = CASE WHEN "s"."symbol" IS NOT NULL THEN coalesce("to_symbol", "s"."symbol") END, "timeframe" = CASE WHEN "s"."timeframe" IS NOT NULL THEN coalesce("to_timeframe", "s"."timeframe") END, "root" = nullif("s"."root", CASE WHEN "s"."symbol" IS NOT NULL THEN coalesce("to_symbol", "s"."symbol") END) WHERE s.series_id = ANY (wanted);
    IF dry_run THEN
      RAISE SQLSTATE 'MDS00';
    END IF;
  EXCEPTION
    WHEN SQLSTATE 'MDS00' THEN
      NULL;
    WHEN unique_violation THEN
      -- The update is undone, so this compares with the names as they are.
      SELECT concat_ws(' ', o.kind, o.vendor, o.symbol, o.timeframe) INTO said
        FROM store.series AS s JOIN store.series AS o
          ON o.series_id <> s.series_id AND (o.series_id >> 40) = store.tenant_no() AND o.kind = s.kind AND coalesce("o"."vendor", '') = coalesce(CASE WHEN "s"."vendor" IS NOT NULL THEN coalesce("to_vendor", "s"."vendor") END, '') AND coalesce("o"."symbol", '') = coalesce(CASE WHEN "s"."symbol" IS NOT NULL THEN coalesce("to_symbol", "s"."symbol") END, '') AND coalesce("o"."timeframe", '') = coalesce(CASE WHEN "s"."timeframe" IS NOT NULL THEN coalesce("to_timeframe", "s"."timeframe") END, '') AND coalesce("o"."root", '') = coalesce(nullif("s"."root", CASE WHEN "s"."symbol" IS NOT NULL THEN coalesce("to_symbol", "s"."symbol") END), '')
       WHERE s.series_id = ANY (wanted) ORDER BY 1 LIMIT 1;
      RAISE SQLSTATE 'MDS06' USING MESSAGE = CASE
        WHEN said IS NULL THEN 'several series would have the same name: rename them one by one'
        ELSE format('there is a series of that name already: %s. Delete it, or write the rows of the other one under '
                    'its name and delete the other', said) END;
  END;
END
$$;


ALTER FUNCTION mds.rename_series(tenant uuid, wanted bigint[], renames bigint, to_vendor text, to_symbol text, to_timeframe text, dry_run boolean) OWNER TO mds_owner;

--
-- Name: schema_version(); Type: FUNCTION; Schema: mds; Owner: mds_owner
--

CREATE FUNCTION mds.schema_version() RETURNS text
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$ SELECT version_num FROM store.alembic_version $$;


ALTER FUNCTION mds.schema_version() OWNER TO mds_owner;

--
-- Name: spells_as(text[]); Type: FUNCTION; Schema: mds; Owner: mds_owner
--

CREATE FUNCTION mds.spells_as(vendors text[]) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
  IF ARRAY(SELECT v.vendor FROM store.case_sensitive_vendors AS v ORDER BY v.vendor COLLATE "C") <> vendors THEN
    RAISE SQLSTATE 'MDS05' USING
      MESSAGE = 'the client does not know which vendors'' symbols are case-sensitive',
      HINT = 'Run the transaction again: the client then asks first. mds.case_sensitive_vendors lists the vendors.';
  END IF;
  RETURN true;
END
$$;


ALTER FUNCTION mds.spells_as(vendors text[]) OWNER TO mds_owner;

--
-- Name: use_tenant(uuid); Type: FUNCTION; Schema: mds; Owner: mds_owner
--

CREATE FUNCTION mds.use_tenant(wanted uuid) RETURNS uuid
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
  current uuid;
BEGIN
  
  IF wanted IS NOT NULL THEN
    PERFORM set_config('app.tenant_id', wanted::text, true);
  END IF;
  current := store.current_tenant();
  IF wanted IS NULL OR wanted = current THEN
    RETURN current;
  END IF;
  IF current IS NOT NULL THEN
    RAISE insufficient_privilege USING
      MESSAGE = format('role %I is bound to another tenant than %s', session_user, wanted);
  END IF;
  RAISE insufficient_privilege USING
    MESSAGE = format('tenant %s is unknown or disabled', wanted);
END
$$;


ALTER FUNCTION mds.use_tenant(wanted uuid) OWNER TO mds_owner;

--
-- Name: announce_jobs(); Type: FUNCTION; Schema: store; Owner: mds_owner
--

CREATE FUNCTION store.announce_jobs() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
  IF EXISTS (SELECT FROM made) AND pg_notification_queue_usage() < 0.5 THEN
    PERFORM pg_notify('mds_jobs', '');
  END IF;
  RETURN NULL;
END
$$;


ALTER FUNCTION store.announce_jobs() OWNER TO mds_owner;

--
-- Name: cold_ceiling(text); Type: FUNCTION; Schema: store; Owner: mds_owner
--

CREATE FUNCTION store.cold_ceiling(wanted text) RETURNS timestamp with time zone
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
  fence timestamp with time zone;
  moving boolean;
BEGIN
  SELECT f.cold_before, f.restoring INTO fence, moving FROM store.cold_fences AS f
   WHERE f.tenant_no = store.tenant_no() AND f.kind = wanted;
  IF moving THEN
    RAISE SQLSTATE 'MDS03' USING
      MESSAGE = format('%s are being brought back from files, and none is written late: try again', wanted);
  END IF;
  RETURN coalesce(fence, timestamptz '0001-12-31 23:59:59.999999+00 BC' + interval '1 microsecond');
END
$$;


ALTER FUNCTION store.cold_ceiling(wanted text) OWNER TO mds_owner;

--
-- Name: cold_floor(text); Type: FUNCTION; Schema: store; Owner: mds_owner
--

CREATE FUNCTION store.cold_floor(wanted text) RETURNS timestamp with time zone
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
  fence timestamp with time zone;
BEGIN
  IF EXISTS (SELECT FROM store.cold_fences) THEN
    SELECT f.cold_before INTO fence FROM store.cold_fences AS f
     WHERE f.tenant_no = store.tenant_no() AND f.kind = wanted;
  END IF;
  RETURN coalesce(fence - interval '1 microsecond', timestamptz '0001-12-31 23:59:59.999999+00 BC');
END
$$;


ALTER FUNCTION store.cold_floor(wanted text) OWNER TO mds_owner;

--
-- Name: current_tenant(); Type: FUNCTION; Schema: store; Owner: mds_owner
--

CREATE FUNCTION store.current_tenant() RETURNS uuid
    LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
  RETURN (SELECT t.id FROM store.tenants AS t WHERE t.no = store.tenant_no());
END
$$;


ALTER FUNCTION store.current_tenant() OWNER TO mds_owner;

--
-- Name: job_tenant(); Type: FUNCTION; Schema: store; Owner: mds_owner
--

CREATE FUNCTION store.job_tenant() RETURNS integer
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
  tenant integer := store.tenant_no();
BEGIN
  IF tenant IS NULL THEN
    RAISE insufficient_privilege USING MESSAGE = 'no tenant is set, and nothing is written without one';
  END IF;
  RETURN tenant;
END
$$;


ALTER FUNCTION store.job_tenant() OWNER TO mds_owner;

--
-- Name: limit_jobs(); Type: FUNCTION; Schema: store; Owner: mds_owner
--

CREATE FUNCTION store.limit_jobs() RETURNS trigger
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
  IF octet_length(NEW.idempotency_key) > 500 OR octet_length(NEW.job_type) > 500 THEN
    RAISE check_violation USING
      MESSAGE = 'a job''s idempotency key and its type may have 500 bytes each';
  END IF;
  IF octet_length(NEW.payload::text) > 1048576 THEN
    RAISE check_violation USING MESSAGE = 'a job''s payload may have 1048576 bytes';
  END IF;
  RETURN NEW;
END
$$;


ALTER FUNCTION store.limit_jobs() OWNER TO mds_owner;

--
-- Name: next_series_id(); Type: FUNCTION; Schema: store; Owner: mds_owner
--

CREATE FUNCTION store.next_series_id() RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
  tenant_floor bigint := store.tenant_no()::bigint << 40;
BEGIN
  IF tenant_floor IS NULL THEN
    RAISE insufficient_privilege USING MESSAGE = 'no tenant is set, and nothing is written without one';
  END IF;
  RETURN tenant_floor + nextval('store.series_n');
END
$$;


ALTER FUNCTION store.next_series_id() OWNER TO mds_owner;

--
-- Name: refuse(); Type: FUNCTION; Schema: store; Owner: mds_owner
--

CREATE FUNCTION store.refuse() RETURNS bigint
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
  RAISE with_check_option_violation USING MESSAGE = 'a row has a series that is not the tenant''s';
END
$$;


ALTER FUNCTION store.refuse() OWNER TO mds_owner;

--
-- Name: refuse_cold(text); Type: FUNCTION; Schema: store; Owner: mds_owner
--

CREATE FUNCTION store.refuse_cold(wanted text) RETURNS timestamp with time zone
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
  fence timestamp with time zone;
BEGIN
  SELECT f.cold_before INTO fence FROM store.cold_fences AS f
   WHERE f.tenant_no = store.tenant_no() AND f.kind = wanted;
  IF fence IS NULL THEN
    PERFORM store.refuse_time();
  END IF;
  RAISE SQLSTATE 'MDS04' USING
    MESSAGE = format('%s from before %s are kept in files, and this door takes none of them', wanted, fence);
END
$$;


ALTER FUNCTION store.refuse_cold(wanted text) OWNER TO mds_owner;

--
-- Name: refuse_late(text); Type: FUNCTION; Schema: store; Owner: mds_owner
--

CREATE FUNCTION store.refuse_late(wanted text) RETURNS timestamp with time zone
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
  RAISE SQLSTATE 'MDS04' USING
    MESSAGE = format('a row is not from before the time before which %s are kept in files', wanted);
END
$$;


ALTER FUNCTION store.refuse_late(wanted text) OWNER TO mds_owner;

--
-- Name: refuse_shared(); Type: FUNCTION; Schema: store; Owner: mds_owner
--

CREATE FUNCTION store.refuse_shared() RETURNS boolean
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
  RAISE SQLSTATE 'MDS02' USING
    MESSAGE = 'a row with this id is stored for another symbol',
    HINT = 'Use a client of this release, which stores both rows.';
END
$$;


ALTER FUNCTION store.refuse_shared() OWNER TO mds_owner;

--
-- Name: refuse_time(); Type: FUNCTION; Schema: store; Owner: mds_owner
--

CREATE FUNCTION store.refuse_time() RETURNS timestamp with time zone
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
  RAISE datetime_field_overflow USING MESSAGE = 'a row has no time, or one that is not in the years 1 to 9999';
END
$$;


ALTER FUNCTION store.refuse_time() OWNER TO mds_owner;

--
-- Name: tenant_ceiling(); Type: FUNCTION; Schema: store; Owner: mds_owner
--

CREATE FUNCTION store.tenant_ceiling() RETURNS bigint
    LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
  RETURN (store.tenant_no()::bigint + 1) << 40;
END
$$;


ALTER FUNCTION store.tenant_ceiling() OWNER TO mds_owner;

--
-- Name: tenant_floor(); Type: FUNCTION; Schema: store; Owner: mds_owner
--

CREATE FUNCTION store.tenant_floor() RETURNS bigint
    LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
  RETURN store.tenant_no()::bigint << 40;
END
$$;


ALTER FUNCTION store.tenant_floor() OWNER TO mds_owner;

--
-- Name: tenant_no(); Type: FUNCTION; Schema: store; Owner: mds_owner
--

CREATE FUNCTION store.tenant_no() RETURNS integer
    LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
  found_no integer;
BEGIN
  SELECT r.tenant_no INTO found_no FROM store.tenant_roles AS r WHERE r.role = session_user;
  IF FOUND THEN
    RETURN (SELECT t.no FROM store.tenants AS t WHERE t.no = found_no AND t.disabled_at IS NULL);
  END IF;
  RETURN (
    SELECT t.no FROM store.tenants AS t
    WHERE t.id = NULLIF(current_setting('app.tenant_id', true), '')::uuid AND t.disabled_at IS NULL
  );
END
$$;


ALTER FUNCTION store.tenant_no() OWNER TO mds_owner;

SET default_tablespace = '';

SET default_table_access_method = heap;

--
-- Name: bars; Type: TABLE; Schema: store; Owner: mds_owner
--

CREATE TABLE store.bars (
    series_id bigint NOT NULL,
    ts timestamp with time zone NOT NULL,
    open_price double precision,
    high_price double precision,
    low_price double precision,
    close_price double precision,
    volume bigint,
    id uuid,
    vwap double precision,
    trade_count bigint,
    volume_fraction double precision
);


ALTER TABLE store.bars OWNER TO mds_owner;

--
-- Name: bars; Type: VIEW; Schema: mds; Owner: mds_owner
--

CREATE VIEW mds.bars WITH (security_barrier='true') AS
 SELECT series_id,
    ts,
    open_price,
    high_price,
    low_price,
    close_price,
    volume,
    id,
    vwap,
    trade_count,
    volume_fraction
   FROM store.bars
  WHERE ((series_id >= ( SELECT store.tenant_floor() AS tenant_floor)) AND (series_id < ( SELECT store.tenant_ceiling() AS tenant_ceiling)));


ALTER VIEW mds.bars OWNER TO mds_owner;

--
-- Name: bars_15m; Type: VIEW; Schema: mds; Owner: mds_owner
--

CREATE VIEW mds.bars_15m WITH (security_barrier='true') AS
 SELECT series_id,
    ts,
    open_price,
    high_price,
    low_price,
    close_price,
        CASE
            WHEN ((volume >= ('-9223372036854775808'::bigint)::numeric) AND (volume <= ('9223372036854775807'::bigint)::numeric)) THEN (volume)::bigint
            WHEN (volume IS NOT NULL) THEN (0)::bigint
            ELSE NULL::bigint
        END AS volume,
        CASE
            WHEN (trade_count > ('9223372036854775807'::bigint)::numeric) THEN '9223372036854775807'::bigint
            WHEN (trade_count < ('-9223372036854775808'::bigint)::numeric) THEN '-9223372036854775808'::bigint
            ELSE (trade_count)::bigint
        END AS trade_count,
    vwap,
        CASE
            WHEN ((volume IS NULL) OR ((volume >= ('-9223372036854775808'::bigint)::numeric) AND (volume <= ('9223372036854775807'::bigint)::numeric))) THEN volume_fraction
            ELSE ((volume)::double precision + COALESCE(volume_fraction, (0)::double precision))
        END AS volume_fraction,
    vwap_weight
   FROM ( SELECT bars.series_id,
            date_bin('00:15:00'::interval, bars.ts, '2000-01-01 00:00:00+00'::timestamp with time zone) AS ts,
            (array_agg(bars.open_price ORDER BY bars.ts) FILTER (WHERE (bars.open_price IS NOT NULL)))[1] AS open_price,
            max(bars.high_price) AS high_price,
            min(bars.low_price) AS low_price,
            (array_agg(bars.close_price ORDER BY bars.ts DESC) FILTER (WHERE (bars.close_price IS NOT NULL)))[1] AS close_price,
            sum(bars.volume) AS volume,
            sum(bars.trade_count) AS trade_count,
            (sum((bars.vwap *
                CASE
                    WHEN (((bars.vwap = (0)::double precision) OR ((abs(bars.vwap) >= (0.000000000000000000000000000001)::double precision) AND (abs(bars.vwap) <= ('10000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000'::numeric)::double precision))) AND ((((bars.volume)::double precision + COALESCE(bars.volume_fraction, (0)::double precision)) >= (0.000000000000001)::double precision) AND (((bars.volume)::double precision + COALESCE(bars.volume_fraction, (0)::double precision)) <= ('10000000000000000000'::numeric)::double precision))) THEN ((bars.volume)::double precision + COALESCE(bars.volume_fraction, (0)::double precision))
                    ELSE NULL::double precision
                END)) / sum(
                CASE
                    WHEN (((bars.vwap = (0)::double precision) OR ((abs(bars.vwap) >= (0.000000000000000000000000000001)::double precision) AND (abs(bars.vwap) <= ('10000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000'::numeric)::double precision))) AND ((((bars.volume)::double precision + COALESCE(bars.volume_fraction, (0)::double precision)) >= (0.000000000000001)::double precision) AND (((bars.volume)::double precision + COALESCE(bars.volume_fraction, (0)::double precision)) <= ('10000000000000000000'::numeric)::double precision))) THEN ((bars.volume)::double precision + COALESCE(bars.volume_fraction, (0)::double precision))
                    ELSE NULL::double precision
                END)) AS vwap,
            sum(bars.volume_fraction) AS volume_fraction,
            sum(
                CASE
                    WHEN (((bars.vwap = (0)::double precision) OR ((abs(bars.vwap) >= (0.000000000000000000000000000001)::double precision) AND (abs(bars.vwap) <= ('10000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000'::numeric)::double precision))) AND ((((bars.volume)::double precision + COALESCE(bars.volume_fraction, (0)::double precision)) >= (0.000000000000001)::double precision) AND (((bars.volume)::double precision + COALESCE(bars.volume_fraction, (0)::double precision)) <= ('10000000000000000000'::numeric)::double precision))) THEN ((bars.volume)::double precision + COALESCE(bars.volume_fraction, (0)::double precision))
                    ELSE NULL::double precision
                END) AS vwap_weight
           FROM store.bars
          WHERE ((bars.series_id >= ( SELECT store.tenant_floor() AS tenant_floor)) AND (bars.series_id < ( SELECT store.tenant_ceiling() AS tenant_ceiling)))
          GROUP BY bars.series_id, (date_bin('00:15:00'::interval, bars.ts, '2000-01-01 00:00:00+00'::timestamp with time zone))) r;


ALTER VIEW mds.bars_15m OWNER TO mds_owner;

--
-- Name: bars_1d; Type: VIEW; Schema: mds; Owner: mds_owner
--

CREATE VIEW mds.bars_1d WITH (security_barrier='true') AS
 SELECT series_id,
    ts,
    open_price,
    high_price,
    low_price,
    close_price,
        CASE
            WHEN ((volume >= ('-9223372036854775808'::bigint)::numeric) AND (volume <= ('9223372036854775807'::bigint)::numeric)) THEN (volume)::bigint
            WHEN (volume IS NOT NULL) THEN (0)::bigint
            ELSE NULL::bigint
        END AS volume,
        CASE
            WHEN (trade_count > ('9223372036854775807'::bigint)::numeric) THEN '9223372036854775807'::bigint
            WHEN (trade_count < ('-9223372036854775808'::bigint)::numeric) THEN '-9223372036854775808'::bigint
            ELSE (trade_count)::bigint
        END AS trade_count,
    vwap,
        CASE
            WHEN ((volume IS NULL) OR ((volume >= ('-9223372036854775808'::bigint)::numeric) AND (volume <= ('9223372036854775807'::bigint)::numeric))) THEN volume_fraction
            ELSE ((volume)::double precision + COALESCE(volume_fraction, (0)::double precision))
        END AS volume_fraction,
    vwap_weight
   FROM ( SELECT bars.series_id,
            date_bin('24:00:00'::interval, bars.ts, '2000-01-01 00:00:00+00'::timestamp with time zone) AS ts,
            (array_agg(bars.open_price ORDER BY bars.ts) FILTER (WHERE (bars.open_price IS NOT NULL)))[1] AS open_price,
            max(bars.high_price) AS high_price,
            min(bars.low_price) AS low_price,
            (array_agg(bars.close_price ORDER BY bars.ts DESC) FILTER (WHERE (bars.close_price IS NOT NULL)))[1] AS close_price,
            sum(bars.volume) AS volume,
            sum(bars.trade_count) AS trade_count,
            (sum((bars.vwap *
                CASE
                    WHEN (((bars.vwap = (0)::double precision) OR ((abs(bars.vwap) >= (0.000000000000000000000000000001)::double precision) AND (abs(bars.vwap) <= ('10000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000'::numeric)::double precision))) AND ((((bars.volume)::double precision + COALESCE(bars.volume_fraction, (0)::double precision)) >= (0.000000000000001)::double precision) AND (((bars.volume)::double precision + COALESCE(bars.volume_fraction, (0)::double precision)) <= ('10000000000000000000'::numeric)::double precision))) THEN ((bars.volume)::double precision + COALESCE(bars.volume_fraction, (0)::double precision))
                    ELSE NULL::double precision
                END)) / sum(
                CASE
                    WHEN (((bars.vwap = (0)::double precision) OR ((abs(bars.vwap) >= (0.000000000000000000000000000001)::double precision) AND (abs(bars.vwap) <= ('10000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000'::numeric)::double precision))) AND ((((bars.volume)::double precision + COALESCE(bars.volume_fraction, (0)::double precision)) >= (0.000000000000001)::double precision) AND (((bars.volume)::double precision + COALESCE(bars.volume_fraction, (0)::double precision)) <= ('10000000000000000000'::numeric)::double precision))) THEN ((bars.volume)::double precision + COALESCE(bars.volume_fraction, (0)::double precision))
                    ELSE NULL::double precision
                END)) AS vwap,
            sum(bars.volume_fraction) AS volume_fraction,
            sum(
                CASE
                    WHEN (((bars.vwap = (0)::double precision) OR ((abs(bars.vwap) >= (0.000000000000000000000000000001)::double precision) AND (abs(bars.vwap) <= ('10000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000'::numeric)::double precision))) AND ((((bars.volume)::double precision + COALESCE(bars.volume_fraction, (0)::double precision)) >= (0.000000000000001)::double precision) AND (((bars.volume)::double precision + COALESCE(bars.volume_fraction, (0)::double precision)) <= ('10000000000000000000'::numeric)::double precision))) THEN ((bars.volume)::double precision + COALESCE(bars.volume_fraction, (0)::double precision))
                    ELSE NULL::double precision
                END) AS vwap_weight
           FROM store.bars
          WHERE ((bars.series_id >= ( SELECT store.tenant_floor() AS tenant_floor)) AND (bars.series_id < ( SELECT store.tenant_ceiling() AS tenant_ceiling)))
          GROUP BY bars.series_id, (date_bin('24:00:00'::interval, bars.ts, '2000-01-01 00:00:00+00'::timestamp with time zone))) r;


ALTER VIEW mds.bars_1d OWNER TO mds_owner;

--
-- Name: bars_1h; Type: VIEW; Schema: mds; Owner: mds_owner
--

CREATE VIEW mds.bars_1h WITH (security_barrier='true') AS
 SELECT series_id,
    ts,
    open_price,
    high_price,
    low_price,
    close_price,
        CASE
            WHEN ((volume >= ('-9223372036854775808'::bigint)::numeric) AND (volume <= ('9223372036854775807'::bigint)::numeric)) THEN (volume)::bigint
            WHEN (volume IS NOT NULL) THEN (0)::bigint
            ELSE NULL::bigint
        END AS volume,
        CASE
            WHEN (trade_count > ('9223372036854775807'::bigint)::numeric) THEN '9223372036854775807'::bigint
            WHEN (trade_count < ('-9223372036854775808'::bigint)::numeric) THEN '-9223372036854775808'::bigint
            ELSE (trade_count)::bigint
        END AS trade_count,
    vwap,
        CASE
            WHEN ((volume IS NULL) OR ((volume >= ('-9223372036854775808'::bigint)::numeric) AND (volume <= ('9223372036854775807'::bigint)::numeric))) THEN volume_fraction
            ELSE ((volume)::double precision + COALESCE(volume_fraction, (0)::double precision))
        END AS volume_fraction,
    vwap_weight
   FROM ( SELECT bars.series_id,
            date_bin('01:00:00'::interval, bars.ts, '2000-01-01 00:00:00+00'::timestamp with time zone) AS ts,
            (array_agg(bars.open_price ORDER BY bars.ts) FILTER (WHERE (bars.open_price IS NOT NULL)))[1] AS open_price,
            max(bars.high_price) AS high_price,
            min(bars.low_price) AS low_price,
            (array_agg(bars.close_price ORDER BY bars.ts DESC) FILTER (WHERE (bars.close_price IS NOT NULL)))[1] AS close_price,
            sum(bars.volume) AS volume,
            sum(bars.trade_count) AS trade_count,
            (sum((bars.vwap *
                CASE
                    WHEN (((bars.vwap = (0)::double precision) OR ((abs(bars.vwap) >= (0.000000000000000000000000000001)::double precision) AND (abs(bars.vwap) <= ('10000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000'::numeric)::double precision))) AND ((((bars.volume)::double precision + COALESCE(bars.volume_fraction, (0)::double precision)) >= (0.000000000000001)::double precision) AND (((bars.volume)::double precision + COALESCE(bars.volume_fraction, (0)::double precision)) <= ('10000000000000000000'::numeric)::double precision))) THEN ((bars.volume)::double precision + COALESCE(bars.volume_fraction, (0)::double precision))
                    ELSE NULL::double precision
                END)) / sum(
                CASE
                    WHEN (((bars.vwap = (0)::double precision) OR ((abs(bars.vwap) >= (0.000000000000000000000000000001)::double precision) AND (abs(bars.vwap) <= ('10000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000'::numeric)::double precision))) AND ((((bars.volume)::double precision + COALESCE(bars.volume_fraction, (0)::double precision)) >= (0.000000000000001)::double precision) AND (((bars.volume)::double precision + COALESCE(bars.volume_fraction, (0)::double precision)) <= ('10000000000000000000'::numeric)::double precision))) THEN ((bars.volume)::double precision + COALESCE(bars.volume_fraction, (0)::double precision))
                    ELSE NULL::double precision
                END)) AS vwap,
            sum(bars.volume_fraction) AS volume_fraction,
            sum(
                CASE
                    WHEN (((bars.vwap = (0)::double precision) OR ((abs(bars.vwap) >= (0.000000000000000000000000000001)::double precision) AND (abs(bars.vwap) <= ('10000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000'::numeric)::double precision))) AND ((((bars.volume)::double precision + COALESCE(bars.volume_fraction, (0)::double precision)) >= (0.000000000000001)::double precision) AND (((bars.volume)::double precision + COALESCE(bars.volume_fraction, (0)::double precision)) <= ('10000000000000000000'::numeric)::double precision))) THEN ((bars.volume)::double precision + COALESCE(bars.volume_fraction, (0)::double precision))
                    ELSE NULL::double precision
                END) AS vwap_weight
           FROM store.bars
          WHERE ((bars.series_id >= ( SELECT store.tenant_floor() AS tenant_floor)) AND (bars.series_id < ( SELECT store.tenant_ceiling() AS tenant_ceiling)))
          GROUP BY bars.series_id, (date_bin('01:00:00'::interval, bars.ts, '2000-01-01 00:00:00+00'::timestamp with time zone))) r;


ALTER VIEW mds.bars_1h OWNER TO mds_owner;

--
-- Name: bars_5m; Type: VIEW; Schema: mds; Owner: mds_owner
--

CREATE VIEW mds.bars_5m WITH (security_barrier='true') AS
 SELECT series_id,
    ts,
    open_price,
    high_price,
    low_price,
    close_price,
        CASE
            WHEN ((volume >= ('-9223372036854775808'::bigint)::numeric) AND (volume <= ('9223372036854775807'::bigint)::numeric)) THEN (volume)::bigint
            WHEN (volume IS NOT NULL) THEN (0)::bigint
            ELSE NULL::bigint
        END AS volume,
        CASE
            WHEN (trade_count > ('9223372036854775807'::bigint)::numeric) THEN '9223372036854775807'::bigint
            WHEN (trade_count < ('-9223372036854775808'::bigint)::numeric) THEN '-9223372036854775808'::bigint
            ELSE (trade_count)::bigint
        END AS trade_count,
    vwap,
        CASE
            WHEN ((volume IS NULL) OR ((volume >= ('-9223372036854775808'::bigint)::numeric) AND (volume <= ('9223372036854775807'::bigint)::numeric))) THEN volume_fraction
            ELSE ((volume)::double precision + COALESCE(volume_fraction, (0)::double precision))
        END AS volume_fraction,
    vwap_weight
   FROM ( SELECT bars.series_id,
            date_bin('00:05:00'::interval, bars.ts, '2000-01-01 00:00:00+00'::timestamp with time zone) AS ts,
            (array_agg(bars.open_price ORDER BY bars.ts) FILTER (WHERE (bars.open_price IS NOT NULL)))[1] AS open_price,
            max(bars.high_price) AS high_price,
            min(bars.low_price) AS low_price,
            (array_agg(bars.close_price ORDER BY bars.ts DESC) FILTER (WHERE (bars.close_price IS NOT NULL)))[1] AS close_price,
            sum(bars.volume) AS volume,
            sum(bars.trade_count) AS trade_count,
            (sum((bars.vwap *
                CASE
                    WHEN (((bars.vwap = (0)::double precision) OR ((abs(bars.vwap) >= (0.000000000000000000000000000001)::double precision) AND (abs(bars.vwap) <= ('10000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000'::numeric)::double precision))) AND ((((bars.volume)::double precision + COALESCE(bars.volume_fraction, (0)::double precision)) >= (0.000000000000001)::double precision) AND (((bars.volume)::double precision + COALESCE(bars.volume_fraction, (0)::double precision)) <= ('10000000000000000000'::numeric)::double precision))) THEN ((bars.volume)::double precision + COALESCE(bars.volume_fraction, (0)::double precision))
                    ELSE NULL::double precision
                END)) / sum(
                CASE
                    WHEN (((bars.vwap = (0)::double precision) OR ((abs(bars.vwap) >= (0.000000000000000000000000000001)::double precision) AND (abs(bars.vwap) <= ('10000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000'::numeric)::double precision))) AND ((((bars.volume)::double precision + COALESCE(bars.volume_fraction, (0)::double precision)) >= (0.000000000000001)::double precision) AND (((bars.volume)::double precision + COALESCE(bars.volume_fraction, (0)::double precision)) <= ('10000000000000000000'::numeric)::double precision))) THEN ((bars.volume)::double precision + COALESCE(bars.volume_fraction, (0)::double precision))
                    ELSE NULL::double precision
                END)) AS vwap,
            sum(bars.volume_fraction) AS volume_fraction,
            sum(
                CASE
                    WHEN (((bars.vwap = (0)::double precision) OR ((abs(bars.vwap) >= (0.000000000000000000000000000001)::double precision) AND (abs(bars.vwap) <= ('10000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000'::numeric)::double precision))) AND ((((bars.volume)::double precision + COALESCE(bars.volume_fraction, (0)::double precision)) >= (0.000000000000001)::double precision) AND (((bars.volume)::double precision + COALESCE(bars.volume_fraction, (0)::double precision)) <= ('10000000000000000000'::numeric)::double precision))) THEN ((bars.volume)::double precision + COALESCE(bars.volume_fraction, (0)::double precision))
                    ELSE NULL::double precision
                END) AS vwap_weight
           FROM store.bars
          WHERE ((bars.series_id >= ( SELECT store.tenant_floor() AS tenant_floor)) AND (bars.series_id < ( SELECT store.tenant_ceiling() AS tenant_ceiling)))
          GROUP BY bars.series_id, (date_bin('00:05:00'::interval, bars.ts, '2000-01-01 00:00:00+00'::timestamp with time zone))) r;


ALTER VIEW mds.bars_5m OWNER TO mds_owner;

--
-- Name: bars_append; Type: VIEW; Schema: mds; Owner: mds_owner
--

CREATE VIEW mds.bars_append WITH (security_barrier='true') AS
 SELECT series_id,
    ts,
    open_price,
    high_price,
    low_price,
    close_price,
    volume,
    id,
    vwap,
    trade_count,
    volume_fraction
   FROM store.bars
  WHERE false;


ALTER VIEW mds.bars_append OWNER TO mds_owner;

--
-- Name: bars_fill; Type: VIEW; Schema: mds; Owner: mds_owner
--

CREATE VIEW mds.bars_fill WITH (security_barrier='true') AS
 SELECT series_id,
    ts,
    open_price,
    high_price,
    low_price,
    close_price,
    volume,
    id,
    vwap,
    trade_count,
    volume_fraction
   FROM store.bars
  WHERE false;


ALTER VIEW mds.bars_fill OWNER TO mds_owner;

--
-- Name: bars_keep; Type: VIEW; Schema: mds; Owner: mds_owner
--

CREATE VIEW mds.bars_keep WITH (security_barrier='true') AS
 SELECT series_id,
    ts,
    open_price,
    high_price,
    low_price,
    close_price,
    volume,
    id,
    vwap,
    trade_count,
    volume_fraction
   FROM store.bars
  WHERE false;


ALTER VIEW mds.bars_keep OWNER TO mds_owner;

--
-- Name: late_bars; Type: TABLE; Schema: store; Owner: mds_owner
--

CREATE TABLE store.late_bars (
    series_id bigint NOT NULL,
    ts timestamp with time zone NOT NULL,
    open_price double precision,
    high_price double precision,
    low_price double precision,
    close_price double precision,
    volume bigint,
    id uuid,
    vwap double precision,
    trade_count bigint,
    volume_fraction double precision,
    mode text NOT NULL,
    seq bigint NOT NULL,
    until timestamp with time zone,
    CONSTRAINT late_bars_mode_check CHECK ((mode = ANY (ARRAY['replace'::text, 'keep'::text, 'fill'::text, 'delete'::text]))),
    CONSTRAINT late_bars_until_check CHECK (((mode = 'delete'::text) = (until IS NOT NULL)))
);


ALTER TABLE store.late_bars OWNER TO mds_owner;

--
-- Name: bars_late; Type: VIEW; Schema: mds; Owner: mds_owner
--

CREATE VIEW mds.bars_late WITH (security_barrier='true') AS
 SELECT series_id,
    ts,
    open_price,
    high_price,
    low_price,
    close_price,
    volume,
    id,
    vwap,
    trade_count,
    volume_fraction,
    mode
   FROM store.late_bars
  WHERE false;


ALTER VIEW mds.bars_late OWNER TO mds_owner;

--
-- Name: bars_replace; Type: VIEW; Schema: mds; Owner: mds_owner
--

CREATE VIEW mds.bars_replace WITH (security_barrier='true') AS
 SELECT series_id,
    ts,
    open_price,
    high_price,
    low_price,
    close_price,
    volume,
    id,
    vwap,
    trade_count,
    volume_fraction
   FROM store.bars
  WHERE false;


ALTER VIEW mds.bars_replace OWNER TO mds_owner;

--
-- Name: case_sensitive_vendors; Type: TABLE; Schema: store; Owner: mds_owner
--

CREATE TABLE store.case_sensitive_vendors (
    vendor text NOT NULL,
    declared_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT case_sensitive_vendors_vendor_check CHECK ((vendor <> ''::text))
);


ALTER TABLE store.case_sensitive_vendors OWNER TO mds_owner;

--
-- Name: case_sensitive_vendors; Type: VIEW; Schema: mds; Owner: mds_owner
--

CREATE VIEW mds.case_sensitive_vendors WITH (security_barrier='true') AS
 SELECT vendor,
    declared_at
   FROM store.case_sensitive_vendors;


ALTER VIEW mds.case_sensitive_vendors OWNER TO mds_owner;

--
-- Name: VIEW case_sensitive_vendors; Type: COMMENT; Schema: mds; Owner: mds_owner
--

COMMENT ON VIEW mds.case_sensitive_vendors IS 'The vendors whose symbols are case-sensitive. Symbols of all others are in upper case.';


--
-- Name: COLUMN case_sensitive_vendors.vendor; Type: COMMENT; Schema: mds; Owner: mds_owner
--

COMMENT ON COLUMN mds.case_sensitive_vendors.vendor IS 'The vendor.';


--
-- Name: COLUMN case_sensitive_vendors.declared_at; Type: COMMENT; Schema: mds; Owner: mds_owner
--

COMMENT ON COLUMN mds.case_sensitive_vendors.declared_at IS 'When the operator declared it.';


--
-- Name: cold_fences; Type: TABLE; Schema: store; Owner: mds_owner
--

CREATE TABLE store.cold_fences (
    tenant_no integer NOT NULL,
    kind text NOT NULL,
    cold_before timestamp with time zone,
    has_own_age boolean DEFAULT false NOT NULL,
    cold_after interval,
    restoring boolean DEFAULT false NOT NULL
);


ALTER TABLE store.cold_fences OWNER TO mds_owner;

--
-- Name: cold_fences; Type: VIEW; Schema: mds; Owner: mds_owner
--

CREATE VIEW mds.cold_fences WITH (security_barrier='true') AS
 SELECT kind,
    cold_before
   FROM store.cold_fences
  WHERE ((tenant_no = ( SELECT store.tenant_no() AS tenant_no)) AND (cold_before IS NOT NULL));


ALTER VIEW mds.cold_fences OWNER TO mds_owner;

--
-- Name: cold_periods; Type: TABLE; Schema: store; Owner: mds_owner
--

CREATE TABLE store.cold_periods (
    id bigint NOT NULL,
    tenant_no integer NOT NULL,
    kind text NOT NULL,
    period_start timestamp with time zone NOT NULL,
    period_end timestamp with time zone NOT NULL,
    path text NOT NULL,
    rows bigint NOT NULL,
    bytes bigint NOT NULL,
    sha256 text NOT NULL,
    made_at timestamp with time zone DEFAULT now() NOT NULL,
    replaced_at timestamp with time zone,
    CONSTRAINT cold_periods_period_check CHECK ((period_start < period_end))
);


ALTER TABLE store.cold_periods OWNER TO mds_owner;

--
-- Name: cold_files; Type: VIEW; Schema: mds; Owner: mds_owner
--

CREATE VIEW mds.cold_files WITH (security_barrier='true') AS
 SELECT kind,
    period_start,
    period_end,
    path,
    rows,
    bytes,
    sha256,
    made_at
   FROM store.cold_periods
  WHERE ((tenant_no = ( SELECT store.tenant_no() AS tenant_no)) AND (replaced_at IS NULL));


ALTER VIEW mds.cold_files OWNER TO mds_owner;

--
-- Name: fundamentals; Type: TABLE; Schema: store; Owner: mds_owner
--

CREATE TABLE store.fundamentals (
    series_id bigint NOT NULL,
    asof timestamp with time zone NOT NULL,
    total_assets double precision,
    total_liabilities double precision,
    net_income double precision,
    eps double precision,
    id uuid,
    currency text,
    period text,
    items jsonb,
    CONSTRAINT fundamentals_items_check CHECK (((jsonb_typeof(items) = 'object'::text) AND (items <> '{}'::jsonb) AND (NOT jsonb_path_exists(items, 'strict $.*?(@.type() != "null" && ((@.type() != "number" || @ > 179769313486231570000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000) || @ < -179769313486231570000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000))'::jsonpath, '{}'::jsonb, true))))
);


ALTER TABLE store.fundamentals OWNER TO mds_owner;

--
-- Name: fundamentals; Type: VIEW; Schema: mds; Owner: mds_owner
--

CREATE VIEW mds.fundamentals WITH (security_barrier='true') AS
 SELECT series_id,
    asof,
    total_assets,
    total_liabilities,
    net_income,
    eps,
    id,
    currency,
    period,
    items
   FROM store.fundamentals
  WHERE ((series_id >= ( SELECT store.tenant_floor() AS tenant_floor)) AND (series_id < ( SELECT store.tenant_ceiling() AS tenant_ceiling)));


ALTER VIEW mds.fundamentals OWNER TO mds_owner;

--
-- Name: fundamentals_append; Type: VIEW; Schema: mds; Owner: mds_owner
--

CREATE VIEW mds.fundamentals_append WITH (security_barrier='true') AS
 SELECT series_id,
    asof,
    total_assets,
    total_liabilities,
    net_income,
    eps,
    id,
    currency,
    period,
    items
   FROM store.fundamentals
  WHERE false;


ALTER VIEW mds.fundamentals_append OWNER TO mds_owner;

--
-- Name: fundamentals_fill; Type: VIEW; Schema: mds; Owner: mds_owner
--

CREATE VIEW mds.fundamentals_fill WITH (security_barrier='true') AS
 SELECT series_id,
    asof,
    total_assets,
    total_liabilities,
    net_income,
    eps,
    id,
    currency,
    period,
    items
   FROM store.fundamentals
  WHERE false;


ALTER VIEW mds.fundamentals_fill OWNER TO mds_owner;

--
-- Name: fundamentals_keep; Type: VIEW; Schema: mds; Owner: mds_owner
--

CREATE VIEW mds.fundamentals_keep WITH (security_barrier='true') AS
 SELECT series_id,
    asof,
    total_assets,
    total_liabilities,
    net_income,
    eps,
    id,
    currency,
    period,
    items
   FROM store.fundamentals
  WHERE false;


ALTER VIEW mds.fundamentals_keep OWNER TO mds_owner;

--
-- Name: fundamentals_replace; Type: VIEW; Schema: mds; Owner: mds_owner
--

CREATE VIEW mds.fundamentals_replace WITH (security_barrier='true') AS
 SELECT series_id,
    asof,
    total_assets,
    total_liabilities,
    net_income,
    eps,
    id,
    currency,
    period,
    items
   FROM store.fundamentals
  WHERE false;


ALTER VIEW mds.fundamentals_replace OWNER TO mds_owner;

--
-- Name: iceberg_namespace_properties; Type: TABLE; Schema: store; Owner: mds_owner
--

CREATE TABLE store.iceberg_namespace_properties (
    catalog_name text NOT NULL,
    namespace text NOT NULL,
    property_key text NOT NULL,
    property_value text NOT NULL,
    tenant_id uuid GENERATED ALWAYS AS ((namespace)::uuid) STORED
);


ALTER TABLE store.iceberg_namespace_properties OWNER TO mds_owner;

--
-- Name: iceberg_namespace_properties; Type: VIEW; Schema: mds; Owner: mds_owner
--

CREATE VIEW mds.iceberg_namespace_properties WITH (security_barrier='true') AS
 SELECT catalog_name,
    namespace,
    property_key,
    property_value
   FROM store.iceberg_namespace_properties
  WHERE (tenant_id = ( SELECT store.current_tenant() AS current_tenant));


ALTER VIEW mds.iceberg_namespace_properties OWNER TO mds_owner;

--
-- Name: iceberg_tables; Type: TABLE; Schema: store; Owner: mds_owner
--

CREATE TABLE store.iceberg_tables (
    catalog_name text NOT NULL,
    table_namespace text NOT NULL,
    table_name text NOT NULL,
    metadata_location text,
    previous_metadata_location text,
    iceberg_type text,
    tenant_id uuid GENERATED ALWAYS AS ((table_namespace)::uuid) STORED
);


ALTER TABLE store.iceberg_tables OWNER TO mds_owner;

--
-- Name: iceberg_tables; Type: VIEW; Schema: mds; Owner: mds_owner
--

CREATE VIEW mds.iceberg_tables WITH (security_barrier='true') AS
 SELECT catalog_name,
    table_namespace,
    table_name,
    metadata_location,
    previous_metadata_location,
    iceberg_type
   FROM store.iceberg_tables
  WHERE (tenant_id = ( SELECT store.current_tenant() AS current_tenant));


ALTER VIEW mds.iceberg_tables OWNER TO mds_owner;

--
-- Name: instruments; Type: TABLE; Schema: store; Owner: mds_owner
--

CREATE TABLE store.instruments (
    series_id bigint NOT NULL,
    asof timestamp with time zone NOT NULL,
    name text,
    instrument_type text,
    exchange text,
    currency text,
    tick_size double precision,
    multiplier double precision,
    underlying text,
    expiration timestamp with time zone,
    strike double precision,
    option_type text,
    id uuid,
    items jsonb,
    CONSTRAINT instruments_items_check CHECK (((jsonb_typeof(items) = 'object'::text) AND (items <> '{}'::jsonb) AND (NOT jsonb_path_exists(items, 'strict $.*?(@.type() != "null" && ((@.type() != "number" || @ > 179769313486231570000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000) || @ < -179769313486231570000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000))'::jsonpath, '{}'::jsonb, true))))
);


ALTER TABLE store.instruments OWNER TO mds_owner;

--
-- Name: instruments; Type: VIEW; Schema: mds; Owner: mds_owner
--

CREATE VIEW mds.instruments WITH (security_barrier='true') AS
 SELECT series_id,
    asof,
    name,
    instrument_type,
    exchange,
    currency,
    tick_size,
    multiplier,
    underlying,
    expiration,
    strike,
    option_type,
    id,
    items
   FROM store.instruments
  WHERE ((series_id >= ( SELECT store.tenant_floor() AS tenant_floor)) AND (series_id < ( SELECT store.tenant_ceiling() AS tenant_ceiling)));


ALTER VIEW mds.instruments OWNER TO mds_owner;

--
-- Name: instruments_append; Type: VIEW; Schema: mds; Owner: mds_owner
--

CREATE VIEW mds.instruments_append WITH (security_barrier='true') AS
 SELECT series_id,
    asof,
    name,
    instrument_type,
    exchange,
    currency,
    tick_size,
    multiplier,
    underlying,
    expiration,
    strike,
    option_type,
    id,
    items
   FROM store.instruments
  WHERE false;


ALTER VIEW mds.instruments_append OWNER TO mds_owner;

--
-- Name: instruments_fill; Type: VIEW; Schema: mds; Owner: mds_owner
--

CREATE VIEW mds.instruments_fill WITH (security_barrier='true') AS
 SELECT series_id,
    asof,
    name,
    instrument_type,
    exchange,
    currency,
    tick_size,
    multiplier,
    underlying,
    expiration,
    strike,
    option_type,
    id,
    items
   FROM store.instruments
  WHERE false;


ALTER VIEW mds.instruments_fill OWNER TO mds_owner;

--
-- Name: instruments_keep; Type: VIEW; Schema: mds; Owner: mds_owner
--

CREATE VIEW mds.instruments_keep WITH (security_barrier='true') AS
 SELECT series_id,
    asof,
    name,
    instrument_type,
    exchange,
    currency,
    tick_size,
    multiplier,
    underlying,
    expiration,
    strike,
    option_type,
    id,
    items
   FROM store.instruments
  WHERE false;


ALTER VIEW mds.instruments_keep OWNER TO mds_owner;

--
-- Name: instruments_replace; Type: VIEW; Schema: mds; Owner: mds_owner
--

CREATE VIEW mds.instruments_replace WITH (security_barrier='true') AS
 SELECT series_id,
    asof,
    name,
    instrument_type,
    exchange,
    currency,
    tick_size,
    multiplier,
    underlying,
    expiration,
    strike,
    option_type,
    id,
    items
   FROM store.instruments
  WHERE false;


ALTER VIEW mds.instruments_replace OWNER TO mds_owner;

--
-- Name: jobs; Type: TABLE; Schema: store; Owner: mds_owner
--

CREATE TABLE store.jobs (
    id bigint NOT NULL,
    tenant_no integer,
    idempotency_key text NOT NULL,
    job_type text NOT NULL,
    payload jsonb NOT NULL,
    priority smallint NOT NULL,
    state text DEFAULT 'queued'::text NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    due_at timestamp with time zone DEFAULT now() NOT NULL,
    worker text,
    leased_until timestamp with time zone,
    finished_at timestamp with time zone,
    error text,
    max_attempts integer DEFAULT 10 NOT NULL,
    started_at timestamp with time zone,
    done bigint,
    total bigint,
    result jsonb,
    cancel_requested boolean DEFAULT false NOT NULL,
    backfill_id bigint,
    fence bigint DEFAULT 0 NOT NULL,
    CONSTRAINT jobs_state_check CHECK ((state = ANY (ARRAY['queued'::text, 'running'::text, 'succeeded'::text, 'failed'::text, 'cancelled'::text])))
);


ALTER TABLE store.jobs OWNER TO mds_owner;

--
-- Name: jobs; Type: VIEW; Schema: mds; Owner: mds_owner
--

CREATE VIEW mds.jobs WITH (security_barrier='true') AS
 SELECT id,
    idempotency_key,
    job_type,
    payload,
    priority,
    state,
    attempts,
    created_at,
    due_at,
    finished_at,
    error,
    tenant_no,
    max_attempts,
    started_at,
    done,
    total,
    result,
    cancel_requested
   FROM store.jobs
  WHERE (tenant_no = ( SELECT store.tenant_no() AS tenant_no))
  WITH CASCADED CHECK OPTION;


ALTER VIEW mds.jobs OWNER TO mds_owner;

--
-- Name: late_bars; Type: VIEW; Schema: mds; Owner: mds_owner
--

CREATE VIEW mds.late_bars WITH (security_barrier='true') AS
 SELECT series_id,
    ts,
    open_price,
    high_price,
    low_price,
    close_price,
    volume,
    id,
    vwap,
    trade_count,
    volume_fraction,
    mode,
    seq,
    until
   FROM store.late_bars
  WHERE ((series_id >= ( SELECT store.tenant_floor() AS tenant_floor)) AND (series_id < ( SELECT store.tenant_ceiling() AS tenant_ceiling)));


ALTER VIEW mds.late_bars OWNER TO mds_owner;

--
-- Name: late_options; Type: TABLE; Schema: store; Owner: mds_owner
--

CREATE TABLE store.late_options (
    series_id bigint NOT NULL,
    ts timestamp with time zone NOT NULL,
    expiry date,
    option_type text,
    strike double precision,
    iv double precision,
    delta double precision,
    gamma double precision,
    oi bigint,
    volume bigint,
    spot double precision,
    id uuid,
    bid double precision,
    ask double precision,
    last double precision,
    vega double precision,
    theta double precision,
    rho double precision,
    oi_fraction double precision,
    volume_fraction double precision,
    multiplier double precision,
    mode text NOT NULL,
    seq bigint NOT NULL,
    until timestamp with time zone,
    CONSTRAINT late_options_key_check CHECK (((mode = 'delete'::text) OR ((expiry IS NOT NULL) AND (option_type IS NOT NULL) AND (strike IS NOT NULL)))),
    CONSTRAINT late_options_mode_check CHECK ((mode = ANY (ARRAY['replace'::text, 'keep'::text, 'fill'::text, 'delete'::text]))),
    CONSTRAINT late_options_until_check CHECK (((mode = 'delete'::text) = (until IS NOT NULL)))
);


ALTER TABLE store.late_options OWNER TO mds_owner;

--
-- Name: late_options; Type: VIEW; Schema: mds; Owner: mds_owner
--

CREATE VIEW mds.late_options WITH (security_barrier='true') AS
 SELECT series_id,
    ts,
    expiry,
    option_type,
    strike,
    iv,
    delta,
    gamma,
    oi,
    volume,
    spot,
    id,
    bid,
    ask,
    last,
    vega,
    theta,
    rho,
    oi_fraction,
    volume_fraction,
    multiplier,
    mode,
    seq,
    until
   FROM store.late_options
  WHERE ((series_id >= ( SELECT store.tenant_floor() AS tenant_floor)) AND (series_id < ( SELECT store.tenant_ceiling() AS tenant_ceiling)));


ALTER VIEW mds.late_options OWNER TO mds_owner;

--
-- Name: news; Type: TABLE; Schema: store; Owner: mds_owner
--

CREATE TABLE store.news (
    series_id bigint NOT NULL,
    published_at timestamp with time zone NOT NULL,
    id uuid NOT NULL,
    title text NOT NULL,
    symbol text,
    url text,
    sentiment_score double precision,
    vendor_id text,
    id_given uuid
);


ALTER TABLE store.news OWNER TO mds_owner;

--
-- Name: news; Type: VIEW; Schema: mds; Owner: mds_owner
--

CREATE VIEW mds.news WITH (security_barrier='true') AS
 SELECT series_id,
    published_at,
    id,
    title,
    symbol,
    url,
    sentiment_score,
    vendor_id,
    id_given
   FROM store.news
  WHERE ((series_id >= ( SELECT store.tenant_floor() AS tenant_floor)) AND (series_id < ( SELECT store.tenant_ceiling() AS tenant_ceiling)));


ALTER VIEW mds.news OWNER TO mds_owner;

--
-- Name: news_append; Type: VIEW; Schema: mds; Owner: mds_owner
--

CREATE VIEW mds.news_append WITH (security_barrier='true') AS
 SELECT series_id,
    published_at,
    id,
    title,
    symbol,
    url,
    sentiment_score,
    vendor_id,
    id_given
   FROM store.news
  WHERE false;


ALTER VIEW mds.news_append OWNER TO mds_owner;

--
-- Name: news_fill; Type: VIEW; Schema: mds; Owner: mds_owner
--

CREATE VIEW mds.news_fill WITH (security_barrier='true') AS
 SELECT series_id,
    published_at,
    id,
    title,
    symbol,
    url,
    sentiment_score,
    vendor_id,
    id_given
   FROM store.news
  WHERE false;


ALTER VIEW mds.news_fill OWNER TO mds_owner;

--
-- Name: news_keep; Type: VIEW; Schema: mds; Owner: mds_owner
--

CREATE VIEW mds.news_keep WITH (security_barrier='true') AS
 SELECT series_id,
    published_at,
    id,
    title,
    symbol,
    url,
    sentiment_score,
    vendor_id,
    id_given
   FROM store.news
  WHERE false;


ALTER VIEW mds.news_keep OWNER TO mds_owner;

--
-- Name: news_replace; Type: VIEW; Schema: mds; Owner: mds_owner
--

CREATE VIEW mds.news_replace WITH (security_barrier='true') AS
 SELECT series_id,
    published_at,
    id,
    title,
    symbol,
    url,
    sentiment_score,
    vendor_id,
    id_given
   FROM store.news
  WHERE false;


ALTER VIEW mds.news_replace OWNER TO mds_owner;

--
-- Name: options; Type: TABLE; Schema: store; Owner: mds_owner
--

CREATE TABLE store.options (
    series_id bigint NOT NULL,
    ts timestamp with time zone NOT NULL,
    expiry date NOT NULL,
    option_type text NOT NULL,
    strike double precision NOT NULL,
    iv double precision,
    delta double precision,
    gamma double precision,
    oi bigint,
    volume bigint,
    spot double precision,
    id uuid,
    bid double precision,
    ask double precision,
    last double precision,
    vega double precision,
    theta double precision,
    rho double precision,
    oi_fraction double precision,
    volume_fraction double precision,
    multiplier double precision
);


ALTER TABLE store.options OWNER TO mds_owner;

--
-- Name: options; Type: VIEW; Schema: mds; Owner: mds_owner
--

CREATE VIEW mds.options WITH (security_barrier='true') AS
 SELECT series_id,
    ts,
    expiry,
    option_type,
    strike,
    iv,
    delta,
    gamma,
    oi,
    volume,
    spot,
    id,
    bid,
    ask,
    last,
    vega,
    theta,
    rho,
    oi_fraction,
    volume_fraction,
    multiplier
   FROM store.options
  WHERE ((series_id >= ( SELECT store.tenant_floor() AS tenant_floor)) AND (series_id < ( SELECT store.tenant_ceiling() AS tenant_ceiling)));


ALTER VIEW mds.options OWNER TO mds_owner;

--
-- Name: options_append; Type: VIEW; Schema: mds; Owner: mds_owner
--

CREATE VIEW mds.options_append WITH (security_barrier='true') AS
 SELECT series_id,
    ts,
    expiry,
    option_type,
    strike,
    iv,
    delta,
    gamma,
    oi,
    volume,
    spot,
    id,
    bid,
    ask,
    last,
    vega,
    theta,
    rho,
    oi_fraction,
    volume_fraction,
    multiplier
   FROM store.options
  WHERE false;


ALTER VIEW mds.options_append OWNER TO mds_owner;

--
-- Name: options_fill; Type: VIEW; Schema: mds; Owner: mds_owner
--

CREATE VIEW mds.options_fill WITH (security_barrier='true') AS
 SELECT series_id,
    ts,
    expiry,
    option_type,
    strike,
    iv,
    delta,
    gamma,
    oi,
    volume,
    spot,
    id,
    bid,
    ask,
    last,
    vega,
    theta,
    rho,
    oi_fraction,
    volume_fraction,
    multiplier
   FROM store.options
  WHERE false;


ALTER VIEW mds.options_fill OWNER TO mds_owner;

--
-- Name: options_keep; Type: VIEW; Schema: mds; Owner: mds_owner
--

CREATE VIEW mds.options_keep WITH (security_barrier='true') AS
 SELECT series_id,
    ts,
    expiry,
    option_type,
    strike,
    iv,
    delta,
    gamma,
    oi,
    volume,
    spot,
    id,
    bid,
    ask,
    last,
    vega,
    theta,
    rho,
    oi_fraction,
    volume_fraction,
    multiplier
   FROM store.options
  WHERE false;


ALTER VIEW mds.options_keep OWNER TO mds_owner;

--
-- Name: options_late; Type: VIEW; Schema: mds; Owner: mds_owner
--

CREATE VIEW mds.options_late WITH (security_barrier='true') AS
 SELECT series_id,
    ts,
    expiry,
    option_type,
    strike,
    iv,
    delta,
    gamma,
    oi,
    volume,
    spot,
    id,
    bid,
    ask,
    last,
    vega,
    theta,
    rho,
    oi_fraction,
    volume_fraction,
    multiplier,
    mode
   FROM store.late_options
  WHERE false;


ALTER VIEW mds.options_late OWNER TO mds_owner;

--
-- Name: options_replace; Type: VIEW; Schema: mds; Owner: mds_owner
--

CREATE VIEW mds.options_replace WITH (security_barrier='true') AS
 SELECT series_id,
    ts,
    expiry,
    option_type,
    strike,
    iv,
    delta,
    gamma,
    oi,
    volume,
    spot,
    id,
    bid,
    ask,
    last,
    vega,
    theta,
    rho,
    oi_fraction,
    volume_fraction,
    multiplier
   FROM store.options
  WHERE false;


ALTER VIEW mds.options_replace OWNER TO mds_owner;

--
-- Name: series; Type: TABLE; Schema: store; Owner: mds_owner
--

CREATE TABLE store.series (
    series_id bigint NOT NULL,
    kind text NOT NULL,
    vendor text NOT NULL,
    symbol text,
    timeframe text,
    last_ts timestamp with time zone,
    last_price double precision,
    last_price_ts timestamp with time zone,
    root text,
    renames integer DEFAULT 0 NOT NULL,
    CONSTRAINT series_last_check CHECK (((last_ts > '0001-12-31 23:59:59.999999+00 BC'::timestamp with time zone) AND (last_ts < '10000-01-01 00:00:00+00'::timestamp with time zone) AND (last_price_ts > '0001-12-31 23:59:59.999999+00 BC'::timestamp with time zone) AND (last_price_ts < '10000-01-01 00:00:00+00'::timestamp with time zone)))
)
WITH (fillfactor='70');


ALTER TABLE store.series OWNER TO mds_owner;

--
-- Name: series; Type: VIEW; Schema: mds; Owner: mds_owner
--

CREATE VIEW mds.series WITH (security_barrier='true') AS
 SELECT series_id,
    kind,
    vendor,
    symbol,
    timeframe,
    root,
    last_ts,
    last_price,
    last_price_ts,
    renames
   FROM store.series
  WHERE ((series_id >> 40) = ( SELECT store.tenant_no() AS tenant_no))
  WITH CASCADED CHECK OPTION;


ALTER VIEW mds.series OWNER TO mds_owner;

--
-- Name: bars; Type: VIEW; Schema: public; Owner: mds_owner
--

CREATE VIEW public.bars WITH (security_barrier='true') AS
 SELECT r.ts,
    ( SELECT store.current_tenant() AS current_tenant) AS tenant_id,
    s.vendor,
    s.symbol,
    s.timeframe,
    r.open_price,
    r.high_price,
    r.low_price,
    r.close_price,
    ((r.volume)::double precision + COALESCE(r.volume_fraction, (0)::double precision)) AS volume,
    r.id,
    r.vwap,
    r.trade_count
   FROM (store.series s
     JOIN store.bars r USING (series_id))
  WHERE ((s.kind = 'bars'::text) AND ((s.series_id >> 40) = ( SELECT store.tenant_no() AS tenant_no)) AND (r.series_id >= ( SELECT store.tenant_floor() AS tenant_floor)) AND (r.series_id < ( SELECT store.tenant_ceiling() AS tenant_ceiling)));


ALTER VIEW public.bars OWNER TO mds_owner;

--
-- Name: VIEW bars; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON VIEW public.bars IS 'Open, high, low, close and volume of one symbol over one timeframe, which begins at `ts`. Prices are in the symbol''s own currency and may be negative; `vwap` is the price averaged by volume. `volume` is in units of the instrument and may have a fraction; `trade_count` is the number of trades. A rollup''s `vwap` is that of its bars weighted by their volume, of those that have both. `timeframe` is a count and a unit: s, m, h, d, w, mo, q or y (`1m` is a minute, `1mo` a month). Common spellings such as `1min` and `1H` are understood; `60m` and `1h` are one timeframe.';


--
-- Name: COLUMN bars.ts; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.bars.ts IS 'When the bar begins.';


--
-- Name: COLUMN bars.tenant_id; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.bars.tenant_id IS 'The tenant of the session.';


--
-- Name: COLUMN bars.vendor; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.bars.vendor IS 'Who the data is from.';


--
-- Name: COLUMN bars.symbol; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.bars.symbol IS 'The instrument, in upper case unless the vendor''s symbols are case-sensitive.';


--
-- Name: COLUMN bars.timeframe; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.bars.timeframe IS 'What a bar spans: a count and a unit, such as 1m, 1h, 1d.';


--
-- Name: COLUMN bars.open_price; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.bars.open_price IS 'The first price of the bar.';


--
-- Name: COLUMN bars.high_price; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.bars.high_price IS 'The highest price of the bar.';


--
-- Name: COLUMN bars.low_price; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.bars.low_price IS 'The lowest price of the bar.';


--
-- Name: COLUMN bars.close_price; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.bars.close_price IS 'The last price of the bar.';


--
-- Name: COLUMN bars.volume; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.bars.volume IS 'What was traded in the bar, in units of the instrument.';


--
-- Name: COLUMN bars.id; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.bars.id IS 'The vendor''s id of the row, where it has one.';


--
-- Name: COLUMN bars.vwap; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.bars.vwap IS 'The average price of the bar, weighted by volume.';


--
-- Name: COLUMN bars.trade_count; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.bars.trade_count IS 'The number of trades in the bar.';


--
-- Name: bars_15m; Type: VIEW; Schema: public; Owner: mds_owner
--

CREATE VIEW public.bars_15m WITH (security_barrier='true') AS
 SELECT r.ts,
    ( SELECT store.current_tenant() AS current_tenant) AS tenant_id,
    s.vendor,
    s.symbol,
    '15m'::text AS timeframe,
    r.open_price,
    r.high_price,
    r.low_price,
    r.close_price,
    ((r.volume)::double precision + COALESCE(r.volume_fraction, (0)::double precision)) AS volume,
    r.trade_count,
    r.vwap
   FROM (store.series s
     CROSS JOIN LATERAL ( SELECT c.series_id,
            c.ts,
            c.open_price,
            c.high_price,
            c.low_price,
            c.close_price,
                CASE
                    WHEN ((c.volume >= ('-9223372036854775808'::bigint)::numeric) AND (c.volume <= ('9223372036854775807'::bigint)::numeric)) THEN (c.volume)::bigint
                    WHEN (c.volume IS NOT NULL) THEN (0)::bigint
                    ELSE NULL::bigint
                END AS volume,
                CASE
                    WHEN (c.trade_count > ('9223372036854775807'::bigint)::numeric) THEN '9223372036854775807'::bigint
                    WHEN (c.trade_count < ('-9223372036854775808'::bigint)::numeric) THEN '-9223372036854775808'::bigint
                    ELSE (c.trade_count)::bigint
                END AS trade_count,
            c.vwap,
                CASE
                    WHEN ((c.volume IS NULL) OR ((c.volume >= ('-9223372036854775808'::bigint)::numeric) AND (c.volume <= ('9223372036854775807'::bigint)::numeric))) THEN c.volume_fraction
                    ELSE ((c.volume)::double precision + COALESCE(c.volume_fraction, (0)::double precision))
                END AS volume_fraction,
            c.vwap_weight
           FROM ( SELECT bars.series_id,
                    date_bin('00:15:00'::interval, bars.ts, '2000-01-01 00:00:00+00'::timestamp with time zone) AS ts,
                    (array_agg(bars.open_price ORDER BY bars.ts) FILTER (WHERE (bars.open_price IS NOT NULL)))[1] AS open_price,
                    max(bars.high_price) AS high_price,
                    min(bars.low_price) AS low_price,
                    (array_agg(bars.close_price ORDER BY bars.ts DESC) FILTER (WHERE (bars.close_price IS NOT NULL)))[1] AS close_price,
                    sum(bars.volume) AS volume,
                    sum(bars.trade_count) AS trade_count,
                    (sum((bars.vwap *
                        CASE
                            WHEN (((bars.vwap = (0)::double precision) OR ((abs(bars.vwap) >= (0.000000000000000000000000000001)::double precision) AND (abs(bars.vwap) <= ('10000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000'::numeric)::double precision))) AND ((((bars.volume)::double precision + COALESCE(bars.volume_fraction, (0)::double precision)) >= (0.000000000000001)::double precision) AND (((bars.volume)::double precision + COALESCE(bars.volume_fraction, (0)::double precision)) <= ('10000000000000000000'::numeric)::double precision))) THEN ((bars.volume)::double precision + COALESCE(bars.volume_fraction, (0)::double precision))
                            ELSE NULL::double precision
                        END)) / sum(
                        CASE
                            WHEN (((bars.vwap = (0)::double precision) OR ((abs(bars.vwap) >= (0.000000000000000000000000000001)::double precision) AND (abs(bars.vwap) <= ('10000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000'::numeric)::double precision))) AND ((((bars.volume)::double precision + COALESCE(bars.volume_fraction, (0)::double precision)) >= (0.000000000000001)::double precision) AND (((bars.volume)::double precision + COALESCE(bars.volume_fraction, (0)::double precision)) <= ('10000000000000000000'::numeric)::double precision))) THEN ((bars.volume)::double precision + COALESCE(bars.volume_fraction, (0)::double precision))
                            ELSE NULL::double precision
                        END)) AS vwap,
                    sum(bars.volume_fraction) AS volume_fraction,
                    sum(
                        CASE
                            WHEN (((bars.vwap = (0)::double precision) OR ((abs(bars.vwap) >= (0.000000000000000000000000000001)::double precision) AND (abs(bars.vwap) <= ('10000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000'::numeric)::double precision))) AND ((((bars.volume)::double precision + COALESCE(bars.volume_fraction, (0)::double precision)) >= (0.000000000000001)::double precision) AND (((bars.volume)::double precision + COALESCE(bars.volume_fraction, (0)::double precision)) <= ('10000000000000000000'::numeric)::double precision))) THEN ((bars.volume)::double precision + COALESCE(bars.volume_fraction, (0)::double precision))
                            ELSE NULL::double precision
                        END) AS vwap_weight
                   FROM store.bars
                  WHERE ((bars.series_id = s.series_id) AND (bars.series_id >= ( SELECT store.tenant_floor() AS tenant_floor)) AND (bars.series_id < ( SELECT store.tenant_ceiling() AS tenant_ceiling)))
                  GROUP BY bars.series_id, (date_bin('00:15:00'::interval, bars.ts, '2000-01-01 00:00:00+00'::timestamp with time zone))) c) r)
  WHERE ((s.kind = 'bars'::text) AND (s.timeframe = '1m'::text) AND ((s.series_id >> 40) = ( SELECT store.tenant_no() AS tenant_no)));


ALTER VIEW public.bars_15m OWNER TO mds_owner;

--
-- Name: VIEW bars_15m; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON VIEW public.bars_15m IS 'bars of 15m, made of those of 5m. Open, high, low, close and volume of one symbol over one timeframe, which begins at `ts`. Prices are in the symbol''s own currency and may be negative; `vwap` is the price averaged by volume. `volume` is in units of the instrument and may have a fraction; `trade_count` is the number of trades. A rollup''s `vwap` is that of its bars weighted by their volume, of those that have both. `timeframe` is a count and a unit: s, m, h, d, w, mo, q or y (`1m` is a minute, `1mo` a month). Common spellings such as `1min` and `1H` are understood; `60m` and `1h` are one timeframe.';


--
-- Name: COLUMN bars_15m.ts; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.bars_15m.ts IS 'When the bar begins.';


--
-- Name: COLUMN bars_15m.tenant_id; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.bars_15m.tenant_id IS 'The tenant of the session.';


--
-- Name: COLUMN bars_15m.vendor; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.bars_15m.vendor IS 'Who the data is from.';


--
-- Name: COLUMN bars_15m.symbol; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.bars_15m.symbol IS 'The instrument, in upper case unless the vendor''s symbols are case-sensitive.';


--
-- Name: COLUMN bars_15m.timeframe; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.bars_15m.timeframe IS 'What a bar spans: a count and a unit, such as 1m, 1h, 1d.';


--
-- Name: COLUMN bars_15m.open_price; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.bars_15m.open_price IS 'The first price of the bar.';


--
-- Name: COLUMN bars_15m.high_price; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.bars_15m.high_price IS 'The highest price of the bar.';


--
-- Name: COLUMN bars_15m.low_price; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.bars_15m.low_price IS 'The lowest price of the bar.';


--
-- Name: COLUMN bars_15m.close_price; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.bars_15m.close_price IS 'The last price of the bar.';


--
-- Name: COLUMN bars_15m.volume; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.bars_15m.volume IS 'What was traded in the bar, in units of the instrument.';


--
-- Name: COLUMN bars_15m.trade_count; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.bars_15m.trade_count IS 'The number of trades in the bar.';


--
-- Name: COLUMN bars_15m.vwap; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.bars_15m.vwap IS 'The average price of the bar, weighted by volume.';


--
-- Name: bars_1d; Type: VIEW; Schema: public; Owner: mds_owner
--

CREATE VIEW public.bars_1d WITH (security_barrier='true') AS
 SELECT r.ts,
    ( SELECT store.current_tenant() AS current_tenant) AS tenant_id,
    s.vendor,
    s.symbol,
    '1d'::text AS timeframe,
    r.open_price,
    r.high_price,
    r.low_price,
    r.close_price,
    ((r.volume)::double precision + COALESCE(r.volume_fraction, (0)::double precision)) AS volume,
    r.trade_count,
    r.vwap
   FROM (store.series s
     CROSS JOIN LATERAL ( SELECT c.series_id,
            c.ts,
            c.open_price,
            c.high_price,
            c.low_price,
            c.close_price,
                CASE
                    WHEN ((c.volume >= ('-9223372036854775808'::bigint)::numeric) AND (c.volume <= ('9223372036854775807'::bigint)::numeric)) THEN (c.volume)::bigint
                    WHEN (c.volume IS NOT NULL) THEN (0)::bigint
                    ELSE NULL::bigint
                END AS volume,
                CASE
                    WHEN (c.trade_count > ('9223372036854775807'::bigint)::numeric) THEN '9223372036854775807'::bigint
                    WHEN (c.trade_count < ('-9223372036854775808'::bigint)::numeric) THEN '-9223372036854775808'::bigint
                    ELSE (c.trade_count)::bigint
                END AS trade_count,
            c.vwap,
                CASE
                    WHEN ((c.volume IS NULL) OR ((c.volume >= ('-9223372036854775808'::bigint)::numeric) AND (c.volume <= ('9223372036854775807'::bigint)::numeric))) THEN c.volume_fraction
                    ELSE ((c.volume)::double precision + COALESCE(c.volume_fraction, (0)::double precision))
                END AS volume_fraction,
            c.vwap_weight
           FROM ( SELECT bars.series_id,
                    date_bin('24:00:00'::interval, bars.ts, '2000-01-01 00:00:00+00'::timestamp with time zone) AS ts,
                    (array_agg(bars.open_price ORDER BY bars.ts) FILTER (WHERE (bars.open_price IS NOT NULL)))[1] AS open_price,
                    max(bars.high_price) AS high_price,
                    min(bars.low_price) AS low_price,
                    (array_agg(bars.close_price ORDER BY bars.ts DESC) FILTER (WHERE (bars.close_price IS NOT NULL)))[1] AS close_price,
                    sum(bars.volume) AS volume,
                    sum(bars.trade_count) AS trade_count,
                    (sum((bars.vwap *
                        CASE
                            WHEN (((bars.vwap = (0)::double precision) OR ((abs(bars.vwap) >= (0.000000000000000000000000000001)::double precision) AND (abs(bars.vwap) <= ('10000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000'::numeric)::double precision))) AND ((((bars.volume)::double precision + COALESCE(bars.volume_fraction, (0)::double precision)) >= (0.000000000000001)::double precision) AND (((bars.volume)::double precision + COALESCE(bars.volume_fraction, (0)::double precision)) <= ('10000000000000000000'::numeric)::double precision))) THEN ((bars.volume)::double precision + COALESCE(bars.volume_fraction, (0)::double precision))
                            ELSE NULL::double precision
                        END)) / sum(
                        CASE
                            WHEN (((bars.vwap = (0)::double precision) OR ((abs(bars.vwap) >= (0.000000000000000000000000000001)::double precision) AND (abs(bars.vwap) <= ('10000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000'::numeric)::double precision))) AND ((((bars.volume)::double precision + COALESCE(bars.volume_fraction, (0)::double precision)) >= (0.000000000000001)::double precision) AND (((bars.volume)::double precision + COALESCE(bars.volume_fraction, (0)::double precision)) <= ('10000000000000000000'::numeric)::double precision))) THEN ((bars.volume)::double precision + COALESCE(bars.volume_fraction, (0)::double precision))
                            ELSE NULL::double precision
                        END)) AS vwap,
                    sum(bars.volume_fraction) AS volume_fraction,
                    sum(
                        CASE
                            WHEN (((bars.vwap = (0)::double precision) OR ((abs(bars.vwap) >= (0.000000000000000000000000000001)::double precision) AND (abs(bars.vwap) <= ('10000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000'::numeric)::double precision))) AND ((((bars.volume)::double precision + COALESCE(bars.volume_fraction, (0)::double precision)) >= (0.000000000000001)::double precision) AND (((bars.volume)::double precision + COALESCE(bars.volume_fraction, (0)::double precision)) <= ('10000000000000000000'::numeric)::double precision))) THEN ((bars.volume)::double precision + COALESCE(bars.volume_fraction, (0)::double precision))
                            ELSE NULL::double precision
                        END) AS vwap_weight
                   FROM store.bars
                  WHERE ((bars.series_id = s.series_id) AND (bars.series_id >= ( SELECT store.tenant_floor() AS tenant_floor)) AND (bars.series_id < ( SELECT store.tenant_ceiling() AS tenant_ceiling)))
                  GROUP BY bars.series_id, (date_bin('24:00:00'::interval, bars.ts, '2000-01-01 00:00:00+00'::timestamp with time zone))) c) r)
  WHERE ((s.kind = 'bars'::text) AND (s.timeframe = '1m'::text) AND ((s.series_id >> 40) = ( SELECT store.tenant_no() AS tenant_no)));


ALTER VIEW public.bars_1d OWNER TO mds_owner;

--
-- Name: VIEW bars_1d; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON VIEW public.bars_1d IS 'bars of 1d, made of those of 1h. Open, high, low, close and volume of one symbol over one timeframe, which begins at `ts`. Prices are in the symbol''s own currency and may be negative; `vwap` is the price averaged by volume. `volume` is in units of the instrument and may have a fraction; `trade_count` is the number of trades. A rollup''s `vwap` is that of its bars weighted by their volume, of those that have both. `timeframe` is a count and a unit: s, m, h, d, w, mo, q or y (`1m` is a minute, `1mo` a month). Common spellings such as `1min` and `1H` are understood; `60m` and `1h` are one timeframe.';


--
-- Name: COLUMN bars_1d.ts; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.bars_1d.ts IS 'When the bar begins.';


--
-- Name: COLUMN bars_1d.tenant_id; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.bars_1d.tenant_id IS 'The tenant of the session.';


--
-- Name: COLUMN bars_1d.vendor; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.bars_1d.vendor IS 'Who the data is from.';


--
-- Name: COLUMN bars_1d.symbol; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.bars_1d.symbol IS 'The instrument, in upper case unless the vendor''s symbols are case-sensitive.';


--
-- Name: COLUMN bars_1d.timeframe; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.bars_1d.timeframe IS 'What a bar spans: a count and a unit, such as 1m, 1h, 1d.';


--
-- Name: COLUMN bars_1d.open_price; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.bars_1d.open_price IS 'The first price of the bar.';


--
-- Name: COLUMN bars_1d.high_price; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.bars_1d.high_price IS 'The highest price of the bar.';


--
-- Name: COLUMN bars_1d.low_price; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.bars_1d.low_price IS 'The lowest price of the bar.';


--
-- Name: COLUMN bars_1d.close_price; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.bars_1d.close_price IS 'The last price of the bar.';


--
-- Name: COLUMN bars_1d.volume; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.bars_1d.volume IS 'What was traded in the bar, in units of the instrument.';


--
-- Name: COLUMN bars_1d.trade_count; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.bars_1d.trade_count IS 'The number of trades in the bar.';


--
-- Name: COLUMN bars_1d.vwap; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.bars_1d.vwap IS 'The average price of the bar, weighted by volume.';


--
-- Name: bars_1h; Type: VIEW; Schema: public; Owner: mds_owner
--

CREATE VIEW public.bars_1h WITH (security_barrier='true') AS
 SELECT r.ts,
    ( SELECT store.current_tenant() AS current_tenant) AS tenant_id,
    s.vendor,
    s.symbol,
    '1h'::text AS timeframe,
    r.open_price,
    r.high_price,
    r.low_price,
    r.close_price,
    ((r.volume)::double precision + COALESCE(r.volume_fraction, (0)::double precision)) AS volume,
    r.trade_count,
    r.vwap
   FROM (store.series s
     CROSS JOIN LATERAL ( SELECT c.series_id,
            c.ts,
            c.open_price,
            c.high_price,
            c.low_price,
            c.close_price,
                CASE
                    WHEN ((c.volume >= ('-9223372036854775808'::bigint)::numeric) AND (c.volume <= ('9223372036854775807'::bigint)::numeric)) THEN (c.volume)::bigint
                    WHEN (c.volume IS NOT NULL) THEN (0)::bigint
                    ELSE NULL::bigint
                END AS volume,
                CASE
                    WHEN (c.trade_count > ('9223372036854775807'::bigint)::numeric) THEN '9223372036854775807'::bigint
                    WHEN (c.trade_count < ('-9223372036854775808'::bigint)::numeric) THEN '-9223372036854775808'::bigint
                    ELSE (c.trade_count)::bigint
                END AS trade_count,
            c.vwap,
                CASE
                    WHEN ((c.volume IS NULL) OR ((c.volume >= ('-9223372036854775808'::bigint)::numeric) AND (c.volume <= ('9223372036854775807'::bigint)::numeric))) THEN c.volume_fraction
                    ELSE ((c.volume)::double precision + COALESCE(c.volume_fraction, (0)::double precision))
                END AS volume_fraction,
            c.vwap_weight
           FROM ( SELECT bars.series_id,
                    date_bin('01:00:00'::interval, bars.ts, '2000-01-01 00:00:00+00'::timestamp with time zone) AS ts,
                    (array_agg(bars.open_price ORDER BY bars.ts) FILTER (WHERE (bars.open_price IS NOT NULL)))[1] AS open_price,
                    max(bars.high_price) AS high_price,
                    min(bars.low_price) AS low_price,
                    (array_agg(bars.close_price ORDER BY bars.ts DESC) FILTER (WHERE (bars.close_price IS NOT NULL)))[1] AS close_price,
                    sum(bars.volume) AS volume,
                    sum(bars.trade_count) AS trade_count,
                    (sum((bars.vwap *
                        CASE
                            WHEN (((bars.vwap = (0)::double precision) OR ((abs(bars.vwap) >= (0.000000000000000000000000000001)::double precision) AND (abs(bars.vwap) <= ('10000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000'::numeric)::double precision))) AND ((((bars.volume)::double precision + COALESCE(bars.volume_fraction, (0)::double precision)) >= (0.000000000000001)::double precision) AND (((bars.volume)::double precision + COALESCE(bars.volume_fraction, (0)::double precision)) <= ('10000000000000000000'::numeric)::double precision))) THEN ((bars.volume)::double precision + COALESCE(bars.volume_fraction, (0)::double precision))
                            ELSE NULL::double precision
                        END)) / sum(
                        CASE
                            WHEN (((bars.vwap = (0)::double precision) OR ((abs(bars.vwap) >= (0.000000000000000000000000000001)::double precision) AND (abs(bars.vwap) <= ('10000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000'::numeric)::double precision))) AND ((((bars.volume)::double precision + COALESCE(bars.volume_fraction, (0)::double precision)) >= (0.000000000000001)::double precision) AND (((bars.volume)::double precision + COALESCE(bars.volume_fraction, (0)::double precision)) <= ('10000000000000000000'::numeric)::double precision))) THEN ((bars.volume)::double precision + COALESCE(bars.volume_fraction, (0)::double precision))
                            ELSE NULL::double precision
                        END)) AS vwap,
                    sum(bars.volume_fraction) AS volume_fraction,
                    sum(
                        CASE
                            WHEN (((bars.vwap = (0)::double precision) OR ((abs(bars.vwap) >= (0.000000000000000000000000000001)::double precision) AND (abs(bars.vwap) <= ('10000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000'::numeric)::double precision))) AND ((((bars.volume)::double precision + COALESCE(bars.volume_fraction, (0)::double precision)) >= (0.000000000000001)::double precision) AND (((bars.volume)::double precision + COALESCE(bars.volume_fraction, (0)::double precision)) <= ('10000000000000000000'::numeric)::double precision))) THEN ((bars.volume)::double precision + COALESCE(bars.volume_fraction, (0)::double precision))
                            ELSE NULL::double precision
                        END) AS vwap_weight
                   FROM store.bars
                  WHERE ((bars.series_id = s.series_id) AND (bars.series_id >= ( SELECT store.tenant_floor() AS tenant_floor)) AND (bars.series_id < ( SELECT store.tenant_ceiling() AS tenant_ceiling)))
                  GROUP BY bars.series_id, (date_bin('01:00:00'::interval, bars.ts, '2000-01-01 00:00:00+00'::timestamp with time zone))) c) r)
  WHERE ((s.kind = 'bars'::text) AND (s.timeframe = '1m'::text) AND ((s.series_id >> 40) = ( SELECT store.tenant_no() AS tenant_no)));


ALTER VIEW public.bars_1h OWNER TO mds_owner;

--
-- Name: VIEW bars_1h; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON VIEW public.bars_1h IS 'bars of 1h, made of those of 15m. Open, high, low, close and volume of one symbol over one timeframe, which begins at `ts`. Prices are in the symbol''s own currency and may be negative; `vwap` is the price averaged by volume. `volume` is in units of the instrument and may have a fraction; `trade_count` is the number of trades. A rollup''s `vwap` is that of its bars weighted by their volume, of those that have both. `timeframe` is a count and a unit: s, m, h, d, w, mo, q or y (`1m` is a minute, `1mo` a month). Common spellings such as `1min` and `1H` are understood; `60m` and `1h` are one timeframe.';


--
-- Name: COLUMN bars_1h.ts; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.bars_1h.ts IS 'When the bar begins.';


--
-- Name: COLUMN bars_1h.tenant_id; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.bars_1h.tenant_id IS 'The tenant of the session.';


--
-- Name: COLUMN bars_1h.vendor; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.bars_1h.vendor IS 'Who the data is from.';


--
-- Name: COLUMN bars_1h.symbol; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.bars_1h.symbol IS 'The instrument, in upper case unless the vendor''s symbols are case-sensitive.';


--
-- Name: COLUMN bars_1h.timeframe; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.bars_1h.timeframe IS 'What a bar spans: a count and a unit, such as 1m, 1h, 1d.';


--
-- Name: COLUMN bars_1h.open_price; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.bars_1h.open_price IS 'The first price of the bar.';


--
-- Name: COLUMN bars_1h.high_price; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.bars_1h.high_price IS 'The highest price of the bar.';


--
-- Name: COLUMN bars_1h.low_price; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.bars_1h.low_price IS 'The lowest price of the bar.';


--
-- Name: COLUMN bars_1h.close_price; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.bars_1h.close_price IS 'The last price of the bar.';


--
-- Name: COLUMN bars_1h.volume; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.bars_1h.volume IS 'What was traded in the bar, in units of the instrument.';


--
-- Name: COLUMN bars_1h.trade_count; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.bars_1h.trade_count IS 'The number of trades in the bar.';


--
-- Name: COLUMN bars_1h.vwap; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.bars_1h.vwap IS 'The average price of the bar, weighted by volume.';


--
-- Name: bars_5m; Type: VIEW; Schema: public; Owner: mds_owner
--

CREATE VIEW public.bars_5m WITH (security_barrier='true') AS
 SELECT r.ts,
    ( SELECT store.current_tenant() AS current_tenant) AS tenant_id,
    s.vendor,
    s.symbol,
    '5m'::text AS timeframe,
    r.open_price,
    r.high_price,
    r.low_price,
    r.close_price,
    ((r.volume)::double precision + COALESCE(r.volume_fraction, (0)::double precision)) AS volume,
    r.trade_count,
    r.vwap
   FROM (store.series s
     CROSS JOIN LATERAL ( SELECT c.series_id,
            c.ts,
            c.open_price,
            c.high_price,
            c.low_price,
            c.close_price,
                CASE
                    WHEN ((c.volume >= ('-9223372036854775808'::bigint)::numeric) AND (c.volume <= ('9223372036854775807'::bigint)::numeric)) THEN (c.volume)::bigint
                    WHEN (c.volume IS NOT NULL) THEN (0)::bigint
                    ELSE NULL::bigint
                END AS volume,
                CASE
                    WHEN (c.trade_count > ('9223372036854775807'::bigint)::numeric) THEN '9223372036854775807'::bigint
                    WHEN (c.trade_count < ('-9223372036854775808'::bigint)::numeric) THEN '-9223372036854775808'::bigint
                    ELSE (c.trade_count)::bigint
                END AS trade_count,
            c.vwap,
                CASE
                    WHEN ((c.volume IS NULL) OR ((c.volume >= ('-9223372036854775808'::bigint)::numeric) AND (c.volume <= ('9223372036854775807'::bigint)::numeric))) THEN c.volume_fraction
                    ELSE ((c.volume)::double precision + COALESCE(c.volume_fraction, (0)::double precision))
                END AS volume_fraction,
            c.vwap_weight
           FROM ( SELECT bars.series_id,
                    date_bin('00:05:00'::interval, bars.ts, '2000-01-01 00:00:00+00'::timestamp with time zone) AS ts,
                    (array_agg(bars.open_price ORDER BY bars.ts) FILTER (WHERE (bars.open_price IS NOT NULL)))[1] AS open_price,
                    max(bars.high_price) AS high_price,
                    min(bars.low_price) AS low_price,
                    (array_agg(bars.close_price ORDER BY bars.ts DESC) FILTER (WHERE (bars.close_price IS NOT NULL)))[1] AS close_price,
                    sum(bars.volume) AS volume,
                    sum(bars.trade_count) AS trade_count,
                    (sum((bars.vwap *
                        CASE
                            WHEN (((bars.vwap = (0)::double precision) OR ((abs(bars.vwap) >= (0.000000000000000000000000000001)::double precision) AND (abs(bars.vwap) <= ('10000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000'::numeric)::double precision))) AND ((((bars.volume)::double precision + COALESCE(bars.volume_fraction, (0)::double precision)) >= (0.000000000000001)::double precision) AND (((bars.volume)::double precision + COALESCE(bars.volume_fraction, (0)::double precision)) <= ('10000000000000000000'::numeric)::double precision))) THEN ((bars.volume)::double precision + COALESCE(bars.volume_fraction, (0)::double precision))
                            ELSE NULL::double precision
                        END)) / sum(
                        CASE
                            WHEN (((bars.vwap = (0)::double precision) OR ((abs(bars.vwap) >= (0.000000000000000000000000000001)::double precision) AND (abs(bars.vwap) <= ('10000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000'::numeric)::double precision))) AND ((((bars.volume)::double precision + COALESCE(bars.volume_fraction, (0)::double precision)) >= (0.000000000000001)::double precision) AND (((bars.volume)::double precision + COALESCE(bars.volume_fraction, (0)::double precision)) <= ('10000000000000000000'::numeric)::double precision))) THEN ((bars.volume)::double precision + COALESCE(bars.volume_fraction, (0)::double precision))
                            ELSE NULL::double precision
                        END)) AS vwap,
                    sum(bars.volume_fraction) AS volume_fraction,
                    sum(
                        CASE
                            WHEN (((bars.vwap = (0)::double precision) OR ((abs(bars.vwap) >= (0.000000000000000000000000000001)::double precision) AND (abs(bars.vwap) <= ('10000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000'::numeric)::double precision))) AND ((((bars.volume)::double precision + COALESCE(bars.volume_fraction, (0)::double precision)) >= (0.000000000000001)::double precision) AND (((bars.volume)::double precision + COALESCE(bars.volume_fraction, (0)::double precision)) <= ('10000000000000000000'::numeric)::double precision))) THEN ((bars.volume)::double precision + COALESCE(bars.volume_fraction, (0)::double precision))
                            ELSE NULL::double precision
                        END) AS vwap_weight
                   FROM store.bars
                  WHERE ((bars.series_id = s.series_id) AND (bars.series_id >= ( SELECT store.tenant_floor() AS tenant_floor)) AND (bars.series_id < ( SELECT store.tenant_ceiling() AS tenant_ceiling)))
                  GROUP BY bars.series_id, (date_bin('00:05:00'::interval, bars.ts, '2000-01-01 00:00:00+00'::timestamp with time zone))) c) r)
  WHERE ((s.kind = 'bars'::text) AND (s.timeframe = '1m'::text) AND ((s.series_id >> 40) = ( SELECT store.tenant_no() AS tenant_no)));


ALTER VIEW public.bars_5m OWNER TO mds_owner;

--
-- Name: VIEW bars_5m; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON VIEW public.bars_5m IS 'bars of 5m, made of those of 1m. Open, high, low, close and volume of one symbol over one timeframe, which begins at `ts`. Prices are in the symbol''s own currency and may be negative; `vwap` is the price averaged by volume. `volume` is in units of the instrument and may have a fraction; `trade_count` is the number of trades. A rollup''s `vwap` is that of its bars weighted by their volume, of those that have both. `timeframe` is a count and a unit: s, m, h, d, w, mo, q or y (`1m` is a minute, `1mo` a month). Common spellings such as `1min` and `1H` are understood; `60m` and `1h` are one timeframe.';


--
-- Name: COLUMN bars_5m.ts; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.bars_5m.ts IS 'When the bar begins.';


--
-- Name: COLUMN bars_5m.tenant_id; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.bars_5m.tenant_id IS 'The tenant of the session.';


--
-- Name: COLUMN bars_5m.vendor; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.bars_5m.vendor IS 'Who the data is from.';


--
-- Name: COLUMN bars_5m.symbol; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.bars_5m.symbol IS 'The instrument, in upper case unless the vendor''s symbols are case-sensitive.';


--
-- Name: COLUMN bars_5m.timeframe; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.bars_5m.timeframe IS 'What a bar spans: a count and a unit, such as 1m, 1h, 1d.';


--
-- Name: COLUMN bars_5m.open_price; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.bars_5m.open_price IS 'The first price of the bar.';


--
-- Name: COLUMN bars_5m.high_price; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.bars_5m.high_price IS 'The highest price of the bar.';


--
-- Name: COLUMN bars_5m.low_price; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.bars_5m.low_price IS 'The lowest price of the bar.';


--
-- Name: COLUMN bars_5m.close_price; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.bars_5m.close_price IS 'The last price of the bar.';


--
-- Name: COLUMN bars_5m.volume; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.bars_5m.volume IS 'What was traded in the bar, in units of the instrument.';


--
-- Name: COLUMN bars_5m.trade_count; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.bars_5m.trade_count IS 'The number of trades in the bar.';


--
-- Name: COLUMN bars_5m.vwap; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.bars_5m.vwap IS 'The average price of the bar, weighted by volume.';


--
-- Name: fundamentals; Type: VIEW; Schema: public; Owner: mds_owner
--

CREATE VIEW public.fundamentals WITH (security_barrier='true') AS
 SELECT r.asof,
    ( SELECT store.current_tenant() AS current_tenant) AS tenant_id,
    s.vendor,
    s.symbol,
    r.total_assets,
    r.total_liabilities,
    r.net_income,
    r.eps,
    r.id,
    r.currency,
    r.period,
    r.items
   FROM (store.series s
     JOIN store.fundamentals r USING (series_id))
  WHERE ((s.kind = 'fundamentals'::text) AND ((s.series_id >> 40) = ( SELECT store.tenant_no() AS tenant_no)) AND (r.series_id >= ( SELECT store.tenant_floor() AS tenant_floor)) AND (r.series_id < ( SELECT store.tenant_ceiling() AS tenant_ceiling)));


ALTER VIEW public.fundamentals OWNER TO mds_owner;

--
-- Name: VIEW fundamentals; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON VIEW public.fundamentals IS 'A company''s figures as of a date, in its reporting currency; `eps` is earnings per share. `currency` is that currency, as ISO 4217 names it (`USD`); `period` is the time that the figures are for, in the vendor''s words (`FY2024`, `2024-Q3`). `items` are all other figures of the vendor, by the names that it gives them (`free_cash_flow`).';


--
-- Name: COLUMN fundamentals.asof; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.fundamentals.asof IS 'The date of the figures.';


--
-- Name: COLUMN fundamentals.tenant_id; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.fundamentals.tenant_id IS 'The tenant of the session.';


--
-- Name: COLUMN fundamentals.vendor; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.fundamentals.vendor IS 'Who the data is from.';


--
-- Name: COLUMN fundamentals.symbol; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.fundamentals.symbol IS 'The company''s instrument, in upper case unless the vendor''s symbols are case-sensitive.';


--
-- Name: COLUMN fundamentals.total_assets; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.fundamentals.total_assets IS 'Total assets, in the reporting currency.';


--
-- Name: COLUMN fundamentals.total_liabilities; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.fundamentals.total_liabilities IS 'Total liabilities, in the reporting currency.';


--
-- Name: COLUMN fundamentals.net_income; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.fundamentals.net_income IS 'Net income, in the reporting currency.';


--
-- Name: COLUMN fundamentals.eps; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.fundamentals.eps IS 'Earnings per share, in the reporting currency.';


--
-- Name: COLUMN fundamentals.id; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.fundamentals.id IS 'The vendor''s id of the row, where it has one.';


--
-- Name: COLUMN fundamentals.currency; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.fundamentals.currency IS 'The reporting currency, as ISO 4217 names it, such as USD.';


--
-- Name: COLUMN fundamentals.period; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.fundamentals.period IS 'The time that the figures are for, in the words of the vendor, such as FY2024.';


--
-- Name: COLUMN fundamentals.items; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.fundamentals.items IS 'Further figures by the names that the vendor gives them, such as free_cash_flow.';


--
-- Name: instruments; Type: VIEW; Schema: public; Owner: mds_owner
--

CREATE VIEW public.instruments WITH (security_barrier='true') AS
 SELECT r.asof,
    ( SELECT store.current_tenant() AS current_tenant) AS tenant_id,
    s.vendor,
    s.symbol,
    r.name,
    r.instrument_type,
    r.exchange,
    r.currency,
    r.tick_size,
    r.multiplier,
    r.underlying,
    r.expiration,
    r.strike,
    r.option_type,
    r.id,
    r.items
   FROM (store.series s
     JOIN store.instruments r USING (series_id))
  WHERE ((s.kind = 'instruments'::text) AND ((s.series_id >> 40) = ( SELECT store.tenant_no() AS tenant_no)) AND (r.series_id >= ( SELECT store.tenant_floor() AS tenant_floor)) AND (r.series_id < ( SELECT store.tenant_ceiling() AS tenant_ceiling)));


ALTER VIEW public.instruments OWNER TO mds_owner;

--
-- Name: VIEW instruments; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON VIEW public.instruments IS 'What a vendor says of an instrument itself, from a time on: its type, exchange, currency and contract terms. A row is valid until the next row of the symbol: to know an instrument as of a time, take the last row up to it. `items` are all other numbers of the vendor, by the names that it gives them (`min_lot_size`).';


--
-- Name: COLUMN instruments.asof; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.instruments.asof IS 'From when on the row is valid.';


--
-- Name: COLUMN instruments.tenant_id; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.instruments.tenant_id IS 'The tenant of the session.';


--
-- Name: COLUMN instruments.vendor; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.instruments.vendor IS 'Who the data is from.';


--
-- Name: COLUMN instruments.symbol; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.instruments.symbol IS 'The instrument, in upper case unless the vendor''s symbols are case-sensitive.';


--
-- Name: COLUMN instruments.name; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.instruments.name IS 'The instrument''s name in words, such as Apple Inc.';


--
-- Name: COLUMN instruments.instrument_type; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.instruments.instrument_type IS 'The type of instrument in lower case, such as stock, future, call, put or bond.';


--
-- Name: COLUMN instruments.exchange; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.instruments.exchange IS 'Where the instrument is listed, in the words of the vendor, such as XNAS.';


--
-- Name: COLUMN instruments.currency; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.instruments.currency IS 'The currency of its prices, as ISO 4217 names it, such as USD.';


--
-- Name: COLUMN instruments.tick_size; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.instruments.tick_size IS 'The smallest change of its price.';


--
-- Name: COLUMN instruments.multiplier; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.instruments.multiplier IS 'The number of units of the underlying that one contract stands for.';


--
-- Name: COLUMN instruments.underlying; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.instruments.underlying IS 'The symbol of the underlying, for a derivative.';


--
-- Name: COLUMN instruments.expiration; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.instruments.expiration IS 'When a contract expires.';


--
-- Name: COLUMN instruments.strike; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.instruments.strike IS 'The strike of an option, in the underlying''s currency.';


--
-- Name: COLUMN instruments.option_type; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.instruments.option_type IS 'C (call) or P (put), for an option.';


--
-- Name: COLUMN instruments.id; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.instruments.id IS 'The vendor''s id of the row, where it has one.';


--
-- Name: COLUMN instruments.items; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.instruments.items IS 'Further numbers by the names that the vendor gives them, such as min_lot_size.';


--
-- Name: jobs_outbox; Type: VIEW; Schema: public; Owner: mds_owner
--

CREATE VIEW public.jobs_outbox WITH (security_barrier='true') AS
 SELECT ( SELECT store.current_tenant() AS current_tenant) AS tenant_id,
    id,
    idempotency_key,
    job_type,
    payload,
    priority,
    state,
    attempts,
    created_at,
    due_at,
    finished_at,
    error,
    max_attempts,
    started_at,
    done,
    total,
    result,
    cancel_requested
   FROM mds.jobs;


ALTER VIEW public.jobs_outbox OWNER TO mds_owner;

--
-- Name: VIEW jobs_outbox; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON VIEW public.jobs_outbox IS 'A job of the outbox. `priority` is from 0 to 100, the larger one first; times are in UTC. `done` and `total` are how far it is, in units of its own; `result` is what its function returned.';


--
-- Name: COLUMN jobs_outbox.tenant_id; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.jobs_outbox.tenant_id IS 'The tenant of the session.';


--
-- Name: COLUMN jobs_outbox.id; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.jobs_outbox.id IS 'The job''s number.';


--
-- Name: COLUMN jobs_outbox.idempotency_key; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.jobs_outbox.idempotency_key IS 'The tenant''s key of the job: the same key is the same job.';


--
-- Name: COLUMN jobs_outbox.job_type; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.jobs_outbox.job_type IS 'Which function takes the job.';


--
-- Name: COLUMN jobs_outbox.payload; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.jobs_outbox.payload IS 'What the function is given.';


--
-- Name: COLUMN jobs_outbox.priority; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.jobs_outbox.priority IS 'From 0 to 100, the larger one first.';


--
-- Name: COLUMN jobs_outbox.state; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.jobs_outbox.state IS 'queued, running, succeeded, failed or cancelled.';


--
-- Name: COLUMN jobs_outbox.attempts; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.jobs_outbox.attempts IS 'How often the job was begun.';


--
-- Name: COLUMN jobs_outbox.created_at; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.jobs_outbox.created_at IS 'When the job was enqueued.';


--
-- Name: COLUMN jobs_outbox.due_at; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.jobs_outbox.due_at IS 'The job is not begun before this time.';


--
-- Name: COLUMN jobs_outbox.finished_at; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.jobs_outbox.finished_at IS 'When the job ended.';


--
-- Name: COLUMN jobs_outbox.error; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.jobs_outbox.error IS 'What the last attempt failed with.';


--
-- Name: COLUMN jobs_outbox.max_attempts; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.jobs_outbox.max_attempts IS 'How often the job may be begun.';


--
-- Name: COLUMN jobs_outbox.started_at; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.jobs_outbox.started_at IS 'When the last attempt began.';


--
-- Name: COLUMN jobs_outbox.done; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.jobs_outbox.done IS 'How far the job is, in units of its own.';


--
-- Name: COLUMN jobs_outbox.total; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.jobs_outbox.total IS 'How far the job has to come, in units of its own.';


--
-- Name: COLUMN jobs_outbox.result; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.jobs_outbox.result IS 'What the function returned.';


--
-- Name: COLUMN jobs_outbox.cancel_requested; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.jobs_outbox.cancel_requested IS 'Whether the job is to be cancelled.';


--
-- Name: latest_prices; Type: VIEW; Schema: public; Owner: mds_owner
--

CREATE VIEW public.latest_prices WITH (security_barrier='true') AS
 SELECT DISTINCT ON (vendor, symbol) ( SELECT store.current_tenant() AS current_tenant) AS tenant_id,
    vendor,
    symbol,
    last_price AS price,
    last_price_ts AS price_timestamp
   FROM store.series s
  WHERE (((series_id >> 40) = ( SELECT store.tenant_no() AS tenant_no)) AND (last_price IS NOT NULL))
  ORDER BY vendor, symbol, last_price_ts DESC, timeframe;


ALTER VIEW public.latest_prices OWNER TO mds_owner;

--
-- Name: VIEW latest_prices; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON VIEW public.latest_prices IS 'The newest close of a symbol, over all its timeframes. `price_timestamp` (UTC) is the beginning of the bar that the price is from.';


--
-- Name: COLUMN latest_prices.tenant_id; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.latest_prices.tenant_id IS 'The tenant of the session.';


--
-- Name: COLUMN latest_prices.vendor; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.latest_prices.vendor IS 'Who the price is from.';


--
-- Name: COLUMN latest_prices.symbol; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.latest_prices.symbol IS 'The instrument, in upper case unless the vendor''s symbols are case-sensitive.';


--
-- Name: COLUMN latest_prices.price; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.latest_prices.price IS 'The newest close.';


--
-- Name: COLUMN latest_prices.price_timestamp; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.latest_prices.price_timestamp IS 'When the bar begins that the price is from.';


--
-- Name: news; Type: VIEW; Schema: public; Owner: mds_owner
--

CREATE VIEW public.news WITH (security_barrier='true') AS
 SELECT r.published_at,
    ( SELECT store.current_tenant() AS current_tenant) AS tenant_id,
    s.vendor,
    COALESCE(r.id_given, r.id) AS id,
    r.title,
    r.symbol,
    r.url,
    r.sentiment_score,
    r.vendor_id
   FROM (store.series s
     JOIN store.news r USING (series_id))
  WHERE ((s.kind = 'news'::text) AND ((s.series_id >> 40) = ( SELECT store.tenant_no() AS tenant_no)) AND (r.series_id >= ( SELECT store.tenant_floor() AS tenant_floor)) AND (r.series_id < ( SELECT store.tenant_ceiling() AS tenant_ceiling)));


ALTER VIEW public.news OWNER TO mds_owner;

--
-- Name: VIEW news; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON VIEW public.news IS 'A headline. `sentiment_score` is from -1 (bad) to 1 (good). A vendor''s own id of the article is `vendor_id`: `id` follows from it and from the symbol, so that a corrected headline replaces the earlier one. An `id` that is not a uuid, such as a number, is taken for it. Without both, `id` follows from vendor, time, title, symbol and url: the same item again, also with another score, is the same row. An article about several symbols is a row for each, also where all of them have one `id`.';


--
-- Name: COLUMN news.published_at; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.news.published_at IS 'When the news was published.';


--
-- Name: COLUMN news.tenant_id; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.news.tenant_id IS 'The tenant of the session.';


--
-- Name: COLUMN news.vendor; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.news.vendor IS 'Who the data is from.';


--
-- Name: COLUMN news.id; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.news.id IS 'The vendor''s id where it is a uuid, which rows of several symbols can share; else one that follows from vendor_id, or from the content.';


--
-- Name: COLUMN news.title; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.news.title IS 'The headline.';


--
-- Name: COLUMN news.symbol; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.news.symbol IS 'The instrument that the news is about, in upper case unless the vendor''s are case-sensitive.';


--
-- Name: COLUMN news.url; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.news.url IS 'Where the text is.';


--
-- Name: COLUMN news.sentiment_score; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.news.sentiment_score IS 'How good the news is: from -1 (bad) to 1 (good).';


--
-- Name: COLUMN news.vendor_id; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.news.vendor_id IS 'The vendor''s id of the article where it is not a uuid, as text.';


--
-- Name: options_snap; Type: VIEW; Schema: public; Owner: mds_owner
--

CREATE VIEW public.options_snap WITH (security_barrier='true') AS
 SELECT r.ts,
    ( SELECT store.current_tenant() AS current_tenant) AS tenant_id,
    s.vendor,
    s.symbol,
    COALESCE(s.root, s.symbol) AS root,
    r.expiry,
    r.option_type,
    r.strike,
    r.iv,
    r.delta,
    r.gamma,
    ((r.oi)::double precision + COALESCE(r.oi_fraction, (0)::double precision)) AS oi,
    ((r.volume)::double precision + COALESCE(r.volume_fraction, (0)::double precision)) AS volume,
    r.spot,
    r.id,
    r.bid,
    r.ask,
    r.last,
    r.vega,
    r.theta,
    r.rho,
    r.multiplier
   FROM (store.series s
     JOIN store.options r USING (series_id))
  WHERE ((s.kind = 'options'::text) AND ((s.series_id >> 40) = ( SELECT store.tenant_no() AS tenant_no)) AND (r.series_id >= ( SELECT store.tenant_floor() AS tenant_floor)) AND (r.series_id < ( SELECT store.tenant_ceiling() AS tenant_ceiling)));


ALTER VIEW public.options_snap OWNER TO mds_owner;

--
-- Name: VIEW options_snap; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON VIEW public.options_snap IS 'One option contract at a moment: prices, implied volatility and greeks, open interest, volume. `option_type` is C (call) or P (put); `strike` and `spot`, the price of the underlying, are in the underlying''s currency, and may be zero or negative, as for spreads. `iv` is a fraction a year (0.25 is 25 %). `theta`, `vega` and `rho` are in the units of the vendor. `oi` is the open interest. `root` is the symbol under which the contract is listed, by default the underlying''s: SPX and SPXW options of one expiry and strike are two contracts of SPX. `multiplier` is the number of units of the underlying that one contract stands for.';


--
-- Name: COLUMN options_snap.ts; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.options_snap.ts IS 'The moment of the snapshot.';


--
-- Name: COLUMN options_snap.tenant_id; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.options_snap.tenant_id IS 'The tenant of the session.';


--
-- Name: COLUMN options_snap.vendor; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.options_snap.vendor IS 'Who the data is from.';


--
-- Name: COLUMN options_snap.symbol; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.options_snap.symbol IS 'The underlying, in upper case unless the vendor''s symbols are case-sensitive.';


--
-- Name: COLUMN options_snap.root; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.options_snap.root IS 'The symbol under which the contract is listed; by default the underlying''s.';


--
-- Name: COLUMN options_snap.expiry; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.options_snap.expiry IS 'The day on which the contract expires.';


--
-- Name: COLUMN options_snap.option_type; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.options_snap.option_type IS 'C (call) or P (put).';


--
-- Name: COLUMN options_snap.strike; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.options_snap.strike IS 'The strike, in the underlying''s currency.';


--
-- Name: COLUMN options_snap.iv; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.options_snap.iv IS 'The implied volatility, a fraction a year: 0.25 is 25 %.';


--
-- Name: COLUMN options_snap.delta; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.options_snap.delta IS 'Delta: change of the price by the underlying''s price.';


--
-- Name: COLUMN options_snap.gamma; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.options_snap.gamma IS 'Gamma: change of delta by the underlying''s price.';


--
-- Name: COLUMN options_snap.oi; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.options_snap.oi IS 'The open interest, in contracts.';


--
-- Name: COLUMN options_snap.volume; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.options_snap.volume IS 'What was traded on the day, in contracts.';


--
-- Name: COLUMN options_snap.spot; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.options_snap.spot IS 'The underlying''s price, in its currency.';


--
-- Name: COLUMN options_snap.id; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.options_snap.id IS 'The vendor''s id of the row, where it has one.';


--
-- Name: COLUMN options_snap.bid; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.options_snap.bid IS 'The highest price that is bid.';


--
-- Name: COLUMN options_snap.ask; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.options_snap.ask IS 'The lowest price that is asked.';


--
-- Name: COLUMN options_snap.last; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.options_snap.last IS 'The price of the last trade.';


--
-- Name: COLUMN options_snap.vega; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.options_snap.vega IS 'Vega: change of the price by the implied volatility, in the unit of the vendor.';


--
-- Name: COLUMN options_snap.theta; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.options_snap.theta IS 'Theta: change of the price by time, in the unit of the vendor.';


--
-- Name: COLUMN options_snap.rho; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.options_snap.rho IS 'Rho: change of the price by the interest rate, in the unit of the vendor.';


--
-- Name: COLUMN options_snap.multiplier; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.options_snap.multiplier IS 'The number of units of the underlying that one contract stands for.';


--
-- Name: series; Type: VIEW; Schema: public; Owner: mds_owner
--

CREATE VIEW public.series WITH (security_barrier='true') AS
 SELECT ( SELECT store.current_tenant() AS current_tenant) AS tenant_id,
    kind,
    vendor,
    symbol,
    timeframe,
    root,
    last_ts,
    last_price,
    last_price_ts
   FROM store.series
  WHERE ((series_id >> 40) = ( SELECT store.tenant_no() AS tenant_no));


ALTER VIEW public.series OWNER TO mds_owner;

--
-- Name: VIEW series; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON VIEW public.series IS 'Every series that there is: what stays the same over its rows, and its newest values. Reads no rows of a kind.';


--
-- Name: COLUMN series.tenant_id; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.series.tenant_id IS 'The tenant of the session.';


--
-- Name: COLUMN series.kind; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.series.kind IS 'What the rows are: bars, fundamentals, news or options.';


--
-- Name: COLUMN series.vendor; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.series.vendor IS 'Who the data is from.';


--
-- Name: COLUMN series.symbol; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.series.symbol IS 'The instrument, in upper case unless the vendor''s symbols are case-sensitive; none for news.';


--
-- Name: COLUMN series.timeframe; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.series.timeframe IS 'What a bar spans; none for other kinds.';


--
-- Name: COLUMN series.root; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.series.root IS 'The root of options that are not listed under their underlying''s symbol.';


--
-- Name: COLUMN series.last_ts; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.series.last_ts IS 'The time of the newest row.';


--
-- Name: COLUMN series.last_price; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.series.last_price IS 'The newest close, where the kind has prices.';


--
-- Name: COLUMN series.last_price_ts; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.series.last_price_ts IS 'When the bar begins that the newest close is from.';


--
-- Name: symbols; Type: VIEW; Schema: public; Owner: mds_owner
--

CREATE VIEW public.symbols WITH (security_barrier='true') AS
 SELECT DISTINCT ( SELECT store.current_tenant() AS current_tenant) AS tenant_id,
    kind,
    vendor,
    symbol
   FROM store.series
  WHERE (((series_id >> 40) = ( SELECT store.tenant_no() AS tenant_no)) AND (symbol IS NOT NULL));


ALTER VIEW public.symbols OWNER TO mds_owner;

--
-- Name: VIEW symbols; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON VIEW public.symbols IS 'Every symbol, once for a kind and a vendor. Reads no rows of a kind.';


--
-- Name: COLUMN symbols.tenant_id; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.symbols.tenant_id IS 'The tenant of the session.';


--
-- Name: COLUMN symbols.kind; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.symbols.kind IS 'What the rows are: bars, fundamentals, news or options.';


--
-- Name: COLUMN symbols.vendor; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.symbols.vendor IS 'Who the data is from.';


--
-- Name: COLUMN symbols.symbol; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.symbols.symbol IS 'The instrument, in upper case unless the vendor''s symbols are case-sensitive.';


--
-- Name: tenants; Type: TABLE; Schema: store; Owner: mds_owner
--

CREATE TABLE store.tenants (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    no integer NOT NULL,
    name text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    disabled_at timestamp with time zone,
    CONSTRAINT tenants_name_check CHECK ((name <> ''::text))
);


ALTER TABLE store.tenants OWNER TO mds_owner;

--
-- Name: tenants; Type: VIEW; Schema: public; Owner: mds_owner
--

CREATE VIEW public.tenants WITH (security_barrier='true') AS
 SELECT id,
    name,
    created_at
   FROM store.tenants
  WHERE (no = ( SELECT store.tenant_no() AS tenant_no));


ALTER VIEW public.tenants OWNER TO mds_owner;

--
-- Name: VIEW tenants; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON VIEW public.tenants IS 'The tenant of the session: one row.';


--
-- Name: COLUMN tenants.id; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.tenants.id IS 'The tenant of the session.';


--
-- Name: COLUMN tenants.name; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.tenants.name IS 'The tenant''s name.';


--
-- Name: COLUMN tenants.created_at; Type: COMMENT; Schema: public; Owner: mds_owner
--

COMMENT ON COLUMN public.tenants.created_at IS 'When the tenant was created.';


--
-- Name: alembic_version; Type: TABLE; Schema: store; Owner: mds_owner
--

CREATE TABLE store.alembic_version (
    version_num character varying(32) NOT NULL
);


ALTER TABLE store.alembic_version OWNER TO mds_owner;

--
-- Name: backfills; Type: TABLE; Schema: store; Owner: mds_owner
--

CREATE TABLE store.backfills (
    id bigint NOT NULL,
    tenant_no integer NOT NULL,
    idempotency_key text NOT NULL,
    kind text NOT NULL,
    vendor text NOT NULL,
    timeframe text NOT NULL,
    range_start timestamp with time zone NOT NULL,
    range_end timestamp with time zone NOT NULL,
    source jsonb NOT NULL,
    params jsonb NOT NULL,
    series integer NOT NULL,
    missing bigint NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    report jsonb,
    reported_at timestamp with time zone
);


ALTER TABLE store.backfills OWNER TO mds_owner;

--
-- Name: backfills_id_seq; Type: SEQUENCE; Schema: store; Owner: mds_owner
--

ALTER TABLE store.backfills ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME store.backfills_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: calendars; Type: TABLE; Schema: store; Owner: mds_owner
--

CREATE TABLE store.calendars (
    tenant_no integer NOT NULL,
    vendor text,
    symbol text,
    calendar text NOT NULL
);


ALTER TABLE store.calendars OWNER TO mds_owner;

--
-- Name: cold_periods_id_seq; Type: SEQUENCE; Schema: store; Owner: mds_owner
--

ALTER TABLE store.cold_periods ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME store.cold_periods_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: gap_counts; Type: TABLE; Schema: store; Owner: mds_owner
--

CREATE TABLE store.gap_counts (
    tenant_no integer NOT NULL,
    vendor text NOT NULL,
    timeframe text NOT NULL,
    range_start timestamp with time zone NOT NULL,
    range_end timestamp with time zone NOT NULL,
    series integer NOT NULL,
    expected bigint NOT NULL,
    missing bigint NOT NULL,
    gaps bigint NOT NULL,
    checked_at timestamp with time zone DEFAULT now() NOT NULL,
    repeated bigint DEFAULT 0 NOT NULL
);


ALTER TABLE store.gap_counts OWNER TO mds_owner;

--
-- Name: jobs_id_seq; Type: SEQUENCE; Schema: store; Owner: mds_owner
--

ALTER TABLE store.jobs ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME store.jobs_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: late_bars_seq_seq; Type: SEQUENCE; Schema: store; Owner: mds_owner
--

ALTER TABLE store.late_bars ALTER COLUMN seq ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME store.late_bars_seq_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: late_options_seq_seq; Type: SEQUENCE; Schema: store; Owner: mds_owner
--

ALTER TABLE store.late_options ALTER COLUMN seq ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME store.late_options_seq_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: lock_claim; Type: TABLE; Schema: store; Owner: mds_owner
--

CREATE TABLE store.lock_claim (
    unused boolean
);


ALTER TABLE store.lock_claim OWNER TO mds_owner;

--
-- Name: lock_cold; Type: TABLE; Schema: store; Owner: mds_owner
--

CREATE TABLE store.lock_cold (
    unused boolean
);


ALTER TABLE store.lock_cold OWNER TO mds_owner;

--
-- Name: lock_migration; Type: TABLE; Schema: store; Owner: mds_owner
--

CREATE TABLE store.lock_migration (
    unused boolean
);


ALTER TABLE store.lock_migration OWNER TO mds_owner;

--
-- Name: lock_refresh; Type: TABLE; Schema: store; Owner: mds_owner
--

CREATE TABLE store.lock_refresh (
    unused boolean
);


ALTER TABLE store.lock_refresh OWNER TO mds_owner;

--
-- Name: objects; Type: TABLE; Schema: store; Owner: mds_owner
--

CREATE TABLE store.objects (
    name text NOT NULL,
    declared text NOT NULL,
    installed text
);


ALTER TABLE store.objects OWNER TO mds_owner;

--
-- Name: policies; Type: TABLE; Schema: store; Owner: mds_owner
--

CREATE TABLE store.policies (
    relation text NOT NULL,
    policy text NOT NULL,
    value interval
);


ALTER TABLE store.policies OWNER TO mds_owner;

--
-- Name: series_n; Type: SEQUENCE; Schema: store; Owner: mds_owner
--

CREATE SEQUENCE store.series_n
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    MAXVALUE 1099511627775
    CACHE 1;


ALTER SEQUENCE store.series_n OWNER TO mds_owner;

--
-- Name: tenant_roles; Type: TABLE; Schema: store; Owner: mds_owner
--

CREATE TABLE store.tenant_roles (
    role text NOT NULL,
    tenant_no integer NOT NULL
);


ALTER TABLE store.tenant_roles OWNER TO mds_owner;

--
-- Name: tenants_no_seq; Type: SEQUENCE; Schema: store; Owner: mds_owner
--

ALTER TABLE store.tenants ALTER COLUMN no ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME store.tenants_no_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    MAXVALUE 8388606
    CACHE 1
);


--
-- Name: jobs tenant_no; Type: DEFAULT; Schema: mds; Owner: mds_owner
--

ALTER TABLE ONLY mds.jobs ALTER COLUMN tenant_no SET DEFAULT store.job_tenant();


--
-- Name: series series_id; Type: DEFAULT; Schema: mds; Owner: mds_owner
--

ALTER TABLE ONLY mds.series ALTER COLUMN series_id SET DEFAULT store.next_series_id();


--
-- Data for Name: alembic_version; Type: TABLE DATA; Schema: store; Owner: mds_owner
--

INSERT INTO store.alembic_version VALUES ('0020');


--
-- Data for Name: backfills; Type: TABLE DATA; Schema: store; Owner: mds_owner
--

INSERT INTO store.backfills OVERRIDING SYSTEM VALUE VALUES (1, 1, 'january', 'bars', 'v', '1m', '2024-01-01 00:00:00+00', '2024-02-01 00:00:00+00', '{"name": "files"}', '{}', 2, 100, '2024-02-09 00:00:00+00', NULL, NULL);


--
-- Data for Name: bars; Type: TABLE DATA; Schema: store; Owner: mds_owner
--

INSERT INTO store.bars VALUES (1099511627777, '2024-01-01 12:00:00+00', 1.5, 9.5, 0.5, 1, 0, NULL, NULL, NULL, NULL);
INSERT INTO store.bars VALUES (1099511627777, '2024-01-14 12:00:00+00', 1.5, 9.5, 0.5, 2, NULL, NULL, NULL, NULL, NULL);
INSERT INTO store.bars VALUES (1099511627778, '2024-01-01 12:00:00+00', 1.5, 9.5, 0.5, 1, 0, NULL, NULL, NULL, NULL);
INSERT INTO store.bars VALUES (1099511627778, '2024-01-14 12:00:00+00', 1.5, 9.5, 0.5, 2, NULL, NULL, NULL, NULL, NULL);
INSERT INTO store.bars VALUES (1099511627779, '2024-01-01 12:00:00+00', 1.5, 9.5, 0.5, 1, 0, NULL, NULL, NULL, NULL);
INSERT INTO store.bars VALUES (1099511627779, '2024-01-14 12:00:00+00', 1.5, 9.5, 0.5, 2, NULL, NULL, NULL, NULL, NULL);
INSERT INTO store.bars VALUES (1099511627780, '2024-01-01 12:00:00+00', 1.5, 9.5, 0.5, 1, 0, NULL, NULL, NULL, NULL);
INSERT INTO store.bars VALUES (1099511627780, '2024-01-14 12:00:00+00', 1.5, 9.5, 0.5, 2, NULL, NULL, NULL, NULL, NULL);
INSERT INTO store.bars VALUES (2199023255557, '2024-01-01 12:00:00+00', 1.5, 9.5, 0.5, 2, 0, NULL, NULL, NULL, NULL);
INSERT INTO store.bars VALUES (2199023255557, '2024-01-14 12:00:00+00', 1.5, 9.5, 0.5, 3, NULL, NULL, NULL, NULL, NULL);
INSERT INTO store.bars VALUES (2199023255558, '2024-01-01 12:00:00+00', 1.5, 9.5, 0.5, 2, 0, NULL, NULL, NULL, NULL);
INSERT INTO store.bars VALUES (2199023255558, '2024-01-14 12:00:00+00', 1.5, 9.5, 0.5, 3, NULL, NULL, NULL, NULL, NULL);
INSERT INTO store.bars VALUES (2199023255559, '2024-01-01 12:00:00+00', 1.5, 9.5, 0.5, 2, 0, NULL, NULL, NULL, NULL);
INSERT INTO store.bars VALUES (2199023255559, '2024-01-14 12:00:00+00', 1.5, 9.5, 0.5, 3, NULL, NULL, NULL, NULL, NULL);
INSERT INTO store.bars VALUES (2199023255560, '2024-01-01 12:00:00+00', 1.5, 9.5, 0.5, 2, 0, NULL, NULL, NULL, NULL);
INSERT INTO store.bars VALUES (2199023255560, '2024-01-14 12:00:00+00', 1.5, 9.5, 0.5, 3, NULL, NULL, NULL, NULL, NULL);
INSERT INTO store.bars VALUES (3298534883337, '2024-01-01 12:00:00+00', 1.5, 9.5, 0.5, 3, 0, NULL, NULL, NULL, NULL);
INSERT INTO store.bars VALUES (3298534883337, '2024-01-14 12:00:00+00', 1.5, 9.5, 0.5, 4, NULL, NULL, NULL, NULL, NULL);
INSERT INTO store.bars VALUES (3298534883338, '2024-01-01 12:00:00+00', 1.5, 9.5, 0.5, 3, 0, NULL, NULL, NULL, NULL);
INSERT INTO store.bars VALUES (3298534883338, '2024-01-14 12:00:00+00', 1.5, 9.5, 0.5, 4, NULL, NULL, NULL, NULL, NULL);
INSERT INTO store.bars VALUES (3298534883339, '2024-01-01 12:00:00+00', 1.5, 9.5, 0.5, 3, 0, NULL, NULL, NULL, NULL);
INSERT INTO store.bars VALUES (3298534883339, '2024-01-14 12:00:00+00', 1.5, 9.5, 0.5, 4, NULL, NULL, NULL, NULL, NULL);
INSERT INTO store.bars VALUES (3298534883340, '2024-01-01 12:00:00+00', 1.5, 9.5, 0.5, 3, 0, NULL, NULL, NULL, NULL);
INSERT INTO store.bars VALUES (3298534883340, '2024-01-14 12:00:00+00', 1.5, 9.5, 0.5, 4, NULL, NULL, NULL, NULL, NULL);
INSERT INTO store.bars VALUES (1099511627777, '2024-01-27 12:00:00+00', 1.5, 9.5, 0.5, 3, 200, 'dddddddd-0000-4000-8000-000000000004', 1.25, 12, 0.5);
INSERT INTO store.bars VALUES (1099511627777, '2024-02-09 12:00:00+00', 1.5, 9.5, 0.5, 4, 300, NULL, 1.25, 12, 0.5);
INSERT INTO store.bars VALUES (1099511627778, '2024-01-27 12:00:00+00', 1.5, 9.5, 0.5, 3, 200, 'dddddddd-0000-4000-8000-000000000004', 1.25, 12, 0.5);
INSERT INTO store.bars VALUES (1099511627778, '2024-02-09 12:00:00+00', 1.5, 9.5, 0.5, 4, 300, NULL, 1.25, 12, 0.5);
INSERT INTO store.bars VALUES (1099511627779, '2024-01-27 12:00:00+00', 1.5, 9.5, 0.5, 3, 200, 'dddddddd-0000-4000-8000-000000000004', 1.25, 12, 0.5);
INSERT INTO store.bars VALUES (1099511627779, '2024-02-09 12:00:00+00', 1.5, 9.5, 0.5, 4, 300, NULL, 1.25, 12, 0.5);
INSERT INTO store.bars VALUES (1099511627780, '2024-01-27 12:00:00+00', 1.5, 9.5, 0.5, 3, 200, 'dddddddd-0000-4000-8000-000000000004', 1.25, 12, 0.5);
INSERT INTO store.bars VALUES (1099511627780, '2024-02-09 12:00:00+00', 1.5, 9.5, 0.5, 4, 300, NULL, 1.25, 12, 0.5);
INSERT INTO store.bars VALUES (2199023255557, '2024-01-27 12:00:00+00', 1.5, 9.5, 0.5, 4, 200, 'dddddddd-0000-4000-8000-000000000004', 1.25, 12, 0.5);
INSERT INTO store.bars VALUES (2199023255557, '2024-02-09 12:00:00+00', 1.5, 9.5, 0.5, 5, 300, NULL, 1.25, 12, 0.5);
INSERT INTO store.bars VALUES (2199023255558, '2024-01-27 12:00:00+00', 1.5, 9.5, 0.5, 4, 200, 'dddddddd-0000-4000-8000-000000000004', 1.25, 12, 0.5);
INSERT INTO store.bars VALUES (2199023255558, '2024-02-09 12:00:00+00', 1.5, 9.5, 0.5, 5, 300, NULL, 1.25, 12, 0.5);
INSERT INTO store.bars VALUES (2199023255559, '2024-01-27 12:00:00+00', 1.5, 9.5, 0.5, 4, 200, 'dddddddd-0000-4000-8000-000000000004', 1.25, 12, 0.5);
INSERT INTO store.bars VALUES (2199023255559, '2024-02-09 12:00:00+00', 1.5, 9.5, 0.5, 5, 300, NULL, 1.25, 12, 0.5);
INSERT INTO store.bars VALUES (2199023255560, '2024-01-27 12:00:00+00', 1.5, 9.5, 0.5, 4, 200, 'dddddddd-0000-4000-8000-000000000004', 1.25, 12, 0.5);
INSERT INTO store.bars VALUES (2199023255560, '2024-02-09 12:00:00+00', 1.5, 9.5, 0.5, 5, 300, NULL, 1.25, 12, 0.5);
INSERT INTO store.bars VALUES (3298534883337, '2024-01-27 12:00:00+00', 1.5, 9.5, 0.5, 5, 200, 'dddddddd-0000-4000-8000-000000000004', 1.25, 12, 0.5);
INSERT INTO store.bars VALUES (3298534883337, '2024-02-09 12:00:00+00', 1.5, 9.5, 0.5, 6, 300, NULL, 1.25, 12, 0.5);
INSERT INTO store.bars VALUES (3298534883338, '2024-01-27 12:00:00+00', 1.5, 9.5, 0.5, 5, 200, 'dddddddd-0000-4000-8000-000000000004', 1.25, 12, 0.5);
INSERT INTO store.bars VALUES (3298534883338, '2024-02-09 12:00:00+00', 1.5, 9.5, 0.5, 6, 300, NULL, 1.25, 12, 0.5);
INSERT INTO store.bars VALUES (3298534883339, '2024-01-27 12:00:00+00', 1.5, 9.5, 0.5, 5, 200, 'dddddddd-0000-4000-8000-000000000004', 1.25, 12, 0.5);
INSERT INTO store.bars VALUES (3298534883339, '2024-02-09 12:00:00+00', 1.5, 9.5, 0.5, 6, 300, NULL, 1.25, 12, 0.5);
INSERT INTO store.bars VALUES (3298534883340, '2024-01-27 12:00:00+00', 1.5, 9.5, 0.5, 5, 200, 'dddddddd-0000-4000-8000-000000000004', 1.25, 12, 0.5);
INSERT INTO store.bars VALUES (3298534883340, '2024-02-09 12:00:00+00', 1.5, 9.5, 0.5, 6, 300, NULL, 1.25, 12, 0.5);


--
-- Data for Name: calendars; Type: TABLE DATA; Schema: store; Owner: mds_owner
--

INSERT INTO store.calendars VALUES (1, 'v', NULL, 'XNYS');


--
-- Data for Name: case_sensitive_vendors; Type: TABLE DATA; Schema: store; Owner: mds_owner
--

INSERT INTO store.case_sensitive_vendors VALUES ('cased', '2024-02-09 00:00:00+00');


--
-- Data for Name: cold_fences; Type: TABLE DATA; Schema: store; Owner: mds_owner
--

INSERT INTO store.cold_fences VALUES (2, 'bars', NULL, true, '90 days', false);
INSERT INTO store.cold_fences VALUES (3, 'bars', '2024-01-10 00:00:00+00', true, '90 days', false);


--
-- Data for Name: cold_periods; Type: TABLE DATA; Schema: store; Owner: mds_owner
--

INSERT INTO store.cold_periods OVERRIDING SYSTEM VALUE VALUES (1, 3, 'bars', '2023-12-01 00:00:00+00', '2024-01-01 00:00:00+00', 'closed/bars/2023-12.a.parquet', 3, 1000, 'abc', '2024-02-09 00:00:00+00', NULL);


--
-- Data for Name: fundamentals; Type: TABLE DATA; Schema: store; Owner: mds_owner
--

INSERT INTO store.fundamentals VALUES (1099511627789, '2024-02-09 12:00:00+00', 352000000000, 290000000000, NULL, 1.25, NULL, 'USD', 'FY2023', '{"ebitda": null, "free_cash_flow": 1500000000.5}');
INSERT INTO store.fundamentals VALUES (2199023255568, '2024-02-09 12:00:00+00', 352000000000, 290000000000, NULL, 1.25, NULL, 'USD', 'FY2023', '{"ebitda": null, "free_cash_flow": 1500000000.5}');
INSERT INTO store.fundamentals VALUES (3298534883347, '2024-02-09 12:00:00+00', 352000000000, 290000000000, NULL, 1.25, NULL, 'USD', 'FY2023', '{"ebitda": null, "free_cash_flow": 1500000000.5}');


--
-- Data for Name: gap_counts; Type: TABLE DATA; Schema: store; Owner: mds_owner
--

INSERT INTO store.gap_counts VALUES (1, 'v', '1m', '2024-01-01 00:00:00+00', '2024-02-01 00:00:00+00', 2, 1000, 100, 3, '2024-02-09 00:00:00+00', 5);
INSERT INTO store.gap_counts VALUES (2, 'v', '1m', '2024-01-01 00:00:00+00', '2024-02-01 00:00:00+00', 2, 1000, 100, 3, '2024-02-09 00:00:00+00', 5);
INSERT INTO store.gap_counts VALUES (3, 'v', '1m', '2024-01-01 00:00:00+00', '2024-02-01 00:00:00+00', 2, 1000, 100, 3, '2024-02-09 00:00:00+00', 5);


--
-- Data for Name: iceberg_namespace_properties; Type: TABLE DATA; Schema: store; Owner: mds_owner
--

INSERT INTO store.iceberg_namespace_properties VALUES ('store', 'cccccccc-0000-4000-8000-000000000003', 'exists', 'true', DEFAULT);


--
-- Data for Name: iceberg_tables; Type: TABLE DATA; Schema: store; Owner: mds_owner
--

INSERT INTO store.iceberg_tables VALUES ('store', 'cccccccc-0000-4000-8000-000000000003', 'bars', 'file:///closed/iceberg/bars/metadata/1.json', NULL, 'TABLE', DEFAULT);


--
-- Data for Name: instruments; Type: TABLE DATA; Schema: store; Owner: mds_owner
--

INSERT INTO store.instruments VALUES (1099511627801, '2024-02-09 12:00:00+00', 'Apple Inc.', 'stock', 'XNAS', 'USD', 0.01, NULL, NULL, NULL, NULL, NULL, NULL, '{"min_lot_size": 1}');
INSERT INTO store.instruments VALUES (2199023255578, '2024-02-09 12:00:00+00', 'Apple Inc.', 'stock', 'XNAS', 'USD', 0.01, NULL, NULL, NULL, NULL, NULL, NULL, '{"min_lot_size": 1}');
INSERT INTO store.instruments VALUES (3298534883355, '2024-02-09 12:00:00+00', 'Apple Inc.', 'stock', 'XNAS', 'USD', 0.01, NULL, NULL, NULL, NULL, NULL, NULL, '{"min_lot_size": 1}');


--
-- Data for Name: jobs; Type: TABLE DATA; Schema: store; Owner: mds_owner
--

INSERT INTO store.jobs OVERRIDING SYSTEM VALUE VALUES (1, 1, 'key of cancelled', 'a-type', '{"n": 1}', 50, 'cancelled', 0, '2024-02-09 00:00:00+00', '2024-02-09 01:00:00+00', NULL, NULL, '2024-02-09 03:00:00+00', NULL, 10, NULL, NULL, NULL, NULL, false, NULL, 0);
INSERT INTO store.jobs OVERRIDING SYSTEM VALUE VALUES (3, 1, 'key of queued', 'a-type', '{"n": 1}', 50, 'queued', 0, '2024-02-09 00:00:00+00', '2024-02-09 01:00:00+00', NULL, NULL, NULL, NULL, 10, NULL, NULL, NULL, NULL, false, NULL, 0);
INSERT INTO store.jobs OVERRIDING SYSTEM VALUE VALUES (6, 2, 'key of cancelled', 'a-type', '{"n": 1}', 50, 'cancelled', 0, '2024-02-09 00:00:00+00', '2024-02-09 01:00:00+00', NULL, NULL, '2024-02-09 03:00:00+00', NULL, 10, NULL, NULL, NULL, NULL, false, NULL, 0);
INSERT INTO store.jobs OVERRIDING SYSTEM VALUE VALUES (8, 2, 'key of queued', 'a-type', '{"n": 1}', 50, 'queued', 0, '2024-02-09 00:00:00+00', '2024-02-09 01:00:00+00', NULL, NULL, NULL, NULL, 10, NULL, NULL, NULL, NULL, false, NULL, 0);
INSERT INTO store.jobs OVERRIDING SYSTEM VALUE VALUES (11, 3, 'key of cancelled', 'a-type', '{"n": 1}', 50, 'cancelled', 0, '2024-02-09 00:00:00+00', '2024-02-09 01:00:00+00', NULL, NULL, '2024-02-09 03:00:00+00', NULL, 10, NULL, NULL, NULL, NULL, false, NULL, 0);
INSERT INTO store.jobs OVERRIDING SYSTEM VALUE VALUES (13, 3, 'key of queued', 'a-type', '{"n": 1}', 50, 'queued', 0, '2024-02-09 00:00:00+00', '2024-02-09 01:00:00+00', NULL, NULL, NULL, NULL, 10, NULL, NULL, NULL, NULL, false, NULL, 0);
INSERT INTO store.jobs OVERRIDING SYSTEM VALUE VALUES (18, 1, 'chunk of january', 'backfill-chunk', '{}', 50, 'queued', 0, '2024-02-09 00:00:00+00', '2024-02-09 00:00:00+00', NULL, NULL, NULL, NULL, 10, NULL, NULL, NULL, NULL, false, 1, 0);
INSERT INTO store.jobs OVERRIDING SYSTEM VALUE VALUES (2, 1, 'key of failed', 'a-type', '{"n": 1}', 50, 'failed', 5, '2024-02-09 00:00:00+00', '2024-02-09 01:00:00+00', NULL, NULL, '2024-02-09 03:00:00+00', 'it failed', 10, NULL, NULL, NULL, NULL, false, NULL, 5);
INSERT INTO store.jobs OVERRIDING SYSTEM VALUE VALUES (4, 1, 'key of running', 'a-type', '{"n": 1}', 50, 'running', 1, '2024-02-09 00:00:00+00', '2024-02-09 01:00:00+00', 'a-worker', '2024-02-09 02:00:00+00', NULL, NULL, 10, NULL, NULL, NULL, NULL, false, NULL, 1);
INSERT INTO store.jobs OVERRIDING SYSTEM VALUE VALUES (5, 1, 'key of succeeded', 'a-type', '{"n": 1}', 50, 'succeeded', 1, '2024-02-09 00:00:00+00', '2024-02-09 01:00:00+00', NULL, NULL, '2024-02-09 03:00:00+00', NULL, 10, NULL, NULL, NULL, NULL, false, NULL, 1);
INSERT INTO store.jobs OVERRIDING SYSTEM VALUE VALUES (7, 2, 'key of failed', 'a-type', '{"n": 1}', 50, 'failed', 5, '2024-02-09 00:00:00+00', '2024-02-09 01:00:00+00', NULL, NULL, '2024-02-09 03:00:00+00', 'it failed', 10, NULL, NULL, NULL, NULL, false, NULL, 5);
INSERT INTO store.jobs OVERRIDING SYSTEM VALUE VALUES (9, 2, 'key of running', 'a-type', '{"n": 1}', 50, 'running', 1, '2024-02-09 00:00:00+00', '2024-02-09 01:00:00+00', 'a-worker', '2024-02-09 02:00:00+00', NULL, NULL, 10, NULL, NULL, NULL, NULL, false, NULL, 1);
INSERT INTO store.jobs OVERRIDING SYSTEM VALUE VALUES (10, 2, 'key of succeeded', 'a-type', '{"n": 1}', 50, 'succeeded', 1, '2024-02-09 00:00:00+00', '2024-02-09 01:00:00+00', NULL, NULL, '2024-02-09 03:00:00+00', NULL, 10, NULL, NULL, NULL, NULL, false, NULL, 1);
INSERT INTO store.jobs OVERRIDING SYSTEM VALUE VALUES (12, 3, 'key of failed', 'a-type', '{"n": 1}', 50, 'failed', 5, '2024-02-09 00:00:00+00', '2024-02-09 01:00:00+00', NULL, NULL, '2024-02-09 03:00:00+00', 'it failed', 10, NULL, NULL, NULL, NULL, false, NULL, 5);
INSERT INTO store.jobs OVERRIDING SYSTEM VALUE VALUES (14, 3, 'key of running', 'a-type', '{"n": 1}', 50, 'running', 1, '2024-02-09 00:00:00+00', '2024-02-09 01:00:00+00', 'a-worker', '2024-02-09 02:00:00+00', NULL, NULL, 10, NULL, NULL, NULL, NULL, false, NULL, 1);
INSERT INTO store.jobs OVERRIDING SYSTEM VALUE VALUES (15, 3, 'key of succeeded', 'a-type', '{"n": 1}', 50, 'succeeded', 1, '2024-02-09 00:00:00+00', '2024-02-09 01:00:00+00', NULL, NULL, '2024-02-09 03:00:00+00', NULL, 10, NULL, NULL, NULL, NULL, false, NULL, 1);
INSERT INTO store.jobs OVERRIDING SYSTEM VALUE VALUES (16, NULL, 'upkeep of a day', 'upkeep', '{}', 10, 'succeeded', 1, '2024-02-10 00:00:00+00', '2024-02-10 00:00:00+00', NULL, NULL, '2024-02-10 00:02:00+00', NULL, 3, '2024-02-10 00:01:00+00', 5, 5, '{"removed": 7}', false, NULL, 1);
INSERT INTO store.jobs OVERRIDING SYSTEM VALUE VALUES (17, NULL, 'upkeep of another', 'upkeep', '{}', 10, 'queued', 1, '2024-02-11 00:00:00+00', '2024-02-11 00:00:00+00', NULL, NULL, NULL, NULL, 3, NULL, 2, 5, NULL, true, NULL, 1);


--
-- Data for Name: late_bars; Type: TABLE DATA; Schema: store; Owner: mds_owner
--

INSERT INTO store.late_bars OVERRIDING SYSTEM VALUE VALUES (3298534883337, '2023-12-05 00:00:00+00', NULL, NULL, NULL, 4.5, 100, NULL, NULL, NULL, NULL, 'fill', 1, NULL);
INSERT INTO store.late_bars OVERRIDING SYSTEM VALUE VALUES (3298534883338, '2023-12-05 00:00:00+00', NULL, NULL, NULL, 4.5, 100, NULL, NULL, NULL, NULL, 'fill', 2, NULL);
INSERT INTO store.late_bars OVERRIDING SYSTEM VALUE VALUES (3298534883339, '2023-12-05 00:00:00+00', NULL, NULL, NULL, 4.5, 100, NULL, NULL, NULL, NULL, 'fill', 3, NULL);
INSERT INTO store.late_bars OVERRIDING SYSTEM VALUE VALUES (3298534883340, '2023-12-05 00:00:00+00', NULL, NULL, NULL, 4.5, 100, NULL, NULL, NULL, NULL, 'fill', 4, NULL);
INSERT INTO store.late_bars OVERRIDING SYSTEM VALUE VALUES (3298534883337, '2023-12-07 00:00:00+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'delete', 5, '2023-12-08 00:00:00+00');
INSERT INTO store.late_bars OVERRIDING SYSTEM VALUE VALUES (3298534883338, '2023-12-07 00:00:00+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'delete', 6, '2023-12-08 00:00:00+00');
INSERT INTO store.late_bars OVERRIDING SYSTEM VALUE VALUES (3298534883339, '2023-12-07 00:00:00+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'delete', 7, '2023-12-08 00:00:00+00');
INSERT INTO store.late_bars OVERRIDING SYSTEM VALUE VALUES (3298534883340, '2023-12-07 00:00:00+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'delete', 8, '2023-12-08 00:00:00+00');


--
-- Data for Name: late_options; Type: TABLE DATA; Schema: store; Owner: mds_owner
--

INSERT INTO store.late_options OVERRIDING SYSTEM VALUE VALUES (3298534883352, '2023-12-05 00:00:00+00', '2025-01-17', 'P', 150.5, NULL, NULL, NULL, 1000, NULL, NULL, NULL, 1.5, NULL, NULL, NULL, NULL, NULL, 0.25, NULL, 100, 'fill', 1, NULL);
INSERT INTO store.late_options OVERRIDING SYSTEM VALUE VALUES (3298534883349, '2023-12-05 00:00:00+00', '2025-01-17', 'P', 150.5, NULL, NULL, NULL, 1000, NULL, NULL, NULL, 1.5, NULL, NULL, NULL, NULL, NULL, 0.25, NULL, 100, 'fill', 2, NULL);
INSERT INTO store.late_options OVERRIDING SYSTEM VALUE VALUES (3298534883352, '2023-12-07 00:00:00+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'delete', 3, '2023-12-08 00:00:00+00');
INSERT INTO store.late_options OVERRIDING SYSTEM VALUE VALUES (3298534883349, '2023-12-07 00:00:00+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'delete', 4, '2023-12-08 00:00:00+00');


--
-- Data for Name: lock_claim; Type: TABLE DATA; Schema: store; Owner: mds_owner
--



--
-- Data for Name: lock_cold; Type: TABLE DATA; Schema: store; Owner: mds_owner
--



--
-- Data for Name: lock_migration; Type: TABLE DATA; Schema: store; Owner: mds_owner
--



--
-- Data for Name: lock_refresh; Type: TABLE DATA; Schema: store; Owner: mds_owner
--



--
-- Data for Name: news; Type: TABLE DATA; Schema: store; Owner: mds_owner
--

INSERT INTO store.news VALUES (1099511627790, '2024-02-09 12:00:00+00', 'eeeeeeee-0000-4000-8000-000000000005', 'Up', 'AAPL', 'https://a.invalid', 0.5, '24843171', NULL);
INSERT INTO store.news VALUES (2199023255569, '2024-02-09 12:00:00+00', 'eeeeeeee-0000-4000-8000-000000000005', 'Up', 'AAPL', 'https://a.invalid', 0.5, '24843171', NULL);
INSERT INTO store.news VALUES (3298534883348, '2024-02-09 12:00:00+00', 'eeeeeeee-0000-4000-8000-000000000005', 'Up', 'AAPL', 'https://a.invalid', 0.5, '24843171', NULL);
INSERT INTO store.news VALUES (1099511627790, '2024-02-09 12:00:00+00', '32adffeb-66e4-4372-4798-f6a4078ab933', 'Up', 'SHARES', NULL, NULL, NULL, 'eeeeeeee-0000-4000-8000-000000000005');
INSERT INTO store.news VALUES (2199023255569, '2024-02-09 12:00:00+00', '32adffeb-66e4-4372-4798-f6a4078ab933', 'Up', 'SHARES', NULL, NULL, NULL, 'eeeeeeee-0000-4000-8000-000000000005');
INSERT INTO store.news VALUES (3298534883348, '2024-02-09 12:00:00+00', '32adffeb-66e4-4372-4798-f6a4078ab933', 'Up', 'SHARES', NULL, NULL, NULL, 'eeeeeeee-0000-4000-8000-000000000005');


--
-- Data for Name: objects; Type: TABLE DATA; Schema: store; Owner: mds_owner
--

INSERT INTO store.objects VALUES ('schema store', '2085fd6ff561ce2df48f56254ff8cb264db49ad81403998f40fb2983181a3ef6', '57635c32789e4b0b1f6e2e7a7cd59c55');
INSERT INTO store.objects VALUES ('schema mds', '5db4cc77af7fbefe9e8765e4222a5e612f088bac84d387dddba529d5f3f9799f', '48d00fd56a35c3a0d707e2b25071036c');
INSERT INTO store.objects VALUES ('rights in store', 'eb1b6582a7ee4dfe675741d4cf01f8e1084fc00a265e6fd2c61c5b79eb2affb9', 'ab31809359d48016228da6d869d272cc');
INSERT INTO store.objects VALUES ('store.tenant_no()', 'fba82bffa1f539ec3b4ed6556db9f92ca296e64b98a5948e1ec478bb77d115ae', '0dfacbf7c4b1fe9fa681cdfb7796c778');
INSERT INTO store.objects VALUES ('store.current_tenant()', 'e4e8d15f3780edf4e473623f368f6fc03e42d035cd37065891b8d318fe072921', '872644b2d3720032a804e908fef61d74');
INSERT INTO store.objects VALUES ('store.tenant_floor()', '5927a7e065a75ba14986808baf0b7c5abbbc30edf82bf6c6dcd24bd121b2da97', '2fd0deaac2bf0747b449ec5d571901dd');
INSERT INTO store.objects VALUES ('store.tenant_ceiling()', '8a2a9c18ae1ac9d5c8470e0f05946cfa25e76383922704ab455f2cea3794cfcb', 'b071fbaff2cbce5ff0ba264b2b519115');
INSERT INTO store.objects VALUES ('store.next_series_id()', 'a4ca0913c36e8bbb72dad55c51fc0f4a44a6b3c7f8e81dc4dfede366b041b55a', '9f2690f8d3bd2a7c025d42ed41824628');
INSERT INTO store.objects VALUES ('store.job_tenant()', 'a5ab6e697758db2af30691f7de59c7f39d8dafc80e9d507e956121c557966e6c', 'd8524fe1a7cee99f3763a84ece065149');
INSERT INTO store.objects VALUES ('store.announce_jobs()', 'da5832330ab86cf7b6f61eb9e89fc74fdb06faac10905cae7ff8269460ae12d9', '1d9e5688e39e473a51ea01afd6ccffbf');
INSERT INTO store.objects VALUES ('store.limit_jobs()', '9e25688ac7ea7cb12d8112defc7c13ae32b76512c6a7d86c18944e24c47d17f6', 'c3664c91be3d3b09497ff707f6e77408');
INSERT INTO store.objects VALUES ('store.refuse()', '0ba59a300a7daf92953ceafd00a04fd61ae0804731ac9539db2b51e41016442f', 'c89b0813237bbee1b09cc5e2a24891ba');
INSERT INTO store.objects VALUES ('store.refuse_time()', 'c3938c1e037baa4acfb4b1dba1a71ef20fbb24c815f7957e2c998a93a2f1bfdc', '9f8d03c02362d27625813b951b72dd57');
INSERT INTO store.objects VALUES ('store.refuse_shared()', '0333c8c9e0e025a1c2422e157988939b1c3af7a1de48e7f97c9068efb0ba25ef', 'd5b54ed8e777278218e86a9936eb1c02');
INSERT INTO store.objects VALUES ('mds.use_tenant(uuid)', '61b89fb5a751f11213fecba4ccd4ad7241e59f6976ece5f9cf7f67314e7a47c1', 'fd356d4e80ceb7fa627f37cf3f4056ae');
INSERT INTO store.objects VALUES ('mds.spells_as(text[])', '22a365885bf2bf826eb12806eba8080ea8818ef041ba8509135f3cb79c453d2c', '8f038e1080e676da8da405f8dfadd0a8');
INSERT INTO store.objects VALUES ('mds.is_tenant(uuid)', '3a1e867c4b717035a02fad8263455d303bfd2d1fc0dc0e933c95aa38194ad666', '7b59c7a8f7edb419be1b2653731ec0ce');
INSERT INTO store.objects VALUES ('mds.schema_version()', '392449ab36d220ee4069c57faf2ecca2f23615b3e5cfcfe4a8c953abc2916990', '333af6e7a0e3ad3f2c3978851c5d2489');
INSERT INTO store.objects VALUES ('store.cold_floor(text)', 'd4a8aa94c1660369b13213dfa9264d909d040b8e1595f8f4c3aecbd99b30ca09', '40dac08ecfbb73c3f7a4fd24ae26687a');
INSERT INTO store.objects VALUES ('store.cold_ceiling(text)', 'e9bddf574e0a46f3154d1dbe846fc373b476fb3c59a8799a14593c32bcd14781', '7d7ad529172afeab1d937dcf9543b8f7');
INSERT INTO store.objects VALUES ('store.refuse_cold(text)', '16f9a43c9d60c92c6047c3e68d7f3b5566dc8dd11913c556df9b1a7aad68c8f0', '0c5fd7b007df31edf03b23cabb3c1231');
INSERT INTO store.objects VALUES ('store.refuse_late(text)', '435c4a89da0298f40eb45cbd86e8cb0f881019f5af3c8fb4c1ba3463c8566ceb', '8b685544f06c22dbcc01dff98631e1ed');
INSERT INTO store.objects VALUES ('mds.is_hot(uuid, text, timestamp with time zone)', 'd073622aa7d95e1af889c54bdb280b424045a6bca674b209e57237db02016fc9', '4e0110ca789edfb4d8e4780089937d8f');
INSERT INTO store.objects VALUES ('trigger store.jobs.limits', '5c9cf9747adf4fcce02c35e2d0a047a2d9de3465b08476cf19d5e5bd291d6847', '0d9d19fb2032c68ef43be0fa6571eefb');
INSERT INTO store.objects VALUES ('trigger store.jobs.announce', '89c6d7843762cec51f26e3e5ec9bd7483df6b94d12a24f60a926670c654645dc', '7517d52ad06e5085c7807122da1fa0e5');
INSERT INTO store.objects VALUES ('view public.tenants', '30b917bca50905bf76ebea46071816509a0475357720d76f98e93072cfb310c8', '5959d0279b2e2db00f147d7f14830658');
INSERT INTO store.objects VALUES ('view mds.case_sensitive_vendors', '82d8274780112cdf35fb7efc19502b909139f2fa2900787ce6e1d610f7813e6c', '36a09994ff84821755e4697fcf454c2e');
INSERT INTO store.objects VALUES ('view mds.series', 'e1475953d7d80feae2c79b4b3f0a7aaa0eed719cbcfedb519525db981b8a1464', '7bf119477db19abfb7e62a07eff95c9c');
INSERT INTO store.objects VALUES ('view mds.bars', '58427e57f35b66cb0be0279f535b0204bdaa5a1e417c1fe225449218cb7c3c11', '53f2e4310ed4a4eae92a256c0b0470f4');
INSERT INTO store.objects VALUES ('view mds.fundamentals', '29604469a40039edb91c338cf6fd49b6d5df201fd40630eb0a14be6caeb7f41f', 'b56663db2abddcfda703a6483a6dca9b');
INSERT INTO store.objects VALUES ('view mds.news', 'deedb13a092e097fe22715e9b2769f4e6490504869ebf8c2484004d87abb0b6e', 'ec09decab07928e8bfb535ef896daf17');
INSERT INTO store.objects VALUES ('view mds.options', '0e035612d140a2dc08915c2869a643759464086257478aa94755a97d74d9fb6d', 'fa81c79e29dcf47c630c71b63ce53b41');
INSERT INTO store.objects VALUES ('view mds.instruments', '8d25217bec9977dfb7cc8f783f4cdf1ddea20236df90d4e27de7fab8e07d56ca', 'a15b8e20d5fb9bdea8e7d7c36f015a17');
INSERT INTO store.objects VALUES ('view mds.bars_replace', 'dc46e6d6d671e8dfe42ee09d984d3d2eb1a17a69c5513d2d2048fe10b9d2602b', 'bd199c6a89f1a7ff3414ae16faccb1f3');
INSERT INTO store.objects VALUES ('view mds.bars_keep', 'cf49486504a55181422966c18a3bd30b4849482190fd6e32ea611211c192796a', 'cfe9bdfbe2ebf0c4894d39e953da549c');
INSERT INTO store.objects VALUES ('view mds.bars_fill', '323fa6e10d7f19bf450c41508132e6b7be5bd1e936b7871feda6cf9f5c848125', 'bed1dbb4564a54ab1333092c91549b46');
INSERT INTO store.objects VALUES ('view mds.bars_append', 'ab1bad4142cfc42e88ec5895874098ac1d1bb3a98f0848a918594db227f4d9e6', '983cc5be77deb927eb3a26fc87a50449');
INSERT INTO store.objects VALUES ('view mds.fundamentals_replace', '1a2d6b4573e3db9889c68bc7b7ae9ae9ebf05a074dbc5e9c24c4aa14a6183054', '1c3ca6515fb44e81cad5debaeb6a9692');
INSERT INTO store.objects VALUES ('view mds.fundamentals_keep', '00d5f1af3474214673180aeba1f280331f9c9e844e0f733b92d630c725c6007b', '31ea71b28d923962e1c91c8c295637c3');
INSERT INTO store.objects VALUES ('view mds.fundamentals_fill', 'c453553f0f7957c895e3e78b3c7504e2627ae7989ee60a5617c09a75203dda2a', '74651ac631c7d40b12ec0786edb4397a');
INSERT INTO store.objects VALUES ('view mds.fundamentals_append', 'efe7b16039b95e3216d0ff932edb2081c0b75c6d71de823e01eb35d1f69c6e2a', '6790580960f60d21187e14ba2b72fa01');
INSERT INTO store.objects VALUES ('view mds.news_replace', '4a3f6ccbf62731ded5534312ded8b09a0315a5ff5efea5d66c9c9e9de3586ed0', '71037f3a7381291657d344ab3e28adc4');
INSERT INTO store.objects VALUES ('view mds.news_keep', '57601def63cff5b37f7a69a3f53c169ac11dc93c07e5288cf3b444cd9e6e0d15', '8e776d2a4a4ea6de93ad30266e173e56');
INSERT INTO store.objects VALUES ('view mds.news_fill', 'e949bfe61befc532145d38c26f14cd0b991cece7f8ddb585ae715910aa769592', '0e189ea203635cd9966658bcc48efeb4');
INSERT INTO store.objects VALUES ('view mds.news_append', 'ace03c30e07e717c2f3d8706d629da2da02a1d0a856ab8483b2affa56c07e7f7', 'ebc06327ef0d07de038f98b4b7707a8c');
INSERT INTO store.objects VALUES ('view mds.options_replace', 'ab33bf20427571bfe56c9783b5814e6d7a9389ebd744d726a82ef061a7841f3c', '78bb02c85f4ff5fd81bac00a6fff9af0');
INSERT INTO store.objects VALUES ('view mds.options_keep', '184292621049fe359009e11f29f52e86c05362ffa23b3a59f17b2e0d201a30ab', '6c46c27448a68fe1655aa9fcb191cc72');
INSERT INTO store.objects VALUES ('view mds.options_fill', '1f3c74d9974a4c068d0e2fe94877f9145360b4a88be7b7c56aa15b49f221ee49', '1f41504cf453811a0f91442f52724f18');
INSERT INTO store.objects VALUES ('view mds.options_append', '9828ddbac8b16ef6f1108426c842c1d90c4a279c2e38fd7ca5e87d75f44640c7', 'ab59d0d40aa0d6d3c4d0ebc6855a324b');
INSERT INTO store.objects VALUES ('view mds.instruments_replace', '8b36d6618bacd0b1e66149696bc3135e0f527ca3e94222da91635676b77f5f8a', '0d081c4ea76f07d32b8db5febebc9dbd');
INSERT INTO store.objects VALUES ('view mds.instruments_keep', '99a09863475ac210f786fff4d8dd780104866ce1b759334d507d895dfa2b6e9f', 'ac0c29d6e5cf0768300ac385c2d0910d');
INSERT INTO store.objects VALUES ('view mds.instruments_fill', 'fd4daa9ad9ffdb88ce9b1428cc2af049a07cbd2c198330576fbf904a02a885d0', '6986bd93ee3d8a05e981a423037c5ac4');
INSERT INTO store.objects VALUES ('view mds.instruments_append', '0677e3182362b0b01b0c053b8b8a4cb498dfd121f1c0435f94ceeb4789e98bde', '493fa0eb71c49bab54a7fa022949b18b');
INSERT INTO store.objects VALUES ('view mds.cold_fences', '16fa89c88d4cf4b2f8362f103cb3ff16e25dc2cd471f0baa4ff4a69c8cb8625e', '8960e2f567e3bd2da3eecfa3218f429c');
INSERT INTO store.objects VALUES ('view mds.cold_files', '8b6b5eac8c266c29a4aef69997d8146cdd84df3002396d14e38d3431e1246c66', '2caa9798dc6b12186f30d6739ec31e43');
INSERT INTO store.objects VALUES ('view mds.iceberg_tables', 'b8ec2793d3e1c729bf6ac9d9f874d59f55510b9fef0dd81cede30b7cbee2a7b0', '15090da8c0930ecffd30262c23bc1f4e');
INSERT INTO store.objects VALUES ('view mds.iceberg_namespace_properties', '797c25e53ade6457dca46d7078d477dc5169c7c38a9d57ff307b5346625b45b5', '08ee35c73f98111465b2b782d4310155');
INSERT INTO store.objects VALUES ('view mds.late_bars', '7131dd846c6d8f35a5d61c604e0d2330638b938fb19fcb7c79ed3c3624ba7723', '2f2e1c85b3f0fc16e46cbb8b891f5471');
INSERT INTO store.objects VALUES ('view mds.bars_late', '15e7241ae78f4c3d1a10da9074b7fd5ec89c706f6fe26e57c191b6acb9dce191', 'd2af909afba3323f3b27da7222b52dee');
INSERT INTO store.objects VALUES ('view mds.late_options', '841dd3ad758655640145ba3f0b809de06e99b45b19cd6e183d5df686d94c26c1', 'c41c9c1152f116a635d2ce66827ac135');
INSERT INTO store.objects VALUES ('view mds.options_late', '419e32d5dc280cd6419c20d02bfe0f9aad1b308157d32d246eb55f5c7dd4db9d', '091b527571a5826410be4d83ed415ecc');
INSERT INTO store.objects VALUES ('mds.bars_last_values(bigint[], timestamp with time zone[], timestamp with time zone[], timestamp with time zone[], double precision[], boolean[], text, bigint)', '0fc021ed234af8d6045d86a04305b52616a0bf5c3af82194db39c8e135ce47b1', '9974d4cb98dcfd49fbfec927fa5f6d3b');
INSERT INTO store.objects VALUES ('mds.fundamentals_last_values(bigint[], timestamp with time zone[], text, bigint)', 'b5dc44a1f1aba510de7ce91dd6788bf97474730b2fdaf7fd8cf0664e4370ffab', '2758a0533bac97b771dd886586c24a8a');
INSERT INTO store.objects VALUES ('mds.news_last_values(bigint[], timestamp with time zone[], text, bigint)', '9228799778814c78d667649c72ccf14c18ad76e01f425e779958f8b2d0f81121', '91a1903e27cb56e4c99fdabc8ef352c1');
INSERT INTO store.objects VALUES ('mds.options_last_values(bigint[], timestamp with time zone[], text, bigint)', 'd82b47ef73030360d9ec1cbcdaf5572be0d68115b17aef6dc4fd8aecc1b8aa9d', 'd92f7453a54d0eec4e7d671d22f72898');
INSERT INTO store.objects VALUES ('mds.instruments_last_values(bigint[], timestamp with time zone[], text, bigint)', 'da2911783e7c943a64585f73f87959156861839afaedc0fb41e7de74ac60ef28', 'df51386aa77e1152656c6262bffc6aca');
INSERT INTO store.objects VALUES ('mds.delete_bars(uuid, bigint, timestamp with time zone, timestamp with time zone, integer)', 'ce3e6aca01ed3710879056dd6fa304f46f71563fe8b54e87431ae1939d2c73be', '5ce784d8745a2a2abfa18e96da7a2de4');
INSERT INTO store.objects VALUES ('mds.delete_fundamentals(uuid, bigint, timestamp with time zone, timestamp with time zone, integer)', '0faf3fe036a32d2cf7001ce8a726fb821ae735bf598db83ad5fe4484905425ec', 'e4c2041e10ed388e0fd8199cd9a285d4');
INSERT INTO store.objects VALUES ('mds.delete_news(uuid, bigint, timestamp with time zone, timestamp with time zone, integer)', 'd7c3b7b57e5381086a29b99a39c2a6808971f22d64e5c857fc434c94ba25d026', '62b11397f750789031ee9e5512cfea57');
INSERT INTO store.objects VALUES ('mds.delete_options(uuid, bigint, timestamp with time zone, timestamp with time zone, integer)', '1b088f926e759b8822411da65f5986621acd39acc147648281b8e1ffaedcd4c7', 'ee5d9aaf1e2bb520bb6ceb2fdd5e6f27');
INSERT INTO store.objects VALUES ('mds.delete_instruments(uuid, bigint, timestamp with time zone, timestamp with time zone, integer)', '6dbd1a31c7b3e0fbe61ddd551cba9612554b7517372f82ade98c2beb8a2f5ed3', '13f92d03a4342b5c27a30ce39900ea24');
INSERT INTO store.objects VALUES ('mds.delete_late_bars(uuid, bigint, timestamp with time zone, timestamp with time zone, timestamp with time zone, timestamp with time zone, timestamp with time zone, double precision)', '317ad583a6c94e70df93177ba86cf0dfd7bb54f61402d0ecc631e01f1e4a0a87', '126c07ad552176c0dacbcd8355324cff');
INSERT INTO store.objects VALUES ('mds.delete_late_options(uuid, bigint, timestamp with time zone, timestamp with time zone, timestamp with time zone, timestamp with time zone)', '11ec140603ee9021a286a8cac9232917aaa6958eac7f7df8100b02e00ae5774f', 'fbf054206353794c607da62ffe5e8487');
INSERT INTO store.objects VALUES ('mds.rename_series(uuid, bigint[], bigint, text, text, text, boolean)', '26f20d9101a210f22c055c9abc99e35af19f4d86337ea6b26f03d679549be153', '17c6378cb795154ce4ec4190996e396a');
INSERT INTO store.objects VALUES ('view public.bars', '7c5752fda3ae2efe4c6cf2244108b080eb402dc7bab284b17e484742b5cedfcb', '9fd9b9b0491d1abe9471ddafb8296c89');
INSERT INTO store.objects VALUES ('view public.fundamentals', '46d7544fe0f9310debed6e65f3b0ebd56f26bf8cc39c84f5ff65650b534f3cb9', '1019c6750c3dac48c7b92af415f07b37');
INSERT INTO store.objects VALUES ('view public.news', 'c4b9a0571d2a239e7aca728d7e0936eef39cfa4c54349c935caed69be8b302e3', 'e4cd8a9ea6fa5e4990879fb5a4cae802');
INSERT INTO store.objects VALUES ('view public.options_snap', 'af5d2b67f59c1373055a30a399c5fa7b209e163290bc0eecf1b385c9966cf23e', 'aee1c8ee786717f1d0410c3335c4d710');
INSERT INTO store.objects VALUES ('view public.instruments', '9f25e98768b068fdff489b666ebd7614f7aa886ae34f88b0668790552af162b0', '259bddc21058890fa0e737f8e00bbad7');
INSERT INTO store.objects VALUES ('view mds.bars_5m', 'fa3b94227587151596cf524f42f210538bd3b0079d32185a5ec36fcfff17ee19', '88ceda3f967c857e05cfd11fc5ade105');
INSERT INTO store.objects VALUES ('view mds.bars_15m', '257ca4a9aba265790e63fe505bf0ff957cd10c822b6763f330b48a5b344bdb57', 'ab5b8587f6661a9f5196f2cb2a2ccc63');
INSERT INTO store.objects VALUES ('view mds.bars_1h', 'ebb4361dfcf8af5cacf93eca6f539bfd5aed9388318be618684ba54556351ec9', '12045aa88da3a39833bb7ece59908c7b');
INSERT INTO store.objects VALUES ('view mds.bars_1d', '99a74307d732382cc88a36390187aa1f4f5be96d69d621275cb64e3f56cdb443', '81d6fbc171be42635c5c7da0f8abfa4b');
INSERT INTO store.objects VALUES ('view public.bars_5m', 'c4255e463a273269a74fee5e92fdd39977956f926a65621d3cc9a48fc05f544c', 'f0295028ccf238171a5aa0607214ea5d');
INSERT INTO store.objects VALUES ('view public.bars_15m', '4cfd87fef1a0b8ad3e5edf3112b3995fc82908edfa546b0fff6918422235e60b', 'ea705e51b70e2735706f372f69648872');
INSERT INTO store.objects VALUES ('view public.bars_1h', '753aa7415326c04385309c3aca3dc81df71562b26d0f113f8d7200aa4632c8da', '0cfa787845a16cfef12caf7802a0b93e');
INSERT INTO store.objects VALUES ('view public.bars_1d', '5723e9ce38966eedb6edee0e2a401524cbc53adfc8aa5cd81ae0a5d910cc3aac', 'd8adf4c6e40c7f5fb532ae65fa790399');
INSERT INTO store.objects VALUES ('view public.series', 'c273e133eb2279bb3548cca53f93b2dd08c68b394fa5205f5fd253b18859d5b5', '8a15c4671e9f42e0ae729a027b9e9539');
INSERT INTO store.objects VALUES ('view public.symbols', 'd3fdf386f33bf5254794e2efca31de473c0e72d5cd6373c5ca603e1620252309', '54493535b0b6515a5587d5f8c663332a');
INSERT INTO store.objects VALUES ('view public.latest_prices', 'e0d5ed38b999e7945c8450c4490cd428febfb021a3a4613092d548553a6db8ba', 'c0808ff012f4d71ff560488916a83bf6');
INSERT INTO store.objects VALUES ('view mds.jobs', 'f702499ea63214907b6ec6a0b0772eeb6dbe6299fec6daf6dae6c9a91ba197fb', '4b3a58ed9c00bf9072ef459138bb2781');
INSERT INTO store.objects VALUES ('view public.jobs_outbox', 'b9f51b21e944416cedf4f7fbe1c96aa1b7d3186dac89861584944de2d937e4d5', 'f4e98c7a7593b255710035bee101ead8');


--
-- Data for Name: options; Type: TABLE DATA; Schema: store; Owner: mds_owner
--

INSERT INTO store.options VALUES (1099511627791, '2024-02-09 12:00:00+00', '2025-01-17', 'C', 150.5, 0.25, 0.5, 0.01, 1000, NULL, 151.25, NULL, 1.5, 1.75, 1.625, 0.1, -0.01, 0.02, 0.25, NULL, 100);
INSERT INTO store.options VALUES (1099511627791, '2024-02-09 12:00:00+00', '2025-01-17', 'P', 150.5, 0.25, 0.5, 0.01, 1000, NULL, 151.25, NULL, 1.5, 1.75, 1.625, 0.1, -0.01, 0.02, 0.25, NULL, 100);
INSERT INTO store.options VALUES (2199023255570, '2024-02-09 12:00:00+00', '2025-01-17', 'C', 150.5, 0.25, 0.5, 0.01, 1000, NULL, 151.25, NULL, 1.5, 1.75, 1.625, 0.1, -0.01, 0.02, 0.25, NULL, 100);
INSERT INTO store.options VALUES (2199023255570, '2024-02-09 12:00:00+00', '2025-01-17', 'P', 150.5, 0.25, 0.5, 0.01, 1000, NULL, 151.25, NULL, 1.5, 1.75, 1.625, 0.1, -0.01, 0.02, 0.25, NULL, 100);
INSERT INTO store.options VALUES (3298534883349, '2024-02-09 12:00:00+00', '2025-01-17', 'C', 150.5, 0.25, 0.5, 0.01, 1000, NULL, 151.25, NULL, 1.5, 1.75, 1.625, 0.1, -0.01, 0.02, 0.25, NULL, 100);
INSERT INTO store.options VALUES (3298534883349, '2024-02-09 12:00:00+00', '2025-01-17', 'P', 150.5, 0.25, 0.5, 0.01, 1000, NULL, 151.25, NULL, 1.5, 1.75, 1.625, 0.1, -0.01, 0.02, 0.25, NULL, 100);
INSERT INTO store.options VALUES (1099511627798, '2024-02-09 12:00:00+00', '2025-01-17', 'C', 150.5, 0.5, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 150);
INSERT INTO store.options VALUES (2199023255575, '2024-02-09 12:00:00+00', '2025-01-17', 'C', 150.5, 0.5, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 150);
INSERT INTO store.options VALUES (3298534883352, '2024-02-09 12:00:00+00', '2025-01-17', 'C', 150.5, 0.5, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 150);


--
-- Data for Name: policies; Type: TABLE DATA; Schema: store; Owner: mds_owner
--

INSERT INTO store.policies VALUES ('bars', 'retention_after', '20000 days');
INSERT INTO store.policies VALUES ('options', 'retention_after', NULL);


--
-- Data for Name: series; Type: TABLE DATA; Schema: store; Owner: mds_owner
--

INSERT INTO store.series VALUES (1099511627777, 'bars', 'v', 'AAPL', '1d', '2024-02-09 12:00:00+00', 4, '2024-02-09 12:00:00+00', NULL, 0);
INSERT INTO store.series VALUES (1099511627778, 'bars', 'v', 'AAPL', '1m', '2024-02-09 12:00:00+00', 4, '2024-02-09 12:00:00+00', NULL, 0);
INSERT INTO store.series VALUES (1099511627779, 'bars', 'v', 'MSFT', '1d', '2024-02-09 12:00:00+00', 4, '2024-02-09 12:00:00+00', NULL, 0);
INSERT INTO store.series VALUES (1099511627780, 'bars', 'v', 'MSFT', '1m', '2024-02-09 12:00:00+00', 4, '2024-02-09 12:00:00+00', NULL, 0);
INSERT INTO store.series VALUES (2199023255557, 'bars', 'v', 'AAPL', '1d', '2024-02-09 12:00:00+00', 5, '2024-02-09 12:00:00+00', NULL, 0);
INSERT INTO store.series VALUES (2199023255558, 'bars', 'v', 'AAPL', '1m', '2024-02-09 12:00:00+00', 5, '2024-02-09 12:00:00+00', NULL, 0);
INSERT INTO store.series VALUES (2199023255559, 'bars', 'v', 'MSFT', '1d', '2024-02-09 12:00:00+00', 5, '2024-02-09 12:00:00+00', NULL, 0);
INSERT INTO store.series VALUES (2199023255560, 'bars', 'v', 'MSFT', '1m', '2024-02-09 12:00:00+00', 5, '2024-02-09 12:00:00+00', NULL, 0);
INSERT INTO store.series VALUES (3298534883337, 'bars', 'v', 'AAPL', '1d', '2024-02-09 12:00:00+00', 6, '2024-02-09 12:00:00+00', NULL, 0);
INSERT INTO store.series VALUES (3298534883338, 'bars', 'v', 'AAPL', '1m', '2024-02-09 12:00:00+00', 6, '2024-02-09 12:00:00+00', NULL, 0);
INSERT INTO store.series VALUES (3298534883339, 'bars', 'v', 'MSFT', '1d', '2024-02-09 12:00:00+00', 6, '2024-02-09 12:00:00+00', NULL, 0);
INSERT INTO store.series VALUES (3298534883340, 'bars', 'v', 'MSFT', '1m', '2024-02-09 12:00:00+00', 6, '2024-02-09 12:00:00+00', NULL, 0);
INSERT INTO store.series VALUES (1099511627789, 'fundamentals', 'v', 'AAPL', NULL, '2024-02-09 12:00:00+00', NULL, NULL, NULL, 0);
INSERT INTO store.series VALUES (1099511627790, 'news', 'v', NULL, NULL, '2024-02-09 12:00:00+00', NULL, NULL, NULL, 0);
INSERT INTO store.series VALUES (1099511627791, 'options', 'v', 'AAPL', NULL, '2024-02-09 12:00:00+00', NULL, NULL, NULL, 0);
INSERT INTO store.series VALUES (2199023255568, 'fundamentals', 'v', 'AAPL', NULL, '2024-02-09 12:00:00+00', NULL, NULL, NULL, 0);
INSERT INTO store.series VALUES (2199023255569, 'news', 'v', NULL, NULL, '2024-02-09 12:00:00+00', NULL, NULL, NULL, 0);
INSERT INTO store.series VALUES (2199023255570, 'options', 'v', 'AAPL', NULL, '2024-02-09 12:00:00+00', NULL, NULL, NULL, 0);
INSERT INTO store.series VALUES (3298534883347, 'fundamentals', 'v', 'AAPL', NULL, '2024-02-09 12:00:00+00', NULL, NULL, NULL, 0);
INSERT INTO store.series VALUES (3298534883348, 'news', 'v', NULL, NULL, '2024-02-09 12:00:00+00', NULL, NULL, NULL, 0);
INSERT INTO store.series VALUES (3298534883349, 'options', 'v', 'AAPL', NULL, '2024-02-09 12:00:00+00', NULL, NULL, NULL, 0);
INSERT INTO store.series VALUES (1099511627798, 'options', 'v', 'AAPL', NULL, '2024-02-09 12:00:00+00', NULL, NULL, 'AAPL1', 0);
INSERT INTO store.series VALUES (2199023255575, 'options', 'v', 'AAPL', NULL, '2024-02-09 12:00:00+00', NULL, NULL, 'AAPL1', 0);
INSERT INTO store.series VALUES (3298534883352, 'options', 'v', 'AAPL', NULL, '2024-02-09 12:00:00+00', NULL, NULL, 'AAPL1', 0);
INSERT INTO store.series VALUES (1099511627801, 'instruments', 'v', 'AAPL', NULL, '2024-02-09 12:00:00+00', NULL, NULL, NULL, 0);
INSERT INTO store.series VALUES (2199023255578, 'instruments', 'v', 'AAPL', NULL, '2024-02-09 12:00:00+00', NULL, NULL, NULL, 0);
INSERT INTO store.series VALUES (3298534883355, 'instruments', 'v', 'AAPL', NULL, '2024-02-09 12:00:00+00', NULL, NULL, NULL, 0);


--
-- Data for Name: tenant_roles; Type: TABLE DATA; Schema: store; Owner: mds_owner
--

INSERT INTO store.tenant_roles VALUES ('desk_of_beta', 2);


--
-- Data for Name: tenants; Type: TABLE DATA; Schema: store; Owner: mds_owner
--

INSERT INTO store.tenants OVERRIDING SYSTEM VALUE VALUES ('aaaaaaaa-0000-4000-8000-000000000001', 1, 'alpha', '2024-01-01 00:00:00+00', NULL);
INSERT INTO store.tenants OVERRIDING SYSTEM VALUE VALUES ('bbbbbbbb-0000-4000-8000-000000000002', 2, 'beta', '2024-01-02 00:00:00+00', NULL);
INSERT INTO store.tenants OVERRIDING SYSTEM VALUE VALUES ('cccccccc-0000-4000-8000-000000000003', 3, 'closed', '2024-01-03 00:00:00+00', '2024-02-01 00:00:00+00');


--
-- Name: backfills_id_seq; Type: SEQUENCE SET; Schema: store; Owner: mds_owner
--

SELECT pg_catalog.setval('store.backfills_id_seq', 1, true);


--
-- Name: cold_periods_id_seq; Type: SEQUENCE SET; Schema: store; Owner: mds_owner
--

SELECT pg_catalog.setval('store.cold_periods_id_seq', 1, true);


--
-- Name: jobs_id_seq; Type: SEQUENCE SET; Schema: store; Owner: mds_owner
--

SELECT pg_catalog.setval('store.jobs_id_seq', 18, true);


--
-- Name: late_bars_seq_seq; Type: SEQUENCE SET; Schema: store; Owner: mds_owner
--

SELECT pg_catalog.setval('store.late_bars_seq_seq', 8, true);


--
-- Name: late_options_seq_seq; Type: SEQUENCE SET; Schema: store; Owner: mds_owner
--

SELECT pg_catalog.setval('store.late_options_seq_seq', 4, true);


--
-- Name: series_n; Type: SEQUENCE SET; Schema: store; Owner: mds_owner
--

SELECT pg_catalog.setval('store.series_n', 27, true);


--
-- Name: tenants_no_seq; Type: SEQUENCE SET; Schema: store; Owner: mds_owner
--

SELECT pg_catalog.setval('store.tenants_no_seq', 3, true);


--
-- Name: alembic_version alembic_version_pkc; Type: CONSTRAINT; Schema: store; Owner: mds_owner
--

ALTER TABLE ONLY store.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);


--
-- Name: backfills backfills_idempotency_key; Type: CONSTRAINT; Schema: store; Owner: mds_owner
--

ALTER TABLE ONLY store.backfills
    ADD CONSTRAINT backfills_idempotency_key UNIQUE (tenant_no, idempotency_key);


--
-- Name: backfills backfills_pkey; Type: CONSTRAINT; Schema: store; Owner: mds_owner
--

ALTER TABLE ONLY store.backfills
    ADD CONSTRAINT backfills_pkey PRIMARY KEY (id);


--
-- Name: bars bars_pkey; Type: CONSTRAINT; Schema: store; Owner: mds_owner
--

ALTER TABLE ONLY store.bars
    ADD CONSTRAINT bars_pkey PRIMARY KEY (series_id, ts);


--
-- Name: calendars calendars_of_key; Type: CONSTRAINT; Schema: store; Owner: mds_owner
--

ALTER TABLE ONLY store.calendars
    ADD CONSTRAINT calendars_of_key UNIQUE NULLS NOT DISTINCT (tenant_no, vendor, symbol);


--
-- Name: case_sensitive_vendors case_sensitive_vendors_pkey; Type: CONSTRAINT; Schema: store; Owner: mds_owner
--

ALTER TABLE ONLY store.case_sensitive_vendors
    ADD CONSTRAINT case_sensitive_vendors_pkey PRIMARY KEY (vendor);


--
-- Name: cold_fences cold_fences_pkey; Type: CONSTRAINT; Schema: store; Owner: mds_owner
--

ALTER TABLE ONLY store.cold_fences
    ADD CONSTRAINT cold_fences_pkey PRIMARY KEY (tenant_no, kind);


--
-- Name: cold_periods cold_periods_path_key; Type: CONSTRAINT; Schema: store; Owner: mds_owner
--

ALTER TABLE ONLY store.cold_periods
    ADD CONSTRAINT cold_periods_path_key UNIQUE (path);


--
-- Name: cold_periods cold_periods_pkey; Type: CONSTRAINT; Schema: store; Owner: mds_owner
--

ALTER TABLE ONLY store.cold_periods
    ADD CONSTRAINT cold_periods_pkey PRIMARY KEY (id);


--
-- Name: fundamentals fundamentals_pkey; Type: CONSTRAINT; Schema: store; Owner: mds_owner
--

ALTER TABLE ONLY store.fundamentals
    ADD CONSTRAINT fundamentals_pkey PRIMARY KEY (series_id, asof);


--
-- Name: gap_counts gap_counts_pkey; Type: CONSTRAINT; Schema: store; Owner: mds_owner
--

ALTER TABLE ONLY store.gap_counts
    ADD CONSTRAINT gap_counts_pkey PRIMARY KEY (tenant_no, vendor, timeframe);


--
-- Name: iceberg_namespace_properties iceberg_namespace_properties_pkey; Type: CONSTRAINT; Schema: store; Owner: mds_owner
--

ALTER TABLE ONLY store.iceberg_namespace_properties
    ADD CONSTRAINT iceberg_namespace_properties_pkey PRIMARY KEY (catalog_name, namespace, property_key);


--
-- Name: iceberg_tables iceberg_tables_pkey; Type: CONSTRAINT; Schema: store; Owner: mds_owner
--

ALTER TABLE ONLY store.iceberg_tables
    ADD CONSTRAINT iceberg_tables_pkey PRIMARY KEY (catalog_name, table_namespace, table_name);


--
-- Name: instruments instruments_pkey; Type: CONSTRAINT; Schema: store; Owner: mds_owner
--

ALTER TABLE ONLY store.instruments
    ADD CONSTRAINT instruments_pkey PRIMARY KEY (series_id, asof);


--
-- Name: jobs jobs_idempotency_key; Type: CONSTRAINT; Schema: store; Owner: mds_owner
--

ALTER TABLE ONLY store.jobs
    ADD CONSTRAINT jobs_idempotency_key UNIQUE NULLS NOT DISTINCT (tenant_no, idempotency_key);


--
-- Name: jobs jobs_pkey; Type: CONSTRAINT; Schema: store; Owner: mds_owner
--

ALTER TABLE ONLY store.jobs
    ADD CONSTRAINT jobs_pkey PRIMARY KEY (id);


--
-- Name: late_bars late_bars_pkey; Type: CONSTRAINT; Schema: store; Owner: mds_owner
--

ALTER TABLE ONLY store.late_bars
    ADD CONSTRAINT late_bars_pkey PRIMARY KEY (series_id, ts, seq);


--
-- Name: late_options late_options_pkey; Type: CONSTRAINT; Schema: store; Owner: mds_owner
--

ALTER TABLE ONLY store.late_options
    ADD CONSTRAINT late_options_pkey PRIMARY KEY (series_id, ts, seq);


--
-- Name: news news_pkey; Type: CONSTRAINT; Schema: store; Owner: mds_owner
--

ALTER TABLE ONLY store.news
    ADD CONSTRAINT news_pkey PRIMARY KEY (series_id, published_at, id);


--
-- Name: objects objects_pkey; Type: CONSTRAINT; Schema: store; Owner: mds_owner
--

ALTER TABLE ONLY store.objects
    ADD CONSTRAINT objects_pkey PRIMARY KEY (name);


--
-- Name: options options_pkey; Type: CONSTRAINT; Schema: store; Owner: mds_owner
--

ALTER TABLE ONLY store.options
    ADD CONSTRAINT options_pkey PRIMARY KEY (series_id, ts, expiry, option_type, strike);


--
-- Name: policies policies_pkey; Type: CONSTRAINT; Schema: store; Owner: mds_owner
--

ALTER TABLE ONLY store.policies
    ADD CONSTRAINT policies_pkey PRIMARY KEY (relation, policy);


--
-- Name: series series_pkey; Type: CONSTRAINT; Schema: store; Owner: mds_owner
--

ALTER TABLE ONLY store.series
    ADD CONSTRAINT series_pkey PRIMARY KEY (series_id);


--
-- Name: tenant_roles tenant_roles_pkey; Type: CONSTRAINT; Schema: store; Owner: mds_owner
--

ALTER TABLE ONLY store.tenant_roles
    ADD CONSTRAINT tenant_roles_pkey PRIMARY KEY (role);


--
-- Name: tenants tenants_id_key; Type: CONSTRAINT; Schema: store; Owner: mds_owner
--

ALTER TABLE ONLY store.tenants
    ADD CONSTRAINT tenants_id_key UNIQUE (id);


--
-- Name: tenants tenants_name_key; Type: CONSTRAINT; Schema: store; Owner: mds_owner
--

ALTER TABLE ONLY store.tenants
    ADD CONSTRAINT tenants_name_key UNIQUE (name);


--
-- Name: tenants tenants_pkey; Type: CONSTRAINT; Schema: store; Owner: mds_owner
--

ALTER TABLE ONLY store.tenants
    ADD CONSTRAINT tenants_pkey PRIMARY KEY (no);


--
-- Name: cold_periods_current; Type: INDEX; Schema: store; Owner: mds_owner
--

CREATE UNIQUE INDEX cold_periods_current ON store.cold_periods USING btree (tenant_no, kind, period_start) WHERE (replaced_at IS NULL);


--
-- Name: jobs_backfill; Type: INDEX; Schema: store; Owner: mds_owner
--

CREATE INDEX jobs_backfill ON store.jobs USING btree (backfill_id, id) WHERE (backfill_id IS NOT NULL);


--
-- Name: jobs_finished; Type: INDEX; Schema: store; Owner: mds_owner
--

CREATE INDEX jobs_finished ON store.jobs USING btree (finished_at) WHERE (tenant_no IS NULL);


--
-- Name: jobs_queued; Type: INDEX; Schema: store; Owner: mds_owner
--

CREATE INDEX jobs_queued ON store.jobs USING btree (COALESCE(tenant_no, 0), priority, due_at, id) WHERE (state = 'queued'::text);


--
-- Name: jobs_running; Type: INDEX; Schema: store; Owner: mds_owner
--

CREATE INDEX jobs_running ON store.jobs USING btree (leased_until, tenant_no) WHERE (state = 'running'::text);


--
-- Name: jobs_state; Type: INDEX; Schema: store; Owner: mds_owner
--

CREATE INDEX jobs_state ON store.jobs USING btree (state, job_type, id);


--
-- Name: jobs_tenant; Type: INDEX; Schema: store; Owner: mds_owner
--

CREATE INDEX jobs_tenant ON store.jobs USING btree (tenant_no, id);


--
-- Name: series_name_key; Type: INDEX; Schema: store; Owner: mds_owner
--

CREATE UNIQUE INDEX series_name_key ON store.series USING btree (((series_id >> 40)), kind, vendor, symbol, timeframe, root) NULLS NOT DISTINCT;


--
-- Name: bars_append write; Type: RULE; Schema: mds; Owner: mds_owner
--

CREATE RULE write AS
    ON INSERT TO mds.bars_append DO INSTEAD  INSERT INTO store.bars AS t (series_id, ts, open_price, high_price, low_price, close_price, volume, id, vwap, trade_count, volume_fraction)  SELECT COALESCE(NULLIF(NULLIF(LEAST(GREATEST(new.series_id, COALESCE(( SELECT store.tenant_floor() AS tenant_floor), '9223372036854775807'::bigint)), COALESCE(( SELECT store.tenant_ceiling() AS tenant_ceiling), '9223372036854775807'::bigint)), COALESCE(( SELECT store.tenant_floor() AS tenant_floor), '9223372036854775807'::bigint)), COALESCE(( SELECT store.tenant_ceiling() AS tenant_ceiling), '9223372036854775807'::bigint)), store.refuse()) AS "coalesce",
            COALESCE(NULLIF(NULLIF(LEAST(GREATEST(new.ts, ( SELECT store.cold_floor('bars'::text) AS cold_floor)), '10000-01-01 00:00:00+00'::timestamp with time zone), ( SELECT store.cold_floor('bars'::text) AS cold_floor)), '10000-01-01 00:00:00+00'::timestamp with time zone), store.refuse_cold('bars'::text)) AS "coalesce",
            new.open_price,
            new.high_price,
            new.low_price,
            new.close_price,
            new.volume,
            new.id,
            new.vwap,
            new.trade_count,
            new.volume_fraction;


--
-- Name: bars_fill write; Type: RULE; Schema: mds; Owner: mds_owner
--

CREATE RULE write AS
    ON INSERT TO mds.bars_fill DO INSTEAD  INSERT INTO store.bars AS t (series_id, ts, open_price, high_price, low_price, close_price, volume, id, vwap, trade_count, volume_fraction)  SELECT COALESCE(NULLIF(NULLIF(LEAST(GREATEST(new.series_id, COALESCE(( SELECT store.tenant_floor() AS tenant_floor), '9223372036854775807'::bigint)), COALESCE(( SELECT store.tenant_ceiling() AS tenant_ceiling), '9223372036854775807'::bigint)), COALESCE(( SELECT store.tenant_floor() AS tenant_floor), '9223372036854775807'::bigint)), COALESCE(( SELECT store.tenant_ceiling() AS tenant_ceiling), '9223372036854775807'::bigint)), store.refuse()) AS "coalesce",
            COALESCE(NULLIF(NULLIF(LEAST(GREATEST(new.ts, ( SELECT store.cold_floor('bars'::text) AS cold_floor)), '10000-01-01 00:00:00+00'::timestamp with time zone), ( SELECT store.cold_floor('bars'::text) AS cold_floor)), '10000-01-01 00:00:00+00'::timestamp with time zone), store.refuse_cold('bars'::text)) AS "coalesce",
            new.open_price,
            new.high_price,
            new.low_price,
            new.close_price,
            new.volume,
            new.id,
            new.vwap,
            new.trade_count,
            new.volume_fraction ON CONFLICT(series_id, ts) DO UPDATE SET open_price = COALESCE(excluded.open_price, t.open_price), high_price = COALESCE(excluded.high_price, t.high_price), low_price = COALESCE(excluded.low_price, t.low_price), close_price = COALESCE(excluded.close_price, t.close_price), volume = COALESCE(excluded.volume, t.volume), id = COALESCE(excluded.id, t.id), vwap = COALESCE(excluded.vwap, t.vwap), trade_count = COALESCE(excluded.trade_count, t.trade_count), volume_fraction =
        CASE
            WHEN (excluded.volume IS NULL) THEN t.volume_fraction
            ELSE excluded.volume_fraction
        END
  WHERE ((t.open_price IS DISTINCT FROM COALESCE(excluded.open_price, t.open_price)) OR (t.high_price IS DISTINCT FROM COALESCE(excluded.high_price, t.high_price)) OR (t.low_price IS DISTINCT FROM COALESCE(excluded.low_price, t.low_price)) OR (t.close_price IS DISTINCT FROM COALESCE(excluded.close_price, t.close_price)) OR (t.volume IS DISTINCT FROM COALESCE(excluded.volume, t.volume)) OR (t.id IS DISTINCT FROM COALESCE(excluded.id, t.id)) OR (t.vwap IS DISTINCT FROM COALESCE(excluded.vwap, t.vwap)) OR (t.trade_count IS DISTINCT FROM COALESCE(excluded.trade_count, t.trade_count)) OR (t.volume_fraction IS DISTINCT FROM
        CASE
            WHEN (excluded.volume IS NULL) THEN t.volume_fraction
            ELSE excluded.volume_fraction
        END));


--
-- Name: bars_keep write; Type: RULE; Schema: mds; Owner: mds_owner
--

CREATE RULE write AS
    ON INSERT TO mds.bars_keep DO INSTEAD  INSERT INTO store.bars AS t (series_id, ts, open_price, high_price, low_price, close_price, volume, id, vwap, trade_count, volume_fraction)  SELECT COALESCE(NULLIF(NULLIF(LEAST(GREATEST(new.series_id, COALESCE(( SELECT store.tenant_floor() AS tenant_floor), '9223372036854775807'::bigint)), COALESCE(( SELECT store.tenant_ceiling() AS tenant_ceiling), '9223372036854775807'::bigint)), COALESCE(( SELECT store.tenant_floor() AS tenant_floor), '9223372036854775807'::bigint)), COALESCE(( SELECT store.tenant_ceiling() AS tenant_ceiling), '9223372036854775807'::bigint)), store.refuse()) AS "coalesce",
            COALESCE(NULLIF(NULLIF(LEAST(GREATEST(new.ts, ( SELECT store.cold_floor('bars'::text) AS cold_floor)), '10000-01-01 00:00:00+00'::timestamp with time zone), ( SELECT store.cold_floor('bars'::text) AS cold_floor)), '10000-01-01 00:00:00+00'::timestamp with time zone), store.refuse_cold('bars'::text)) AS "coalesce",
            new.open_price,
            new.high_price,
            new.low_price,
            new.close_price,
            new.volume,
            new.id,
            new.vwap,
            new.trade_count,
            new.volume_fraction ON CONFLICT(series_id, ts) DO NOTHING;


--
-- Name: bars_late write; Type: RULE; Schema: mds; Owner: mds_owner
--

CREATE RULE write AS
    ON INSERT TO mds.bars_late DO INSTEAD  INSERT INTO store.late_bars (series_id, ts, open_price, high_price, low_price, close_price, volume, id, vwap, trade_count, volume_fraction, mode)  SELECT COALESCE(NULLIF(NULLIF(LEAST(GREATEST(new.series_id, COALESCE(( SELECT store.tenant_floor() AS tenant_floor), '9223372036854775807'::bigint)), COALESCE(( SELECT store.tenant_ceiling() AS tenant_ceiling), '9223372036854775807'::bigint)), COALESCE(( SELECT store.tenant_floor() AS tenant_floor), '9223372036854775807'::bigint)), COALESCE(( SELECT store.tenant_ceiling() AS tenant_ceiling), '9223372036854775807'::bigint)), store.refuse()) AS "coalesce",
            COALESCE(NULLIF(NULLIF(LEAST(GREATEST(new.ts, '0001-12-31 23:59:59.999999+00 BC'::timestamp with time zone), ( SELECT store.cold_ceiling('bars'::text) AS cold_ceiling)), '0001-12-31 23:59:59.999999+00 BC'::timestamp with time zone), ( SELECT store.cold_ceiling('bars'::text) AS cold_ceiling)), store.refuse_late('bars'::text)) AS "coalesce",
            new.open_price,
            new.high_price,
            new.low_price,
            new.close_price,
            new.volume,
            new.id,
            new.vwap,
            new.trade_count,
            new.volume_fraction,
            new.mode;


--
-- Name: bars_replace write; Type: RULE; Schema: mds; Owner: mds_owner
--

CREATE RULE write AS
    ON INSERT TO mds.bars_replace DO INSTEAD  INSERT INTO store.bars AS t (series_id, ts, open_price, high_price, low_price, close_price, volume, id, vwap, trade_count, volume_fraction)  SELECT COALESCE(NULLIF(NULLIF(LEAST(GREATEST(new.series_id, COALESCE(( SELECT store.tenant_floor() AS tenant_floor), '9223372036854775807'::bigint)), COALESCE(( SELECT store.tenant_ceiling() AS tenant_ceiling), '9223372036854775807'::bigint)), COALESCE(( SELECT store.tenant_floor() AS tenant_floor), '9223372036854775807'::bigint)), COALESCE(( SELECT store.tenant_ceiling() AS tenant_ceiling), '9223372036854775807'::bigint)), store.refuse()) AS "coalesce",
            COALESCE(NULLIF(NULLIF(LEAST(GREATEST(new.ts, ( SELECT store.cold_floor('bars'::text) AS cold_floor)), '10000-01-01 00:00:00+00'::timestamp with time zone), ( SELECT store.cold_floor('bars'::text) AS cold_floor)), '10000-01-01 00:00:00+00'::timestamp with time zone), store.refuse_cold('bars'::text)) AS "coalesce",
            new.open_price,
            new.high_price,
            new.low_price,
            new.close_price,
            new.volume,
            new.id,
            new.vwap,
            new.trade_count,
            new.volume_fraction ON CONFLICT(series_id, ts) DO UPDATE SET open_price = excluded.open_price, high_price = excluded.high_price, low_price = excluded.low_price, close_price = excluded.close_price, volume = excluded.volume, id = excluded.id, vwap = excluded.vwap, trade_count = excluded.trade_count, volume_fraction = excluded.volume_fraction
  WHERE (((t.open_price IS DISTINCT FROM excluded.open_price) OR (t.high_price IS DISTINCT FROM excluded.high_price) OR (t.low_price IS DISTINCT FROM excluded.low_price) OR (t.close_price IS DISTINCT FROM excluded.close_price) OR (t.volume IS DISTINCT FROM excluded.volume) OR (t.id IS DISTINCT FROM excluded.id) OR (t.vwap IS DISTINCT FROM excluded.vwap) OR (t.trade_count IS DISTINCT FROM excluded.trade_count) OR (t.volume_fraction IS DISTINCT FROM excluded.volume_fraction)) AND ((excluded.open_price IS NOT NULL) OR (excluded.high_price IS NOT NULL) OR (excluded.low_price IS NOT NULL) OR (excluded.close_price IS NOT NULL) OR (excluded.volume IS NOT NULL) OR (excluded.vwap IS NOT NULL) OR (excluded.trade_count IS NOT NULL)));


--
-- Name: fundamentals_append write; Type: RULE; Schema: mds; Owner: mds_owner
--

CREATE RULE write AS
    ON INSERT TO mds.fundamentals_append DO INSTEAD  INSERT INTO store.fundamentals AS t (series_id, asof, total_assets, total_liabilities, net_income, eps, id, currency, period, items)  SELECT COALESCE(NULLIF(NULLIF(LEAST(GREATEST(new.series_id, COALESCE(( SELECT store.tenant_floor() AS tenant_floor), '9223372036854775807'::bigint)), COALESCE(( SELECT store.tenant_ceiling() AS tenant_ceiling), '9223372036854775807'::bigint)), COALESCE(( SELECT store.tenant_floor() AS tenant_floor), '9223372036854775807'::bigint)), COALESCE(( SELECT store.tenant_ceiling() AS tenant_ceiling), '9223372036854775807'::bigint)), store.refuse()) AS "coalesce",
            COALESCE(NULLIF(NULLIF(LEAST(GREATEST(new.asof, '0001-12-31 23:59:59.999999+00 BC'::timestamp with time zone), '10000-01-01 00:00:00+00'::timestamp with time zone), '0001-12-31 23:59:59.999999+00 BC'::timestamp with time zone), '10000-01-01 00:00:00+00'::timestamp with time zone), store.refuse_time()) AS "coalesce",
            new.total_assets,
            new.total_liabilities,
            new.net_income,
            new.eps,
            new.id,
            new.currency,
            new.period,
            new.items;


--
-- Name: fundamentals_fill write; Type: RULE; Schema: mds; Owner: mds_owner
--

CREATE RULE write AS
    ON INSERT TO mds.fundamentals_fill DO INSTEAD  INSERT INTO store.fundamentals AS t (series_id, asof, total_assets, total_liabilities, net_income, eps, id, currency, period, items)  SELECT COALESCE(NULLIF(NULLIF(LEAST(GREATEST(new.series_id, COALESCE(( SELECT store.tenant_floor() AS tenant_floor), '9223372036854775807'::bigint)), COALESCE(( SELECT store.tenant_ceiling() AS tenant_ceiling), '9223372036854775807'::bigint)), COALESCE(( SELECT store.tenant_floor() AS tenant_floor), '9223372036854775807'::bigint)), COALESCE(( SELECT store.tenant_ceiling() AS tenant_ceiling), '9223372036854775807'::bigint)), store.refuse()) AS "coalesce",
            COALESCE(NULLIF(NULLIF(LEAST(GREATEST(new.asof, '0001-12-31 23:59:59.999999+00 BC'::timestamp with time zone), '10000-01-01 00:00:00+00'::timestamp with time zone), '0001-12-31 23:59:59.999999+00 BC'::timestamp with time zone), '10000-01-01 00:00:00+00'::timestamp with time zone), store.refuse_time()) AS "coalesce",
            new.total_assets,
            new.total_liabilities,
            new.net_income,
            new.eps,
            new.id,
            new.currency,
            new.period,
            new.items ON CONFLICT(series_id, asof) DO UPDATE SET total_assets = COALESCE(excluded.total_assets, t.total_assets), total_liabilities = COALESCE(excluded.total_liabilities, t.total_liabilities), net_income = COALESCE(excluded.net_income, t.net_income), eps = COALESCE(excluded.eps, t.eps), id = COALESCE(excluded.id, t.id), currency = COALESCE(excluded.currency, t.currency), period = COALESCE(excluded.period, t.period), items = COALESCE(((excluded.items || t.items) || jsonb_strip_nulls(excluded.items)), excluded.items, t.items)
  WHERE ((t.total_assets IS DISTINCT FROM COALESCE(excluded.total_assets, t.total_assets)) OR (t.total_liabilities IS DISTINCT FROM COALESCE(excluded.total_liabilities, t.total_liabilities)) OR (t.net_income IS DISTINCT FROM COALESCE(excluded.net_income, t.net_income)) OR (t.eps IS DISTINCT FROM COALESCE(excluded.eps, t.eps)) OR (t.id IS DISTINCT FROM COALESCE(excluded.id, t.id)) OR (t.currency IS DISTINCT FROM COALESCE(excluded.currency, t.currency)) OR (t.period IS DISTINCT FROM COALESCE(excluded.period, t.period)) OR (t.items IS DISTINCT FROM COALESCE(((excluded.items || t.items) || jsonb_strip_nulls(excluded.items)), excluded.items, t.items)));


--
-- Name: fundamentals_keep write; Type: RULE; Schema: mds; Owner: mds_owner
--

CREATE RULE write AS
    ON INSERT TO mds.fundamentals_keep DO INSTEAD  INSERT INTO store.fundamentals AS t (series_id, asof, total_assets, total_liabilities, net_income, eps, id, currency, period, items)  SELECT COALESCE(NULLIF(NULLIF(LEAST(GREATEST(new.series_id, COALESCE(( SELECT store.tenant_floor() AS tenant_floor), '9223372036854775807'::bigint)), COALESCE(( SELECT store.tenant_ceiling() AS tenant_ceiling), '9223372036854775807'::bigint)), COALESCE(( SELECT store.tenant_floor() AS tenant_floor), '9223372036854775807'::bigint)), COALESCE(( SELECT store.tenant_ceiling() AS tenant_ceiling), '9223372036854775807'::bigint)), store.refuse()) AS "coalesce",
            COALESCE(NULLIF(NULLIF(LEAST(GREATEST(new.asof, '0001-12-31 23:59:59.999999+00 BC'::timestamp with time zone), '10000-01-01 00:00:00+00'::timestamp with time zone), '0001-12-31 23:59:59.999999+00 BC'::timestamp with time zone), '10000-01-01 00:00:00+00'::timestamp with time zone), store.refuse_time()) AS "coalesce",
            new.total_assets,
            new.total_liabilities,
            new.net_income,
            new.eps,
            new.id,
            new.currency,
            new.period,
            new.items ON CONFLICT(series_id, asof) DO NOTHING;


--
-- Name: fundamentals_replace write; Type: RULE; Schema: mds; Owner: mds_owner
--

CREATE RULE write AS
    ON INSERT TO mds.fundamentals_replace DO INSTEAD  INSERT INTO store.fundamentals AS t (series_id, asof, total_assets, total_liabilities, net_income, eps, id, currency, period, items)  SELECT COALESCE(NULLIF(NULLIF(LEAST(GREATEST(new.series_id, COALESCE(( SELECT store.tenant_floor() AS tenant_floor), '9223372036854775807'::bigint)), COALESCE(( SELECT store.tenant_ceiling() AS tenant_ceiling), '9223372036854775807'::bigint)), COALESCE(( SELECT store.tenant_floor() AS tenant_floor), '9223372036854775807'::bigint)), COALESCE(( SELECT store.tenant_ceiling() AS tenant_ceiling), '9223372036854775807'::bigint)), store.refuse()) AS "coalesce",
            COALESCE(NULLIF(NULLIF(LEAST(GREATEST(new.asof, '0001-12-31 23:59:59.999999+00 BC'::timestamp with time zone), '10000-01-01 00:00:00+00'::timestamp with time zone), '0001-12-31 23:59:59.999999+00 BC'::timestamp with time zone), '10000-01-01 00:00:00+00'::timestamp with time zone), store.refuse_time()) AS "coalesce",
            new.total_assets,
            new.total_liabilities,
            new.net_income,
            new.eps,
            new.id,
            new.currency,
            new.period,
            new.items ON CONFLICT(series_id, asof) DO UPDATE SET total_assets = excluded.total_assets, total_liabilities = excluded.total_liabilities, net_income = excluded.net_income, eps = excluded.eps, id = excluded.id, currency = excluded.currency, period = excluded.period, items = excluded.items
  WHERE (((t.total_assets IS DISTINCT FROM excluded.total_assets) OR (t.total_liabilities IS DISTINCT FROM excluded.total_liabilities) OR (t.net_income IS DISTINCT FROM excluded.net_income) OR (t.eps IS DISTINCT FROM excluded.eps) OR (t.id IS DISTINCT FROM excluded.id) OR (t.currency IS DISTINCT FROM excluded.currency) OR (t.period IS DISTINCT FROM excluded.period) OR (t.items IS DISTINCT FROM excluded.items)) AND ((excluded.total_assets IS NOT NULL) OR (excluded.total_liabilities IS NOT NULL) OR (excluded.net_income IS NOT NULL) OR (excluded.eps IS NOT NULL) OR (excluded.currency IS NOT NULL) OR (excluded.period IS NOT NULL) OR (excluded.items IS NOT NULL)));


--
-- Name: instruments_append write; Type: RULE; Schema: mds; Owner: mds_owner
--

CREATE RULE write AS
    ON INSERT TO mds.instruments_append DO INSTEAD  INSERT INTO store.instruments AS t (series_id, asof, name, instrument_type, exchange, currency, tick_size, multiplier, underlying, expiration, strike, option_type, id, items)  SELECT COALESCE(NULLIF(NULLIF(LEAST(GREATEST(new.series_id, COALESCE(( SELECT store.tenant_floor() AS tenant_floor), '9223372036854775807'::bigint)), COALESCE(( SELECT store.tenant_ceiling() AS tenant_ceiling), '9223372036854775807'::bigint)), COALESCE(( SELECT store.tenant_floor() AS tenant_floor), '9223372036854775807'::bigint)), COALESCE(( SELECT store.tenant_ceiling() AS tenant_ceiling), '9223372036854775807'::bigint)), store.refuse()) AS "coalesce",
            COALESCE(NULLIF(NULLIF(LEAST(GREATEST(new.asof, '0001-12-31 23:59:59.999999+00 BC'::timestamp with time zone), '10000-01-01 00:00:00+00'::timestamp with time zone), '0001-12-31 23:59:59.999999+00 BC'::timestamp with time zone), '10000-01-01 00:00:00+00'::timestamp with time zone), store.refuse_time()) AS "coalesce",
            new.name,
            new.instrument_type,
            new.exchange,
            new.currency,
            new.tick_size,
            new.multiplier,
            new.underlying,
            new.expiration,
            new.strike,
            new.option_type,
            new.id,
            new.items;


--
-- Name: instruments_fill write; Type: RULE; Schema: mds; Owner: mds_owner
--

CREATE RULE write AS
    ON INSERT TO mds.instruments_fill DO INSTEAD  INSERT INTO store.instruments AS t (series_id, asof, name, instrument_type, exchange, currency, tick_size, multiplier, underlying, expiration, strike, option_type, id, items)  SELECT COALESCE(NULLIF(NULLIF(LEAST(GREATEST(new.series_id, COALESCE(( SELECT store.tenant_floor() AS tenant_floor), '9223372036854775807'::bigint)), COALESCE(( SELECT store.tenant_ceiling() AS tenant_ceiling), '9223372036854775807'::bigint)), COALESCE(( SELECT store.tenant_floor() AS tenant_floor), '9223372036854775807'::bigint)), COALESCE(( SELECT store.tenant_ceiling() AS tenant_ceiling), '9223372036854775807'::bigint)), store.refuse()) AS "coalesce",
            COALESCE(NULLIF(NULLIF(LEAST(GREATEST(new.asof, '0001-12-31 23:59:59.999999+00 BC'::timestamp with time zone), '10000-01-01 00:00:00+00'::timestamp with time zone), '0001-12-31 23:59:59.999999+00 BC'::timestamp with time zone), '10000-01-01 00:00:00+00'::timestamp with time zone), store.refuse_time()) AS "coalesce",
            new.name,
            new.instrument_type,
            new.exchange,
            new.currency,
            new.tick_size,
            new.multiplier,
            new.underlying,
            new.expiration,
            new.strike,
            new.option_type,
            new.id,
            new.items ON CONFLICT(series_id, asof) DO UPDATE SET name = COALESCE(excluded.name, t.name), instrument_type = COALESCE(excluded.instrument_type, t.instrument_type), exchange = COALESCE(excluded.exchange, t.exchange), currency = COALESCE(excluded.currency, t.currency), tick_size = COALESCE(excluded.tick_size, t.tick_size), multiplier = COALESCE(excluded.multiplier, t.multiplier), underlying = COALESCE(excluded.underlying, t.underlying), expiration = COALESCE(excluded.expiration, t.expiration), strike = COALESCE(excluded.strike, t.strike), option_type = COALESCE(excluded.option_type, t.option_type), id = COALESCE(excluded.id, t.id), items = COALESCE(((excluded.items || t.items) || jsonb_strip_nulls(excluded.items)), excluded.items, t.items)
  WHERE ((t.name IS DISTINCT FROM COALESCE(excluded.name, t.name)) OR (t.instrument_type IS DISTINCT FROM COALESCE(excluded.instrument_type, t.instrument_type)) OR (t.exchange IS DISTINCT FROM COALESCE(excluded.exchange, t.exchange)) OR (t.currency IS DISTINCT FROM COALESCE(excluded.currency, t.currency)) OR (t.tick_size IS DISTINCT FROM COALESCE(excluded.tick_size, t.tick_size)) OR (t.multiplier IS DISTINCT FROM COALESCE(excluded.multiplier, t.multiplier)) OR (t.underlying IS DISTINCT FROM COALESCE(excluded.underlying, t.underlying)) OR (t.expiration IS DISTINCT FROM COALESCE(excluded.expiration, t.expiration)) OR (t.strike IS DISTINCT FROM COALESCE(excluded.strike, t.strike)) OR (t.option_type IS DISTINCT FROM COALESCE(excluded.option_type, t.option_type)) OR (t.id IS DISTINCT FROM COALESCE(excluded.id, t.id)) OR (t.items IS DISTINCT FROM COALESCE(((excluded.items || t.items) || jsonb_strip_nulls(excluded.items)), excluded.items, t.items)));


--
-- Name: instruments_keep write; Type: RULE; Schema: mds; Owner: mds_owner
--

CREATE RULE write AS
    ON INSERT TO mds.instruments_keep DO INSTEAD  INSERT INTO store.instruments AS t (series_id, asof, name, instrument_type, exchange, currency, tick_size, multiplier, underlying, expiration, strike, option_type, id, items)  SELECT COALESCE(NULLIF(NULLIF(LEAST(GREATEST(new.series_id, COALESCE(( SELECT store.tenant_floor() AS tenant_floor), '9223372036854775807'::bigint)), COALESCE(( SELECT store.tenant_ceiling() AS tenant_ceiling), '9223372036854775807'::bigint)), COALESCE(( SELECT store.tenant_floor() AS tenant_floor), '9223372036854775807'::bigint)), COALESCE(( SELECT store.tenant_ceiling() AS tenant_ceiling), '9223372036854775807'::bigint)), store.refuse()) AS "coalesce",
            COALESCE(NULLIF(NULLIF(LEAST(GREATEST(new.asof, '0001-12-31 23:59:59.999999+00 BC'::timestamp with time zone), '10000-01-01 00:00:00+00'::timestamp with time zone), '0001-12-31 23:59:59.999999+00 BC'::timestamp with time zone), '10000-01-01 00:00:00+00'::timestamp with time zone), store.refuse_time()) AS "coalesce",
            new.name,
            new.instrument_type,
            new.exchange,
            new.currency,
            new.tick_size,
            new.multiplier,
            new.underlying,
            new.expiration,
            new.strike,
            new.option_type,
            new.id,
            new.items ON CONFLICT(series_id, asof) DO NOTHING;


--
-- Name: instruments_replace write; Type: RULE; Schema: mds; Owner: mds_owner
--

CREATE RULE write AS
    ON INSERT TO mds.instruments_replace DO INSTEAD  INSERT INTO store.instruments AS t (series_id, asof, name, instrument_type, exchange, currency, tick_size, multiplier, underlying, expiration, strike, option_type, id, items)  SELECT COALESCE(NULLIF(NULLIF(LEAST(GREATEST(new.series_id, COALESCE(( SELECT store.tenant_floor() AS tenant_floor), '9223372036854775807'::bigint)), COALESCE(( SELECT store.tenant_ceiling() AS tenant_ceiling), '9223372036854775807'::bigint)), COALESCE(( SELECT store.tenant_floor() AS tenant_floor), '9223372036854775807'::bigint)), COALESCE(( SELECT store.tenant_ceiling() AS tenant_ceiling), '9223372036854775807'::bigint)), store.refuse()) AS "coalesce",
            COALESCE(NULLIF(NULLIF(LEAST(GREATEST(new.asof, '0001-12-31 23:59:59.999999+00 BC'::timestamp with time zone), '10000-01-01 00:00:00+00'::timestamp with time zone), '0001-12-31 23:59:59.999999+00 BC'::timestamp with time zone), '10000-01-01 00:00:00+00'::timestamp with time zone), store.refuse_time()) AS "coalesce",
            new.name,
            new.instrument_type,
            new.exchange,
            new.currency,
            new.tick_size,
            new.multiplier,
            new.underlying,
            new.expiration,
            new.strike,
            new.option_type,
            new.id,
            new.items ON CONFLICT(series_id, asof) DO UPDATE SET name = excluded.name, instrument_type = excluded.instrument_type, exchange = excluded.exchange, currency = excluded.currency, tick_size = excluded.tick_size, multiplier = excluded.multiplier, underlying = excluded.underlying, expiration = excluded.expiration, strike = excluded.strike, option_type = excluded.option_type, id = excluded.id, items = excluded.items
  WHERE (((t.name IS DISTINCT FROM excluded.name) OR (t.instrument_type IS DISTINCT FROM excluded.instrument_type) OR (t.exchange IS DISTINCT FROM excluded.exchange) OR (t.currency IS DISTINCT FROM excluded.currency) OR (t.tick_size IS DISTINCT FROM excluded.tick_size) OR (t.multiplier IS DISTINCT FROM excluded.multiplier) OR (t.underlying IS DISTINCT FROM excluded.underlying) OR (t.expiration IS DISTINCT FROM excluded.expiration) OR (t.strike IS DISTINCT FROM excluded.strike) OR (t.option_type IS DISTINCT FROM excluded.option_type) OR (t.id IS DISTINCT FROM excluded.id) OR (t.items IS DISTINCT FROM excluded.items)) AND ((excluded.name IS NOT NULL) OR (excluded.instrument_type IS NOT NULL) OR (excluded.exchange IS NOT NULL) OR (excluded.currency IS NOT NULL) OR (excluded.tick_size IS NOT NULL) OR (excluded.multiplier IS NOT NULL) OR (excluded.underlying IS NOT NULL) OR (excluded.expiration IS NOT NULL) OR (excluded.strike IS NOT NULL) OR (excluded.option_type IS NOT NULL) OR (excluded.items IS NOT NULL)));


--
-- Name: news_append write; Type: RULE; Schema: mds; Owner: mds_owner
--

CREATE RULE write AS
    ON INSERT TO mds.news_append DO INSTEAD  INSERT INTO store.news AS t (series_id, published_at, id, title, symbol, url, sentiment_score, vendor_id, id_given)  SELECT COALESCE(NULLIF(NULLIF(LEAST(GREATEST(new.series_id, COALESCE(( SELECT store.tenant_floor() AS tenant_floor), '9223372036854775807'::bigint)), COALESCE(( SELECT store.tenant_ceiling() AS tenant_ceiling), '9223372036854775807'::bigint)), COALESCE(( SELECT store.tenant_floor() AS tenant_floor), '9223372036854775807'::bigint)), COALESCE(( SELECT store.tenant_ceiling() AS tenant_ceiling), '9223372036854775807'::bigint)), store.refuse()) AS "coalesce",
            COALESCE(NULLIF(NULLIF(LEAST(GREATEST(new.published_at, '0001-12-31 23:59:59.999999+00 BC'::timestamp with time zone), '10000-01-01 00:00:00+00'::timestamp with time zone), '0001-12-31 23:59:59.999999+00 BC'::timestamp with time zone), '10000-01-01 00:00:00+00'::timestamp with time zone), store.refuse_time()) AS "coalesce",
            new.id,
            new.title,
            new.symbol,
            new.url,
            new.sentiment_score,
            new.vendor_id,
            new.id_given;


--
-- Name: news_fill write; Type: RULE; Schema: mds; Owner: mds_owner
--

CREATE RULE write AS
    ON INSERT TO mds.news_fill DO INSTEAD  INSERT INTO store.news AS t (series_id, published_at, id, title, symbol, url, sentiment_score, vendor_id, id_given)  SELECT COALESCE(NULLIF(NULLIF(LEAST(GREATEST(new.series_id, COALESCE(( SELECT store.tenant_floor() AS tenant_floor), '9223372036854775807'::bigint)), COALESCE(( SELECT store.tenant_ceiling() AS tenant_ceiling), '9223372036854775807'::bigint)), COALESCE(( SELECT store.tenant_floor() AS tenant_floor), '9223372036854775807'::bigint)), COALESCE(( SELECT store.tenant_ceiling() AS tenant_ceiling), '9223372036854775807'::bigint)), store.refuse()) AS "coalesce",
            COALESCE(NULLIF(NULLIF(LEAST(GREATEST(new.published_at, '0001-12-31 23:59:59.999999+00 BC'::timestamp with time zone), '10000-01-01 00:00:00+00'::timestamp with time zone), '0001-12-31 23:59:59.999999+00 BC'::timestamp with time zone), '10000-01-01 00:00:00+00'::timestamp with time zone), store.refuse_time()) AS "coalesce",
            new.id,
            new.title,
            new.symbol,
            new.url,
            new.sentiment_score,
            new.vendor_id,
            new.id_given ON CONFLICT(series_id, published_at, id) DO UPDATE SET title = COALESCE(excluded.title, t.title), symbol = COALESCE(excluded.symbol, t.symbol), url = COALESCE(excluded.url, t.url), sentiment_score = COALESCE(excluded.sentiment_score, t.sentiment_score), vendor_id = COALESCE(excluded.vendor_id, t.vendor_id)
  WHERE
        CASE
            WHEN (t.symbol IS DISTINCT FROM excluded.symbol) THEN store.refuse_shared()
            ELSE ((t.title IS DISTINCT FROM COALESCE(excluded.title, t.title)) OR (t.symbol IS DISTINCT FROM COALESCE(excluded.symbol, t.symbol)) OR (t.url IS DISTINCT FROM COALESCE(excluded.url, t.url)) OR (t.sentiment_score IS DISTINCT FROM COALESCE(excluded.sentiment_score, t.sentiment_score)) OR (t.vendor_id IS DISTINCT FROM COALESCE(excluded.vendor_id, t.vendor_id)))
        END;


--
-- Name: news_keep write; Type: RULE; Schema: mds; Owner: mds_owner
--

CREATE RULE write AS
    ON INSERT TO mds.news_keep DO INSTEAD  INSERT INTO store.news AS t (series_id, published_at, id, title, symbol, url, sentiment_score, vendor_id, id_given)  SELECT COALESCE(NULLIF(NULLIF(LEAST(GREATEST(new.series_id, COALESCE(( SELECT store.tenant_floor() AS tenant_floor), '9223372036854775807'::bigint)), COALESCE(( SELECT store.tenant_ceiling() AS tenant_ceiling), '9223372036854775807'::bigint)), COALESCE(( SELECT store.tenant_floor() AS tenant_floor), '9223372036854775807'::bigint)), COALESCE(( SELECT store.tenant_ceiling() AS tenant_ceiling), '9223372036854775807'::bigint)), store.refuse()) AS "coalesce",
            COALESCE(NULLIF(NULLIF(LEAST(GREATEST(new.published_at, '0001-12-31 23:59:59.999999+00 BC'::timestamp with time zone), '10000-01-01 00:00:00+00'::timestamp with time zone), '0001-12-31 23:59:59.999999+00 BC'::timestamp with time zone), '10000-01-01 00:00:00+00'::timestamp with time zone), store.refuse_time()) AS "coalesce",
            new.id,
            new.title,
            new.symbol,
            new.url,
            new.sentiment_score,
            new.vendor_id,
            new.id_given ON CONFLICT(series_id, published_at, id) DO UPDATE SET symbol = t.symbol
  WHERE
        CASE
            WHEN (t.symbol IS DISTINCT FROM excluded.symbol) THEN store.refuse_shared()
            ELSE false
        END;


--
-- Name: news_replace write; Type: RULE; Schema: mds; Owner: mds_owner
--

CREATE RULE write AS
    ON INSERT TO mds.news_replace DO INSTEAD  INSERT INTO store.news AS t (series_id, published_at, id, title, symbol, url, sentiment_score, vendor_id, id_given)  SELECT COALESCE(NULLIF(NULLIF(LEAST(GREATEST(new.series_id, COALESCE(( SELECT store.tenant_floor() AS tenant_floor), '9223372036854775807'::bigint)), COALESCE(( SELECT store.tenant_ceiling() AS tenant_ceiling), '9223372036854775807'::bigint)), COALESCE(( SELECT store.tenant_floor() AS tenant_floor), '9223372036854775807'::bigint)), COALESCE(( SELECT store.tenant_ceiling() AS tenant_ceiling), '9223372036854775807'::bigint)), store.refuse()) AS "coalesce",
            COALESCE(NULLIF(NULLIF(LEAST(GREATEST(new.published_at, '0001-12-31 23:59:59.999999+00 BC'::timestamp with time zone), '10000-01-01 00:00:00+00'::timestamp with time zone), '0001-12-31 23:59:59.999999+00 BC'::timestamp with time zone), '10000-01-01 00:00:00+00'::timestamp with time zone), store.refuse_time()) AS "coalesce",
            new.id,
            new.title,
            new.symbol,
            new.url,
            new.sentiment_score,
            new.vendor_id,
            new.id_given ON CONFLICT(series_id, published_at, id) DO UPDATE SET title = excluded.title, symbol = excluded.symbol, url = excluded.url, sentiment_score = excluded.sentiment_score, vendor_id = excluded.vendor_id
  WHERE
        CASE
            WHEN (t.symbol IS DISTINCT FROM excluded.symbol) THEN store.refuse_shared()
            ELSE ((t.title IS DISTINCT FROM excluded.title) OR (t.symbol IS DISTINCT FROM excluded.symbol) OR (t.url IS DISTINCT FROM excluded.url) OR (t.sentiment_score IS DISTINCT FROM excluded.sentiment_score) OR (t.vendor_id IS DISTINCT FROM excluded.vendor_id))
        END;


--
-- Name: options_append write; Type: RULE; Schema: mds; Owner: mds_owner
--

CREATE RULE write AS
    ON INSERT TO mds.options_append DO INSTEAD  INSERT INTO store.options AS t (series_id, ts, expiry, option_type, strike, iv, delta, gamma, oi, volume, spot, id, bid, ask, last, vega, theta, rho, oi_fraction, volume_fraction, multiplier)  SELECT COALESCE(NULLIF(NULLIF(LEAST(GREATEST(new.series_id, COALESCE(( SELECT store.tenant_floor() AS tenant_floor), '9223372036854775807'::bigint)), COALESCE(( SELECT store.tenant_ceiling() AS tenant_ceiling), '9223372036854775807'::bigint)), COALESCE(( SELECT store.tenant_floor() AS tenant_floor), '9223372036854775807'::bigint)), COALESCE(( SELECT store.tenant_ceiling() AS tenant_ceiling), '9223372036854775807'::bigint)), store.refuse()) AS "coalesce",
            COALESCE(NULLIF(NULLIF(LEAST(GREATEST(new.ts, ( SELECT store.cold_floor('options'::text) AS cold_floor)), '10000-01-01 00:00:00+00'::timestamp with time zone), ( SELECT store.cold_floor('options'::text) AS cold_floor)), '10000-01-01 00:00:00+00'::timestamp with time zone), store.refuse_cold('options'::text)) AS "coalesce",
            new.expiry,
            new.option_type,
            new.strike,
            new.iv,
            new.delta,
            new.gamma,
            new.oi,
            new.volume,
            new.spot,
            new.id,
            new.bid,
            new.ask,
            new.last,
            new.vega,
            new.theta,
            new.rho,
            new.oi_fraction,
            new.volume_fraction,
            new.multiplier;


--
-- Name: options_fill write; Type: RULE; Schema: mds; Owner: mds_owner
--

CREATE RULE write AS
    ON INSERT TO mds.options_fill DO INSTEAD  INSERT INTO store.options AS t (series_id, ts, expiry, option_type, strike, iv, delta, gamma, oi, volume, spot, id, bid, ask, last, vega, theta, rho, oi_fraction, volume_fraction, multiplier)  SELECT COALESCE(NULLIF(NULLIF(LEAST(GREATEST(new.series_id, COALESCE(( SELECT store.tenant_floor() AS tenant_floor), '9223372036854775807'::bigint)), COALESCE(( SELECT store.tenant_ceiling() AS tenant_ceiling), '9223372036854775807'::bigint)), COALESCE(( SELECT store.tenant_floor() AS tenant_floor), '9223372036854775807'::bigint)), COALESCE(( SELECT store.tenant_ceiling() AS tenant_ceiling), '9223372036854775807'::bigint)), store.refuse()) AS "coalesce",
            COALESCE(NULLIF(NULLIF(LEAST(GREATEST(new.ts, ( SELECT store.cold_floor('options'::text) AS cold_floor)), '10000-01-01 00:00:00+00'::timestamp with time zone), ( SELECT store.cold_floor('options'::text) AS cold_floor)), '10000-01-01 00:00:00+00'::timestamp with time zone), store.refuse_cold('options'::text)) AS "coalesce",
            new.expiry,
            new.option_type,
            new.strike,
            new.iv,
            new.delta,
            new.gamma,
            new.oi,
            new.volume,
            new.spot,
            new.id,
            new.bid,
            new.ask,
            new.last,
            new.vega,
            new.theta,
            new.rho,
            new.oi_fraction,
            new.volume_fraction,
            new.multiplier ON CONFLICT(series_id, ts, expiry, option_type, strike) DO UPDATE SET iv = COALESCE(excluded.iv, t.iv), delta = COALESCE(excluded.delta, t.delta), gamma = COALESCE(excluded.gamma, t.gamma), oi = COALESCE(excluded.oi, t.oi), volume = COALESCE(excluded.volume, t.volume), spot = COALESCE(excluded.spot, t.spot), id = COALESCE(excluded.id, t.id), bid = COALESCE(excluded.bid, t.bid), ask = COALESCE(excluded.ask, t.ask), last = COALESCE(excluded.last, t.last), vega = COALESCE(excluded.vega, t.vega), theta = COALESCE(excluded.theta, t.theta), rho = COALESCE(excluded.rho, t.rho), multiplier = COALESCE(excluded.multiplier, t.multiplier), oi_fraction =
        CASE
            WHEN (excluded.oi IS NULL) THEN t.oi_fraction
            ELSE excluded.oi_fraction
        END, volume_fraction =
        CASE
            WHEN (excluded.volume IS NULL) THEN t.volume_fraction
            ELSE excluded.volume_fraction
        END
  WHERE ((t.iv IS DISTINCT FROM COALESCE(excluded.iv, t.iv)) OR (t.delta IS DISTINCT FROM COALESCE(excluded.delta, t.delta)) OR (t.gamma IS DISTINCT FROM COALESCE(excluded.gamma, t.gamma)) OR (t.oi IS DISTINCT FROM COALESCE(excluded.oi, t.oi)) OR (t.volume IS DISTINCT FROM COALESCE(excluded.volume, t.volume)) OR (t.spot IS DISTINCT FROM COALESCE(excluded.spot, t.spot)) OR (t.id IS DISTINCT FROM COALESCE(excluded.id, t.id)) OR (t.bid IS DISTINCT FROM COALESCE(excluded.bid, t.bid)) OR (t.ask IS DISTINCT FROM COALESCE(excluded.ask, t.ask)) OR (t.last IS DISTINCT FROM COALESCE(excluded.last, t.last)) OR (t.vega IS DISTINCT FROM COALESCE(excluded.vega, t.vega)) OR (t.theta IS DISTINCT FROM COALESCE(excluded.theta, t.theta)) OR (t.rho IS DISTINCT FROM COALESCE(excluded.rho, t.rho)) OR (t.multiplier IS DISTINCT FROM COALESCE(excluded.multiplier, t.multiplier)) OR (t.oi_fraction IS DISTINCT FROM
        CASE
            WHEN (excluded.oi IS NULL) THEN t.oi_fraction
            ELSE excluded.oi_fraction
        END) OR (t.volume_fraction IS DISTINCT FROM
        CASE
            WHEN (excluded.volume IS NULL) THEN t.volume_fraction
            ELSE excluded.volume_fraction
        END));


--
-- Name: options_keep write; Type: RULE; Schema: mds; Owner: mds_owner
--

CREATE RULE write AS
    ON INSERT TO mds.options_keep DO INSTEAD  INSERT INTO store.options AS t (series_id, ts, expiry, option_type, strike, iv, delta, gamma, oi, volume, spot, id, bid, ask, last, vega, theta, rho, oi_fraction, volume_fraction, multiplier)  SELECT COALESCE(NULLIF(NULLIF(LEAST(GREATEST(new.series_id, COALESCE(( SELECT store.tenant_floor() AS tenant_floor), '9223372036854775807'::bigint)), COALESCE(( SELECT store.tenant_ceiling() AS tenant_ceiling), '9223372036854775807'::bigint)), COALESCE(( SELECT store.tenant_floor() AS tenant_floor), '9223372036854775807'::bigint)), COALESCE(( SELECT store.tenant_ceiling() AS tenant_ceiling), '9223372036854775807'::bigint)), store.refuse()) AS "coalesce",
            COALESCE(NULLIF(NULLIF(LEAST(GREATEST(new.ts, ( SELECT store.cold_floor('options'::text) AS cold_floor)), '10000-01-01 00:00:00+00'::timestamp with time zone), ( SELECT store.cold_floor('options'::text) AS cold_floor)), '10000-01-01 00:00:00+00'::timestamp with time zone), store.refuse_cold('options'::text)) AS "coalesce",
            new.expiry,
            new.option_type,
            new.strike,
            new.iv,
            new.delta,
            new.gamma,
            new.oi,
            new.volume,
            new.spot,
            new.id,
            new.bid,
            new.ask,
            new.last,
            new.vega,
            new.theta,
            new.rho,
            new.oi_fraction,
            new.volume_fraction,
            new.multiplier ON CONFLICT(series_id, ts, expiry, option_type, strike) DO NOTHING;


--
-- Name: options_late write; Type: RULE; Schema: mds; Owner: mds_owner
--

CREATE RULE write AS
    ON INSERT TO mds.options_late DO INSTEAD  INSERT INTO store.late_options (series_id, ts, expiry, option_type, strike, iv, delta, gamma, oi, volume, spot, id, bid, ask, last, vega, theta, rho, oi_fraction, volume_fraction, multiplier, mode)  SELECT COALESCE(NULLIF(NULLIF(LEAST(GREATEST(new.series_id, COALESCE(( SELECT store.tenant_floor() AS tenant_floor), '9223372036854775807'::bigint)), COALESCE(( SELECT store.tenant_ceiling() AS tenant_ceiling), '9223372036854775807'::bigint)), COALESCE(( SELECT store.tenant_floor() AS tenant_floor), '9223372036854775807'::bigint)), COALESCE(( SELECT store.tenant_ceiling() AS tenant_ceiling), '9223372036854775807'::bigint)), store.refuse()) AS "coalesce",
            COALESCE(NULLIF(NULLIF(LEAST(GREATEST(new.ts, '0001-12-31 23:59:59.999999+00 BC'::timestamp with time zone), ( SELECT store.cold_ceiling('options'::text) AS cold_ceiling)), '0001-12-31 23:59:59.999999+00 BC'::timestamp with time zone), ( SELECT store.cold_ceiling('options'::text) AS cold_ceiling)), store.refuse_late('options'::text)) AS "coalesce",
            new.expiry,
            new.option_type,
            new.strike,
            new.iv,
            new.delta,
            new.gamma,
            new.oi,
            new.volume,
            new.spot,
            new.id,
            new.bid,
            new.ask,
            new.last,
            new.vega,
            new.theta,
            new.rho,
            new.oi_fraction,
            new.volume_fraction,
            new.multiplier,
            new.mode;


--
-- Name: options_replace write; Type: RULE; Schema: mds; Owner: mds_owner
--

CREATE RULE write AS
    ON INSERT TO mds.options_replace DO INSTEAD  INSERT INTO store.options AS t (series_id, ts, expiry, option_type, strike, iv, delta, gamma, oi, volume, spot, id, bid, ask, last, vega, theta, rho, oi_fraction, volume_fraction, multiplier)  SELECT COALESCE(NULLIF(NULLIF(LEAST(GREATEST(new.series_id, COALESCE(( SELECT store.tenant_floor() AS tenant_floor), '9223372036854775807'::bigint)), COALESCE(( SELECT store.tenant_ceiling() AS tenant_ceiling), '9223372036854775807'::bigint)), COALESCE(( SELECT store.tenant_floor() AS tenant_floor), '9223372036854775807'::bigint)), COALESCE(( SELECT store.tenant_ceiling() AS tenant_ceiling), '9223372036854775807'::bigint)), store.refuse()) AS "coalesce",
            COALESCE(NULLIF(NULLIF(LEAST(GREATEST(new.ts, ( SELECT store.cold_floor('options'::text) AS cold_floor)), '10000-01-01 00:00:00+00'::timestamp with time zone), ( SELECT store.cold_floor('options'::text) AS cold_floor)), '10000-01-01 00:00:00+00'::timestamp with time zone), store.refuse_cold('options'::text)) AS "coalesce",
            new.expiry,
            new.option_type,
            new.strike,
            new.iv,
            new.delta,
            new.gamma,
            new.oi,
            new.volume,
            new.spot,
            new.id,
            new.bid,
            new.ask,
            new.last,
            new.vega,
            new.theta,
            new.rho,
            new.oi_fraction,
            new.volume_fraction,
            new.multiplier ON CONFLICT(series_id, ts, expiry, option_type, strike) DO UPDATE SET iv = excluded.iv, delta = excluded.delta, gamma = excluded.gamma, oi = excluded.oi, volume = excluded.volume, spot = excluded.spot, id = excluded.id, bid = excluded.bid, ask = excluded.ask, last = excluded.last, vega = excluded.vega, theta = excluded.theta, rho = excluded.rho, multiplier = excluded.multiplier, oi_fraction = excluded.oi_fraction, volume_fraction = excluded.volume_fraction
  WHERE (((t.iv IS DISTINCT FROM excluded.iv) OR (t.delta IS DISTINCT FROM excluded.delta) OR (t.gamma IS DISTINCT FROM excluded.gamma) OR (t.oi IS DISTINCT FROM excluded.oi) OR (t.volume IS DISTINCT FROM excluded.volume) OR (t.spot IS DISTINCT FROM excluded.spot) OR (t.id IS DISTINCT FROM excluded.id) OR (t.bid IS DISTINCT FROM excluded.bid) OR (t.ask IS DISTINCT FROM excluded.ask) OR (t.last IS DISTINCT FROM excluded.last) OR (t.vega IS DISTINCT FROM excluded.vega) OR (t.theta IS DISTINCT FROM excluded.theta) OR (t.rho IS DISTINCT FROM excluded.rho) OR (t.multiplier IS DISTINCT FROM excluded.multiplier) OR (t.oi_fraction IS DISTINCT FROM excluded.oi_fraction) OR (t.volume_fraction IS DISTINCT FROM excluded.volume_fraction)) AND ((excluded.iv IS NOT NULL) OR (excluded.delta IS NOT NULL) OR (excluded.gamma IS NOT NULL) OR (excluded.oi IS NOT NULL) OR (excluded.volume IS NOT NULL) OR (excluded.spot IS NOT NULL) OR (excluded.bid IS NOT NULL) OR (excluded.ask IS NOT NULL) OR (excluded.last IS NOT NULL) OR (excluded.vega IS NOT NULL) OR (excluded.theta IS NOT NULL) OR (excluded.rho IS NOT NULL) OR (excluded.multiplier IS NOT NULL)));


--
-- Name: jobs announce; Type: TRIGGER; Schema: store; Owner: mds_owner
--

CREATE TRIGGER announce AFTER INSERT ON store.jobs REFERENCING NEW TABLE AS made FOR EACH STATEMENT EXECUTE FUNCTION store.announce_jobs();


--
-- Name: jobs limits; Type: TRIGGER; Schema: store; Owner: mds_owner
--

CREATE TRIGGER limits BEFORE INSERT ON store.jobs FOR EACH ROW EXECUTE FUNCTION store.limit_jobs();


--
-- Name: backfills backfills_tenant_no_fkey; Type: FK CONSTRAINT; Schema: store; Owner: mds_owner
--

ALTER TABLE ONLY store.backfills
    ADD CONSTRAINT backfills_tenant_no_fkey FOREIGN KEY (tenant_no) REFERENCES store.tenants(no) ON DELETE CASCADE;


--
-- Name: calendars calendars_tenant_no_fkey; Type: FK CONSTRAINT; Schema: store; Owner: mds_owner
--

ALTER TABLE ONLY store.calendars
    ADD CONSTRAINT calendars_tenant_no_fkey FOREIGN KEY (tenant_no) REFERENCES store.tenants(no) ON DELETE CASCADE;


--
-- Name: cold_fences cold_fences_tenant_no_fkey; Type: FK CONSTRAINT; Schema: store; Owner: mds_owner
--

ALTER TABLE ONLY store.cold_fences
    ADD CONSTRAINT cold_fences_tenant_no_fkey FOREIGN KEY (tenant_no) REFERENCES store.tenants(no) ON DELETE CASCADE;


--
-- Name: cold_periods cold_periods_tenant_no_fkey; Type: FK CONSTRAINT; Schema: store; Owner: mds_owner
--

ALTER TABLE ONLY store.cold_periods
    ADD CONSTRAINT cold_periods_tenant_no_fkey FOREIGN KEY (tenant_no) REFERENCES store.tenants(no) ON DELETE CASCADE;


--
-- Name: gap_counts gap_counts_tenant_no_fkey; Type: FK CONSTRAINT; Schema: store; Owner: mds_owner
--

ALTER TABLE ONLY store.gap_counts
    ADD CONSTRAINT gap_counts_tenant_no_fkey FOREIGN KEY (tenant_no) REFERENCES store.tenants(no) ON DELETE CASCADE;


--
-- Name: iceberg_namespace_properties iceberg_namespace_properties_tenant_id_fkey; Type: FK CONSTRAINT; Schema: store; Owner: mds_owner
--

ALTER TABLE ONLY store.iceberg_namespace_properties
    ADD CONSTRAINT iceberg_namespace_properties_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES store.tenants(id) ON DELETE CASCADE;


--
-- Name: iceberg_tables iceberg_tables_tenant_id_fkey; Type: FK CONSTRAINT; Schema: store; Owner: mds_owner
--

ALTER TABLE ONLY store.iceberg_tables
    ADD CONSTRAINT iceberg_tables_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES store.tenants(id) ON DELETE CASCADE;


--
-- Name: jobs jobs_backfill_id_fkey; Type: FK CONSTRAINT; Schema: store; Owner: mds_owner
--

ALTER TABLE ONLY store.jobs
    ADD CONSTRAINT jobs_backfill_id_fkey FOREIGN KEY (backfill_id) REFERENCES store.backfills(id);


--
-- Name: jobs jobs_tenant_no_fkey; Type: FK CONSTRAINT; Schema: store; Owner: mds_owner
--

ALTER TABLE ONLY store.jobs
    ADD CONSTRAINT jobs_tenant_no_fkey FOREIGN KEY (tenant_no) REFERENCES store.tenants(no);


--
-- Name: tenant_roles tenant_roles_tenant_no_fkey; Type: FK CONSTRAINT; Schema: store; Owner: mds_owner
--

ALTER TABLE ONLY store.tenant_roles
    ADD CONSTRAINT tenant_roles_tenant_no_fkey FOREIGN KEY (tenant_no) REFERENCES store.tenants(no);


--
-- Name: backfills; Type: ROW SECURITY; Schema: store; Owner: mds_owner
--

ALTER TABLE store.backfills ENABLE ROW LEVEL SECURITY;

--
-- Name: calendars; Type: ROW SECURITY; Schema: store; Owner: mds_owner
--

ALTER TABLE store.calendars ENABLE ROW LEVEL SECURITY;

--
-- Name: case_sensitive_vendors; Type: ROW SECURITY; Schema: store; Owner: mds_owner
--

ALTER TABLE store.case_sensitive_vendors ENABLE ROW LEVEL SECURITY;

--
-- Name: cold_fences; Type: ROW SECURITY; Schema: store; Owner: mds_owner
--

ALTER TABLE store.cold_fences ENABLE ROW LEVEL SECURITY;

--
-- Name: cold_periods; Type: ROW SECURITY; Schema: store; Owner: mds_owner
--

ALTER TABLE store.cold_periods ENABLE ROW LEVEL SECURITY;

--
-- Name: fundamentals; Type: ROW SECURITY; Schema: store; Owner: mds_owner
--

ALTER TABLE store.fundamentals ENABLE ROW LEVEL SECURITY;

--
-- Name: gap_counts; Type: ROW SECURITY; Schema: store; Owner: mds_owner
--

ALTER TABLE store.gap_counts ENABLE ROW LEVEL SECURITY;

--
-- Name: iceberg_namespace_properties; Type: ROW SECURITY; Schema: store; Owner: mds_owner
--

ALTER TABLE store.iceberg_namespace_properties ENABLE ROW LEVEL SECURITY;

--
-- Name: iceberg_tables; Type: ROW SECURITY; Schema: store; Owner: mds_owner
--

ALTER TABLE store.iceberg_tables ENABLE ROW LEVEL SECURITY;

--
-- Name: instruments; Type: ROW SECURITY; Schema: store; Owner: mds_owner
--

ALTER TABLE store.instruments ENABLE ROW LEVEL SECURITY;

--
-- Name: jobs; Type: ROW SECURITY; Schema: store; Owner: mds_owner
--

ALTER TABLE store.jobs ENABLE ROW LEVEL SECURITY;

--
-- Name: late_bars; Type: ROW SECURITY; Schema: store; Owner: mds_owner
--

ALTER TABLE store.late_bars ENABLE ROW LEVEL SECURITY;

--
-- Name: late_options; Type: ROW SECURITY; Schema: store; Owner: mds_owner
--

ALTER TABLE store.late_options ENABLE ROW LEVEL SECURITY;

--
-- Name: policies; Type: ROW SECURITY; Schema: store; Owner: mds_owner
--

ALTER TABLE store.policies ENABLE ROW LEVEL SECURITY;

--
-- Name: tenant_roles; Type: ROW SECURITY; Schema: store; Owner: mds_owner
--

ALTER TABLE store.tenant_roles ENABLE ROW LEVEL SECURITY;

--
-- Name: tenants; Type: ROW SECURITY; Schema: store; Owner: mds_owner
--

ALTER TABLE store.tenants ENABLE ROW LEVEL SECURITY;

--
-- Name: SCHEMA mds; Type: ACL; Schema: -; Owner: mds_owner
--

GRANT USAGE ON SCHEMA mds TO mds_app;


--
-- Name: SCHEMA public; Type: ACL; Schema: -; Owner: pg_database_owner
--

GRANT ALL ON SCHEMA public TO mds_owner;
GRANT USAGE ON SCHEMA public TO mds_app;


--
-- Name: FUNCTION bars_last_values(ids bigint[], first_ts timestamp with time zone[], last_ts timestamp with time zone[], price_ts timestamp with time zone[], price double precision[], unpriced boolean[], on_conflict text, renames bigint); Type: ACL; Schema: mds; Owner: mds_owner
--

REVOKE ALL ON FUNCTION mds.bars_last_values(ids bigint[], first_ts timestamp with time zone[], last_ts timestamp with time zone[], price_ts timestamp with time zone[], price double precision[], unpriced boolean[], on_conflict text, renames bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION mds.bars_last_values(ids bigint[], first_ts timestamp with time zone[], last_ts timestamp with time zone[], price_ts timestamp with time zone[], price double precision[], unpriced boolean[], on_conflict text, renames bigint) TO mds_app;


--
-- Name: FUNCTION delete_bars(tenant uuid, wanted bigint, since timestamp with time zone, until timestamp with time zone, most integer, OUT deleted bigint, OUT following timestamp with time zone); Type: ACL; Schema: mds; Owner: mds_owner
--

REVOKE ALL ON FUNCTION mds.delete_bars(tenant uuid, wanted bigint, since timestamp with time zone, until timestamp with time zone, most integer, OUT deleted bigint, OUT following timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION mds.delete_bars(tenant uuid, wanted bigint, since timestamp with time zone, until timestamp with time zone, most integer, OUT deleted bigint, OUT following timestamp with time zone) TO mds_app;


--
-- Name: FUNCTION delete_fundamentals(tenant uuid, wanted bigint, since timestamp with time zone, until timestamp with time zone, most integer, OUT deleted bigint, OUT following timestamp with time zone); Type: ACL; Schema: mds; Owner: mds_owner
--

REVOKE ALL ON FUNCTION mds.delete_fundamentals(tenant uuid, wanted bigint, since timestamp with time zone, until timestamp with time zone, most integer, OUT deleted bigint, OUT following timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION mds.delete_fundamentals(tenant uuid, wanted bigint, since timestamp with time zone, until timestamp with time zone, most integer, OUT deleted bigint, OUT following timestamp with time zone) TO mds_app;


--
-- Name: FUNCTION delete_instruments(tenant uuid, wanted bigint, since timestamp with time zone, until timestamp with time zone, most integer, OUT deleted bigint, OUT following timestamp with time zone); Type: ACL; Schema: mds; Owner: mds_owner
--

REVOKE ALL ON FUNCTION mds.delete_instruments(tenant uuid, wanted bigint, since timestamp with time zone, until timestamp with time zone, most integer, OUT deleted bigint, OUT following timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION mds.delete_instruments(tenant uuid, wanted bigint, since timestamp with time zone, until timestamp with time zone, most integer, OUT deleted bigint, OUT following timestamp with time zone) TO mds_app;


--
-- Name: FUNCTION delete_late_bars(tenant uuid, wanted bigint, since timestamp with time zone, until timestamp with time zone, known timestamp with time zone, newest timestamp with time zone, price_ts timestamp with time zone, price double precision); Type: ACL; Schema: mds; Owner: mds_owner
--

REVOKE ALL ON FUNCTION mds.delete_late_bars(tenant uuid, wanted bigint, since timestamp with time zone, until timestamp with time zone, known timestamp with time zone, newest timestamp with time zone, price_ts timestamp with time zone, price double precision) FROM PUBLIC;
GRANT ALL ON FUNCTION mds.delete_late_bars(tenant uuid, wanted bigint, since timestamp with time zone, until timestamp with time zone, known timestamp with time zone, newest timestamp with time zone, price_ts timestamp with time zone, price double precision) TO mds_app;


--
-- Name: FUNCTION delete_late_options(tenant uuid, wanted bigint, since timestamp with time zone, until timestamp with time zone, known timestamp with time zone, newest timestamp with time zone); Type: ACL; Schema: mds; Owner: mds_owner
--

REVOKE ALL ON FUNCTION mds.delete_late_options(tenant uuid, wanted bigint, since timestamp with time zone, until timestamp with time zone, known timestamp with time zone, newest timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION mds.delete_late_options(tenant uuid, wanted bigint, since timestamp with time zone, until timestamp with time zone, known timestamp with time zone, newest timestamp with time zone) TO mds_app;


--
-- Name: FUNCTION delete_news(tenant uuid, wanted bigint, since timestamp with time zone, until timestamp with time zone, most integer, OUT deleted bigint, OUT following timestamp with time zone); Type: ACL; Schema: mds; Owner: mds_owner
--

REVOKE ALL ON FUNCTION mds.delete_news(tenant uuid, wanted bigint, since timestamp with time zone, until timestamp with time zone, most integer, OUT deleted bigint, OUT following timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION mds.delete_news(tenant uuid, wanted bigint, since timestamp with time zone, until timestamp with time zone, most integer, OUT deleted bigint, OUT following timestamp with time zone) TO mds_app;


--
-- Name: FUNCTION delete_options(tenant uuid, wanted bigint, since timestamp with time zone, until timestamp with time zone, most integer, OUT deleted bigint, OUT following timestamp with time zone); Type: ACL; Schema: mds; Owner: mds_owner
--

REVOKE ALL ON FUNCTION mds.delete_options(tenant uuid, wanted bigint, since timestamp with time zone, until timestamp with time zone, most integer, OUT deleted bigint, OUT following timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION mds.delete_options(tenant uuid, wanted bigint, since timestamp with time zone, until timestamp with time zone, most integer, OUT deleted bigint, OUT following timestamp with time zone) TO mds_app;


--
-- Name: FUNCTION fundamentals_last_values(ids bigint[], last_ts timestamp with time zone[], on_conflict text, renames bigint); Type: ACL; Schema: mds; Owner: mds_owner
--

REVOKE ALL ON FUNCTION mds.fundamentals_last_values(ids bigint[], last_ts timestamp with time zone[], on_conflict text, renames bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION mds.fundamentals_last_values(ids bigint[], last_ts timestamp with time zone[], on_conflict text, renames bigint) TO mds_app;


--
-- Name: FUNCTION instruments_last_values(ids bigint[], last_ts timestamp with time zone[], on_conflict text, renames bigint); Type: ACL; Schema: mds; Owner: mds_owner
--

REVOKE ALL ON FUNCTION mds.instruments_last_values(ids bigint[], last_ts timestamp with time zone[], on_conflict text, renames bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION mds.instruments_last_values(ids bigint[], last_ts timestamp with time zone[], on_conflict text, renames bigint) TO mds_app;


--
-- Name: FUNCTION is_hot(wanted uuid, of_kind text, since timestamp with time zone); Type: ACL; Schema: mds; Owner: mds_owner
--

REVOKE ALL ON FUNCTION mds.is_hot(wanted uuid, of_kind text, since timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION mds.is_hot(wanted uuid, of_kind text, since timestamp with time zone) TO mds_app;


--
-- Name: FUNCTION is_tenant(wanted uuid); Type: ACL; Schema: mds; Owner: mds_owner
--

REVOKE ALL ON FUNCTION mds.is_tenant(wanted uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION mds.is_tenant(wanted uuid) TO mds_app;


--
-- Name: FUNCTION news_last_values(ids bigint[], last_ts timestamp with time zone[], on_conflict text, renames bigint); Type: ACL; Schema: mds; Owner: mds_owner
--

REVOKE ALL ON FUNCTION mds.news_last_values(ids bigint[], last_ts timestamp with time zone[], on_conflict text, renames bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION mds.news_last_values(ids bigint[], last_ts timestamp with time zone[], on_conflict text, renames bigint) TO mds_app;


--
-- Name: FUNCTION options_last_values(ids bigint[], last_ts timestamp with time zone[], on_conflict text, renames bigint); Type: ACL; Schema: mds; Owner: mds_owner
--

REVOKE ALL ON FUNCTION mds.options_last_values(ids bigint[], last_ts timestamp with time zone[], on_conflict text, renames bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION mds.options_last_values(ids bigint[], last_ts timestamp with time zone[], on_conflict text, renames bigint) TO mds_app;


--
-- Name: FUNCTION rename_series(tenant uuid, wanted bigint[], renames bigint, to_vendor text, to_symbol text, to_timeframe text, dry_run boolean); Type: ACL; Schema: mds; Owner: mds_owner
--

REVOKE ALL ON FUNCTION mds.rename_series(tenant uuid, wanted bigint[], renames bigint, to_vendor text, to_symbol text, to_timeframe text, dry_run boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION mds.rename_series(tenant uuid, wanted bigint[], renames bigint, to_vendor text, to_symbol text, to_timeframe text, dry_run boolean) TO mds_app;


--
-- Name: FUNCTION schema_version(); Type: ACL; Schema: mds; Owner: mds_owner
--

REVOKE ALL ON FUNCTION mds.schema_version() FROM PUBLIC;
GRANT ALL ON FUNCTION mds.schema_version() TO mds_app;


--
-- Name: FUNCTION spells_as(vendors text[]); Type: ACL; Schema: mds; Owner: mds_owner
--

REVOKE ALL ON FUNCTION mds.spells_as(vendors text[]) FROM PUBLIC;
GRANT ALL ON FUNCTION mds.spells_as(vendors text[]) TO mds_app;


--
-- Name: FUNCTION use_tenant(wanted uuid); Type: ACL; Schema: mds; Owner: mds_owner
--

REVOKE ALL ON FUNCTION mds.use_tenant(wanted uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION mds.use_tenant(wanted uuid) TO mds_app;


--
-- Name: FUNCTION lo_creat(integer); Type: ACL; Schema: pg_catalog; Owner: postgres
--

REVOKE ALL ON FUNCTION pg_catalog.lo_creat(integer) FROM PUBLIC;


--
-- Name: FUNCTION lo_create(oid); Type: ACL; Schema: pg_catalog; Owner: postgres
--

REVOKE ALL ON FUNCTION pg_catalog.lo_create(oid) FROM PUBLIC;


--
-- Name: FUNCTION lo_from_bytea(oid, bytea); Type: ACL; Schema: pg_catalog; Owner: postgres
--

REVOKE ALL ON FUNCTION pg_catalog.lo_from_bytea(oid, bytea) FROM PUBLIC;


--
-- Name: FUNCTION lo_put(oid, bigint, bytea); Type: ACL; Schema: pg_catalog; Owner: postgres
--

REVOKE ALL ON FUNCTION pg_catalog.lo_put(oid, bigint, bytea) FROM PUBLIC;


--
-- Name: FUNCTION lo_truncate(integer, integer); Type: ACL; Schema: pg_catalog; Owner: postgres
--

REVOKE ALL ON FUNCTION pg_catalog.lo_truncate(integer, integer) FROM PUBLIC;


--
-- Name: FUNCTION lo_truncate64(integer, bigint); Type: ACL; Schema: pg_catalog; Owner: postgres
--

REVOKE ALL ON FUNCTION pg_catalog.lo_truncate64(integer, bigint) FROM PUBLIC;


--
-- Name: FUNCTION lowrite(integer, bytea); Type: ACL; Schema: pg_catalog; Owner: postgres
--

REVOKE ALL ON FUNCTION pg_catalog.lowrite(integer, bytea) FROM PUBLIC;


--
-- Name: FUNCTION announce_jobs(); Type: ACL; Schema: store; Owner: mds_owner
--

REVOKE ALL ON FUNCTION store.announce_jobs() FROM PUBLIC;
GRANT ALL ON FUNCTION store.announce_jobs() TO mds_app;


--
-- Name: FUNCTION cold_ceiling(wanted text); Type: ACL; Schema: store; Owner: mds_owner
--

REVOKE ALL ON FUNCTION store.cold_ceiling(wanted text) FROM PUBLIC;
GRANT ALL ON FUNCTION store.cold_ceiling(wanted text) TO mds_app;


--
-- Name: FUNCTION cold_floor(wanted text); Type: ACL; Schema: store; Owner: mds_owner
--

REVOKE ALL ON FUNCTION store.cold_floor(wanted text) FROM PUBLIC;
GRANT ALL ON FUNCTION store.cold_floor(wanted text) TO mds_app;


--
-- Name: FUNCTION current_tenant(); Type: ACL; Schema: store; Owner: mds_owner
--

REVOKE ALL ON FUNCTION store.current_tenant() FROM PUBLIC;
GRANT ALL ON FUNCTION store.current_tenant() TO mds_app;


--
-- Name: FUNCTION job_tenant(); Type: ACL; Schema: store; Owner: mds_owner
--

REVOKE ALL ON FUNCTION store.job_tenant() FROM PUBLIC;
GRANT ALL ON FUNCTION store.job_tenant() TO mds_app;


--
-- Name: FUNCTION limit_jobs(); Type: ACL; Schema: store; Owner: mds_owner
--

REVOKE ALL ON FUNCTION store.limit_jobs() FROM PUBLIC;
GRANT ALL ON FUNCTION store.limit_jobs() TO mds_app;


--
-- Name: FUNCTION next_series_id(); Type: ACL; Schema: store; Owner: mds_owner
--

REVOKE ALL ON FUNCTION store.next_series_id() FROM PUBLIC;
GRANT ALL ON FUNCTION store.next_series_id() TO mds_app;


--
-- Name: FUNCTION refuse(); Type: ACL; Schema: store; Owner: mds_owner
--

REVOKE ALL ON FUNCTION store.refuse() FROM PUBLIC;
GRANT ALL ON FUNCTION store.refuse() TO mds_app;


--
-- Name: FUNCTION refuse_cold(wanted text); Type: ACL; Schema: store; Owner: mds_owner
--

REVOKE ALL ON FUNCTION store.refuse_cold(wanted text) FROM PUBLIC;
GRANT ALL ON FUNCTION store.refuse_cold(wanted text) TO mds_app;


--
-- Name: FUNCTION refuse_late(wanted text); Type: ACL; Schema: store; Owner: mds_owner
--

REVOKE ALL ON FUNCTION store.refuse_late(wanted text) FROM PUBLIC;
GRANT ALL ON FUNCTION store.refuse_late(wanted text) TO mds_app;


--
-- Name: FUNCTION refuse_shared(); Type: ACL; Schema: store; Owner: mds_owner
--

REVOKE ALL ON FUNCTION store.refuse_shared() FROM PUBLIC;
GRANT ALL ON FUNCTION store.refuse_shared() TO mds_app;


--
-- Name: FUNCTION refuse_time(); Type: ACL; Schema: store; Owner: mds_owner
--

REVOKE ALL ON FUNCTION store.refuse_time() FROM PUBLIC;
GRANT ALL ON FUNCTION store.refuse_time() TO mds_app;


--
-- Name: FUNCTION tenant_ceiling(); Type: ACL; Schema: store; Owner: mds_owner
--

REVOKE ALL ON FUNCTION store.tenant_ceiling() FROM PUBLIC;
GRANT ALL ON FUNCTION store.tenant_ceiling() TO mds_app;


--
-- Name: FUNCTION tenant_floor(); Type: ACL; Schema: store; Owner: mds_owner
--

REVOKE ALL ON FUNCTION store.tenant_floor() FROM PUBLIC;
GRANT ALL ON FUNCTION store.tenant_floor() TO mds_app;


--
-- Name: FUNCTION tenant_no(); Type: ACL; Schema: store; Owner: mds_owner
--

REVOKE ALL ON FUNCTION store.tenant_no() FROM PUBLIC;
GRANT ALL ON FUNCTION store.tenant_no() TO mds_app;


--
-- Name: TABLE bars; Type: ACL; Schema: mds; Owner: mds_owner
--

GRANT SELECT ON TABLE mds.bars TO mds_app;


--
-- Name: TABLE bars_15m; Type: ACL; Schema: mds; Owner: mds_owner
--

GRANT SELECT ON TABLE mds.bars_15m TO mds_app;


--
-- Name: TABLE bars_1d; Type: ACL; Schema: mds; Owner: mds_owner
--

GRANT SELECT ON TABLE mds.bars_1d TO mds_app;


--
-- Name: TABLE bars_1h; Type: ACL; Schema: mds; Owner: mds_owner
--

GRANT SELECT ON TABLE mds.bars_1h TO mds_app;


--
-- Name: TABLE bars_5m; Type: ACL; Schema: mds; Owner: mds_owner
--

GRANT SELECT ON TABLE mds.bars_5m TO mds_app;


--
-- Name: TABLE bars_append; Type: ACL; Schema: mds; Owner: mds_owner
--

GRANT INSERT ON TABLE mds.bars_append TO mds_app;


--
-- Name: TABLE bars_fill; Type: ACL; Schema: mds; Owner: mds_owner
--

GRANT INSERT ON TABLE mds.bars_fill TO mds_app;


--
-- Name: TABLE bars_keep; Type: ACL; Schema: mds; Owner: mds_owner
--

GRANT INSERT ON TABLE mds.bars_keep TO mds_app;


--
-- Name: TABLE bars_late; Type: ACL; Schema: mds; Owner: mds_owner
--

GRANT INSERT ON TABLE mds.bars_late TO mds_app;


--
-- Name: TABLE bars_replace; Type: ACL; Schema: mds; Owner: mds_owner
--

GRANT INSERT ON TABLE mds.bars_replace TO mds_app;


--
-- Name: TABLE case_sensitive_vendors; Type: ACL; Schema: mds; Owner: mds_owner
--

GRANT SELECT ON TABLE mds.case_sensitive_vendors TO mds_app;


--
-- Name: TABLE cold_fences; Type: ACL; Schema: mds; Owner: mds_owner
--

GRANT SELECT ON TABLE mds.cold_fences TO mds_app;


--
-- Name: TABLE cold_files; Type: ACL; Schema: mds; Owner: mds_owner
--

GRANT SELECT ON TABLE mds.cold_files TO mds_app;


--
-- Name: TABLE fundamentals; Type: ACL; Schema: mds; Owner: mds_owner
--

GRANT SELECT ON TABLE mds.fundamentals TO mds_app;


--
-- Name: TABLE fundamentals_append; Type: ACL; Schema: mds; Owner: mds_owner
--

GRANT INSERT ON TABLE mds.fundamentals_append TO mds_app;


--
-- Name: TABLE fundamentals_fill; Type: ACL; Schema: mds; Owner: mds_owner
--

GRANT INSERT ON TABLE mds.fundamentals_fill TO mds_app;


--
-- Name: TABLE fundamentals_keep; Type: ACL; Schema: mds; Owner: mds_owner
--

GRANT INSERT ON TABLE mds.fundamentals_keep TO mds_app;


--
-- Name: TABLE fundamentals_replace; Type: ACL; Schema: mds; Owner: mds_owner
--

GRANT INSERT ON TABLE mds.fundamentals_replace TO mds_app;


--
-- Name: TABLE iceberg_namespace_properties; Type: ACL; Schema: mds; Owner: mds_owner
--

GRANT SELECT ON TABLE mds.iceberg_namespace_properties TO mds_app;


--
-- Name: TABLE iceberg_tables; Type: ACL; Schema: mds; Owner: mds_owner
--

GRANT SELECT ON TABLE mds.iceberg_tables TO mds_app;


--
-- Name: TABLE instruments; Type: ACL; Schema: mds; Owner: mds_owner
--

GRANT SELECT ON TABLE mds.instruments TO mds_app;


--
-- Name: TABLE instruments_append; Type: ACL; Schema: mds; Owner: mds_owner
--

GRANT INSERT ON TABLE mds.instruments_append TO mds_app;


--
-- Name: TABLE instruments_fill; Type: ACL; Schema: mds; Owner: mds_owner
--

GRANT INSERT ON TABLE mds.instruments_fill TO mds_app;


--
-- Name: TABLE instruments_keep; Type: ACL; Schema: mds; Owner: mds_owner
--

GRANT INSERT ON TABLE mds.instruments_keep TO mds_app;


--
-- Name: TABLE instruments_replace; Type: ACL; Schema: mds; Owner: mds_owner
--

GRANT INSERT ON TABLE mds.instruments_replace TO mds_app;


--
-- Name: TABLE jobs; Type: ACL; Schema: mds; Owner: mds_owner
--

GRANT SELECT ON TABLE mds.jobs TO mds_app;


--
-- Name: COLUMN jobs.idempotency_key; Type: ACL; Schema: mds; Owner: mds_owner
--

GRANT INSERT(idempotency_key) ON TABLE mds.jobs TO mds_app;


--
-- Name: COLUMN jobs.job_type; Type: ACL; Schema: mds; Owner: mds_owner
--

GRANT INSERT(job_type) ON TABLE mds.jobs TO mds_app;


--
-- Name: COLUMN jobs.payload; Type: ACL; Schema: mds; Owner: mds_owner
--

GRANT INSERT(payload) ON TABLE mds.jobs TO mds_app;


--
-- Name: COLUMN jobs.priority; Type: ACL; Schema: mds; Owner: mds_owner
--

GRANT INSERT(priority) ON TABLE mds.jobs TO mds_app;


--
-- Name: TABLE late_bars; Type: ACL; Schema: mds; Owner: mds_owner
--

GRANT SELECT ON TABLE mds.late_bars TO mds_app;


--
-- Name: TABLE late_options; Type: ACL; Schema: mds; Owner: mds_owner
--

GRANT SELECT ON TABLE mds.late_options TO mds_app;


--
-- Name: TABLE news; Type: ACL; Schema: mds; Owner: mds_owner
--

GRANT SELECT ON TABLE mds.news TO mds_app;


--
-- Name: TABLE news_append; Type: ACL; Schema: mds; Owner: mds_owner
--

GRANT INSERT ON TABLE mds.news_append TO mds_app;


--
-- Name: TABLE news_fill; Type: ACL; Schema: mds; Owner: mds_owner
--

GRANT INSERT ON TABLE mds.news_fill TO mds_app;


--
-- Name: TABLE news_keep; Type: ACL; Schema: mds; Owner: mds_owner
--

GRANT INSERT ON TABLE mds.news_keep TO mds_app;


--
-- Name: TABLE news_replace; Type: ACL; Schema: mds; Owner: mds_owner
--

GRANT INSERT ON TABLE mds.news_replace TO mds_app;


--
-- Name: TABLE options; Type: ACL; Schema: mds; Owner: mds_owner
--

GRANT SELECT ON TABLE mds.options TO mds_app;


--
-- Name: TABLE options_append; Type: ACL; Schema: mds; Owner: mds_owner
--

GRANT INSERT ON TABLE mds.options_append TO mds_app;


--
-- Name: TABLE options_fill; Type: ACL; Schema: mds; Owner: mds_owner
--

GRANT INSERT ON TABLE mds.options_fill TO mds_app;


--
-- Name: TABLE options_keep; Type: ACL; Schema: mds; Owner: mds_owner
--

GRANT INSERT ON TABLE mds.options_keep TO mds_app;


--
-- Name: TABLE options_late; Type: ACL; Schema: mds; Owner: mds_owner
--

GRANT INSERT ON TABLE mds.options_late TO mds_app;


--
-- Name: TABLE options_replace; Type: ACL; Schema: mds; Owner: mds_owner
--

GRANT INSERT ON TABLE mds.options_replace TO mds_app;


--
-- Name: TABLE series; Type: ACL; Schema: mds; Owner: mds_owner
--

GRANT SELECT ON TABLE mds.series TO mds_app;


--
-- Name: COLUMN series.kind; Type: ACL; Schema: mds; Owner: mds_owner
--

GRANT INSERT(kind) ON TABLE mds.series TO mds_app;


--
-- Name: COLUMN series.vendor; Type: ACL; Schema: mds; Owner: mds_owner
--

GRANT INSERT(vendor) ON TABLE mds.series TO mds_app;


--
-- Name: COLUMN series.symbol; Type: ACL; Schema: mds; Owner: mds_owner
--

GRANT INSERT(symbol) ON TABLE mds.series TO mds_app;


--
-- Name: COLUMN series.timeframe; Type: ACL; Schema: mds; Owner: mds_owner
--

GRANT INSERT(timeframe) ON TABLE mds.series TO mds_app;


--
-- Name: COLUMN series.root; Type: ACL; Schema: mds; Owner: mds_owner
--

GRANT INSERT(root) ON TABLE mds.series TO mds_app;


--
-- Name: COLUMN series.last_ts; Type: ACL; Schema: mds; Owner: mds_owner
--

GRANT UPDATE(last_ts) ON TABLE mds.series TO mds_app;


--
-- Name: COLUMN series.last_price; Type: ACL; Schema: mds; Owner: mds_owner
--

GRANT UPDATE(last_price) ON TABLE mds.series TO mds_app;


--
-- Name: COLUMN series.last_price_ts; Type: ACL; Schema: mds; Owner: mds_owner
--

GRANT UPDATE(last_price_ts) ON TABLE mds.series TO mds_app;


--
-- Name: TABLE bars; Type: ACL; Schema: public; Owner: mds_owner
--

GRANT SELECT ON TABLE public.bars TO mds_app;


--
-- Name: TABLE bars_15m; Type: ACL; Schema: public; Owner: mds_owner
--

GRANT SELECT ON TABLE public.bars_15m TO mds_app;


--
-- Name: TABLE bars_1d; Type: ACL; Schema: public; Owner: mds_owner
--

GRANT SELECT ON TABLE public.bars_1d TO mds_app;


--
-- Name: TABLE bars_1h; Type: ACL; Schema: public; Owner: mds_owner
--

GRANT SELECT ON TABLE public.bars_1h TO mds_app;


--
-- Name: TABLE bars_5m; Type: ACL; Schema: public; Owner: mds_owner
--

GRANT SELECT ON TABLE public.bars_5m TO mds_app;


--
-- Name: TABLE fundamentals; Type: ACL; Schema: public; Owner: mds_owner
--

GRANT SELECT ON TABLE public.fundamentals TO mds_app;


--
-- Name: TABLE instruments; Type: ACL; Schema: public; Owner: mds_owner
--

GRANT SELECT ON TABLE public.instruments TO mds_app;


--
-- Name: TABLE jobs_outbox; Type: ACL; Schema: public; Owner: mds_owner
--

GRANT SELECT ON TABLE public.jobs_outbox TO mds_app;


--
-- Name: TABLE latest_prices; Type: ACL; Schema: public; Owner: mds_owner
--

GRANT SELECT ON TABLE public.latest_prices TO mds_app;


--
-- Name: TABLE news; Type: ACL; Schema: public; Owner: mds_owner
--

GRANT SELECT ON TABLE public.news TO mds_app;


--
-- Name: TABLE options_snap; Type: ACL; Schema: public; Owner: mds_owner
--

GRANT SELECT ON TABLE public.options_snap TO mds_app;


--
-- Name: TABLE series; Type: ACL; Schema: public; Owner: mds_owner
--

GRANT SELECT ON TABLE public.series TO mds_app;


--
-- Name: TABLE symbols; Type: ACL; Schema: public; Owner: mds_owner
--

GRANT SELECT ON TABLE public.symbols TO mds_app;


--
-- Name: TABLE tenants; Type: ACL; Schema: public; Owner: mds_owner
--

GRANT SELECT ON TABLE public.tenants TO mds_app;


--
-- PostgreSQL database dump complete
--


