"""Write a vendor's live bars through an `AsyncBatchProcessor`, and fetch bars that were missed.

Only completed bars are written. Bars that were missed while there was no connection, or the program did not run, are
fetched from the vendor's REST API. The command is in `mds_client.commands.stream`.
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
"""The time after the end of its interval at which a bar counts as complete, if no other bar follows it."""

SEEN: Final = 100
"""The number of a symbol's newest records that are kept, to detect changes."""

LONGEST_PAUSE: Final = 30.0
"""The maximum time between two attempts to connect, in seconds."""


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(slots=True)
class Streamed:
    """The result of a stream: `bars` came over the connection, `fetched` from the REST API after breaks.

    `missed` are the times of each symbol that could not be fetched.
    """

    bars: int = 0
    fetched: int = 0
    rejected: int = 0
    breaks: int = 0
    missed: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Series:
    """The state of a symbol: incomplete bars, the newest bar that was passed on, and the times to be fetched."""

    symbol: str
    open: dict[datetime, Any] = field(default_factory=dict)
    seen: dict[datetime, Any] = field(default_factory=dict)
    newest: datetime | None = None
    fresh: bool = True
    gaps: list[tuple[datetime, datetime]] = field(default_factory=list)
    failures: int = 0


class Streaming:
    """Writes the live bars of some symbols.

    Args:
        client: The client, which also reads the end of each stored series.
        processor: The processor that the bars are added to.
        vendor: The vendor of the bars.
        symbols: The symbols in the vendor's spelling.
        timeframe: The timeframe in the store's spelling.
        stored_as: The vendor name of the rows. The default is `Vendor.stored_as`.
        start: Fetch bars from this time on first. The default is the newest stored bar of each series.
        reject: Receives an invalid record: its number, the reason, its text.
        say: Receives a line about a break, for people.
        now: Returns the current time, which decides which bars are complete.
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
        self._failures = 0
        self._away = False

    async def run(self, stop: asyncio.Event) -> None:
        """Stream until the event is set.

        Raises:
            MDSError: The vendor refuses the credentials or a symbol, or the client's login cannot write.
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
        """Follow one symbol forever: receive bars, reconnect after breaks, and fetch missed bars."""
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
                self._watch_store()
                if failure is not None:
                    await self._broken(live, one, failure)
        finally:
            if waiting is not None:
                waiting.cancel()

    async def _stored(self, symbol: str) -> datetime | None:
        """Return the time of the last bar before the first one to write."""
        if self._start is not None:
            return self._start - self._step
        found = await self._client.series("bars", vendor=self._stored_as, symbol=symbol, timeframe=self._timeframe)
        return found[0].last_ts if found else None

    def _take(self, live: Live, one: _Series) -> None:
        """Keep new records, and find the gap before the first record of a connection."""
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
            # It lacks the trades before the connection, so it is fetched once it is complete.
            del one.open[first]
            one.gaps.append((first if one.newest is None else one.newest + self._step, first + self._step))
            one.newest = first
        elif one.newest is not None and one.newest + self._step < first:
            one.gaps.append((one.newest + self._step, first))

    async def _broken(self, live: Live, one: _Series, error: Exception) -> None:
        """Wait before the next attempt to connect. Raises an error that another attempt cannot fix."""
        told = self._vendor.failure(one.symbol, error)
        live.broken(one.symbol)
        one.fresh = True
        one.failures += 1
        self.done.breaks += 1
        self._say(f"{one.symbol}: the connection broke, connecting again: {told.text}")
        longest = min(LONGEST_PAUSE, 0.25 * 2**one.failures)
        await asyncio.sleep(told.retry_after or random.uniform(0.5, 1) * longest)  # noqa: S311 - no secret

    def _due_in(self, one: _Series) -> float:
        """Return the seconds, at most one, until the newest bar is complete or a gap can be fetched."""
        due = [begin + self._step + GRACE for begin in one.open] + [end for _, end in one.gaps]
        return max(0.02, min([1.0, *((moment - self._now()).total_seconds() for moment in due)]))

    async def _settle(self, one: _Series) -> None:
        """Fetch missed bars, then pass on completed bars."""
        for gap in [gap for gap in one.gaps if gap[1] <= self._now()]:
            if await self._fetch(one, *gap):
                one.gaps.remove(gap)
        running = max(one.open, default=None)
        for begin in sorted(one.open):
            if begin == running and self._now() < begin + self._step + GRACE:
                break
            # This can be a bar that was already passed on and that the vendor has corrected.
            await self._pass_on(one, one.open.pop(begin))
            one.newest = begin if one.newest is None else max(begin, one.newest)

    async def _pass_on(self, one: _Series, record: Any) -> None:
        wanted = Wanted(one.symbol, self._timeframe, self._now(), self._now())
        for bar in rows_of(self._vendor, [record], wanted, self._stored_as, self._reject):
            await self._add(bar)
            self.done.bars += 1

    async def _fetch(self, one: _Series, start: datetime, end: datetime) -> bool:
        """Fetch the bars of a gap. Returns whether the gap is done."""
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
        """Add a bar. A failure of the store does not end the stream: pending rows are kept and retried."""
        while True:
            try:
                await self._processor.add_bar(bar)
                return
            except InvalidRow:
                raise
            except MDSError:
                # The processor is full, and waits before each attempt to write.
                if self._processor.stats().pending == 0:
                    raise
                self._watch_store()

    def _watch_store(self) -> None:
        """Say when the store begins to refuse rows, and when it takes them again. The processor keeps them."""
        stats = self._processor.stats()
        if not stats.pending:
            if self._away:
                self._say("the store takes rows again")
            self._away, self._failures = False, stats.failures
        elif not self._away and stats.failures > self._failures:
            self._away = True
            self._say(f"the store does not take rows, they are kept: {stats.last_error}")

    def _reject(self, line: int, why: str, text: str) -> None:
        self.done.rejected += 1
        self._reject_row(line, why, text)


async def _parts(source: Fetched, reject: RejectRow) -> AsyncIterator[Part]:
    parts = source.parts(10_000, reject)
    while (part := await _in_thread(lambda: next(parts, None))) is not None:
        yield part


async def _in_thread(call: Callable[[], T]) -> T:
    """Return the result of a blocking call, run in a daemon thread, so that the program can end meanwhile."""
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
