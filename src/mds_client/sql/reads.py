"""The statements that read, and those that say what there is."""

from functools import cache
from typing import Final

from psycopg.sql import SQL, Composable, Identifier, Literal

from mds_client.schema import SERIES_COLUMNS, Column, Kind
from mds_client.sql.basis import MEANT, Statement, hot, mean, named, names, number, selected, series_name, span, text


@cache
def find_series(kind: Kind) -> Statement:
    """The series of a kind whose names are among the given ones: an array for each name, and every combination."""
    return text(
        SQL("SELECT series_id, last_ts, {names} FROM mds.series WHERE kind = {kind} AND {match} AND {meant}").format(
            names=series_name(kind),
            kind=Literal(kind.name),
            match=named(kind, SQL("= ANY(%b)")),
            meant=MEANT,
        )
    )


@cache
def window(kind: Kind, columns: tuple[str, ...] | None = None, *, ordered: bool = True) -> Statement:
    """The rows of one series from a time on until before another, oldest first: these columns of them, or all.

    Not `ordered`: as they come. They come in order, by the key's index, but through the view the server does not know
    that they do, and would sort them all once more.
    """
    return text(
        SQL("SELECT {columns} FROM mds.{rows} WHERE series_id = {series} AND {span} AND {meant}{order}").format(
            columns=selected(kind, columns),
            rows=Identifier(kind.name),
            series=_one_series(kind),
            span=span(kind.time),
            meant=hot(kind),
            order=SQL(" ORDER BY {}").format(names(kind.key)) if ordered else SQL(""),
        )
    )


@cache
def windows(kind: Kind, columns: tuple[str, ...] | None = None, *, by_symbol: bool = False) -> Statement:
    """The same for many series by their ids; by id, then by key. `by_symbol`: only rows with one of these symbols."""
    return text(
        SQL(
            "SELECT series_id, {columns} FROM mds.{rows} WHERE series_id = ANY(%b::bigint[]) AND {span}{symbol}"
            " AND {meant} ORDER BY series_id, {key}"
        ).format(
            symbol=SQL(" AND symbol = ANY(%b)" if by_symbol else ""),
            columns=selected(kind, columns),
            rows=Identifier(kind.name),
            span=span(kind.time),
            meant=hot(kind),
            key=names(kind.key),
        )
    )


@cache
def packed(kind: Kind, columns: tuple[Column, ...], *, by_symbol: bool = False) -> Statement:
    """Rows of many series by their ids in a span of time, at most so many, in no order: one array a column.

    With `by_symbol`, only rows with one of these symbols, of a kind whose series have none.

    A text comes as the lengths of the values, in bytes, and all of them one behind the other.
    """
    arrays: list[Composable] = [SQL("array_agg(r.series_id)")]
    for column in columns:
        name = Identifier(column.name)
        if column.type == "text":
            arrays += [SQL("array_agg(octet_length(r.{}))").format(name), SQL("string_agg(r.{}, '')").format(name)]
        else:
            arrays.append(SQL("array_agg(r.{})").format(name))
    return text(
        SQL(
            "SELECT {arrays} FROM (SELECT series_id, {columns} FROM mds.{rows}"
            " WHERE series_id = ANY(%b::bigint[]) AND {span}{by_symbol} AND {meant} LIMIT %s) AS r"
        ).format(
            arrays=SQL(", ").join(arrays),
            columns=SQL(", ").join(
                SQL("{} AS {}").format(number(column), Identifier(column.name)) for column in columns
            ),
            rows=Identifier(kind.name),
            span=span(kind.time),
            by_symbol=SQL(" AND symbol = ANY(%b)" if by_symbol else ""),
            meant=hot(kind),
        )
    )


def _one_series(kind: Kind) -> Composable:
    return SQL("(SELECT series_id FROM mds.series WHERE kind = {} AND {})").format(
        Literal(kind.name), named(kind, SQL("= %s"))
    )


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
    selected: dict[str, Composable] = {column.name: number(column) for column, _ in stored}
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
            column.name: SQL("({})::{}").format(
                mean(kind, column, of_rows=source == kind.base)
                if aggregate == "mean"
                else made[aggregate].format(number(column), time),
                SQL(column.type),
            )
            for column, aggregate in stored
        }
    selected[kind.time] = bucket
    order = bucket if one else SQL("series_id, {}").format(bucket)
    return text(
        SQL(
            "SELECT {id}{values} FROM {rows} WHERE series_id = {series} AND {span} AND {meant}{group} ORDER BY {order}"
        ).format(
            id=SQL("" if one else "series_id, "),
            series=_one_series(kind) if one else SQL("ANY(%b::bigint[])"),
            values=SQL(", ").join(selected[name] for name in columns),
            rows=rows,
            span=span(kind.time),
            meant=hot(kind),
            group=SQL("") if every is None else SQL(" GROUP BY {}").format(order),
            order=order,
        )
    )


