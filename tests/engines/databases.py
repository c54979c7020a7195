"""Databases to test on, the same way on every engine: migrated ones with an empty store, and bare ones.

`databases(name)` gives the source of an engine's, which starts its server when the first one is asked for. An engine
with many databases clones a template for each; the one with a single database empties it, and goes back to a snapshot
only where a test has changed more than rows.
"""

import itertools
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final, LiteralString, Protocol

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.sql import SQL, Identifier, Literal

from datastore import migration
from datastore.embedded import (
    ADMIN_ROLE,
    DATABASE,
    SERVICE_ROLE,
    EmbeddedServer,
    EmbeddedServerError,
    choose_account,
    find_binaries,
)
from datastore.names import APP
from tests.engines import (
    DSN_VARIABLES,
    CommunityServer,
    EngineServer,
    EngineUnavailable,
    given_postgres,
    pgbouncer,
    server,
)
from tests.engines.blank import Blank
from tests.engines.pgbouncer import PgBouncer

POOLER: Final = "pgbouncer"
"""Not an engine of its own: plain PostgreSQL, with a transaction-mode pooler between it and applications."""

ENGINES: Final = ("postgres", *DSN_VARIABLES, POOLER)

PASSWORD: Final = "only-for-tests"

# A throw-away server: what makes a crash survivable only costs time here.
SETTINGS: Final[Mapping[str, str]] = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_wal_size": "2GB",
    "shared_buffers": "256MB",
}


@dataclass(frozen=True)
class Place:
    """A database, and how an application, the control plane and a superuser get in."""

    dsn: str
    admin_dsn: str
    superuser_dsn: str


class Databases(Protocol):
    """The databases of one engine."""

    @property
    def single_session(self) -> bool:
        """True if all clients share one session, and there is one database."""

    def migrated(self) -> AbstractContextManager[Place]:
        """A database at head, without a tenant."""

    def bare(self, *, extension: bool = True) -> AbstractContextManager[Place]:
        """A database of the control plane's role that is not migrated, with the engine's extension or without."""


def version(name: str) -> str:
    """The version of an engine that this machine can have, which is made ready for that and not started.

    Raises `EngineUnavailable`.
    """
    if name == POOLER:
        return pgbouncer.available()
    if name != "postgres":
        return server(name).available()
    if given := given_postgres():
        return given.available()
    try:
        return f"PostgreSQL {find_binaries(choose_account(None)).version}"
    except EmbeddedServerError as error:
        raise EngineUnavailable(str(error)) from error


def can_have(name: str) -> tuple[str | None, str]:
    """The version of an engine, or None and the reason why this machine cannot have it."""
    try:
        return version(name), ""
    except EngineUnavailable as reason:
        return None, str(reason)


