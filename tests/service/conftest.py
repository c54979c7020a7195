"""The service as its users meet it: a real server on a port of its own, and clients with tokens of every sort.

Within one process the server runs in a thread, so that tests see what goes wrong in it; what is about processes (ends,
kills, the worker) starts the command itself.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cache
from typing import Any
from uuid import UUID

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from datastore.config import Settings
from datastore.service import tokens
from datastore.service.app import create_app
from datastore.service.server import configuration
from datastore.service.tokens import MadeToken, Scope
from tests.conftest import Store
from tests.listening import stop_accepting
from tests.service.processes import NO_TLS


@dataclass
class Keys:
    """Tokens of every sort; `lines` is the configuration that lets them in."""

    read: MadeToken = field(default_factory=lambda: tokens.create("reader", Scope.read))
    operate: MadeToken = field(default_factory=lambda: tokens.create("operator", Scope.operate))
    admin: MadeToken = field(default_factory=lambda: tokens.create("admin", Scope.admin))
    more: list[MadeToken] = field(default_factory=list)

    def of_tenant(self, tenant: str, scope: Scope = Scope.admin) -> MadeToken:
        """A token for one tenant only."""
        self.more.append(tokens.create(f"tenant-{len(self.more)}", scope, tenant=UUID(tenant)))
        return self.more[-1]

    def expiring(self, after: timedelta) -> MadeToken:
        """A token for so long."""
        self.more.append(tokens.create("passing", Scope.admin, expires_in=after))
        return self.more[-1]

    @property
    def lines(self) -> str:
        return "\n".join(made.line for made in (self.read, self.operate, self.admin, *self.more))


@cache
def described() -> dict[str, Any]:
    """The OpenAPI document of the service."""
    made: dict[str, Any] = create_app(
        Settings(database_url="postgresql://127.0.0.1/none", tokens=Keys().lines)
    ).openapi()
    return made


@contextmanager
def serving(settings: Settings, make: Callable[[Settings], FastAPI] = create_app) -> Iterator[str]:
    """The URL of a server of this process, for the app that is made of the settings."""
    app = make(settings)
    # Every app has the same one, which takes longer to make than the app.
    app.openapi_schema = described()
    server = uvicorn.Server(configuration(settings, app, host="127.0.0.1", port=0))
    started = threading.Event()
    startup = server.startup

    async def starting(sockets: Any = None) -> None:
        await startup(sockets)
        started.set()

    server.startup = starting  # type: ignore[method-assign]
    shutdown = server.shutdown

    async def ending(sockets: Any = None) -> None:
        await stop_accepting(socket for one in server.servers for socket in one.sockets)
        await shutdown(sockets)

    server.shutdown = ending  # type: ignore[method-assign]
    thread = threading.Thread(target=server.run)
    thread.start()
    assert started.wait(10)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
    assert not thread.is_alive()


@dataclass
class Api:
    """A running service over a store: clients by scope, as one of them asks."""

    url: str
    keys: Keys
    store: Store

    @contextmanager
    def client(self, token: MadeToken | str | None) -> Iterator[httpx.Client]:
        """A client with a token, or without one."""
        text = token.token if isinstance(token, MadeToken) else token
        headers = {} if text is None else {"Authorization": f"Bearer {text}"}
        with httpx.Client(base_url=self.url, verify=NO_TLS, headers=headers, timeout=60) as client:
            yield client


@pytest.fixture
def keys(store: Store) -> Keys:
    """The tokens of this test's service; those that it needs beside them are made before the service is asked for."""
    return Keys()


@pytest.fixture
def failed_logins() -> int:
    """How often a minute an address may fail to authenticate."""
    return 10


@pytest.fixture
def settings(store: Store, failed_logins: int) -> Settings:
    """The settings that the test's service is made with, but for the tokens."""
    return Settings(database_url=store.admin_dsn, failed_logins=failed_logins)


@pytest.fixture
def tenant_keys(store: Store, keys: Keys) -> dict[str, MadeToken]:
    """An admin's token for each of the two tenants."""
    return {"a": keys.of_tenant(store.tenant_a), "b": keys.of_tenant(store.tenant_b)}


@pytest.fixture
def api(store: Store, keys: Keys, settings: Settings, tenant_keys: dict[str, MadeToken]) -> Iterator[Api]:
    """The service."""
    with serving(replace(settings, tokens=f"{settings.tokens}\n{keys.lines}")) as url:
        yield Api(url, keys, store)


@pytest.fixture
def admin(api: Api) -> Iterator[httpx.Client]:
    """A client that may do everything."""
    with api.client(api.keys.admin) as client:
        yield client


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    """The problem that an answer is; fails where it is another or none."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    found: dict[str, Any] = answer.json()
    assert found["status"] == status
    assert found["type"].startswith("urn:mds:problem:")
    assert found["title"]
    assert found["detail"]
    assert found["instance"] == f"urn:mds:request:{answer.headers['X-Request-ID']}"
    return found


BAR = {"vendor": "acme", "symbol": "AAPL", "timeframe": "1m", "ts": "2024-01-02T14:30:00Z", "close_price": 187.25}
