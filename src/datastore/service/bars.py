"""Bars of one series as the service hands them out: bit by bit, stored ones and rollups alike."""

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from datastore.errors import ControlError
from mds_client import KINDS, MDS, Bar, sql
from mds_client.models import built_rows
from mds_client.operations import Emit, Execute, Group, Operation, Session, Stream, Talk

_BATCH: Final = 5_000


class UnknownSeries(ControlError):
    """The tenant has no such series."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Bars with `start <= ts < end` of one series; with `rollup`, those that its 1m bars make."""

    vendor: str
    symbol: str
    timeframe: str
    start: datetime
    end: datetime
    rollup: bool


def page(client: MDS, asked: Asked, limit: int) -> list[Bar]:
    """At most `limit` bars, oldest first. Raises UnknownSeries, and the client's errors."""
    found: list[Bar] = []
    with closing(batches(client, asked, limit)) as coming:
        for batch in coming:
            found += batch
            if len(found) >= limit:
                return found[:limit]
    return found


def batches(client: MDS, asked: Asked, rows: int = _BATCH) -> Generator[list[Bar]]:
    """All of them, oldest first, in lists of at most so many. Raises UnknownSeries before the first."""
    kind = KINDS["bars"]
    name = (asked.vendor.strip(), asked.symbol.strip().upper(), kind.base if asked.rollup else asked.timeframe.strip())
    if not client.run(_there(name)):
        raise UnknownSeries(f"the tenant has no bars of {name[1]} from {name[0]} with the timeframe {name[2]}")
    if not asked.rollup:
        yield from client.iter_bars_window(name[1], name[2], asked.start, asked.end, name[0], batch_rows=rows)
        return
    yield from client.stream(_rollup((name[0], name[1], asked.timeframe), asked, rows))


def _there(name: tuple[str, ...]) -> Operation[bool]:
    def talk(session: Session) -> Talk[bool]:
        parameters = [*([part] for part in name), session.wanted]
        (found,) = yield Group((Execute(sql.find_series(KINDS["bars"]), parameters),), commit=True)
        return bool(found)

    return Operation("find_series", talk)


def _rollup(name: tuple[str, str, str], asked: Asked, rows: int) -> Stream[list[Bar]]:
    kind = KINDS["bars"]
    vendor, symbol, timeframe = name
    statement = sql.rollup_window(kind, kind.rollup(timeframe))
    columns = (kind.time, *(column for column, _ in kind.aggregates))

    def talk(session: Session) -> Talk[None]:
        given = (vendor, symbol, kind.base, asked.start, asked.end, session.wanted)
        yield Group((Execute(sql.declare_cursor(statement), given),))
        constant = {
            **dict.fromkeys(Bar.model_fields),
            "tenant_id": session.tenant_id,
            "vendor": vendor,
            "symbol": symbol,
            "timeframe": timeframe,
        }
        while True:
            (found,) = yield Group((Execute(sql.fetch(rows)),))
            if found:
                yield Emit(built_rows(Bar, constant, columns, found))
            if len(found) < rows:
                return

    return Stream(Operation("iter_rollup", talk))


def timeframes() -> list[str]:
    """The timeframes that there are rollups of."""
    return [rollup.timeframe for rollup in KINDS["bars"].rollups]


def ndjson(coming: Iterator[list[Bar]]) -> Iterator[bytes]:
    """Bars as lines of JSON."""
    for batch in coming:
        yield b"".join(bar.__pydantic_serializer__.to_json(bar, exclude_none=True) + b"\n" for bar in batch)
