"""The service as a process: it says where it listens, ends well, and what it has taken on outlives it."""

import json
import signal
import socket
import subprocess
import sys
import time
from urllib.parse import urlsplit

import httpx
import pytest

from datastore.service import tokens
from datastore.service.tokens import MadeToken, Scope
from tests.conftest import Store
from tests.service.conftest import BAR
from tests.service.processes import DEADLINE_S, served, started

# Nothing of it is another on another engine.
pytestmark = [pytest.mark.many_sessions, pytest.mark.engines("postgres")]


@pytest.fixture
def admin_token() -> MadeToken:
    return tokens.create("admin", Scope.admin)


def asking(url: str, token: MadeToken) -> httpx.Client:
    return httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token.token}"}, timeout=DEADLINE_S)


def connects(host: str, port: int) -> bool:
    """Whether somebody listens there."""
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


def test_an_accepted_job_survives_a_kill_of_the_service(store: Store, admin_token: MadeToken) -> None:
    body, key = {"rollups": ["bars_5m"]}, {"Idempotency-Key": "once"}
    with served(store.admin_dsn, admin_token.line) as (url, process):
        with asking(url, admin_token) as client:
            taken = client.post("/aggregates/refresh", json=body, headers=key)
            assert taken.status_code == 202
        assert process.end(signal.SIGKILL) == -signal.SIGKILL
    with served(store.admin_dsn, admin_token.line) as (url, process), asking(url, admin_token) as client:
        assert client.get(taken.headers["Location"]).json() == taken.json()
        assert client.post("/aggregates/refresh", json=body, headers=key).json() == taken.json()
        with started("worker", "--until-idle", "--no-upkeep", DATABASE_URL=store.admin_dsn) as worker:
            assert worker.wait() == 0, worker.text
        assert client.get(taken.headers["Location"]).json()["state"] == "succeeded"
        assert client.post("/aggregates/refresh", json=body, headers=key).json()["state"] == "succeeded"
        assert process.end() == 0


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_request_in_progress_is_answered_before_the_service_stops(
    store: Store, admin_token: MadeToken, how: signal.Signals
) -> None:
    """The body's second half is sent after the signal: the service waits for it."""
    half, rest = (json.dumps({**BAR, "symbol": symbol}).encode() + b"\n" for symbol in ("FIRST", "SECOND"))
    with served(store.admin_dsn, admin_token.line) as (url, process):
        address = urlsplit(url)
        with socket.create_connection((str(address.hostname), address.port or 0), timeout=DEADLINE_S) as connection:
            head = (
                f"POST /tenants/{store.tenant_a}/rows/bars HTTP/1.1\r\nHost: x\r\n"
                f"Authorization: Bearer {admin_token.token}\r\nContent-Type: application/x-ndjson\r\n"
                f"Expect: 100-continue\r\nContent-Length: {len(half) + len(rest)}\r\n\r\n"
            )
            connection.sendall(head.encode())
            # Sent once the service reads the body: the request is under way.
            assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")
            connection.sendall(half)
            process.process.send_signal(how)
            deadline = time.monotonic() + DEADLINE_S
            while connects(str(address.hostname), address.port or 0):
                assert time.monotonic() < deadline, "it still takes connections"
            connection.sendall(rest)
            with connection.makefile("rb") as coming:
                answer = coming.read()
            assert answer.startswith(b"HTTP/1.1 200 ")
            assert b'"written":2' in answer
        assert process.wait() == 0, process.text


def test_the_line_of_a_created_token_admits_the_token(store: Store) -> None:
    given = ("--name", "desk", "--scope", "read", "--expires", "90d", "--tenant", store.tenant_a, "--json")
    with started("token", "create", *given) as process:
        assert process.wait() == 0
    made = json.loads(process.text)
    assert made["token"] not in made["line"]
    with served(store.admin_dsn, made["line"]) as (url, _), asking(url, MadeToken(**made)) as client:
        assert client.get(f"/tenants/{store.tenant_a}").status_code == 200
        assert client.get(f"/tenants/{store.tenant_b}").status_code == 404


def test_serve_without_a_token_prints_an_error_and_exits(store: Store) -> None:
    with started("serve", "--port", "0", DATABASE_URL=store.admin_dsn) as process:
        assert process.line().startswith(
            "error: no token is set, so nobody could use the service: create one with datastore token create"
        )
        assert process.wait() == 1


def test_a_port_in_use_prints_one_error_line(store: Store, admin_token: MadeToken) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        given = {"DATABASE_URL": store.admin_dsn, "DATASTORE_TOKENS": admin_token.line}
        with started("serve", "--port", port, **given) as process:
            assert process.line().startswith("error: ")
            assert process.wait() == 1


def test_the_app_can_be_imported_by_name_and_reads_the_environment(store: Store, admin_token: MadeToken) -> None:
    """`uvicorn datastore.service.app:app`, up to its first request."""
    text = (
        "import asyncio, httpx, datastore.service.app as module\n"
        "async def ask():\n"
        "    async with httpx.AsyncClient(transport=httpx.ASGITransport(module.app), base_url='http://x') as client:\n"
        "        print((await client.get('/ready')).status_code)\n"
        "assert 'app' not in vars(module)\n"
        "asyncio.run(ask())\n"
    )
    done = subprocess.run(
        (sys.executable, "-c", text),
        env={"DATABASE_URL": store.admin_dsn, "DATASTORE_TOKENS": admin_token.line},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("200\n", 0), done.stderr


def test_each_request_is_logged_as_one_json_line_without_its_query(store: Store, admin_token: MadeToken) -> None:
    with served(store.admin_dsn, admin_token.line) as (url, process):
        with asking(url, admin_token) as client:
            answer = client.get("/jobs", params={"job_type": "s3cret"})
        line = process.line()
        assert process.end() == 0
    found = json.loads(line[line.index("{") :])
    assert (found["path"], found["status"], found["token"]) == ("/jobs", 200, "admin")
    assert found["request"] == answer.headers["X-Request-ID"]
    assert "s3cret" not in process.text
