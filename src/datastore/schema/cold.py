"""The database's part of rows that are kept in files: fences, the list of files, and late rows.

A fence is a time for a tenant and kind. Rows from before it are in files or on their way there, and the table accepts
no new ones: they are written as late rows, through another door. A read from before the fence that does not read the
files fails, so that no answer has a gap.
"""

from collections.abc import Iterator
from typing import Final

from psycopg.sql import SQL, Composable, Identifier, Literal

from datastore.names import APP, BEFORE, STORE
from datastore.schema.declared import STORE_SCHEMA, DatabaseObject, column_list, for_app, mine, view_object
from datastore.schema.doors import between_or_refused, own_or_refused
from mds_client import KINDS, sql
from mds_client.schema import Kind

ICEBERG: Final = {
    "iceberg_tables": (
        *("catalog_name", "table_namespace", "table_name"),
        *("metadata_location", "previous_metadata_location", "iceberg_type"),
    ),
    "iceberg_namespace_properties": ("catalog_name", "namespace", "property_key", "property_value"),
}
"""The catalog of Iceberg tables: its relations and their columns, as Iceberg's SQL and JDBC catalogs name them."""

# Stable: within a statement the fence is the same, that of its snapshot. Whoever moves a fence waits for all
# transactions that may have begun before (`datastore.cold`).
_FUNCTIONS: Final = {
    # Nearly always there is no fence, and then nothing else is read.
    "store.cold_floor(text)": f"""
CREATE OR REPLACE FUNCTION store.cold_floor(wanted text) RETURNS timestamp with time zone
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  fence timestamp with time zone;
BEGIN
  IF EXISTS (SELECT FROM store.cold_fences) THEN
    SELECT f.cold_before INTO fence FROM store.cold_fences AS f
     WHERE f.tenant_no = store.tenant_no() AND f.kind = wanted;
  END IF;
  RETURN coalesce(fence - interval '1 microsecond', timestamptz '{BEFORE}');
END
$$""",  # noqa: S608 - constants of ours
    "store.cold_ceiling(text)": f"""
CREATE OR REPLACE FUNCTION store.cold_ceiling(wanted text) RETURNS timestamp with time zone
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  fence timestamp with time zone;
  moving boolean;
BEGIN
  SELECT f.cold_before, f.restoring INTO fence, moving FROM store.cold_fences AS f
   WHERE f.tenant_no = store.tenant_no() AND f.kind = wanted;
  IF moving THEN
    RAISE SQLSTATE '{sql.MOVING}' USING
      MESSAGE = format('%s are being brought back from files, and none is written late: try again', wanted);
  END IF;
  RETURN coalesce(fence, timestamptz '{BEFORE}' + interval '1 microsecond');
END
$$""",  # noqa: S608 - constants of ours
    "store.refuse_cold(text)": f"""
CREATE OR REPLACE FUNCTION store.refuse_cold(wanted text) RETURNS timestamp with time zone
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  fence timestamp with time zone;
BEGIN
  SELECT f.cold_before INTO fence FROM store.cold_fences AS f
   WHERE f.tenant_no = store.tenant_no() AND f.kind = wanted;
  IF fence IS NULL THEN
    PERFORM store.refuse_time();
  END IF;
  RAISE SQLSTATE '{sql.COLD}' USING
    MESSAGE = format('%s from before %s are kept in files, and this door takes none of them', wanted, fence);
END
$$""",  # noqa: S608 - constants of ours
    # The fence may have been moved back. The client then asks for it again and writes the row through another door.
    "store.refuse_late(text)": f"""
CREATE OR REPLACE FUNCTION store.refuse_late(wanted text) RETURNS timestamp with time zone
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RAISE SQLSTATE '{sql.COLD}' USING
    MESSAGE = format('a row is not from before the time before which %s are kept in files', wanted);
END
$$""",
    # Statements that read rows carry this. It sees the fence of the statement's own snapshot, and so of its rows.
    "mds.is_hot(uuid, text, timestamp with time zone)": f"""
CREATE OR REPLACE FUNCTION mds.is_hot(wanted uuid, of_kind text, since timestamp with time zone) RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  fence timestamp with time zone;
BEGIN
  IF EXISTS (SELECT FROM store.cold_fences AS f WHERE f.cold_before > since) THEN
    SELECT f.cold_before INTO fence FROM store.cold_fences AS f
     WHERE f.tenant_no = store.tenant_no() AND f.kind = of_kind AND f.cold_before > since;
    IF FOUND THEN
      RAISE SQLSTATE '{sql.COLD}' USING
        MESSAGE = format('%s from before %s are kept in files, and this statement reads none', of_kind, fence);
    END IF;
  END IF;
  RETURN mds.is_tenant(wanted);
END
$$""",  # noqa: S608 - constants of ours
}


