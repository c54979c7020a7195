"""A vendor's live bars through an `AsyncBatchProcessor`: which are written when, and what is fetched after a break.

Only bars that are over are written. What was missed while there was no connection, or no program, is fetched from the
vendor's REST API. The command is in `mds_client.commands.stream`.
"""

import asyncio
import logging
import random
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar, cast

from mds_client.abatch import AsyncBatchProcessor
from mds_client.aclient import AMDS
from mds_client.errors import InvalidRow, MDSError
from mds_client.files import Part, RejectRow
from mds_client.models import Bar
from mds_client.vendors import Fetched, NoBars, Vendor, VendorUnavailable, Wanted, width
from mds_client.vendors.base import Live
from mds_client.vendors.fetched import rows_of

T = TypeVar("T")

_log = logging.getLogger(__name__)

GRACE: Final = timedelta(seconds=5)
"""How long after the end of its interval a bar is waited for that nothing follows."""

SEEN: Final = 100
"""Newest records of a symbol that are remembered, to tell what has changed."""

LONGEST_PAUSE: Final = 30.0
"""Seconds between two attempts to connect at the most."""


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(slots=True)
class Streamed:
    """What a stream did: `bars` came over the connection, `fetched` from the REST API after breaks.

    `missed` are times of a symbol that could not be fetched.
    """

    bars: int = 0
    fetched: int = 0
    rejected: int = 0
    breaks: int = 0
    missed: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Series:
    """Where a symbol is: the bars that are not over, the newest that was passed on, and the times to be fetched."""

    symbol: str
    open: dict[datetime, Any] = field(default_factory=dict)
    seen: dict[datetime, Any] = field(default_factory=dict)
    newest: datetime | None = None
    fresh: bool = True
    gaps: list[tuple[datetime, datetime]] = field(default_factory=list)
    failures: int = 0


