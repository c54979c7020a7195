"""The connection pool of the asynchronous client, in one event loop; see `mds_client.protocol.pools`."""

import asyncio
import sys
import warnings
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool, PoolClosed

from mds_client import sql
from mds_client.config import Config
from mds_client.errors import ConfigurationError
from mds_client.protocol.connections import AsyncGuardedConnection, Guarded, interruption_behind
from mds_client.protocol.pools import INHERITED, NOT_CLOSED, Base, prepare, unreachable


class AsyncHome(Base):
    """The connections of an `AMDS` and its clones, in one event loop."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._anew()

    def _anew(self) -> None:
        self._pool: AsyncConnectionPool[AsyncGuardedConnection] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opening = asyncio.Lock()
        self._keeper: asyncio.Task[None] | None = None
        self._left: asyncio.Event | None = None
        self._finalizer: weakref.finalize[Any, Any] | None = None

    async def open(self) -> None:
        """Open the pool if it is not open.

        Raises:
            ServerUnreachable: No connection can be made.
            MDSOperationalError: The client is closed, or is open in another event loop.
        """
        if self._check() and self._pool is not None:
            return
        self.check_open()
        async with self._opening:
            if self._pool is None:
                if self._keeper is None:
                    await self.probe()
                await self._make()

    async def close(self) -> None:
        """Close the pool; lent connections are closed when they come back. You can close twice."""
        self._check()
        self._closed = True
        self._leave()
        if self._keeper is not None:
            await asyncio.wait([self._keeper])

    def _check(self) -> bool:
        """Whether the home is open in this event loop. Raises ConfigurationError if it is open in another one."""
        if self._loop is not None and self._loop is not asyncio.get_running_loop():
            raise ConfigurationError(
                "this AMDS was opened in another event loop; make one AMDS for each loop, or use MDS in threads"
            )
        return self._loop is not None

    async def probe(self) -> None:
        """Connect once. Raises ServerUnreachable with the reason why no connection can be made."""
        try:
            connection = await AsyncConnection.connect(self._dsn, **self._config.connection())
        except psycopg.OperationalError as error:
            raise unreachable(error) from error
        await connection.close()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncGuardedConnection]:
        """Lend a connection of the open pool. An open transaction is rolled back at the end.

        Raises:
            psycopg_pool.PoolTimeout: No connection was free within `connect_timeout`.
            MDSOperationalError: The client is closed.
        """
        handled = sys.exception()
        while True:
            await self.open()
            pool = self._pool
            assert pool is not None
            try:
                connection = await pool.getconn()
                break
            except PoolClosed:
                # Another task was cancelled meanwhile, and the pool was replaced.
                if self._closed or self._pool is pool:
                    raise
        settled = proven = closing = False
        try:
            try:
                yield connection
                proven = True
            except (Exception, GeneratorExit) as error:
                closing = isinstance(error, GeneratorExit)
                proven = interruption_behind(error, handled) is None
                raise
            finally:
                try:
                    await _aclean(connection, proven)
                finally:
                    if closing and not connection.inherited:
                        # A generator that is closed at the end of the loop can start no more tasks.
                        await pool.putconn(connection)
                    elif not connection.inherited:
                        # If putconn were cancelled, the pool would lose a caller that waits for this connection.
                        settled = True
                        await asyncio.shield(pool.putconn(connection))
                settled = True
        finally:
            if not settled and self._pool is pool:
                # Interrupted while the pool took the connection back, so the pool's state is unknown.
                self._leave()

    async def drain(self) -> None:
        """Replace all idle connections, because one was lost and the others may be."""
        self._losses.note()
        pool = self._pool
        if pool is not None:
            await pool.drain()

    def statistics(self) -> dict[str, int]:
        """Return psycopg's statistics of the pool."""
        pool = self._pool
        return {} if pool is None else pool.get_stats()

    def forked(self) -> None:
        INHERITED.append((self._pool, self._keeper, self._loop, self._left))
        if self._finalizer is not None:
            self._finalizer.detach()
        super().forked()
        self._anew()

    async def _make(self) -> None:
        # The pool must not reference the home, or the home could never be collected.
        configure = partial(_aconfigure, self._config, self._made)
        pool = AsyncConnectionPool(
            self._dsn,
            connection_class=AsyncGuardedConnection,
            configure=configure,
            check=self._losses.acheck,
            **self._options(),
        )
        await pool.open()
        self._loop = asyncio.get_running_loop()
        left = asyncio.Event()
        self._keeper = asyncio.create_task(_keep(pool, left, self._made), name="mds-pool")
        self._finalizer = weakref.finalize(self, _async_left_open, pool, self._loop, left)
        # The keeper warns at the end of the loop.
        self._finalizer.atexit = False
        self._left = left
        self._pool = pool

    def _leave(self) -> None:
        """Make the keeper close the pool."""
        self._pool = None
        if self._finalizer is not None and self._left is not None:
            self._finalizer.detach()
            self._left.set()


async def _aconfigure(config: Config, made: "weakref.WeakSet[Guarded]", connection: AsyncGuardedConnection) -> None:
    prepare(config, made, connection)
    await connection.execute(sql.CONFIGURE)


async def _keep(
    pool: "AsyncConnectionPool[AsyncGuardedConnection]", left: asyncio.Event, made: "weakref.WeakSet[Guarded]"
) -> None:
    """Close a pool when its home is closed or the event loop ends.

    At its end `asyncio.run` cancels every task once and waits for them. A worker of the pool that is connecting treats
    that as a failed attempt and continues. Only the pool's `close` ends it.
    """
    try:
        await left.wait()
    except asyncio.CancelledError:
        warnings.warn(f"AMDS {pool.name!r} " + NOT_CLOSED.format("aclose()"), ResourceWarning, stacklevel=2)
        raise
    finally:
        left.set()  # so that collecting the home does not warn again
        try:
            await pool.close()
        except asyncio.CancelledError:
            # A worker of the pool was cancelled itself. The other workers are ending, but the idle connections
            # are not closed. No one uses them at the end of a loop.
            for connection in list(made):
                connection.drop()


def _async_left_open(
    pool: "AsyncConnectionPool[AsyncGuardedConnection]", loop: asyncio.AbstractEventLoop, left: asyncio.Event
) -> None:
    """Close the pool of a client that was collected."""
    if left.is_set():
        return
    warnings.warn(f"AMDS {pool.name!r} " + NOT_CLOSED.format("aclose()"), ResourceWarning, stacklevel=2)
    with suppress(RuntimeError):  # the loop is closed, and the pool with it
        loop.call_soon_threadsafe(left.set)


async def _aclean(connection: AsyncGuardedConnection, proven: bool) -> None:
    """Roll back an open transaction, or close a connection whose state is unknown."""
    try:
        if proven and connection.has_transaction:
            with suppress(psycopg.Error):  # the connection is dropped then
                await connection.rollback()
    finally:
        if not (proven and connection.is_clean):
            connection.drop()
