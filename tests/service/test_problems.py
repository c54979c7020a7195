"""Every error is a problem detail with its request's id, and says nothing about the inside."""

import gzip
import http.client
import json
import logging
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest

from datastore.config import Settings
from datastore.errors import UnsupportedServer
from datastore.service import problems
from datastore.service.problems import SORTS
from mds_client.errors import MDSOperationalError
from tests.clients.faults import until
from tests.conftest import Store
from tests.engines.databases import Place
from tests.service.conftest import BAR, Api, Keys, problem, serving
from tests.service.processes import DEADLINE_S, NO_TLS
from tests.service.test_endpoints import lines, upload

# Nothing of it is another on another engine.
pytestmark = [pytest.mark.many_sessions, pytest.mark.engines("postgres")]

LIMIT = 10_000
UPLOAD_LIMIT = 100_000


@pytest.fixture
def settings(store: Store) -> Settings:
    return Settings(database_url=store.admin_dsn, max_body_bytes=LIMIT, max_upload_bytes=UPLOAD_LIMIT)


def test_unknown_paths_and_methods_are_problems(admin: httpx.Client) -> None:
    problem(admin.get("/nowhere"), 404)
    problem(admin.get("/tenants/"), 404)
    answer = admin.put("/tenants", json={})
    problem(answer, 405)
    assert answer.headers["Allow"] == "GET, POST"
    assert problem(admin.get("/backfills/plan"), 405)
    problem(admin.request("TRACE", "/jobs"), 405)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 422),
        (b"{", 400),
        (b'{"name": "x"', 400),
        (b"\xff\xfe", 400),
        (b"[]", 422),
        (b"null", 422),
        (b'"text"', 422),
        (b"{}", 422),
        (b'{"name": null}', 422),
        (b'{"name": ""}', 422),
        (b'{"name": "   "}', 422),
        (b'{"name": "a\\u0000b"}', 422),
        (b'{"name": "\\ud800"}', 422),
        (b'{"name": "x", "id": "no uuid"}', 422),
        (b'{"name": "x", "more": 1}', 422),
        (json.dumps({"name": "x" * 256}).encode(), 422),
        (b"[" * 5000, 400),
    ],
)
def test_an_invalid_body_is_a_problem(admin: httpx.Client, body: bytes, status: int) -> None:
    answer = admin.post("/tenants", content=body, headers={"Content-Type": "application/json"})
    found = problem(answer, status)
    if status == 422:
        assert found["errors"][0]["where"].startswith("body")


