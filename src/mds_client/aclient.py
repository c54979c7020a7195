"""`AMDS`, the asynchronous client: a pool, and the one place that awaits the server.

What it asks is in `mds_client.operations`, its methods in `mds_client.surface`. What stands here beside
`mds_client.client` is the waiting, and nothing else.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, nullcontext, suppress
from functools import partial
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import psycopg
from psycopg import AsyncConnection, AsyncCursor, Pipeline
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from mds_client import sql
from mds_client.config import Config
from mds_client.errors import (
    CommitUnknown,
    MDSError,
    MDSOperationalError,
    ServerUnreachable,
    mapped,
    mapping,
)
from mds_client.operations import (
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
    can_be_whole,
    portion,
    settled,
)
from mds_client.pooled import Attempts, Pooled, lost_connection
from mds_client.surface import AsyncPerformer, Surface

T = TypeVar("T")


class AMDS(Pooled, AsyncPerformer):
    """An asynchronous client of the store, for one event loop. Close it, or use it as an async context manager.

    `settings` as for `MDS`. Making one does not touch the network: it connects at the first call, or on `async with`,
    and only then raises ServerUnreachable where no connection can be made.
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
        self._pool: AsyncConnectionPool[AsyncConnection[Any]] = AsyncConnectionPool(
            self.config.dsn, configure=_configure, open=False, **self._pool_options()
        )
        self.observer.opened(self.config.app_name, self._pool.get_stats)
        self._opening = asyncio.Lock()
        # Shared with the clones of for_tenant, as pool and lock are.
        self._opened = asyncio.Event()

    async def aclose(self) -> None:
        """Close the pool; calls under way end with an error. Closing twice is harmless."""
        if self._owns_pool:
            await self._pool.close()

    async def __aenter__(self) -> Self:
        await self._open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def run(self, operation: Operation[T]) -> T:
        """Perform an operation in one transaction and return its answer.

        A passing fault (RetryableError) is tried again, `max_attempts` times in all, with growing random waits; not
        where the commit of something that is not idempotent may have happened (CommitUnknown).
        """
        await self._open()
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
                await self._pool.check()
            await asyncio.sleep(wait)

    async def _open(self) -> None:
        if not self._pool.closed:
            return
        async with self._opening:
            if self._pool.closed:
                if self._opened.is_set():
                    raise MDSOperationalError("the client is closed")
                await self._probe()
                await self._pool.open()
                self._opened.set()

    async def stream(self, stream: Stream[T]) -> AsyncIterator[T]:
        """Perform an operation that answers in parts, and give each part as it comes.

        One connection and one transaction serve it from the first part to the last. An iteration that is left early
        gives the connection back when the iterator is closed (`contextlib.aclosing`). Nothing is tried again.
        """
        await self._open()
        with mapping():
            async with self._pool.connection() as connection:
                performance = _Performance(connection, stream.operation, self._session())
                try:
                    while await performance.advance():
                        yield performance.part
                finally:
                    await performance.close()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator["AsyncTransaction"]:
        """One transaction for several calls, committed at the end of the block, or not at all on an exception.

        What the block gets has the client's methods. Nothing in it is tried again: a RetryableError ends the
        transaction, and the caller may have the whole block again.
        """
        session = self._session()
        await self._open()
        with mapping():
            async with self._pool.connection() as connection:
                yield AsyncTransaction(connection, session)
        session.series.update(session.learned)

    async def _attempt(self, operation: Operation[T], session: Session) -> T:
        try:
            with mapping():
                async with self._pool.connection() as connection:
                    performance = _Performance(connection, operation, session)
                    answer = await performance.finish()
        except Exception as error:
            if isinstance(error.__cause__, PoolTimeout):
                await self._probe()
            raise
        session.series.update(session.learned)
        return answer

    async def _probe(self) -> None:
        """Connect once, for the reason why the pool cannot."""
        try:
            connection = await AsyncConnection.connect(self.config.dsn, **self.config.connection())
        except psycopg.OperationalError as error:
            raise ServerUnreachable(f"no connection to the server: {str(error).strip()}") from error
        await connection.close()


async def _configure(connection: AsyncConnection[Any]) -> None:
    await connection.execute(sql.CONFIGURE)
    await connection.commit()


