"""The statements that read rows, and those that list series, symbols and files."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Final

from psycopg.sql import SQL, Composable, Identifier, Literal

from mds_client.schema import SERIES_COLUMNS, Column, Kind
from mds_client.sql.basis import (
    MEANT,
    Statement,
    by_symbols,
    fitting,
    hot,
    mean,
    named,
    names,
    number,
    selected,
    series_name,
    span,
    suspect,
    text,
)


@cache
def find_series(kind: Kind) -> Statement:
    """Find the series of a kind by one array for each part of the name; all combinations match.

    Returns the id, how often the series was renamed, its last time, and its name.
    """
    return text(
        SQL(
            "SELECT series_id, renames, last_ts, {names} FROM mds.series WHERE kind = {kind} AND {match} AND {meant}"
        ).format(
            names=series_name(kind),
            kind=Literal(kind.name),
            match=named(kind, SQL("= ANY(%b)")),
            meant=MEANT,
        )
    )


@cache
def window(kind: Kind, columns: tuple[str, ...] | None = None, *, ordered: bool = True) -> Statement:
    """Read rows of one series in a window, oldest first: these columns, or all.

    Without `ordered` there is no ORDER BY. The key's index returns rows in order, but through the view the server does
    not know that, and would sort them again.
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
def windows(kind: Kind, columns: tuple[str, ...] | None = None, *, by_symbol: int = 0) -> Statement:
    """Read rows of many series by id, ordered by id and key. `by_symbol`: only rows of symbols (`by_symbols`)."""
    return text(
        SQL(
            "SELECT series_id, {columns} FROM mds.{rows} WHERE series_id = ANY(%b::bigint[]) AND {span}{symbol}"
            " AND {meant} ORDER BY series_id, {key}"
        ).format(
            symbol=_of_symbols(kind, by_symbol),
            columns=selected(kind, columns),
            rows=Identifier(kind.name),
            span=span(kind.time),
            meant=hot(kind),
            key=names(kind.key),
        )
    )


@cache
def packed(
    kind: Kind, columns: tuple[Column, ...], *, counted: tuple[Column, ...] = (), by_symbol: int = 0
) -> Statement:
    """Read a limited number of rows of many series by id in a span of time, unordered, as one array for each column.

    With `by_symbol`, only rows of symbols (`by_symbols`), for a kind whose series have no symbol. Of the `counted`
    columns, the numbers of values that are not NULL follow the arrays.

    A text column is returned as the lengths of its values in bytes, and their concatenation.
    """
    arrays: list[Composable] = [SQL("array_agg(r.series_id)")]
    for column in columns:
        name = Identifier(column.name)
        if column.sent == "text":
            arrays += [SQL("array_agg(octet_length(r.{}))").format(name), SQL("string_agg(r.{}, '')").format(name)]
        else:
            arrays.append(SQL("array_agg(r.{})").format(name))
    arrays += [SQL("count(r.{})").format(Identifier(column.name)) for column in counted]
    return text(
        SQL(
            "SELECT {arrays} FROM (SELECT series_id, {columns} FROM mds.{rows}"
            " WHERE series_id = ANY(%b::bigint[]) AND {span}{by_symbol} AND {meant} LIMIT %s) AS r"
        ).format(
            arrays=SQL(", ").join(arrays),
            columns=SQL(", ").join(
                SQL("{} AS {}").format(number(column), Identifier(column.name)) for column in (*columns, *counted)
            ),
            rows=Identifier(kind.name),
            span=span(kind.time),
            by_symbol=_of_symbols(kind, by_symbol),
            meant=hot(kind),
        )
    )


def _of_symbols(kind: Kind, arrays: int) -> Composable:
    return SQL(" AND {}").format(by_symbols(arrays, of_rows=kind)) if arrays else SQL("")


def _one_series(kind: Kind) -> Composable:
    return SQL("(SELECT series_id FROM mds.series WHERE kind = {} AND {})").format(
        Literal(kind.name), named(kind, SQL("= %s"))
    )


