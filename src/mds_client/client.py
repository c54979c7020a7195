"""`MDS`, the synchronous client: a pool, and the one place that waits for the server.

What it asks is in `mds_client.operations`, its methods in `mds_client.surface`.
"""

import copy
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import psycopg
from psycopg import Connection, Cursor, Pipeline
from psycopg_pool import ConnectionPool, PoolTimeout

from mds_client import rls, sql
from mds_client.config import Config
from mds_client.errors import CommitUnknown, RetryableError, ServerUnreachable, mapped, mapping
from mds_client.operations import CopyIn, Emit, Execute, Group, Operation, Results, SeriesCache, Session, Step, Stream
from mds_client.surface import Surface, SyncPerformer

T = TypeVar("T")


class MDS(Surface, SyncPerformer):
    """A client of the store. Safe to share between threads; close it, or use it as a context manager.

    `settings` is a mapping with the keys of `Config`, or a `Config`; keywords go before it; what neither has comes
    from `MDS_<KEY>` in the environment. Raises ConfigurationError for a wrong setting, and ServerUnreachable or
    another MDSOperationalError, within `connect_timeout`, where no connection can be made.
    """

    def __init__(self, settings: Config | Mapping[str, Any] | None = None, /, **more: Any) -> None:
        self.config = Config.load(settings, **more)
        self.tenant_id = self.config.tenant_id or rls.tenant_of_dsn(self.config.dsn)
        self._caches: dict[str | None, SeriesCache] = {}
        self._owns_pool = True
        self._probe()
        self._pool: ConnectionPool[Connection[Any]] = ConnectionPool(
            self.config.dsn,
            kwargs=self.config.connection(),
            min_size=self.config.pool_min,
            max_size=self.config.pool_max,
            timeout=self.config.connect_timeout,
            reconnect_timeout=self.config.connect_timeout,
            configure=_configure,
            name=self.config.app_name,
            open=True,
        )

    def for_tenant(self, tenant_id: str) -> Self:
        """This client as another tenant, over the same pool, which only the first client closes."""
        clone = copy.copy(self)
        clone.config = Config.load(self.config, tenant_id=tenant_id)
        clone.tenant_id = clone.config.tenant_id
        clone._owns_pool = False
        return clone

    def close(self) -> None:
        """Close the pool; calls under way end with an error. Closing twice is harmless."""
        if self._owns_pool:
            self._pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.config.app_name!r} tenant={self.tenant_id}>"

    def run(self, operation: Operation[T]) -> T:
        """Perform an operation in one transaction and return its answer.

        A passing fault (RetryableError) is tried again, `max_attempts` times in all, with growing random waits; not
        where the commit of something that is not idempotent may have happened (CommitUnknown).
        """
        waits = self.config.waits()
        while True:
            try:
                return self._attempt(operation)
            except ServerUnreachable:
                raise
            except RetryableError as error:
                if (wait := next(waits, None)) is None:
                    raise
                lost = error.lost_connection
            if lost:
                # A restart of the server breaks every connection of the pool, not only the one that noticed.
                self._pool.check()
            time.sleep(wait)

    def stream(self, stream: Stream[T]) -> Iterator[T]:
        """Perform an operation that answers in parts, and give each part as it comes.

        One connection and one transaction serve it from the first part to the last. An iteration that is left early
        gives the connection back when the iterator is closed. Nothing is tried again.
        """
        with mapping(), self._pool.connection() as connection:
            performance = _Performance(connection, stream.operation, self._session())
            while performance.advance():
                yield performance.part

    @contextmanager
    def transaction(self) -> Iterator["Transaction"]:
        """One transaction for several calls, committed at the end of the block, or not at all on an exception.

        What the block gets has the client's methods. Nothing in it is tried again: a RetryableError ends the
        transaction, and the caller may have the whole block again.
        """
        session = self._session()
        with mapping(), self._pool.connection() as connection:
            yield Transaction(connection, session)
        session.series.update(session.learned)

    def _session(self) -> Session:
        return Session(self.config, self._caches.setdefault(self.tenant_id, {}), self.tenant_id)

    def _attempt(self, operation: Operation[T]) -> T:
        session = self._session()
        try:
            with mapping(), self._pool.connection() as connection:
                performance = _Performance(connection, operation, session)
                answer = performance.finish()
        except Exception as error:
            if isinstance(error.__cause__, PoolTimeout):
                self._probe()
            raise
        session.series.update(session.learned)
        return answer

    def _probe(self) -> None:
        """Connect once, for the reason why the pool cannot."""
        try:
            psycopg.connect(self.config.dsn, **self.config.connection()).close()
        except psycopg.OperationalError as error:
            raise ServerUnreachable(f"no connection to the server: {str(error).strip()}") from error


