"""Who is let in, and how far: tokens, their scopes and tenants, rotation, and strangers who try."""

import logging
import re
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from datastore.config import Settings, SettingsError, load
from datastore.service import tokens
from datastore.service.app import create_app
from datastore.service.middleware import HEADERS
from datastore.service.security import PUBLIC, Failures
from datastore.service.tokens import Bad, MadeToken, Scope, Token, Tokens, parse
from datastore.tenants import disable_tenant, enable_tenant
from tests.conftest import Store
from tests.service.conftest import Api, Keys, problem, serving
from tests.service.processes import NO_TLS

# Nothing of it is another on another engine.
pytestmark = [pytest.mark.many_sessions, pytest.mark.engines("postgres")]


@pytest.fixture
def expired(keys: Keys) -> MadeToken:
    return keys.expiring(timedelta(seconds=-1))


def described(api: Api) -> list[tuple[str, str]]:
    """Every operation, with ids that are none in its path."""
    with api.client(None) as client:
        paths = client.get("/openapi.json").json()["paths"]
    return [
        (method.upper(), re.sub(r"\{[^}]*\}", "1", path)) for path, found in paths.items() for method in found
    ]  # fmt: skip


# Nobody without a token -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings", [Settings(database_url="host=/x"), Settings(database_url="host=/x", tokens="# no")]
)
def test_a_service_without_a_token_does_not_start(settings: Settings) -> None:
    with pytest.raises(SettingsError, match="no token is set, so nobody could use the service: create one"):
        create_app(settings)


def test_every_endpoint_except_the_public_ones_needs_a_token(api: Api) -> None:
    with api.client(None) as client:
        for method, path in described(api):
            answer = client.request(method, path)
            if path in PUBLIC:
                assert answer.status_code == 200
            else:
                problem(answer, 401)
                assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        # Nor does a stranger learn what there is.
        problem(client.get("/nowhere"), 401)


@pytest.mark.parametrize(
    "header",
    [
        "Bearer wrong",
        "Bearer",
        "Basic YWRtaW46",
        "",
        "bearer \xff\xfe",
        "Bearer " + "x" * 2000,
        "{0}",
        "Bearer {0}x",
    ],
)
def test_a_wrong_token_is_refused(api: Api, header: str) -> None:
    given = header.replace("{0}", api.keys.admin.token).encode("latin-1")
    with httpx.Client(base_url=api.url, verify=NO_TLS) as client:
        problem(client.get("/jobs", headers=[(b"Authorization", given)]), 401)


def test_the_authorization_scheme_is_case_insensitive(api: Api) -> None:
    with httpx.Client(base_url=api.url, verify=NO_TLS) as client:
        assert client.get("/jobs", headers={"Authorization": f"bEARER {api.keys.read.token}"}).status_code == 200


def test_an_expired_token_is_rejected_with_that_reason(expired: MadeToken, api: Api) -> None:
    with api.client(expired) as client:
        assert problem(client.get("/jobs"), 401)["detail"] == "the token has expired"


# Scopes -----------------------------------------------------------------------------------------------------------


def test_a_scope_includes_lower_scopes_and_no_higher_one(api: Api) -> None:
    wanted = {
        ("GET", "/jobs"): Scope.read,
        ("POST", "/jobs/1/cancel"): Scope.operate,
        ("POST", "/jobs/1/retry"): Scope.operate,
        ("POST", "/aggregates/refresh"): Scope.operate,
        ("POST", f"/tenants/{api.store.tenant_a}/rows/bars"): Scope.operate,
        ("POST", "/migrate"): Scope.admin,
        ("POST", "/tenants"): Scope.admin,
        ("PUT", "/policies/bars/retention_after"): Scope.admin,
        ("POST", f"/tenants/{api.store.tenant_a}/disable"): Scope.admin,
        ("DELETE", f"/tenants/{api.store.tenant_b}?name=nobody"): Scope.admin,
    }
    held = {Scope.read: api.keys.read, Scope.operate: api.keys.operate, Scope.admin: api.keys.admin}
    bodies: dict[str, Any] = {"/policies/bars/retention_after": {"seconds": None}, "/tenants": {"name": "x"}}
    for scope, token in held.items():
        with api.client(token) as client:
            for (method, path), needed in wanted.items():
                answer = client.request(method, path, json=bodies.get(path, {}))
                if scope < needed:
                    assert f"needs the scope {needed.name}" in problem(answer, 403)["detail"]
                else:
                    assert answer.status_code not in (401, 403), (method, path, answer.text)


