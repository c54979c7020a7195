"""Batch processors: rows come one by one, and are written in batches by count, size or age.

`Core` decides and neither waits nor writes: what is due, which rows to take, what an outcome means. `BatchProcessor`
(a thread) and `AsyncBatchProcessor` (a task) wait and write for it. How a batch is written is in
`mds_client.operations`.

Producers only put rows down; one writer a processor, there while rows are, writes them in the order in which they were
put. So a producer that is interrupted never interrupts a write, and two batches cannot overtake each other.
"""

import asyncio
import inspect
import json
import logging
import math
import os
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain
from operator import itemgetter
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, Self, TypeAlias, TypeVar, overload

import psycopg
from pydantic import ValidationError

from mds_client import operations, upserts
from mds_client.aclient import AMDS
from mds_client.client import MDS
from mds_client.errors import (
    ConfigurationError,
    ConstraintViolation,
    InvalidRow,
    MDSError,
    MDSOperationalError,
    RetryableError,
    RLSDenied,
)
from mds_client.models import Bar, Fundamentals, News, OptionSnap, Row
from mds_client.schema import KINDS, Kind, OnConflict, SqlType

__all__ = ["AsyncBatchProcessor", "BatchConfig", "BatchProcessor", "BatchStats", "Reject"]

logger = logging.getLogger(__name__)

R = TypeVar("R", bound=Row)
C = TypeVar("C", MDS, AMDS)
R_contra = TypeVar("R_contra", bound=Row, contravariant=True)


@dataclass(frozen=True, slots=True)
class BatchConfig:
    """When a batch is due: whichever comes first.

    `max_rows`: so many rows are pending. `max_ms`: the oldest pending row has waited so many milliseconds, whether or
    not more rows come. `max_bytes`: the pending rows have so many bytes in binary COPY. A batch is no larger than
    `max_rows` and `max_bytes`, a single larger row apart; about twice as much may be pending before producers wait.
    Raises ConfigurationError where one is no positive integer.
    """

    max_rows: int = 1000
    max_ms: int = 5000
    max_bytes: int = 8 * 2**20

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise ConfigurationError(f"{name} is a whole number from 1 on, not {value!r}")


@dataclass(frozen=True, slots=True)
class BatchStats:
    """What a processor has done so far; `added == written + rejected + pending` at every moment.

    Counts are rows, but `batches` (how many were written, at least in part), `failures` (how many could not be, in
    whole or in part, their rows being kept), and `bytes` (of the rows written, as binary COPY has them).
    `write_seconds` is the time spent in the client, its retries included. `last_error` is the last failure's text.
    """

    added: int = 0
    written: int = 0
    rejected: int = 0
    pending: int = 0
    batches: int = 0
    failures: int = 0
    bytes: int = 0
    write_seconds: float = 0.0
    last_error: str | None = None


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that cannot be written for its content, and why. `origin` is what `add` was given with it."""

    kind: str | None
    row: Any
    reason: str
    sqlstate: str | None = None
    origin: Any = None

    def to_json(self) -> str:
        """One line of JSON, without its end."""
        told = {"kind": self.kind, "row": self.row, "reason": self.reason}
        told |= {"sqlstate": self.sqlstate, "origin": self.origin}
        try:
            if isinstance(self.row, Row):
                told["row"] = self.row.model_dump(mode="json", warnings=False)
            return json.dumps(told, default=str, allow_nan=False)
        except (TypeError, ValueError):
            # NaN, a key that is no text, a circle: what JSON cannot say is told as text.
            return json.dumps(told | {"row": str(self.row), "origin": str(self.origin)})


Given: TypeAlias = Row | Mapping[str, Any]
What: TypeAlias = str | type[Row] | Kind
OnReject: TypeAlias = Callable[[Reject], None] | str | os.PathLike[str]


def _sink(on_reject: OnReject | None) -> Callable[[Reject], None] | None:
    if on_reject is None:
        return None
    if inspect.iscoroutinefunction(on_reject):
        raise ConfigurationError("on_reject is called and not awaited: a plain function is needed, or a path")
    lock = threading.Lock()
    if callable(on_reject):

        def refuse(reject: Reject) -> None:
            with lock:
                on_reject(reject)
    else:
        path = Path(on_reject)

        def refuse(reject: Reject) -> None:
            with lock, path.open("a", encoding="utf-8") as file:
                file.write(reject.to_json() + "\n")

    return refuse


WIDTHS: Final[dict[SqlType, int | None]] = {
    "bigint": 8,
    "double precision": 8,
    "text": None,
    "date": 4,
    "timestamptz": 8,
    "uuid": 16,
}
"""Bytes of a value in PostgreSQL's binary format; None where they go by the value."""


