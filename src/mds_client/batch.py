"""Batch processors: rows come one by one, and are written in batches by count, size or age.

`mds_client.batching` decides and neither waits nor writes. `BatchProcessor` (a thread) and `AsyncBatchProcessor` (a
task) wait and write for it.

Producers only put rows down; one writer a processor, there while rows are, writes them in the order in which they were
put. So a producer that is interrupted never interrupts a write, and two batches cannot overtake each other.
"""

import asyncio
import logging
import math
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, Self, TypeVar, overload

from mds_client import forks
from mds_client.aclient import AMDS
from mds_client.batching import BatchConfig, BatchStats, Core, Given, OnReject, Reject, What, reject_sink
from mds_client.client import MDS
from mds_client.errors import (
    InvalidRow,
)
from mds_client.models import Bar, Fundamentals, News, OptionSnap, Row
from mds_client.schema import KINDS, OnConflict

__all__ = ["AsyncBatchProcessor", "BatchConfig", "BatchProcessor", "BatchStats", "Reject"]

logger = logging.getLogger(__name__)

R = TypeVar("R", bound=Row)
C = TypeVar("C", MDS, AMDS)
R_contra = TypeVar("R_contra", bound=Row, contravariant=True)

LINGER_S: Final = 10.0
"""How long a thread that has nothing to write waits for rows before it ends; the next row starts another."""


class AddRow(Protocol[R_contra]):
    """A kind's own `add`."""

    def __call__(self, row: R_contra | Mapping[str, Any], /, *, origin: Any = None) -> None: ...


class AsyncAddRow(Protocol[R_contra]):
    """A kind's own `add`, awaited."""

    def __call__(self, row: R_contra | Mapping[str, Any], /, *, origin: Any = None) -> Coroutine[Any, Any, None]: ...


class Adder(Generic[R]):
    """`add` for one kind, as a typed method of either processor."""

    def __init__(self, model: type[R]) -> None:
        self._name = ""
        self._kind = KINDS.of(model)
        self.__doc__ = f"Add a `{model.__name__}`, or a mapping with its fields."

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, processor: "BatchProcessor", owner: type) -> AddRow[R]: ...
    @overload
    def __get__(self, processor: "AsyncBatchProcessor", owner: type) -> AsyncAddRow[R]: ...
    @overload
    def __get__(self, processor: None, owner: type) -> Self: ...
    def __get__(self, processor: Any, owner: type) -> Any:
        if processor is None:
            return self
        method = partial(processor.add, kind=self._kind)
        if self._name:
            # The next access finds it there: called for every row, making it anew is a tenth of the cost.
            vars(processor)[self._name] = method
        return method


class _Processor(ABC, Generic[C]):
    """What both processors are, beside their waiting."""

    _lock: AbstractContextManager[Any]

    def __init__(
        self,
        client: C,
        config: BatchConfig | None = None,
        *,
        on_conflict: OnConflict = "replace",
        on_reject: OnReject | None = None,
    ) -> None:
        self.config = config or BatchConfig()
        self._client: C = client
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

    def _refuse(self, sink: Callable[[Reject], None], reject: Reject) -> None:
        sink(reject)
        # A kind that is not declared is somebody's text, and no label.
        known = reject.kind is not None and reject.kind in KINDS
        self._client.observer.rejected(str(reject.kind) if known else "none", 1)

    @abstractmethod
    def _prepare(self) -> None:
        """Make what waiting needs."""

    # Typed here for editors and type checkers; any other declared kind has its method too.
    add_bar = Adder(Bar)
    add_fundamental = Adder(Fundamentals)
    add_news = Adder(News)
    add_option = Adder(OptionSnap)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            for kind in KINDS.values():
                if name == f"add_{kind.singular}":
                    return Adder(kind.model).__get__(self, type(self))
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def stats(self) -> BatchStats:
        """What was done so far."""
        with self._lock:
            return self._core.stats()

    def get_stats(self) -> BatchStats:
        """The same as `stats`."""
        return self.stats()

    def pending_rows(self) -> list[Row]:
        """The rows that are neither written nor rejected, in their order; those of a write under way are among them."""
        with self._lock:
            return self._core.rows()

    def reject(self, row: Any, error: InvalidRow, kind: What | None = None, *, origin: Any = None) -> None:
        """Hand something that is no row to the reject sink, and count it; raises `error` where there is no sink."""
        if self._core.sink is None:
            raise error
        self._core.sink(Reject(None if kind is None else KINDS.of(kind).name, row, str(error), origin=origin))
        with self._lock:
            self._core.refused()