def test_a_reader_can_change_nothing(api: Api) -> None:
    with api.client(api.keys.read) as client:
        for method, path in described(api):
            if method == "GET":
                continue
            answer = client.request(method, path.replace("/1/", f"/{api.store.tenant_a}/"), json={})
            # What is wrong with a request of nobody's may be told first; that it is done, never.
            assert answer.status_code in (400, 403, 404, 415, 422), (method, path, answer.text)
    assert api.store.rows("SELECT count(*) FROM store.jobs") == [(0,)]


def test_a_disabled_tenants_token_is_refused_everywhere_until_the_tenant_is_enabled(
    api: Api, tenant_keys: dict[str, MadeToken]
) -> None:
    """Also what its own path is: the views refuse a disabled tenant, and not all is read through them."""
    tenant = UUID(api.store.tenant_a)
    with api.client(tenant_keys["a"]) as its, api.client(tenant_keys["b"]) as others:
        disable_tenant(api.store.admin_dsn, tenant)
        for method, path in described(api):
            if path in PUBLIC:
                continue
            for whose in ("1", api.store.tenant_a):
                answer = its.request(method, re.sub("^/tenants/1", f"/tenants/{whose}", path))
                assert "the token's tenant is disabled" in problem(answer, 403)["detail"], (method, path)
        assert others.get("/series").status_code == 200
        enable_tenant(api.store.admin_dsn, tenant)
        assert its.get("/series").status_code == 200


def test_a_token_of_a_deleted_tenant_is_rejected(keys: Keys, store: Store) -> None:
    gone = keys.of_tenant("7d444840-9dc0-11d1-b245-5ffdce74fad2", Scope.read)
    headers = {"Authorization": f"Bearer {gone.token}"}
    with serving(Settings(database_url=store.admin_dsn, tokens=keys.lines)) as url:
        answer = httpx.get(f"{url}/series", headers=headers, verify=NO_TLS)
    assert "the token's tenant does not exist" in problem(answer, 403)["detail"]


# Rotation ---------------------------------------------------------------------------------------------------------


