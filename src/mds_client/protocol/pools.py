"""The connection pools of the clients: opening, closing, and lending connections.

`Home` and `AsyncHome` each own a psycopg pool. A client shares its home with its clones (`for_tenant`). They add to
psycopg's pools:

- A connection goes back to the pool only if it is clean (`mds_client.protocol.connections`); otherwise it is closed.
- A pool that is interrupted while it lends or takes back a connection is replaced, because its state is unknown.
- A forked process gets its own pool, and never touches the connections of its parent.
- A home that was not closed is closed at the end of the event loop or the program, with a ResourceWarning.
"""

import asyncio
import sys
import threading
import warnings
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from typing import Any, Final

import psycopg
from psycopg import AsyncConnection, Connection
from psycopg_pool import AsyncConnectionPool, ConnectionPool, PoolClosed

from mds_client import rls, sql
from mds_client.config import Config
from mds_client.errors import ConfigurationError, MDSOperationalError, ServerUnreachable
from mds_client.protocol import forks
from mds_client.protocol.connections import AsyncGuardedConnection, Guarded, GuardedConnection, interruption_behind

GRACE_S: Final = 5.0
"""The time in seconds that the server can be silent beyond the statement timeout, unless `connect_timeout` is
shorter."""

_INHERITED: Final[list[object]] = []
"""The objects that a forked process has inherited. They are kept: collecting them would end sessions of the parent."""

_FORKED: Final = "this process was forked while a call was under way; that call and its connection are the parent's"
_NOT_CLOSED: Final = "was not closed: call {}, or use the client as a context manager"


class _Base:
    """The common base of both homes."""

    def __init__(self, config: Config) -> None:
        self._config = config
        # The session itself has no tenant, so a statement outside a transaction can neither read nor write rows.
        self._dsn = rls.dsn_without_tenant(config.dsn)
        self._made: weakref.WeakSet[Guarded] = weakref.WeakSet()
        self._closed = False
        forks.watch(self)

    def check_open(self) -> None:
        """Raise MDSOperationalError if the home is closed."""
        if self._closed:
            raise MDSOperationalError("the client is closed")

    def forked(self) -> None:
        """Start over in a forked process, which has neither the threads nor the event loop of its parent."""
        for connection in self._made:
            connection.inherited = True
            connection.interruption = ConfigurationError(_FORKED)
        _INHERITED.append(list(self._made))
        self._made = weakref.WeakSet()

    def _options(self) -> dict[str, Any]:
        config = self._config
        return {
            "kwargs": {**config.connection(), "autocommit": True},
            "min_size": config.pool_min,
            "max_size": config.pool_max,
            "timeout": config.connect_timeout,
            "reconnect_timeout": config.connect_timeout,
            "name": config.app_name,
            "open": False,
        }


def _prepare(config: Config, made: "weakref.WeakSet[Guarded]", connection: Guarded) -> None:
    """Set up a new connection, before its first statement."""
    made.add(connection)
    connection.limit(config.statement_timeout_ms / 1000 or None, min(GRACE_S, config.connect_timeout))


def _unreachable(error: psycopg.OperationalError) -> ServerUnreachable:
    return ServerUnreachable(f"no connection to the server: {str(error).strip()}")


