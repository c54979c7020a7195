"""Functions that delete a tenant's rows: one for each kind, in steps of limited size."""

from psycopg.sql import SQL, Composable, Identifier, Literal

from datastore.engines import Engine
from datastore.names import REFRESH_JOB, STORE
from datastore.schema.declared import DatabaseObject, for_app
from mds_client import sql
from mds_client.schema import Kind

_REFRESH = """
  -- Stored rollups still have what was made of the rows. A job of the store's own refreshes whole days of them. One
  -- that waits already, for the same days, does it for this call, too.
  IF deleted > 0 THEN
    INSERT INTO store.jobs (tenant_no, idempotency_key, job_type, payload, priority)
    SELECT NULL, format('rows of %s deleted, transaction %s', {kind}, pg_current_xact_id()), {job},
           span.payload, 50
      FROM (SELECT jsonb_build_object(
              'start', to_char(first_ts AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"00:00:00"Z"'),
              'end', to_char(last_ts AT TIME ZONE 'UTC' + interval '1 day', 'YYYY-MM-DD"T"00:00:00"Z"')
            ) AS payload) AS span
     WHERE NOT EXISTS (SELECT FROM store.jobs AS j
                        WHERE j.state = 'queued' AND j.job_type = {job} AND j.tenant_no IS NULL
                          AND j.payload = span.payload)
    ON CONFLICT DO NOTHING;
  END IF;
"""

_BODY = """
#variable_conflict use_variable
DECLARE
  cut timestamptz;
  first_ts timestamptz;
  last_ts timestamptz;{fence}
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
{hot}  SELECT min(r.{time}) INTO first_ts FROM {rows} AS r
   WHERE r.series_id = wanted AND r.{time} >= since AND r.{time} < until;
  IF first_ts IS NULL THEN
    RETURN;
  END IF;
  SELECT r.{time} INTO cut FROM {rows} AS r
   WHERE r.series_id = wanted AND r.{time} >= first_ts AND r.{time} < until
   ORDER BY r.{time} OFFSET most LIMIT 1;
  -- Rows of one time go together.
  cut := CASE WHEN cut IS NULL THEN until ELSE greatest(cut, first_ts + interval '1 microsecond') END;
  SELECT max(r.{time}) INTO last_ts FROM {rows} AS r
   WHERE r.series_id = wanted AND r.{time} >= first_ts AND r.{time} < cut;
  DELETE FROM {rows} AS r WHERE r.series_id = wanted AND r.{time} >= first_ts AND r.{time} < cut;
  GET DIAGNOSTICS deleted = ROW_COUNT;
  IF cut < until THEN
    following := cut;
  END IF;
  -- Behind the rows, as writers do it: who writes to the series meanwhile waits here, and finds it as it is then.
  PERFORM FROM store.series AS s WHERE s.series_id = wanted FOR UPDATE;
{left}  UPDATE store.series AS s
     SET last_ts = (SELECT max(r.{time}) FROM {rows} AS r WHERE r.series_id = wanted){prices}
   WHERE s.series_id = wanted;
  -- A series without a row is a name that somebody may have mistyped.
  DELETE FROM store.series AS s
   WHERE s.series_id = wanted AND NOT EXISTS (SELECT FROM {rows} AS r WHERE r.series_id = wanted);{refresh}
END
"""

_FENCE = """
  fence timestamptz;"""

_HOT = """  -- What is in files is not deleted here, and must not look as if it were.
  SELECT f.cold_before INTO fence FROM store.cold_fences AS f
   WHERE f.tenant_no = store.tenant_no() AND f.kind = {kind};
  IF fence > since THEN
    RAISE SQLSTATE {code} USING
      MESSAGE = format('%s from before %s are kept in files, and are deleted by another function', {kind}, fence);
  END IF;
"""

_LEFT = """  IF fence IS NOT NULL AND NOT EXISTS (SELECT FROM {rows} AS r WHERE r.series_id = wanted) THEN
    -- The files know the series by its name. The client gives its last values, which are in files now. Checked behind
    -- the lock, because another call may have deleted the other rows.
    RETURN;
  END IF;
"""

_PRICES = """,
         (last_price_ts, last_price) = (
           SELECT r.{time}, r.{price} FROM {rows} AS r WHERE r.series_id = wanted AND r.{price} IS NOT NULL
            ORDER BY r.{time} DESC LIMIT 1)"""


def deletion(engine: Engine, kind: Kind) -> DatabaseObject:
    """Return the function that deletes at most so many rows of a series and range, and updates its last values.

    It runs with the owner's rights, because no application has a right on the table, so it checks itself that the
    series is the tenant's. It returns the number of rows, and the time from which more follow.
    """
    rows = Identifier(STORE, kind.name)
    time = Identifier(kind.time)
    prices: Composable = SQL("")
    if kind.price is not None:
        prices = SQL(_PRICES).format(time=time, price=Identifier(kind.price), rows=rows)
    refresh: Composable = SQL("")
    if kind.rollups and engine.materialized():
        refresh = SQL(_REFRESH).format(kind=Literal(kind.name), job=Literal(REFRESH_JOB))
    fence: Composable = SQL("")
    hot: Composable = SQL("")
    left: Composable = SQL("")
    if kind.cold:
        fence, hot, left = (
            SQL(_FENCE),
            SQL(_HOT).format(kind=Literal(kind.name), code=Literal(sql.COLD)),
            SQL(_LEFT).format(rows=rows),
        )
    body = (
        SQL(_BODY)
        .format(time=time, rows=rows, prices=prices, refresh=refresh, fence=fence, hot=hot, left=left)
        .as_string(None)
    )
    types = "uuid, bigint, timestamp with time zone, timestamp with time zone, integer"
    name = f"mds.delete_{kind.name}({types})"
    text = f"""
CREATE OR REPLACE FUNCTION mds.delete_{kind.name}(tenant uuid, wanted bigint, since timestamp with time zone,
  until timestamp with time zone, most integer, OUT deleted bigint, OUT following timestamp with time zone)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $${body}$$"""
    return DatabaseObject(name, (text.strip(), *for_app(name)))


