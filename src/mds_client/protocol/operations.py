"""The client's operations, as generators that do no I/O.

An operation yields groups of steps, receives their results, and returns the result. `MDS.run` and `AMDS.run` run it;
the code here does not know which of them does. The steps of a group are sent in one round trip.
"""

import sys
from array import array
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, Generic, NamedTuple, TypeAlias, TypeVar

import psycopg
from psycopg import errors, pq, waiting
from psycopg.abc import PQGen
from psycopg.generators import fetch_many

from mds_client import sql
from mds_client.config import Config
from mds_client.errors import MDSError, RetryableError
from mds_client.sql import Statement
from mds_client.values.spelling import UPPER, Spelling

T = TypeVar("T")

Values: TypeAlias = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Execute:
    """Send a statement with its parameters; the result is its rows."""

    statement: Statement
    parameters: Sequence[Any] = ()
    prepare: bool | None = None


@dataclass(frozen=True, slots=True)
class ExecuteMany:
    """Send a statement once for each row; the result is empty."""

    statement: Statement
    rows: Sequence[Values]


@dataclass(frozen=True, slots=True)
class CopyIn:
    """Copy rows into the server in binary, as these types. The result is empty. Must be alone in its group.

    `blocks` are rows that are already encoded: the complete stream with header and trailer, split anywhere.
    """

    statement: Statement
    types: tuple[str, ...] = ()
    rows: Sequence[Values] = ()
    blocks: Iterable[bytes] | None = None


@dataclass(frozen=True, slots=True)
class CopyOut:
    """Copy a query's rows out of the server in binary. Must be alone in its group.

    The result is one row with the first `Portion`, or empty at the end. `More` returns the following portions. No other
    step is possible until `More` has returned an empty result.
    """

    statement: Statement
    parameters: Sequence[Any] = ()


@dataclass(frozen=True, slots=True)
class More:
    """Read the next portion of a running `CopyOut`. Must be alone in its group."""


Step: TypeAlias = Execute | ExecuteMany | CopyIn | CopyOut | More

Portion: TypeAlias = tuple[bytearray, "array[int]"]
"""A part of a binary copy: the bytes of complete messages, and the length of each. A message is a row; the header
precedes the first row, and the trailer is a separate message, unless there is no row."""

PORTION = 1 << 20
"""The size in bytes at which a portion ends: a few milliseconds of work."""


def portion(connection: pq.abc.PGconn) -> PQGen[Portion | None]:
    """Read about PORTION bytes of a COPY, or None at the end. A generator for `wait` of psycopg's connections.

    Does the same as psycopg's `Copy.read`, whose cost for each row exceeds that of the server.
    """
    taken, lengths = bytearray(), array("i")
    take, count = taken.extend, lengths.append
    while len(taken) < PORTION and connection.transaction_status == pq.TransactionStatus.ACTIVE:
        size, data = connection.get_copy_data(1)
        if size > 0:
            count(size)
            take(data)
        elif size == 0:
            while not (yield waiting.WAIT_R):
                continue
            connection.consume_input()
        else:
            for result in (yield from fetch_many(connection)):
                if result.status != pq.ExecStatus.COMMAND_OK:
                    raise errors.error_from_result(result)
    return (taken, lengths) if taken else None


_QUICK: Final = frozenset({sql.BEGIN, sql.OPEN, sql.OPEN_AS, sql.SAVEPOINT, sql.RELEASE, sql.ROLLBACK_TO})


def waited_for(steps: Sequence[Step]) -> int:
    """Count the statements that can run long before the server responds: a pipeline is answered at its end."""
    # An ExecuteMany gets some responses before its end.
    return sum(
        2 if isinstance(step, ExecuteMany) else not (isinstance(step, Execute) and step.statement in _QUICK)
        for step in steps
    )


