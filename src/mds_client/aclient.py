"""`AMDS`, the asynchronous client: a pool, and the one place that awaits the server.

What it asks is in `mds_client.operations`, its methods in `mds_client.surface`. What stands here beside
`mds_client.client` is the waiting, and nothing else.
"""

import asyncio
import copy
from collections.abc import Mapping
from contextlib import nullcontext
from types import TracebackType
from typing import Any, Self, TypeVar

import psycopg
from psycopg import AsyncConnection, AsyncCursor, Pipeline
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from mds_client import rls, sql
from mds_client.config import Config
from mds_client.errors import (
    CommitUnknown,
    MDSOperationalError,
    RetryableError,
    ServerUnreachable,
    mapped,
    mapping,
)
from mds_client.operations import CopyIn, Execute, Operation, Results, SeriesCache, Session, Step
from mds_client.surface import AsyncPerformer, Surface

T = TypeVar("T")


class AMDS(Surface, AsyncPerformer):
    """An asynchronous client of the store, for one event loop. Close it, or use it as an async context manager.

    `settings` as for `MDS`. Making one does not touch the network: it connects at the first call, or on `async with`,
    and only then raises ServerUnreachable where no connection can be made.
    """

    def __init__(self, settings: Config | Mapping[str, Any] | None = None, /, **more: Any) -> None:
        self.config = Config.load(settings, **more)
        self.tenant_id = self.config.tenant_id or rls.tenant_of_dsn(self.config.dsn)
        self._caches: dict[str | None, SeriesCache] = {}
        self._owns_pool = True
        self._pool: AsyncConnectionPool[AsyncConnection[Any]] = AsyncConnectionPool(
            self.config.dsn,
            kwargs=self.config.connection(),
            min_size=self.config.pool_min,
            max_size=self.config.pool_max,
            timeout=self.config.connect_timeout,
            reconnect_timeout=self.config.connect_timeout,
            configure=_configure,
            name=self.config.app_name,
            open=False,
        )
        self._opening = asyncio.Lock()
        # Shared with the clones of for_tenant, as pool and lock are.
        self._opened = asyncio.Event()

    def for_tenant(self, tenant_id: str) -> Self:
        """This client as another tenant, over the same pool, which only the first client closes."""
        clone = copy.copy(self)
        clone.config = Config.load(self.config, tenant_id=tenant_id)
        clone.tenant_id = clone.config.tenant_id
        clone._owns_pool = False
        return clone

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

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.config.app_name!r} tenant={self.tenant_id}>"

    async def run(self, operation: Operation[T]) -> T:
        """Perform an operation in one transaction and return its answer.

        A passing fault (RetryableError) is tried again, `max_attempts` times in all, with growing random waits; not
        where the commit of something that is not idempotent may have happened (CommitUnknown).
        """
        await self._open()
        waits = self.config.waits()
        while True:
            try:
                return await self._attempt(operation)
            except ServerUnreachable:
                raise
            except RetryableError as error:
                if (wait := next(waits, None)) is None:
                    raise
                lost = error.lost_connection
            if lost:
                # A restart of the server breaks every connection of the pool, not only the one that noticed.
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

    async def _attempt(self, operation: Operation[T]) -> T:
        session = Session(self.config, self._caches.setdefault(self.tenant_id, {}), self.tenant_id)
        try:
            with mapping():
                async with self._pool.connection() as connection:
                    answer = await _perform(connection, operation, session)
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


async def _perform(connection: AsyncConnection[Any], operation: Operation[T], session: Session) -> T:
    talk = operation.talk(session)
    opening: Execute | None = operation.opening(session)
    committed = False
    try:
        group = next(talk)
        while True:
            try:
                if opening is None:
                    results = await _send(connection, group.steps, group.commit)
                else:
                    rows, *results = await _send(connection, (opening, *group.steps), group.commit)
                    operation.opened(session, rows)
                    opening = None
            except psycopg.Error as error:
                if group.commit and not operation.idempotent and connection.broken:
                    raise CommitUnknown(f"{operation.name}: {error}") from error
                # The operation may know better what this error means.
                group = talk.throw(mapped(error))
                continue
            committed = group.commit
            group = talk.send(results)
    except StopIteration as end:
        answer: T = end.value
    if not committed:
        try:
            await connection.commit()
        except psycopg.OperationalError as error:
            if not operation.idempotent:
                raise CommitUnknown(f"{operation.name}: {error}") from error
            raise
    return answer


async def _send(connection: AsyncConnection[Any], steps: tuple[Step, ...], commit: bool) -> Results:
    if len(steps) == 1 and isinstance(steps[0], CopyIn):
        return [await _copy_in(connection, steps[0])]
    async with connection.pipeline() if Pipeline.is_supported() else nullcontext():
        cursors = [await _execute(connection, step) for step in steps]
        if commit:
            await connection.commit()
    return [await cursor.fetchall() if cursor.description else [] for cursor in cursors]


async def _execute(connection: AsyncConnection[Any], step: Step) -> AsyncCursor[Any]:
    cursor = connection.cursor(binary=True)
    if isinstance(step, Execute):
        return await cursor.execute(step.statement, step.parameters)
    assert not isinstance(step, CopyIn)
    await cursor.executemany(step.statement, step.rows)
    return cursor


async def _copy_in(connection: AsyncConnection[Any], step: CopyIn) -> list[tuple[Any, ...]]:
    async with connection.cursor().copy(step.statement) as copying:
        copying.set_types(step.types)
        for row in step.rows:
            await copying.write_row(row)
    return []
