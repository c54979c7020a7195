"""What happens when the server, the network or another session gets in the way: with real faults on a real server."""

import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, cast

import psycopg
import pytest
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from datastore import migration, tenants
from datastore.embedded import EmbeddedServer
from mds_client import (
    AMDS,
    MDS,
    MDSOperationalError,
    RetryableError,
    ServerUnreachable,
    TimeoutExceeded,
)
from mds_client.protocol.operations import Execute, Group, Operation, Session, Talk
from tests.clients.faults import PATIENCE, bars, locked, statement, until, waiting
from tests.conftest import SETTINGS, Client, Store

# Kills, cuts, locks and timeouts.
pytestmark = [pytest.mark.every_engine, pytest.mark.many_sessions, pytest.mark.both_clients]

BATCH = 6000


def backend(client: Client) -> int:
    return int(client.run(statement(b"SELECT pg_backend_pid()"))[0][0])


@pytest.fixture
def aside() -> Iterator[ThreadPoolExecutor]:
    """Where calls wait that the test wants to see waiting."""
    with ThreadPoolExecutor(16) as threads:
        yield threads


# A server that may be killed ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A server of this module's own, which survives a crash of itself."""
    settings = {**SETTINGS, "fsync": "on", "full_page_writes": "on", "shared_buffers": "64MB"}
    running = EmbeddedServer(tmp_path_factory.mktemp("mortal"), port=0, settings=settings)
    running.up(migration.migrate)
    for name in ("a", "b"):
        tenants.create_tenant(running.dsn("mds_admin"), name)
    yield running
    running.discard()


@pytest.fixture
def mortal_store(mortal: EmbeddedServer) -> Store:
    first, second = tenants.list_tenants(mortal.dsn("mds_admin"))
    store = Store(
        dsn=mortal.dsn("mds_service"),
        admin_dsn=mortal.dsn("mds_admin"),
        superuser_dsn=mortal.superuser_dsn("mds"),
        tenant_a=str(first.id),
        tenant_b=str(second.id),
    )
    store.execute("TRUNCATE store.bars, store.series")
    return store


def kill(server: EmbeddedServer) -> None:
    """As the kernel does when memory runs out: the postmaster first, so that nobody says good-bye, then the rest."""
    pid = server.status().pid
    assert pid is not None
    with psycopg.connect(server.superuser_dsn("mds")) as connection:
        children = [row[0] for row in connection.execute("SELECT pid FROM pg_stat_activity")]
    for victim in (pid, *children):
        with suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
    until(lambda: not server.status().running)


def restart(server: EmbeddedServer, store: Store) -> None:
    """Start it again on the same data, and on the same port, which the clients know."""
    port = conninfo_to_dict(store.dsn)["port"]
    again = EmbeddedServer(server.home, port=int(str(port)), settings=SETTINGS)
    again.start()


@pytest.mark.parametrize("mode", ["executemany", "values", "copy"])
def test_a_batch_during_which_the_server_dies_is_rolled_back_and_can_be_repeated(
    connect: Callable[..., Client],
    mortal: EmbeddedServer,
    mortal_store: Store,
    aside: ThreadPoolExecutor,
    mode: str,
) -> None:
    store, count = mortal_store, 200 if mode == "executemany" else BATCH
    client = connect(dsn=store.dsn, tenant_id=store.tenant_a, write_mode=mode, max_attempts=1, pool_max=1)
    with locked(store):
        call: Future[int] = aside.submit(client.upsert_bars, bars(count))
        until(lambda: waiting(store))
        kill(mortal)
    with pytest.raises(RetryableError) as caught:
        call.result(PATIENCE)
    assert isinstance(caught.value.__cause__, psycopg.OperationalError)
    restart(mortal, store)
    assert store.rows("SELECT count(*) FROM store.bars") == [(0,)]
    assert client.upsert_bars(bars(count)) == count
    assert store.rows("SELECT count(*), count(DISTINCT ts), sum(close_price) FROM store.bars") == [
        (count, count, float(count))
    ]


