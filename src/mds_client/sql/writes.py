"""The statements that write series, rows, last values of series, and jobs."""

from functools import cache
from hashlib import sha256
from typing import Final

from psycopg.sql import SQL, Composable, Identifier, Literal

from mds_client.schema import DEFAULTS, Door, Kind, OnConflict
from mds_client.sql.basis import MEANT, Statement, arrays, names, stored_columns, table_columns, text


@cache
def create_series(kind: Kind) -> Statement:
    """Create these series, except those that another session creates at the same time.

    They are sorted, so that two writers of the same series wait for each other instead of deadlocking.
    """
    return text(
        SQL(
            "INSERT INTO mds.series (kind, {names}) SELECT {kind}, {values} FROM unnest({arrays}) AS wanted({names})"
            " WHERE {meant} ORDER BY {names} ON CONFLICT DO NOTHING"
        ).format(
            names=names(kind.series),
            values=SQL(", ").join(
                SQL("nullif({}, {})").format(Identifier(name), Identifier(DEFAULTS[name]))
                if name in DEFAULTS
                else Identifier(name)
                for name in kind.series
            ),
            kind=Literal(kind.name),
            arrays=arrays("text" for _ in kind.series),
            meant=MEANT,
        )
    )


def last_values_types(kind: Kind) -> tuple[str, ...]:
    """Return the types of the arrays of `last_values`: ids, and the fields of `mds_client.protocol.operations.Latest`.

    For a kind without a price they are only ids and newest times.
    """
    times = ("bigint", "timestamptz")
    return times if kind.price is None else (*times, *("timestamptz",) * 2, "double precision", "boolean")


@cache
def last_values(kind: Kind) -> Statement:
    """Update the series' last values after a batch: one array for each column, the conflict mode, and the renames.

    It calls a function in the database (`datastore.schema`), which locks the series until the transaction ends. It
    fails (STALE_SERIES) if the series were renamed more often than the writer knows.
    """
    function = Identifier("mds", f"{kind.name}_last_values")
    return text(SQL("SELECT {}({}, %s, %s::bigint)").format(function, arrays(last_values_types(kind))))


STALE_SERIES: Final = "MDS01"
"""The SQLSTATE of that function for a series that no longer exists, or has another name now."""


SHARED_ID: Final = "MDS02"
"""The SQLSTATE of a door for a row whose id is already used by another row."""


def door(kind: Kind, way: Door) -> str:
    """Return the name of the view in `mds` that accepts rows of a kind in that way. Its behaviour is declared in the
    database (`datastore.schema`), where writers cannot change it."""
    return f"{kind.name}_{way}"


def _upsert(kind: Kind, way: Door, source: Composable) -> Composable:
    """Insert the rows of a relation with the kind's columns. Amounts are split into whole part and fraction."""
    return SQL("INSERT INTO {} ({}) SELECT {} FROM {}").format(
        Identifier("mds", door(kind, way)), names(table_columns(kind)), SQL(", ").join(_narrowed(kind)), source
    )


def _narrowed(kind: Kind) -> list[Composable]:
    """Return the table's columns for rows `r` with the kind's columns. Amounts are split into whole and fraction."""
    values: dict[str, Composable] = {
        column.name: SQL("r.{}").format(Identifier(column.name)) for column in stored_columns(kind)
    }
    for name in kind.maps:
        values[name] = SQL("r.{}::jsonb").format(Identifier(name))
    for one in kind.amounts:
        values[one.name] = SQL("trunc(r.{})::bigint").format(Identifier(one.name))
        values[one.fraction] = SQL("nullif(r.{0} - trunc(r.{0}), 0)").format(Identifier(one.name))
    return [values[name] for name in table_columns(kind)]


@cache
def upsert_row(kind: Kind, on_conflict: OnConflict) -> Statement:
    """Write one narrow row, for executemany."""
    values = SQL(", ").join(SQL("%s::{}").format(SQL(column.type)) for column in stored_columns(kind))
    columns = names(tuple(column.name for column in stored_columns(kind)))
    return text(_upsert(kind, on_conflict, SQL("(VALUES ({})) AS r({})").format(values, columns)))


