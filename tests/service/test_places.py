"""One tenant's slow clients, and everybody else: how many may be under way, who waits, and who is broken off.

Clients are sockets that send and take as slowly as they like.
"""

import asyncio
import errno
import json
import logging
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit
from uuid import UUID, uuid4

import httpx
import pytest

from datastore.config import Settings, SettingsError
from datastore.service import lines as passing
from datastore.service import state
from datastore.service.app import create_app
from datastore.service.places import Places
from datastore.service.problems import Refusal
from datastore.service.server import listen
from datastore.service.state import STREAMS_OF_A_TENANT, UPLOADS_OF_A_TENANT
from datastore.service.tokens import MadeToken
from mds_client import MDS
from tests.clients.faults import until
from tests.conftest import Store
from tests.service.conftest import BAR, Api, Keys, problem
from tests.service.processes import DEADLINE_S
from tests.service.test_endpoints import WINDOW, lines, minutes, upload

# Nothing of it is another on another engine.
pytestmark = pytest.mark.engines("postgres")

A, B, C = (uuid4() for _ in range(3))


class Holder:
    """Somebody who takes a place and keeps it until told otherwise."""

    def __init__(self, places: Places, tenant: UUID) -> None:
        self.has = asyncio.Event()
        self.leave = asyncio.Event()
        self.task = asyncio.create_task(self._hold(places, tenant))

    async def _hold(self, places: Places, tenant: UUID) -> None:
        async with places.taken(tenant):
            self.has.set()
            await self.leave.wait()

    async def end(self) -> None:
        self.leave.set()
        await self.task


async def everybody_has_come() -> None:
    """Let every task run until it waits."""
    for _ in range(10):
        await asyncio.sleep(0)


def test_many_waiting_requests_of_one_tenant_do_not_block_another() -> None:
    async def run() -> None:
        places = Places("uploads", in_all=3, each=2, wait_s=DEADLINE_S)
        of_a = [Holder(places, A) for _ in range(5)]
        of_b = [Holder(places, B) for _ in range(2)]
        await everybody_has_come()
        assert [each.has.is_set() for each in of_a] == [True, True, False, False, False]
        assert [each.has.is_set() for each in of_b] == [True, False]
        # One of A's ends: the next of A has waited longest of those that may.
        await of_a[0].end()
        await everybody_has_come()
        assert [each.has.is_set() for each in of_a[2:]] == [True, False, False]
        assert not of_b[1].has.is_set()
        # B's first ends: A has all it may have, so that it is B's turn again.
        await of_b[0].end()
        await of_b[1].has.wait()
        for each in (*of_a[1:], of_b[1]):
            await each.has.wait()
            await each.end()

    asyncio.run(run())


def test_slots_are_granted_in_order_of_waiting() -> None:
    async def run() -> None:
        places = Places("uploads", in_all=1, each=1, wait_s=DEADLINE_S)
        had: list[UUID] = []

        async def have(tenant: UUID) -> None:
            async with places.taken(tenant):
                had.append(tenant)

        first = Holder(places, A)
        await first.has.wait()
        rest = [asyncio.create_task(have(tenant)) for tenant in (B, A, C, B)]
        await everybody_has_come()
        await first.end()
        await asyncio.gather(*rest)
        assert had == [B, A, C, B]

    asyncio.run(run())


def test_a_wait_that_times_out_names_the_limit_and_leaves_no_state() -> None:
    async def run() -> None:
        places = Places("streams", in_all=2, each=1, wait_s=0.01)
        of_a, of_b = (Holder(places, tenant) for tenant in (A, B))
        await everybody_has_come()
        for tenant, said in (
            (A, "the tenant already has its maximum of 1 streams"),
            (C, "the service already has its maximum of 2"),
        ):
            with pytest.raises(Refusal, match=said) as caught:
                async with places.taken(tenant):
                    pytest.fail("there was no place")
            assert (caught.value.sort, caught.value.headers) == ("unavailable", {"Retry-After": "5"})
        await of_a.end()
        await of_b.end()
        assert not places._waiting
        assert not places._held

    asyncio.run(run())


def test_a_cancelled_waiter_gives_its_turn_to_others() -> None:
    async def run() -> None:
        places = Places("uploads", in_all=1, each=1, wait_s=DEADLINE_S)
        first, second, third = (Holder(places, tenant) for tenant in (A, B, C))
        await everybody_has_come()
        second.task.cancel()
        await first.end()
        await third.has.wait()
        await third.end()
        assert not places._waiting
        assert not places._held

    asyncio.run(run())


def test_a_waiter_cancelled_just_after_it_got_a_slot_returns_it() -> None:
    async def run() -> None:
        places = Places("uploads", in_all=1, each=1, wait_s=DEADLINE_S)
        go = asyncio.Event()

        async def leave_and_cancel_the_next() -> None:
            async with places.taken(A):
                await go.wait()
            # It was called by that, and has not run since.
            assert places._held[B]
            second.task.cancel()

        first = asyncio.create_task(leave_and_cancel_the_next())
        await everybody_has_come()
        second = Holder(places, B)
        await everybody_has_come()
        go.set()
        await first
        with suppress(asyncio.CancelledError):
            await second.task
        assert not second.has.is_set()
        assert not places._held

    asyncio.run(run())