def test_a_call_is_retried_until_a_crashed_server_is_back(
    connect: Callable[..., Client], mortal: EmbeddedServer, mortal_store: Store, aside: ThreadPoolExecutor
) -> None:
    store = mortal_store
    client = connect(dsn=store.dsn, tenant_id=store.tenant_a, connect_timeout=20, max_attempts=20, retry_base_ms=500)
    with locked(store):
        call: Future[int] = aside.submit(client.upsert_bars, bars(BATCH))
        until(lambda: waiting(store))
        mortal.down(mode="immediate")
    restart(mortal, store)
    assert call.result(PATIENCE) == BATCH
    assert store.rows("SELECT count(*) FROM store.bars") == [(BATCH,)]


def test_a_pool_of_several_connections_survives_a_restart_between_two_calls(
    connect: Callable[..., Client], mortal: EmbeddedServer, mortal_store: Store, aside: ThreadPoolExecutor
) -> None:
    store = mortal_store
    client = connect(dsn=store.dsn, tenant_id=store.tenant_a, pool_min=4, pool_max=4, max_attempts=2)
    together = threading.Barrier(4)

    def write(number: int) -> int:
        together.wait(PATIENCE)
        written: int = client.upsert_bars(bars(10, number))
        return written

    assert list(aside.map(write, range(4))) == [10] * 4
    mortal.down()
    restart(mortal, store)
    # Each finds a broken connection; two attempts are enough for all of them.
    assert list(aside.map(write, range(4))) == [10] * 4
    assert store.rows("SELECT count(*) FROM store.bars") == [(10,)]


def test_a_server_that_stays_down_raises_within_the_connect_timeout(
    connect: Callable[..., Client], mortal: EmbeddedServer, mortal_store: Store
) -> None:
    store = mortal_store
    client = connect(dsn=store.dsn, tenant_id=store.tenant_a, connect_timeout=2, max_attempts=2)
    client.upsert_bars(bars(1))
    mortal.down()
    try:
        began = time.monotonic()
        with pytest.raises(ServerUnreachable, match="no connection to the server") as caught:
            client.upsert_bars(bars(1))
        assert time.monotonic() - began < 2 * 2 + 5
        assert isinstance(caught.value.__cause__, psycopg.OperationalError)
    finally:
        restart(mortal, store)
    assert client.upsert_bars(bars(2)) == 2


# Sessions that end ----------------------------------------------------------------------------------------------------


def test_a_call_replaces_a_terminated_connection(client: Client, store: Store) -> None:
    client.upsert_bars(bars(1))
    store.execute("SELECT pg_terminate_backend(%s, 5000)", backend(client))
    assert client.upsert_bars(bars(2)) == 2
    assert store.rows("SELECT count(*) FROM store.bars") == [(2,)]


@pytest.mark.parametrize("mode", ["executemany", "values", "copy"])
def test_a_batch_whose_connection_is_terminated_is_retried(
    connect: Callable[..., Client], store: Store, aside: ThreadPoolExecutor, mode: str
) -> None:
    client = connect(dsn=store.dsn, tenant_id=store.tenant_a, write_mode=mode)
    with locked(store):
        call: Future[int] = aside.submit(client.upsert_bars, bars(100))
        until(lambda: waiting(store))
        store.execute("SELECT pg_terminate_backend(%s, 5000)", waiting(store)[0])
    assert call.result(PATIENCE) == 100
    assert store.rows("SELECT count(*) FROM store.bars") == [(100,)]


def test_attempts_are_bounded(connect: Callable[..., Client], store: Store) -> None:
    client = connect(dsn=store.dsn, tenant_id=store.tenant_a, max_attempts=3, retry_base_ms=1)
    tried: list[int] = []

    def talk(_: Session) -> Talk[None]:
        ((row,),) = yield Group((Execute(b"SELECT pg_backend_pid()"),))
        tried.append(row[0])
        yield Group((Execute(b"SELECT pg_terminate_backend(pg_backend_pid())"),))

    with pytest.raises(RetryableError) as caught:
        client.run(Operation("end oneself", talk))
    assert len(tried) == len(set(tried)) == 3
    assert caught.value.lost_connection
    assert isinstance(caught.value.__cause__, psycopg.OperationalError)
    (note,) = caught.value.__notes__
    assert re.fullmatch(r"tried 3 times in \d+\.\d s", note)