class Streaming:
    """Live bars of some symbols on their way into the store.

    Args:
        client: The client that writes. It also says where each series ended before.
        processor: The processor that the bars are added to.
        vendor: Where they come from.
        symbols: As the vendor spells them.
        timeframe: In the store's spelling.
        stored_as: The vendor of the rows. The default is what the vendor says.
        start: Fetch bars from this time on first. The default is the newest stored bar of each series.
        reject: Takes an invalid record: its number, the reason, its text.
        say: Takes a line about a break, for people.
        now: The time, to tell which bars are over.
    """

    def __init__(
        self,
        client: AMDS,
        processor: AsyncBatchProcessor,
        vendor: Vendor,
        symbols: Sequence[str],
        timeframe: str,
        *,
        stored_as: str | None = None,
        start: datetime | None = None,
        reject: RejectRow = lambda _line, _why, _text: None,
        say: Callable[[str], None] = lambda _: None,
        now: Callable[[], datetime] = _now,
    ) -> None:
        self.done = Streamed()
        self._client, self._processor, self._vendor = client, processor, vendor
        self._symbols, self._timeframe, self._start = list(dict.fromkeys(symbols)), timeframe, start
        self._stored_as = stored_as or vendor.stored_as
        self._reject_row, self._say, self._now = reject, say, now
        self._step = width(timeframe)

    async def run(self, stop: asyncio.Event) -> None:
        """Stream until the event is set.

        Raises:
            MDSError: The vendor refuses the credentials or a symbol, or the client's login may not write.
        """
        stopping = asyncio.create_task(stop.wait())
        tasks: list[asyncio.Task[Any]] = [stopping]
        series = [_Series(symbol) for symbol in self._symbols]
        try:
            async with self._vendor.live() as live:
                tasks += [asyncio.create_task(self._follow(live, one)) for one in series]
                try:
                    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for task in tasks:
                        task.cancel()
                    await asyncio.gather(*tasks, return_exceptions=True)
            for task in done:
                task.result()
        finally:
            self.done.missed = [
                f"{one.symbol} from {start:%Y-%m-%dT%H:%MZ} to {end:%Y-%m-%dT%H:%MZ}"
                for one in series
                for start, end in one.gaps
            ]

    async def _follow(self, live: Live, one: _Series) -> None:
        """Follow one symbol for ever: bars, breaks, and what was missed."""
        one.newest = await self._stored(one.symbol)
        waiting: asyncio.Task[None] | None = None
        try:
            while True:
                waiting = waiting or asyncio.create_task(cast("Any", live.watch(one.symbol, self._timeframe)))
                await asyncio.wait([waiting], timeout=self._due_in(one))
                failure: Exception | None = None
                if waiting.done():
                    ended, waiting = waiting, None
                    try:
                        ended.result()
                        one.failures = 0
                    except MDSError:
                        raise
                    except Exception as error:  # noqa: BLE001 - a library's own; what does not pass is raised
                        failure = error
                self._take(live, one)
                await self._settle(one)
                if failure is not None:
                    await self._broken(live, one, failure)
        finally:
            if waiting is not None:
                waiting.cancel()

    async def _stored(self, symbol: str) -> datetime | None:
        """The time of the last bar before the first that is wanted."""
        if self._start is not None:
            return self._start - self._step
        found = await self._client.series("bars", vendor=self._stored_as, symbol=symbol, timeframe=self._timeframe)
        return found[0].last_ts if found else None

    def _take(self, live: Live, one: _Series) -> None:
        """Hold records that are new; find out what is missing before the first of a connection."""
        new = {}
        for record in live.received(one.symbol, self._timeframe):
            begin = live.begin(record)
            if one.seen.get(begin) != record:
                new[begin] = one.seen[begin] = record
        if not new:
            return
        for begin in sorted(one.seen)[:-SEEN]:
            del one.seen[begin]
        one.open.update(new)
        if not one.fresh:
            return
        one.fresh = False
        first = min(new)
        if not live.begins_whole:
            # It lacks the trades before: fetched once it is over.
            del one.open[first]
            one.gaps.append((first if one.newest is None else one.newest + self._step, first + self._step))
            one.newest = first
        elif one.newest is not None and one.newest + self._step < first:
            one.gaps.append((one.newest + self._step, first))

    async def _broken(self, live: Live, one: _Series, error: Exception) -> None:
        """Wait before the next attempt to connect. Raises what no further attempt would mend."""
        told = self._vendor.failure(one.symbol, error)
        live.broken(one.symbol)
        one.fresh = True
        one.failures += 1
        self.done.breaks += 1
        self._say(f"{one.symbol}: the connection broke, connecting again: {told.text}")
        longest = min(LONGEST_PAUSE, 0.25 * 2**one.failures)
        await asyncio.sleep(told.retry_after or random.uniform(0.5, 1) * longest)  # noqa: S311 - no secret

    def _due_in(self, one: _Series) -> float:
        """Seconds until a bar is over that nothing has followed yet, or a gap can be fetched; one at the most."""
        due = [begin + self._step + GRACE for begin in one.open] + [end for _, end in one.gaps]
        return max(0.02, min([1.0, *((moment - self._now()).total_seconds() for moment in due)]))

    async def _settle(self, one: _Series) -> None:
        """Fetch what was missed, then pass on the bars that are over."""
        for gap in [gap for gap in one.gaps if gap[1] <= self._now()]:
            if await self._fetch(one, *gap):
                one.gaps.remove(gap)
        running = max(one.open, default=None)
        for begin in sorted(one.open):
            if begin == running and self._now() < begin + self._step + GRACE:
                break
            # Also one that was passed on already: the vendor has corrected it.
            await self._pass_on(one, one.open.pop(begin))
            one.newest = begin if one.newest is None else max(begin, one.newest)

    async def _pass_on(self, one: _Series, record: Any) -> None:
        wanted = Wanted(one.symbol, self._timeframe, self._now(), self._now())
        for bar in rows_of(self._vendor, [record], wanted, self._stored_as, self._reject):
            await self._add(bar)
            self.done.bars += 1

    async def _fetch(self, one: _Series, start: datetime, end: datetime) -> bool:
        """Fetch the bars of a gap; whether that is done."""
        wanted = Wanted(one.symbol, self._timeframe, start, end)
        count = 0
        try:
            async for part in _parts(Fetched(self._vendor, wanted, self._stored_as, self._now), self._reject):
                for row in part.sifted(self._reject).rows:
                    await self._add(cast("Bar", row))
                    count += 1
        except NoBars:
            pass
        except VendorUnavailable as error:
            self._say(f"{one.symbol}: what was missed cannot be fetched yet: {error}")
            await asyncio.sleep(min(LONGEST_PAUSE, self._step.total_seconds()))
            return False
        finally:
            self.done.fetched += count
        self._say(f"{one.symbol}: fetched {count:,} missed from {start:%Y-%m-%dT%H:%MZ} to {end:%Y-%m-%dT%H:%MZ}")
        return True

    async def _add(self, bar: Bar) -> None:
        """Add a bar. A failure of the store does not end the stream: the rows before are kept, and tried again."""
        while True:
            try:
                await self._processor.add_bar(bar)
                return
            except InvalidRow:
                raise
            except MDSError as error:
                if self._processor.stats().pending == 0:
                    raise
                self._say(f"the store does not take rows, they are kept: {error}")

    def _reject(self, line: int, why: str, text: str) -> None:
        self.done.rejected += 1
        self._reject_row(line, why, text)


async def _parts(source: Fetched, reject: RejectRow) -> AsyncIterator[Part]:
    parts = source.parts(10_000, reject)
    while (part := await _in_thread(lambda: next(parts, None))) is not None:
        yield part


async def _in_thread(call: Callable[[], T]) -> T:
    """The result of a call that waits. Its thread is left behind if the program ends meanwhile."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def tell(result: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(cast("T", result))

    def work() -> None:
        result, failure = None, None
        try:
            result = call()
        except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
            failure = error
        if not loop.is_closed():
            loop.call_soon_threadsafe(tell, result, failure)

    threading.Thread(target=work, name="mds-stream", daemon=True).start()
    return await future