_LATE = """
#variable_conflict use_variable
DECLARE
  fence timestamptz;
BEGIN
  PERFORM mds.is_tenant(tenant);
  IF (wanted > store.tenant_floor() AND wanted < store.tenant_ceiling()) IS NOT TRUE THEN
    PERFORM store.refuse();
  END IF;
  -- While rows are brought back this raises an error, as for late rows.
  fence := store.cold_ceiling({kind});
  IF fence IS DISTINCT FROM known THEN
    -- The caller has looked for rows before another fence, and has to look again.
    RAISE SQLSTATE {code} USING MESSAGE = format('the time before which %s are kept in files has changed', {kind});
  END IF;
  -- One for each month with files, late rows or rows that will move, because each is folded on its own where there is
  -- no file of its year.
  INSERT INTO {late} (series_id, {time}, mode, until)
  SELECT wanted, greatest(since, m.first), 'delete', least(until, fence, m.over)
    FROM (SELECT g.month AT TIME ZONE 'UTC', (g.month + interval '1 month') AT TIME ZONE 'UTC'
            FROM store.cold_periods AS p
           CROSS JOIN generate_series(
                   p.period_start AT TIME ZONE 'UTC', p.period_end AT TIME ZONE 'UTC' - interval '1 day',
                   interval '1 month'
                 ) AS g(month)
           WHERE p.tenant_no = store.tenant_no() AND p.kind = {kind} AND p.replaced_at IS NULL
           UNION
          SELECT date_trunc('month', r.moment, 'UTC'),
                 (date_trunc('month', r.moment AT TIME ZONE 'UTC') + interval '1 month') AT TIME ZONE 'UTC'
            FROM (SELECT l.{time} FROM {late} AS l WHERE l.series_id = wanted AND l.{time} >= since AND l.{time} < until
                   UNION ALL
                  SELECT h.{time} FROM {rows} AS h
                   WHERE h.series_id = wanted AND h.{time} >= since AND h.{time} < least(until, fence)) AS r(moment)
         ) AS m(first, over)
   WHERE m.first < least(until, fence) AND m.over > since
   ORDER BY m.first;
  -- Behind the rows, as writers do it.
  PERFORM FROM store.series AS s WHERE s.series_id = wanted FOR UPDATE;
  UPDATE store.series AS s
     SET last_ts = greatest((SELECT max(r.{time}) FROM {rows} AS r WHERE r.series_id = wanted), newest){prices}
   WHERE s.series_id = wanted;
END
"""

_LATE_PRICES = """,
         (last_price_ts, last_price) = (
           SELECT b.moment, b.price
             FROM ((SELECT r.{time}, r.{price} FROM {rows} AS r WHERE r.series_id = wanted AND r.{price} IS NOT NULL
                     ORDER BY r.{time} DESC LIMIT 1)
                   UNION ALL SELECT price_ts, price) AS b(moment, price)
            ORDER BY b.moment DESC NULLS LAST LIMIT 1)"""


def late_deletion(kind: Kind) -> DatabaseObject:
    """Return the function that deletes rows of a series from before the fence, and updates its last values.

    Nothing changes in the files: the deletion is a late row, which readers apply and `datastore cold fold` folds. The
    caller has read the files, and gives the newest time, and the newest price with its time, that are left before the
    fence. `known` is the fence that the caller knows. Like `deletion`, it runs with the owner's rights, and checks
    itself that the series is the tenant's.
    """
    rows, late, time = Identifier(STORE, kind.name), Identifier(STORE, f"late_{kind.name}"), Identifier(kind.time)
    prices: Composable = SQL("")
    arguments = "known timestamp with time zone, newest timestamp with time zone"
    types = f"uuid, bigint{4 * ', timestamp with time zone'}"
    if kind.price is not None:
        prices = SQL(_LATE_PRICES).format(time=time, price=Identifier(kind.price), rows=rows)
        arguments += ", price_ts timestamp with time zone, price double precision"
        types += ", timestamp with time zone, double precision"
    body = (
        SQL(_LATE)
        .format(time=time, rows=rows, late=late, kind=Literal(kind.name), prices=prices, code=Literal(sql.COLD))
        .as_string(None)
    )
    name = f"mds.delete_late_{kind.name}({types})"
    text = f"""
CREATE OR REPLACE FUNCTION mds.delete_late_{kind.name}(tenant uuid, wanted bigint, since timestamp with time zone,
  until timestamp with time zone, {arguments}) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $${body}$$"""
    return DatabaseObject(name, (text.strip(), *for_app(name)))