def test_a_permanent_error_is_not_retried(connect: Callable[..., Client], store: Store) -> None:
    client = connect(dsn=store.dsn, tenant_id=store.tenant_a)
    tried: list[int] = []

    def talk(_: Session) -> Talk[None]:
        tried.append(1)
        yield Group((Execute(b"SELECT 1 / 0"),))

    with pytest.raises(MDSOperationalError, match="division by zero") as caught:
        client.run(Operation("divide", talk))
    assert (len(tried), caught.value.sqlstate) == (1, "22012")
    assert isinstance(caught.value.__cause__, psycopg.errors.DivisionByZero)


@pytest.mark.parametrize("rows", [1, 20])
def test_a_rejected_call_leaves_the_connection_and_its_prepared_statements_usable(
    connect: Callable[..., Client], store: Store, rows: int
) -> None:
    client = connect(dsn=store.dsn, tenant_id=store.tenant_a, pool_max=1, prepare_threshold=2)
    store.execute("ALTER TABLE store.bars ADD CONSTRAINT no_thirteen CHECK (close_price <> 13)")
    # Whichever call it is that has its statements prepared, its pipeline may end before they are.
    for good in range(6):
        for _ in range(good):
            assert client.upsert_bars(bars(rows, close=float(good))) == rows
        with pytest.raises(MDSOperationalError, match="no_thirteen"):
            client.upsert_bars(bars(rows, close=13.0))
        assert client.upsert_bars(bars(rows, close=good + 0.5)) == rows
    assert store.rows("SELECT count(*), min(close_price), max(close_price) FROM store.bars") == [(rows, 5.5, 5.5)]


# Others in the way ----------------------------------------------------------------------------------------------------


def test_a_deadlock_is_resolved_by_trying_again(
    connect: Callable[..., Client], store: Store, aside: ThreadPoolExecutor
) -> None:
    # So that it is the client, connected from now on, that finds the deadlock, and soon.
    store.execute(f"ALTER DATABASE {conninfo_to_dict(store.dsn)['dbname']} SET deadlock_timeout = '20ms'")
    client = connect(dsn=store.dsn, tenant_id=store.tenant_a, retry_base_ms=1)
    client.upsert_bars(bars(2, symbols=2))
    first, second = (row[0] for row in store.rows("SELECT series_id FROM store.series ORDER BY 1"))
    attempts: list[int] = []
    crossing: list[Future[Any]] = []
    with psycopg.connect(store.superuser_dsn) as other:
        other.execute("SET deadlock_timeout = '1h'")
        other.execute("SELECT FROM store.series WHERE series_id = %s FOR UPDATE", (second,))

        def cross() -> None:
            other.execute("SELECT FROM store.series WHERE series_id = %s FOR UPDATE", (first,))
            other.rollback()

        def talk(_: Session) -> Talk[None]:
            attempts.append(1)
            lock = b"SELECT 1 FROM mds.series WHERE series_id = %s FOR UPDATE"
            yield Group((Execute(lock, (first,)),))
            if len(attempts) == 1:
                crossing.append(aside.submit(cross))
                until(
                    lambda: store.rows("SELECT FROM pg_stat_activity WHERE pid = %s AND wait_event_type = 'Lock'", pid)
                )
            yield Group((Execute(lock, (second,)),))

        pid = other.info.backend_pid
        client.run(Operation("cross", talk))
        crossing[0].result(PATIENCE)
    # The next attempt may be there before the other one has woken up, and meet it again.
    assert len(attempts) > 1


def test_a_statement_timeout_ends_a_call_that_waits_for_a_lock(connect: Callable[..., Client], store: Store) -> None:
    client = connect(dsn=store.dsn, tenant_id=store.tenant_a, statement_timeout_ms=200)
    with locked(store):
        began = time.monotonic()
        with pytest.raises(TimeoutExceeded, match="statement timeout") as caught:
            client.upsert_bars(bars(1))
        assert 0.2 <= time.monotonic() - began < 5
    assert (caught.value.sqlstate, type(caught.value.__cause__)) == ("57014", psycopg.errors.QueryCanceled)
    assert client.upsert_bars(bars(1)) == 1


