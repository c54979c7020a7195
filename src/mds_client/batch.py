# Generated from abatch.py by tools/sync.py: edit that module, and run `make generate`.
"""`BatchProcessor`: rows arrive one by one and are written in batches by count, size or age.

`mds_client.batching.core` decides, and neither waits nor writes. The processor waits and writes for it. One writer for
each processor writes the rows in the order in which they were added. Producers only add rows: an interrupted producer
never interrupts a write, and two batches cannot overtake each other.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from mds_client.abatch import AsyncBatchProcessor as AsyncBatchProcessor
from mds_client.batching.core import BatchConfig, BatchStats, Core, Given
from mds_client.batching.rejects import OnReject, Reject, reject_sink
from mds_client.client import MDS
from mds_client.errors import InvalidRow
from mds_client.models import AnyKind, Bar, Fundamentals, News, OptionSnap, Row
from mds_client.protocol import forks
from mds_client.protocol.pauses import LINGER_S, Condition, Lock, Writer
from mds_client.schema import KINDS, OnConflict

__all__ = ["BatchConfig", "BatchProcessor", "BatchStats", "Reject"]

BAR, FUNDAMENTAL, NEWS, OPTION = (KINDS.of(model) for model in (Bar, Fundamentals, News, OptionSnap))
"""Their declarations, looked up once and not for every row."""


class BatchProcessor:
    """Collects rows and writes them through an `MDS` in batches. Any number of threads may add rows.

    Use it as a context manager, or end with `close()` or `flush()`: rows that are pending when the program ends
    are lost. Leaving the block writes what is pending. If an exception passes, that takes no longer than a statement
    may take; a note on the exception says what is not written, and `pending_rows()` has it. The client stays open.

    Nothing is dropped. A batch that cannot be written stays pending, in front, and is tried again after `max_ms` (5 s
    at most), or at once by `flush()`. Such a failure is raised by the next `add`, `flush` or `close`, once, unless the
    rows have been written by then. Ctrl-C in a producer never interrupts a write.

    Args:
        client: The client that writes.
        config: When a batch is due. The default is `BatchConfig()`.
        on_conflict: What happens to a stored row with the same key; see `MDS.upsert`.
        on_reject: Where rows go that cannot be written because of their content: a function that takes a `Reject` and
            does not call the processor, or the path of a file to which each is appended as a line of JSON. Without it
            such rows are failures like others, and rows behind them wait.

    Raises:
        ConfigurationError: An argument is wrong.
    """

    def __init__(
        self,
        client: MDS,
        config: BatchConfig | None = None,
        *,
        on_conflict: OnConflict = "replace",
        on_reject: OnReject | None = None,
    ) -> None:
        self.config = config or BatchConfig()
        self._client = client
        sink = reject_sink(on_reject)
        self._core = Core(self.config, on_conflict, None if sink is None else partial(self._refuse, sink))
        # How long leaving by an exception may take: as long as a statement.
        self._grace = (client.config.statement_timeout_ms or 30_000) / 1000
        self._prepare()
        forks.watch(self)

    def forked(self) -> None:
        """Begin anew in a forked process, which has neither the writer nor what it waits with."""
        self._prepare()
        self._core.inherit()

    def _prepare(self) -> None:
        self._lock = Lock()
        self._due = Condition(self._lock)
        self._changed = Condition(self._lock)
        self._writer: Writer | None = None

    def _refuse(self, sink: Callable[[Reject], None], reject: Reject) -> None:
        sink(reject)
        # A kind that is not declared is someone's text, and no label.
        known = reject.kind is not None and reject.kind in KINDS
        self._client.observer.rejected(str(reject.kind) if known else "none", 1)

    def add(self, row: Given, kind: AnyKind | None = None, *, origin: Any = None) -> None:
        """Add a row. Waits while two batches are pending.

        Args:
            row: A model, or a mapping with the fields of `kind`.
            kind: The kind's name, model or declaration. A model says it by itself.
            origin: Anything that tells where the row is from. It comes back in a `Reject`.

        Raises:
            InvalidRow: It is not a row of its kind. With `on_reject` the row goes there instead.
            MDSError: The processor is closed, or an earlier batch failed. The row was not taken.
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
                self._changed.wait()
            if core.put(measured):
                self._wake()

    def add_bar(self, row: Bar | Mapping[str, Any], /, *, origin: Any = None) -> None:
        """Add a `Bar`, or a mapping with its fields."""
        self.add(row, BAR, origin=origin)

    def add_fundamental(self, row: Fundamentals | Mapping[str, Any], /, *, origin: Any = None) -> None:
        """Add `Fundamentals`, or a mapping with their fields."""
        self.add(row, FUNDAMENTAL, origin=origin)

    def add_news(self, row: News | Mapping[str, Any], /, *, origin: Any = None) -> None:
        """Add `News`, or a mapping with their fields."""
        self.add(row, NEWS, origin=origin)

    def add_option(self, row: OptionSnap | Mapping[str, Any], /, *, origin: Any = None) -> None:
        """Add an `OptionSnap`, or a mapping with its fields."""
        self.add(row, OPTION, origin=origin)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """`add_<kind>` of a kind that a program has declared itself."""
            for kind in KINDS.values():
                if name == f"add_{kind.singular}":
                    return partial(self.add, kind=kind)
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def reject(self, row: Any, error: InvalidRow, kind: AnyKind | None = None, *, origin: Any = None) -> None:
        """Hand something that is not a row to the reject sink, and count it.

        Raises:
            InvalidRow: There is no sink.
        """
        if self._core.sink is None:
            raise error
        self._core.sink(Reject(None if kind is None else KINDS.of(kind).name, row, str(error), origin=origin))
        with self._lock:
            self._core.refused()

    def stats(self) -> BatchStats:
        """What was done so far."""
        with self._lock:
            return self._core.stats()

    def get_stats(self) -> BatchStats:
        """The same as `stats`."""
        return self.stats()

    def pending_rows(self) -> list[Row]:
        """The rows that are neither written nor rejected, in their order, with those of a write under way."""
        with self._lock:
            return self._core.rows()

    def flush(self) -> None:
        """Write all that is pending now, and wait for it. Raises what kept it from being written."""
        self._flush(math.inf)

    def flush_all(self) -> None:
        """The same as `flush`."""
        self.flush()

    def close(self) -> None:
        """Write what is pending and take no more rows. You can close twice.

        Raises what kept a row from being written.
        """
        self._leave(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave(error)

    def _flush(self, seconds: float) -> None:
        core, until = self._core, monotonic() + seconds
        with self._lock:
            demand = core.demand()
            while not core.fulfilled(demand):
                self._wake()
                left = until - monotonic()
                if left <= 0:
                    raise TimeoutError
                self._changed.wait(None if left == math.inf else left)

    def _leave(self, passing: BaseException | None) -> None:
        with self._lock:
            self._core.close()
            self._changed.notify_all()
            self._due.notify_all()
        try:
            self._flush(math.inf if passing is None else self._grace)
        except Exception as failure:
            if self._writer is not None:
                self._writer.cancel()
            self._abandon(passing or failure)
            if passing is None:
                raise
        except BaseException as interrupt:
            if passing is None:
                self._leave(interrupt)
            else:
                self._abandon(passing, interrupt)
            raise
        if not self._core.pending and (writer := self._writer) is not None:
            writer.join()

    def _abandon(self, *errors: BaseException) -> None:
        with self._lock:
            self._core.abandon(*errors)

    def _wake(self) -> None:
        if self._writer is None:
            self._writer = Writer(self._work)
        # Not in the constructor: interrupted before it is kept, a second one would write beside it.
        self._writer.start()
        self._due.notify_all()

    def _work(self) -> None:
        with self._lock:
            writer = self._writer
        try:
            while self._wait_until_due(writer):
                self._write()
        finally:
            with self._lock:
                self._ended(writer)

    def _ended(self, writer: Writer | None) -> None:
        if self._writer is writer:
            self._writer = None
        self._changed.notify_all()

    def _wait_until_due(self, writer: Writer | None) -> bool:
        """Whether there is something to write. If there is nothing for a while, the writer ends."""
        with self._lock:
            while (seconds := self._core.due_in()) != 0:
                if seconds is None and (self._core.closed or not self._due.wait(LINGER_S)):
                    # Before the lock is given back: the next row starts another.
                    self._ended(writer)
                    return False
                if seconds is not None:
                    self._due.wait(seconds)
            return True

    def _write(self) -> None:
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
                        self._client.run(step())
                    outcome = None
                except Exception as error:  # noqa: BLE001 - the core decides, and a producer's next call raises it
                    outcome = error
        except StopIteration:
            pass
        finally:
            with self._lock:
                talk.close()
                self._changed.notify_all()