def _configure(connection: Connection[Any]) -> None:
    connection.execute(sql.CONFIGURE)
    connection.commit()


class _Performance(Generic[T]):
    """One operation on one connection, as far as it is."""

    def __init__(
        self, connection: Connection[Any], operation: Operation[T], session: Session, *, own_transaction: bool = True
    ) -> None:
        self._connection = connection
        self._operation = operation
        self._session = session
        self._own_transaction = own_transaction
        self._talk = operation.talk(session)
        self._next: Callable[[], Group | Emit] = partial(next, self._talk)
        self._opening: Execute | None = operation.opening(session)
        self._committed = False
        self.part: Any = None

    def finish(self) -> T:
        """Go on to the end, and give the answer."""
        while self.advance():
            pass
        return self._answer

    def advance(self) -> bool:
        """Go on to the next part of the answer, which is `part` then; False at the end, with everything committed."""
        try:
            while True:
                said = self._next()
                if isinstance(said, Emit):
                    self.part = said.part
                    self._next = partial(self._talk.send, [])
                    return True
                try:
                    results = self._send(said)
                except psycopg.Error as error:
                    if said.commit and not self._operation.idempotent and self._connection.broken:
                        raise CommitUnknown(f"{self._operation.name}: {error}") from error
                    # The operation may know better what this error means.
                    self._next = partial(self._talk.throw, mapped(error))
                else:
                    self._committed = said.commit
                    self._next = partial(self._talk.send, results)
        except StopIteration as end:
            self._answer: T = end.value
        if self._own_transaction and not self._committed:
            try:
                self._connection.commit()
            except psycopg.OperationalError as error:
                if not self._operation.idempotent:
                    raise CommitUnknown(f"{self._operation.name}: {error}") from error
                raise
        return False

    def _send(self, group: Group) -> Results:
        commit = group.commit and self._own_transaction
        if self._opening is None:
            return _send(self._connection, group.steps, commit)
        opened, *results = _send(self._connection, (self._opening, *group.steps), commit)
        self._operation.opened(self._session, opened)
        self._opening = None
        return results


class Transaction(Surface, SyncPerformer):
    """The client's methods within one transaction; made by `MDS.transaction`."""

    def __init__(self, connection: Connection[Any], session: Session) -> None:
        self._connection = connection
        self._session = session

    def run(self, operation: Operation[T]) -> T:
        """Perform an operation in this transaction and return its answer."""
        with mapping():
            performance = _Performance(self._connection, operation, self._session, own_transaction=False)
            return performance.finish()

    def stream(self, stream: Stream[T]) -> Iterator[T]:
        """Perform an operation that answers in parts, and give each as it comes; one at a time in a transaction."""
        with mapping():
            performance = _Performance(self._connection, stream.operation, self._session, own_transaction=False)
            while performance.advance():
                yield performance.part


def _send(connection: Connection[Any], steps: tuple[Step, ...], commit: bool) -> Results:
    if len(steps) == 1 and isinstance(steps[0], CopyIn):
        return [_copy_in(connection, steps[0])]
    with connection.pipeline() if Pipeline.is_supported() else nullcontext():
        cursors = [_execute(connection, step) for step in steps]
        if commit:
            connection.commit()
    return [cursor.fetchall() if cursor.description else [] for cursor in cursors]


def _execute(connection: Connection[Any], step: Step) -> Cursor[Any]:
    cursor = connection.cursor(binary=True)
    if isinstance(step, Execute):
        return cursor.execute(step.statement, step.parameters)
    assert not isinstance(step, CopyIn)
    cursor.executemany(step.statement, step.rows)
    return cursor


def _copy_in(connection: Connection[Any], step: CopyIn) -> list[tuple[Any, ...]]:
    with connection.cursor().copy(step.statement) as copying:
        copying.set_types(step.types)
        for row in step.rows:
            copying.write_row(row)
    return []
