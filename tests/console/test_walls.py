"""What a page shows of others, and what it lets others' text do: tenants apart, everything escaped, no foreign code."""

import html
import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import pytest

from datastore import backfill, jobs, search, tenants
from datastore.backfill import BackfillSpec
from datastore.gaps import calendars
from datastore.service.tokens import MadeToken
from mds_client import Bar, Fundamentals, Instrument, News
from tests.console.conftest import CHANGES, HARMLESS, READS, Desk, Route, csrf

pytestmark = [pytest.mark.many_sessions, pytest.mark.engines("postgres")]

TS = datetime(2024, 1, 2, 15, 30, tzinfo=UTC)
MARKS = ("VAULT-OF-A", "SECRETA", "headline-of-a", "71,234.5", "71234.5", "the-key-of-a")
SOURCE = {"type": "files", "path": "{symbol}.csv"}
HOSTILE = "\"><img src=x onerror=alert(1)>'{{7*7}}"


class Vault:
    """What tenant A has, and its ids."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.tenant = desk.store.tenant_a
        with desk.client(self.tenant) as client:
            client.upsert_bars(
                [Bar(vendor="VAULT-OF-A", symbol="SECRETA", timeframe="1m", ts=TS, close_price=71234.5, volume=1)]
            )
            client.upsert_news([News(vendor="VAULT-OF-A", symbol="SECRETA", published_at=TS, title="headline-of-a")])
            client.upsert_instruments([Instrument(vendor="VAULT-OF-A", symbol="SECRETA", asof=TS, tick_size=71234.5)])
            client.upsert_fundamentals([Fundamentals(vendor="VAULT-OF-A", symbol="SECRETA", asof=TS, eps=71234.5)])
            client.enqueue_job(idempotency_key="the-key-of-a", job_type="mine-of-a", payload={"said": "SECRETA"})
        dsn = desk.store.admin_dsn
        calendars.assign(dsn, self.tenant, "XNYS")
        spec = BackfillSpec(
            tenant=self.tenant, vendor="VAULT-OF-A", timeframe="1m", start=TS, end=datetime(2024, 1, 3, tzinfo=UTC),
            source=SOURCE,
        )  # fmt: skip
        self.backfill = backfill.start(dsn, spec, idempotency_key="the-key-of-a").id
        self.job = jobs.list_jobs(dsn, job_type="mine-of-a").items[0].id
        self.series = search.search_series(dsn, kind="bars").items[0].id

    def path(self, route: Route) -> str:
        """A route with the ids of what is A's."""
        kind = route.path.split("/")[2]
        ids = {"chart": self.series, "rows": self.series, "jobs": self.job}
        id_ = self.backfill if "/backfills/" in route.path else ids.get(kind, 1)
        return route.filled(id=id_, tenant=self.tenant)

    def state(self) -> list[tuple[Any, ...]]:
        """Everything of A's, with its row versions."""
        found = []
        for table in ("series", "bars", "jobs", "backfills", "tenants"):
            found += self.desk.store.rows(f"SELECT '{table}', ctid::text, xmin::text FROM store.{table}")
        return found


QUERY = {
    "vendor": "VAULT-OF-A", "symbol": "SECRETA", "timeframe": "1m", "start": "2024-01-01", "end": "2024-01-05",
    "kind": "bars", "q": "SECRETA",
}  # fmt: skip


