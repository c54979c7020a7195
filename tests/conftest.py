"""What every test stands on: real servers, a database of its own, and both clients as one.

A test that asks for a `store`, or for a `client` of one, runs on plain PostgreSQL. With the marker `every_engine` it
runs on TimescaleDB's two editions, too, and a client's test through PgBouncer, as many as this machine can have (the
header says which, and why not; with CI set a missing one is an error). Plain PostgreSQL runs every case of a test, and
the others run the first one for each kind, unless the test has the marker `every_case`. `--engine` chooses, and runs
every case of every test on the engines that it names. A test that asks for the `server` itself runs on plain
PostgreSQL. How each test gets an empty store to itself in a twentieth of a second is in `tests.engines.databases`.
"""

import asyncio
import gc
import os
import sys
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar, cast

import pytest
from psycopg.conninfo import conninfo_to_dict

from datastore import migration
from datastore.embedded import ADMIN_ROLE, SERVICE_ROLE, EmbeddedServer
from mds_client import AMDS, KINDS, MDS
from tests.engines import chromium, must_have, promtool
from tests.engines.databases import (
    ENGINES,
    POOLER,
    SETTINGS,
    Databases,
    Embedded,
    Place,
    Running,
    can_have,
    connect_quickly,
    shares_session,
    superuser,
)
from tests.relay import Relay

__all__ = ["SETTINGS", "Client", "Store", "Waiting", "before_the_server"]

T = TypeVar("T")


