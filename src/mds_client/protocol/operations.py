"""What the client does, as conversations without I/O.

An operation is a generator: it yields a group of steps, is sent their results, and returns the answer. `MDS.run` and
`AMDS.run` perform it; nothing here waits or knows which of them does. The steps of one group travel together in one
round trip.
"""

import sys
from array import array
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field
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
    """Copy rows in, in binary, as these types; the result is empty. Stands alone in its group.

    With `blocks` the rows are encoded already: they are the whole stream, its header and trailer included, cut
    anywhere.
    """

    statement: Statement
    types: tuple[str, ...] = ()
    rows: Sequence[Values] = ()
    blocks: Iterable[bytes] | None = None


@dataclass(frozen=True, slots=True)
class CopyOut:
    """Copy a query's rows out, in binary. Stands alone in its group.

    The result is one row with the first `Portion`, and none where the end has come. `More` gives what follows; until
    it has given nothing, no other step can be taken.
    """

    statement: Statement
    parameters: Sequence[Any] = ()


@dataclass(frozen=True, slots=True)
class More:
    """The next portion of what is being copied out; stands alone in its group."""


Step: TypeAlias = Execute | ExecuteMany | CopyIn | CopyOut | More

Portion: TypeAlias = tuple[bytearray, "array[int]"]
"""A part of a binary copy: the bytes of whole messages, and the length of each. A message is a row; the stream's header
stands before the first one, and the trailer is a message of its own, unless there is no row."""

PORTION = 1 << 20
"""Bytes after which a portion ends: a few milliseconds of work."""


def portion(connection: pq.abc.PGconn) -> PQGen[Portion | None]:
    """What has been copied out, about as much as PORTION; None at the end. For psycopg's connections to wait on.

    The same as psycopg's `Copy.read`, without its toll on every row, which is more than what the server takes.
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
    """How many statements the server may run for long before it answers: a pipeline is answered at its end."""
    # Of an ExecuteMany some rows are answered in between.
    return sum(
        2 if isinstance(step, ExecuteMany) else not (isinstance(step, Execute) and step.statement in _QUICK)
        for step in steps
    )


@contextmanager
def settled(connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> Iterator[list[psycopg.Error]]:
    """Context manager for a pipeline, which yields a list of its errors.

    At the end the first error is raised, and a connection whose pipeline cannot be left is closed. psycopg itself may
    raise a later error: the one of a step that was skipped, or that the pipeline cannot be left. A pooler that ends a
    connection sends a message of its own after the server's; psycopg then takes the connection for open and busy.
    """
    handled = sys.exception()
    failures: list[psycopg.Error] = []
    try:
        yield failures
    except psycopg.Error as last:
        error = last
        # What was being handled before is not of this pipeline.
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
    """Steps that travel together. With `commit` the transaction is committed in the same round trip.

    A group after that one begins another transaction. An operation with several of them keeps what it needs to go on,
    for another attempt, after the last one that was committed.
    """

    steps: tuple[Step, ...]
    commit: bool = False


BACK: Final = Group((Execute(sql.ROLLBACK_TO),))
"""Go back to the savepoint: the first thing that a transaction takes after an error."""


@dataclass(frozen=True, slots=True)
class Emit:
    """A part of the answer, handed to the code that iterates over the operation before it goes on."""

    part: Any


Talk: TypeAlias = Generator[Group | Emit, Results, T]


@dataclass(slots=True)
class ColdKnown:
    """What a client knows of the times before which its tenant's rows are kept in files, by kind.

    Nothing is asked until the server has refused a statement because of them. `stale`: it has, since they were asked.
    """

    fences: dict[str, datetime] = field(default_factory=dict)
    stale: bool = False


SeriesName: TypeAlias = tuple[str | None, ...]
SeriesCache: TypeAlias = dict[tuple[str, SeriesName], int]
"""Series ids that a committed transaction has seen, by kind and name; one cache for each tenant."""


class StaleSeries(RetryableError):
    """A cached series id is no longer the tenant's; the cache is empty now, and the operation is tried again."""


class Latest(NamedTuple):
    """Of one series in a batch: its oldest and newest time, its newest price, and whether a row had none."""

    first_ts: datetime
    last_ts: datetime
    price_ts: datetime | None
    price: float | None
    has_unpriced: bool


@dataclass(frozen=True, slots=True)
class Written:
    """What an upsert has written: rows accepted, of which kind, in which write mode.

    `replaced` of them were not written, because a later row of the same call has the same key and other values.
    """

    kind: str
    mode: str
    rows: int
    replaced: int = 0


