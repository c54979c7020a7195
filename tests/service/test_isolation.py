"""A tenant's token against another tenant: nothing is seen, changed, or told apart from what is not there."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from datastore.service.formats import FORMATS
from tests.conftest import on_tables
from tests.service.conftest import Api, problem
from tests.service.test_endpoints import lines, upload

reads_rows = pytest.mark.every_engine
"""For attacks on rows, which a planner may read in another order. What is refused before anything is read, and what is
told of tenants and jobs, is in plain tables on every engine."""

VAULT = {
    "vendor": "VAULT-OF-B",
    "symbol": "SECRETB",
    "timeframe": "1m",
    "ts": "2024-01-02T14:30:00Z",
    "close_price": 71234.5,
    "volume": 987654321,
}
OWN = {**VAULT, "vendor": "acme", "symbol": "OWN", "close_price": 1.0, "volume": 1}
MARKS = ("VAULT-OF-B", "SECRETB", "71234.5", "987654321")
WINDOW = {"vendor": "VAULT-OF-B", "symbol": "SECRETB", "timeframe": "1m", "start": "2024-01-01", "end": "2024-02-01"}
SPEC = {
    "vendor": "VAULT-OF-B",
    "timeframe": "1m",
    "start": "2024-01-02T14:00:00Z",
    "end": "2024-01-02T15:00:00Z",
    "calendar": "24/7",
    "source": {"type": "files", "path": "{symbol}.csv"},
}


class Siege:
    """Tenant A's own admin token against tenant B's rows, series and jobs."""

    def __init__(self, api: Api, admin: httpx.Client, attacker: httpx.Client) -> None:
        self.api, self.admin, self.attacker = api, admin, attacker
        self.a, self.b = api.store.tenant_a, api.store.tenant_b
        assert upload(admin, self.a, lines(OWN)).json()["written"] == 1
        assert upload(admin, self.b, lines(VAULT)).json()["written"] == 1
        self.series = admin.get("/series", params={"tenant": self.b}).json()["items"][0]["id"]
        self.job = admin.post(f"/tenants/{self.b}/export", json={}).json()["id"]
        started = admin.post("/backfills", json={**SPEC, "tenant": self.b})
        assert started.status_code == 202, started.text
        self.backfill = started.json()["id"]
        said = admin.put(f"/tenants/{self.b}/calendars", json={"calendar": "24/7", "vendor": "VAULT-OF-B"})
        assert said.status_code == 200, said.text
        self.before = self.state()

    def id_of(self, path: str) -> str:
        """The other tenant's thing that a path is for."""
        return str({"series": self.series, "jobs": self.job, "backfills": self.backfill}.get(path.split("/")[1], ""))

    def state(self) -> list[str]:
        """Everything of B's, with its row versions."""
        found: list[str] = []
        for table, where in (
            ("series", "series_id >> 40 = 2"),
            ("bars", "series_id >> 40 = 2"),
            ("jobs", "tenant_no = 2"),
            ("backfills", "tenant_no = 2"),
            ("calendars", "tenant_no = 2"),
            ("tenants", "no = 2"),
        ):
            rows = self.api.store.rows(f"SELECT ctid::text, xmin::text, t::text FROM store.{table} AS t WHERE {where}")
            found += [str(row) for row in rows]
        return found