@pytest.fixture
def vault(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Vault:
    monkeypatch.setenv("DATASTORE_SOURCE_ROOT", str(tmp_path))
    return Vault(desk)


def test_no_page_reveals_data_of_another_tenant(vault: Vault, desk: Desk, tenant_keys: dict[str, MadeToken]) -> None:
    seen = 0
    with desk.browser(tenant_keys["b"]) as spy, desk.browser(desk.keys.admin) as admin:
        for route in READS:
            path = vault.path(route)
            for query in ({}, QUERY, {**QUERY, "tenant": vault.tenant}, {**QUERY, "after": str(vault.series)}):
                told = spy.get(path, params=query, follow_redirects=True)
                # What was asked for is repeated in forms.
                shown = re.sub(r'value="[^"]*"|href="[^"]*"', "", told.text)
                assert not [mark for mark in MARKS if mark in shown], (path, query, shown)
            seen += any(mark in admin.get(path, params=QUERY, follow_redirects=True).text for mark in MARKS)
    assert seen > 5, "the marks are in the pages of someone who may see them"


def test_pages_of_another_tenants_items_return_not_found(
    vault: Vault, desk: Desk, tenant_keys: dict[str, MadeToken]
) -> None:
    with desk.browser(tenant_keys["b"]) as spy:
        for path in (
            f"/console/chart/{vault.series}",
            f"/console/chart/{vault.series}/bars?timeframe=1m&start=2024-01-01&end=2024-01-05",
            f"/console/chart/{vault.series}/bars.csv?timeframe=1m&start=2024-01-01&end=2024-01-05",
            f"/console/chart/{vault.series}/gaps?start=2024-01-01&end=2024-01-05",
            f"/console/rows/{vault.series}",
            f"/console/jobs/{vault.job}",
            f"/console/jobs/backfills/{vault.backfill}",
            f"/console/series?tenant={vault.tenant}",
            f"/console/rows?tenant={vault.tenant}",
            f"/console/news?tenant={vault.tenant}",
            f"/console/fundamentals?tenant={vault.tenant}",
            f"/console/completeness?tenant={vault.tenant}",
        ):
            assert spy.get(path).status_code == 404, path


def test_no_form_can_change_data_of_another_tenant(vault: Vault, desk: Desk, tenant_keys: dict[str, MadeToken]) -> None:
    before = vault.state()
    with desk.browser(tenant_keys["b"]) as spy:
        secret = csrf(spy)
        for route in CHANGES:
            if route in HARMLESS:
                continue
            fields = {**QUERY, "csrf": secret, "tenant": vault.tenant, "name": "new", "scope": "admin", "key": "0" * 32}
            answer = spy.post(vault.path(route), data={**fields, "source": '{"type": "files", "path": "x"}'})
            assert answer.status_code in (403, 404), (route, answer.text)
    assert vault.state() == before


def test_a_tenant_that_is_disabled_sees_nothing(vault: Vault, desk: Desk, tenant_keys: dict[str, MadeToken]) -> None:
    with desk.browser(tenant_keys["a"]) as client:
        assert client.get("/console/series").status_code == 200
        tenants.disable_tenant(desk.store.admin_dsn, tenants.get_tenant(desk.store.admin_dsn, "a").id)
        for route in READS:
            assert client.get(vault.path(route), params=QUERY).status_code in (403, 404), route


# Other people's text --------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """What of a page could run or load something."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self._inline = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.found += [f"{tag} {name}" for name in given if name.startswith("on") or name in ("style", "srcdoc")]
        for name in ("src", "href", "action", "hx-get", "hx-post"):
            value = given.get(name) or ""
            outside = not value.startswith(("/console/", "#", "https://www.tradingview.com/"))
            # To an article one may go, and its page learns nothing of the console and cannot reach it.
            leads = (tag, name) == ("a", "href") and value.startswith(("https://", "http://"))
            if leads and given.get("rel") == "noopener noreferrer":
                continue
            if name in given and outside:
                self.found.append(f"{tag} {name}={value}")
        if tag == "style" or (tag == "script" and not given.get("src")) or tag in ("img", "iframe", "object"):
            self.found.append(tag)


URLS = (
    f"https://news.example/{HOSTILE.replace(' ', '')}", "java\tscript:x", " javascript:x",
    "data:text/html,x", "//x.y/z", "https:///x", "https://[x", "JAVASCRIPT://x.y/%0ax", "https://x.y/ z",
    "https://x.y\\@news.example/",
)  # fmt: skip


@pytest.fixture
def hostile(desk: Desk) -> Desk:
    """Text that wants to be code wherever a tenant can put some."""
    dsn = desk.store.admin_dsn
    made = tenants.create_tenant(dsn, HOSTILE)
    with desk.client(str(made.id)) as client:
        client.upsert_bars([Bar(vendor=HOSTILE, symbol=HOSTILE, timeframe="1m", ts=TS, close_price=1.0)])
        client.upsert_news([News(vendor=HOSTILE, symbol=HOSTILE, published_at=TS, title=HOSTILE, url="javascript:x")])
        client.upsert_news([News(vendor=HOSTILE, published_at=TS, title=f"{url} {HOSTILE}", url=url) for url in URLS])
        client.upsert_fundamentals([Fundamentals(vendor=HOSTILE, symbol=HOSTILE, asof=TS, eps=1.0)])
        client.enqueue_job(idempotency_key=HOSTILE, job_type=HOSTILE, payload={HOSTILE: HOSTILE})
    desk.store.execute(
        "UPDATE store.jobs SET state = 'failed', error = %s, result = to_jsonb(%s::text)", HOSTILE, HOSTILE
    )
    return desk


def test_stored_text_is_escaped_on_every_page(hostile: Desk) -> None:
    dsn = hostile.store.admin_dsn
    tenant = tenants.get_tenant(dsn, HOSTILE)
    ids = {each.kind: each.id for each in search.search_series(dsn, tenant=tenant.id).items}
    job = jobs.list_jobs(dsn, state="failed").items[0].id
    query = {
        "tenant": str(tenant.id),
        "vendor": HOSTILE,
        "timeframe": "1m",
        "calendar": HOSTILE,
        "q": HOSTILE.split()[0],
    }
    window = {"start": "2024-01-01", "end": "2024-01-05"}
    shown = 0
    with hostile.browser(hostile.keys.admin) as client:
        for route in READS:
            for more in ({}, query, {**query, **window}, {**window, "kind": "news", "tenant": str(tenant.id)}):
                id_ = job if route.path.startswith("/console/jobs/") else ids["bars"]
                answer = client.get(route.filled(id=id_, tenant=tenant.id), params=more, follow_redirects=True)
                sort = answer.headers.get("content-type", "").partition(";")[0]
                if sort in ("text/html", "text/event-stream"):
                    assert Page(answer.text.replace("\ndata: ", "\n")).found == [], (route, more)
                    shown += "onerror=alert" in answer.text
    assert shown > 10, "the text is in the pages"


def test_an_article_is_linked_only_if_its_url_is_http(hostile: Desk) -> None:
    tenant = tenants.get_tenant(hostile.store.admin_dsn, HOSTILE)
    with hostile.browser(hostile.keys.admin) as client:
        text = client.get("/console/news", params={"tenant": str(tenant.id)}).text
    assert text.count("<tr>") == len(URLS) + 2, "the head, and all articles"
    links = re.findall(r'href="((?!/console/|#)[^"]*)" rel="noopener noreferrer"', text)
    assert links == [html.escape(URLS[0]).replace("&quot;", "&#34;").replace("&#x27;", "&#39;")]


def test_every_response_allows_only_code_of_the_console(desk: Desk, admin: httpx.Client) -> None:
    asked = ["/console/sign-in", "/console/nowhere", *(route.filled(tenant=desk.store.tenant_a) for route in READS)]
    for path in asked:
        answer = admin.get(path)
        policy = dict(part.strip().partition(" ")[::2] for part in answer.headers["content-security-policy"].split(";"))
        assert policy == {
            "default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "img-src": "'self'",
            "connect-src": "'self'", "form-action": "'self'", "base-uri": "'none'", "frame-ancestors": "'none'",
        }, path  # fmt: skip
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["cache-control"] == "no-store", path


def test_static_files_are_cacheable_and_no_other_file_is_served(desk: Desk) -> None:
    with desk.stranger() as client:
        files = set(re.findall(r'(?:src|href)="(/console/static/[^"]+)"', client.get("/console/sign-in").text))
        assert files
        for path in files:
            answer = client.get(path)
            assert answer.status_code == 200
            assert "immutable" in answer.headers["cache-control"]
        for path in ("0/console.css", "0/../app.py", "0/%2e%2e/app.py", "x/vendor/README.md"):
            assert client.get(f"/console/static/{path}").status_code in (303, 404)


def test_an_unknown_path_shows_a_not_found_page(admin: httpx.Client) -> None:
    answer = admin.get("/console/nowhere")
    assert answer.status_code == 404
    assert "There is no such thing" in answer.text


def test_a_database_error_is_shown_without_its_details(desk: Desk, admin: httpx.Client) -> None:
    desk.store.execute("ALTER TABLE store.series RENAME TO series_away")
    try:
        answer = admin.get("/console/series")
    finally:
        desk.store.execute("ALTER TABLE store.series_away RENAME TO series")
    assert answer.status_code == 503
    assert "series_away" not in answer.text
    assert "not migrated" in answer.text


def test_every_route_rejects_undeclared_methods(desk: Desk, admin: httpx.Client) -> None:
    there = {(route.path, route.method) for route in (*READS, *CHANGES)}
    for path in sorted({path for path, _ in there}):
        for method in ("POST", "PUT", "DELETE", "TRACE", "OPTIONS"):
            if (path, method) not in there:
                answer = admin.request(method, Route(method, path).filled(tenant=desk.store.tenant_a))
                assert answer.status_code in (403, 404, 405), (method, path)
                assert answer.headers["cache-control"] == "no-store"


TEXTS = ("q", "vendor", "symbol", "timeframe", "job_type", "calendar", "back")
TYPED = ("kind", "state", "tenant", "start", "end", "after", "order", "expiry", "at", "compare", "id", "days")


def test_query_parameters_are_escaped_in_every_page(desk: Desk, admin: httpx.Client) -> None:
    for route in READS:
        for names in (TEXTS, TYPED):
            asked = dict.fromkeys(names, HOSTILE)
            answer = admin.get(route.filled(tenant=desk.store.tenant_a), params=asked)
            if answer.headers.get("content-type", "").startswith("text/html"):
                assert Page(answer.text).found == [], (route, names)
                assert HOSTILE not in answer.text, (route, names)
            assert answer.headers.get("location", "/console/").startswith("/console/"), (route, names)
