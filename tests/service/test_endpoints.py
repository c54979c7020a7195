"""Each endpoint does what the command of the same name does."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest

from datastore.connections import head
from datastore.writes import LARGEST_ARRAY
from mds_client import MDS
from tests.service.conftest import BAR, Api, problem

START = datetime(2024, 1, 2, 14, 30, tzinfo=UTC)


def lines(*rows: dict[str, Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def minutes(count: int, first: int = 0, **more: Any) -> list[dict[str, Any]]:
    """Bars of as many minutes, from that one on."""
    return [
        {**BAR, "ts": (START + timedelta(minutes=at)).isoformat(), "close_price": 100.0 + at, "volume": 1, **more}
        for at in range(first, first + count)
    ]


def upload(
    client: httpx.Client, tenant: str, body: str | bytes, kind: str = "bars", **parameters: str
) -> httpx.Response:
    return client.post(
        f"/tenants/{tenant}/rows/{kind}",
        content=body,
        headers={"Content-Type": "application/x-ndjson"},
        params=parameters,
    )


WINDOW = {"vendor": "acme", "symbol": "AAPL", "timeframe": "1m", "start": "2024-01-02", "end": "2024-01-03"}


def test_health_and_readiness_need_no_token(api: Api) -> None:
    with api.client(None) as client:
        assert client.get("/health").json()["status"] == "ok"
        ready = client.get("/ready").json()
    assert (ready["reason"], ready["engine"]) == (None, api.store.engine)
    assert ready["schema_version"] == ready["head"] == head()


def test_the_schema_version_is_returned_and_migrating_again_changes_nothing(api: Api, admin: httpx.Client) -> None:
    assert admin.get("/schema/version").json()["schema_version"] == head()
    assert admin.get("/schema/check").json() == {"drift": []}
    assert admin.post("/migrate").json() == {"before": head(), "after": head(), "objects": []}


def test_a_policy_is_set_and_unset_in_seconds(api: Api, admin: httpx.Client) -> None:
    def retention(answer: httpx.Response) -> tuple[Any, bool]:
        assert answer.status_code == 200, answer.text
        (found,) = (each for each in answer.json() if (each["relation"], each["policy"]) == ("bars", "retention_after"))
        return found["effective"], found["is_set"]

    assert retention(admin.get("/policies")) == (None, False)
    path = "/policies/bars/retention_after"
    assert retention(admin.put(path, json={"seconds": 400 * 86400})) == (400 * 86400, True)
    assert retention(admin.post("/policies/apply")) == (400 * 86400, True)
    assert retention(admin.put(path, json={"seconds": None})) == (None, True)
    assert retention(admin.delete(path)) == (None, False)


def test_a_vendor_can_be_declared_case_sensitive(api: Api, admin: httpx.Client) -> None:
    assert admin.get("/vendors").json() == []
    cased = {"vendor": "acme", "case_sensitive": True}
    assert admin.put("/vendors", json=cased).json()["vendor"] == "acme"
    assert [each["vendor"] for each in admin.get("/vendors").json()] == ["acme"]
    for body in ({"vendor": "acme"}, {"vendor": "acme", "case_sensitive": False}, {**cased, "vendor": " "}):
        problem(admin.put("/vendors", json=body), 422)
    for token in (api.keys.read, api.keys.operate):
        with api.client(token) as client:
            problem(client.put("/vendors", json=cased), 403)
            problem(client.delete("/vendors", params={"vendor": "acme"}), 403)
    path = f"/tenants/{api.store.tenant_a}"
    row = {"vendor": "acme", "timeframe": "1m", "ts": "2024-01-02T15:30:00Z"}
    rows = [{**row, "symbol": symbol, "close_price": at} for at, symbol in enumerate(("AMpB", "AMPB"))]
    assert upload(admin, api.store.tenant_a, lines(*rows)).json()["written"] == 2
    found = admin.get(f"{path}/bars", params={**WINDOW, "symbol": "AMpB"}).json()
    assert [(each["symbol"], each["close_price"]) for each in found["items"]] == [("AMpB", 0.0)]
    assert "AMpb" in problem(admin.get(f"{path}/bars", params={**WINDOW, "symbol": "AMpb"}), 404)["detail"]
    latest = admin.get(f"{path}/latest-prices", params={"vendor": "acme", "symbol": ["AMpB", "AMPB"]}).json()
    assert {each["symbol"]: each["price"] for each in latest} == {"AMpB": 0.0, "AMPB": 1.0}
    assert "AMpB" in problem(admin.delete("/vendors", params={"vendor": "acme"}), 409)["detail"]
    assert admin.delete("/vendors", params={"vendor": "other"}).json() == {"unset": False}


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/policies/bars/retention_after", {"seconds": 60}, 422),
        ("/policies/bars/retention_after", {"seconds": -1}, 422),
        ("/policies/bars/retention_after", {"seconds": "long"}, 422),
        ("/policies/bars/retention_after", {}, 422),
        ("/policies/nothing/retention_after", {"seconds": 864000}, 404),
        ("/policies/bars/refresh_within", {"seconds": 864000}, 404),
        ("/policies/bars/nothing", {"seconds": 864000}, 422),
    ],
)
def test_an_invalid_policy_is_rejected(admin: httpx.Client, path: str, body: Any, status: int) -> None:
    problem(admin.put(path, json=body), status)


def test_rollups_are_listed(api: Api, admin: httpx.Client) -> None:
    found = admin.get("/aggregates").json()
    assert [each["name"] for each in found] == ["bars_5m", "bars_15m", "bars_1h", "bars_1d"]
    assert {each["stored"] for each in found} == {api.store.engine == "timescale"}


@pytest.mark.every_engine
def test_refreshing_a_range_enqueues_one_job_per_idempotency_key(admin: httpx.Client) -> None:
    body = {"start": "2024-01-01T00:00:00Z", "end": "2024-02-01T00:00:00Z", "rollups": ["bars_1h"]}
    answer = admin.post("/aggregates/refresh", json=body, headers={"Idempotency-Key": "january"})
    job = answer.json()
    assert (answer.status_code, answer.headers["Location"]) == (202, f"/jobs/{job['id']}")
    assert (job["state"], job["job_type"]) == ("queued", "refresh-aggregates")
    assert admin.get(answer.headers["Location"]).json() == job
    again = admin.post("/aggregates/refresh", json=body, headers={"Idempotency-Key": "january"})
    assert (again.status_code, again.json()) == (202, job)
    other = admin.post("/aggregates/refresh", json={}, headers={"Idempotency-Key": "january"})
    assert "already exists" in problem(other, 409)["detail"]
    assert admin.post("/aggregates/refresh", json=body).json()["id"] != job["id"]


@pytest.mark.every_engine
def test_retention_lists_what_would_expire_and_enqueues_a_job(admin: httpx.Client) -> None:
    assert admin.get("/policies/expiring").json() == []
    assert admin.post("/policies/expire", json={"kind": "bars"}).json()["job_type"] == "expire-rows"
    problem(admin.post("/policies/expire", json={"kind": "nothing"}), 422)


def test_tenants_are_created_listed_in_pages_and_found(api: Api, admin: httpx.Client) -> None:
    made = admin.post("/tenants", json={"name": "desk"})
    assert (made.status_code, made.headers["Location"]) == (201, f"/tenants/{made.json()['id']}")
    assert admin.get(made.headers["Location"]).json() == made.json()
    names = []
    after = None
    while True:
        page = admin.get("/tenants", params={"limit": 2} | ({} if after is None else {"after": after})).json()
        assert len(page["items"]) <= 2
        names += [tenant["name"] for tenant in page["items"]]
        if (after := page["next"]) is None:
            break
    assert names == ["a", "b", "desk"]


def test_requesting_a_tenant_twice_with_one_key_creates_it_once(admin: httpx.Client) -> None:
    first, second = (
        admin.post("/tenants", json={"name": "desk"}, headers={"Idempotency-Key": "one"}) for _ in range(2)
    )
    assert first.json() == second.json()
    problem(admin.post("/tenants", json={"name": "other"}, headers={"Idempotency-Key": "one"}), 409)
    problem(admin.post("/tenants", json={"name": "desk"}), 409)


def test_a_tenant_with_a_given_id_cannot_be_created_with_an_idempotency_key(admin: httpx.Client) -> None:
    """Two requests with one key and two ids would be two tenants."""
    body = {"name": "desk", "id": str(uuid4())}
    assert "pass an id or an Idempotency-Key, not both" in problem(
        admin.post("/tenants", json=body, headers={"Idempotency-Key": "one"}), 422
    )["detail"]  # fmt: skip
    assert admin.post("/tenants", json=body).json()["id"] == body["id"]
    problem(admin.post("/tenants", json=body), 409)


def test_a_disabled_tenant_takes_no_rows_until_it_is_enabled(api: Api, admin: httpx.Client) -> None:
    tenant = api.store.tenant_a
    assert admin.post(f"/tenants/{tenant}/disable").json()["disabled_at"] is not None
    problem(upload(admin, tenant, lines(BAR)), 409)
    assert admin.post(f"/tenants/{tenant}/enable").json()["disabled_at"] is None
    assert upload(admin, tenant, lines(BAR)).json()["written"] == 1


def test_responses_about_a_disabled_tenant_are_documented(api: Api, admin: httpx.Client) -> None:
    tenant = api.store.tenant_a
    upload(admin, tenant, lines(BAR))
    admin.post(f"/tenants/{tenant}/disable")
    for path, operations in admin.get("/openapi.json").json()["paths"].items():
        if path.startswith("/tenants/{tenant}") and "get" in operations:
            asked = {**WINDOW, "calendar": "24/7", "at": WINDOW["end"]}
            known = {each["name"] for each in operations["get"]["parameters"] if each["in"] == "query"}
            given = {name: value for name, value in asked.items() if name in known}
            answer = admin.get(path.replace("{tenant}", tenant).replace("{kind}", "bars"), params=given)
            assert str(answer.status_code) in operations["get"]["responses"], (path, answer.text)
            # What is read through the views is refused; the catalogue of series is the control plane's.
            read = operations["get"]["tags"] == ["reading"] and not path.endswith("/series")
            assert answer.status_code == (409 if read else 200), (path, answer.text)


def test_a_role_is_bound_and_unbound(api: Api, admin: httpx.Client) -> None:
    role = f"login_{uuid4().hex}"
    problem(admin.post(f"/tenants/{api.store.tenant_a}/roles", json={"role": role}), 409)
    api.store.execute(f"CREATE ROLE {role} LOGIN")
    try:
        bound = admin.post(f"/tenants/{api.store.tenant_a}/roles", json={"role": role})
        assert bound.json()["roles"] == [role]
        problem(admin.delete(f"/tenants/{api.store.tenant_b}/roles/{role}"), 409)
        assert admin.delete(f"/tenants/{api.store.tenant_a}/roles/{role}").json()["roles"] == []
    finally:
        api.store.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_a_tenant_deletion_lists_what_would_be_deleted_and_enqueues_one_job(api: Api, admin: httpx.Client) -> None:
    tenant = api.store.tenant_a
    upload(admin, tenant, lines(*minutes(3)))
    plan = admin.get(f"/tenants/{tenant}/deletion").json()
    assert (plan["rows"]["bars"], plan["series"]) == (3, 1)
    problem(admin.delete(f"/tenants/{tenant}"), 422)
    problem(admin.delete(f"/tenants/{tenant}", params={"name": "b"}), 409)
    jobs = [admin.delete(f"/tenants/{tenant}", params={"name": "a"}) for _ in range(2)]
    assert [job.status_code for job in jobs] == [202, 202]
    assert jobs[0].json() == jobs[1].json()


def test_an_export_enqueues_a_job_of_the_tenant(api: Api, admin: httpx.Client) -> None:
    made = admin.post(f"/tenants/{api.store.tenant_a}/export", json={"kinds": ["bars"]})
    assert (made.status_code, made.json()["tenant"]) == (202, api.store.tenant_a)
    problem(admin.post(f"/tenants/{api.store.tenant_a}/export", json={"kinds": ["nothing"]}), 422)


def test_uploading_the_same_rows_again_changes_nothing(api: Api, admin: httpx.Client) -> None:
    body = lines(*minutes(10))
    done = upload(admin, api.store.tenant_a, body).json()
    assert done == {"kind": "bars", "lines": 10, "written": 10, "rejected": 0, "rejects": []}
    before = api.store.rows("SELECT ctid::text, xmin::text FROM store.bars ORDER BY 1")
    assert upload(admin, api.store.tenant_a, body).json() == done
    assert api.store.rows("SELECT ctid::text, xmin::text FROM store.bars ORDER BY 1") == before
    with MDS(dsn=api.store.dsn, tenant_id=api.store.tenant_a) as client:
        assert [bar.close_price for bar in client.bars_window("AAPL", "1m", START, START + timedelta(1), "acme")] == [
            100.0 + at for at in range(10)
        ]


def test_invalid_lines_are_reported_by_number_and_the_others_are_written(api: Api, admin: httpx.Client) -> None:
    body = lines(BAR) + "\n{not json}\n" + lines({**BAR, "symbol": ""}, {**BAR, "close_price": 1})
    done = upload(admin, api.store.tenant_a, body).json()
    assert (done["lines"], done["written"], done["rejected"]) == (4, 2, 2)
    assert [reject["line"] for reject in done["rejects"]] == [3, 4]
    assert "symbol" in done["rejects"][1]["reason"]


def test_an_upload_without_a_valid_row_is_a_problem_that_lists_the_lines(api: Api, admin: httpx.Client) -> None:
    found = problem(upload(admin, api.store.tenant_a, "nonsense\n" * 150), 422)
    assert found["errors"][0]["where"] == "body.line 1"
    assert len(found["errors"]) == 100


def test_a_json_array_can_be_uploaded_up_to_a_size_limit(api: Api, admin: httpx.Client) -> None:
    rows = [{**BAR, "ts": f"2024-01-02T15:{minute:02}:00Z"} for minute in range(3)]
    assert upload(admin, api.store.tenant_a, json.dumps(rows)).json()["written"] == 3
    large = upload(admin, api.store.tenant_a, json.dumps(rows) + " " * LARGEST_ARRAY)
    assert "a JSON array of more than 8 MiB" in problem(large, 422)["detail"]


def test_rows_are_deleted_after_a_dry_run(api: Api, admin: httpx.Client) -> None:
    upload(admin, api.store.tenant_a, lines(BAR))
    path = f"/tenants/{api.store.tenant_a}/rows/bars/delete"
    would = admin.post(path, json={"vendor": BAR["vendor"]}).json()
    assert (would["rows"], would["dry_run"], len(would["series"])) == (1, True, 1)
    done = admin.post(path, json={"vendor": BAR["vendor"], "dry_run": False}).json()
    assert (done["rows"], done["dry_run"]) == (1, False)
    assert api.store.rows("SELECT count(*) FROM store.bars") == [(0,)]
    problem(admin.post(path, json={"vendor": BAR["vendor"]}), 404)


def test_series_are_renamed_after_a_dry_run(api: Api, admin: httpx.Client) -> None:
    upload(admin, api.store.tenant_a, lines(BAR))
    path = f"/tenants/{api.store.tenant_a}/series/rename"
    asked = {"vendor": BAR["vendor"], "symbols": [BAR["symbol"]], "to_symbol": "meta"}
    would = admin.post(path, json=asked).json()
    assert (would["dry_run"], would["series"][0]["to_symbol"]) == (True, "META")
    assert admin.post(path, json={**asked, "dry_run": False}).json()["series"] == would["series"]
    assert api.store.rows("SELECT symbol FROM store.series") == [("META",)]
    problem(admin.post(path, json=asked), 404)
    upload(admin, api.store.tenant_a, lines(BAR))
    taken = problem(admin.post(path, json=asked), 409)
    assert "there is a series of that name already: bars" in taken["detail"]
    problem(admin.post(path, json={"vendor": BAR["vendor"]}), 422)


def test_an_upload_can_set_on_conflict(api: Api, admin: httpx.Client) -> None:
    upload(admin, api.store.tenant_a, lines(BAR))
    upload(admin, api.store.tenant_a, lines({**BAR, "close_price": 1.0}), on_conflict="keep")
    assert admin.get(f"/tenants/{api.store.tenant_a}/bars", params=WINDOW).json()["items"][0]["close_price"] == 187.25


def test_an_upload_may_be_sent_in_chunks(api: Api, admin: httpx.Client) -> None:
    def chunks() -> Any:
        for at in range(0, 20_000, 500):
            yield lines(*minutes(500, at)).encode()

    answer = admin.post(
        f"/tenants/{api.store.tenant_a}/rows/bars",
        content=chunks(),
        headers={"Content-Type": "application/x-ndjson"},
    )
    assert answer.json()["written"] == 20_000


def test_pages_of_bars_join_without_gaps_or_duplicates(api: Api, admin: httpx.Client) -> None:
    upload(admin, api.store.tenant_a, lines(*minutes(25)))
    path = f"/tenants/{api.store.tenant_a}/bars"
    found: list[float] = []
    start = WINDOW["start"]
    sizes = []
    while start is not None:
        # Put together by hand, as a shell does: what is handed out needs no escaping.
        asked = "&".join(f"{name}={value}" for name, value in {**WINDOW, "start": start, "limit": "10"}.items())
        page = admin.get(f"{path}?{asked}").json()
        found += [bar["close_price"] for bar in page["items"]]
        sizes.append(len(page["items"]))
        start = page["next"]
    assert found == [100.0 + at for at in range(25)]
    assert sizes == [10, 10, 5]


def test_the_next_page_of_bars_starts_at_the_exact_time_of_a_bar(api: Api, admin: httpx.Client) -> None:
    """To the microsecond, because what is between two pages would be lost."""
    rows = [{**BAR, "ts": f"2024-01-02T14:30:00{rest}Z"} for rest in ("", ".000001", ".5")]
    upload(admin, api.store.tenant_a, lines(*rows))
    path = f"/tenants/{api.store.tenant_a}/bars"
    times = [bar["ts"] for bar in admin.get(path, params=WINDOW).json()["items"]]
    assert times[0] == "2024-01-02T14:30:00Z"
    for count in (1, 2):
        assert admin.get(path, params={**WINDOW, "limit": str(count)}).json()["next"] == times[count]


@pytest.mark.parametrize("timeframe", ["1m", "5m"])
def test_bars_are_streamed_if_ndjson_is_accepted(api: Api, admin: httpx.Client, timeframe: str) -> None:
    upload(admin, api.store.tenant_a, lines(*minutes(600)))
    answer = admin.get(
        f"/tenants/{api.store.tenant_a}/bars",
        params={**WINDOW, "timeframe": timeframe, "rollup": str(timeframe != "1m")},
        headers={"Accept": "application/x-ndjson"},
    )
    assert answer.headers["content-type"] == "application/x-ndjson"
    bars = [json.loads(line) for line in answer.text.splitlines()]
    assert len(bars) == {"1m": 570, "5m": 114}[timeframe]
    assert {bar["timeframe"] for bar in bars} == {timeframe}


@pytest.mark.every_engine
def test_a_rollup_aggregates_its_minute_bars(api: Api, admin: httpx.Client) -> None:
    upload(admin, api.store.tenant_a, lines(*minutes(10)))
    path = f"/tenants/{api.store.tenant_a}/bars"
    page = admin.get(path, params={**WINDOW, "timeframe": "5m", "rollup": "true", "limit": "1"}).json()
    assert [(bar["close_price"], bar["volume"]) for bar in page["items"]] == [(104.0, 5)]
    rest = admin.get(path, params={**WINDOW, "timeframe": "5m", "rollup": "true", "start": page["next"]}).json()
    assert ([bar["close_price"] for bar in rest["items"]], rest["next"]) == ([109.0], None)
    stored = admin.get(path, params=WINDOW).json()["items"][0]
    assert stored["tenant_id"] == api.store.tenant_a
    assert {bar["tenant_id"] for bar in (*page["items"], *rest["items"])} == {api.store.tenant_a}


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"symbol": "NONE"}, 404),
        ({"vendor": "nobody"}, 404),
        ({"timeframe": "1h"}, 404),
        ({"timeframe": "soon"}, 422),
        ({"timeframe": "7m", "rollup": "true"}, 422),
        ({"start": "2024-01-04"}, 422),
        ({"start": "0001-01-01"}, 422),
        ({"end": "yesterday"}, 422),
        ({"start": "2024"}, 422),
        ({"start": "1704196800"}, 422),
        ({"limit": "0"}, 422),
        ({"symbol": "\0"}, 422),
    ],
)
@pytest.mark.parametrize("accept", ["application/json", "application/x-ndjson"])
def test_an_invalid_window_is_a_problem(
    api: Api, admin: httpx.Client, change: dict[str, str], status: int, accept: str
) -> None:
    upload(admin, api.store.tenant_a, lines(BAR))
    path = f"/tenants/{api.store.tenant_a}/bars"
    problem(admin.get(path, params=WINDOW | change, headers={"Accept": accept}), status)


def test_series_and_freshness_describe_the_stored_rows(api: Api, admin: httpx.Client) -> None:
    for tenant in (api.store.tenant_a, api.store.tenant_b):
        upload(admin, tenant, lines(*minutes(2), *minutes(1, symbol="MSFT")))
    page = admin.get("/series", params={"limit": 3}).json()
    rest = admin.get("/series", params={"limit": 3, "after": page["next"]}).json()
    found = [(each["tenant"], each["symbol"]) for each in (*page["items"], *rest["items"])]
    both = (api.store.tenant_a, api.store.tenant_b)
    assert found == [(tenant, symbol) for tenant in both for symbol in ("AAPL", "MSFT")]
    assert rest["next"] is None
    one = page["items"][0]
    assert admin.get(f"/series/{one['id']}").json() == one
    problem(admin.get(f"/series/{one['id'] + 1000}"), 404)
    (fresh,) = admin.get("/freshness", params={"tenant": api.store.tenant_a}).json()
    assert (fresh["series"], fresh["newest"]) == (2, "2024-01-02T14:31:00Z")
    assert fresh["age"] > 86400


def test_jobs_are_listed_newest_first_a_page_at_a_time(admin: httpx.Client) -> None:
    made = [admin.post("/aggregates/refresh", json={}).json()["id"] for _ in range(5)]
    first = admin.get("/jobs", params={"limit": 3}).json()
    second = admin.get("/jobs", params={"limit": 3, "after": first["next"]}).json()
    assert [job["id"] for job in (*first["items"], *second["items"])] == made[::-1]
    assert second["next"] is None
    assert admin.get("/jobs", params={"state": "failed"}).json()["items"] == []
    problem(admin.get("/jobs", params={"state": "tired"}), 422)


def test_a_job_can_be_cancelled_and_retried(admin: httpx.Client) -> None:
    job = admin.post("/aggregates/refresh", json={}).json()["id"]
    assert admin.post(f"/jobs/{job}/cancel").json()["state"] == "cancelled"
    assert admin.post(f"/jobs/{job}/retry").json()["state"] == "queued"
    for method, path in (("GET", ""), ("POST", "/retry"), ("POST", "/cancel")):
        problem(admin.request(method, f"/jobs/{job + 100}{path}"), 404)


def test_requests_about_an_unknown_tenant_return_not_found(admin: httpx.Client) -> None:
    nobody = str(uuid4())
    problem(admin.get(f"/tenants/{nobody}"), 404)
    problem(upload(admin, nobody, lines(BAR)), 404)
    problem(admin.get(f"/tenants/{nobody}/bars", params=WINDOW), 404)
    problem(admin.get("/series", params={"tenant": nobody}), 404)
    problem(admin.get("/jobs", params={"tenant": nobody}), 404)
    problem(admin.get("/freshness", params={"tenant": nobody}), 404)
    problem(admin.delete(f"/tenants/{nobody}", params={"name": "a"}), 404)
    for action in ("disable", "enable"):
        problem(admin.post(f"/tenants/{nobody}/{action}"), 404)
