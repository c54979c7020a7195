"""What is particular about a transaction-mode pooler; all that a server has a say in passes through it as well."""

import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.sql import SQL, Identifier

from datastore import tenants
from mds_client import MDS, ServerUnreachable
from mds_client.protocol.operations import Execute, Group, Operation
from tests.clients.faults import until
from tests.conftest import Client, Store

pytestmark = [pytest.mark.engines("pgbouncer"), pytest.mark.both_clients]

NOON = datetime(2024, 1, 2, 12, tzinfo=UTC)


def bars(count: int, price: float) -> list[dict[str, Any]]:
    return [
        {"vendor": "v", "symbol": "S", "timeframe": "1m", "ts": NOON + timedelta(minutes=n), "close_price": price}
        for n in range(count)
    ]


def connections(store: Store) -> int:
    """How many connections to the store's database the server has, this one apart."""
    ((count,),) = store.rows(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    return int(count)


def test_the_pooler_serves_more_clients_than_connections_each_as_its_tenant(store: Store) -> None:
    """Two tenants write series of the same name on the same few connections: a tenant that stayed on one shows."""
    tenants = (store.tenant_a, store.tenant_b)

    def work(number: int) -> tuple[str, set[float]]:
        tenant = tenants[number % 2]
        with MDS(dsn=store.dsn, tenant_id=tenant, pool_max=1, write_mode=("copy", "values")[number // 2 % 2]) as client:
            for _ in range(3):
                client.upsert_bars(bars(20, float(number % 2)))
            found = client.bars_window("S", "1m", NOON, NOON + timedelta(days=1), "v")
            return tenant, {cast("float", bar.close_price) for bar in found}

    with ThreadPoolExecutor(40) as threads:
        answers = list(threads.map(work, range(40)))
    assert answers == [(tenants[number % 2], {float(number % 2)}) for number in range(40)]
    # One that the pooler has closed may still be leaving.
    until(lambda: 0 < connections(store) <= 20)
    assert store.rows("SELECT count(*), count(DISTINCT series_id >> 40) FROM store.series") == [(2, 2)]


def test_more_statements_can_be_prepared_than_the_driver_caches(connect: Callable[..., Client], store: Store) -> None:
    client = connect(dsn=store.dsn, tenant_id=store.tenant_a, prepare_threshold=0, pool_min=1, pool_max=1)
    for _ in range(2):
        for number in range(150):
            assert client.run(_ask(f"SELECT {number} + %s::int", 1)) == number + 1
    assert connections(store) >= 1
    # Asked over the client's own connection: the pooler may give another one a session of its own.
    assert client.run(_ask("SELECT count(*)::int FROM pg_prepared_statements")) > 100


def _ask(statement: str, *parameters: object) -> Operation[Any]:
    def talk(_session: object) -> Any:
        (rows,) = yield Group((Execute(statement.encode(), parameters),), commit=True)
        return rows[0][0]

    return Operation("ask", talk)


def test_a_bound_login_acts_as_its_tenant_through_the_pooler(connect: Callable[..., Client], store: Store) -> None:
    password = secrets.token_urlsafe(12)
    role = f"desk_{secrets.token_hex(4)}"
    store.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{password}'")
    try:
        tenants.bind_role(store.admin_dsn, "b", role)
        client = connect(dsn=make_conninfo(store.dsn, user=role, password=password))
        assert client.upsert_bars(bars(1, 7.0)) == 1
        assert client.health().tenant_id == store.tenant_b
        assert store.rows(
            "SELECT t.name FROM store.series AS s JOIN store.tenants AS t ON t.no = s.series_id >> 40"
        ) == [("b",)]
        client.close()
    finally:
        store.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = %s", role)
        store.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_a_client_connects_after_the_server_had_refused_the_pooler(
    connect: Callable[..., Client], store: Store
) -> None:
    name = Identifier(str(conninfo_to_dict(store.superuser_dsn)["dbname"]))
    with psycopg.connect(make_conninfo(store.superuser_dsn, dbname="postgres"), autocommit=True) as admin:
        admin.execute(SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(name))
        try:
            with pytest.raises(psycopg.OperationalError):
                psycopg.connect(store.dsn, connect_timeout=2)
        finally:
            admin.execute(SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(name))
    client = connect(dsn=store.dsn, tenant_id=store.tenant_a)
    assert client.upsert_bars(bars(1, 1.0)) == 1


def test_a_wrong_password_is_rejected_and_not_shown_in_the_error(connect: Callable[..., Client], store: Store) -> None:
    wrong = secrets.token_urlsafe(12)
    with pytest.raises(ServerUnreachable, match="authentication failed") as caught:
        connect(dsn=make_conninfo(store.dsn, password=wrong)).health()
    assert wrong not in f"{caught.value} {caught.value!r} {caught.value.__cause__}"


def test_the_pooler_rejects_a_superuser(store: Store) -> None:
    direct = conninfo_to_dict(store.superuser_dsn)
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(
            make_conninfo(store.dsn, user=cast("str", direct["user"]), password=cast("str", direct["password"]))
        )