@contextmanager
def settled(connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> Iterator[list[psycopg.Error]]:
    """Context manager for a pipeline, which yields a list of its errors.

    At the end it raises the first error, and closes a connection whose pipeline cannot be left. psycopg itself may
    raise a later error: that of a skipped step, or that the pipeline cannot be left. A pooler that ends a connection
    sends its own message after the server's; psycopg then considers the connection open and busy.
    """
    handled = sys.exception()
    failures: list[psycopg.Error] = []
    try:
        yield failures
    except psycopg.Error as last:
        error = last
        # An exception that was already being handled does not belong to this pipeline.
        while (
            error.sqlstate is None and isinstance(before := error.__context__, psycopg.Error) and before is not handled
        ):
            error = before
        failures.append(error)
    finally:
        if connection.pgconn.pipeline_status != pq.PipelineStatus.OFF:
            connection.pgconn.finish()
    if failures:
        raise failures[0]


Results: TypeAlias = list[list[Values]]


@dataclass(frozen=True, slots=True)
class Group:
    """Steps that are sent together. With `commit` the transaction is committed in the same round trip.

    The group after a commit begins another transaction. An operation with several transactions keeps the state that a
    retry needs to continue after the last commit.
    """

    steps: tuple[Step, ...]
    commit: bool = False


BACK: Final = Group((Execute(sql.ROLLBACK_TO),))
"""Roll back to the savepoint: the only statement that a transaction accepts after an error."""


@dataclass(frozen=True, slots=True)
class Emit:
    """A part of the result, passed to the code that iterates over the operation."""

    part: Any


Talk: TypeAlias = Generator[Group | Emit, Results, T]


@dataclass(slots=True)
class ColdKnown:
    """The fences that a client knows, by kind: the times before which its tenant's rows are kept in files.

    They are not read until the server refuses a statement because of them. `stale`: that happened since the last read.
    """

    fences: dict[str, datetime] = field(default_factory=dict)
    stale: bool = False


@dataclass(slots=True)
class SpellingKnown:
    """What a client knows about case-sensitive vendors. It is the same for all tenants.

    `confirmed`: the server has accepted it once. `stale`: the server has refused it since it was read.
    """

    spelling: Spelling = UPPER
    confirmed: bool = False
    stale: bool = False


SeriesName: TypeAlias = tuple[str | None, ...]


class Known(NamedTuple):
    """A series as it was looked up by its name: its id, and how often it had been renamed by then."""

    series_id: int
    renames: int = 0


SeriesCache: TypeAlias = dict[tuple[str, SeriesName], Known]
"""The series that a committed transaction has seen, by kind and name. Each tenant has its own cache."""


class StaleSeries(RetryableError):
    """A cached series no longer is the one of that name. The cache has been cleared, and the operation is retried."""


class Latest(NamedTuple):
    """A summary of one series in a batch: oldest and newest time, newest price, and whether a row has no price."""

    first_ts: datetime
    last_ts: datetime
    price_ts: datetime | None
    price: float | None
    has_unpriced: bool


@dataclass(frozen=True, slots=True)
class Written:
    """The result of an upsert: the kind, the write mode and the number of accepted rows.

    `replaced` of these rows were not written, because a later row of the same call has the same key and other values.
    """

    kind: str
    mode: str
    rows: int
    replaced: int = 0


class Observer:
    """Receives the events of a client. This class ignores them; `mds_client.metrics` has one that counts them."""

    def performed(self, operation: str, seconds: float, written: Written | None) -> None:
        """An operation has succeeded. `written` is set for an upsert."""

    def retried(self, operation: str, error: MDSError) -> None:
        """An attempt failed with a transient error and will be repeated."""

    def failed(self, operation: str, error: MDSError) -> None:
        """An operation has raised."""

    def rejected(self, kind: str, rows: int) -> None:
        """Rows were rejected because of their content."""

    def opened(self, app_name: str, statistics: Callable[[], dict[str, int]]) -> None:
        """A client's pool was created. `statistics` returns its current state."""


@dataclass(slots=True)
class Session:
    """The state of an operation while it runs in a transaction.

    `tenant_id` is the tenant that the server has set, known after the first group; `wanted` is the tenant of the
    client's settings. `learned` is added to the cache when the transaction commits. `snapshot`: all statements of the
    transaction see the same rows. `cold` and `known` are shared by all sessions of the client. `renames` is how often,
    in total, the series of the current batch had been renamed when they were looked up.

    `spelling` is how the session spells symbols. `asks`: it reads that first. `asked`: it has read it.
    """

    config: Config
    series: SeriesCache
    wanted: str | None = None
    commits: int = 0
    tenant_id: str | None = None
    learned: SeriesCache = field(default_factory=dict)
    written: Written | None = None
    snapshot: bool = False
    cold: ColdKnown = field(default_factory=ColdKnown)
    renames: int = 0
    known: SpellingKnown = field(default_factory=SpellingKnown)
    spelling: Spelling = UPPER
    asks: bool = False
    asked: bool = False

    def spell(self, vendors: Iterable[str]) -> None:
        """Spell symbols by what the server has answered: these vendors' symbols are case-sensitive."""
        self.spelling = self.known.spelling = Spelling.of(vendors)
        self.known.confirmed, self.known.stale = True, False
        self.asks, self.asked = False, True

    def committed(self) -> None:
        """Add the learned series to the cache after a commit."""
        self.commits += 1
        self.series.update(self.learned)

    def forget(self) -> None:
        """Clear the cached series after the server has shown them to be wrong."""
        self.series.clear()
        self.learned.clear()


@dataclass(frozen=True, slots=True)
class Operation(Generic[T]):
    """An exchange with the server that can be run any number of times.

    `idempotent`: running it twice has the same effect as once, so it can be retried when the outcome of a commit is
    unknown. `needs_schema`: it needs a migrated database and a tenant. `heavy`: its computations between two groups can
    take long and must not block an event loop. `begin`: the statements that begin its transaction, unless it runs in an
    existing one; `sql.BEGIN_SNAPSHOT` is for operations that only read, with several statements.
    """

    name: str
    talk: Callable[[Session], Talk[T]]
    idempotent: bool = True
    needs_schema: bool = True
    heavy: bool = False
    begin: tuple[Statement, ...] = (sql.BEGIN,)

    def opening(self, session: Session) -> Execute:
        """Return the statement that is sent before the first group."""
        timeout = str(session.config.statement_timeout_ms)
        if self.needs_schema:
            spelled_as = None if session.asks else session.spelling.parameter
            return Execute(sql.OPEN_AS, (session.wanted, timeout, spelled_as))
        return Execute(sql.OPEN, (timeout,))

    def opened(self, session: Session, rows: list[Values]) -> None:
        """Process the result of the opening statement."""
        if self.needs_schema:
            tenant = rows[0][0]
            session.tenant_id = None if tenant is None else str(tenant)
            # A session that asks has said nothing that the server could confirm.
            session.known.confirmed |= not session.asks

    def conversation(self, session: Session) -> Talk[T]:
        """Return the exchange. It first asks which vendors' symbols are case-sensitive, if the session must."""
        if self.needs_schema and session.asks:
            (rows,) = yield Group((Execute(sql.CASE_SENSITIVE),))
            session.spell(vendor for (vendor,) in rows)
        return (yield from self.talk(session))


@dataclass(frozen=True, slots=True)
class Stream(Generic[T]):
    """An operation that returns its result in parts of one type, and nothing at the end."""

    operation: Operation[None]


def spelled(make: Callable[[Spelling], Operation[T]]) -> Operation[T]:
    """Return an operation that names symbols, for sessions that spell them in any way.

    Args:
        make: Makes the operation for a spelling. It is called at once, so that wrong arguments are reported.
    """
    usual = make(UPPER)

    def talk(session: Session) -> Talk[T]:
        made = usual if session.spelling == UPPER else make(session.spelling)
        return (yield from made.talk(session))

    return replace(usual, talk=talk)
