"""SQL in the console: what a query finds, what it cannot do, and that nothing of it stays."""

import re
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import UUID

import pytest

from datastore import querying
from datastore.querying import QueryError, query
from datastore.service.tokens import MadeToken
from mds_client import MDS, Bar
from tests.conftest import Store
from tests.console.conftest import Desk, csrf

pytestmark = [pytest.mark.many_sessions, pytest.mark.engines("postgres")]

TS = datetime(2024, 1, 2, 15, 30, tzinfo=UTC)
LOGINS = "SELECT rolname FROM pg_roles WHERE starts_with(rolname, 'mds_query_')"


@pytest.fixture
def filled(store: Store) -> Iterator[Store]:
    """Both tenants have a bar."""
    for tenant, symbol in ((store.tenant_a, "SECRETA"), (store.tenant_b, "OWN")):
        with MDS({"dsn": store.dsn, "tenant_id": tenant}) as client:
            client.upsert_bars([Bar(vendor="v", symbol=symbol, timeframe="1m", ts=TS, close_price=1.5)])
    yield store
    assert store.rows(LOGINS) == []
    assert store.rows("SELECT FROM store.tenant_roles") == []


def ask(store: Store, statement: str, *, rows: int = 100, seconds: float = 10.0) -> querying.Result:
    """A query as tenant B."""
    return query(store.admin_dsn, UUID(store.tenant_b), statement, rows=rows, seconds=seconds)


def test_a_query_returns_rows_of_its_tenant_as_text_with_column_types(filled: Store) -> None:
    found = ask(filled, "SELECT symbol, ts, close_price, volume FROM bars -- ours;\n ; ")
    assert found.columns == [
        ("symbol", "text"), ("ts", "timestamp with time zone"), ("close_price", "double precision"),
        ("volume", "double precision"),
    ]  # fmt: skip
    assert found.rows == [("OWN", "2024-01-02 15:30:00+00", "1.5", None)]
    assert not found.more


def test_a_result_is_limited_in_rows_and_value_length(filled: Store) -> None:
    found = ask(filled, "SELECT n, repeat('x', 100000) FROM generate_series(1, 5000) AS n ORDER BY n DESC", rows=10)
    assert [row[0] for row in found.rows] == [str(n) for n in range(5000, 4990, -1)]
    assert found.more
    assert {len(row[1] or "") for row in found.rows} == {querying.LONGEST}


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT symbol FROM bars",
        "SELECT set_config('app.tenant_id', '{a}', true), query_to_xml('TABLE bars', true, true, '')::text",
        "SELECT set_config('role', 'mds_owner', true), query_to_xml('SELECT * FROM store.bars', true, true, '')::text",
        "SELECT query_to_xml('SELECT mds.use_tenant(''{a}''), symbol FROM bars', true, true, '')::text",
        "SELECT * FROM store.series",
        "SELECT * FROM pg_authid",
        "SELECT symbol FROM bars WHERE vendor = 'v') AS q(c0) UNION ALL SELECT symbol FROM (SELECT * FROM store.series",
        "SELECT 1; SELECT * FROM store.series",
        "SET ROLE mds_owner",
        "RESET SESSION AUTHORIZATION",
        "SELECT * FROM dblink('', 'SELECT 1') AS t(a int)",
        "SELECT pg_read_file('/etc/passwd')",
    ],
)
def test_no_query_reveals_data_of_another_tenant(filled: Store, statement: str) -> None:
    try:
        found = str(ask(filled, statement.replace("{a}", filled.tenant_a)))
    except QueryError as error:
        found = str(error)
    assert "SECRETA" not in found
    assert "root:" not in found


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO mds.bars_replace (series_id, ts) SELECT series_id, now() FROM mds.series RETURNING 1",
        "WITH gone AS (DELETE FROM bars RETURNING 1) SELECT * FROM gone",
        "SELECT query_to_xml('DELETE FROM store.bars', true, true, '')",
        "SELECT set_config('transaction_read_only', 'off', true), query_to_xml('CREATE TABLE t ()', true, true, '')",
        "SELECT d.* FROM mds.series, mds.delete_bars('{b}', series_id, '-infinity', 'infinity', 1000) AS d",
        "SELECT lo_from_bytea(0, 'x')",
        "DO $$ BEGIN COMMIT; END $$",
        "COPY bars TO STDOUT",
        "BEGIN",
        "SELECT nextval('store.series_n')",
    ],
)
def test_no_query_writes(filled: Store, statement: str) -> None:
    before = filled.rows("SELECT ctid::text, xmin::text FROM store.bars")
    with pytest.raises(QueryError):
        ask(filled, statement.replace("{b}", filled.tenant_b))
    assert filled.rows("SELECT ctid::text, xmin::text FROM store.bars") == before


