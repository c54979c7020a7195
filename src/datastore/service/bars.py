"""Bars for the service's answers: a page of one series, or all bars of many; stored ones and rollups alike."""

from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from datastore.service.answers import BATCH_ROWS, Answer
from mds_client import KINDS, MDS, Bar, UnknownSeries, sql
from mds_client.protocol.operations import Execute, Group, Operation, Session, Talk
from mds_client.reading.answers import without_tenant
from mds_client.reading.arguments import several, stored_timeframe
from mds_client.reading.rollups import stored_columns
from mds_client.values.timeframes import parts

_LONGEST: Final[dict[str, timedelta]] = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
    "mo": timedelta(days=31),
    "q": timedelta(days=92),
    "y": timedelta(days=366),
}
"""The longest duration of each unit of a timeframe."""

Missing = Literal["raise", "ignore"]


@dataclass(frozen=True, slots=True)
class Asked:
    """Bars with `start <= ts < end` of these symbols; with `rollup`, those computed from their 1m bars."""

    vendor: str
    symbols: list[str]
    timeframe: str
    start: datetime
    end: datetime
    rollup: bool

    def read(self, client: MDS, start: datetime, end: datetime, missing: Missing, **how: Any) -> Generator[Any]:
        """Stream the bars of a part of the range from the client."""
        reading: Any = client.iter_rollup if self.rollup else client.iter_bars_window
        found: Generator[Any] = reading(
            self.symbols, self.timeframe, start, end, self.vendor, missing=missing, **how
        )  # fmt: skip
        return found


def page(client: MDS, asked: Asked, limit: int) -> list[Bar]:
    """Return at most `limit` bars of the one symbol, oldest first. Raises UnknownSeries, and the client's errors.

    Bars are read in order only where all bars of a range are read. So the first range is one that `limit` bars would
    fill; where bars are sparse, each following range is twice as long.
    """
    kind = KINDS["bars"]
    timeframe = stored_timeframe(asked.timeframe)
    lacking = client.run(_lacking(asked.vendor.strip(), asked.symbols[0], kind.base if asked.rollup else timeframe))
    if lacking is not None:
        raise UnknownSeries(lacking)
    count, unit = parts(timeframe)
    span, start, found = min(limit * count, 10**6) * _LONGEST[unit], asked.start, list[Bar]()
    while True:
        end = asked.end if asked.end - start <= span else start + span
        left = limit - len(found)
        with closing(asked.read(client, start, end, "ignore", batch_rows=left)) as coming:
            found += next(coming, [])
        if len(found) >= limit or end == asked.end:
            return found
        start, span = end, 2 * span


def _lacking(vendor: str, symbol: str, timeframe: str) -> Operation[str | None]:
    """Return what to say if there is no such series; None if there is."""

    def talk(session: Session) -> Talk[str | None]:
        stored = several(symbol, vendor, session.spelling)
        parameters = [[vendor], stored, [timeframe], session.wanted]
        (found,) = yield Group((Execute(sql.find_series(KINDS["bars"]), parameters),), commit=True)
        if found:
            return None
        return f"the tenant has no bars of {stored[0]} from {vendor} with the timeframe {timeframe}"

    return Operation("find_series", talk)


def every(client: MDS, frames: MDS, asked: Asked, missing: Missing) -> Answer:
    """Answer with all bars, by symbol and oldest first. `frames` is the client that reads record batches."""
    kind = KINDS["bars"]

    def as_frames() -> tuple[Any, Iterable[Any]]:
        from mds_client.columns import arrow  # needs packages that the library itself does without

        schema = arrow.rows_schema(kind, stored_columns(kind) if asked.rollup else kind.column_names)
        return schema, asked.read(frames, asked.start, asked.end, missing, as_="arrow")

    def as_models() -> Iterable[Any]:
        return asked.read(client, asked.start, asked.end, missing, batch_rows=BATCH_ROWS)

    return Answer(without_tenant(Bar), as_models, as_frames)