def sizing(kind: Kind) -> Callable[[Row], int]:
    """A function that says how many bytes a row takes in binary COPY, by arithmetic.

    A row is 2 bytes and its fields, a field 4 bytes and its value, NULL no value
    (https://www.postgresql.org/docs/current/sql-copy.html, "Tuples"). The series is one field, its id.
    """
    full = 2 + (4 + 8)
    texts: list[str] = []
    optional: dict[int, list[str]] = {}
    for column in kind.columns:
        width = WIDTHS[column.type]
        full += 4 + (width or 0)
        if width is None:
            texts.append(column.name)
        elif column.nullable:
            optional.setdefault(width, []).append(column.name)
    # A key column is never NULL: named beside the others it makes every getter answer with a tuple.
    groups = [(itemgetter(kind.time, *names), width) for width, names in optional.items()]

    def size(row: Row) -> int:
        values = row.__dict__
        total = full
        for get, width in groups:
            total -= width * get(values).count(None)
        for name in texts:
            text = values[name]
            if text is not None:
                total += len(text) if text.isascii() else len(text.encode())
        return total

    return size


# Plain tuples: one is made for every row, and an object would cost as much as all the rest of `add`.
Measured: TypeAlias = tuple[Kind, Row, int, Any]
"""A row with its kind, its bytes and its origin."""

Entry: TypeAlias = tuple[Kind, Row, int, Any, float, int]
"""The same when it is put: with the time of that, and its number in the order of putting."""

KIND: Final = 0
ROW: Final = 1
SIZE: Final = 2
ORIGIN: Final = 3
TIME: Final = 4
NUMBER: Final = 5

Step: TypeAlias = Callable[[], operations.Operation[int]] | Reject
"""What a writer is to do: perform an operation, or hand a row to the reject sink."""

Writing: TypeAlias = Generator[Step, Exception | None, None]
"""One batch on its way: gives steps, is sent how each ended."""

LINGER_S: Final = 10.0
"""How long a thread that has nothing to write waits for rows before it ends; the next row starts another."""

PAUSE_MS: Final = 5000
"""The longest wait between a failure and the next attempt that nobody asked for."""


def about_content(error: Exception) -> bool:
    """Whether an error is about what is in some of the rows, so that the others can be written without them."""
    if isinstance(error, RetryableError):
        return False
    if isinstance(error, InvalidRow | ConstraintViolation):
        return True
    if isinstance(error, RLSDenied):
        # A missing right is the role's: no row is better than another.
        return error.sqlstate != "42501"
    if isinstance(error, MDSOperationalError):
        # Class 22 is what the server says to a value; the driver says it without a code.
        return (error.sqlstate or "")[:2] == "22" or isinstance(error.__cause__, psycopg.DataError)
    return False