def test_tokens_in_a_file_are_changed_without_a_restart(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    old, new = (tokens.create("desk", Scope.read) for _ in range(2))
    file.write_text(f"# who\n\n{old.line}\n")

    def status(url: str, token: MadeToken) -> int:
        with httpx.Client(base_url=url, verify=NO_TLS) as client:
            return client.get("/jobs", headers={"Authorization": f"Bearer {token.token}"}).status_code

    with serving(Settings(database_url=store.admin_dsn, tokens_file=file)) as url:
        assert (status(url, old), status(url, new)) == (200, 401)
        file.write_text(f"{old.line}\n{new.line}\n")
        assert (status(url, old), status(url, new)) == (200, 200)
        file.write_text(f"{new.line}\n")
        assert (status(url, old), status(url, new)) == (401, 200)
        # A line that cannot be read lets nobody in, and keeps nobody out.
        file.write_text(f"{old.line[:-1]}\n{new.line}\n")
        assert (status(url, old), status(url, new)) == (401, 200)
        file.unlink()
        assert status(url, new) == 401


def test_an_invalid_line_of_the_token_file_is_logged_once_by_number_without_its_text(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file, made = tmp_path / "tokens", tokens.create("desk", Scope.read)
    file.write_text(made.line)
    known = Tokens(Settings(tokens_file=file))

    def said() -> list[str]:
        caplog.clear()
        for _ in range(3):
            known.find(made.token)
        return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]

    assert said() == []
    # The token itself, where its hash belongs.
    file.write_text(f"{made.line}\ndesk read {made.token}\n")
    (warning,) = said()
    assert "line 2: the third word is sha256:" in warning
    assert made.token not in caplog.text
    file.write_text(f"desk fly\n{made.line}\ndesk read {made.token}\n")
    assert [warning[:27] for warning in said()] == ["the file of tokens: line 1:", "the file of tokens: line 3:"]
    file.unlink()
    assert said() == ["the file of tokens: it cannot be read: No such file or directory"]
    file.write_text(made.line)
    assert said() == []
    assert known.find(made.token)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("desk read", "not: name scopes"),
        ("desk fly sha256:" + "0" * 64, "scopes are read, operate, admin"),
        ("desk read md5:" + "0" * 32, "the third word is sha256:"),
        ("desk read sha256:" + "x" * 64, "not: name scopes"),
        ("desk read sha256:" + "0" * 64 + " expires=soon", "not: name scopes"),
        ("desk read sha256:" + "0" * 64 + " tenant=a", "not: name scopes"),
        ("desk read sha256:" + "0" * 64 + " colour=red", "1 options are unknown: use expires= and tenant="),
        ("desk read mds_secret-token-by-mistake", "the third word is sha256:"),
    ],
)
def test_an_invalid_token_line_is_reported_by_number_without_its_text(line: str, reason: str) -> None:
    (bad,) = parse(f"\n{line}")
    assert isinstance(bad, Bad)
    assert bad.line == 2
    assert reason in bad.reason
    with pytest.raises(SettingsError, match="DATASTORE_TOKENS, line 2") as caught:
        Tokens(Settings(tokens=f"\n{line}"))
    assert "mistake" not in str(caught.value)


def test_only_the_token_of_a_line_is_accepted() -> None:
    tenant = UUID("7d444840-9dc0-11d1-b245-5ffdce74fad2")
    made = tokens.create("desk-1", Scope.operate, expires_in=timedelta(days=90), tenant=tenant)
    other = tokens.create("desk-1", Scope.operate)
    assert made.token != other.token
    assert made.token not in repr(made)
    assert made.token not in made.line
    known = Tokens(Settings(tokens=made.line))
    found = known.find(made.token)
    assert isinstance(found, Token)
    assert (found.name, found.scope, found.tenant) == ("desk-1", Scope.operate, tenant)
    assert found.expires is not None
    assert known.find(other.token) is None


@pytest.mark.parametrize("name", ["", "two words", "ümlaut", "a\nb", "x=y"])
def test_an_invalid_token_name_is_rejected(name: str) -> None:
    with pytest.raises(SettingsError, match="a token's name is"):
        tokens.create(name, Scope.read)


# Strangers who try ------------------------------------------------------------------------------------------------


@pytest.fixture
def failed_logins() -> int:
    return 3


def test_an_address_that_fails_too_often_has_to_wait(api: Api) -> None:
    with api.client("mds_guess") as client:
        for _ in range(3):
            problem(client.get("/jobs"), 401)
        answer = client.get("/jobs")
        problem(answer, 429)
        assert 1 <= int(answer.headers["Retry-After"]) <= 20
        assert client.get("/health").status_code == 200
    with api.client(api.keys.admin) as client:
        # Its guesses are not looked at: or a guesser would learn which one was right.
        problem(client.get("/jobs"), 429)