@cache
def rollup_windows(
    kind: Kind, source: str, every: str | None, columns: tuple[str, ...], *, one: bool = False
) -> Statement:
    """Read these columns of a rollup of many series by id in a window, ordered by id and time.

    With `one` it reads one series by its name, and the rows have no id.

    `source` is the timeframe of the rows that are read. `every` is the width, or calendar unit, to aggregate them to;
    None returns them unchanged.
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
        for column, aggregate in stored:
            if aggregate == "mean":
                value = mean(kind, column, of_rows=source == kind.base)
            else:
                value = made[aggregate].format(number(column), time)
            is_count = aggregate == "sum" and column.type == "bigint"
            selected[column.name] = fitting(value) if is_count else SQL("({})::{}").format(value, SQL(column.type))
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
    kind: Kind,
    by_vendor: bool,
    by_symbol: int,
    by_text: bool,
    columns: tuple[str, ...] | None = None,
    *,
    newest: bool = False,
) -> Statement:
    """Read news in a window, oldest first, optionally by vendor, symbols, and text in the title.

    With `newest`, read a limited number of rows, newest first.
    """
    conditions: list[Composable] = [span(kind.time)]
    if by_vendor:
        conditions.append(SQL("series_id = {}").format(_one_series(kind)))
    if by_symbol:
        conditions.append(by_symbols(by_symbol, of_rows=kind))
    if by_text:
        conditions.append(SQL("strpos(lower(title), lower(%s)) > 0"))
    conditions.append(MEANT)
    backwards = SQL(", ").join(SQL("{} DESC").format(Identifier(name)) for name in kind.key)
    return text(
        SQL("SELECT series_id, {columns} FROM mds.{rows} WHERE {conditions} ORDER BY {order}").format(
            columns=selected(kind, columns),
            rows=Identifier(kind.name),
            conditions=SQL(" AND ").join(conditions),
            order=SQL("{} LIMIT %s").format(backwards) if newest else names(kind.key),
        )
    )


@cache
def news_at(kind: Kind) -> Statement:
    """Read the news of these vendors, by the ids of their series, at these times with one of these titles or ids."""
    return text(
        SQL(
            "SELECT series_id, {columns} FROM mds.{rows} WHERE series_id = ANY(%b::bigint[])"
            " AND {time} = ANY(%b::timestamptz[]) AND (title = ANY(%b::text[]) OR vendor_id = ANY(%b::text[]))"
            " AND {meant} ORDER BY {key}"
        ).format(
            columns=selected(kind, None),
            rows=Identifier(kind.name),
            time=Identifier(kind.time),
            meant=MEANT,
            key=names(kind.key),
        )
    )


@cache
def option_chains(kind: Kind, columns: tuple[str, ...] | None = None) -> Statement:
    """Read the newest snapshot of each contract of these series in a span of time, without contracts that have expired
    at its end."""
    contract = names(("series_id", *(name for name in kind.key if name != kind.time)))
    return text(
        SQL(
            "SELECT DISTINCT ON ({contract}) series_id, {columns} FROM mds.{rows} WHERE series_id = ANY(%b::bigint[])"
            " AND {time} > %s AND {time} <= %s AND expiry >= %s AND {meant} ORDER BY {contract}, {time} DESC"
        ).format(
            meant=hot(kind),
            contract=contract,
            columns=selected(kind, columns),
            rows=Identifier(kind.name),
            time=Identifier(kind.time),
        )
    )


@cache
def list_series(by_vendor: bool, by_symbol: int = 0, by_timeframe: bool = False) -> Statement:
    """List the series of a kind by name, optionally of a vendor, of symbols (`by_symbols`), and of a timeframe."""
    conditions: list[Composable] = [SQL("kind = %s")]
    if by_vendor:
        conditions.append(SQL("vendor = %s"))
    if by_symbol:
        conditions.append(by_symbols(by_symbol))
    if by_timeframe:
        conditions.append(SQL("timeframe = %s"))
    return text(
        SQL("SELECT series_id, {names}, last_ts, last_price FROM mds.series WHERE {} ORDER BY {names}").format(
            SQL(" AND ").join((*conditions, MEANT)), names=names(SERIES_COLUMNS)
        )
    )


@cache
def named_series(by_symbol: bool, by_timeframe: bool) -> Statement:
    """List the series of an array of kinds and a vendor, optionally of an array of symbols, and a timeframe.

    Returns the id, how often the series was renamed, its kind and its name.
    """
    conditions = [SQL("kind = ANY(%b)"), SQL("vendor = %s")]
    if by_symbol:
        conditions.append(SQL("symbol = ANY(%b)"))
    if by_timeframe:
        conditions.append(SQL("timeframe = %s"))
    return text(
        SQL("SELECT series_id, renames, kind, {names} FROM mds.series WHERE {} ORDER BY kind, {names}").format(
            SQL(" AND ").join((*conditions, MEANT)), names=names(SERIES_COLUMNS)
        )
    )


@cache
def suspect_symbols(kind: Kind, name: str) -> Statement:
    """List the symbols in a column of the rows of these series that may not be in upper case."""
    symbol = Identifier(name)
    return text(
        SQL("SELECT DISTINCT {} FROM mds.{} WHERE series_id = ANY(%b::bigint[]) AND {} AND {}").format(
            symbol, Identifier(kind.name), suspect(symbol), MEANT
        )
    )


NAMES_OF_SERIES: Final[Statement] = b"""
SELECT series_id, vendor, symbol, timeframe FROM mds.series WHERE series_id = ANY(%b) AND mds.is_tenant(%s)
"""
"""Returns the names of series by id."""


@cache
def list_symbols(by_vendor: bool) -> Statement:
    """List the distinct symbols of a kind, optionally of a vendor."""
    return text(
        SQL("SELECT DISTINCT symbol FROM mds.series WHERE kind = %s{} AND symbol IS NOT NULL AND {}").format(
            SQL(" AND vendor = %s" if by_vendor else ""), MEANT
        )
    )


NEAR: Final = 50
"""The number of names that are read to suggest similar ones."""

VENDORS: Final[Statement] = b"""
SELECT DISTINCT vendor FROM mds.series WHERE kind = %s AND mds.is_tenant(%s) ORDER BY vendor LIMIT 50
"""
"""Lists the vendors of a kind."""

OF_SYMBOLS: Final[Statement] = b"""
SELECT vendor, symbol, timeframe FROM mds.series WHERE kind = %s AND symbol = ANY(%b) AND mds.is_tenant(%s)
ORDER BY vendor, symbol, timeframe LIMIT 50
"""
"""Lists the series of these symbols of any vendor."""

NEAR_SYMBOLS: Final[Statement] = b"""
SELECT DISTINCT symbol FROM mds.series WHERE kind = %s AND vendor = %s AND starts_with(upper(symbol), upper(%s))
AND mds.is_tenant(%s) ORDER BY symbol LIMIT 50
"""
"""Lists the symbols of a vendor that begin with a text, in upper or lower case."""


@cache
def count_rows(kind: Kind) -> Statement:
    """Read the first time, last time and number of rows, in a span of time, of each of these series that has rows."""
    return text(
        SQL(
            "SELECT series_id, min({time}), max({time}), count(*) FROM mds.{rows} WHERE series_id = ANY(%b::bigint[])"
            " AND {span} AND {meant} GROUP BY series_id ORDER BY series_id"
        ).format(time=Identifier(kind.time), rows=Identifier(kind.name), span=span(kind.time), meant=hot(kind))
    )


def declare_cursor(query: Statement) -> Statement:
    """Declare a cursor for a query. It exists until the transaction ends."""
    return b"DECLARE mds_stream NO SCROLL CURSOR FOR " + query


def fetch(rows: int) -> Statement:
    """Fetch the next rows of the cursor."""
    return b"FETCH FORWARD %d FROM mds_stream" % rows


@cache
def latest_prices(kind: Kind) -> Statement:
    """Read the newest price of each symbol of one vendor, over all its series, by symbol."""
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
"""Returns the job with a key, and whether it has this type and payload."""


COLD_FENCES: Final[Statement] = b"SELECT kind, cold_before FROM mds.cold_fences WHERE mds.is_tenant(%s)"
"""Returns the kinds whose old rows the tenant keeps in files, and the time before which it does."""


COLD_FILES: Final[Statement] = b"""
SELECT path, period_start, period_end, rows, bytes, sha256 FROM mds.cold_files
WHERE kind = %s AND period_end > %s AND period_start < %s AND mds.is_tenant(%s) ORDER BY period_start
"""
"""Lists the tenant's files of a kind that may have rows of a span of time."""


_LONGEST: Final = timedelta(days=32)
"""More than the time that a late deletion spans: at most a month."""


@cache
def late_rows(kind: Kind) -> Statement:
    """Read the late rows of these series, in the order of writing: rows whose time was already kept in files.

    The parameters are those of `late_since`. After the columns follow the end of a deletion, and the mode.
    """
    return text(
        SQL(
            "SELECT series_id, {columns}, until, mode FROM mds.{late} WHERE series_id = ANY(%b::bigint[]) AND {span}"
            " AND ({time} >= %s OR until > %s) AND {meant} ORDER BY seq"
        ).format(
            columns=selected(kind),
            late=Identifier(f"late_{kind.name}"),
            span=span(kind.time),
            time=Identifier(kind.time),
            meant=MEANT,
        )
    )


def late_since(ids: Sequence[int], span: tuple[datetime, datetime], tenant: str | None) -> tuple[object, ...]:
    """Return the parameters of `late_rows`. A deletion that reaches into the span may begin before it."""
    begin, end = span
    earlier = begin - _LONGEST if begin - datetime.min.replace(tzinfo=UTC) > _LONGEST else begin
    return (list(ids), earlier, end, begin, begin, tenant)
