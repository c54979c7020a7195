"""A network to the database that falls silent during a request: the request is answered in time."""

import threading
from collections.abc import Iterator

import httpx
import psycopg
import pytest

from datastore import connections, tenants
from datastore.config import Settings
from datastore.service import middleware
from tests.clients.faults import until
from tests.conftest import Store
from tests.relay import Relay
from tests.service.conftest import Api, problem

pytestmark = [pytest.mark.many_sessions, pytest.mark.engines("postgres")]


@pytest.fixture
def relay(store: Store) -> Iterator[Relay]:
    made = Relay(store.admin_dsn)
    yield made
    made.close()


@pytest.fixture
def settings(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(middleware, "STATEMENT_S", 1.0)
    monkeypatch.setattr(connections, "GRACE_S", 1.0)
    monkeypatch.setattr(connections, "CONNECT_S", 2)
    return Settings(database_url=relay.dsn)


class Request(threading.Thread):
    """A request of another thread, and its answer."""

    def __init__(self, client: httpx.Client, path: str) -> None:
        super().__init__()
        self._client, self._path = client, path
        self.start()

    def run(self) -> None:
        self.answer = self._client.get(self._path)


@pytest.mark.parametrize("silent", [True, False], ids=["silent network", "lock"])
def test_a_request_whose_statement_gets_no_response_returns_503_in_time(
    api: Api, store: Store, relay: Relay, silent: bool
) -> None:
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with api.client(api.keys.admin) as client, psycopg.connect(store.superuser_dsn) as other:
        other.execute("LOCK TABLE store.tenants")
        request = Request(client, "/tenants")
        until(lambda: store.rows(waiting) == [(1,)])
        if silent:
            relay.strand()
        request.join(20)
        assert not request.is_alive()
        found = problem(request.answer, 503)
        assert int(request.answer.headers["Retry-After"]) > 0
        assert "the database" in found["detail"]
        other.rollback()
        assert client.get("/tenants").status_code == 200


def test_a_request_that_cannot_connect_to_a_silent_database_returns_503_in_time(api: Api, relay: Relay) -> None:
    with api.client(api.keys.admin) as client:
        relay.silence()
        request = Request(client, "/tenants")
        request.join(20)
        assert not request.is_alive()
        problem(request.answer, 503)
        relay.heal()
        assert client.get("/tenants").status_code == 200


def test_the_control_plane_does_not_wait_long_for_a_connection(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    """What operators run has no limit for statements, but one for the connection."""
    monkeypatch.setattr(connections, "CONNECT_S", 2)
    relay.silence()
    with pytest.raises(psycopg.OperationalError, match="timeout"):
        tenants.list_tenants(relay.dsn)