def cold_functions() -> Iterator[DatabaseObject]:
    """Yield the functions that check the fence."""
    for name, body in _FUNCTIONS.items():
        yield DatabaseObject(name, (body.strip(), *for_app(name)))


def cold_views() -> Iterator[DatabaseObject]:
    """The views through which a tenant sees its own fences, files and late rows, and the doors for late rows."""
    own = SQL("tenant_no = (SELECT {}.tenant_no())").format(STORE_SCHEMA)
    yield view_object(
        "mds",
        "cold_fences",
        SQL("SELECT kind, cold_before FROM {}.cold_fences WHERE {} AND cold_before IS NOT NULL").format(
            STORE_SCHEMA, own
        ),
    )
    yield view_object(
        "mds",
        "cold_files",
        SQL(
            "SELECT kind, period_start, period_end, path, rows, bytes, sha256, made_at FROM {}.cold_periods"
            " WHERE {} AND replaced_at IS NULL"
        ).format(STORE_SCHEMA, own),
    )
    # Readers of Iceberg tables find the catalog under the names that they know, with `mds` as their search path.
    for name, columns in ICEBERG.items():
        yield view_object(
            "mds",
            name,
            SQL("SELECT {} FROM {} WHERE tenant_id = (SELECT {}.current_tenant())").format(
                column_list(columns), Identifier(STORE, name), STORE_SCHEMA
            ),
        )
    for kind in KINDS.values():
        if kind.cold:
            yield _late_view(kind)
            yield _late_door(kind)


def _late_view(kind: Kind) -> DatabaseObject:
    name = f"late_{kind.name}"
    body = SQL("SELECT {} FROM {} WHERE {}").format(
        column_list((*sql.table_columns(kind), "mode", "seq", "until")),
        Identifier(STORE, name),
        mine(Identifier("series_id")),
    )
    return view_object("mds", name, body)


def _late_door(kind: Kind) -> DatabaseObject:
    """Return the view into which late rows are inserted, each with what it does to a row with the same key."""
    names = (*sql.table_columns(kind), "mode")
    relation = Identifier("mds", f"{kind.name}_late")
    table = Identifier(STORE, f"late_{kind.name}")

    def value(name: str) -> Composable:
        new = Identifier("new", name)
        if name == "series_id":
            return own_or_refused(new)
        if name != kind.time:
            return new
        ceiling = SQL("(SELECT {}.cold_ceiling({}))").format(STORE_SCHEMA, Literal(kind.name))
        low = SQL("timestamptz {}").format(Literal(BEFORE))
        return between_or_refused(new, low, ceiling, SQL("{}.refuse_late({})").format(STORE_SCHEMA, Literal(kind.name)))

    statements = (
        SQL("CREATE OR REPLACE VIEW {} WITH (security_barrier) AS SELECT {} FROM {} WHERE false").format(
            relation, column_list(names), table
        ),
        SQL("CREATE OR REPLACE RULE write AS ON INSERT TO {} DO INSTEAD INSERT INTO {} ({}) SELECT {}").format(
            relation, table, column_list(names), SQL(", ").join(map(value, names))
        ),
        SQL("REVOKE ALL ON {} FROM PUBLIC, {}").format(relation, Identifier(APP)),
        SQL("GRANT INSERT ON {} TO {}").format(relation, Identifier(APP)),
    )
    return DatabaseObject(
        f"view mds.{kind.name}_late",
        tuple(statement.as_string(None) for statement in statements),
        ("mds", f"{kind.name}_late"),
    )