@pytest.fixture
def siege(
    api: Api,
    admin: httpx.Client,
    tenant_keys: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Iterator[Siege]:
    monkeypatch.setenv("DATASTORE_SOURCE_ROOT", str(tmp_path))
    with api.client(tenant_keys["a"]) as attacker:
        siege = Siege(api, admin, attacker)
        yield siege
        assert siege.state() == siege.before


def attacks(tenant: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Every way to name another tenant, or what is its own: method, path as it is described, what is sent."""
    ndjson = {"headers": {"Content-Type": "application/x-ndjson"}}
    gaps = {"vendor": "VAULT-OF-B", "start": "2024-01-02", "calendar": "24/7"}
    named = {"vendor": "VAULT-OF-B", "symbol": "SECRETB"}
    reads: list[tuple[str, dict[str, Any]]] = [
        ("bars", WINDOW),
        ("bars", {**WINDOW, "missing": "ignore"}),
        ("rows/{kind}", named),
        ("rows/{kind}", {}),
        ("latest-prices", named),
        ("option-chain", {**named, "at": "2024-02-01", "missing": "ignore"}),
        ("coverage", named),
        ("series", {}),
    ]
    return [
        *(
            ("GET", f"/tenants/{{tenant}}/{path}", {"params": {**asked, "format": format_}})
            for path, asked in reads
            for format_ in FORMATS
        ),
        ("GET", "/tenants/{tenant}", {}),
        ("GET", "/tenants/{tenant}/bars", {"params": WINDOW}),
        ("GET", "/tenants/{tenant}/bars", {"params": WINDOW, "headers": {"Accept": "application/x-ndjson"}}),
        ("GET", "/tenants/{tenant}/bars", {"params": WINDOW | {"timeframe": "1h", "rollup": "true"}}),
        ("GET", "/tenants/{tenant}/gaps", {"params": gaps}),
        ("POST", "/tenants/{tenant}/rows/{kind}", {"content": lines(VAULT), **ndjson}),
        ("POST", "/tenants/{tenant}/rows/{kind}", {"content": "nonsense", **ndjson}),
        ("POST", "/tenants/{tenant}/rows/{kind}/delete", {"json": {"vendor": "VAULT-OF-B", "dry_run": False}}),
        ("POST", "/tenants/{tenant}/rows/{kind}/delete", {"json": {"vendor": "VAULT-OF-B"}}),
        ("POST", "/tenants/{tenant}/series/rename", {"json": {"vendor": "VAULT-OF-B", "to_vendor": "x"}}),
        (
            "POST",
            "/tenants/{tenant}/series/rename",
            {"json": {"vendor": "VAULT-OF-B", "to_vendor": "x", "dry_run": False}},
        ),
        ("POST", "/tenants/{tenant}/export", {"json": {}}),
        ("GET", "/tenants/{tenant}/calendars", {}),
        ("PUT", "/tenants/{tenant}/calendars", {"json": {"calendar": "FX", "vendor": "VAULT-OF-B"}}),
        ("DELETE", "/tenants/{tenant}/calendars", {"params": {"vendor": "VAULT-OF-B"}}),
        ("GET", "/series/{id}", {}),
        ("GET", "/series", {"params": {"tenant": tenant}}),
        ("GET", "/freshness", {"params": {"tenant": tenant}}),
        ("GET", "/jobs", {"params": {"tenant": tenant}}),
        ("GET", "/backfills", {"params": {"tenant": tenant}}),
        ("GET", "/jobs/{id}", {}),
        ("POST", "/jobs/{id}/retry", {}),
        ("POST", "/jobs/{id}/cancel", {}),
        ("GET", "/backfills/{id}", {}),
        ("POST", "/backfills/{id}/cancel", {}),
        ("POST", "/backfills/{id}/resume", {}),
    ]


STORE_WIDE: list[tuple[str, str, Any]] = [
    ("GET", "/tenants", None),
    ("POST", "/tenants", {"name": "mine"}),
    ("POST", "/tenants/{tenant}/disable", None),
    ("POST", "/tenants/{tenant}/enable", None),
    ("POST", "/tenants/{tenant}/roles", {"role": "postgres"}),
    ("DELETE", "/tenants/{tenant}/roles/{role}", None),
    ("GET", "/tenants/{tenant}/deletion", None),
    ("DELETE", "/tenants/{tenant}", None),
    ("POST", "/migrate", None),
    ("GET", "/schema/version", None),
    ("GET", "/schema/check", None),
    ("GET", "/policies", None),
    ("PUT", "/policies/{relation}/{policy}", {"seconds": 864000}),
    ("DELETE", "/policies/{relation}/{policy}", None),
    ("POST", "/policies/apply", None),
    ("POST", "/policies/expire", {}),
    ("GET", "/policies/expiring", None),
    ("GET", "/aggregates", None),
    ("POST", "/aggregates/refresh", {}),
    ("GET", "/metrics", None),
    ("GET", "/vendors", None),
    ("PUT", "/vendors", {"vendor": "v", "case_sensitive": True}),
    ("DELETE", "/vendors", None),
    ("POST", "/backfills/plan", SPEC),
    ("POST", "/backfills", SPEC),
]
"""What a token for one tenant may not do at all, not even about its own."""

_IDS = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\d+")


def said(found: dict[str, Any]) -> str:
    """What a problem says, without which thing it is about."""
    return _IDS.sub("ID", f"{found['type']} {found['title']} {found['detail']}")


@reads_rows
@pytest.mark.parametrize("named", [False, on_tables(True)])
def test_resources_of_another_tenant_look_like_missing_ones(siege: Siege, named: bool) -> None:
    """The same answer as for what nobody has, to the last byte but for what was asked."""
    theirs, nobodys = ("b", "q") if named else (siege.b, str(uuid4()))
    for (method, path, given), (_, _, absent) in zip(attacks(theirs), attacks(nobodys), strict=True):
        there = path.replace("{tenant}", theirs).replace("{kind}", "bars").replace("{id}", siege.id_of(path))
        answer = siege.attacker.request(method, there, **given)
        found = problem(answer, 404)
        assert not [mark for mark in MARKS if mark in answer.text]
        nothing = path.replace("{tenant}", nobodys).replace("{kind}", "bars").replace("{id}", str(10**12))
        other = siege.attacker.request(method, nothing, **absent)
        assert said(problem(other, 404)) == said(found).replace(f"'{theirs}'", f"'{nobodys}'")
        assert {*answer.headers} == {*other.headers}


def test_an_operator_can_use_the_tenant_name_wherever_its_id_is_accepted(siege: Siege) -> None:
    of_tenants = [each for each in STORE_WIDE if "{tenant}" in each[1] and each[0] != "DELETE"]
    asked = [*attacks("b"), *((method, path, {"json": body or {}}) for method, path, body in of_tenants)]
    of_id = [*attacks(siege.b), *asked[len(attacks("b")) :]]
    named = 0
    for (method, path, given), (_, _, by_id) in zip(asked, of_id, strict=True):
        if ("{tenant}" not in path and given == by_id) or given.get("json", {}).get("dry_run") is False:
            continue
        named += 1
        answers = []
        for tenant, sent in (("b", given), (siege.b, by_id)):
            there = path.replace("{tenant}", tenant).replace("{kind}", "bars")
            answers.append(siege.admin.request(method, there, **sent).status_code)
        assert answers[0] == answers[1] != 404, path
    assert named >= 20
    for path in ("/backfills/plan", "/backfills"):
        assert siege.admin.post(path, json={**SPEC, "tenant": "b"}).status_code in (200, 202)
        assert problem(siege.admin.post(path, json={**SPEC, "tenant": "nobody"}), 404)
    siege.before = siege.state()


def test_an_error_about_an_unknown_tenant_does_not_name_others(siege: Siege) -> None:
    for client in (siege.attacker, siege.admin):
        detail = problem(client.get("/tenants/nobody"), 404)["detail"]
        assert detail == "there is no tenant 'nobody'"


def test_a_tenant_can_use_its_own_name_or_id(siege: Siege) -> None:
    own = {"symbol": "OWN", "vendor": "acme", "timeframe": "1m", "start": "2024-01-01", "end": "2024-02-01"}
    for client in (siege.attacker, siege.admin):
        by_id = client.get(f"/tenants/{siege.a}/bars", params=own).json()
        assert client.get("/tenants/a/bars", params=own).json() == by_id
        assert len(by_id["items"]) == 1
        assert client.get("/tenants/a").json()["id"] == siege.a
        for path in ("/series", "/freshness", "/jobs", "/backfills"):
            answers = [client.get(path, params={"tenant": tenant}) for tenant in ("a", siege.a)]
            assert {answer.status_code for answer in answers} == {200}
            assert answers[0].json() == answers[1].json() or path == "/freshness"


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("whose", ["a", "b", "q"])
def test_store_wide_operations_are_forbidden_for_a_tenant(siege: Siege, whose: str, named: bool) -> None:
    tenant = whose if named else {"a": siege.a, "b": siege.b, "q": str(uuid4())}[whose]
    filled = {"{tenant}": tenant, "{relation}": "bars", "{policy}": "retention_after"}
    for method, path, body in STORE_WIDE:
        for name, value in filled.items():
            path = path.replace(name, value)
        if body is SPEC:
            body = {**SPEC, "tenant": tenant}
        given: dict[str, Any] = (
            {"params": {"name": whose}} if (method, path) == ("DELETE", f"/tenants/{tenant}") else {}
        )
        problem(siege.attacker.request(method, path, json=body, **given), 403)


def test_every_endpoint_is_attacked(siege: Siege) -> None:
    described = siege.admin.get("/openapi.json").json()["paths"]
    every = {(method.upper(), path) for path, operations in described.items() for method in operations}
    attacked = {(method, path) for method, path, _ in (*attacks(siege.b), *STORE_WIDE)}
    # What is nobody's: how the service is, and the names of the world's calendars.
    assert every - attacked == {("GET", "/health"), ("GET", "/ready"), ("GET", "/calendars")}


@reads_rows
def test_lists_contain_only_items_of_the_tenant(siege: Siege) -> None:
    for path in ("/series", "/freshness", "/jobs", "/backfills"):
        answer = siege.attacker.get(path)
        assert answer.status_code == 200
        assert not [mark for mark in (*MARKS, siege.b) if mark in answer.text]
    assert [series["symbol"] for series in siege.attacker.get("/series").json()["items"]] == ["OWN"]
    siege.attacker.put(f"/tenants/{siege.a}/calendars", json={"calendar": "FX"})
    (own,) = siege.attacker.get(f"/tenants/{siege.a}/calendars").json()
    assert (own["tenant"], own["calendar"]) == (siege.a, "FX")
    assert [each["series"] for each in siege.attacker.get("/freshness").json()] == [1]
    assert siege.attacker.get("/jobs").json()["items"] == []
    # Behind one's own there is no more, wherever a page is said to begin.
    for after in (0, siege.series - 1):
        page = siege.attacker.get("/series", params={"after": after, "limit": 1000}).json()
        assert {series["tenant"] for series in page["items"]} <= {siege.a}
    assert siege.attacker.get("/jobs", params={"after": siege.job + 1}).json()["items"] == []


def test_a_tenant_cannot_see_which_host_runs_its_job(siege: Siege) -> None:
    def asked(client: httpx.Client) -> list[Any]:
        export: dict[str, Any] = {"json": {}, "headers": {"Idempotency-Key": "one"}}
        job = client.post(f"/tenants/{siege.a}/export", **export).json()
        siege.api.store.execute("UPDATE store.jobs SET worker = 'host-7:4711' WHERE id = %s", job["id"])
        again = client.post(f"/tenants/{siege.a}/export", **export)
        of_one = (("GET", ""), ("POST", "/cancel"), ("POST", "/retry"))
        answers = [again, *(client.request(method, f"/jobs/{job['id']}{path}") for method, path in of_one)]
        (listed,) = client.get("/jobs", params={"tenant": siege.a}).json()["items"]
        return [listed["worker"], *(answer.json()["worker"] for answer in answers)]

    assert set(asked(siege.attacker)) == {None}
    assert "host-7:4711" in asked(siege.admin)


def test_rows_that_name_another_tenant_are_rejected(siege: Siege) -> None:
    body = lines({**OWN, "tenant_id": siege.b, "close_price": 666.0}, {**OWN, "tenant_id": siege.a})
    done = upload(siege.attacker, siege.a, body).json()
    assert (done["written"], done["rejected"], done["rejects"][0]["line"]) == (1, 1, 1)


@reads_rows
def test_equal_series_of_two_tenants_are_kept_apart(siege: Siege) -> None:
    upload(siege.attacker, siege.a, lines({**VAULT, "close_price": 1.0}))
    mine = siege.attacker.get(f"/tenants/{siege.a}/bars", params=WINDOW).json()["items"]
    assert [(bar["close_price"], bar["tenant_id"]) for bar in mine] == [(1.0, siege.a)]
    theirs = siege.admin.get(f"/tenants/{siege.b}/bars", params=WINDOW).json()["items"]
    assert [bar["close_price"] for bar in theirs] == [71234.5]


def test_a_tenant_named_like_the_id_of_another_is_not_confused_with_it(siege: Siege) -> None:
    # The older one bears the younger one's id as its name.
    store, role = siege.api.store, f"login_{uuid4().hex}"
    store.execute("UPDATE store.tenants SET name = %s WHERE id = %s", siege.b, siege.a)
    assert siege.admin.get(f"/tenants/{siege.b}").json()["name"] == "b"
    assert siege.admin.get(f"/tenants/{siege.b}/deletion").json()["name"] == "b"
    store.execute(f"CREATE ROLE {role} LOGIN")
    try:
        assert siege.admin.post(f"/tenants/{siege.b}/roles", json={"role": role}).json()["id"] == siege.b
        assert siege.admin.post("/backfills", json={**SPEC, "tenant": siege.b}).json()["tenant"] == siege.b
        # To the older one's own token, too, it is the younger one's id, which is not there.
        problem(siege.attacker.get(f"/tenants/{siege.b}"), 404)
    finally:
        store.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
    siege.before = siege.state()


def test_a_pool_shared_by_all_tenants_does_not_leak_a_tenant(siege: Siege) -> None:
    """Requests of both tenants by turns over the same connections: each sees its own and nothing else."""
    for _ in range(20):
        for tenant, symbol, client in ((siege.a, "OWN", siege.attacker), (siege.b, "SECRETB", siege.admin)):
            vendor = "acme" if tenant == siege.a else "VAULT-OF-B"
            page = client.get(f"/tenants/{tenant}/bars", params=WINDOW | {"symbol": symbol, "vendor": vendor}).json()
            assert [bar["tenant_id"] for bar in page["items"]] == [tenant]
        problem(siege.attacker.get(f"/tenants/{siege.a}/bars", params=WINDOW), 404)
