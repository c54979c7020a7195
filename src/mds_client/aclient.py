"""`AMDS`, the asynchronous client.

This module runs operations. `mds_client.protocol.operations` defines them, `mds_client.amethods` has the client's
methods, and `mds_client.protocol.pools` its connections. `mds_client.client` is generated from this module
(`tools/sync.py`).
"""

import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, nullcontext
from functools import partial
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import psycopg
from psycopg import AsyncCursor, Pipeline, pq
from psycopg_pool import PoolTimeout

from mds_client import sql
from mds_client.abulk import AsyncBulk
from mds_client.amethods import AsyncMethods
from mds_client.config import Config
from mds_client.errors import CommitUnknown, MDSError, mapped, mapping
from mds_client.protocol.apools import AsyncHome
from mds_client.protocol.connections import AsyncGuardedConnection, interruption_behind
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
from mds_client.protocol.pauses import acompute, anext_or_none, asleep, ayield_turn
from mds_client.protocol.pooled import Attempts, is_spelled_anew, lost_connection

T = TypeVar("T")


class AMDS(AsyncBulk, AsyncMethods):
    """An asynchronous client of the store, for one event loop. Close it, or use it as an async context manager.

    `settings` are as for `MDS`. The constructor does not connect: the first call or `async with` does, and raises
    ServerUnreachable if no connection can be made.
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
        self._home = AsyncHome(self.config)
        self.observer.opened(self.config.app_name, self._home.statistics)

    async def aopen(self) -> Self:
        """Connect now instead of at the first call. Raises ServerUnreachable if no connection can be made."""
        await self._home.open()
        return self

    async def aclose(self) -> None:
        """Close the pool. Running calls end with an error. You can close twice."""
        if self._owns_pool:
            await self._home.close()

    async def __aenter__(self) -> Self:
        await self._home.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    @contextmanager
    def _blocking(self) -> Iterator[Any]:
        """Open a synchronous client with the same settings, for reads outside the event loop."""
        from mds_client.client import MDS

        self._home.check_open()
        with MDS(self.config, observer=self.observer) as client:
            yield client

    async def run(self, operation: Operation[T]) -> T:
        """Run an operation in one transaction and return its result.

        After a transient error (RetryableError) the operation is retried, up to `max_attempts` attempts in total, with
        growing random waits. It is not retried if it is not idempotent and may be committed (CommitUnknown).
        """
        await self._home.open()
        attempts = Attempts(self, operation)
        while True:
            session = self._session()
            try:
                answer = await self._attempt(operation, session)
            except MDSError as error:
                wait = attempts.failed(error, session)
                lost = lost_connection(error)
            else:
                attempts.answered(session)
                return answer
            if lost:
                await self._home.drain()
            await asleep(wait)

    async def stream(self, stream: Stream[T]) -> AsyncIterator[T]:
        """Run an operation that returns its result in parts, and yield each part as it arrives.

        All parts come over one connection and in one transaction. If you stop early, the connection is returned to the
        pool when the iterator is closed (`contextlib.aclosing`). Nothing is retried once a part has arrived.
        """
        begun = False
        while True:
            session = self._session(sure=True)
            try:
                with mapping():
                    async with self._home.connection() as connection:
                        performance = _Performance(connection, stream.operation, session)
                        try:
                            while await performance.advance():
                                begun = True
                                yield performance.part
                        finally:
                            await performance.close()
            except MDSError as error:
                if begun or not is_spelled_anew(error, session):
                    raise
            else:
                return

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator["AsyncTransaction"]:
        """Run several calls in one transaction, which is committed at the end of the block or rolled back on an error.

        The block gets an object with the client's methods. Nothing in it is retried: a RetryableError ends the
        transaction, and you can run the whole block again.
        """
        session = self._session(sure=True)
        with mapping():
            async with self._home.connection() as connection:
                yield AsyncTransaction(connection, session)
                await _commit(connection, "transaction", idempotent=False)
        session.series.update(session.learned)

    async def _attempt(self, operation: Operation[T], session: Session) -> T:
        try:
            with mapping():
                async with self._home.connection() as connection:
                    performance = _Performance(connection, operation, session)
                    answer = await performance.finish()
        except Exception as error:
            if isinstance(error.__cause__, PoolTimeout):
                # Raises the reason if the pool cannot connect.
                await self._home.probe()
            raise
        session.series.update(session.learned)
        return answer


class _Performance(Generic[T]):
    """The execution of one operation on one connection."""

    def __init__(
        self,
        connection: AsyncGuardedConnection,
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
        self._copying: AsyncGenerator[Portion] | None = None
        self.part: Any = None

    async def finish(self) -> T:
        """Run the operation to its end and return its result."""
        while await self.advance():
            pass
        return self._answer

    async def advance(self) -> bool:
        """Run up to the next part of the result and set `part`. Returns False at the end, when all is committed."""
        handled = sys.exception()
        try:
            while True:
                said = await acompute(self._operation.heavy, self._step)
                if said is None:
                    break
                if isinstance(said, Emit):
                    self.part = said.part
                    self._next = partial(self._talk.send, [])
                    return True
                try:
                    results = await self._send(said)
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
            await self.close()
            raise
        await self.close()
        if self._own_transaction and not self._committed:
            await _commit(self._connection, self._operation.name, idempotent=self._operation.idempotent)
        return False

    def _step(self) -> Group | Emit | None:
        # StopIteration cannot be passed from a thread to a coroutine.
        try:
            return self._next()
        except StopIteration as end:
            self._answer: T = end.value
            return None

    async def close(self) -> None:
        """End a COPY that is still running, so that the connection can be used again."""
        if self._copying is not None:
            await self._copying.aclose()

    async def _send(self, group: Group) -> Results:
        match group.steps:
            case (CopyIn() | CopyOut() | More() as step,):
                if self._opening is not None:
                    await self._send(Group(()))
                return [await self._copy(step)]
        commit = group.commit and self._own_transaction
        # If the first group has failed, the transaction accepts no statement except the rollback to the savepoint.
        if self._opening is None or group == BACK:
            results = await _send(self._connection, group.steps, commit)
        else:
            opened, *results = await self._open(self._opening, group.steps, commit)
            self._operation.opened(self._session, opened)
            self._opening = None
        if commit:
            self._session.committed()
            self._opening = self._operation.opening(self._session)
        return results

    async def _open(self, opening: Execute, steps: tuple[Step, ...], commit: bool) -> Results:
        """Send the first group of an operation, with a BEGIN if no transaction is open."""
        if self._connection.pgconn.transaction_status != pq.TransactionStatus.IDLE:
            return await _send(self._connection, (opening, *steps), commit)
        # A transaction of the user must also allow writes.
        begin = self._operation.begin if self._own_transaction else (sql.BEGIN,)
        self._session.snapshot = sql.BEGIN_SNAPSHOT in begin
        results = await _send(
            self._connection, (*(Execute(said, prepare=False) for said in begin), opening, *steps), commit
        )
        return results[len(begin) :]

    async def _copy(self, step: CopyIn | CopyOut | More) -> list[Values]:
        if isinstance(step, CopyIn):
            return await _copy_in(self._connection, step)
        if isinstance(step, CopyOut):
            self._copying = _copy_out(self._connection, step)
        assert self._copying is not None
        taken = await anext_or_none(self._copying)
        return [] if taken is None else [taken]


class AsyncTransaction(AsyncMethods):
    """The client's methods within one transaction, as returned by `AMDS.transaction`."""

    def __init__(self, connection: AsyncGuardedConnection, session: Session) -> None:
        self._connection = connection
        self._session = session

    async def run(self, operation: Operation[T]) -> T:
        """Run an operation in this transaction and return its result."""
        with mapping():
            performance = _Performance(self._connection, operation, self._session, own_transaction=False)
            return await performance.finish()

    async def stream(self, stream: Stream[T]) -> AsyncIterator[T]:
        """Run an operation and yield the parts of its result as they arrive. Run only one stream at a time."""
        with mapping():
            performance = _Performance(self._connection, stream.operation, self._session, own_transaction=False)
            try:
                while await performance.advance():
                    yield performance.part
            finally:
                await performance.close()


