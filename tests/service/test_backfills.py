"""Gaps and backfills over HTTP; that they are filled is in tests/service/test_example.py."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from datastore.service.tokens import MadeToken
from tests.conftest import Store
from tests.service.conftest import Api, problem
from tests.service.test_endpoints import lines, minutes, upload


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder that backfills may read."""
    monkeypatch.setenv("DATASTORE_SOURCE_ROOT", str(tmp_path))
    return tmp_path


def spec(store: Store, **more: Any) -> dict[str, Any]:
    return {
        "tenant": store.tenant_a,
        "vendor": "acme",
        "timeframe": "1m",
        "calendar": "24/7",
        "start": "2024-01-02T14:30:00Z",
        "end": "2024-01-02T15:30:00Z",
        "source": {"type": "files", "path": "{symbol}.ndjson"},
        **more,
    }


WINDOW = {"vendor": "acme", "start": "2024-01-02T14:30:00Z", "end": "2024-01-02T15:30:00Z", "calendar": "24/7"}


def test_gaps_are_returned_in_pages_with_totals(api: Api, admin: httpx.Client) -> None:
    upload(admin, api.store.tenant_a, lines(*minutes(60)[::2]))
    path = f"/tenants/{api.store.tenant_a}/gaps"
    first = admin.get(path, params=WINDOW | {"limit": "20"}).json()
    assert (first["expected"], first["missing"], len(first["gaps"])) == (60, 30, 20)
    second = admin.get(path, params=WINDOW | {"limit": "20", "after": first["next"]}).json()
    # What the first page has counted is not counted again.
    assert (second["expected"], len(second["gaps"]), second["next"]) == (0, 10, None)
    starts = [gap["start"] for gap in (*first["gaps"], *second["gaps"])]
    assert starts == sorted(set(starts))


def test_days_with_several_bars_are_found(api: Api, admin: httpx.Client) -> None:
    daily = [
        {**minutes(1)[0], "timeframe": "1d", "ts": f"2024-01-0{day}T0{hour}:00:00Z"}
        for day in (2, 3)
        for hour in (0, 5)
    ]
    upload(admin, api.store.tenant_a, lines(*daily))
    asked = {"vendor": "acme", "timeframe": "1d", "start": "2024-01-02", "end": "2024-01-04", "calendar": "XNYS"}
    found = admin.get("/tenants/a/gaps", params=asked).json()
    assert (found["missing"], found["repeated"]) == (0, 2)
    assert [(repeat["day"], repeat["bars"]) for repeat in found["repeats"]] == [("2024-01-02", 2), ("2024-01-03", 2)]


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"vendor": "nobody"}, 422),
        ({"calendar": "MARS"}, 422),
        ({"end": "2024-01-01T00:00:00Z"}, 422),
        ({"symbol": "NONE"}, 422),
        ({"timeframe": "soon"}, 422),
        ({"at_least": "0"}, 422),
        ({"after": "20"}, 422),
        ({"after": "WyJBIiwxXQ"}, 422),
        ({"after": "näh"}, 422),
    ],
)
def test_an_invalid_gap_check_is_rejected(api: Api, admin: httpx.Client, change: dict[str, str], status: int) -> None:
    upload(admin, api.store.tenant_a, lines(*minutes(2)))
    problem(admin.get(f"/tenants/{api.store.tenant_a}/gaps", params=WINDOW | change), status)


def test_a_calendar_can_be_set_replaced_and_removed_for_gap_checks(api: Api, admin: httpx.Client) -> None:
    upload(admin, api.store.tenant_a, lines(*minutes(60)[::2]))
    path = f"/tenants/{api.store.tenant_a}/calendars"
    asked = {name: value for name, value in WINDOW.items() if name != "calendar"}
    assert admin.get(path).json() == []
    problem(admin.get(f"/tenants/{api.store.tenant_a}/gaps", params=asked), 422)
    # New York opens at 14:30 UTC.
    said = {"calendar": "nyse", "vendor": " acme ", "symbol": "aapl"}
    made = {"tenant": api.store.tenant_a, "vendor": "acme", "symbol": "AAPL", "calendar": "XNYS"}
    assert admin.put(path, json=said).json() == made
    assert admin.get(path).json() == [made]
    found = admin.get(f"/tenants/{api.store.tenant_a}/gaps", params=asked).json()
    assert (found["expected"], found["missing"]) == (60, 30)
    assert admin.put(path, json={**said, "calendar": "FX"}).json() == {**made, "calendar": "FX"}
    admin.put(path, json={"calendar": "24/7"})
    assert [each["calendar"] for each in admin.get(path).json()] == ["24/7", "FX"]
    assert admin.delete(path, params={"vendor": "acme"}).json() == {"unset": False}
    assert admin.delete(path, params={"vendor": "acme", "symbol": "aapl"}).json() == {"unset": True}
    assert admin.delete(path).json() == {"unset": True}
    assert admin.get(path).json() == []


