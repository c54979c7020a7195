"""The statements that write: series, rows, their last values, jobs."""

from functools import cache
from hashlib import sha256
from typing import Final

from psycopg.sql import SQL, Composable, Identifier, Literal

from mds_client.schema import DEFAULTS, Door, Kind, OnConflict
from mds_client.sql.basis import MEANT, Statement, arrays, names, stored_columns, table_columns, text


@cache
def create_series(kind: Kind) -> Statement:
    """Make these series; one that someone else makes at the same time is left to them.

    Sorted, so that two writers that make the same ones wait for each other and do not deadlock.
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
    """The types of what `last_values` takes an array of: ids, and what `mds_client.protocol.operations.Latest` has.

    A kind without a price has no more than the newest time of each series.
    """
    times = ("bigint", "timestamptz")
    return times if kind.price is None else (*times, *("timestamptz",) * 2, "double precision", "boolean")


@cache
def last_values(kind: Kind) -> Statement:
    """Bring the series' last values up to a batch that was written: one array a column, and how conflicts ended.

    What that means is a function in the database (`datastore.schema`). It holds the series until the transaction ends.
    """
    function = Identifier("mds", f"{kind.name}_last_values")
    return text(SQL("SELECT {}({}, %s)").format(function, arrays(last_values_types(kind))))


STALE_SERIES: Final = "MDS01"
"""The SQLSTATE by which that function says that a series is not there any more."""


SHARED_ID: Final = "MDS02"
"""The SQLSTATE by which a door says that another row is stored under the value that a row shares with it."""


def door(kind: Kind, way: Door) -> str:
    """The view in `mds` that takes rows of a kind in that way; what it does is declared in the database
    (`datastore.schema`), where no writer can change it."""
    return f"{kind.name}_{way}"


def _upsert(kind: Kind, way: Door, source: Composable) -> Composable:
    """Insert rows of a relation that has the kind's columns: an amount's whole part, and its fraction if it has one."""
    return SQL("INSERT INTO {} ({}) SELECT {} FROM {}").format(
        Identifier("mds", door(kind, way)), names(table_columns(kind)), SQL(", ").join(_narrowed(kind)), source
    )


def _narrowed(kind: Kind) -> list[Composable]:
    """The columns of the table, of rows `r` that have the kind's: an amount's whole part, and its fraction."""
    values: dict[str, Composable] = {
        column.name: SQL("r.{}").format(Identifier(column.name)) for column in stored_columns(kind)
    }
    for one in kind.amounts:
        values[one.name] = SQL("trunc(r.{})::bigint").format(Identifier(one.name))
        values[one.fraction] = SQL("nullif(r.{0} - trunc(r.{0}), 0)").format(Identifier(one.name))
    return [values[name] for name in table_columns(kind)]


@cache
def upsert_row(kind: Kind, on_conflict: OnConflict) -> Statement:
    """Write one narrow row; for executemany."""
    values = SQL(", ").join(SQL("%s::{}").format(SQL(column.type)) for column in stored_columns(kind))
    columns = names(tuple(column.name for column in stored_columns(kind)))
    return text(_upsert(kind, on_conflict, SQL("(VALUES ({})) AS r({})").format(values, columns)))


@cache
def upsert_arrays(kind: Kind, on_conflict: OnConflict) -> Statement:
    """Write a page of narrow rows, one array a column."""
    page = arrays(column.type for column in stored_columns(kind))
    columns = names(tuple(column.name for column in stored_columns(kind)))
    return text(_upsert(kind, on_conflict, SQL("unnest({}) AS r({})").format(page, columns)))


@cache
def _stage(kind: Kind) -> Composable:
    # Made once per connection. Should a pooler give us a connection whose staging table another release made, its
    # name says that the columns differ.
    shape = ",".join(f"{column.name} {column.type}" for column in stored_columns(kind))
    return Identifier("pg_temp", f"mds_stage_{kind.name}_{sha256(shape.encode()).hexdigest()[:8]}")


@cache
def create_stage(kind: Kind) -> Statement:
    """The temporary table that a batch is copied into; it is empty again after every transaction."""
    columns = SQL(", ").join(
        SQL("{} {}").format(Identifier(column.name), SQL(column.type)) for column in stored_columns(kind)
    )
    return text(SQL("CREATE TEMPORARY TABLE IF NOT EXISTS {} ({}) ON COMMIT DELETE ROWS").format(_stage(kind), columns))


@cache
def clear_stage(kind: Kind) -> Statement:
    """Empty the staging table, which holds the batch before where one transaction writes several."""
    return text(SQL("TRUNCATE {}").format(_stage(kind)))


SAVEPOINT: Final[Statement] = b"SAVEPOINT mds_append"
"""Where to come back to if rows that should have met no conflict meet one."""

RELEASE: Final[Statement] = b"RELEASE SAVEPOINT mds_append"
"""They met none."""

ROLLBACK_TO: Final[Statement] = b"ROLLBACK TO SAVEPOINT mds_append"
"""They met one: as if they had not been written."""


@cache
def copy_stage(kind: Kind) -> Statement:
    """Copy narrow rows into the staging table."""
    columns = names(tuple(column.name for column in stored_columns(kind)))
    return text(SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(_stage(kind), columns))


@cache
def merge_stage(kind: Kind, way: Door) -> Statement:
    """Write the staging table, which holds each key once, sorted by key.

    Reading it in that order is what makes it fast: neighbouring rows meet the same pages of the index.
    """
    return text(_upsert(kind, way, SQL("{} AS r").format(_stage(kind))))


@cache
def shared_rows(kind: Kind) -> Statement:
    """Of some series and a span of time, what is stored under these values that rows can share: the row's series, time,
    value, and what tells it apart."""
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
    """The same for the rows of the staging table from a time on."""
    time = Identifier(kind.time)
    return text(_upsert(kind, way, SQL("(SELECT * FROM {} AS s WHERE s.{} >= %s) AS r").format(_stage(kind), time)))


@cache
def late_stage(kind: Kind) -> Statement:
    """Write the rows of the staging table from before a time as late ones, which are to meet others in this mode.

    Without those whose series and times are given, one array of each.
    """
    columns = table_columns(kind)
    return text(
        SQL(
            "INSERT INTO {door} ({names}, mode) SELECT {values}, %s::text FROM {stage} AS r WHERE r.{time} < %s"
            " AND NOT EXISTS (SELECT FROM unnest(%b::bigint[], %b::timestamptz[]) AS k(series_id, moment)"
            " WHERE (k.series_id, k.moment) = (r.series_id, r.{time})) ORDER BY r.series_id, r.{time}"
        ).format(
            door=Identifier("mds", f"{kind.name}_late"),
            names=names(columns),
            values=SQL(", ").join(_narrowed(kind)),
            stage=_stage(kind),
            time=Identifier(kind.time),
        )
    )


@cache
def delete_rows(kind: Kind) -> Statement:
    """Delete rows of one series of the given tenant within a span of time, at most so many.

    Gives the number of rows, and the time from which on there are more, or NULL.
    """
    return text(SQL("SELECT * FROM {}(%s, %s, %s, %s, %s)").format(Identifier("mds", f"delete_{kind.name}")))


ENQUEUE_JOB: Final[Statement] = b"""
INSERT INTO mds.jobs (idempotency_key, job_type, payload, priority)
SELECT %s, %s, %s::jsonb, %s WHERE mds.is_tenant(%s) ON CONFLICT DO NOTHING
"""
"""Enqueue a job unless one with that key exists; waits for another session that is enqueuing it just now."""