class Home(_Base):
    """The connections of an `MDS` and its clones."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._lock = threading.Lock()
        self._pool: ConnectionPool[GuardedConnection] | None = None
        self._end: Callable[[], object] = lambda: None
        self.probe()
        self._current()

    def open(self) -> None:
        """Raise MDSOperationalError if the home is closed. The pool opens on first use."""
        self.check_open()

    def close(self) -> None:
        """Close the pool; lent connections are closed when they come back. You can close twice."""
        with self._lock:
            pool, self._pool, self._closed = self._pool, None, True
        self._end()
        if pool is not None:
            pool.close()

    def probe(self) -> None:
        """Connect once. Raises ServerUnreachable with the reason why no connection can be made."""
        try:
            Connection.connect(self._dsn, **self._config.connection()).close()
        except psycopg.OperationalError as error:
            raise _unreachable(error) from error

    @contextmanager
    def connection(self) -> Iterator[GuardedConnection]:
        """Lend a connection. An open transaction is rolled back at the end.

        Raises:
            psycopg_pool.PoolTimeout: No connection was free within `connect_timeout`.
            MDSOperationalError: The client is closed.
        """
        handled = sys.exception()
        pool = self._current()
        settled = False
        try:
            try:
                connection = pool.getconn()
            except PoolClosed:
                settled = True
                if self._closed or self._pool is pool:
                    raise
                connection = (pool := self._current()).getconn()
            except Exception:
                settled = True
                raise
            settled = proven = False
            try:
                yield connection
                proven = True
            except (Exception, GeneratorExit) as error:
                proven = interruption_behind(error, handled) is None
                raise
            finally:
                try:
                    _clean(connection, proven)
                finally:
                    if not connection.inherited:
                        pool.putconn(connection)
                settled = True
        finally:
            if not settled:
                self._replace(pool)

    def drain(self) -> None:
        """Replace all idle connections, because one was lost and the others may be."""
        self._current().drain()

    def statistics(self) -> dict[str, int]:
        """Return psycopg's statistics of the pool."""
        pool = self._pool
        return {} if pool is None else pool.get_stats()

    def forked(self) -> None:
        _INHERITED.append(self._pool)
        super().forked()
        self._lock = threading.Lock()
        self._pool = None
        self._end()

    def _current(self) -> "ConnectionPool[GuardedConnection]":
        pool = self._pool
        if pool is not None:
            return pool
        with self._lock:
            self.open()
            if self._pool is None:
                # The pool must not reference the home, or the home could never be collected.
                configure = partial(_configure, self._config, self._made)
                pool = ConnectionPool(
                    self._dsn, connection_class=GuardedConnection, configure=configure, **self._options()
                )
                pool.open()
                self._end = weakref.finalize(self, _left_open, pool).detach
                self._pool = pool
            return self._pool

    def _replace(self, pool: "ConnectionPool[GuardedConnection]") -> None:
        """Replace the pool. Calls that wait for a connection of the old pool then wait for the new one."""
        with self._lock:
            if self._pool is pool:
                self._pool = None
                self._end()
        threading.Thread(target=pool.close, name="mds-pool-close", daemon=True).start()


def _configure(config: Config, made: "weakref.WeakSet[Guarded]", connection: GuardedConnection) -> None:
    _prepare(config, made, connection)
    connection.execute(sql.CONFIGURE)


def _left_open(pool: "ConnectionPool[GuardedConnection]") -> None:
    """Close the pool of a client that was collected, or still exists at the end of the program."""
    warnings.warn(f"MDS {pool.name!r} " + _NOT_CLOSED.format("close()"), ResourceWarning, stacklevel=2)
    try:
        # Close it in a new thread: this may be one of the pool's own threads, which cannot wait for itself.
        threading.Thread(target=pool.close, name="mds-pool-close", daemon=True).start()
    except RuntimeError:  # the interpreter is about to end
        pool.close()


def _clean(connection: GuardedConnection, proven: bool) -> None:
    """Roll back an open transaction, or close a connection whose state is unknown."""
    try:
        if proven and connection.has_transaction:
            with suppress(psycopg.Error):  # the connection is dropped then
                connection.rollback()
    finally:
        if not (proven and connection.is_clean):
            connection.drop()


class AsyncHome(_Base):
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
            raise _unreachable(error) from error
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
        pool = self._pool
        if pool is not None:
            await pool.drain()

    def statistics(self) -> dict[str, int]:
        """Return psycopg's statistics of the pool."""
        pool = self._pool
        return {} if pool is None else pool.get_stats()

    def forked(self) -> None:
        _INHERITED.append((self._pool, self._keeper, self._loop, self._left))
        if self._finalizer is not None:
            self._finalizer.detach()
        super().forked()
        self._anew()

    async def _make(self) -> None:
        # The pool must not reference the home, or the home could never be collected.
        configure = partial(_aconfigure, self._config, self._made)
        pool = AsyncConnectionPool(
            self._dsn, connection_class=AsyncGuardedConnection, configure=configure, **self._options()
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
    _prepare(config, made, connection)
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
        warnings.warn(f"AMDS {pool.name!r} " + _NOT_CLOSED.format("aclose()"), ResourceWarning, stacklevel=2)
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
    warnings.warn(f"AMDS {pool.name!r} " + _NOT_CLOSED.format("aclose()"), ResourceWarning, stacklevel=2)
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
