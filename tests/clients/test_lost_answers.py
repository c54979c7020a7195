"""A network that loses answers: cut between what the server does and what the client hears of it."""

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from mds_client import CommitUnknown, RetryableError
from tests.clients.faults import PATIENCE, bars, locked, statement, until, waiting
from tests.conftest import Client, Store

# Cuts.
pytestmark = [pytest.mark.every_engine, pytest.mark.many_sessions, pytest.mark.both_clients]

SYNC = b"S\0\0\0\4"
"""How the protocol says that a pipeline ends."""


class Proxy:
    """A TCP proxy to a server that, while `cut_after` is set, cuts the connection as soon as a message of the client
    with that text in it has been forwarded, has been acted on, and before the answer gets back. While it
    `withholds_ends`, the client does not hear that the server has hung up."""

    def __init__(self, store: Store) -> None:
        self._store = store
        target = conninfo_to_dict(store.dsn)
        self._target = (str(target["host"]), int(str(target["port"])))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.dsn = make_conninfo(store.dsn, port=str(self._listener.getsockname()[1]))
        self.cut_after: bytes | None = None
        self.cuts = 0
        self.withholds_ends = False
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = [self._listener]
        self._start(self._accept)

    def _start(self, function: Callable[..., None], *arguments: object) -> None:
        self._threads.append(threading.Thread(target=function, args=arguments))
        self._threads[-1].start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._target)
            self._sockets += [client, server]
            silent = threading.Event()
            self._start(self._up, client, server, silent)
            self._start(self._down, client, server, silent)

    def _up(self, client: socket.socket, server: socket.socket, silent: threading.Event) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                if self.cut_after and self.cut_after in data:
                    self.cut_after = None
                    self.cuts += 1
                    silent.set()
                    server.sendall(data)
                    server.shutdown(socket.SHUT_WR)  # the server works off what it has and leaves
                    until(lambda: not self._store.rows(_CLIENTS))
                    _hang_up(client)
                    return
                server.sendall(data)
        _hang_up(server)

    def _down(self, client: socket.socket, server: socket.socket, silent: threading.Event) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                if not silent.is_set():
                    client.sendall(data)
        if not silent.is_set() and not self.withholds_ends:
            _hang_up(client)

    def close(self) -> None:
        _hang_up(self._listener)
        # A pool may be connecting in place of what was cut. When nobody accepts any more, all sockets are known.
        self._join(self._threads[0])
        for one in self._sockets:
            _hang_up(one)
        for thread in self._threads:
            self._join(thread)
        for one in self._sockets:
            one.close()

    def _join(self, thread: threading.Thread) -> None:
        thread.join(PATIENCE)
        assert not thread.is_alive()


# What the proxy waits for is that the server's process has worked everything off and left.
cut_from_its_server = pytest.mark.directly("a pooler keeps the server's process when a client is cut off")

_CLIENTS = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND usename = 'mds_service'"