@pytest.mark.directly("a pooler in transaction mode drops the DSN's options")
def test_a_lock_timeout_is_retried(connect: Callable[..., Client], store: Store, aside: ThreadPoolExecutor) -> None:
    dsn = make_conninfo(store.dsn, options="-c lock_timeout=100")
    client = connect(dsn=dsn, tenant_id=store.tenant_a, max_attempts=100, retry_base_ms=1, retry_max_ms=1)
    with locked(store):
        call: Future[int] = aside.submit(client.upsert_bars, bars(3))
        until(lambda: waiting(store))
        until(lambda: not waiting(store))
    assert call.result(PATIENCE) == 3


def test_client_settings_take_effect_on_the_server(connect: Callable[..., Client], store: Store) -> None:
    client = connect(dsn=store.dsn, tenant_id=store.tenant_a, app_name="a name", statement_timeout_ms=4321)
    asked = statement(
        b"SELECT current_setting('application_name'), current_setting('statement_timeout'), current_setting('TimeZone')"
    )
    assert client.run(asked) == [("a name", "4321ms", "UTC")]


def test_a_statement_timeout_of_zero_disables_the_timeout(connect: Callable[..., Client], store: Store) -> None:
    client = connect(dsn=store.dsn, tenant_id=store.tenant_a, statement_timeout_ms=0)
    assert client.run(statement(b"SHOW statement_timeout")) == [("0",)]


def test_a_pool_without_a_free_connection_raises_a_timeout(
    connect: Callable[..., Client], store: Store, aside: ThreadPoolExecutor
) -> None:
    client = connect(dsn=store.dsn, tenant_id=store.tenant_a, pool_max=1, connect_timeout=0.3)
    client.health()
    with locked(store):
        first: Future[int] = aside.submit(client.upsert_bars, bars(1))
        until(lambda: waiting(store))
        with pytest.raises(TimeoutExceeded, match="no connection was free in time"):
            client.health()
    assert first.result(PATIENCE) == 1


def test_a_closed_client_says_so(connect: Callable[..., Client], store: Store) -> None:
    client = connect(dsn=store.dsn, tenant_id=store.tenant_a)
    client.health()
    (client.close if isinstance(client, MDS) else client.aclose)()
    with pytest.raises(MDSOperationalError, match="the client is closed"):
        client.health()


# No server ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


SECRET = "hunter2-pass"


def test_a_closed_port_is_an_error_at_once(connect: Callable[..., Client]) -> None:
    began = time.monotonic()
    with pytest.raises(ServerUnreachable, match="refused") as caught:
        connect(dsn=f"postgresql://u:{SECRET}@127.0.0.1:{closed_port()}/db").health()
    assert time.monotonic() - began < 3
    assert isinstance(caught.value.__cause__, psycopg.OperationalError)
    assert SECRET not in str(caught.value)


def test_a_server_that_never_answers_is_an_error_within_the_connect_timeout(
    connect: Callable[..., Client], silent_port: int
) -> None:
    began = time.monotonic()
    with pytest.raises(ServerUnreachable, match="timeout") as caught:
        connect(dsn=f"postgresql://u:{SECRET}@127.0.0.1:{silent_port}/db", connect_timeout=2).health()
    assert 1 < time.monotonic() - began < 5
    assert SECRET not in str(caught.value)


@pytest.mark.directly("the pooler refuses by itself, in words of its own")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"password": SECRET}, "password authentication failed"),
        ({"dbname": "no_such_database"}, 'database "no_such_database" does not exist'),
    ],
)
def test_a_refused_login_raises_an_error_without_the_password(
    connect: Callable[..., Client], store: Store, change: dict[str, str], message: str
) -> None:
    dsn = make_conninfo(store.dsn, **cast("Any", change))
    with pytest.raises(MDSOperationalError, match=message) as caught:
        connect(dsn=dsn).health()
    password = str(conninfo_to_dict(dsn)["password"])
    assert password not in f"{caught.value} {caught.value!r} {caught.value.__cause__}"