class Observer:
    """Is told what a client does; this one does not care. `mds_client.metrics` has one that counts."""

    def performed(self, operation: str, seconds: float, written: Written | None) -> None:
        """An operation has been answered; `written` where it was an upsert."""

    def retried(self, operation: str, error: MDSError) -> None:
        """An attempt failed for a passing fault and is repeated."""

    def failed(self, operation: str, error: MDSError) -> None:
        """An operation has raised."""

    def rejected(self, kind: str, rows: int) -> None:
        """Rows were rejected because of their content."""

    def opened(self, app_name: str, statistics: Callable[[], dict[str, int]]) -> None:
        """A client's pool is there; `statistics` says at any time how it stands."""


@dataclass(slots=True)
class Session:
    """What an operation knows while it is performed, in one transaction.

    `tenant_id` is the tenant as the server says it, known from the first group's results on; `wanted` is the one that
    the client was made for. `learned` goes into the cache once the transaction is committed. `snapshot`: all statements
    of the transaction see the same rows. `cold` is the client's, for all its sessions.
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

    def committed(self) -> None:
        """Keep what was learned: the transaction is committed."""
        self.commits += 1
        self.series.update(self.learned)

    def forget(self) -> None:
        """Drop what is cached: the server has shown that it is wrong."""
        self.series.clear()
        self.learned.clear()


@dataclass(frozen=True, slots=True)
class Operation(Generic[T]):
    """A conversation that can be had any number of times.

    `idempotent`: having it twice is the same as once, so that it may be repeated when a commit's outcome is unknown.
    `needs_schema`: it works on a migrated database only, and as a tenant. `heavy`: what it does between two groups may
    take long, and must not hold an event loop up. `begin`: the statements that begin its transaction, if it is not a
    part of one; `sql.BEGIN_SNAPSHOT` is for what only reads, and takes several statements to read it.
    """

    name: str
    talk: Callable[[Session], Talk[T]]
    idempotent: bool = True
    needs_schema: bool = True
    heavy: bool = False
    begin: tuple[Statement, ...] = (sql.BEGIN,)

    def opening(self, session: Session) -> Execute:
        """The statement that goes before the first group."""
        timeout = str(session.config.statement_timeout_ms)
        if self.needs_schema:
            return Execute(sql.OPEN_AS, (session.wanted, timeout))
        return Execute(sql.OPEN, (timeout,))

    def opened(self, session: Session, rows: list[Values]) -> None:
        """Take up what the opening statement answered."""
        if self.needs_schema:
            tenant = rows[0][0]
            session.tenant_id = None if tenant is None else str(tenant)


@dataclass(frozen=True, slots=True)
class Stream(Generic[T]):
    """An operation that answers in parts of one sort, and with nothing at the end."""

    operation: Operation[None]


@dataclass(frozen=True, slots=True)
class Health:
    """What a client is connected to. Equal to True: if the server cannot be reached, `health()` raises instead.

    `engine` is `postgres`, `timescale-apache` or `timescale`; `schema_version` is None on a database that is not
    migrated; `tenant_id` is None if no tenant is set or the database is not migrated.
    """

    server_version: str
    engine: str
    engine_version: str | None
    database: str
    role: str
    schema_version: str | None
    tenant_id: str | None

    def __bool__(self) -> bool:
        return True

    def __eq__(self, other: object) -> bool:
        if other is True:
            return True
        return astuple(self) == astuple(other) if isinstance(other, Health) else NotImplemented

    def __hash__(self) -> int:
        return hash(astuple(self))


def engine_name(extension: str | None, license_: str | None) -> str:
    """Which engine a database has, by TimescaleDB's version there and the licence it runs under."""
    if extension is None:
        return "postgres"
    return "timescale" if license_ == "timescale" else "timescale-apache"


def health() -> Operation[Health]:
    """Ask the server what it is, and who one is there. Works on a database that is not migrated."""

    def talk(session: Session) -> Talk[Health]:
        (server,), (migrated,) = yield Group((Execute(sql.SERVER), Execute(sql.HAS_SCHEMA)))
        version, role, database, extension, license_ = server
        schema = tenant = None
        if migrated[0]:
            timeout = str(session.config.statement_timeout_ms)
            (opened,), (row,) = yield Group(
                (Execute(sql.OPEN_AS, (session.wanted, timeout)), Execute(sql.SCHEMA_VERSION)), commit=True
            )
            schema, tenant = row[0], opened[0]
        return Health(
            server_version=version,
            engine=engine_name(extension, license_),
            engine_version=extension,
            database=database,
            role=role,
            schema_version=schema,
            tenant_id=None if tenant is None else str(tenant),
        )

    return Operation("health", talk, needs_schema=False)


def schema_version() -> Operation[str | None]:
    """The version of the newest migration that ran, or None on a database that is not migrated."""

    def talk(_: Session) -> Talk[str | None]:
        ((there,),) = yield Group((Execute(sql.HAS_SCHEMA),))
        if not there[0]:
            return None
        ((version,),) = yield Group((Execute(sql.SCHEMA_VERSION),))
        return None if version[0] is None else str(version[0])

    return Operation("schema_version", talk, needs_schema=False)
