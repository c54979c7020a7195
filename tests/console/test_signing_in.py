"""Sessions: how they begin and end, what a cookie is, and that no other site uses one."""

import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from datastore import console
from datastore.config import Settings
from datastore.console.sessions import IDLE_S, LINK_S, LONGEST_S, MOST, Links, Sessions
from datastore.service import tokens
from datastore.service.tokens import Scope, Tokens
from tests.conftest import Store
from tests.console.conftest import CHANGES, HARMLESS, READS, ROUTES, Desk, csrf
from tests.service.conftest import Keys, serving
from tests.service.processes import NO_TLS

pytestmark = [pytest.mark.many_sessions, pytest.mark.engines("postgres")]


def test_the_root_path_redirects_to_the_console(desk: Desk) -> None:
    with desk.stranger() as client:
        assert client.get("/").headers["location"] == "/console/"
        assert client.get("/console?x=1").headers["location"] == "/console/"
        assert client.get("/?x=1").headers["location"] == "/console/"


def test_without_a_session_every_page_leads_to_the_sign_in(desk: Desk) -> None:
    with desk.stranger() as client:
        for route in ROUTES:
            answer = client.request(route.method, route.filled())
            assert (answer.status_code, answer.headers["location"].partition("?")[0]) == (303, "/console/sign-in"), (
                route
            )


def test_signing_in_returns_to_the_requested_page(desk: Desk) -> None:
    with desk.stranger() as client:
        form = client.get(client.get("/console/series?q=AAPL").headers["location"]).text
        (back,) = re.findall(r'name="back" value="([^"]+)"', form)
        answer = client.post("/console/sign-in", data={"token": desk.keys.read.token, "back": back})
        assert answer.headers["location"] == "/console/series?q=AAPL"


@pytest.mark.parametrize(
    "back",
    ["//evil.example", "https://evil.example/console/", "/\\evil.example", "/console/\t/x", "javascript:alert(1)"],
)
def test_signing_in_never_redirects_to_another_site(desk: Desk, back: str) -> None:
    with desk.stranger() as client:
        answer = client.post("/console/sign-in", data={"token": desk.keys.read.token, "back": back})
        assert answer.headers["location"] == "/console/"


def test_an_invalid_token_is_rejected_and_starts_no_session(desk: Desk) -> None:
    expired = desk.keys.expiring(timedelta(seconds=-1))
    with desk.stranger() as client:
        for text in ("", "mds_wrong", expired.token):
            answer = client.post("/console/sign-in", data={"token": text})
            assert answer.status_code == 401
            assert "unknown" in answer.text or "expired" in answer.text
            assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("failed_logins", [3])
def test_an_address_that_guesses_tokens_is_throttled_in_console_and_api(desk: Desk) -> None:
    with desk.stranger() as client:
        for _ in range(3):
            assert client.post("/console/sign-in", data={"token": "mds_guess"}).status_code == 401
        answer = client.post("/console/sign-in", data={"token": desk.keys.admin.token})
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) > 0
        bearer = {"Authorization": f"Bearer {desk.keys.admin.token}"}
        assert client.get("/tenants", headers=bearer).status_code == 429


def test_the_session_cookie_is_same_site_and_http_only(desk: Desk) -> None:
    with desk.stranger() as client:
        answer = client.post("/console/sign-in", data={"token": desk.keys.read.token})
        said = {part.strip().lower() for part in answer.headers["set-cookie"].split(";")[1:]}
        assert said == {"httponly", "samesite=strict", "path=/console"}
        assert desk.keys.read.token not in answer.headers["set-cookie"]


def test_behind_tls_the_session_cookie_is_secure(store: Store, keys: Keys, settings: Settings) -> None:
    behind = replace(settings, tokens=keys.lines, trusted_proxies="127.0.0.1")
    with serving(behind, console.create_app) as url, httpx.Client(base_url=url, verify=NO_TLS) as client:
        answer = client.post(
            "/console/sign-in", data={"token": keys.read.token}, headers={"X-Forwarded-Proto": "https"}
        )
        assert "secure" in {part.strip().lower() for part in answer.headers["set-cookie"].split(";")}


def test_signing_out_invalidates_the_session(desk: Desk) -> None:
    with desk.browser(desk.keys.read) as client:
        kept = dict(client.cookies)
        answer = client.post("/console/sign-out", data={"csrf": csrf(client)})
        assert answer.status_code == 303
        answer = httpx.get(f"{desk.url}/console/", cookies=kept, verify=NO_TLS)
        assert answer.headers["location"].startswith("/console/sign-in")


def test_signing_in_again_invalidates_the_previous_session(desk: Desk) -> None:
    with desk.browser(desk.keys.read) as client:
        kept = dict(client.cookies)
        client.post("/console/sign-in", data={"token": desk.keys.read.token})
        assert httpx.get(f"{desk.url}/console/", cookies=kept, verify=NO_TLS).status_code == 303


def test_a_session_is_not_valid_in_the_api_and_a_bearer_token_not_in_the_console(desk: Desk) -> None:
    with desk.browser(desk.keys.admin) as client:
        assert client.get("/tenants").status_code == 401
    with desk.stranger(Authorization=f"Bearer {desk.keys.admin.token}") as client:
        assert client.get("/console/series").status_code == 303