async def _commit(connection: AsyncGuardedConnection, name: str, *, idempotent: bool) -> None:
    connection.expect(1)
    try:
        await connection.commit()
    except psycopg.OperationalError as error:
        if not idempotent and connection.broken:
            raise CommitUnknown(f"{name}: {error}") from error
        raise


async def _send(connection: AsyncGuardedConnection, steps: tuple[Step, ...], commit: bool) -> Results:
    connection.expect(waited_for(steps))
    cursors: list[AsyncCursor[Any]] = []
    with settled(connection) as failures:
        async with connection.pipeline() if Pipeline.is_supported() else nullcontext():
            try:
                cursors += [await _execute(connection, step) for step in steps]
                if commit:
                    # connection.commit() would add a round trip before the one that ends the pipeline.
                    await connection.execute(sql.COMMIT, prepare=False)
            except psycopg.Error as error:
                failures.append(error)
    return [await cursor.fetchall() if cursor.description else [] for cursor in cursors]


async def _execute(connection: AsyncGuardedConnection, step: Step) -> AsyncCursor[Any]:
    cursor = connection.cursor(binary=True)
    if isinstance(step, Execute):
        return await cursor.execute(step.statement, step.parameters, prepare=step.prepare)
    assert isinstance(step, ExecuteMany), "a copy stands alone in its group"
    await cursor.executemany(step.statement, step.rows)
    return cursor


async def _copy_in(connection: AsyncGuardedConnection, step: CopyIn) -> list[tuple[Any, ...]]:
    connection.expect(1)
    async with connection.cursor().copy(step.statement) as copying:
        if step.blocks is not None:
            for block in step.blocks:
                await copying.write(block)
                await ayield_turn()
            return []
        copying.set_types(step.types)
        for number, row in enumerate(step.rows):
            await copying.write_row(row)
            if number % 1024 == 0:
                await ayield_turn()
    return []


async def _copy_out(connection: AsyncGuardedConnection, step: CopyOut) -> AsyncGenerator[Portion]:
    connection.expect(1)
    async with connection.cursor().copy(step.statement, step.parameters):
        while taken := await connection.wait(portion(connection.pgconn)):
            yield taken
            await ayield_turn()
