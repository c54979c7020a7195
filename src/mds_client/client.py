# Generated from aclient.py by tools/sync.py: edit that module, and run `make generate`.
"""`MDS`, the synchronous client.

This module runs operations. `mds_client.protocol.operations` defines them, `mds_client.methods` has the client's
methods, and `mds_client.protocol.pools` its connections.
"""

import sys
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import psycopg
from psycopg import Cursor, Pipeline, pq
from psycopg_pool import PoolTimeout

from mds_client import sql
from mds_client.bulk import Bulk
from mds_client.config import Config
from mds_client.errors import CommitUnknown, MDSError, mapped, mapping
from mds_client.methods import Methods
from mds_client.protocol.connections import GuardedConnection, interruption_behind
from mds_client.protocol.operations import (
    BACK,
    CopyIn,
    CopyOut,
    Emit,
    Execute,
    ExecuteMany,
    Group,
    More,
    Observer,
    Operation,
    Portion,
    Results,
    Session,
    Step,
    Stream,
    Values,
    portion,
    settled,
    waited_for,
)
from mds_client.protocol.pauses import compute, next_or_none, sleep, yield_turn
from mds_client.protocol.pooled import Attempts, is_spelled_anew, lost_connection
from mds_client.protocol.pools import Home

T = TypeVar("T")


class MDS(Bulk, Methods):
    """A client of the store. Safe to share between threads; close it, or use it as a context manager.

    `settings` is a `Config`, or a mapping with its keys; keywords take precedence, and missing keys come
    from `MDS_<KEY>` in the environment. `observer` receives the client's events (`mds_client.metrics`).
    Raises ConfigurationError for a wrong setting, and ServerUnreachable or another MDSOperationalError,
    within `connect_timeout`, if no connection can be made.
    """

    def __init__(
        self,
        settings: Config | Mapping[str, Any] | None = None,
        /,
        *,
        observer: Observer | None = None,
        **more: Any,
    ) -> None:
        super().__init__(settings, observer=observer, **more)
        self._home = Home(self.config)
        self.observer.opened(self.config.app_name, self._home.statistics)

    def close(self) -> None:
        """Close the pool. Running calls end with an error. You can close twice."""
        if self._owns_pool:
            self._home.close()

    def __enter__(self) -> Self:
        self._home.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def run(self, operation: Operation[T]) -> T:
        """Run an operation in one transaction and return its result.

        After a transient error (RetryableError) the operation is retried, up to `max_attempts` attempts in total, with
        growing random waits. It is not retried if it is not idempotent and may be committed (CommitUnknown).
        """
        self._home.open()
        attempts = Attempts(self, operation)
        while True:
            session = self._session()
            try:
                answer = self._attempt(operation, session)
            except MDSError as error:
                wait = attempts.failed(error, session)
                lost = lost_connection(error)
            else:
                attempts.answered(session)
                return answer
            if lost:
                self._home.drain()
            sleep(wait)

    def stream(self, stream: Stream[T]) -> Iterator[T]:
        """Run an operation that returns its result in parts, and yield each part as it arrives.

        All parts come over one connection and in one transaction. If you stop early, the connection is returned to the
        pool when the iterator is closed. Nothing is retried once a part has arrived.
        """
        begun = False
        while True:
            session = self._session(sure=True)
            try:
                with mapping(), self._home.connection() as connection:
                    performance = _Performance(connection, stream.operation, session)
                    try:
                        while performance.advance():
                            begun = True
                            yield performance.part
                    finally:
                        performance.close()
            except MDSError as error:
                if begun or not is_spelled_anew(error, session):
                    raise
            else:
                return

    @contextmanager
    def transaction(self) -> Iterator["Transaction"]:
        """Run several calls in one transaction, which is committed at the end of the block or rolled back on an error.

        The block gets an object with the client's methods. Nothing in it is retried: a RetryableError ends the
        transaction, and you can run the whole block again.
        """
        session = self._session(sure=True)
        with mapping(), self._home.connection() as connection:
            yield Transaction(connection, session)
            _commit(connection, "transaction", idempotent=False)
        session.series.update(session.learned)

    def _attempt(self, operation: Operation[T], session: Session) -> T:
        try:
            with mapping(), self._home.connection() as connection:
                performance = _Performance(connection, operation, session)
                answer = performance.finish()
        except Exception as error:
            if isinstance(error.__cause__, PoolTimeout):
                # Raises the reason if the pool cannot connect.
                self._home.probe()
            raise
        session.series.update(session.learned)
        return answer