def test_a_change_without_the_secret_of_the_session_is_refused(admin: httpx.Client, desk: Desk) -> None:
    with desk.browser(desk.keys.admin) as other:
        foreign = csrf(other)
    for route in CHANGES:
        for given in ({}, {"csrf": ""}, {"csrf": foreign}):
            answer = admin.post(route.filled(), data=given)
            assert answer.status_code == 403, route
            assert "the form is of another session" in answer.text


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
    ],
)
def test_a_cross_site_change_is_rejected_even_with_the_csrf_secret(
    admin: httpx.Client, headers: dict[str, str]
) -> None:
    secret = csrf(admin)
    for route in CHANGES:
        answer = admin.post(route.filled(), data={"csrf": secret}, headers=headers)
        assert answer.status_code == 403, route
        assert "comes from another site" in answer.text
    assert admin.post("/console/sign-in", data={"token": "x"}, headers=headers).status_code == 403


def test_a_session_ends_when_its_token_is_taken_away(
    store: Store, settings: Settings, tmp_path: Path, keys: Keys
) -> None:
    file = tmp_path / "tokens"
    file.write_text(f"{keys.read.line}\n{keys.admin.line}\n")
    with serving(replace(settings, tokens_file=file), console.create_app) as url:
        desk = Desk(url, keys, store)
        with desk.browser(keys.read) as client:
            assert client.get("/console/series").status_code == 200
            file.with_suffix(".new").write_text(keys.admin.line)
            file.with_suffix(".new").replace(file)
            assert client.get("/console/series").status_code == 303


def test_a_token_with_the_read_scope_cannot_change_anything(desk: Desk) -> None:
    with desk.browser(desk.keys.read) as client:
        secret = csrf(client)
        for route in CHANGES:
            if route in HARMLESS:
                continue
            fields = {"csrf": secret, "name": "new", "tenant": desk.store.tenant_a, "scope": "read", "key": "0" * 32}
            answer = client.post(route.filled(tenant=desk.store.tenant_a), data=fields)
            assert answer.status_code == 403, (route, answer.text)


def test_a_page_fragment_requested_without_a_session_redirects_to_the_sign_in(desk: Desk) -> None:
    with desk.stranger(**{"HX-Request": "true"}) as client:
        for route in READS:
            answer = client.get(route.filled())
            assert (answer.status_code, answer.headers["hx-redirect"].partition("?")[0]) == (204, "/console/sign-in")


def test_a_sign_in_link_works_for_only_one_browser(store: Store, settings: Settings) -> None:
    links = []

    def make(settings: Settings) -> FastAPI:
        app, link = console.with_sign_in_link(settings)
        links.append(link)
        return app

    with serving(settings, make) as url, httpx.Client(base_url=url, verify=NO_TLS) as client:
        refused = client.get(links[0], headers={"Sec-Fetch-Site": "cross-site"})
        assert refused.status_code == 403
        assert client.get(links[0], headers={"Sec-Fetch-Site": "none"}).headers["location"] == "/console/"
        assert client.get("/console/tenants").status_code == 200
        again = httpx.get(url + links[0], verify=NO_TLS)
        assert again.status_code == 401
        assert "was used already" in again.text


# Sessions by the clock ------------------------------------------------------------------------------------------------


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sessions(clock: Clock) -> tuple[Sessions, str]:
    made = tokens.create("someone", Scope.read)
    known = Tokens(Settings(tokens=made.line))
    token = known.find(made.token)
    assert token is not None
    sessions = Sessions(known, clock=clock)
    return sessions, sessions.begin(token)


def test_an_idle_session_expires(sessions: tuple[Sessions, str], clock: Clock) -> None:
    there, cookie = sessions
    clock.now += IDLE_S - 1
    assert there.find(cookie)
    clock.now += IDLE_S - 1
    assert there.find(cookie)
    clock.now += IDLE_S
    assert there.find(cookie) is None


def test_background_requests_of_a_page_do_not_extend_a_session(sessions: tuple[Sessions, str], clock: Clock) -> None:
    there, cookie = sessions
    clock.now += IDLE_S - 1
    assert there.find(cookie, active=False)
    clock.now += 1
    assert there.find(cookie, active=False) is None


def test_a_session_expires_after_its_maximum_lifetime(sessions: tuple[Sessions, str], clock: Clock) -> None:
    there, cookie = sessions
    until = clock.now + LONGEST_S
    while clock.now + IDLE_S / 2 < until:
        assert there.find(cookie)
        clock.now += IDLE_S / 2
    clock.now = until
    assert there.find(cookie) is None


def test_the_oldest_session_ends_when_there_are_too_many(sessions: tuple[Sessions, str]) -> None:
    there, cookie = sessions
    found = there.find(cookie)
    assert found
    last = [there.begin(found[1]) for _ in range(MOST)][-1]
    assert there.find(cookie) is None
    assert there.find(last)


def test_a_sign_in_link_expires(sessions: tuple[Sessions, str], clock: Clock) -> None:
    there, cookie = sessions
    found = there.find(cookie)
    assert found
    links = Links(clock=clock)
    code = links.make(found[1])
    clock.now += LINK_S
    assert links.use(code) is None