class Core:
    """The decisions of a processor. Every method is called by one thread at a time."""

    def __init__(
        self,
        config: BatchConfig,
        on_conflict: OnConflict,
        sink: Callable[[Reject], None] | None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        if on_conflict not in ("replace", "keep", "fill"):
            raise ConfigurationError(f"on_conflict is replace, keep or fill, not {on_conflict!r}")
        self.config, self.on_conflict, self.sink, self.clock = config, on_conflict, sink, clock
        self.closed = False
        self.obstructed = False  # whether a producer has to stop and look why, before it may put
        self.failure: Exception | None = None  # not yet raised in a producer's call
        self._known: dict[type, tuple[Kind, Callable[[Row], int]]] = {}
        self._queue: deque[Entry] = deque()
        self._queued_bytes = 0
        self._taken: dict[int, Entry] = {}  # of the batch being written, what is not settled
        self._taken_bytes = 0
        self._writing = False
        self._number = 0
        self._alarm_number, self._alarm_bytes = 0, config.max_bytes
        self._attempt = 0
        self._failed_attempt = 0
        self._last_failure: Exception | None = None
        self._last_error: str | None = None
        self._resume_at = -math.inf
        self._demanded = 0  # rows with a lower number are to be written now …
        self._demanded_of = 0  # … by this attempt or a later one
        self._written = self._rejected = self._batches = self._failures = self._bytes = 0
        self._refused_at_once = 0
        self._seconds = 0.0

    def measured(self, row: Given, kind: What | None, origin: Any) -> Measured:
        """A row, checked, as it can be put. Raises InvalidRow."""
        known = self._known.get(type(row))
        if known is None or (kind is not None and kind is not known[0]):
            row, known = self._checked(row, kind)
        model: Any = row
        return known[0], model, known[1](model), origin

    def _checked(self, row: Any, kind: What | None) -> tuple[Any, tuple[Kind, Callable[[Row], int]]]:
        if kind is None:
            if isinstance(row, Mapping):
                raise ConfigurationError("a mapping does not say its kind: pass kind")
            if not isinstance(row, Row):
                raise InvalidRow(f"a model is needed, or a mapping and its kind, not {type(row).__name__}")
            kind = next((each for each in KINDS.values() if isinstance(row, each.model)), type(row))
        declared = KINDS.of(kind)
        known = self._known.get(declared.model) or (declared, sizing(declared))
        if isinstance(row, Mapping):
            try:
                row = declared.model.model_validate(row)
            except ValidationError as error:
                raise InvalidRow(upserts.reason(error)) from error
        elif not isinstance(row, declared.model):
            raise InvalidRow(f"a {declared.model.__name__} or a mapping is needed, not {type(row).__name__}")
        self._known[type(row)] = known
        return row, known

    def put(self, row: Measured) -> bool:
        """Take a row up; says whether the writer has to be told. Only where nothing is obstructed."""
        number = self._number
        self._number = number + 1
        self._queue.append((*row, self.clock(), number))
        self._queued_bytes = size = self._queued_bytes + row[SIZE]
        if number < self._alarm_number and size < self._alarm_bytes:
            return False
        self._look()
        return not self._writing

    def check(self) -> None:
        """Raise what a producer has to know before it may put a row; a failure only once."""
        if self.failure is not None:
            failure, self.failure = self.failure, None
            self._look()
            raise failure
        if self.closed:
            raise MDSError("the batch processor is closed")

    def _look(self) -> None:
        """Find out whether producers are obstructed, and if not, at which row or byte something is to happen next."""
        config, rows, size = self.config, len(self._queue), self._queued_bytes
        full_rows = 2 * config.max_rows - len(self._taken)
        full_bytes = 2 * config.max_bytes - self._taken_bytes
        self.obstructed = self.closed or self.failure is not None or rows >= full_rows or size >= full_bytes
        if self._writing or rows >= config.max_rows or size >= config.max_bytes:
            # The writer looks for itself when it is done, or has been told already.
            alarm_rows, self._alarm_bytes = full_rows, full_bytes
        else:
            alarm_rows, self._alarm_bytes = config.max_rows if rows else 1, config.max_bytes
        self._alarm_number = self._number + alarm_rows - rows - 1

    @property
    def pending(self) -> int:
        """How many rows are neither written nor rejected."""
        return len(self._queue) + len(self._taken)

    def rows(self) -> list[Row]:
        """Those rows, in their order."""
        return [entry[ROW] for entry in chain(self._taken.values(), self._queue)]

    def due_in(self) -> float | None:
        """Seconds until the next batch is due, 0 for now; None where only a producer can make it due."""
        if not self._queue:
            return None
        oldest = self._queue[0]
        if oldest[NUMBER] < self._demanded:
            return 0.0
        if self.closed:
            return None
        now, config = self.clock(), self.config
        if now < self._resume_at:
            return self._resume_at - now
        if len(self._queue) >= config.max_rows or self._queued_bytes >= config.max_bytes:
            return 0.0
        return max(0.0, oldest[TIME] + config.max_ms / 1000 - now)

    def demand(self) -> tuple[int, int]:
        """Make all that is pending due now; gives what `fulfilled` needs."""
        self._demanded, self._demanded_of = self._number, self._attempt + 1
        return self._demanded, self._demanded_of

    def fulfilled(self, demand: tuple[int, int]) -> bool:
        """Whether what was demanded is settled. Raises the failure of an attempt that began after the demand."""
        number, attempt = demand
        if next(chain(self._taken, (entry[NUMBER] for entry in self._queue)), number) >= number:
            return True
        if self._failed_attempt >= attempt and self._last_failure is not None:
            self.failure = None
            self._look()
            raise self._last_failure
        return False

    def close(self) -> None:
        """Take no more rows; write what is left only on demand."""
        self.closed = True
        self._look()

    def abandon(self, *errors: BaseException) -> None:
        """Write nothing more unless it is asked for again, and say on the errors what is left behind."""
        self._demanded = 0
        if self.pending:
            unsure = f", {len(self._taken)} of them in a write that is under way" if self._taken else ""
            for error in errors:
                error.add_note(f"{self.pending} rows are not written{unsure}; they are in pending_rows()")

    def refuse(self, reject: Reject) -> None:
        """Hand a row to the sink, which has to be there."""
        assert self.sink is not None
        self.sink(reject)

    def refused(self) -> None:
        """Count a row that was rejected before it was put."""
        self._refused_at_once += 1

    def write(self) -> Writing:
        """Write the next batch: its kinds one after the other, each kind's rows in their order.

        Rows that the server refuses for their content are found by halving: earlier rows are always written before
        later ones, so that of two rows of one key the later one is the last. Closed before its end, what is not
        settled is pending again.
        """
        self._take()
        self._writing = True
        self._attempt += 1
        self._look()
        settled, failure, ended = self._written + self._rejected, None, False
        parts: dict[str, list[Entry]] = {}
        for entry in self._taken.values():
            parts.setdefault(entry[KIND].name, []).append(entry)
        try:
            for part in parts.values():
                if (failure := (yield from self._write(part))) is not None:
                    break
            ended = True
        finally:
            self._writing = False
            self._batches += self._written + self._rejected > settled
            self._queue.extendleft(reversed(self._taken.values()))
            self._queued_bytes += self._taken_bytes
            self._taken, self._taken_bytes = {}, 0
            if failure is not None:
                self._failed(failure)
            elif ended:
                # The rows that had failed went first: they are written, and there is nothing left to tell.
                self.failure = self._last_failure = None
                self._resume_at = -math.inf
            self._look()

    def _take(self) -> None:
        config, queue = self.config, self._queue
        while queue and len(self._taken) < config.max_rows:
            if self._taken and self._taken_bytes + queue[0][SIZE] > config.max_bytes:
                break
            entry = queue.popleft()
            self._taken[entry[NUMBER]] = entry
            self._taken_bytes += entry[SIZE]
        self._queued_bytes -= self._taken_bytes

    def _write(self, entries: list[Entry]) -> Generator[Step, Exception | None, Exception | None]:
        waiting = [entries]
        while waiting:
            part = waiting.pop()
            kind, rows = part[0][KIND], [entry[ROW] for entry in part]
            began = self.clock()
            try:
                error = yield partial(upserts.upsert, kind, rows, on_conflict=self.on_conflict)
            finally:
                self._seconds += self.clock() - began
            if error is None:
                self._written += len(part)
                self._bytes += sum(entry[SIZE] for entry in part)
                self._settle(part)
                continue
            if not about_content(error):
                return error
            if len(part) > 1:
                half = len(part) // 2
                waiting += [part[half:], part[:half]]
                continue
            # Without a sink nothing overtakes the row: a later one of its key would be undone when it is written.
            if self.sink is None:
                error.add_note(f"the row is {rows[0]!r}, origin {part[0][ORIGIN]!r}; on_reject would set it aside")
                return error
            state = error.sqlstate if isinstance(error, MDSOperationalError) else None
            reject = Reject(kind.name, rows[0], str(error), state, part[0][ORIGIN])
            if (error := (yield reject)) is not None:
                return error
            self._rejected += 1
            self._settle(part)
        return None

    def _settle(self, part: list[Entry]) -> None:
        for entry in part:
            del self._taken[entry[NUMBER]]
            self._taken_bytes -= entry[SIZE]
        self._look()

    def _failed(self, failure: Exception) -> None:
        failure.add_note(f"nothing is dropped: {self.pending} rows are pending")
        logger.warning("a batch was not written, its rows are kept, %d are pending: %s", self.pending, failure)
        self.failure = self._last_failure = failure
        self._last_error = f"{type(failure).__name__}: {failure}"
        self._failed_attempt = self._attempt
        self._failures += 1
        self._resume_at = self.clock() + min(self.config.max_ms, PAUSE_MS) / 1000
        if self._attempt >= self._demanded_of:
            self._demanded = 0

    def stats(self) -> BatchStats:
        """The counts."""
        return BatchStats(
            added=self._number + self._refused_at_once,
            written=self._written,
            rejected=self._rejected + self._refused_at_once,
            pending=self.pending,
            batches=self._batches,
            failures=self._failures,
            bytes=self._bytes,
            write_seconds=self._seconds,
            last_error=self._last_error,
        )


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
        self._core = Core(self.config, on_conflict, _sink(on_reject))
        # How long leaving by an exception may take: as long as a statement.
        self._grace = (client.config.statement_timeout_ms or 30_000) / 1000
        self._prepare()

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
