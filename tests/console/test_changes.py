"""What is changed in the browser: policies after a dry run, and bound logins; what a result is drawn as."""

from datetime import UTC, datetime, timedelta

import httpx
import pytest

from datastore import tenants, timescale_policies
from datastore.console.pages.sql.drawing import drawn
from datastore.querying import Result
from mds_client import Bar
from tests.console.conftest import Desk, csrf

pytestmark = [pytest.mark.many_sessions, pytest.mark.engines("postgres")]


def test_a_policy_is_set_after_a_preview_of_what_it_would_remove(desk: Desk, admin: httpx.Client) -> None:
    with desk.client(desk.store.tenant_a) as client:
        old = datetime.now(UTC) - timedelta(days=500)
        client.upsert_bars([Bar(vendor="v", symbol="S", timeframe="1m", ts=old, close_price=1.0)])
    form = {"csrf": csrf(admin), "which": "bars retention_after", "age": "400d"}
    text = admin.post("/console/policies/plan", data=form).text
    assert "1 rows of bars are older now" in text
    dsn = desk.store.admin_dsn

    def effective() -> timedelta | None:
        policies = timescale_policies.policies(dsn)
        return next(each.effective for each in policies if (each.relation, each.policy) == ("bars", "retention_after"))

    declared = effective()
    assert admin.post("/console/policies/set", data=form).status_code == 303
    assert effective() == timedelta(days=400)
    assert desk.store.rows("SELECT count(*) FROM store.bars") == [(1,)]
    assert "Unset" in admin.get("/console/policies").text
    assert admin.post("/console/policies/unset", data=form).status_code == 303
    assert effective() == declared


@pytest.mark.parametrize(
    ("which", "age", "told"),
    [
        ("bars retention_after", "soon", "is not an age"),
        ("bars retention_after", "1h", "two intervals of the rollup"),
        ("bars nothing", "5d", "has no policy"),
        ("", "5d", "has no policy"),
    ],
)
def test_an_invalid_policy_is_rejected_with_a_message(
    desk: Desk, admin: httpx.Client, which: str, age: str, told: str
) -> None:
    answer = admin.post("/console/policies/set", data={"csrf": csrf(admin), "which": which, "age": age})
    assert answer.status_code == 422
    if which:
        assert told in answer.text


def test_a_login_is_bound_and_unbound(desk: Desk, admin: httpx.Client) -> None:
    path = f"/console/tenants/{desk.store.tenant_a}"
    login = "mds_console_login"
    desk.store.execute(f"CREATE ROLE {login} LOGIN")
    try:
        form = {"csrf": csrf(admin), "role": login, "connections": "5"}
        assert f"{login} is bound" in admin.post(f"{path}/roles", data=form).text
        assert tenants.get_tenant(desk.store.admin_dsn, "a").roles == [login]
        assert f"Unbind {login}" in admin.get(path).text
        assert admin.post(f"{path}/roles/unbind", data=form).status_code == 303
        assert tenants.get_tenant(desk.store.admin_dsn, "a").roles == []
    finally:
        desk.store.execute(f"DROP ROLE {login}")


def result(columns: list[tuple[str, str]], *rows: tuple[str | None, ...]) -> Result:
    return Result(columns, list(rows), False, 0.0)


def test_a_result_with_a_time_column_is_drawn_over_time() -> None:
    columns = [("symbol", "text"), ("ts", "timestamp with time zone"), ("close", "double precision")]
    found = drawn(result(columns, ("A", "2024-01-02 15:30:00+00", "1.5"), ("A", "2024-01-03 15:30:00+00", "3")))
    assert found
    assert found.x_label == "ts (UTC)"
    assert [(line.name, len(line.dots)) for line in found.lines] == [("close", 2)]
    assert found.lines[0].dots[0].text == "close: 2024-01-02 15:30:00, 1.5"


@pytest.mark.parametrize(
    "rows",
    [
        [("1", "2")],
        [],
        [(None, "1"), ("2", None)],
        [("NaN", "1"), ("2", "Infinity")],
        [("1e308", "1"), ("-1e308", "1")],
    ],
)
def test_a_result_that_cannot_be_drawn_has_no_drawing(rows: list[tuple[str | None, ...]]) -> None:
    columns = [("n", "double precision"), ("m", "double precision")]
    assert drawn(result(columns, *rows)) is None


def test_a_constant_line_has_an_axis() -> None:
    found = drawn(result([("n", "integer"), ("m", "numeric")], ("1", "0"), ("2", "0")))
    assert found
    assert found.y_ticks
