"""Every SQL statement that the client sends, each with a sentence of purpose.

Texts are composed from the declarations, identifiers quoted, and always name the schema: nothing depends on the
session's search_path. Values are parameters; arrays are sent in binary (`%b`), because psycopg would look at every
element for what its text has to escape. What is asked when, and what the answer means, is in
`mds_client.operations`.
"""

from collections.abc import Iterable
from functools import cache
from hashlib import sha256
from typing import Final

from psycopg.sql import SQL, Composable, Identifier, Literal

from mds_client.schema import DEFAULTS, SERIES_COLUMNS, Column, Door, Kind, OnConflict

Statement = bytes

OPEN_AS: Final[Statement] = b"SELECT mds.use_tenant(%s), set_config('statement_timeout', %s, true)"
"""The first statement of a transaction: whose it is, and how long a statement may take.

Both end with the transaction, so that nothing stays on a pooled connection. Gives the tenant, or NULL.
"""

OPEN: Final[Statement] = b"SELECT set_config('statement_timeout', %s, true)"
"""The same for what has to work on a database that is not migrated."""

BEGIN: Final[Statement] = b"BEGIN"
"""The beginning of a transaction of several round trips."""

BEGIN_SNAPSHOT: Final[Statement] = b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
"""The beginning of a transaction whose statements all see the same rows."""

EXPORT_SNAPSHOT: Final[Statement] = b"SELECT pg_export_snapshot()"
"""The name by which other transactions can see the same rows, until this one ends."""


def set_snapshot(name: str) -> Statement:
    """See the rows that another transaction sees; before any query of this one."""
    return _text(SQL("SET TRANSACTION SNAPSHOT {}").format(Literal(name)))


COMMIT: Final[Statement] = b"COMMIT"
"""The end of a transaction, in the same round trip as what it commits."""

CONFIGURE: Final[Statement] = b"SET TimeZone TO 'UTC'"
"""Once a connection: times come back in UTC. A setting that transaction-mode poolers keep track of themselves."""

USE_TENANT: Final[Statement] = b"SELECT mds.use_tenant(%s)"
"""Be a tenant until the transaction ends."""

SCHEMA_VERSION: Final[Statement] = b"SELECT mds.schema_version()"
"""The version of the newest migration that ran."""

HAS_SCHEMA: Final[Statement] = b"SELECT to_regproc('mds.use_tenant') IS NOT NULL"
"""Whether the database is migrated at all."""

SERVER: Final[Statement] = b"""
SELECT current_setting('server_version'), session_user::text, current_database()::text,
       (SELECT extversion FROM pg_catalog.pg_extension WHERE extname = 'timescaledb'),
       current_setting('timescaledb.license', true)
"""
"""What the server is: version, role, database, and TimescaleDB's version and licence where it is there."""


def names(columns: tuple[str, ...]) -> Composable:
    """Column names as a list."""
    return SQL(", ").join(map(Identifier, columns))


def arrays(types: Iterable[str]) -> Composable:
    """A parameter for each of these types: an array of it, in binary."""
    return SQL(", ").join(SQL("%b::{}[]").format(SQL(type_)) for type_ in types)


def _text(statement: Composable) -> Statement:
    return statement.as_bytes(None)


MEANT: Final = SQL("mds.is_tenant(%s)")
"""The condition that a statement carries, with the tenant that it is meant for as its last parameter.

Asked once a statement. The server refuses the statement (44000) if its tenant is another one: should a statement ever
run outside of the transaction that has set the tenant, it neither reads nor writes anything of another tenant.
"""


@cache
def find_series(kind: Kind) -> Statement:
    """The series of a kind whose names are among the given ones: an array for each name, and every combination."""
    return _text(
        SQL("SELECT series_id, last_ts, {names} FROM mds.series WHERE kind = {kind} AND {match} AND {meant}").format(
            names=SQL(", ").join(map(_part, kind.series)),
            kind=Literal(kind.name),
            match=_named(kind, SQL("= ANY(%b)")),
            meant=MEANT,
        )
    )