def test_failed_logins_are_counted_per_address_and_expire() -> None:
    now = 0.0
    failures = Failures(6, most=3, clock=lambda: now)
    for _ in range(6):
        assert failures.wait("10.0.0.1") == 0
        failures.failed("10.0.0.1")
    assert failures.wait("10.0.0.1") == 10
    assert failures.wait("10.0.0.2") == 0
    now = 10.0
    assert failures.wait("10.0.0.1") == 0
    failures.failed("10.0.0.1")
    assert failures.wait("10.0.0.1") == 10


def test_an_ipv6_network_counts_as_one_address_and_memory_is_bounded() -> None:
    failures = Failures(1, most=3, clock=lambda: 0.0)
    failures.failed("2001:db8::1")
    assert failures.wait("2001:db8::ffff:2") == 60
    assert failures.wait("2001:db8:0:1::1") == 0
    for last in range(100):
        failures.failed(f"10.0.0.{last}")
    assert len(failures._left) == 3


# Nothing leaks ----------------------------------------------------------------------------------------------------


def test_every_response_has_security_headers_and_a_request_id(api: Api, admin: httpx.Client) -> None:
    given = {"X-Request-ID": "trace-0123456789"}
    for answer in (admin.get("/health"), admin.get("/jobs"), admin.get("/nowhere"), httpx.get(f"{api.url}/jobs")):
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS
        assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["X-Request-ID"])
        assert "server" not in answer.headers
    assert admin.get("/health", headers=given).headers["X-Request-ID"] == "trace-0123456789"
    for bad in ("short", "x" * 65, "with space in it", 'quote"quote"'):
        assert admin.get("/health", headers={"X-Request-ID": bad}).headers["X-Request-ID"] != bad


def test_no_secret_appears_in_logs_errors_metrics_or_the_description(
    store: Store, keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("datastore", "mds_client", "psycopg", "uvicorn"):
        caplog.set_level(logging.DEBUG, name)
    password = "s3cret-w0rd"
    dsn = f"postgresql://nobody:{password}@127.0.0.1:1/nothing?connect_timeout=2"
    settings = Settings(database_url=dsn, tokens=keys.lines, failed_logins=100)
    assert password not in repr(settings)
    assert keys.admin.line not in repr(settings)
    shown = []
    with serving(settings) as url, httpx.Client(base_url=url, verify=NO_TLS, timeout=60) as client:
        for token in (keys.admin.token, keys.admin.token + "x"):
            headers = {"Authorization": f"Bearer {token}"}
            for path in ("/ready", "/tenants", "/jobs", f"/jobs?token={token}", "/openapi.json", "/metrics"):
                answer = client.get(path, headers=headers)
                shown.append(f"{answer.headers} {answer.text}")
            shown.append(client.post("/migrate", headers=headers).text)
    said = "".join(record.getMessage() for record in caplog.records if not record.name.startswith("http"))
    for text in (*shown, said):
        assert password not in text
        assert keys.admin.token not in text
        assert keys.admin.line.split()[2] not in text
    assert "datastore.service" in caplog.text


def test_service_settings_are_read_from_the_environment(tmp_path: Path) -> None:
    found = load(
        {
            "DATASTORE_TOKENS": "x read sha256:",
            "DATASTORE_TOKENS_FILE": str(tmp_path),
            "DATASTORE_MAX_BODY_BYTES": "10",
            "DATASTORE_MAX_UPLOAD_BYTES": "20",
            "DATASTORE_FAILED_LOGINS": "30",
            "DATASTORE_TRUSTED_PROXIES": "10.0.0.1",
        }
    )
    assert (found.tokens, found.tokens_file) == ("x read sha256:", tmp_path)
    assert (found.max_body_bytes, found.max_upload_bytes, found.failed_logins) == (10, 20, 30)
    assert found.trusted_proxies == "10.0.0.1"
    for wrong in ("0", "-1", "many", "1.5"):
        with pytest.raises(SettingsError, match="DATASTORE_MAX_BODY_BYTES must be a whole number"):
            load({"DATASTORE_MAX_BODY_BYTES": wrong})