def test_a_slow_query_is_cancelled_even_if_it_changes_the_timeout(filled: Store) -> None:
    with pytest.raises(QueryError, match=r"longer than 0\.5 s"):
        ask(filled, "SELECT set_config('statement_timeout', '0', false), pg_sleep(30)", seconds=0.5)


@pytest.mark.parametrize("statement", ["", " ; ", "SELECT", "\0", "SELEKT 1", "SELECT nothing FROM bars", "SELECT 1 +"])
def test_an_invalid_query_is_rejected(filled: Store, statement: str) -> None:
    with pytest.raises(QueryError):
        ask(filled, statement)


@pytest.mark.parametrize("bound", [True, False])
def test_the_next_query_drops_a_login_left_by_a_killed_process(filled: Store, bound: bool) -> None:
    filled.execute("CREATE ROLE mds_query_old LOGIN VALID UNTIL '2020-01-01'")
    filled.execute("GRANT mds_query_old TO CURRENT_USER")
    if bound:
        filled.execute(
            "INSERT INTO store.tenant_roles (role, tenant_no)"
            " SELECT 'mds_query_old', no FROM store.tenants WHERE id = %s",
            filled.tenant_b,
        )
    filled.execute("GRANT mds_query_old TO mds_admin WITH ADMIN OPTION")
    ask(filled, "SELECT 1")
    assert filled.rows(LOGINS) == []


def test_a_login_that_cannot_be_dropped_stops_no_query(filled: Store, caplog: pytest.LogCaptureFixture) -> None:
    """As one of another store of the same server, to which this store's control plane has no right."""
    filled.execute("CREATE ROLE mds_query_of_others LOGIN VALID UNTIL '2020-01-01'")
    try:
        assert ask(filled, "SELECT 1").rows == [("1",)]
        assert "the login mds_query_of_others of an earlier query cannot be dropped" in caplog.text
    finally:
        filled.execute("DROP ROLE mds_query_of_others")


def test_concurrent_queries_use_separate_logins(filled: Store) -> None:
    found: list[str | None] = []

    def run() -> None:
        found.append(ask(filled, "SELECT session_user").rows[0][0])

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 3


def test_the_page_escapes_results_and_errors(filled: Store, desk: Desk, tenant_keys: dict[str, MadeToken]) -> None:
    with desk.browser(tenant_keys["b"]) as client:
        secret = csrf(client)
        for statement, shown in (
            ('SELECT symbol AS "<b>" FROM bars', "&lt;b&gt;"),
            ("SELECT '<img src=x>'", "&lt;img src=x&gt;"),
            ('SELECT "<img src=x>" FROM bars', "&#34;&lt;img src=x&gt;&#34; does not exist"),
        ):
            text = client.post("/console/sql", data={"csrf": secret, "statement": statement}).text
            assert shown in text
            assert "<img" not in text
        answer = client.post(f"/console/sql?tenant={filled.tenant_a}", data={"csrf": secret, "statement": "SELECT 1"})
        assert answer.status_code == 404
        assert not re.search(
            "SECRETA", client.post("/console/sql", data={"csrf": secret, "statement": "TABLE bars"}).text
        )