@cache
def upsert_arrays(kind: Kind, on_conflict: OnConflict) -> Statement:
    """Write a page of narrow rows, as one array for each column."""
    page = arrays(column.type for column in stored_columns(kind))
    columns = names(tuple(column.name for column in stored_columns(kind)))
    return text(_upsert(kind, on_conflict, SQL("unnest({}) AS r({})").format(page, columns)))


@cache
def _stage(kind: Kind) -> Composable:
    # Created once for each connection. The name depends on the columns, because a pooler may provide a connection
    # whose staging table was created by another release.
    shape = ",".join(f"{column.name} {column.type}" for column in stored_columns(kind))
    return Identifier("pg_temp", f"mds_stage_{kind.name}_{sha256(shape.encode()).hexdigest()[:8]}")


@cache
def create_stage(kind: Kind) -> Statement:
    """Create the temporary staging table for batches. It is emptied at the end of every transaction."""
    columns = SQL(", ").join(
        SQL("{} {}").format(Identifier(column.name), SQL(column.type)) for column in stored_columns(kind)
    )
    return text(SQL("CREATE TEMPORARY TABLE IF NOT EXISTS {} ({}) ON COMMIT DELETE ROWS").format(_stage(kind), columns))


@cache
def clear_stage(kind: Kind) -> Statement:
    """Empty the staging table, which has an earlier batch if one transaction writes several."""
    return text(SQL("TRUNCATE {}").format(_stage(kind)))


SAVEPOINT: Final[Statement] = b"SAVEPOINT mds_append"
"""Sets the savepoint for a write that expects no conflict."""

RELEASE: Final[Statement] = b"RELEASE SAVEPOINT mds_append"
"""Releases the savepoint after a write without a conflict."""

ROLLBACK_TO: Final[Statement] = b"ROLLBACK TO SAVEPOINT mds_append"
"""Undoes a write after a conflict."""


@cache
def copy_stage(kind: Kind) -> Statement:
    """Copy narrow rows into the staging table."""
    columns = names(tuple(column.name for column in stored_columns(kind)))
    return text(SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(_stage(kind), columns))


@cache
def merge_stage(kind: Kind, way: Door) -> Statement:
    """Write the rows of the staging table, which has each key once, sorted by key.

    The order makes it fast: neighbouring rows use the same pages of the index.
    """
    return text(_upsert(kind, way, SQL("{} AS r").format(_stage(kind))))


@cache
def shared_rows(kind: Kind) -> Statement:
    """Read the rows of some series and a span of time that are stored under these ids: series, time, id, and the column
    that distinguishes rows with the same id."""
    shared = kind.shared
    assert shared is not None
    return text(
        SQL(
            "SELECT series_id, {time}, {shared}, {apart} FROM mds.{rows} WHERE series_id = ANY(%b::bigint[])"
            " AND {time} >= %s AND {time} <= %s AND {shared} = ANY(%b::{type}[]) AND {meant}"
        ).format(
            time=Identifier(kind.time),
            shared=Identifier(shared.name),
            apart=Identifier(shared.apart),
            rows=Identifier(kind.name),
            type=SQL(shared.type),
            meant=MEANT,
        )
    )


@cache
def merge_stage_since(kind: Kind, way: Door) -> Statement:
    """Write the rows of the staging table from a time on."""
    time = Identifier(kind.time)
    return text(_upsert(kind, way, SQL("(SELECT * FROM {} AS s WHERE s.{} >= %s) AS r").format(_stage(kind), time)))


def late_key_types(kind: Kind) -> tuple[str, ...]:
    """Return the types of the arrays of `late_stage`: ids, and each column of the key."""
    return ("bigint", *(kind.column(name).type for name in kind.key))