def shares_session(name: str, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether all clients of an engine share one session here: see `CommunityServer`."""
    return name == CommunityServer.name and not environment.get(DSN_VARIABLES[name])


class Running:
    """The engines of one test process, each started when it is first asked for."""

    def __init__(self, embedded: Callable[[], EmbeddedServer]) -> None:
        self._embedded = embedded
        self._started: dict[str, Databases] = {}
        self._stack = ExitStack()

    def databases(self, name: str) -> Databases:
        """The databases of an engine. Raises `EngineUnavailable`."""
        if name not in self._started:
            self._started[name] = self._start(name)
        return self._started[name]

    def stop(self) -> None:
        """Stop whatever was started here."""
        while _kept:
            _kept.popitem()[1].close()
        self._stack.close()

    def _start(self, name: str) -> Databases:
        given = given_postgres() if name == "postgres" else None
        if name == "postgres" and given is None:
            return Embedded(self._embedded())
        if name == POOLER:
            embedded = self._embedded()
            pooler = PgBouncer(embedded.superuser_dsn())
            self._stack.callback(pooler.stop)
            return Pooled(embedded, pooler)
        engine = given or server(name)
        engine.start()
        self._stack.callback(engine.stop)
        if isinstance(engine, CommunityServer):
            return Single(engine)
        native = Native(engine, extension=given is None)
        self._stack.callback(native.close)
        return native


_numbers = itertools.count(1)


def _execute(dsn: str, *statements: Any) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def _logins() -> list[Any]:
    """The roles that `datastore up` makes: the control plane's is no superuser."""
    # Two test processes may prepare one server that somebody else runs, at the same time.
    make: LiteralString = (
        "DO $$ BEGIN PERFORM pg_advisory_xact_lock(20240101);"
        " IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{name}') THEN CREATE ROLE {role}; END IF;"
        " ALTER ROLE {role} LOGIN {right} PASSWORD '{password}'; END $$"
    )
    return [
        make.format(name=role, role=role, right=right, password=PASSWORD)
        for role, right in ((ADMIN_ROLE, "CREATEROLE"), (SERVICE_ROLE, "NOCREATEROLE"))
    ]


def connect_quickly(*dsns: str) -> None:
    """Let these logins, the first one a superuser's, connect in half the time: what a password's hash costs a guesser,
    it costs thousands of connections of the tests."""
    with psycopg.connect(dsns[0], autocommit=True) as connection:
        if connection.info.server_version < 16_00_00:
            return
        connection.execute("SET scram_iterations = 1")
        for dsn in dsns:
            of = conninfo_to_dict(dsn)
            change = SQL("ALTER ROLE {} PASSWORD {}").format(Identifier(str(of["user"])), Literal(of.get("password")))
            connection.execute(change)


def _place(superuser_dsn: str) -> Place:
    def of(role: str) -> str:
        return make_conninfo(superuser_dsn, user=role, password=PASSWORD)

    return Place(of(SERVICE_ROLE), of(ADMIN_ROLE), superuser_dsn)


class _Kept:
    """A superuser's session that stays open: what it is asked takes less time than a new one takes to learn the
    catalog. Whoever ends it, by a restart too, costs the next one a new one."""

    def __init__(self, dsn: str, **options: Any) -> None:
        self._dsn = dsn
        self._options = options
        self._connection: psycopg.Connection[Any] | None = None
        self.lock = threading.Lock()

    def connection(self) -> psycopg.Connection[Any]:
        if self._connection is not None:
            try:
                self._connection.execute("")
            except psycopg.OperationalError:
                self.close()
        if self._connection is None:
            self._connection = psycopg.connect(self._dsn, autocommit=True, **self._options)
        return self._connection

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


_kept: dict[str, _Kept] = {}


@contextmanager
def superuser(dsn: str) -> Iterator[psycopg.Connection[Any]]:
    """A superuser's session outside of any transaction: the one that is kept, or one more where that is in use."""
    kept = _kept.get(dsn)
    if kept is not None and kept.lock.acquire(blocking=False):
        try:
            yield kept.connection()
        finally:
            kept.lock.release()
    else:
        with psycopg.connect(dsn, autocommit=True) as connection:
            yield connection


def _restored(place: Place, blank: Blank, *, shared: bool) -> bool:
    """Whether a database is as it was made, after its rows are gone."""
    try:
        with superuser(place.superuser_dsn) as session:
            return blank.restored(session, shared=shared)
    except psycopg.Error:
        return False


class Cloned(ABC):
    """Those of a server with many: a template is cloned, and a clone is used again for as long as it can be emptied."""

    single_session: ClassVar[bool] = False

    def __init__(self) -> None:
        self._spare: list[tuple[str, Place]] = []
        self._blank: Blank | None = None

    @contextmanager
    def migrated(self) -> Iterator[Place]:
        name, place = self._spare.pop() if self._spare else self._clone()
        if self._blank is None:
            with superuser(place.superuser_dsn) as session:
                self._blank = Blank(session)
        elif not _restored(place, self._blank, shared=False):
            self._drop(name)
            name, place = self._clone()
        yield place
        self._spare.append((name, place))

    @contextmanager
    def bare(self, *, extension: bool = True) -> Iterator[Place]:
        name = self._create("template0")
        try:
            if extension:
                self._extend(name)
            yield self._place(name)
        finally:
            self._drop(name)

    def _clone(self) -> tuple[str, Place]:
        """A new one's name and its place, which takes the embedded server some looking up."""
        name = self._create(self._template())
        place = self._place(name)
        _kept[place.superuser_dsn] = _Kept(place.superuser_dsn)
        return name, place

    def _create(self, template: str) -> str:
        name = f"{self._prefix}_{next(_numbers)}"
        create = SQL("CREATE DATABASE {} TEMPLATE {} OWNER {}")
        _execute(self._superuser_dsn(), create.format(Identifier(name), Identifier(template), Identifier(ADMIN_ROLE)))
        return name

    def _drop(self, name: str) -> None:
        if kept := _kept.pop(self._superuser_dsn(name), None):
            kept.close()
        _execute(self._superuser_dsn(), SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))

    @property
    def _prefix(self) -> str:
        return f"test_{os.getpid()}"

    @abstractmethod
    def _template(self) -> str:
        """The database that is cloned."""

    def _extend(self, name: str) -> None:  # noqa: B027 - plain PostgreSQL has none
        """Put the engine's extension into a database."""

    @abstractmethod
    def _superuser_dsn(self, name: str | None = None) -> str:
        """A superuser's DSN, to that database or to the server's own first one."""

    def _place(self, name: str) -> Place:
        return _place(self._superuser_dsn(name))


