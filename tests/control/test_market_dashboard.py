"""The dashboard of market data: every statement is run as a login bound to a tenant, as Grafana would send it."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
import yaml
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row
from psycopg.sql import SQL, Identifier, Literal

from datastore import tenants
from mds_client import MDS, Bar
from tests.conftest import Store
from tools import market_dashboard

pytestmark = pytest.mark.every_engine

DOCKER = Path(__file__).parents[2] / "docker"
START = datetime(2024, 1, 2, tzinfo=UTC)
CHOSEN = {"vendor": "o'neil", "symbol": "AAPL", "timeframe": "1m"}


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DOCKER / "grafana/dashboards/market.json").read_text(encoding="utf-8"))
    return found


def sent(statement: str, interval: timedelta = timedelta(minutes=5)) -> str:
    """A statement as Grafana sends it: its macros and variables replaced."""
    span = f"ts BETWEEN '{START:%Y-%m-%dT%H:%M:%SZ}' AND '{START + timedelta(days=3):%Y-%m-%dT%H:%M:%SZ}'"
    statement = statement.replace("$__timeFilter(ts)", span)
    statement = statement.replace("$__interval_ms", f"{interval.total_seconds() * 1000:.0f}")
    for name, value in CHOSEN.items():
        statement = statement.replace(f"${{{name}:sqlstring}}", Literal(value).as_string())
    assert "$" not in statement, statement
    return statement


@pytest.fixture
def login(store: Store) -> Iterator[str]:
    """The DSN of a login that is bound to the first tenant; the second has the same series with other prices."""
    for tenant, more in ((store.tenant_a, 0), (store.tenant_b, 5_000)):
        with MDS(dsn=store.dsn, tenant_id=tenant) as client:
            client.upsert_bars(
                {**CHOSEN, "ts": START + timedelta(minutes=at), "open_price": more + at, "high_price": more + at + 1,
                 "low_price": more + at - 1, "close_price": more + at + 0.5, "volume": 1}
                for at in range(10)
            )  # fmt: skip
            client.upsert_bars([Bar(vendor=f"only-{more}", symbol="X", timeframe="1d", ts=START, close_price=1)])
    role = f"grafana_{uuid4().hex[:12]}"
    store.execute(SQL("CREATE ROLE {} LOGIN PASSWORD 'secret'").format(Identifier(role)).as_string())
    try:
        tenants.bind_role(store.admin_dsn, "a", role)
        yield make_conninfo(store.dsn, user=role, password="secret")
    finally:
        store.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_every_dashboard_statement_returns_only_rows_of_the_bound_tenant(login: str) -> None:
    variables = {each["name"]: each["query"] for each in dashboard()["templating"]["list"] if each["type"] == "query"}
    statements = {
        f"{panel['title']} {target['refId']}": target
        for panel in dashboard()["panels"]
        for target in panel.get("targets", ())
    }
    assert len(statements) == 8
    with psycopg.connect(login, row_factory=dict_row) as connection:

        def rows(statement: str) -> list[dict[str, Any]]:
            return connection.execute(sent(statement).encode()).fetchall()

        for where, target in statements.items():
            found = rows(target["rawSql"])
            assert found, where
            if target["format"] == "time_series":
                assert isinstance(found[0]["time"], datetime)
                assert [row["time"] for row in found] == sorted(row["time"] for row in found)
            assert not [value for row in found for value in row.values() if isinstance(value, float) and value > 4_000
                        and "Age" not in where]  # fmt: skip
        candles = rows(statements["Candles and volume A"]["rawSql"])
        assert [tuple(row.values())[1:] for row in candles] == [(0, 5, -1, 4.5, 5), (5, 10, 4, 9.5, 5)]
        assert rows(statements["Bars a day A"]["rawSql"])[0]["bars"] == 10
        assert [row["vendor"] for row in rows(variables["vendor"])] == ["o'neil", "only-0"]
        assert [row["symbol"] for row in rows(variables["symbol"])] == ["AAPL"]
        assert [row["timeframe"] for row in rows(variables["timeframe"])] == ["1m"]


def test_dashboard_variables_appear_in_statements_only_as_quoted_text() -> None:
    text = json.dumps(dashboard())
    asked = set(re.findall(r"\$\{(\w+)(:\w+)?\}", text))
    titles = {("symbol", ""), ("datasource", "")}
    assert asked == titles | {(name, ":sqlstring") for name in market_dashboard.VARIABLES}


def test_the_data_source_is_provisioned_with_its_own_login() -> None:
    file = DOCKER / "grafana/provisioning/datasources/market.yml"
    (source,) = yaml.safe_load(file.read_text(encoding="utf-8"))["datasources"]
    compose = yaml.safe_load((DOCKER.parent / "docker-compose.yml").read_text(encoding="utf-8"))
    secret = re.fullmatch(r"\$__file\{/run/secrets/(\w+)\}", source["secureJsonData"]["password"])
    assert secret is not None
    assert secret[1] in compose["services"]["grafana"]["secrets"]
    assert secret[1] in compose["secrets"]
    assert source["type"] == dashboard()["templating"]["list"][0]["query"]
    # Not the login of services, which may be any tenant.
    assert source["user"] not in ("mds_service", "mds_admin", "postgres")