def test_no_client_shows_its_password(connect: Callable[..., Client], store: Store) -> None:
    client = connect(dsn=store.dsn, tenant_id=store.tenant_a)
    password = str(conninfo_to_dict(store.dsn)["password"])
    made = client if isinstance(client, MDS) else cast("Any", client)._client
    assert isinstance(made, MDS | AMDS)
    assert password not in f"{made!r} {made} {made.config!r} {made.config}"


# A series cache that is out of date -----------------------------------------------------------------------------------


def stored(store: Store) -> list[tuple[Any, ...]]:
    return store.rows(
        "SELECT t.id::text, s.symbol, count(b.ts), sum(b.close_price) FROM store.series AS s"
        " JOIN store.tenants AS t ON t.no = s.series_id >> 40 LEFT JOIN store.bars AS b USING (series_id)"
        " GROUP BY 1, 2 ORDER BY 1, 2"
    )


@pytest.mark.parametrize("mode", ["executemany", "values", "copy"])
def test_cached_series_that_were_deleted_are_created_again(
    connect: Callable[..., Client], store: Store, mode: str
) -> None:
    client = connect(dsn=store.dsn, tenant_id=store.tenant_a, write_mode=mode)
    client.upsert_bars(bars(10, symbols=2))
    store.execute("TRUNCATE store.bars, store.series")
    assert client.upsert_bars(bars(10, 2.0, symbols=2)) == 10
    assert stored(store) == [(store.tenant_a, "S0", 5, 10.0), (store.tenant_a, "S1", 5, 10.0)]
    assert store.rows(
        "SELECT count(*) FROM store.bars WHERE series_id NOT IN (SELECT series_id FROM store.series)"
    ) == [(0,)]


@pytest.mark.parametrize("mode", ["executemany", "values", "copy"])
def test_cached_series_that_got_new_ids_are_looked_up_again(
    connect: Callable[..., Client], store: Store, mode: str
) -> None:
    client = connect(dsn=store.dsn, tenant_id=store.tenant_a, write_mode=mode)
    client.upsert_bars(bars(2, symbols=2))
    store.execute("TRUNCATE store.bars; UPDATE store.series SET series_id = series_id + 100, last_ts = NULL")
    assert client.upsert_bars(bars(10, 2.0, symbols=2)) == 10
    assert stored(store) == [(store.tenant_a, "S0", 5, 10.0), (store.tenant_a, "S1", 5, 10.0)]


@pytest.mark.parametrize("mode", ["executemany", "values", "copy"])
def test_cached_series_ids_that_now_belong_to_another_tenant_are_detected(
    connect: Callable[..., Client], store: Store, mode: str
) -> None:
    # As after the database was made again from elsewhere, with the tenants' numbers the other way round.
    client = connect(dsn=store.dsn, tenant_id=store.tenant_a, write_mode=mode)
    client.upsert_bars(bars(4, 1.0, symbols=2))
    other = client.for_tenant(store.tenant_b)
    other.upsert_bars(bars(4, 5.0, symbols=2))
    store.execute("UPDATE store.tenants SET id = gen_random_uuid() WHERE id = %s", store.tenant_b)
    store.execute("UPDATE store.tenants SET id = %s WHERE id = %s", store.tenant_b, store.tenant_a)
    store.execute("UPDATE store.tenants SET id = %s WHERE id <> %s", store.tenant_a, store.tenant_b)
    client.upsert_bars(bars(10, 2.0, symbols=2))
    assert stored(store) == sorted(
        [
            (store.tenant_a, "S0", 5, 10.0),
            (store.tenant_a, "S1", 5, 10.0),
            (store.tenant_b, "S0", 2, 2.0),
            (store.tenant_b, "S1", 2, 2.0),
        ]
    )


# Many at once ---------------------------------------------------------------------------------------------------------


