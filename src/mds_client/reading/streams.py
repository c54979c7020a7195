"""Operations that stream rows: windows of symbols, and rows of any kind.

Each is an operation without I/O (`mds_client.protocol.operations`), and reads all its parts from one snapshot.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

from mds_client import sql
from mds_client.models import AnyKind, Bar, Fundamentals, Row
from mds_client.protocol.operations import Group, Operation, Session, Stream, Talk
from mds_client.reading.answers import Columns, StreamAs, check_stream_as, emitted, shown
from mds_client.reading.arguments import Symbols, Time, given_symbols, several, stored_name, stored_timeframe, time_span
from mds_client.reading.listings import bounds, found_series, listed_series, named
from mds_client.reading.missing import Missing, check_missing, explained, warn_without_tenant
from mds_client.schema import KINDS

R = TypeVar("R", bound=Row)


def iter_bars_window(
    symbol: Symbols,
    timeframe: str,
    start: Time,
    end: Time,
    vendor: str,
    *,
    batch_rows: int = 10_000,
    as_: StreamAs = "models",
    columns: Columns | None = None,
    missing: Missing = "warn",
) -> Stream[Any]:
    """The operation of `MDS.iter_bars_window`."""
    name = {"vendor": vendor, "timeframe": stored_timeframe(timeframe)}
    return _stream(Bar, symbol, start, end, batch_rows, as_, columns, missing, name)


def iter_fundamentals_window(
    symbol: Symbols,
    start: Time,
    end: Time,
    vendor: str,
    *,
    batch_rows: int = 10_000,
    as_: StreamAs = "models",
    columns: Columns | None = None,
    missing: Missing = "warn",
) -> Stream[Any]:
    """The operation of `MDS.iter_fundamentals_window`."""
    return _stream(Fundamentals, symbol, start, end, batch_rows, as_, columns, missing, {"vendor": vendor})


def iter_rows(
    kind: AnyKind,
    start: Time | None = None,
    end: Time | None = None,
    *,
    vendor: str | None = None,
    symbols: Sequence[str] | None = None,
    timeframe: str | None = None,
    batch_rows: int = 10_000,
    as_: StreamAs = "models",
    columns: Columns | None = None,
) -> Stream[Any]:
    """The operation of `MDS.iter_rows`."""
    declared = KINDS.of(kind)
    check_stream_as(as_)
    show = shown(declared, columns, as_)
    span = bounds(start, end)
    listed = listed_series(declared, vendor, symbols, timeframe)

    def talk(session: Session) -> Talk[None]:
        (there,) = yield Group((listed.step(session),))
        warn_without_tenant(session)
        model = cast("type[Row]", declared.model)
        names = named(declared, there)
        in_rows = listed.in_rows(session)
        yield from emitted(session, model, declared, names, list(names), span, batch_rows, as_, show, in_rows)

    return _streamed(f"iter_{declared.name}", talk, as_)


def _stream(
    model: type[R],
    symbol: Symbols,
    start: Time,
    end: Time,
    batch_rows: int,
    as_: StreamAs,
    columns: Columns | None,
    missing: Missing,
    name: dict[str, str],
) -> Stream[Any]:
    kind = KINDS.of(model)
    check_stream_as(as_)
    show = shown(kind, columns, as_)
    check_missing(missing)
    span = time_span(start, end)
    given = given_symbols([symbol] if isinstance(symbol, str) else symbol)

    def talk(session: Session) -> Talk[None]:
        symbols = several(given, name["vendor"], session.spelling)
        ids = yield from found_series(session, kind, symbols, name)
        if len(ids) < len(set(symbols)):
            yield from explained(session, kind, stored_name(name["vendor"]), symbols, name.get("timeframe"), missing)
        yield from emitted(session, model, kind, ids, list(ids), span, batch_rows, as_, show)

    return _streamed(f"iter_{kind.name}_window", talk, as_)


def _streamed(name: str, talk: Callable[[Session], Talk[None]], as_: StreamAs) -> Stream[Any]:
    """Make a stream of rows whose statements all read from the same snapshot."""
    return Stream(Operation(name, talk, heavy=as_ != "models", begin=(sql.BEGIN_SNAPSHOT,)))
