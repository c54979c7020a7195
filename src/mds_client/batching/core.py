"""The decisions of a batch processor, without threads, tasks or waits.

`Core` decides what is due, which rows to take and what an outcome means. `mds_client.batch` waits and writes for it.
Batches are written by `mds_client.writing.upserts`, the size of a row on the wire is in `mds_client.batching.sizes`,
and rows that cannot be written are handled in `mds_client.batching.rejects`.
"""

import logging
import math
from collections import deque
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import chain
from time import monotonic
from typing import Any, Final, TypeAlias

from pydantic import ValidationError

from mds_client.batching.rejects import Reject, about_content
from mds_client.batching.sizes import sizing
from mds_client.errors import ConfigurationError, InvalidRow, MDSError, MDSOperationalError, reason
from mds_client.models import AnyKind, Row
from mds_client.protocol import operations
from mds_client.schema import KINDS, Kind, OnConflict, check_conflict
from mds_client.writing import upserts

__all__ = ["BatchConfig", "BatchStats", "Core"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BatchConfig:
    """The limits at which a batch is written. The first one that is reached applies.

    `max_rows`: the number of pending rows. `max_ms`: the age of the oldest pending row in milliseconds. `max_bytes`:
    the size of the pending rows in binary COPY. A batch is no larger than `max_rows` and `max_bytes`, except a single
    larger row. Producers wait when about twice as much is pending. Raises ConfigurationError if a value is not a
    positive integer.
    """

    max_rows: int = 1000
    max_ms: int = 5000
    max_bytes: int = 8 * 2**20

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise ConfigurationError(f"{name} must be a whole number of at least 1, not {value!r}")


@dataclass(frozen=True, slots=True)
class BatchStats:
    """The counts of a processor so far. At any time, `added == written + rejected + pending`.

    All counts are rows, except `batches` (written at least in part), `failures` (batches that were not written
    completely, whose rows are kept) and `bytes` (of the written rows in binary COPY). `write_seconds` is the time spent
    in the client, including retries. `last_error` is the text of the last failure.
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


Given: TypeAlias = Row | Mapping[str, Any]

# Plain tuples, because one is made for every row: an object would cost as much as the rest of `add`.
Measured: TypeAlias = tuple[Kind, Row, int, Any]
"""A row with its kind, its bytes and its origin."""

Entry: TypeAlias = tuple[Kind, Row, int, Any, float, int]
"""A `Measured` row in the buffer, with the time at which it was added, and its sequence number."""

KIND: Final = 0
ROW: Final = 1
SIZE: Final = 2
ORIGIN: Final = 3
TIME: Final = 4
NUMBER: Final = 5

Step: TypeAlias = Callable[[], operations.Operation[int]] | Reject
"""A step for the writer: run an operation, or pass a row to the reject sink."""

Writing: TypeAlias = Generator[Step, Exception | None, None]
"""The write of one batch: yields steps and receives the outcome of each."""

PAUSE_MS: Final = 5000
"""The maximum wait, in milliseconds, between a failure and the next automatic attempt."""


class Core:
    """The decisions of a processor. Only one thread at a time can call its methods."""

    def __init__(
        self,
        config: BatchConfig,
        on_conflict: OnConflict,
        sink: Callable[[Reject], None] | None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        check_conflict(on_conflict)
        self.config, self.on_conflict, self.sink, self.clock = config, on_conflict, sink, clock
        self.closed = False
        self.inherited = False  # rows were pending when the process was forked: the parent writes them
        self.obstructed = False  # whether a producer must call `check`, and perhaps wait, before it can add a row
        self.failure: Exception | None = None  # not yet raised in a producer's call
        self._known: dict[type, tuple[Kind, Callable[[Row], int]]] = {}
        self._queue: deque[Entry] = deque()
        self._queued_bytes = 0
        self._taken: dict[int, Entry] = {}  # rows of the batch being written that are neither written nor rejected
        self._taken_bytes = 0
        self._writing = False
        self._number = 0
        self._alarm_number, self._alarm_bytes = 0, config.max_bytes
        self._attempt = 0
        self._failed_attempt = 0
        self._last_failure: Exception | None = None
        self._last_error: str | None = None
        self._resume_at = -math.inf
        self._demanded = 0  # rows with a lower number must be written now …
        self._demanded_of = 0  # … by this attempt or a later one
        self._written = self._rejected = self._batches = self._failures = self._bytes = 0
        self._refused_at_once = 0
        self._seconds = 0.0

    def measured(self, row: Given, kind: AnyKind | None, origin: Any) -> Measured:
        """Check a row and measure its size. Raises InvalidRow."""
        known = self._known.get(type(row))
        if known is None or (kind is not None and kind is not known[0]):
            row, known = self._checked(row, kind)
        model: Any = row
        return known[0], model, known[1](model), origin

    def _checked(self, row: Any, kind: AnyKind | None) -> tuple[Any, tuple[Kind, Callable[[Row], int]]]:
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
                raise InvalidRow(reason(error)) from error
        elif not isinstance(row, declared.model):
            raise InvalidRow(f"a {declared.model.__name__} or a mapping is needed, not {type(row).__name__}")
        self._known[type(row)] = known
        return row, known

    def put(self, row: Measured) -> bool:
        """Add a row to the buffer. Returns whether the writer must be woken. Call it only if not `obstructed`."""
        number = self._number
        self._number = number + 1
        self._queue.append((*row, self.clock(), number))
        self._queued_bytes = size = self._queued_bytes + row[SIZE]
        if number < self._alarm_number and size < self._alarm_bytes:
            return False
        self._look()
        return not self._writing

    def inherit(self) -> None:
        """Start over in a forked process. The parent writes pending rows, so that none is written twice."""
        self.inherited = self.pending > 0
        self._writing = False
        self._look()

    def check(self) -> None:
        """Raise an error that a producer must see before it can add a row. A failure is raised only once."""
        self.check_inherited()
        if self.failure is not None:
            failure, self.failure = self.failure, None
            self._look()
            raise failure
        if self.closed:
            raise MDSError("the batch processor is closed")

    def check_inherited(self) -> None:
        """Raise ConfigurationError if pending rows belong to the parent of this process."""
        if self.inherited:
            raise ConfigurationError(
                f"this process was forked while {self.pending} rows were pending in the batch processor; the parent"
                " process writes them. Make a new batch processor in each process"
            )

    def _look(self) -> None:
        """Update `obstructed`, and the row number and size at which the next action is necessary."""
        config, rows, size = self.config, len(self._queue), self._queued_bytes
        full_rows = 2 * config.max_rows - len(self._taken)
        full_bytes = 2 * config.max_bytes - self._taken_bytes
        self.obstructed = (
            self.closed or self.inherited or self.failure is not None or rows >= full_rows or size >= full_bytes
        )
        if self._writing or rows >= config.max_rows or size >= config.max_bytes:
            # The writer checks again when it is done, or has already been woken.
            alarm_rows, self._alarm_bytes = full_rows, full_bytes
        else:
            alarm_rows, self._alarm_bytes = config.max_rows if rows else 1, config.max_bytes
        self._alarm_number = self._number + alarm_rows - rows - 1

    @property
    def pending(self) -> int:
        """The number of rows that are neither written nor rejected."""
        return len(self._queue) + len(self._taken)

    def rows(self) -> list[Row]:
        """Return the pending rows in order."""
        return [entry[ROW] for entry in chain(self._taken.values(), self._queue)]

    def due_in(self) -> float | None:
        """Return the seconds until the next batch is due, 0 for now; None if only a producer can make it due."""
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
        """Make all pending rows due now. Returns the argument of `fulfilled`. Raises the error of `check_inherited`."""
        self.check_inherited()
        self._demanded, self._demanded_of = self._number, self._attempt + 1
        return self._demanded, self._demanded_of

    def fulfilled(self, demand: tuple[int, int]) -> bool:
        """Whether the demanded rows are written or rejected. Raises the failure of an attempt after the demand."""
        number, attempt = demand
        if next(chain(self._taken, (entry[NUMBER] for entry in self._queue)), number) >= number:
            return True
        if self._failed_attempt >= attempt and self._last_failure is not None:
            self.failure = None
            self._look()
            raise self._last_failure
        return False

    def close(self) -> None:
        """Accept no more rows. Pending rows are written only on demand."""
        self.closed = True
        self._look()

    def abandon(self, *errors: BaseException) -> None:
        """Stop writing until the next demand, and add notes about the pending rows to the errors."""
        self._demanded = 0
        if self.pending:
            unsure = f", {len(self._taken)} of them in a write that is under way" if self._taken else ""
            for error in errors:
                error.add_note(f"{self.pending} rows are not written{unsure}; they are in pending_rows()")

    def refuse(self, reject: Reject) -> None:
        """Pass a row to the sink, which must exist."""
        assert self.sink is not None
        self.sink(reject)

    def refused(self) -> None:
        """Count a row that was rejected before it was added."""
        self._refused_at_once += 1

    def write(self) -> Writing:
        """Write the next batch, one kind after the other, each kind's rows in order.

        Rows that the server refuses because of their content are found by bisection. Earlier rows are always written
        before later ones, so that the last row of a key wins. If the generator is closed early, unsettled rows become
        pending again.
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
                # Rows that had failed come first, so they are written now, and there is no error left to raise.
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
                error = yield partial(upserts.upsert, kind, rows, on_conflict=self.on_conflict, is_feed=True)
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
            # Without a sink no row overtakes this one: it would overwrite a later row of its key when it is written.
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
        """Return the counts."""
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