@cache
def create_series(kind: Kind) -> Statement:
    """Make these series; one that someone else makes at the same time is left to them.

    Sorted, so that two writers that make the same ones wait for each other and do not deadlock.
    """
    return _text(
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
    """The types of what `last_values` takes an array of: ids, and what `mds_client.operations.Latest` has.

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
    return _text(SQL("SELECT {}({}, %s)").format(function, arrays(last_values_types(kind))))


STALE_SERIES: Final = "MDS01"
"""The SQLSTATE by which that function says that a series is not there any more."""


def stored_columns(kind: Kind) -> tuple[Column, ...]:
    """The columns of a narrow row, which a batch is made of."""
    return (Column("series_id", "bigint", nullable=False), *kind.columns)


def door(kind: Kind, way: Door) -> str:
    """The view in `mds` that takes rows of a kind in that way; what it does is declared in the database
    (`datastore.schema`), where no writer can change it."""
    return f"{kind.name}_{way}"


def table_columns(kind: Kind) -> tuple[str, ...]:
    """The columns of a kind's table and of its views in `mds`, in their order."""
    return ("series_id", *(column.name for column in kind.in_table))


def _upsert(kind: Kind, way: Door, source: Composable) -> Composable:
    """Insert rows of a relation that has the kind's columns: an amount's whole part, and its fraction if it has one."""
    values = {name: SQL("r.{}").format(Identifier(name)) for name in ("series_id", *kind.column_names)}
    for one in kind.amounts:
        values[one.name] = SQL("trunc(r.{})::bigint").format(Identifier(one.name))
        values[one.fraction] = SQL("nullif(r.{0} - trunc(r.{0}), 0)").format(Identifier(one.name))
    selected = [values[name] for name in table_columns(kind)]
    return SQL("INSERT INTO {} ({}) SELECT {} FROM {}").format(
        Identifier("mds", door(kind, way)), names(table_columns(kind)), SQL(", ").join(selected), source
    )


def amount(column: Column) -> Composable:
    """The number that is stored in two columns."""
    return SQL("({} + coalesce({}, 0::double precision))").format(Identifier(column.name), Identifier(column.fraction))


@cache
def upsert_row(kind: Kind, on_conflict: OnConflict) -> Statement:
    """Write one narrow row; for executemany."""
    values = SQL(", ").join(SQL("%s::{}").format(SQL(column.type)) for column in stored_columns(kind))
    columns = names(tuple(column.name for column in stored_columns(kind)))
    return _text(_upsert(kind, on_conflict, SQL("(VALUES ({})) AS r({})").format(values, columns)))


@cache
def upsert_arrays(kind: Kind, on_conflict: OnConflict) -> Statement:
    """Write a page of narrow rows, one array a column."""
    page = arrays(column.type for column in stored_columns(kind))
    columns = names(tuple(column.name for column in stored_columns(kind)))
    return _text(_upsert(kind, on_conflict, SQL("unnest({}) AS r({})").format(page, columns)))


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
    return _text(
        SQL("CREATE TEMPORARY TABLE IF NOT EXISTS {} ({}) ON COMMIT DELETE ROWS").format(_stage(kind), columns)
    )


@cache
def clear_stage(kind: Kind) -> Statement:
    """Empty the staging table, which holds the batch before where one transaction writes several."""
    return _text(SQL("TRUNCATE {}").format(_stage(kind)))


SAVEPOINT: Final[Statement] = b"SAVEPOINT mds_append"
"""Where to come back to if rows that should have met no conflict meet one."""

RELEASE: Final[Statement] = b"RELEASE SAVEPOINT mds_append"
"""They met none."""

ROLLBACK_TO: Final[Statement] = b"ROLLBACK TO SAVEPOINT mds_append"
"""They met one: as if they had not been written."""


@cache
def copy_stage(kind: Kind) -> Statement:
    """Copy narrow rows into the staging table."""
    columns = names(("series_id", *kind.column_names))
    return _text(SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(_stage(kind), columns))


@cache
def merge_stage(kind: Kind, way: Door) -> Statement:
    """Write the staging table, which holds each key once, sorted by key.

    Reading it in that order is what makes it fast: neighbouring rows meet the same pages of the index.
    """
    return _text(_upsert(kind, way, SQL("{} AS r").format(_stage(kind))))


def _named(kind: Kind, operator: Composable) -> Composable:
    """The series columns of a kind compared with parameters; those that it does not use are NULL."""
    return SQL(" AND ").join(
        SQL("{} {}").format(Identifier(name), operator if name in kind.series else SQL("IS NULL"))
        for name in SERIES_COLUMNS
        if name in kind.searched or name not in kind.series
    )


def _part(name: str) -> Composable:
    """A part of a series' name, as clients have it."""
    if name not in DEFAULTS:
        return Identifier(name)
    return SQL("coalesce({0}, {1}) AS {0}").format(Identifier(name), Identifier(DEFAULTS[name]))


def selected(kind: Kind, columns: tuple[str, ...] | None = None) -> Composable:
    """These stored columns of a kind, or all, as the models have them: a uuid is text, and an amount is one number."""
    return SQL(", ").join(
        SQL("{}::text").format(Identifier(column.name)) if column.type == "uuid" else _number(column)
        for column in (kind.columns if columns is None else map(kind.column, columns))
    )


@cache
def window(kind: Kind, columns: tuple[str, ...] | None = None, *, ordered: bool = True) -> Statement:
    """The rows of one series from a time on until before another, oldest first: these columns of them, or all.

    Not `ordered`: as they come. They come in order, by the key's index, but through the view the server does not know
    that they do, and would sort them all once more.
    """
    return _text(
        SQL("SELECT {columns} FROM mds.{rows} WHERE series_id = {series} AND {span} AND {meant}{order}").format(
            columns=selected(kind, columns),
            rows=Identifier(kind.name),
            series=_one_series(kind),
            span=_span(kind.time),
            meant=MEANT,
            order=SQL(" ORDER BY {}").format(names(kind.key)) if ordered else SQL(""),
        )
    )


@cache
def windows(kind: Kind, columns: tuple[str, ...] | None = None, *, by_symbol: bool = False) -> Statement:
    """The same for many series by their ids; by id, then by key. `by_symbol`: only rows with one of these symbols."""
    return _text(
        SQL(
            "SELECT series_id, {columns} FROM mds.{rows} WHERE series_id = ANY(%b::bigint[]) AND {span}{symbol}"
            " AND {meant} ORDER BY series_id, {key}"
        ).format(
            symbol=SQL(" AND symbol = ANY(%b)" if by_symbol else ""),
            columns=selected(kind, columns),
            rows=Identifier(kind.name),
            span=_span(kind.time),
            meant=MEANT,
            key=names(kind.key),
        )
    )


@cache
def packed(kind: Kind, columns: tuple[Column, ...]) -> Statement:
    """Rows of many series by their ids in a span of time, at most so many, in no order: one array a column.

    A text comes as the lengths of the values, in bytes, and all of them one behind the other.
    """
    arrays: list[Composable] = [SQL("array_agg(r.series_id)")]
    for column in columns:
        name = Identifier(column.name)
        if column.type == "text":
            arrays += [SQL("array_agg(octet_length(r.{}))").format(name), SQL("string_agg(r.{}, '')").format(name)]
        else:
            arrays.append(SQL("array_agg(r.{})").format(name))
    return _text(
        SQL(
            "SELECT {arrays} FROM (SELECT series_id, {columns} FROM mds.{rows}"
            " WHERE series_id = ANY(%b::bigint[]) AND {span} AND {meant} LIMIT %s) AS r"
        ).format(
            arrays=SQL(", ").join(arrays),
            columns=SQL(", ").join(
                SQL("{} AS {}").format(_number(column), Identifier(column.name)) for column in columns
            ),
            rows=Identifier(kind.name),
            span=_span(kind.time),
            meant=MEANT,
        )
    )


def _one_series(kind: Kind) -> Composable:
    return SQL("(SELECT series_id FROM mds.series WHERE kind = {} AND {})").format(
        Literal(kind.name), _named(kind, SQL("= %s"))
    )


def _span(time: str) -> Composable:
    return SQL("{0} >= %s AND {0} < %s").format(Identifier(time))


def _number(column: Column) -> Composable:
    return amount(column) if column.amount else Identifier(column.name)


@cache
def rollup_windows(
    kind: Kind, source: str, every: str | None, columns: tuple[str, ...], *, one: bool = False
) -> Statement:
    """These columns of a rollup of many series by their ids, from a time on until before another; by id, then by time.

    With `one` it is one series by its name, and the rows have no id.

    `source` is the timeframe of the rows that are read. `every` is the width or the calendar's unit of the rows that
    are made of them; None if they are answered as they are.
    """
    time = Identifier(kind.time)
    rows = Identifier("mds", kind.name if source == kind.base else f"{kind.name}_{source}")
    bucket: Composable = time
    stored = [(kind.column(name), aggregate) for name, aggregate in kind.aggregates]
    selected: dict[str, Composable] = {column.name: _number(column) for column, _ in stored}
    if every is not None:
        if every in ("week", "month", "quarter", "year"):
            bucket = SQL("date_trunc({}, {}, 'UTC')").format(Literal(every), time)
        else:
            bucket = SQL("date_bin(interval {}, {}, timestamptz '2000-01-01 00:00:00+00')").format(Literal(every), time)
        made = {
            "first": SQL("(array_agg({0} ORDER BY {1}) FILTER (WHERE {0} IS NOT NULL))[1]"),
            "last": SQL("(array_agg({0} ORDER BY {1} DESC) FILTER (WHERE {0} IS NOT NULL))[1]"),
            "max": SQL("max({0})"),
            "min": SQL("min({0})"),
            "sum": SQL("sum({0})"),
        }
        selected = {
            column.name: SQL("{}::{}").format(made[aggregate].format(_number(column), time), SQL(column.type))
            for column, aggregate in stored
        }
    selected[kind.time] = bucket
    order = bucket if one else SQL("series_id, {}").format(bucket)
    return _text(
        SQL(
            "SELECT {id}{values} FROM {rows} WHERE series_id = {series} AND {span} AND {meant}{group} ORDER BY {order}"
        ).format(
            id=SQL("" if one else "series_id, "),
            series=_one_series(kind) if one else SQL("ANY(%b::bigint[])"),
            values=SQL(", ").join(selected[name] for name in columns),
            rows=rows,
            span=_span(kind.time),
            meant=MEANT,
            group=SQL("") if every is None else SQL(" GROUP BY {}").format(order),
            order=order,
        )
    )


@cache
def news_window(
    kind: Kind, by_vendor: bool, by_symbol: bool, by_text: bool, columns: tuple[str, ...] | None = None
) -> Statement:
    """News of a time, by whatever else was asked for; oldest first. The text is looked for in the title."""
    conditions = [_span(kind.time)]
    if by_vendor:
        conditions.append(SQL("series_id = {}").format(_one_series(kind)))
    if by_symbol:
        conditions.append(SQL("symbol = ANY(%b)"))
    if by_text:
        conditions.append(SQL("strpos(lower(title), lower(%s)) > 0"))
    conditions.append(MEANT)
    return _text(
        SQL("SELECT series_id, {columns} FROM mds.{rows} WHERE {conditions} ORDER BY {key}").format(
            columns=selected(kind, columns),
            rows=Identifier(kind.name),
            conditions=SQL(" AND ").join(conditions),
            key=names(kind.key),
        )
    )


@cache
def option_chains(kind: Kind, columns: tuple[str, ...] | None = None) -> Statement:
    """The newest snapshot of each contract of these series within a span of time, of those that have not expired at
    its end."""
    contract = names(("series_id", *(name for name in kind.key if name != kind.time)))
    return _text(
        SQL(
            "SELECT DISTINCT ON ({contract}) series_id, {columns} FROM mds.{rows} WHERE series_id = ANY(%b::bigint[])"
            " AND {time} > %s AND {time} <= %s AND expiry >= %s AND {meant} ORDER BY {contract}, {time} DESC"
        ).format(
            meant=MEANT,
            contract=contract,
            columns=selected(kind, columns),
            rows=Identifier(kind.name),
            time=Identifier(kind.time),
        )
    )


@cache
def list_series(by_vendor: bool, by_symbol: bool = False, by_timeframe: bool = False) -> Statement:
    """The series of a kind, by name: those of a vendor, of an array of symbols, of a timeframe, where that is asked."""
    conditions = [SQL("kind = %s")]
    if by_vendor:
        conditions.append(SQL("vendor = %s"))
    if by_symbol:
        conditions.append(SQL("symbol = ANY(%b)"))
    if by_timeframe:
        conditions.append(SQL("timeframe = %s"))
    return _text(
        SQL("SELECT series_id, {names}, last_ts, last_price FROM mds.series WHERE {} ORDER BY {names}").format(
            SQL(" AND ").join((*conditions, MEANT)), names=names(SERIES_COLUMNS)
        )
    )


@cache
def list_symbols(by_vendor: bool) -> Statement:
    """The symbols of a kind, each once: those of a vendor, where that is asked."""
    return _text(
        SQL("SELECT DISTINCT symbol FROM mds.series WHERE kind = %s{} AND symbol IS NOT NULL AND {}").format(
            SQL(" AND vendor = %s" if by_vendor else ""), MEANT
        )
    )


NEAR: Final = 50
"""Names that are read to find one that may have been meant."""

VENDORS: Final[Statement] = b"""
SELECT DISTINCT vendor FROM mds.series WHERE kind = %s AND mds.is_tenant(%s) ORDER BY vendor LIMIT 50
"""
"""The vendors of a kind."""

OF_SYMBOLS: Final[Statement] = b"""
SELECT vendor, symbol, timeframe FROM mds.series WHERE kind = %s AND symbol = ANY(%b) AND mds.is_tenant(%s)
ORDER BY vendor, symbol, timeframe LIMIT 50
"""
"""The series of these symbols, whatever their vendor."""

NEAR_SYMBOLS: Final[Statement] = b"""
SELECT DISTINCT symbol FROM mds.series WHERE kind = %s AND vendor = %s AND starts_with(symbol, %s)
AND mds.is_tenant(%s) ORDER BY symbol LIMIT 50
"""
"""Symbols of a vendor that begin with a text."""


@cache
def count_rows(kind: Kind) -> Statement:
    """Within a span of time: first time, last time and number of rows of each of these series that has any."""
    return _text(
        SQL(
            "SELECT series_id, min({time}), max({time}), count(*) FROM mds.{rows} WHERE series_id = ANY(%b::bigint[])"
            " AND {span} AND {meant} GROUP BY series_id ORDER BY series_id"
        ).format(time=Identifier(kind.time), rows=Identifier(kind.name), span=_span(kind.time), meant=MEANT)
    )


@cache
def delete_rows(kind: Kind) -> Statement:
    """Delete rows of one series of the given tenant within a span of time, at most so many.

    Gives the number of rows, and the time from which on there are more, or NULL.
    """
    return _text(SQL("SELECT * FROM {}(%s, %s, %s, %s, %s)").format(Identifier("mds", f"delete_{kind.name}")))


def declare_cursor(query: Statement) -> Statement:
    """Declare a cursor for a query. It is there until the transaction ends."""
    return b"DECLARE mds_stream NO SCROLL CURSOR FOR " + query


def fetch(rows: int) -> Statement:
    """The next rows of that result."""
    return b"FETCH FORWARD %d FROM mds_stream" % rows


@cache
def latest_prices(kind: Kind) -> Statement:
    """The newest price of each symbol of one vendor, over all its series, by symbol."""
    return _text(
        SQL(
            "SELECT DISTINCT ON (symbol) symbol, last_price, last_price_ts FROM mds.series"
            " WHERE kind = {} AND vendor = %s AND symbol = ANY(%b) AND last_price IS NOT NULL AND {}"
            " ORDER BY symbol, last_price_ts DESC, timeframe"
        ).format(Literal(kind.name), MEANT)
    )


ENQUEUE_JOB: Final[Statement] = b"""
INSERT INTO mds.jobs (idempotency_key, job_type, payload, priority)
SELECT %s, %s, %s::jsonb, %s WHERE mds.is_tenant(%s) ON CONFLICT DO NOTHING
"""
"""Enqueue a job unless one with that key exists; waits for another session that is enqueuing it just now."""

JOB: Final[Statement] = b"""
SELECT id, idempotency_key, job_type, payload, priority, state, attempts, created_at, finished_at, error, done,
       total, result, job_type = %s AND payload = %s::jsonb
FROM mds.jobs WHERE idempotency_key = %s AND mds.is_tenant(%s)
"""
"""The job with that key, and whether it is of this type and payload."""