class _Performance(Generic[T]):
    """The execution of one operation on one connection."""

    def __init__(
        self,
        connection: GuardedConnection,
        operation: Operation[T],
        session: Session,
        *,
        own_transaction: bool = True,
    ) -> None:
        self._connection = connection
        self._operation = operation
        self._session = session
        self._own_transaction = own_transaction
        self._talk = operation.conversation(session)
        self._next: Callable[[], Group | Emit] = partial(next, self._talk)
        self._opening: Execute | None = operation.opening(session)
        self._committed = False
        self._copying: Generator[Portion] | None = None
        self.part: Any = None

    def finish(self) -> T:
        """Run the operation to its end and return its result."""
        while self.advance():
            pass
        return self._answer

    def advance(self) -> bool:
        """Run up to the next part of the result and set `part`. Returns False at the end, when all is committed."""
        handled = sys.exception()
        try:
            while True:
                said = compute(self._operation.heavy, self._step)
                if said is None:
                    break
                if isinstance(said, Emit):
                    self.part = said.part
                    self._next = partial(self._talk.send, [])
                    return True
                try:
                    results = self._send(said)
                except psycopg.Error as error:
                    if (interruption := interruption_behind(error, handled)) is not None:
                        raise interruption from None
                    if said.commit and not self._operation.idempotent and self._connection.broken:
                        raise CommitUnknown(f"{self._operation.name}: {error}") from error
                    if error.sqlstate == sql.COLD:
                        self._session.cold.stale = True
                    if error.sqlstate == sql.SPELLING:
                        self._session.known.stale = True
                    # Let the operation handle the error, or raise a more specific one.
                    self._next = partial(self._talk.throw, mapped(error))
                else:
                    self._committed = said.commit
                    self._next = partial(self._talk.send, results)
        except BaseException:
            self.close()
            raise
        self.close()
        if self._own_transaction and not self._committed:
            _commit(self._connection, self._operation.name, idempotent=self._operation.idempotent)
        return False

    def _step(self) -> Group | Emit | None:
        # StopIteration cannot be passed from a thread to a coroutine.
        try:
            return self._next()
        except StopIteration as end:
            self._answer: T = end.value
            return None

    def close(self) -> None:
        """End a COPY that is still running, so that the connection can be used again."""
        if self._copying is not None:
            self._copying.close()

    def _send(self, group: Group) -> Results:
        match group.steps:
            case (CopyIn() | CopyOut() | More() as step,):
                if self._opening is not None:
                    self._send(Group(()))
                return [self._copy(step)]
        commit = group.commit and self._own_transaction
        # If the first group has failed, the transaction accepts no statement except the rollback to the savepoint.
        if self._opening is None or group == BACK:
            results = _send(self._connection, group.steps, commit)
        else:
            opened, *results = self._open(self._opening, group.steps, commit)
            self._operation.opened(self._session, opened)
            self._opening = None
        if commit:
            self._session.committed()
            self._opening = self._operation.opening(self._session)
        return results

    def _open(self, opening: Execute, steps: tuple[Step, ...], commit: bool) -> Results:
        """Send the first group of an operation, with a BEGIN if no transaction is open."""
        if self._connection.pgconn.transaction_status != pq.TransactionStatus.IDLE:
            return _send(self._connection, (opening, *steps), commit)
        # A transaction of the user must also allow writes.
        begin = self._operation.begin if self._own_transaction else (sql.BEGIN,)
        self._session.snapshot = sql.BEGIN_SNAPSHOT in begin
        results = _send(self._connection, (*(Execute(said, prepare=False) for said in begin), opening, *steps), commit)
        return results[len(begin) :]

    def _copy(self, step: CopyIn | CopyOut | More) -> list[Values]:
        if isinstance(step, CopyIn):
            return _copy_in(self._connection, step)
        if isinstance(step, CopyOut):
            self._copying = _copy_out(self._connection, step)
        assert self._copying is not None
        taken = next_or_none(self._copying)
        return [] if taken is None else [taken]


class Transaction(Methods):
    """The client's methods within one transaction, as returned by `MDS.transaction`."""

    def __init__(self, connection: GuardedConnection, session: Session) -> None:
        self._connection = connection
        self._session = session

    def run(self, operation: Operation[T]) -> T:
        """Run an operation in this transaction and return its result."""
        with mapping():
            performance = _Performance(self._connection, operation, self._session, own_transaction=False)
            return performance.finish()

    def stream(self, stream: Stream[T]) -> Iterator[T]:
        """Run an operation and yield the parts of its result as they arrive. Run only one stream at a time."""
        with mapping():
            performance = _Performance(self._connection, stream.operation, self._session, own_transaction=False)
            try:
                while performance.advance():
                    yield performance.part
            finally:
                performance.close()


def _commit(connection: GuardedConnection, name: str, *, idempotent: bool) -> None:
    connection.expect(1)
    try:
        connection.commit()
    except psycopg.OperationalError as error:
        if not idempotent and connection.broken:
            raise CommitUnknown(f"{name}: {error}") from error
        raise


def _send(connection: GuardedConnection, steps: tuple[Step, ...], commit: bool) -> Results:
    connection.expect(waited_for(steps))
    cursors: list[Cursor[Any]] = []
    with settled(connection) as failures, connection.pipeline() if Pipeline.is_supported() else nullcontext():
        try:
            cursors += [_execute(connection, step) for step in steps]
            if commit:
                # connection.commit() would add a round trip before the one that ends the pipeline.
                connection.execute(sql.COMMIT, prepare=False)
        except psycopg.Error as error:
            failures.append(error)
    return [cursor.fetchall() if cursor.description else [] for cursor in cursors]


def _execute(connection: GuardedConnection, step: Step) -> Cursor[Any]:
    cursor = connection.cursor(binary=True)
    if isinstance(step, Execute):
        return cursor.execute(step.statement, step.parameters, prepare=step.prepare)
    assert isinstance(step, ExecuteMany), "a copy stands alone in its group"
    cursor.executemany(step.statement, step.rows)
    return cursor


def _copy_in(connection: GuardedConnection, step: CopyIn) -> list[tuple[Any, ...]]:
    connection.expect(1)
    with connection.cursor().copy(step.statement) as copying:
        if step.blocks is not None:
            for block in step.blocks:
                copying.write(block)
                yield_turn()
            return []
        copying.set_types(step.types)
        for number, row in enumerate(step.rows):
            copying.write_row(row)
            if number % 1024 == 0:
                yield_turn()
    return []


def _copy_out(connection: GuardedConnection, step: CopyOut) -> Generator[Portion]:
    connection.expect(1)
    with connection.cursor().copy(step.statement, step.parameters):
        while taken := connection.wait(portion(connection.pgconn)):
            yield taken
            yield_turn()