@pytest.mark.parametrize("sort", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_a_body_with_an_unsupported_content_type_is_rejected(admin: httpx.Client, sort: str) -> None:
    answer = admin.post("/tenants", content=b'{"name": "x"}', headers={"Content-Type": sort})
    problem(answer, 415)


def test_every_value_that_is_wrong_is_named(admin: httpx.Client) -> None:
    found = problem(admin.get("/jobs", params={"limit": "none", "after": -1, "state": "x"}), 422)
    assert {error["where"] for error in found["errors"]} == {"query.limit", "query.after", "query.state"}
    problem(admin.get("/jobs/0"), 422)
    problem(admin.get(f"/jobs/{2**63}"), 422)
    problem(admin.get(f"/jobs/{'9' * 5000}"), 404)
    problem(admin.get("/jobs/one"), 404)


def test_a_misspelt_query_parameter_is_rejected(admin: httpx.Client) -> None:
    found = problem(admin.get("/jobs", params={"tenat": "x"}), 422)
    assert "there are: after, job_type, limit, state, tenant" in found["detail"]


def test_every_operation_rejects_unknown_query_parameters(admin: httpx.Client) -> None:
    paths = admin.get("/openapi.json").json()["paths"]
    for path, operations in paths.items():
        for method in operations:
            answer = admin.request(method.upper(), re.sub(r"{[^}]*}", "1", path), params={"nothing": "1"})
            assert "there is no such parameter" in problem(answer, 422)["detail"], (method, path)


def test_a_single_valued_parameter_cannot_be_repeated(api: Api, admin: httpx.Client) -> None:
    found = problem(admin.get("/jobs", params={"state": ["failed", "queued"], "limit": ["1", "1"]}), 422)
    assert [error["where"] for error in found["errors"]] == ["query.state", "query.limit"]
    upload(admin, api.store.tenant_a, lines(BAR, {**BAR, "symbol": "MSFT"}))
    gaps = {"vendor": "acme", "start": "2024-01-02", "end": "2024-01-03", "calendar": "24/7"}
    answer = admin.get(f"/tenants/{api.store.tenant_a}/gaps", params={**gaps, "symbol": ["AAPL", "MSFT"]})
    assert answer.status_code == 200, answer.text


def test_metrics_name_routes_like_the_openapi_description(admin: httpx.Client) -> None:
    problem(admin.get("/jobs/1"), 404)
    counted = admin.get("/metrics").text
    assert 'route="/jobs/{id}"' in counted
    assert "{id:id}" not in counted


@pytest.mark.parametrize(
    "sent",
    [
        b"hello\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 100_000,
    ],
)
def test_a_malformed_http_request_gets_a_problem_response(api: Api, admin: httpx.Client, sent: bytes) -> None:
    address = urlsplit(api.url)
    with socket.create_connection((str(address.hostname), address.port or 0), timeout=10) as connection:
        connection.sendall(sent)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        body = answer.read()
    assert problem(httpx.Response(answer.status, headers=answer.getheaders(), content=body), 400)["detail"] == (
        "the request is not valid HTTP/1.1"
    )
    assert answer.getheader("X-Content-Type-Options") == "nosniff"
    assert admin.get("/health").status_code == 200


# Too large --------------------------------------------------------------------------------------------------------


def test_a_content_length_over_the_limit_is_rejected_before_the_body_is_sent(api: Api) -> None:
    """Only the head is sent: the answer comes all the same."""
    address = urlsplit(api.url)
    head = (
        f"POST /tenants HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.keys.admin.token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {LIMIT + 1}\r\n\r\n"
    )
    with socket.create_connection((str(address.hostname), address.port or 0), timeout=10) as connection:
        connection.sendall(head.encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(("path", "limit"), [("/tenants", LIMIT), ("/tenants/{a}/rows/bars", UPLOAD_LIMIT)])
def test_a_chunked_body_over_the_limit_is_rejected(api: Api, admin: httpx.Client, path: str, limit: int) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(limit // 1000 + 2):
            yield b"#" + b" " * 998 + b"\n"

    sort = "application/x-ndjson" if "rows" in path else "application/json"
    answer = admin.post(path.replace("{a}", api.store.tenant_a), content=chunks(), headers={"Content-Type": sort})
    assert str(limit) in problem(answer, 413)["detail"]


def test_an_upload_that_was_too_large_can_be_completed_in_parts(api: Api, admin: httpx.Client) -> None:
    rows = [{**BAR, "symbol": f"S{at:05}"} for at in range(1500)]
    problem(upload(admin, api.store.tenant_a, lines(*rows)), 413)
    for part in (rows[:500], rows[500:1000], rows[1000:]):
        assert upload(admin, api.store.tenant_a, lines(*part)).json()["rejected"] == 0
    assert api.store.rows("SELECT count(*) FROM store.bars") == [(1500,)]


# Uploads that are none --------------------------------------------------------------------------------------------


def test_compressed_rows_and_other_content_types_are_rejected(api: Api, admin: httpx.Client) -> None:
    path = f"/tenants/{api.store.tenant_a}/rows/bars"
    body = lines(BAR).encode()
    for headers, content in (
        ({"Content-Type": "application/json"}, body),
        ({}, body),
        ({"Content-Type": "application/x-ndjson", "Content-Encoding": "gzip"}, gzip.compress(body)),
        ({"Content-Type": "application/x-ndjson"}, gzip.compress(body)),
    ):
        problem(admin.post(path, content=content, headers=headers), 415)
    problem(upload(admin, api.store.tenant_a, body, kind="nothing"), 404)
    problem(upload(admin, api.store.tenant_a, body, on_conflict="explode"), 422)
    assert upload(admin, api.store.tenant_a, b"").json()["lines"] == 0


# The inside -------------------------------------------------------------------------------------------------------


def test_an_internal_error_does_not_expose_details(
    api: Api, admin: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    api.store.execute(
        "CREATE FUNCTION store.broken() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'page of inner_relation is damaged' USING ERRCODE = 'XX001'; END $$;"
        "CREATE TRIGGER broken BEFORE INSERT ON store.tenants FOR EACH ROW EXECUTE FUNCTION store.broken()"
    )
    answer = admin.post("/tenants", json={"name": "x"})
    found = problem(answer, 500)
    assert "inner_relation" not in answer.text
    assert answer.headers["X-Request-ID"] in caplog.text
    assert "inner_relation" in caplog.text
    assert found["title"] == SORTS["internal"].title


def test_an_unreachable_database_is_reported_as_unavailable(keys: Keys, store: Store) -> None:
    settings = Settings(database_url="host=127.0.0.1 port=1 dbname=x connect_timeout=2", tokens=keys.lines)
    headers = {"Authorization": f"Bearer {keys.admin.token}"}
    with serving(settings) as url, httpx.Client(base_url=url, verify=NO_TLS, headers=headers, timeout=60) as client:
        assert client.get("/health").status_code == 200
        assert "cannot be reached" in problem(client.get("/ready"), 503)["detail"]
        for method, path, body in (
            ("GET", "/tenants", None),
            ("GET", "/jobs", None),
            ("GET", "/schema/version", None),
            ("POST", "/migrate", None),
            ("POST", "/aggregates/refresh", {}),
        ):
            answer = client.request(method, path, json=body)
            problem(answer, 503)
            assert int(answer.headers["Retry-After"]) > 0
            assert "127.0.0.1" not in answer.text
        assert client.get("/metrics").status_code == 200


def test_readiness_checks_do_not_block_other_requests(api: Api, admin: httpx.Client) -> None:
    """However many look, and also where the client is made only then: a lock makes the look wait."""
    host, port = urlsplit(api.url).hostname, urlsplit(api.url).port
    waiting = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with ExitStack() as stack:
        holding = stack.enter_context(psycopg.connect(api.store.superuser_dsn))
        holding.execute("LOCK TABLE store.alembic_version IN ACCESS EXCLUSIVE MODE")
        looking = [stack.enter_context(socket.create_connection((host, port), timeout=DEADLINE_S)) for _ in range(50)]
        for connection in looking:
            connection.sendall(b"GET /ready HTTP/1.1\r\nHost: x\r\n\r\n")
        until(lambda: api.store.rows(waiting))
        # Before the look would be given up.
        admin.timeout = httpx.Timeout(20)
        assert upload(admin, api.store.tenant_a, lines(BAR)).json()["written"] == 1
        assert len(admin.get("/series").json()["items"]) == 1
        holding.rollback()
        for connection in looking:
            assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")


@pytest.mark.engines("postgres")
def test_an_empty_database_is_unavailable_until_it_is_migrated(bare: Place, keys: Keys, store: Store) -> None:
    settings = Settings(database_url=bare.admin_dsn, tokens=keys.lines)
    headers = {"Authorization": f"Bearer {keys.admin.token}"}
    with serving(settings) as url, httpx.Client(base_url=url, verify=NO_TLS, headers=headers, timeout=60) as client:
        assert "the schema version is none" in problem(client.get("/ready"), 503)["detail"]
        for path in ("/tenants", "/jobs", "/policies", "/series"):
            problem(client.get(path), 503)
        done = client.post("/migrate").json()
        assert (done["before"], bool(done["objects"])) == (None, True)
        assert client.get("/tenants").json()["items"] == []


@pytest.mark.parametrize(
    ("error", "sort"),
    [
        (psycopg.OperationalError("connection to 10.0.0.1 failed"), "unavailable"),
        (psycopg.errors.QueryCanceled("canceling statement"), "unavailable"),
        (psycopg.errors.UndefinedTable("no relation store.x"), "unavailable"),
        (psycopg.errors.InsufficientPrivilege("no right"), "conflict"),
        (psycopg.errors.UniqueViolation("duplicate"), "conflict"),
        (psycopg.errors.NumericValueOutOfRange("too large"), "invalid"),
        (psycopg.DataError("NUL"), "invalid"),
        (UnsupportedServer("PostgreSQL 9"), "unavailable"),
        (psycopg.errors.SyntaxError("at or near"), None),
        (MDSOperationalError("something new"), None),
        (ValueError("a fault"), None),
    ],
)
def test_errors_map_to_their_problem_or_to_an_internal_error(error: Exception, sort: str | None) -> None:
    found = problems.refusal_of(error)
    assert (found and found.sort) == sort
    if found is not None and isinstance(error, psycopg.Error):
        assert str(error) not in str(found.detail)


def test_every_problem_type_has_its_own_status() -> None:
    assert len({sort.status for sort in SORTS.values()}) == len(SORTS)