@cache
def news_window(
    kind: Kind, by_vendor: bool, by_symbol: bool, by_text: bool, columns: tuple[str, ...] | None = None
) -> Statement:
    """News of a time, by whatever else was asked for; oldest first. The text is looked for in the title."""
    conditions = [span(kind.time)]
    if by_vendor:
        conditions.append(SQL("series_id = {}").format(_one_series(kind)))
    if by_symbol:
        conditions.append(SQL("symbol = ANY(%b)"))
    if by_text:
        conditions.append(SQL("strpos(lower(title), lower(%s)) > 0"))
    conditions.append(MEANT)
    return text(
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
    return text(
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
    return text(
        SQL("SELECT series_id, {names}, last_ts, last_price FROM mds.series WHERE {} ORDER BY {names}").format(
            SQL(" AND ").join((*conditions, MEANT)), names=names(SERIES_COLUMNS)
        )
    )


@cache
def list_symbols(by_vendor: bool) -> Statement:
    """The symbols of a kind, each once: those of a vendor, where that is asked."""
    return text(
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
    return text(
        SQL(
            "SELECT series_id, min({time}), max({time}), count(*) FROM mds.{rows} WHERE series_id = ANY(%b::bigint[])"
            " AND {span} AND {meant} GROUP BY series_id ORDER BY series_id"
        ).format(time=Identifier(kind.time), rows=Identifier(kind.name), span=span(kind.time), meant=hot(kind))
    )


def declare_cursor(query: Statement) -> Statement:
    """Declare a cursor for a query. It is there until the transaction ends."""
    return b"DECLARE mds_stream NO SCROLL CURSOR FOR " + query


def fetch(rows: int) -> Statement:
    """The next rows of that result."""
    return b"FETCH FORWARD %d FROM mds_stream" % rows


@cache
def latest_prices(kind: Kind) -> Statement:
    """The newest price of each symbol of one vendor, over all its series, by symbol."""
    return text(
        SQL(
            "SELECT DISTINCT ON (symbol) symbol, last_price, last_price_ts FROM mds.series"
            " WHERE kind = {} AND vendor = %s AND symbol = ANY(%b) AND last_price IS NOT NULL AND {}"
            " ORDER BY symbol, last_price_ts DESC, timeframe"
        ).format(Literal(kind.name), MEANT)
    )


JOB: Final[Statement] = b"""
SELECT id, idempotency_key, job_type, payload, priority, state, attempts, created_at, finished_at, error, done,
       total, result, job_type = %s AND payload = %s::jsonb
FROM mds.jobs WHERE idempotency_key = %s AND mds.is_tenant(%s)
"""
"""The job with that key, and whether it is of this type and payload."""


COLD_FENCES: Final[Statement] = b"SELECT kind, cold_before FROM mds.cold_fences WHERE mds.is_tenant(%s)"
"""The kinds of which the tenant keeps rows in files, and the time before which it does."""


COLD_FILES: Final[Statement] = b"""
SELECT path, period_start, period_end, rows, bytes, sha256 FROM mds.cold_files
WHERE kind = %s AND period_end > %s AND period_start < %s AND mds.is_tenant(%s) ORDER BY period_start
"""
"""The tenant's files of a kind that may have rows of a span of time."""


@cache
def late_rows(kind: Kind) -> Statement:
    """The rows of these series that were written after files with rows of their time, in the order of writing."""
    return text(
        SQL(
            "SELECT series_id, {columns}, mode FROM mds.{late} WHERE series_id = ANY(%b::bigint[]) AND {span}"
            " AND {meant} ORDER BY seq"
        ).format(columns=selected(kind), late=Identifier(f"late_{kind.name}"), span=span(kind.time), meant=MEANT)
    )
