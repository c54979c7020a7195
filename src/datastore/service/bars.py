"""Bars of one series as the service hands them out: bit by bit, stored ones and rollups alike."""

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from mds_client import KINDS, MDS, Bar, UnknownSeries, sql
from mds_client.arguments import stored_timeframe
from mds_client.operations import Execute, Group, Operation, Session, Talk

_BATCH: Final = 5_000


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
    timeframe = kind.base if asked.rollup else stored_timeframe(asked.timeframe)
    name = (asked.vendor.strip(), asked.symbol.strip().upper(), timeframe)
    if not client.run(_there(name)):
        raise UnknownSeries(f"the tenant has no bars of {name[1]} from {name[0]} with the timeframe {name[2]}")
    span = (asked.start, asked.end)
    if asked.rollup:
        yield from client.iter_rollup(name[1], asked.timeframe, *span, name[0], batch_rows=rows)
    else:
        yield from client.iter_bars_window(name[1], timeframe, *span, name[0], batch_rows=rows)


def _there(name: tuple[str, ...]) -> Operation[bool]:
    def talk(session: Session) -> Talk[bool]:
        parameters = [*([part] for part in name), session.wanted]
        (found,) = yield Group((Execute(sql.find_series(KINDS["bars"]), parameters),), commit=True)
        return bool(found)

    return Operation("find_series", talk)


def ndjson(coming: Iterator[list[Bar]]) -> Iterator[bytes]:
    """Bars as lines of JSON."""
    for batch in coming:
        yield b"".join(bar.__pydantic_serializer__.to_json(bar, exclude_none=True) + b"\n" for bar in batch)