def test_a_service_with_a_pool_of_one_connection_does_not_start(
    keys: Keys, monkeypatch: pytest.MonkeyPatch, store: Store
) -> None:
    monkeypatch.setenv("MDS_POOL_MAX", "1")
    with pytest.raises(SettingsError, match="MDS_POOL_MAX must be at least 2"):
        create_app(Settings(database_url=store.admin_dsn, tokens=keys.lines))


# Real clients -----------------------------------------------------------------------------------------------------

MANY = 40_000
"""Bars that are more than what the systems keep on the way to a client that takes nothing."""

YEAR = {**WINDOW, "end": "2025-01-01"}


class Connection:
    """A client that sends the head of its request, and after that does what it is told to."""

    def __init__(self, url: str, token: MadeToken, method: str, path: str, *, room: int = 4096, **headers: str) -> None:
        address = urlsplit(url)
        self._socket = socket.socket()
        self._socket.settimeout(DEADLINE_S)
        # Little is on its way to who has little room for it.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        self._socket.connect((address.hostname, address.port))
        given = {"Host": "x", "Authorization": f"Bearer {token.token}", **headers}
        head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in given.items())
        self.send(f"{method} {path} HTTP/1.1\r\n{head}\r\n")

    def send(self, text: str) -> None:
        self._socket.sendall(text.encode())

    def head(self) -> str:
        """The head of the next answer, when it comes."""
        said = b""
        while not said.endswith(b"\r\n\r\n"):
            part = self._socket.recv(1)
            assert part, f"it has ended: {said!r}"
            said += part
        return said.decode()

    def status(self) -> int:
        """The status of the next answer, when it comes."""
        return int(self.head().split()[1])

    def rest(self, pause: float = 0.0) -> bytes:
        """All that comes until the end; with a pause after about each MiB."""
        taken = bytearray()
        while part := self._socket.recv(1 << 16):
            if (len(taken) + len(part)) >> 20 > len(taken) >> 20:
                time.sleep(pause)
            taken += part
        return bytes(taken)

    def close(self) -> None:
        self._socket.close()


@dataclass
class Crowd:
    """Clients of both tenants, of a service over a store with many bars of each."""

    api: Api
    keys: dict[str, MadeToken]
    there: ExitStack

    def tenant(self, whose: str) -> str:
        return {"a": self.api.store.tenant_a, "b": self.api.store.tenant_b}[whose]

    def client(self, whose: str) -> httpx.Client:
        return self.there.enter_context(self.api.client(self.keys[whose]))

    def sending(self, whose: str, length: int = 1_000_000) -> Connection:
        """An upload whose body is still to come."""
        given = {"Content_Type": passing.NDJSON, "Content_Length": str(length), "Expect": "100-continue"}
        return self._connected(whose, "POST", "rows/bars", given)

    def taking(self, whose: str, room: int = 4096) -> Connection:
        """A stream of bars whose client has not yet taken anything."""
        given = {"Accept": passing.NDJSON, "Connection": "close"}
        return self._connected(whose, "GET", f"bars?{urlencode(YEAR)}", given, room)

    def _connected(self, whose: str, method: str, path: str, headers: dict[str, str], room: int = 4096) -> Connection:
        made = Connection(
            self.api.url, self.keys[whose], method, f"/tenants/{self.tenant(whose)}/{path}", room=room, **headers
        )  # fmt: skip
        return self.there.enter_context(closing(made))


@pytest.fixture
def crowd(api: Api, tenant_keys: dict[str, MadeToken]) -> Iterator[Crowd]:
    with ExitStack() as there:
        yield Crowd(api, tenant_keys, there)


@pytest.fixture
def bars(store: Store) -> None:
    """Many bars of each tenant."""
    for tenant in (store.tenant_a, store.tenant_b):
        with MDS(dsn=store.dsn, tenant_id=tenant) as client:
            client.upsert("bars", minutes(MANY))


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who finds no place is refused soon."""
    monkeypatch.setattr(state, "WAIT_S", 0.2)


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that is silent is broken off soon."""
    monkeypatch.setattr(passing, "SILENT_S", 0.5)


@pytest.mark.many_sessions
def test_slow_uploads_of_one_tenant_do_not_block_another(impatient: None, crowd: Crowd) -> None:
    # Each is told to go on once its body is read: it is under way.
    slow = [crowd.sending("a") for _ in range(UPLOADS_OF_A_TENANT)]
    assert {each.status() for each in slow} == {100}
    refused = upload(crowd.client("a"), crowd.tenant("a"), lines(BAR))
    assert "the tenant already has its maximum of" in problem(refused, 503)["detail"]
    assert int(refused.headers["Retry-After"]) > 0
    assert upload(crowd.client("b"), crowd.tenant("b"), lines(BAR)).json()["written"] == 1