class BatchProcessor(_Processor[MDS]):
    """Collects rows and writes them through an `MDS` in batches; any number of threads may add rows.

    Use it as a context manager, or end with `close()` or `flush()`: rows that are pending when the program ends are
    gone. Leaving writes what is pending, also where an exception passes, then for no longer than a statement may take;
    what is not written by then is said in a note on the exception, and is in `pending_rows()`. The client stays open.

    Nothing is dropped. A batch that cannot be written stays pending, in front, and is tried again after `max_ms` (5 s
    at most), or at once by `flush()`. Such a failure is raised by the next `add`, `flush` or `close`, once, unless
    the rows have been written by then. Rows that cannot be written for their content go to `on_reject`: a function
    that takes a `Reject` and does not call the processor, or the path of a file to which each is appended as a line of
    JSON. Without `on_reject` they are failures like others, and rows behind them wait.
    """

    def _prepare(self) -> None:
        self._lock = threading.Lock()
        self._due = threading.Condition(self._lock)
        self._changed = threading.Condition(self._lock)
        self._writer: threading.Thread | None = None

    def add(self, row: Given, kind: What | None = None, *, origin: Any = None) -> None:
        """Put a row down; waits while twice a batch is pending.

        `row` is a model, or a mapping with the fields of `kind`. `origin` is anything that tells where it is from, and
        comes back in a `Reject`. An `add` that raises has not taken the row: InvalidRow where it is no row of its kind
        (with `on_reject`, it goes there instead), MDSError where the processor is closed, or an earlier failure.
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

    def flush(self) -> None:
        """Write all that is pending now, and wait for it. Raises what kept it from being written."""
        self._flush(math.inf)

    def flush_all(self) -> None:
        """The same as `flush`."""
        self.flush()

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

    def close(self) -> None:
        """Write what is pending and take no more rows. Raises what kept a row from being written; may be repeated."""
        self._leave(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave(error)

    def _leave(self, passing: BaseException | None) -> None:
        with self._lock:
            self._core.close()
            self._changed.notify_all()
            self._due.notify()
        try:
            self._flush(math.inf if passing is None else self._grace)
        except Exception as failure:
            self._abandon(passing or failure)
            if passing is None:
                raise
        except BaseException as interrupt:
            if passing is None:
                self._leave(interrupt)
            else:
                self._abandon(passing, interrupt)
            raise
        if not self._core.pending and (writer := self._writer):
            writer.join()

    def _abandon(self, *errors: BaseException) -> None:
        with self._lock:
            self._core.abandon(*errors)

    def _wake(self) -> None:
        if self._writer is None:
            self._writer = threading.Thread(target=self._work, name="mds-batch", daemon=True)
            self._writer.start()
        self._due.notify()

    def _work(self) -> None:
        try:
            while self._wait_until_due():
                self._write()
        finally:
            with self._lock:
                self._ended()

    def _ended(self) -> None:
        if self._writer is threading.current_thread():
            self._writer = None
        self._changed.notify_all()

    def _wait_until_due(self) -> bool:
        """Whether there is something to write; where there is nothing for a while, the thread ends."""
        with self._lock:
            while (seconds := self._core.due_in()) != 0:
                if seconds is None and (self._core.closed or not self._due.wait(LINGER_S)):
                    # Before the lock is given back: the next row starts another.
                    self._ended()
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


class AsyncBatchProcessor(_Processor[AMDS]):
    """Collects rows and writes them through an `AMDS` in batches; any number of tasks of one loop may add rows.

    As `BatchProcessor`, awaited: a task of its own writes, so that cancelling a producer never cancels a write.
    `add` waits only while twice a batch is pending. `on_reject` is called in the loop, and not awaited.
    """

    def _prepare(self) -> None:
        self._lock = nullcontext()
        self._due = asyncio.Event()
        self._changed = asyncio.Event()
        self._writer: asyncio.Task[None] | None = None

    async def add(self, row: Given, kind: What | None = None, *, origin: Any = None) -> None:
        """As `BatchProcessor.add`."""
        core = self._core
        try:
            measured = core.measured(row, kind, origin)
        except InvalidRow as error:
            self.reject(row, error, kind, origin=origin)
            return
        while core.obstructed:
            core.check()
            self._wake()
            await self._changed.wait()
        if core.put(measured):
            self._wake()

    async def flush(self) -> None:
        """As `BatchProcessor.flush`. Cancelling it does not cancel the write."""
        core = self._core
        demand = core.demand()
        while not core.fulfilled(demand):
            self._wake()
            await self._changed.wait()

    async def flush_all(self) -> None:
        """The same as `flush`."""
        await self.flush()

    async def aclose(self) -> None:
        """As `BatchProcessor.close`."""
        await self._leave(None)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._leave(error)

    async def _leave(self, passing: BaseException | None) -> None:
        self._core.close()
        self._tell()
        try:
            async with asyncio.timeout(None if passing is None else self._grace):
                await self.flush()
        except Exception as failure:
            await self._stop()
            self._core.abandon(passing or failure)
            if passing is None:
                raise
        except BaseException as interrupt:
            if passing is None:
                await self._leave(interrupt)
            else:
                self._core.abandon(passing, interrupt)
            raise

    async def _stop(self) -> None:
        """End the writer with the write under way, if any, so that nothing goes on behind a block that was left."""
        if self._writer:
            self._writer.cancel()
            await asyncio.wait([self._writer])

    def _wake(self) -> None:
        if self._writer is None or self._writer.done():
            self._writer = asyncio.get_running_loop().create_task(self._work(), name="mds-batch")
        self._due.set()

    def _tell(self) -> None:
        """Have everybody who waits look again."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def _work(self) -> None:
        try:
            while (seconds := self._core.due_in()) is not None:
                if seconds == 0:
                    await self._write()
                    continue
                self._due.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(seconds):
                        await self._due.wait()
        finally:
            self._tell()

    async def _write(self) -> None:
        talk = self._core.write()
        outcome: Exception | None = None
        try:
            while True:
                step = talk.send(outcome)
                self._tell()
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
            talk.close()
            self._tell()
