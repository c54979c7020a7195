"""`AsyncBatchProcessor`: rows arrive one by one and are written in batches by count, size or age.

`mds_client.batching.core` makes the decisions and does no I/O; the processor waits and writes. Each processor has one
writer, which writes the rows in the order in which they were added. Producers only append to a buffer, so interrupting
a producer never interrupts a write, and batches cannot overtake each other. `mds_client.batch` is generated from this
module by `tools/sync.py`.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from mds_client.aclient import AMDS
from mds_client.batching.core import BatchConfig, BatchStats, Core, Given
from mds_client.batching.rejects import OnReject, Reject, reject_sink
from mds_client.errors import InvalidRow
from mds_client.models import AnyKind, Bar, Fundamentals, Instrument, News, OptionSnap, Row
from mds_client.protocol import forks
from mds_client.protocol.pauses import ALINGER_S, AsyncCondition, AsyncWriter, NoLock
from mds_client.schema import KINDS, OnConflict

__all__ = ["AsyncBatchProcessor", "BatchConfig", "BatchStats", "Reject"]

BAR, FUNDAMENTAL, INSTRUMENT, NEWS, OPTION = (
    KINDS.of(model) for model in (Bar, Fundamentals, Instrument, News, OptionSnap)
)
"""The declarations of the kinds, looked up once instead of for every row."""


class AsyncBatchProcessor:
    """Buffers rows and writes them through an `AMDS` in batches. Any number of tasks of one event loop may add rows.

    Use it as an async context manager, or end with `aclose()` or `flush()`: rows that are pending when the program ends
    are lost. Leaving the block writes pending rows. If you leave it with an exception, that takes at most the statement
    timeout; a note on the exception gives the number of unwritten rows, and `pending_rows()` returns them. The client
    stays open.

    No row is dropped. A batch that cannot be written stays first in the queue and is retried after `max_ms` (at most
    5 s), or at once by `flush()`. The next `add`, `flush` or `aclose` raises the failure once, unless the rows have
    been written by then. Cancelling a producer never cancels a write.

    Args:
        client: The client that writes.
        config: Decides when a batch is written. The default is `BatchConfig()`.
        on_conflict: What happens to a stored row with the same key; see `AMDS.upsert`.
        on_reject: Receives rows that cannot be written because of their content: a function that takes a `Reject` and
            does not call the processor, or the path of a file to which each is appended as a line of JSON. Without it
            such a row fails its batch, and later rows wait. A function is called, not awaited.

    Raises:
        ConfigurationError: An argument is wrong.
    """

    def __init__(
        self,
        client: AMDS,
        config: BatchConfig | None = None,
        *,
        on_conflict: OnConflict = "replace",
        on_reject: OnReject | None = None,
    ) -> None:
        self.config = config or BatchConfig()
        self._client = client
        sink = reject_sink(on_reject)
        self._core = Core(self.config, on_conflict, None if sink is None else partial(self._refuse, sink))
        # The time limit for leaving with an exception is that of a statement.
        self._grace = (client.config.statement_timeout_ms or 30_000) / 1000
        self._prepare()
        forks.watch(self)

    def forked(self) -> None:
        """Start over in a forked process, which has neither the writer nor its locks."""
        self._prepare()
        self._core.inherit()

    def _prepare(self) -> None:
        self._lock = NoLock()
        self._due = AsyncCondition(self._lock)
        self._changed = AsyncCondition(self._lock)
        self._writer: AsyncWriter | None = None

    def _refuse(self, sink: Callable[[Reject], None], reject: Reject) -> None:
        sink(reject)
        # An undeclared kind is arbitrary text, which must not become a metric's label.
        known = reject.kind is not None and reject.kind in KINDS
        self._client.observer.rejected(str(reject.kind) if known else "none", 1)

    async def add(self, row: Given, kind: AnyKind | None = None, *, origin: Any = None) -> None:
        """Add a row. Waits while two batches are pending.

        Args:
            row: A model, or a mapping with the fields of `kind`.
            kind: The kind's name, model or declaration. Not needed for a model.
            origin: Any value that identifies the source of the row. A `Reject` includes it.

        Raises:
            InvalidRow: The row is invalid. With `on_reject` the row goes there instead.
            MDSError: The processor is closed, or an earlier batch failed. The row was not added.
        """
        core = self._core
        try:
            measured = core.measured(row, kind, origin)
        except InvalidRow as error:
            self.reject(row, error, kind, origin=origin)
            return
        with self._lock:
            while core.obstructed:
                core.check()
                self._wake()
                await self._changed.wait()
            if core.put(measured):
                self._wake()

    async def add_bar(self, row: Bar | Mapping[str, Any], /, *, origin: Any = None) -> None:
        """Add a `Bar`, or a mapping with its fields."""
        await self.add(row, BAR, origin=origin)

    async def add_fundamental(self, row: Fundamentals | Mapping[str, Any], /, *, origin: Any = None) -> None:
        """Add `Fundamentals`, or a mapping with their fields."""
        await self.add(row, FUNDAMENTAL, origin=origin)

    async def add_instrument(self, row: Instrument | Mapping[str, Any], /, *, origin: Any = None) -> None:
        """Add an `Instrument`, or a mapping with its fields."""
        await self.add(row, INSTRUMENT, origin=origin)

    async def add_news(self, row: News | Mapping[str, Any], /, *, origin: Any = None) -> None:
        """Add `News`, or a mapping with their fields."""
        await self.add(row, NEWS, origin=origin)

    async def add_option(self, row: OptionSnap | Mapping[str, Any], /, *, origin: Any = None) -> None:
        """Add an `OptionSnap`, or a mapping with its fields."""
        await self.add(row, OPTION, origin=origin)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Return `add_<kind>` for a kind that the program has declared."""
            for kind in KINDS.values():
                if name == f"add_{kind.singular}":
                    return partial(self.add, kind=kind)
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def reject(self, row: Any, error: InvalidRow, kind: AnyKind | None = None, *, origin: Any = None) -> None:
        """Pass an invalid row to the reject sink and count it.

        Raises:
            InvalidRow: There is no sink.
        """
        if self._core.sink is None:
            raise error
        self._core.sink(Reject(None if kind is None else KINDS.of(kind).name, row, str(error), origin=origin))
        with self._lock:
            self._core.refused()

    def stats(self) -> BatchStats:
        """Return the counts so far."""
        with self._lock:
            return self._core.stats()

    def get_stats(self) -> BatchStats:
        """Alias of `stats`."""
        return self.stats()

    def pending_rows(self) -> list[Row]:
        """Return the rows that are neither written nor rejected, in order, including those being written."""
        with self._lock:
            return self._core.rows()

    async def flush(self) -> None:
        """Write all rows that are pending now, and wait for it. Raises the error if they cannot be written."""
        await self._flush(math.inf)

    async def flush_all(self) -> None:
        """Alias of `flush`."""
        await self.flush()

    async def aclose(self) -> None:
        """Write pending rows and accept no more. You can close twice.

        Raises the error if a row cannot be written.
        """
        await self._leave(None)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._leave(error)

    async def _flush(self, seconds: float) -> None:
        core, until = self._core, monotonic() + seconds
        with self._lock:
            demand = core.demand()
            while not core.fulfilled(demand):
                self._wake()
                left = until - monotonic()
                if left <= 0:
                    raise TimeoutError
                await self._changed.wait(None if left == math.inf else left)

    async def _leave(self, passing: BaseException | None) -> None:
        with self._lock:
            self._core.close()
            self._changed.notify_all()
            self._due.notify_all()
        try:
            await self._flush(math.inf if passing is None else self._grace)
        except Exception as failure:
            if self._writer is not None:
                await self._writer.cancel()
            self._abandon(passing or failure)
            if passing is None:
                raise
        except BaseException as interrupt:
            if passing is None:
                await self._leave(interrupt)
            else:
                self._abandon(passing, interrupt)
            raise
        if not self._core.pending and (writer := self._writer) is not None:
            await writer.join()

    def _abandon(self, *errors: BaseException) -> None:
        with self._lock:
            self._core.abandon(*errors)

    def _wake(self) -> None:
        if self._writer is None:
            self._writer = AsyncWriter(self._work)
        # Started only after it is assigned: an interrupt in between could otherwise leave two writers running.
        self._writer.start()
        self._due.notify_all()

    async def _work(self) -> None:
        with self._lock:
            writer = self._writer
        try:
            while await self._wait_until_due(writer):
                await self._write()
        finally:
            with self._lock:
                self._ended(writer)

    def _ended(self, writer: AsyncWriter | None) -> None:
        if self._writer is writer:
            self._writer = None
        self._changed.notify_all()

    async def _wait_until_due(self, writer: AsyncWriter | None) -> bool:
        """Wait until a batch is due. Returns False if nothing is due for a while, which ends the writer."""
        with self._lock:
            while (seconds := self._core.due_in()) != 0:
                if seconds is None and (self._core.closed or not await self._due.wait(ALINGER_S)):
                    # Before the lock is released, so that the next row starts another writer.
                    self._ended(writer)
                    return False
                if seconds is not None:
                    await self._due.wait(seconds)
            return True

    async def _write(self) -> None:
        talk = self._core.write()
        outcome: Exception | None = None
        try:
            while True:
                with self._lock:
                    step = talk.send(outcome)
                    self._changed.notify_all()
                try:
                    if isinstance(step, Reject):
                        self._core.refuse(step)
                    else:
                        await self._client.run(step())
                    outcome = None
                except Exception as error:  # noqa: BLE001 - the core decides, and a producer's next call raises it
                    outcome = error
        except StopIteration:
            pass
        finally:
            with self._lock:
                talk.close()
                self._changed.notify_all()