@cache
def late_stage(kind: Kind) -> Statement:
    """Write the rows of the staging table from before a time as late rows with this conflict mode.

    Rows whose keys are given, as one array for the series and one for each column of the key, are skipped.
    """
    columns = table_columns(kind)
    keys = ("series_id", *kind.key)
    rows = SQL(", ").join(SQL("r.{}").format(Identifier(name)) for name in keys)
    return text(
        SQL(
            "INSERT INTO {door} ({names}, mode) SELECT {values}, %s::text FROM {stage} AS r WHERE r.{time} < %s"
            " AND NOT EXISTS (SELECT FROM unnest({arrays}) AS k({keys}) WHERE ({given}) = ({rows})) ORDER BY {rows}"
        ).format(
            door=Identifier("mds", f"{kind.name}_late"),
            names=names(columns),
            values=SQL(", ").join(_narrowed(kind)),
            stage=_stage(kind),
            time=Identifier(kind.time),
            arrays=arrays(late_key_types(kind)),
            keys=names(keys),
            given=SQL(", ").join(SQL("k.{}").format(Identifier(name)) for name in keys),
            rows=rows,
        )
    )


@cache
def delete_rows(kind: Kind) -> Statement:
    """Delete a limited number of rows of one series of the given tenant in a span of time.

    Returns the number of rows, and the time from which there are more, or NULL.
    """
    return text(SQL("SELECT * FROM {}(%s, %s, %s, %s, %s)").format(Identifier("mds", f"delete_{kind.name}")))


RENAME_SERIES: Final[Statement] = b"SELECT mds.rename_series(%s, %b, %s::bigint, %s, %s, %s, %s)"
"""Renames series of the given tenant by id, all or none: the number of renames that is known, in total, the new vendor,
symbol and timeframe, each or NULL, and whether it only checks. The database's function is in `datastore.schema`."""

NOT_RENAMED: Final = "MDS06"
"""The SQLSTATE of that function if series cannot be renamed because of what exists."""


@cache
def delete_late_rows(kind: Kind) -> Statement:
    """Delete the rows of one series of the given tenant in a span of time that are kept in files, by a late row.

    The fence that the client knows follows, and the last values of what is left before it: the newest time, and the
    newest price and its time.
    """
    arguments = SQL(", ").join(SQL("%s") for _ in range(8 if kind.price else 6))
    return text(SQL("SELECT {}({})").format(Identifier("mds", f"delete_late_{kind.name}"), arguments))


@cache
def emptied(kind: Kind) -> Statement:
    """List those of these series that have rows in the table, all of them in a span of time."""
    time, rows = Identifier(kind.time), Identifier("mds", kind.name)
    return text(
        SQL(
            "SELECT w.id FROM unnest(%b::bigint[]) AS w(id)"
            " CROSS JOIN (VALUES (%s::timestamptz, %s::timestamptz)) AS k(since, until)"
            " WHERE EXISTS (SELECT FROM {rows} AS r WHERE r.series_id = w.id AND r.{time} >= k.since)"
            " AND NOT EXISTS (SELECT FROM {rows} AS r WHERE r.series_id = w.id AND r.{time} < k.since)"
            " AND NOT EXISTS (SELECT FROM {rows} AS r WHERE r.series_id = w.id AND r.{time} >= k.until) AND {meant}"
        ).format(rows=rows, time=time, meant=MEANT)
    )


@cache
def without_rows(kind: Kind) -> Statement:
    """List those of these series that have no row in the table."""
    return text(
        SQL(
            "SELECT w.id FROM unnest(%b::bigint[]) AS w(id)"
            " WHERE NOT EXISTS (SELECT FROM {} AS r WHERE r.series_id = w.id) AND {}"
        ).format(Identifier("mds", kind.name), MEANT)
    )


ENQUEUE_JOB: Final[Statement] = b"""
INSERT INTO mds.jobs (idempotency_key, job_type, payload, priority)
SELECT %s, %s, %s::jsonb, %s WHERE mds.is_tenant(%s) ON CONFLICT DO NOTHING
"""
"""Enqueues a job unless one with that key exists. Waits for another session that is enqueuing the same key."""
