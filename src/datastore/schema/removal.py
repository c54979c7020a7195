"""Functions that delete a tenant's rows: one for each kind, in steps of limited size."""

from psycopg.sql import SQL, Composable, Identifier, Literal

from datastore.engines import Engine
from datastore.names import STORE
from datastore.schema.declared import DatabaseObject, for_app
from mds_client.schema import Kind

_REFRESH = """
  -- Stored rollups still have what was made of the rows. A job of the store's own refreshes whole days of them. One
  -- that waits already, for the same days, does it for this call, too.
  IF deleted > 0 THEN
    INSERT INTO store.jobs (tenant_no, idempotency_key, job_type, payload, priority)
    SELECT NULL, format('rows of %s deleted, transaction %s', {kind}, pg_current_xact_id()), 'refresh-aggregates',
           span.payload, 50
      FROM (SELECT jsonb_build_object(
              'start', to_char(first_ts AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"00:00:00"Z"'),
              'end', to_char(last_ts AT TIME ZONE 'UTC' + interval '1 day', 'YYYY-MM-DD"T"00:00:00"Z"')
            ) AS payload) AS span
     WHERE NOT EXISTS (SELECT FROM store.jobs AS j
                        WHERE j.state = 'queued' AND j.job_type = 'refresh-aggregates' AND j.tenant_no IS NULL
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
{left}  IF cut < until THEN
    following := cut;
  END IF;
  -- Behind the rows, as writers do it: who writes to the series meanwhile waits here, and finds it as it is then.
  PERFORM FROM store.series AS s WHERE s.series_id = wanted FOR UPDATE;
  UPDATE store.series AS s
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
    RAISE feature_not_supported USING
      MESSAGE = format('%s from before %s are kept in files: delete rows from that time on', {kind}, fence),
      HINT = 'An operator can bring rows back: datastore cold restore.';
  END IF;
"""

_LEFT = """  IF fence IS NOT NULL AND NOT EXISTS (SELECT FROM {rows} AS r WHERE r.series_id = wanted) THEN
    -- The files know the series by its name, and its last values would be theirs.
    RAISE feature_not_supported USING
      MESSAGE = format('the series would have no rows after %s, but may have older ones in files', fence),
      HINT = 'An operator can bring rows back: datastore cold restore.';
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
        refresh = SQL(_REFRESH).format(kind=Literal(kind.name))
    fence: Composable = SQL("")
    hot: Composable = SQL("")
    left: Composable = SQL("")
    if kind.cold:
        fence, hot, left = SQL(_FENCE), SQL(_HOT).format(kind=Literal(kind.name)), SQL(_LEFT).format(rows=rows)
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
