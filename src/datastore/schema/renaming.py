"""The function that gives a tenant's series another name. No row is changed: rows refer to their series by its id."""

from typing import Final

from psycopg.sql import SQL, Composable, Identifier, Literal

from datastore.names import BACKFILL_JOB, TENANT_BITS
from datastore.schema.declared import DatabaseObject, for_app
from mds_client import sql
from mds_client.schema import DEFAULTS, KINDS, SERIES_COLUMNS

_UNDONE: Final = "MDS00"
"""Raised and caught within the function, to undo a dry run."""

_BODY = """
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
    RAISE SQLSTATE {stale} USING MESSAGE = 'a series is not there any more, or has another name';
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
      JOIN store.jobs AS j ON j.tenant_no = b.tenant_no AND j.job_type = {backfill}
       AND j.state IN ('queued', 'running') AND j.payload ->> 'backfill' = b.id::text
      JOIN store.series AS s ON s.series_id = ANY (wanted) AND s.kind = b.kind AND s.vendor = b.vendor
       AND s.timeframe = b.timeframe
       AND j.payload @> jsonb_build_object('spans', jsonb_build_array(jsonb_build_object('symbol', s.symbol)))
     WHERE b.tenant_no = store.tenant_no() LIMIT 1;
  END IF;
  IF said IS NOT NULL THEN
    RAISE SQLSTATE {refused} USING MESSAGE = said;
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
                        WHERE (s.series_id >> {bits}) = c.tenant_no AND s.kind = ANY ({kinds}) AND s.vendor = to_vendor)
  ) AS n
   WHERE NOT dry_run
   ORDER BY n.vendor, n.symbol, n.of_any
  ON CONFLICT DO NOTHING;
  BEGIN
    UPDATE store.series AS s SET renames = s.renames + 1, {changes} WHERE s.series_id = ANY (wanted);
    IF dry_run THEN
      RAISE SQLSTATE {undone};
    END IF;
  EXCEPTION
    WHEN SQLSTATE {undone} THEN
      NULL;
    WHEN unique_violation THEN
      -- The update is undone, so this compares with the names as they are.
      SELECT concat_ws(' ', o.kind, o.vendor, o.symbol, o.timeframe) INTO said
        FROM store.series AS s JOIN store.series AS o
          ON o.series_id <> s.series_id AND (o.series_id >> {bits}) = store.tenant_no() AND o.kind = s.kind AND {same}
       WHERE s.series_id = ANY (wanted) ORDER BY 1 LIMIT 1;
      RAISE SQLSTATE {refused} USING MESSAGE = CASE
        WHEN said IS NULL THEN 'several series would have the same name: rename them one by one'
        ELSE format('there is a series of that name already: %s. Delete it, or write the rows of the other one under '
                    'its name and delete the other', said) END;
  END;
END
"""


def _new(name: str) -> Composable:
    """Return the new value of a part of the name of the series `s`. A part that a kind does not use stays NULL."""
    old = Identifier("s", name)
    if name in DEFAULTS:
        # A part that is equal to its default is stored as NULL.
        return SQL("nullif({}, {})").format(old, _new(DEFAULTS[name]))
    return SQL("CASE WHEN {0} IS NOT NULL THEN coalesce({1}, {0}) END").format(old, Identifier(f"to_{name}"))


def renaming() -> DatabaseObject:
    """Return the function that renames series, all of them or none, or with `dry_run` only checks whether it can.

    It runs with the owner's rights, because no application may change a name, so it checks itself that the series are
    the tenant's. `renames` is how often the caller knows them to have been renamed, in total.
    """
    bits = Literal(TENANT_BITS)
    body = SQL(_BODY).format(
        stale=Literal(sql.STALE_SERIES),
        refused=Literal(sql.NOT_RENAMED),
        undone=Literal(_UNDONE),
        backfill=Literal(BACKFILL_JOB),
        bits=bits,
        kinds=SQL("ARRAY[{}]").format(SQL(", ").join(Literal(kind) for kind in KINDS)),
        changes=SQL(", ").join(SQL("{} = {}").format(Identifier(name), _new(name)) for name in SERIES_COLUMNS),
        same=SQL(" AND ").join(
            SQL("coalesce({}, '') = coalesce({}, '')").format(Identifier("o", name), _new(name))
            for name in SERIES_COLUMNS
        ),
    )
    types = "uuid, bigint[], bigint, text, text, text, boolean"
    name = f"mds.rename_series({types})"
    text = f"""
CREATE OR REPLACE FUNCTION mds.rename_series(tenant uuid, wanted bigint[], renames bigint, to_vendor text,
  to_symbol text, to_timeframe text, dry_run boolean) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $${body.as_string(None)}$$"""
    return DatabaseObject(name, (text.strip(), *for_app(name)))
