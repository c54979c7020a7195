"""What every test stands on: a real server for the session, a database of its own, and both clients as one.

One server is started per test process; its database is migrated once and then cloned, which takes a twentieth of a
second, so that every test has an empty store to itself.
"""

import asyncio
import itertools
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from datastore import control
from datastore.embedded import EmbeddedServer
from mds_client import AMDS, MDS

T = TypeVar("T")

# A throw-away server: what makes a crash survivable only costs time here.
SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_wal_size": "2GB",
    "shared_buffers": "256MB",
}


@dataclass(frozen=True)
class Store:
    """A migrated database with two tenants: `dsn` for an application, `admin_dsn` for the control plane."""

    dsn: str
    admin_dsn: str
    superuser_dsn: str
    tenant_a: str
    tenant_b: str

    def rows(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Ask as a superuser, whom no view hides anything from."""
        with psycopg.connect(self.superuser_dsn) as connection:
            return connection.execute(cast("Any", statement), parameters).fetchall()

    def execute(self, statement: str, *parameters: object) -> None:
        """Do something as a superuser."""
        with psycopg.connect(self.superuser_dsn, autocommit=True) as connection:
            connection.execute(cast("Any", statement), parameters)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A PostgreSQL server whose database `mds` is at head and serves as the template of every test's."""
    home: Path = tmp_path_factory.mktemp("server")
    running = EmbeddedServer(home, settings=SETTINGS)
    running.up(control.migrate)
    yield running
    running.down(mode="immediate")
    running.discard()


_numbers = itertools.count(1)


@pytest.fixture
def empty_database(server: EmbeddedServer) -> Iterator[str]:
    """The name of a database that is not migrated, owned by the control plane's role."""
    yield from _database(server, SQL("CREATE DATABASE {} OWNER mds_admin"))


@pytest.fixture
def store(server: EmbeddedServer) -> Iterator[Store]:
    """A migrated database of the test's own, with the tenants `a` and `b`."""
    for name in _database(server, SQL("CREATE DATABASE {} TEMPLATE mds OWNER mds_admin")):
        admin = server.dsn("mds_admin", name)
        first, second = (control.create_tenant(admin, tenant) for tenant in ("a", "b"))
        yield Store(
            dsn=server.dsn("mds_service", name),
            admin_dsn=admin,
            superuser_dsn=server.superuser_dsn(name),
            tenant_a=str(first.id),
            tenant_b=str(second.id),
        )


def _database(server: EmbeddedServer, create: SQL) -> Iterator[str]:
    name = f"test_{next(_numbers)}"
    with psycopg.connect(server.superuser_dsn(), autocommit=True) as connection:
        connection.execute(create.format(Identifier(name)))
        yield name
        connection.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))


class Client(Protocol):
    """Either client, called without await."""

    def __getattr__(self, name: str) -> Any: ...


class Waiting:
    """An AMDS whose coroutines run in an event loop of their own, so that a test written once serves both clients."""

    def __init__(self, client: AMDS, loop: asyncio.AbstractEventLoop) -> None:
        self._client = client
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._client, name)
        if not callable(attribute):
            return attribute

        def call(*arguments: Any, **options: Any) -> Any:
            answer = attribute(*arguments, **options)
            if isinstance(answer, AMDS):
                return Waiting(answer, self._loop)
            return self.wait(answer) if isinstance(answer, Awaitable) else answer

        return call

    def wait(self, awaitable: Awaitable[T]) -> T:
        async def awaited() -> T:
            return await awaitable

        return asyncio.run_coroutine_threadsafe(awaited(), self._loop).result()

    def close(self) -> None:
        self.wait(self._client.aclose())


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop that runs in a thread for as long as the test does."""
    running = asyncio.new_event_loop()
    thread = threading.Thread(target=running.run_forever)
    thread.start()
    yield running
    running.call_soon_threadsafe(running.stop)
    thread.join()
    running.close()


@pytest.fixture(params=[MDS, AMDS])
def connect(request: pytest.FixtureRequest, loop: asyncio.AbstractEventLoop) -> Iterator[Callable[..., Client]]:
    """Makes a client of either sort from settings; closes it when the test ends."""
    made: list[Any] = []

    def make(**settings: Any) -> Client:
        if request.param is MDS:
            made.append(MDS(settings))
        else:

            async def build() -> AMDS:
                return AMDS(settings)

            client = asyncio.run_coroutine_threadsafe(build(), loop).result()
            made.append(Waiting(client, loop))
        return cast("Client", made[-1])

    yield make
    for client in made:
        client.close()


@pytest.fixture
def client(connect: Callable[..., Client], store: Store) -> Client:
    """A client of either sort for tenant `a`."""
    return connect(dsn=store.dsn, tenant_id=store.tenant_a)