@pytest.mark.many_sessions
def test_an_upload_waits_for_a_free_slot(crowd: Crowd) -> None:
    slow = [crowd.sending("a", len(lines(BAR))) for _ in range(UPLOADS_OF_A_TENANT)]
    assert {each.status() for each in slow} == {100}
    waiting = crowd.sending("a", len(lines(BAR)))
    slow[0].send(lines(BAR))
    assert slow[0].status() == 200
    assert waiting.status() == 100
    waiting.send(lines(BAR))
    assert waiting.status() == 200


@pytest.mark.many_sessions
def test_slow_streams_do_not_block_other_reads(bars: None, impatient: None, crowd: Crowd) -> None:
    """Of one tenant, and of as many as there are."""
    slow = [crowd.taking("a") for _ in range(12)]
    assert sorted(each.status() for each in slow) == [200] * STREAMS_OF_A_TENANT + [503] * (12 - STREAMS_OF_A_TENANT)
    others = crowd.client("b")
    path = f"/tenants/{crowd.tenant('b')}/bars"
    assert len(others.get(path, params=WINDOW).json()["items"]) == 570
    streamed = others.get(path, params=YEAR, headers={"Accept": passing.NDJSON})
    assert len(streamed.text.splitlines()) == MANY
    for each in [crowd.taking("b") for _ in range(STREAMS_OF_A_TENANT)]:
        assert each.status() == 200
    for whose in ("a", "b"):
        found = crowd.client(whose).get(f"/tenants/{crowd.tenant(whose)}/bars", params=WINDOW)
        assert found.status_code == 200, found.text


@pytest.mark.many_sessions
def test_a_stream_whose_client_disconnects_releases_its_slot_and_connection(bars: None, crowd: Crowd) -> None:
    for _ in range(3):
        slow = [crowd.taking("a") for _ in range(STREAMS_OF_A_TENANT)]
        assert {each.status() for each in slow} == {200}
        for each in slow:
            each.close()
    reading = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction'"
    until(lambda: not crowd.api.store.rows(reading))


@pytest.mark.many_sessions
def test_an_upload_whose_client_stops_sending_is_aborted(hurried: None, crowd: Crowd) -> None:
    silent = [crowd.sending("a") for _ in range(UPLOADS_OF_A_TENANT)]
    for each in silent:
        assert each.status() == 100
        each.send(lines(BAR)[:20])
    for each in silent:
        head = each.head()
        assert head.startswith("HTTP/1.1 408 ")
        assert json.loads(each.rest())["type"] == "urn:mds:problem:too-slow"
    assert upload(crowd.client("a"), crowd.tenant("a"), lines(BAR)).json()["written"] == 1


@pytest.mark.many_sessions
def test_a_slow_but_steady_upload_is_not_aborted(hurried: None, crowd: Crowd) -> None:
    body = lines(BAR)
    slow = crowd.sending("a", len(body))
    assert slow.status() == 100
    began = time.monotonic()
    for at in range(0, len(body), 10):
        # Time itself is what this is about: all of it takes longer than a client may be silent.
        time.sleep(0.05)
        slow.send(body[at : at + 10])
    assert time.monotonic() - began > passing.SILENT_S
    assert slow.status() == 200


@pytest.mark.many_sessions
def test_a_stream_whose_client_stops_reading_is_aborted(
    bars: None, hurried: None, crowd: Crowd, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "datastore.service")
    silent = [crowd.taking("a") for _ in range(STREAMS_OF_A_TENANT)]
    assert {each.status() for each in silent} == {200}
    # It has the place of one of those.
    assert crowd.taking("a").status() == 200
    until(lambda: caplog.text.count("the client has read nothing for 0.5 s") >= len(silent))
    for each in silent:
        # A whole answer ends with an empty chunk.
        assert not each.rest().endswith(b"0\r\n\r\n")


@pytest.mark.many_sessions
def test_a_stream_that_is_read_slowly_is_complete(bars: None, crowd: Crowd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passing, "SILENT_S", 0.6)
    slow = crowd.taking("a", room=1 << 18)
    assert slow.status() == 200
    began = time.monotonic()
    assert slow.rest(pause=0.15).endswith(b"0\r\n\r\n")
    assert time.monotonic() - began > passing.SILENT_S


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="the system has no such option")
def test_the_operating_system_closes_a_connection_whose_client_stops_reading(hurried: None) -> None:
    """What is unsent would keep it open for ever, for all that the service has ended."""
    with listen("127.0.0.1", 0) as listening, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(listening.getsockname())
        taken, _ = listening.accept()
        taken.settimeout(DEADLINE_S)
        with taken, pytest.raises(TimeoutError) as ended:
            taken.sendall(b"x" * (64 << 20))
        # Not the test's own patience, which has no number.
        assert ended.value.errno == errno.ETIMEDOUT