@dataclass(frozen=True)
class Store:
    """A migrated database with two tenants: `dsn` for an application, `admin_dsn` for the control plane."""

    dsn: str
    admin_dsn: str
    superuser_dsn: str
    tenant_a: str
    tenant_b: str
    engine: str = "postgres"

    def rows(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Ask as a superuser, whom no view hides anything from."""
        with superuser(self.superuser_dsn) as connection:
            return connection.execute(cast("Any", statement), parameters).fetchall()

    def execute(self, statement: str, *parameters: object) -> None:
        """Do something as a superuser."""
        with superuser(self.superuser_dsn) as connection:
            connection.execute(cast("Any", statement), parameters)


@pytest.fixture
def relay(store: Store) -> Iterator[Relay]:
    """A relay to the store's server; its `dsn` is that of the service's role."""
    made = Relay(store.dsn)
    yield made
    made.close()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("engines")
    group.addoption(
        "--engine",
        action="append",
        choices=ENGINES,
        help="run tests of the store on this engine only; repeatable (default: MDS_TEST_ENGINES, else all)",
    )
    group.addoption(
        "--every-client", action="store_true", help="run AMDS in every case, not only in each test's first one"
    )


@dataclass(frozen=True)
class Engines:
    """The engines of this run by name, each with its version; and why others are missing, or tools are."""

    there: dict[str, str]
    missing: dict[str, str]


_ENGINES: Final = pytest.StashKey[Engines]()

TOOLS: Final = {"promtool": promtool.can_have, "chromium": chromium.can_have}
"""Programs that some tests need, each with what says whether this machine can have it. Their markers have their names.
"""

MANY_SESSIONS: Final = (
    "many_sessions: needs several sessions at once, other databases, cancelling or timeouts: not for an engine whose"
    " clients share one session"
)


BOTH_CLIENTS: Final = (
    "both_clients: through MDS and AMDS in every case, on every engine. Without it AMDS runs the first case of each"
    " test, on plain PostgreSQL: MDS is generated from it, so that neither an engine nor data can tell them apart"
)


EVERY_ENGINE: Final = (
    "every_engine: on every engine, because hypertables, chunks, the columnstore, stored rollups, the planner or a"
    " pooler can change the outcome. Without it a test of the store runs on plain PostgreSQL"
)


EVERY_CASE: Final = (
    "every_case: every case on every engine, because an engine can change the outcome of one case and not of another."
    " Without it plain PostgreSQL runs every case, and the others the first one for each kind. Isolation always has it"
)


def _keep_bytecode() -> None:
    """Let this run, its workers and the programs that it starts keep what they compile: it takes a program three times
    as long to start without, and rewriting every assert takes each worker half a minute."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False


def pytest_configure(config: pytest.Config) -> None:
    _keep_bytecode()
    config.addinivalue_line("markers", MANY_SESSIONS)
    config.addinivalue_line("markers", EVERY_ENGINE)
    config.addinivalue_line("markers", EVERY_CASE)
    config.addinivalue_line(
        "markers", "engines(*names): only on these engines: it is about their difference, or knows none"
    )
    config.addinivalue_line("markers", "directly(reason): not through a pooler, and why")
    config.addinivalue_line("markers", "promtool: needs Prometheus' promtool")
    config.addinivalue_line("markers", "chromium: needs a browser")
    config.addinivalue_line("markers", BOTH_CLIENTS)
    given = getattr(config, "workerinput", None)
    engines = _find_engines(config) if given is None else Engines(*given["engines"])
    if engines.missing and must_have():
        raise pytest.UsageError(*(f"{name} is missing: {reason}" for name, reason in engines.missing.items()))
    config.stash[_ENGINES] = engines


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """What the run has found holds for each of its processes: they have to collect the same tests."""
    engines: Engines = node.config.stash[_ENGINES]
    node.workerinput["engines"] = (engines.there, engines.missing)


def pytest_report_header(config: pytest.Config) -> list[str]:
    engines = config.stash[_ENGINES]
    return [
        *(f"{_sort(name)} {name}: {version}" for name, version in engines.there.items()),
        *(
            f"{_sort(name)} {name}: MISSING, its tests are left out: {reason}"
            for name, reason in engines.missing.items()
        ),
    ]


def _sort(name: str) -> str:
    return "engine" if name in ENGINES else "tool"


def _find_engines(config: pytest.Config) -> Engines:
    wanted = config.getoption("--engine") or os.environ.get("MDS_TEST_ENGINES", "").replace(",", " ").split()
    if unknown := set(wanted) - set(ENGINES):
        raise pytest.UsageError(f"MDS_TEST_ENGINES: {', '.join(unknown)}; there are: {', '.join(ENGINES)}")
    found = {name: can_have(name) for name in ENGINES if not wanted or name in wanted}
    found |= {name: can_have_tool() for name, can_have_tool in TOOLS.items()}
    return Engines(
        {name: version for name, (version, _) in found.items() if version is not None},
        {name: reason for name, (version, reason) in found.items() if version is None},
    )


before_the_server = pytest.mark.engines("postgres")
"""For what a client does or refuses by itself: a server never learns of it, or gets what any other gets."""

plain_postgres = pytest.mark.engines("postgres")
"""For what an engine cannot change: plain PostgreSQL is enough."""


def on_tables(*values: object) -> Any:
    """A parameter of a test of every engine that runs on plain PostgreSQL alone: another one is enough elsewhere."""
    return pytest.param(*values, marks=plain_postgres)


_QUALITY: Final = "mds_client.models.DataQualityWarning"

odd_rows = pytest.mark.filterwarnings(f"ignore:row .*(no value beside the key|a later row has the same key):{_QUALITY}")
"""For tests that write keys alone, or one key twice, and are about something else than the warning of it."""

nothing_there = pytest.mark.filterwarnings(
    f"ignore:(no tenant is set|there is no vendor|the tenant has no|.* has no (timeframe|bars|fundamentals|options))"
    f":{_QUALITY}"
)
"""For tests that read what is not there, and are about something else than the warning of it."""

CLIENTS: Final = Path(__file__).parent / "clients"
"""The suite that passes through the pooler, too."""

ISOLATION: Final = Path(__file__).parent / "isolation"
"""The suite of attacks, each of which is made on every engine."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test of the store is one test for each engine that can carry it; none is skipped."""
    if "engine" not in metafunc.fixturenames:
        return
    chosen = list(metafunc.definition.iter_markers("engines"))
    names = [name for name in ENGINES if all(name in only.args for only in chosen)]
    everywhere = metafunc.definition.get_closest_marker("every_engine") or metafunc.config.getoption("--engine")
    if not chosen and not everywhere:
        names = [name for name in names if name == "postgres"]
    if "server" in metafunc.fixturenames:
        names = [name for name in names if name == "postgres"]
    if CLIENTS not in metafunc.definition.path.parents or metafunc.definition.get_closest_marker("directly"):
        names = [name for name in names if name != POOLER]
    if metafunc.definition.get_closest_marker("many_sessions"):
        names = [name for name in names if not shares_session(name)]
    if not names:
        raise pytest.UsageError(f"{metafunc.definition.nodeid} would never run: its markers leave no engine")
    names = [name for name in names if name in metafunc.config.stash[_ENGINES].there]
    metafunc.parametrize("engine", names, indirect=True, scope="session")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Thousands of tests are made and none of them goes away: let nothing look through them, now or later."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The same where the marker is on a parameter, and of the tests that need a tool that is missing."""
    tools = config.stash[_ENGINES].there
    kept = [
        item
        for item in items
        if not (item.get_closest_marker("many_sessions") and shares_session(_engine_of(item)))
        and not (_engine_of(item) and any(_engine_of(item) not in only.args for only in item.iter_markers("engines")))
        and not any(item.get_closest_marker(tool) and tool not in tools for tool in TOOLS)
    ]
    if not config.getoption("--every-client"):
        first = _first_cases([item for item in kept if _is_repeated(item) and _engine_of(item) == "postgres"])
        kept = [item for item in kept if item in first or not _is_repeated(item)]
    if not config.getoption("--engine"):
        first = _first_cases([item for item in kept if _is_like_another(item)])
        kept = [item for item in kept if item in first or not _is_like_another(item)]
    if len(kept) < len(items):
        chosen = set(kept)
        config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    # A process without work takes over what another has at its end. Where one server takes ten seconds to start, its
    # tests come first, so that only one process starts one.
    items[:] = sorted(kept, key=lambda item: not shares_session(_engine_of(item)))


def _first_cases(items: list[pytest.Item]) -> set[pytest.Item]:
    """The first case of each test on each engine, and for each kind if its cases name kinds and it is not AMDS."""
    first: dict[tuple[object, ...], pytest.Item] = {}
    for item in items:
        kind = "" if _is_repeated(item) else _kind_of(item)
        first.setdefault((_function_of(item), _engine_of(item), _client_of(item), kind), item)
    return set(first.values())


def _is_repeated(item: pytest.Item) -> bool:
    """Whether it is of AMDS, and the same test of MDS is enough in all cases but one."""
    return _client_of(item) is AMDS and not item.get_closest_marker("both_clients")


def _client_of(item: pytest.Item) -> object:
    call = getattr(item, "callspec", None)
    return call.params.get("connect") if call else None


def _is_like_another(item: pytest.Item) -> bool:
    """Whether it is a case on another engine than plain PostgreSQL, where one case is enough."""
    return (
        _engine_of(item) not in ("", "postgres")
        and ISOLATION not in item.path.parents
        and not item.get_closest_marker("every_case")
        and not item.get_closest_marker("both_clients")
    )


def _kind_of(item: pytest.Item) -> str:
    call = getattr(item, "callspec", None)
    values = (getattr(value, "name", value) for value in (call.params.values() if call else ()))
    return next((value for value in values if isinstance(value, str) and value in KINDS), "")


def _function_of(item: pytest.Item) -> str:
    return item.nodeid.partition("[")[0]


def _engine_of(item: pytest.Item) -> str:
    call = getattr(item, "callspec", None)
    return str(call.params.get("engine", "")) if call else ""


@pytest.fixture(scope="session")
def engine(request: pytest.FixtureRequest) -> str:
    """The name of the engine that a test runs on."""
    return str(request.param)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A PostgreSQL server whose database `mds` is at head and serves as the template of every test's."""
    home: Path = tmp_path_factory.mktemp("server")
    running = EmbeddedServer(home, settings=SETTINGS)
    running.up(migration.migrate)
    connect_quickly(running.superuser_dsn(), running.dsn(ADMIN_ROLE), running.dsn(SERVICE_ROLE))
    yield running
    running.down(mode="immediate")
    running.discard()


@pytest.fixture(scope="session")
def running(request: pytest.FixtureRequest) -> Iterator[Running]:
    """The engines' servers of this test process, started when they are first needed."""
    engines = Running(lambda: cast("EmbeddedServer", request.getfixturevalue("server")))
    yield engines
    engines.stop()


@pytest.fixture(scope="session")
def databases(running: Running, engine: str) -> Databases:
    """The databases of the engine that a test runs on."""
    return running.databases(engine)


@pytest.fixture
def empty_database(server: EmbeddedServer) -> Iterator[str]:
    """The name of a database on plain PostgreSQL that is not migrated, owned by the control plane's role."""
    with Embedded(server).bare() as place:
        yield str(conninfo_to_dict(place.superuser_dsn)["dbname"])


@pytest.fixture
def bare(databases: Databases) -> Iterator[Place]:
    """A database with the engine's extension that is not migrated, owned by the control plane's role."""
    with databases.bare() as place:
        yield place


BEHIND_A_POOLER: Final = {"MDS_PREPARE_THRESHOLD": "none", "MDS_POOL_MAX": "2"}
"""The settings of clients that take turns in one session."""


@pytest.fixture(autouse=True, scope="session")
def _state_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What commands keep about a user's work is not put beside the user's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(autouse=True)
def _as_behind_a_pooler(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where clients take turns in one session, what is prepared does not outlive a turn: no client may count on it."""
    if shares_session(_engine_of(request.node)):
        for name, value in BEHIND_A_POOLER.items():
            monkeypatch.setenv(name, value)


@pytest.fixture
def store(databases: Databases, engine: str) -> Iterator[Store]:
    """A migrated database of the test's own, with the tenants `a` and `b`."""
    with databases.migrated() as place:
        yield with_tenants(place, "postgres" if engine == POOLER else engine)


def with_tenants(place: Place, engine: str) -> Store:
    """Make the tenants `a` and `b` in a migrated database without any."""
    # As `tenants.seed` does, whose own connection takes longer than all else that a test needs to begin.
    with superuser(place.superuser_dsn) as session:
        made = session.execute("INSERT INTO store.tenants (name) VALUES ('a'), ('b') RETURNING id::text").fetchall()
    (first,), (second,) = made
    return Store(place.dsn, place.admin_dsn, place.superuser_dsn, first, second, engine)


class Client(Protocol):
    """Either client, called without await."""

    def __getattr__(self, name: str) -> Any: ...


class Waiting:
    """An AMDS, or its transaction, whose coroutines run in an event loop of their own, so that a test written once
    serves both clients: coroutines are awaited, and what is iterated over or entered asynchronously is so without."""

    def __init__(self, client: Any, loop: asyncio.AbstractEventLoop) -> None:
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
            if isinstance(answer, AsyncGenerator):
                return self._parts(answer)
            if isinstance(answer, AbstractAsyncContextManager):
                return self._entered(answer)
            return self.wait(answer) if isinstance(answer, Awaitable) else answer

        return call

    def wait(self, awaitable: Awaitable[T]) -> T:
        async def awaited() -> T:
            return await awaitable

        return asyncio.run_coroutine_threadsafe(awaited(), self._loop).result()

    def close(self) -> None:
        self.wait(self._client.aclose())

    def _parts(self, answer: AsyncGenerator[Any, None]) -> Iterator[Any]:
        try:
            while True:
                try:
                    part = self.wait(anext(answer))
                except StopAsyncIteration:
                    return
                yield part
        finally:
            self.wait(answer.aclose())

    @contextmanager
    def _entered(self, answer: AbstractAsyncContextManager[Any]) -> Iterator["Waiting"]:
        inner = self.wait(answer.__aenter__())
        try:
            yield Waiting(inner, self._loop)
        except BaseException as error:
            if not self.wait(answer.__aexit__(type(error), error, error.__traceback__)):
                raise
        else:
            self.wait(answer.__aexit__(None, None, None))


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
            made.append(MDS(**settings))
        else:

            async def build() -> AMDS:
                return AMDS(**settings)

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