def _hang_up(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def proxy(store: Store) -> Iterator[Proxy]:
    made = Proxy(store)
    yield made
    made.close()


@cut_from_its_server
@pytest.mark.parametrize("mode", ["executemany", "values", "copy"])
def test_an_upsert_whose_commit_was_not_acknowledged_is_repeated_correctly(
    connect: Callable[..., Client], store: Store, proxy: Proxy, mode: str
) -> None:
    client = connect(dsn=proxy.dsn, tenant_id=store.tenant_a, pool_min=0, pool_max=1, write_mode=mode)
    client.upsert_bars(bars(1))
    proxy.cut_after = SYNC if mode == "values" else b"COMMIT"
    assert client.upsert_bars(bars(50, close=3.0)) == 50
    assert proxy.cuts == 1
    assert store.rows("SELECT count(*), min(close_price), max(close_price) FROM store.bars") == [(50, 3.0, 3.0)]


@cut_from_its_server
def test_a_rename_whose_commit_was_not_acknowledged_is_recognised_as_done(
    connect: Callable[..., Client], store: Store, proxy: Proxy
) -> None:
    client = connect(dsn=proxy.dsn, tenant_id=store.tenant_a, pool_min=0, pool_max=1)
    client.upsert_bars(bars(1))
    proxy.cut_after = b"rename_series"
    assert [one.to_symbol for one in client.rename(vendor="v", symbol="S0", to_symbol="S1").series] == ["S1"]
    assert (proxy.cuts, client.symbols("bars")) == (1, ["S1"])


@cut_from_its_server
@pytest.mark.parametrize("in_group", [True, False])
def test_a_call_that_is_not_idempotent_is_not_repeated_after_an_unacknowledged_commit(
    connect: Callable[..., Client], store: Store, proxy: Proxy, in_group: bool
) -> None:
    store.execute("CREATE TABLE public.counted (n int); GRANT INSERT ON public.counted TO mds_app")
    client = connect(dsn=proxy.dsn, tenant_id=store.tenant_a, pool_min=0, pool_max=1)
    count = statement(b"INSERT INTO public.counted VALUES (1)", name="count", idempotent=False, commit=in_group)
    client.run(count)
    # What is one group altogether is committed where its pipeline ends.
    proxy.cut_after = SYNC if in_group else b"COMMIT"
    with pytest.raises(CommitUnknown, match=r"^count: ") as caught:
        client.run(count)
    assert isinstance(caught.value.__cause__, psycopg.OperationalError)
    assert not isinstance(caught.value, RetryableError)
    assert store.rows("SELECT count(*) FROM public.counted") == [(2,)]
    client.run(count)
    assert store.rows("SELECT count(*) FROM public.counted") == [(3,)]


@cut_from_its_server
def test_a_call_that_is_not_idempotent_is_repeated_if_it_failed_before_the_commit(
    connect: Callable[..., Client], store: Store, proxy: Proxy
) -> None:
    store.execute("CREATE TABLE public.counted (n int); GRANT INSERT ON public.counted TO mds_app")
    client = connect(dsn=proxy.dsn, tenant_id=store.tenant_a, pool_min=0, pool_max=1)
    count = statement(b"INSERT INTO public.counted VALUES (1)", idempotent=False)
    proxy.cut_after = b"INSERT INTO"
    assert client.run(count) == []
    assert proxy.cuts == 1
    assert store.rows("SELECT count(*) FROM public.counted") == [(1,)]


@cut_from_its_server
def test_a_lost_connection_is_not_confused_with_the_error_the_caller_handles(
    connect: Callable[..., Client], store: Store, proxy: Proxy
) -> None:
    client = connect(dsn=proxy.dsn, tenant_id=store.tenant_a, pool_min=0, pool_max=1, max_attempts=1)
    client.upsert_bars(bars(1))
    try:
        store.rows("SELECT 1 / 0")
    except psycopg.errors.DivisionByZero:
        proxy.cut_after = SYNC
        with pytest.raises(RetryableError, match="server closed the connection"):
            client.upsert_bars(bars(1))
    assert proxy.cuts == 1


# PgBouncer has a message of its own behind the server's last one, and then hangs up, which may come later.
given_up_by_a_pooler = pytest.mark.engines("pgbouncer")


@given_up_by_a_pooler
@pytest.mark.parametrize("mode", ["executemany", "values", "copy"])
def test_a_connection_dropped_but_not_closed_by_a_pooler_is_replaced(
    connect: Callable[..., Client], store: Store, proxy: Proxy, mode: str
) -> None:
    client = connect(dsn=proxy.dsn, tenant_id=store.tenant_a, pool_min=0, pool_max=1, write_mode=mode)
    client.upsert_bars(bars(1))
    proxy.withholds_ends = True
    with ThreadPoolExecutor(1) as aside, locked(store):
        call = aside.submit(client.upsert_bars, bars(1, close=3.0))
        until(lambda: waiting(store))
        store.execute("SELECT pg_terminate_backend(%s, 5000)", waiting(store)[0])
        # The next attempt waits, too: that there is one does not hang on what this one's network does.
        until(lambda: waiting(store))
    assert call.result(PATIENCE) == 1
    assert store.rows("SELECT close_price FROM store.bars") == [(3.0,)]


@given_up_by_a_pooler
def test_a_call_that_is_not_idempotent_is_not_repeated_if_a_pooler_drops_it(
    connect: Callable[..., Client], store: Store, proxy: Proxy
) -> None:
    client = connect(dsn=proxy.dsn, tenant_id=store.tenant_a, pool_min=0, pool_max=1)
    proxy.withholds_ends = True
    end = statement(b"SELECT pg_terminate_backend(pg_backend_pid())", name="end", idempotent=False, commit=True)
    with pytest.raises(CommitUnknown, match=r"^end: terminating connection due to administrator command") as caught:
        client.run(end)
    assert isinstance(caught.value.__cause__, psycopg.errors.AdminShutdown)
    assert client.health().tenant_id == store.tenant_a
