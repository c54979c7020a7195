"""The console as its users meet it: a real server, browsers that have signed in, and every route that it has."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest

from datastore import console
from datastore.config import Settings
from datastore.console import live, signing
from datastore.console.pages import PAGES
from datastore.service.tokens import MadeToken
from mds_client import MDS
from tests.conftest import Store
from tests.service.conftest import Keys, failed_logins, keys, serving, settings, tenant_keys
from tests.service.processes import NO_TLS

__all__ = ["failed_logins", "keys", "settings", "tenant_keys"]


@dataclass
class Desk:
    """A running console over a store."""

    url: str
    keys: Keys
    store: Store

    @contextmanager
    def stranger(self, **headers: str) -> Iterator[httpx.Client]:
        """A browser that has not signed in, and follows no redirect by itself."""
        with httpx.Client(base_url=self.url, verify=NO_TLS, headers=headers, timeout=60) as client:
            yield client

    @contextmanager
    def browser(self, token: MadeToken) -> Iterator[httpx.Client]:
        """A browser that has signed in."""
        with self.stranger() as client:
            answer = client.post("/console/sign-in", data={"token": token.token})
            assert answer.status_code == 303, answer.text
            yield client

    def client(self, tenant: str) -> MDS:
        """The client library as a tenant."""
        return MDS({"dsn": self.store.dsn, "tenant_id": tenant})


def csrf(client: httpx.Client) -> str:
    """The secret that this browser's forms send along."""
    found = re.search(r'name="csrf" value="([^"]+)"', client.get("/console/jobs").text)
    assert found
    return found[1]


@dataclass(frozen=True)
class Route:
    """A route of the console: its method, and its path with names in braces."""

    method: str
    path: str

    def filled(self, **values: object) -> str:
        """The path with these values, and 1 for what is not given."""
        return re.sub(r"\{(\w+)(:\w+)?\}", lambda found: str({"format_": "csv", **values}.get(found[1], 1)), self.path)


def routes() -> list[Route]:
    """Every route of the console that a session is needed for."""
    parts = [("", signing.router), *((entry.path.removesuffix("/"), router) for router, entry in PAGES)]
    return [
        Route(method, f"/console{prefix}{route.path}")
        for prefix, router in parts
        for route in flat(router.routes)
        for method in route.methods - {"HEAD"}
        if not route.path.startswith("/sign-in")
    ]


def flat(found: list[Any]) -> Iterator[Any]:
    """Routes, also those of routers that a router includes."""
    for route in found:
        if hasattr(route, "methods"):
            yield route
        else:
            yield from flat(route.original_router.routes)


ROUTES = routes()
READS = [route for route in ROUTES if route.method == "GET"]
CHANGES = [route for route in ROUTES if route.method != "GET"]
HARMLESS = [Route("POST", "/console/sign-out"), Route("POST", "/console/sql")]
"""Of these, those that anybody may do: what a query sees and cannot do is tested in `test_sql`."""


@pytest.fixture(autouse=True)
def short_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream of events ends with its first one, so that whoever asks every route has an answer of each."""
    monkeypatch.setattr(live, "LIVES_S", 0.0)


@pytest.fixture
def desk(store: Store, keys: Keys, settings: Settings, tenant_keys: dict[str, MadeToken]) -> Iterator[Desk]:
    """The console."""
    with serving(replace(settings, tokens=f"{settings.tokens}\n{keys.lines}"), console.create_app) as url:
        yield Desk(url, keys, store)


@pytest.fixture
def admin(desk: Desk) -> Iterator[httpx.Client]:
    """A browser of an administrator."""
    with desk.browser(desk.keys.admin) as client:
        yield client
