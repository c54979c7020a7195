"""`mds_client.rls`: a tenant for connections that are not the client's."""

from collections.abc import Callable

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from mds_client import ConfigurationError, MDSOperationalError, RLSDenied
from mds_client.rls import atenant, dsn_with_tenant, tenant, tenant_of_dsn
from tests.conftest import Client, Store

WHO = "SELECT id::text FROM public.tenants"
UNKNOWN = "00000000-0000-4000-8000-000000000000"

in_the_options = pytest.mark.directly("a pooler in transaction mode drops the DSN's options")


@in_the_options
def test_a_connection_with_a_tenant_in_its_dsn_acts_as_that_tenant(store: Store) -> None:
    with psycopg.connect(dsn_with_tenant(store.dsn, store.tenant_b)) as connection:
        assert connection.execute(WHO).fetchall() == [(store.tenant_b,)]


@in_the_options
def test_the_last_tenant_set_in_a_dsn_wins(store: Store) -> None:
    with psycopg.connect(dsn_with_tenant(dsn_with_tenant(store.dsn, store.tenant_b), store.tenant_a)) as connection:
        assert connection.execute(WHO).fetchall() == [(store.tenant_a,)]


@in_the_options
@pytest.mark.parametrize("options", ["-c work_mem=4321kB", "-cwork_mem=4321kB", "--work-mem=4321kB"])
def test_setting_a_tenant_keeps_other_options_of_the_dsn(store: Store, options: str) -> None:
    dsn = make_conninfo(store.dsn, options=options)
    with psycopg.connect(dsn_with_tenant(dsn, store.tenant_a)) as connection:
        assert connection.execute("SHOW work_mem").fetchone() == ("4321kB",)
        assert connection.execute(WHO).fetchall() == [(store.tenant_a,)]


@in_the_options
def test_options_with_spaces_and_backslashes_reach_the_server_unchanged(store: Store) -> None:
    name = r"one two\three  '$x"
    dsn = make_conninfo(store.dsn, options="-c app.note=" + name.replace("\\", "\\\\").replace(" ", "\\ "))
    with psycopg.connect(dsn_with_tenant(dsn, store.tenant_a)) as connection:
        assert connection.execute("SHOW app.note").fetchone() == (name,)


def test_a_client_takes_the_tenant_from_its_dsn(connect: Callable[..., Client], store: Store) -> None:
    client = connect(dsn=dsn_with_tenant(store.dsn, store.tenant_b))
    assert (client.tenant_id, client.health().tenant_id) == (store.tenant_b, store.tenant_b)


def test_the_tenant_setting_of_a_client_overrides_its_dsn(connect: Callable[..., Client], store: Store) -> None:
    client = connect(dsn=dsn_with_tenant(store.dsn, store.tenant_b), tenant_id=store.tenant_a)
    assert (client.tenant_id, client.health().tenant_id) == (store.tenant_a, store.tenant_a)


@pytest.mark.parametrize("helper", [dsn_with_tenant, lambda dsn, tenant_id: tenant(psycopg.connect(dsn), tenant_id)])
def test_a_tenant_that_is_not_a_uuid_is_rejected(store: Store, helper: Callable[[str, str], object]) -> None:
    if helper is dsn_with_tenant:
        with pytest.raises(ConfigurationError, match="'me' is not a uuid"):
            helper(store.dsn, "me")
        return
    with (
        psycopg.connect(store.dsn) as connection,
        pytest.raises(ConfigurationError, match="'me' is not a uuid"),
        tenant(connection, "me"),
    ):
        pytest.fail("there is no such tenant")


@pytest.mark.parametrize("autocommit", [True, False])
def test_the_tenant_block_commits_and_resets_the_tenant(store: Store, autocommit: bool) -> None:
    with psycopg.connect(store.dsn, autocommit=autocommit) as connection:
        with tenant(connection, store.tenant_a) as same:
            assert same is connection
            connection.execute("INSERT INTO mds.series (kind, vendor) VALUES ('bars', 'v')")
        assert connection.execute(WHO).fetchall() == []
    assert store.rows("SELECT vendor FROM store.series") == [("v",)]


def test_a_failing_tenant_block_rolls_back_and_resets_the_tenant(store: Store) -> None:
    with psycopg.connect(store.dsn) as connection:
        with pytest.raises(LookupError), tenant(connection, store.tenant_a):  # noqa: PT012 - what it undoes
            connection.execute("INSERT INTO mds.series (kind, vendor) VALUES ('bars', 'v')")
            raise LookupError
        assert connection.execute(WHO).fetchall() == []
    assert store.rows("SELECT vendor FROM store.series") == []


def test_a_tenant_block_within_a_transaction_is_a_savepoint(store: Store) -> None:
    with psycopg.connect(store.dsn) as connection, tenant(connection, store.tenant_a):
        connection.execute("INSERT INTO mds.series (kind, vendor) VALUES ('bars', 'kept')")
        with pytest.raises(LookupError), tenant(connection, store.tenant_b):  # noqa: PT012 - what it undoes
            connection.execute("INSERT INTO mds.series (kind, vendor) VALUES ('bars', 'gone')")
            raise LookupError
        # Rolled back to the savepoint, the tenant is the outer one again.
        assert connection.execute(WHO).fetchall() == [(store.tenant_a,)]
    assert store.rows("SELECT vendor FROM store.series") == [("kept",)]


@pytest.mark.parametrize("who", [UNKNOWN])
def test_an_unknown_tenant_is_rejected_before_the_block_runs(store: Store, who: str) -> None:
    with (
        psycopg.connect(store.dsn) as connection,
        pytest.raises(RLSDenied, match=f"tenant {who} is unknown or disabled"),
        tenant(connection, who),
    ):
        pytest.fail("there is no such tenant")


def test_errors_in_a_tenant_block_are_library_errors(store: Store) -> None:
    with (
        psycopg.connect(store.dsn) as connection,
        pytest.raises(MDSOperationalError, match="division by zero") as caught,
        tenant(connection, store.tenant_a),
    ):
        connection.execute("SELECT 1 / 0")
    assert (caught.value.sqlstate, type(caught.value.__cause__)) == ("22012", psycopg.errors.DivisionByZero)


def test_an_asynchronous_connection_can_use_a_tenant_block(store: Store) -> None:
    import asyncio

    async def use() -> None:
        async with await psycopg.AsyncConnection.connect(store.dsn) as connection:
            async with atenant(connection, store.tenant_b) as same:
                assert same is connection
                assert await (await connection.execute(WHO)).fetchall() == [(store.tenant_b,)]
            assert await (await connection.execute(WHO)).fetchall() == []
            with pytest.raises(RLSDenied):
                async with atenant(connection, UNKNOWN):
                    pytest.fail("there is no such tenant")

    asyncio.run(use())


def test_the_tenant_of_a_dsn_is_read_back(store: Store) -> None:
    assert tenant_of_dsn(store.dsn) is None
    assert tenant_of_dsn(dsn_with_tenant(store.dsn, store.tenant_a.upper())) == store.tenant_a
