"""Connections of the control plane. None waits forever for a network that has lost it.

The control plane opens its own connections with `connect`. Work for a caller that waits, such as a request to the
service, runs in a block of `limited`: connections opened there give up on a server that does not answer in time.
Several reads for one page run in a block of `sharing`: they use one connection, one after the other.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import resources
from typing import Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import tuple_row
from psycopg.sql import SQL, Identifier

from datastore.engines import Engine, detect
from datastore.errors import NotMigrated
from datastore.names import OWNER
from mds_client.config import watchful
from mds_client.protocol.connections import GuardedConnection

GRACE_S: Final = 5.0
"""How much longer than a statement's limit the server may be silent, in seconds."""

CONNECT_S: Final = 10
"""How long the server may take to accept a connection, in seconds, unless the DSN sets it."""

_limit: ContextVar[float | None] = ContextVar("limit", default=None)
_shared: ContextVar["_Shared | None"] = ContextVar("shared", default=None)


class _Lent(GuardedConnection):
    """A connection of a block of `sharing`. To close it gives it back to the block."""

    conninfo = ""
    lender: "_Shared | None" = None

    def close(self) -> None:
        """Give the connection back, or close it if nothing may use it any more."""
        is_kept = False
        try:
            is_kept = self.lender is not None and self.lender.take_back(self)
        finally:
            if not is_kept:
                super().close()

    @property
    def is_as_opened(self) -> bool:
        """Whether nothing is open on it, and no mode of psycopg's was changed. `DISCARD ALL` resets the rest."""
        modes = (self.isolation_level, self.read_only, self.deferrable)
        return self.is_clean and not self.autocommit and modes == (None, None, None) and self.row_factory is tuple_row


class _Shared:
    """The connection of a block of `sharing`: open and unused, in use, or not there."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self._lock = threading.Lock()
        self._idle: _Lent | None = None
        self._ended = False

    def lend(self, conninfo: str) -> GuardedConnection:
        """Return the unused connection if it has these settings, otherwise a new one."""
        with self._lock:
            idle, self._idle = self._idle, None
        if idle is not None:
            if idle.conninfo == conninfo:
                return idle
            self._close(idle)
        # Prepared statements would not outlive `DISCARD ALL`.
        made: _Lent = _Lent.connect(conninfo, prepare_threshold=None)
        made.conninfo, made.lender = conninfo, self
        return made

    def take_back(self, connection: _Lent) -> bool:
        """Keep a connection for the next use, with nothing left of this one. False if it has to be closed."""
        if not connection.is_as_opened:
            return False
        try:
            connection.autocommit = True
            connection.execute("DISCARD ALL")
            connection.autocommit = False
        except psycopg.Error:
            # The server has ended it: the next use opens another one, and fails with the reason if it cannot.
            return False
        with self._lock:
            if self._ended or self._idle is not None:
                return False
            self._idle = connection
        return True

    def end(self) -> None:
        """Close the unused connection. One that is still in use is closed when it comes back."""
        with self._lock:
            idle, self._idle, self._ended = self._idle, None, True
        if idle is not None:
            self._close(idle)

    @staticmethod
    def _close(connection: _Lent) -> None:
        connection.lender = None
        connection.close()


def connect(dsn: str, **options: Any) -> GuardedConnection:
    """Open a connection that notices within half a minute if the network loses every packet.

    The server has `CONNECT_S` seconds to accept the connection.

    Args:
        dsn: A libpq URL or key=value text. What it sets itself, such as `connect_timeout`, is not changed.
        options: Arguments for psycopg's `connect`.

    Raises:
        psycopg.OperationalError: The server cannot be reached.
    """
    given = conninfo_to_dict(dsn)
    added: dict[str, Any] = {**watchful(dsn), "connect_timeout": given.get("connect_timeout", CONNECT_S)}
    seconds = _limit.get()
    if seconds is not None:
        added["options"] = f"-c statement_timeout={seconds * 1000:.0f} {given.get('options') or ''}".rstrip()
    conninfo = make_conninfo(dsn, **added)
    shared = _shared.get()
    if shared is not None and shared.dsn == dsn and not options:
        connection = shared.lend(conninfo)
    else:
        connection = GuardedConnection.connect(conninfo, **options)
    connection.limit(seconds, GRACE_S)
    return connection


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Limit how long each statement may take on connections that are opened in the block.

    A statement that takes longer is stopped by the server. If the server does not answer even then, the connection is
    closed and `mds_client.protocol.connections.ServerSilent` is raised.
    """
    token = _limit.set(seconds)
    try:
        yield
    finally:
        _limit.reset(token)


@contextmanager
def sharing(dsn: str) -> Iterator[Callable[[], None]]:
    """Let reads of the block use one connection, one after the other, instead of one each.

    To open a connection takes longer than most reads. Each use finds the connection as if it were new: its transaction
    has ended, and `DISCARD ALL` has reset role, settings and the rest. A use within another one and a use with other
    settings have connections of their own.

    Args:
        dsn: The DSN whose connections are shared.

    Yields:
        A function that ends the sharing early: later uses in the block open connections of their own.
    """
    shared = _Shared(dsn)
    token = _shared.set(shared)
    try:
        yield shared.end
    finally:
        _shared.reset(token)
        shared.end()


def head() -> str:
    """Return the newest schema version that this release knows."""
    versions = resources.files("datastore.migrations") / "versions"
    return max(name[:4] for file in versions.iterdir() if (name := file.name)[:4].isdigit())


def check_head(driver: psycopg.Connection[Any]) -> None:
    """Raise NotMigrated if the database's schema is not that of this release."""
    if (version := schema_version(driver)) != head():
        raise NotMigrated(f"the schema version is {version or 'none'}, head is {head()}: run datastore migrate")


def not_the_operators(dsn: str) -> str | None:
    """Explain why a login was refused an operator's command; None if the login is an operator's.

    Returns None also if the database cannot be asked.
    """
    try:
        with connect(dsn) as driver:
            found = driver.execute(
                "SELECT current_user::text, bool_or(rolsuper OR rolcreaterole) FILTER (WHERE rolname = current_user)"
                " OR bool_or(pg_has_role(oid, 'MEMBER')) FILTER (WHERE rolname = %s) FROM pg_roles",
                (OWNER,),
            ).fetchone()
    except psycopg.Error:
        return None
    if found is None or found[1] is not False:
        return None
    return (
        f"the login {found[0]!r} is an application's, and cannot do what this command does. Name the control plane's in"
        f" DATABASE_URL or --dsn: a member of {OWNER}, or before the first migration a role that can create roles and"
        " schemas. MDS_DSN is for applications"
    )


@contextmanager
def as_owner(dsn: str) -> Iterator[tuple[Engine, psycopg.Connection[Any]]]:
    """Open a connection that acts as the owner of a schema at head; it is committed at the end."""
    with connect(dsn) as driver:
        check_head(driver)
        engine = detect(driver)
        driver.execute(SQL("SET ROLE {}").format(Identifier(OWNER)))
        driver.commit()
        yield engine, driver


def schema_version(driver: psycopg.Connection[Any]) -> str | None:
    """Return the schema version of a database, or None if it was never migrated."""
    there = driver.execute("SELECT to_regclass('store.alembic_version') IS NOT NULL").fetchone()
    if there is None or not there[0]:
        return None
    row = driver.execute("SELECT version_num FROM store.alembic_version").fetchone()
    return None if row is None else str(row[0])