def test_available_calendars_are_listed(admin: httpx.Client) -> None:
    assert {"24/7", "FX", "XNYS", "NYSE"} <= set(admin.get("/calendars").json())


@pytest.mark.parametrize(
    "body",
    [
        {"calendar": "MARS"},
        {"calendar": ""},
        {"calendar": " "},
        {"calendar": "X" * 300},
        {"vendor": "acme"},
        {"calendar": "FX", "vendor": ""},
        {"calendar": "FX", "symbol": "  "},
        {"calendar": "FX", "symbol": "a\0b"},
        {"calendar": "FX", "more": 1},
    ],
)
def test_an_invalid_calendar_is_rejected(api: Api, admin: httpx.Client, body: dict[str, Any]) -> None:
    path = f"/tenants/{api.store.tenant_a}/calendars"
    problem(admin.put(path, json=body), 422)
    problem(admin.delete(path, params={"vendor": " "}), 422)
    assert admin.get(path).json() == []


def test_setting_a_calendar_needs_the_scope_operate(api: Api, tenant_keys: dict[str, MadeToken]) -> None:
    path = f"/tenants/{api.store.tenant_a}/calendars"
    with api.client(api.keys.read) as reader, api.client(tenant_keys["a"]) as its:
        problem(reader.put(path, json={"calendar": "FX"}), 403)
        problem(reader.delete(path), 403)
        assert its.put(path, json={"calendar": "FX"}).status_code == 200
        assert [each["calendar"] for each in reader.get(path).json()] == ["FX"]


def test_a_backfill_is_planned_started_once_inspected_cancelled_and_resumed(
    api: Api, admin: httpx.Client, source: Path
) -> None:
    upload(admin, api.store.tenant_a, lines(*minutes(50)))
    body = spec(api.store)
    plan = admin.post("/backfills/plan", json=body).json()
    assert (plan["series"], plan["missing"], plan["jobs"], len(plan["chunks"])) == (1, 10, 1, 1)
    assert admin.get("/backfills").json()["items"] == []
    started = admin.post("/backfills", json=body, headers={"Idempotency-Key": "one"})
    made = started.json()
    assert (started.status_code, started.headers["Location"]) == (202, f"/backfills/{made['id']}")
    assert (made["state"], made["missing"], made["jobs"]["queued"]) == ("queued", 10, 1)
    assert made["warning"].startswith("no worker runs: start one (datastore worker) that has DATASTORE_SOURCE_ROOT")
    again = admin.post("/backfills", json=body, headers={"Idempotency-Key": "one"})
    assert (again.status_code, again.json()["id"]) == (202, made["id"])
    problem(admin.post("/backfills", json=body | {"chunk_days": 1}, headers={"Idempotency-Key": "one"}), 409)
    assert admin.get(started.headers["Location"]).json()["id"] == made["id"]
    assert [each["id"] for each in admin.get("/backfills").json()["items"]] == [made["id"]]
    assert admin.post(f"/backfills/{made['id']}/cancel").json()["state"] == "cancelled"
    assert admin.post(f"/backfills/{made['id']}/resume").json()["state"] == "queued"
    for method, action in (("GET", ""), ("POST", "/cancel"), ("POST", "/resume")):
        problem(admin.request(method, f"/backfills/{made['id'] + 1}{action}"), 404)


@pytest.mark.parametrize(
    "change",
    [
        {"end": "2024-01-01T00:00:00Z"},
        {"tenant": ""},
        {"source": {"type": "nothing"}},
        {"source": {"type": "files", "path": "../../etc/passwd.csv"}},
        {"source": {"type": "http", "url": "http://127.0.0.1/"}},
        {"source": {}},
        {"calendar": "MARS"},
        {"symbols": []},
        {"chunk_days": 0},
        {"chunk_days": "7"},
        {"chunk_days": True},
        {"start": 1704067200},
        {"more": 1},
    ],
)
def test_an_invalid_backfill_is_rejected(api: Api, admin: httpx.Client, source: Path, change: dict[str, Any]) -> None:
    upload(admin, api.store.tenant_a, lines(*minutes(2)))
    for path in ("/backfills/plan", "/backfills"):
        problem(admin.post(path, json=spec(api.store) | change), 422)


def test_files_are_not_read_without_a_source_folder(api: Api, admin: httpx.Client) -> None:
    upload(admin, api.store.tenant_a, lines(*minutes(2)))
    assert "DATASTORE_SOURCE_ROOT" in problem(admin.post("/backfills/plan", json=spec(api.store)), 422)["detail"]


def test_a_backfill_of_an_unknown_tenant_is_not_found(api: Api, admin: httpx.Client, source: Path) -> None:
    body = spec(api.store, tenant="7d444840-9dc0-11d1-b245-5ffdce74fad2")
    for path in ("/backfills/plan", "/backfills"):
        problem(admin.post(path, json=body), 404)