class Embedded(Cloned):
    """Those of the embedded server, whose own database is the template."""

    def __init__(self, running: EmbeddedServer) -> None:
        super().__init__()
        self._server = running

    def _template(self) -> str:
        return DATABASE

    def _superuser_dsn(self, name: str | None = None) -> str:
        return self._server.superuser_dsn(name or "postgres")

    def _place(self, name: str) -> Place:
        dsn = self._server.dsn
        return Place(dsn(SERVICE_ROLE, name), dsn(ADMIN_ROLE, name), self._superuser_dsn(name))


class Pooled(Embedded):
    """Those of the embedded server, which applications reach through a pooler and the control plane does directly."""

    def __init__(self, running: EmbeddedServer, pooler: PgBouncer) -> None:
        super().__init__(running)
        self._pooler = pooler

    @contextmanager
    def migrated(self) -> Iterator[Place]:
        with super().migrated() as place:
            # The test before has had the same database, and its connections were ended when it was emptied.
            self._pooler.forget(place.dsn)
            yield replace(place, dsn=self._pooler.dsn(place.dsn))


class Native(Cloned):
    """Those of a server that is not the embedded one, which is given the roles that that one makes by itself."""

    def __init__(self, engine: EngineServer, *, extension: bool = True) -> None:
        super().__init__()
        self._extension = extension
        self._engine = engine
        self._made = ""
        _execute(engine.superuser_dsn(), *_logins())
        if extension:
            # A server of ours.
            place = _place(engine.superuser_dsn())
            connect_quickly(place.superuser_dsn, place.admin_dsn, place.dsn)

    def close(self) -> None:
        """Remove what was made, should the server outlive us."""
        for name in (*(name for name, _ in self._spare), *([self._made] if self._made else [])):
            self._drop(name)

    def _template(self) -> str:
        if self._made:
            return self._made
        self._made = self._create("template0")
        place = self._place(self._made)
        self._extend(self._made)
        migration.migrate(place.admin_dsn)
        # Nobody may be connected to a template that is cloned, TimescaleDB's own scheduler included.
        _execute(
            self._superuser_dsn(),
            f"GRANT {APP} TO {SERVICE_ROLE}",
            SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(Identifier(self._made)),
            f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{self._made}'",
        )
        return self._made

    def _extend(self, name: str) -> None:
        if self._extension:
            _execute(self._superuser_dsn(name), "CREATE EXTENSION timescaledb")

    def _superuser_dsn(self, name: str | None = None) -> str:
        return self._engine.superuser_dsn(name)


# A new engine gives its memory back; WebAssembly has 4 GB at the most.
_TOO_MUCH: Final = 1_800_000_000


class Single:
    """The one database of an engine with one session: emptied for each test, or made anew from a snapshot."""

    single_session: ClassVar[bool] = True

    def __init__(self, engine: CommunityServer) -> None:
        self._engine = engine
        self._place = _place(engine.superuser_dsn())
        self._blank: Blank | None = None
        self._bared = False
        # Prepared statements do not outlive the turn of another client.
        _kept[self._place.superuser_dsn] = _Kept(self._place.superuser_dsn, prepare_threshold=None)

    @contextmanager
    def migrated(self) -> Iterator[Place]:
        if self._blank is None:
            if self._bared:
                self._engine.reset(to_base=True)
            self._make()
        elif self._bared or self._engine.memory() > _TOO_MUCH or not _restored(self._place, self._blank, shared=True):
            self._engine.reset()
        self._bared = False
        yield self._place

    @contextmanager
    def bare(self, *, extension: bool = True) -> Iterator[Place]:
        """Goes back to an empty database, so the next migrated one costs a reset too."""
        self._bared = True
        self._engine.reset(to_base=True)
        self._own(extension=extension)
        yield self._place

    def _make(self) -> None:
        self._own(extension=True)
        migration.migrate(self._place.admin_dsn)
        _execute(self._place.superuser_dsn, f"GRANT {APP} TO {SERVICE_ROLE}")
        self._engine.snapshot()
        with superuser(self._place.superuser_dsn) as session:
            self._blank = Blank(session)

    def _own(self, *, extension: bool) -> None:
        database = Identifier(str(conninfo_to_dict(self._place.superuser_dsn)["dbname"]))
        _execute(
            self._place.superuser_dsn,
            *_logins(),
            SQL("ALTER DATABASE {} OWNER TO {}").format(database, Identifier(ADMIN_ROLE)),
            *(["CREATE EXTENSION timescaledb"] if extension else []),
        )
