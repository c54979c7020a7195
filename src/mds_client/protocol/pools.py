"""The connection pools of the clients: opening, closing, and lending connections.

`Home` and `AsyncHome` (`mds_client.protocol.apools`) each own a psycopg pool. A client shares its home with its clones
(`for_tenant`). They add to psycopg's pools:

- A connection goes back to the pool only if it is clean (`mds_client.protocol.connections`); otherwise it is closed.
- A pool that is interrupted while it lends or takes back a connection is replaced, because its state is unknown.
- A forked process gets its own pool, and never touches the connections of its parent.
- A home that was not closed is closed at the end of the event loop or the program, with a ResourceWarning.
"""

import sys
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Final

import psycopg
from psycopg import Connection
from psycopg_pool import ConnectionPool, PoolClosed

from mds_client import rls, sql
from mds_client.config import Config
from mds_client.errors import ConfigurationError, MDSOperationalError, ServerUnreachable
from mds_client.protocol import forks
from mds_client.protocol.connections import Guarded, GuardedConnection, interruption_behind

GRACE_S: Final = 5.0
"""The time in seconds that the server can be silent beyond the statement timeout, unless `connect_timeout` is
shorter."""

INHERITED: Final[list[object]] = []
"""The objects that a forked process has inherited. They are kept: collecting them would end sessions of the parent."""

_FORKED: Final = "this process was forked while a call was under way; that call and its connection are the parent's"
NOT_CLOSED: Final = "was not closed: call {}, or use the client as a context manager"


class Losses:
    """When the last connection was lost, on the clock of `time.monotonic`.

    Connections that were made before then may be lost, too. The pool drops those that it has, but not one that it is
    just making.
    """

    def __init__(self) -> None:
        self._last = float("-inf")

    def note(self) -> None:
        """Note that a connection was lost just now."""
        self._last = time.monotonic()

    def check(self, connection: Guarded) -> None:
        """Drop a connection that may be lost. Raises OperationalError, after which the pool takes another one."""
        if connection.made <= self._last:
            connection.drop()
            raise psycopg.OperationalError("another connection was lost since this one was made")

    async def acheck(self, connection: Guarded) -> None:
        """Do as `check`."""
        self.check(connection)


class Base:
    """The common base of both homes."""

    def __init__(self, config: Config) -> None:
        self._config = config
        # The session itself has no tenant, so a statement outside a transaction can neither read nor write rows.
        self._dsn = rls.dsn_without_tenant(config.dsn)
        self._made: weakref.WeakSet[Guarded] = weakref.WeakSet()
        self._losses = Losses()
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
        INHERITED.append(list(self._made))
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


def prepare(config: Config, made: "weakref.WeakSet[Guarded]", connection: Guarded) -> None:
    """Set up a new connection, before its first statement."""
    made.add(connection)
    connection.made = time.monotonic()
    connection.limit(config.statement_timeout_ms / 1000 or None, min(GRACE_S, config.connect_timeout))


def unreachable(error: psycopg.OperationalError) -> ServerUnreachable:
    return ServerUnreachable(f"no connection to the server: {str(error).strip()}")


class Home(Base):
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
            raise unreachable(error) from error

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
        self._losses.note()
        self._current().drain()

    def statistics(self) -> dict[str, int]:
        """Return psycopg's statistics of the pool."""
        pool = self._pool
        return {} if pool is None else pool.get_stats()

    def forked(self) -> None:
        INHERITED.append(self._pool)
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
                    self._dsn,
                    connection_class=GuardedConnection,
                    configure=configure,
                    check=self._losses.check,
                    **self._options(),
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
    prepare(config, made, connection)
    connection.execute(sql.CONFIGURE)


def _left_open(pool: "ConnectionPool[GuardedConnection]") -> None:
    """Close the pool of a client that was collected, or still exists at the end of the program."""
    warnings.warn(f"MDS {pool.name!r} " + NOT_CLOSED.format("close()"), ResourceWarning, stacklevel=2)
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