def test_concurrent_writers_create_a_new_series_once(
    connect: Callable[..., Client], store: Store, aside: ThreadPoolExecutor
) -> None:
    clients = [connect(dsn=store.dsn, tenant_id=store.tenant_a, max_attempts=1) for _ in range(4)]
    together = threading.Barrier(len(clients))

    def write(client: Client) -> int:
        client.health()
        together.wait(PATIENCE)
        written: int = client.upsert_bars(bars(200, symbols=200))
        return written

    assert list(aside.map(write, clients)) == [200] * 4
    assert store.rows("SELECT count(*) FROM store.series UNION ALL SELECT count(*) FROM store.bars") == [(200,), (200,)]


def test_a_waiting_writer_creates_a_series_whose_creator_rolled_back(
    client: Client, store: Store, aside: ThreadPoolExecutor
) -> None:
    with psycopg.connect(store.dsn) as other:
        other.execute("SELECT mds.use_tenant(%s)", (store.tenant_a,))
        other.execute("INSERT INTO mds.series (kind, vendor, symbol, timeframe) VALUES ('bars', 'v', 'S0', '1m')")
        call: Future[int] = aside.submit(client.upsert_bars, bars(3))
        until(lambda: waiting(store))
        other.rollback()
    assert call.result(PATIENCE) == 3
    assert stored(store) == [(store.tenant_a, "S0", 3, 3.0)]


@pytest.mark.parametrize("mode", ["executemany", "values", "copy"])
def test_concurrent_writers_of_the_same_keys_do_not_deadlock_and_keep_last_values_right(
    connect: Callable[..., Client], store: Store, aside: ThreadPoolExecutor, mode: str
) -> None:
    # One attempt: a deadlock would be an error and not be hidden by trying again.
    client = connect(dsn=store.dsn, tenant_id=store.tenant_a, write_mode=mode, pool_max=8, max_attempts=1)
    together = threading.Barrier(8)

    def write(number: int) -> None:
        together.wait(PATIENCE)
        for round_ in range(5):
            batch = bars(120, close=number * 100.0 + round_, symbols=12)
            # Each comes in an order of its own, and ends at a time of its own.
            batch = batch[: 120 - 12 * (number % 3)]
            client.upsert_bars(batch[number * 7 :] + batch[: number * 7])

    for done in [aside.submit(write, number) for number in range(8)]:
        done.result(PATIENCE)
    assert store.rows("SELECT count(*) FROM store.bars") == [(120,)]
    wrong = store.rows(
        "SELECT s.symbol, s.last_ts, s.last_price, b.ts, b.close_price FROM store.series AS s CROSS JOIN LATERAL"
        " (SELECT ts, close_price FROM store.bars AS b WHERE b.series_id = s.series_id ORDER BY ts DESC LIMIT 1) AS b"
        " WHERE (s.last_ts, s.last_price, s.last_price_ts) IS DISTINCT FROM (b.ts, b.close_price, b.ts)"
    )
    assert wrong == []


@pytest.fixture
def interruptible() -> Iterator[None]:
    """SIGINT raises KeyboardInterrupt, also where whoever runs the tests in the background has had it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupted_call_writes_nothing_and_leaves_the_client_usable(store: Store) -> None:
    with MDS(dsn=store.dsn, tenant_id=store.tenant_a, pool_max=1) as client, locked(store):

        def interrupt() -> None:
            until(lambda: waiting(store))
            os.kill(os.getpid(), signal.SIGINT)

        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            client.upsert_bars(bars(BATCH))
        thread.join()
        assert store.rows("SELECT count(*) FROM store.bars") == [(0,)]
        assert client.health().tenant_id == store.tenant_a
        with client._home.connection() as connection:
            assert connection.info.transaction_status == pq.TransactionStatus.IDLE


async def _cancelled(store: Store) -> int:
    import asyncio

    async with AMDS(dsn=store.dsn, tenant_id=store.tenant_a, pool_max=1) as client:
        call = asyncio.create_task(client.upsert_bars(bars(BATCH)))
        await asyncio.to_thread(until, lambda: waiting(store))
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        return 1 if (await client.health()).tenant_id == store.tenant_a else 0


def test_a_cancelled_task_writes_nothing_and_leaves_the_client_in_order(store: Store) -> None:
    import asyncio

    with locked(store):
        assert asyncio.run(_cancelled(store)) == 1
    assert store.rows("SELECT count(*) FROM store.bars") == [(0,)]