class _Performance(Generic[T]):
    """One operation on one connection, as far as it is."""

    def __init__(
        self,
        connection: AsyncConnection[Any],
        operation: Operation[T],
        session: Session,
        *,
        own_transaction: bool = True,
    ) -> None:
        self._connection = connection
        self._operation = operation
        self._session = session
        self._own_transaction = own_transaction
        self._talk = operation.talk(session)
        self._next: Callable[[], Group | Emit] = partial(next, self._talk)
        self._opening: Execute | None = operation.opening(session)
        self._committed = False
        self._copying: AsyncGenerator[Portion] | None = None
        self.part: Any = None

    async def finish(self) -> T:
        """Go on to the end, and give the answer."""
        while await self.advance():
            pass
        return self._answer

    async def advance(self) -> bool:
        """Go on to the next part of the answer, which is `part` then; False at the end, with everything committed."""
        try:
            while True:
                said = await asyncio.to_thread(self._step) if self._operation.heavy else self._step()
                if said is None:
                    break
                if isinstance(said, Emit):
                    self.part = said.part
                    self._next = partial(self._talk.send, [])
                    return True
                try:
                    results = await self._send(said)
                except psycopg.Error as error:
                    if said.commit and not self._operation.idempotent and self._connection.broken:
                        raise CommitUnknown(f"{self._operation.name}: {error}") from error
                    # The operation may know better what this error means.
                    self._next = partial(self._talk.throw, mapped(error))
                else:
                    self._committed = said.commit
                    self._next = partial(self._talk.send, results)
        except BaseException:
            await self.close()
            raise
        await self.close()
        if self._own_transaction and not self._committed:
            try:
                await self._connection.commit()
            except psycopg.OperationalError as error:
                if not self._operation.idempotent:
                    raise CommitUnknown(f"{self._operation.name}: {error}") from error
                raise
        return False

    def _step(self) -> Group | Emit | None:
        # A thread cannot hand a StopIteration over.
        try:
            return self._next()
        except StopIteration as end:
            self._answer: T = end.value
            return None

    async def close(self) -> None:
        """End what is being copied out, so that the connection can be used again."""
        if self._copying is not None:
            await self._copying.aclose()

    async def _send(self, group: Group) -> Results:
        match group.steps:
            case (CopyIn() | CopyOut() | More() as step,):
                if self._opening is not None:
                    await self._send(Group(()))
                return [await self._copy(step)]
        commit = group.commit and self._own_transaction
        if self._opening is None:
            results = await _send(self._connection, group.steps, commit)
        else:
            steps = (self._opening, *group.steps)
            if commit and can_be_whole(steps):
                opened, *results = await _send_whole(self._connection, steps)
            else:
                opened, *results = await _send(self._connection, steps, commit)
            self._operation.opened(self._session, opened)
            self._opening = None
        if commit:
            self._session.committed()
            self._opening = self._operation.opening(self._session)
        return results

    async def _copy(self, step: CopyIn | CopyOut | More) -> list[Values]:
        if isinstance(step, CopyIn):
            return await _copy_in(self._connection, step)
        if isinstance(step, CopyOut):
            self._copying = _copy_out(self._connection, step)
        assert self._copying is not None
        taken = await anext(self._copying, None)
        return [] if taken is None else [taken]


class AsyncTransaction(Surface, AsyncPerformer):
    """The client's methods within one transaction; made by `AMDS.transaction`."""

    def __init__(self, connection: AsyncConnection[Any], session: Session) -> None:
        self._connection = connection
        self._session = session

    async def run(self, operation: Operation[T]) -> T:
        """Perform an operation in this transaction and return its answer."""
        with mapping():
            performance = _Performance(self._connection, operation, self._session, own_transaction=False)
            return await performance.finish()

    async def stream(self, stream: Stream[T]) -> AsyncIterator[T]:
        """Perform an operation that answers in parts, and give each as it comes; one at a time in a transaction."""
        with mapping():
            performance = _Performance(self._connection, stream.operation, self._session, own_transaction=False)
            try:
                while await performance.advance():
                    yield performance.part
            finally:
                await performance.close()


async def _send(connection: AsyncConnection[Any], steps: tuple[Step, ...], commit: bool) -> Results:
    cursors: list[AsyncCursor[Any]] = []
    with settled(connection) as failures:
        async with connection.pipeline() if Pipeline.is_supported() else nullcontext():
            try:
                cursors += [await _execute(connection, step) for step in steps]
                if commit:
                    # Not connection.commit(): that waits, and the pipeline's end then waits once more.
                    await connection.execute(sql.COMMIT, prepare=False)
            except psycopg.Error as error:
                failures.append(error)
    return [await cursor.fetchall() if cursor.description else [] for cursor in cursors]


async def _send_whole(connection: AsyncConnection[Any], steps: tuple[Step, ...]) -> Results:
    await connection.set_autocommit(True)
    try:
        return await _send(connection, steps, commit=False)
    except psycopg.Error:
        if not connection.closed and connection.prepare_threshold is not None:
            # psycopg believes that the server has prepared what it has skipped; after a ROLLBACK it believes nothing.
            # If this fails too, the connection is lost, and the failure before it is the one that matters.
            with suppress(psycopg.OperationalError):
                async with connection.transaction(force_rollback=True):
                    pass
        raise
    finally:
        if not connection.closed:
            await connection.set_autocommit(False)


async def _execute(connection: AsyncConnection[Any], step: Step) -> AsyncCursor[Any]:
    cursor = connection.cursor(binary=True)
    if isinstance(step, Execute):
        return await cursor.execute(step.statement, step.parameters)
    assert isinstance(step, ExecuteMany), "a copy stands alone in its group"
    await cursor.executemany(step.statement, step.rows)
    return cursor


async def _copy_in(connection: AsyncConnection[Any], step: CopyIn) -> list[tuple[Any, ...]]:
    async with connection.cursor().copy(step.statement) as copying:
        if step.blocks is not None:
            for block in step.blocks:
                await copying.write(block)
                await asyncio.sleep(0)
            return []
        copying.set_types(step.types)
        for number, row in enumerate(step.rows):
            await copying.write_row(row)
            if number % 1024 == 0:
                # Nothing here waits while the server keeps up; others shall have their turn all the same.
                await asyncio.sleep(0)
    return []


async def _copy_out(connection: AsyncConnection[Any], step: CopyOut) -> AsyncGenerator[Portion]:
    async with connection.cursor().copy(step.statement, step.parameters):
        while taken := await connection.wait(portion(connection.pgconn)):
            yield taken
            await asyncio.sleep(0)
