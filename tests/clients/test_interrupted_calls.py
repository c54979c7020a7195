"""A call that is cancelled or interrupted anywhere leaves nothing behind.

No row in another tenant, nothing of an aborted transaction, no connection that is lost or in an unknown state.
"""

import asyncio
import subprocess
import sys

import pytest

from mds_client import AMDS, sql
from mds_client.errors import RLSDenied
from mds_client.protocol.operations import Execute, Group, Operation, Session, Talk
from mds_client.schema import KINDS
from tests.clients import storm
from tests.conftest import Store, nothing_there

pytestmark = [
    pytest.mark.many_sessions,
    pytest.mark.engines("postgres", "pgbouncer"),  # what a client does; and a pooler has connections of its own
]


@pytest.mark.every_case
@pytest.mark.parametrize("call", storm.CALLS, ids=lambda call: str(call.__name__))
@nothing_there
def test_a_call_can_be_cancelled_wherever_it_waits(store: Store, call: storm.Call) -> None:
    asyncio.run(storm.cancel_everywhere(store.dsn, store.tenant_a, store.tenant_b, call))
    assert storm.damage(store.superuser_dsn) == storm.Damage(0, 0, 0, 0)


@pytest.mark.parametrize("pool_max", [2, 20])
@pytest.mark.engines("postgres")
@nothing_there
def test_calls_can_be_cancelled_at_any_time(store: Store, pool_max: int) -> None:
    ends = asyncio.run(storm.cancel_at_random(store.dsn, store.tenant_a, store.tenant_b, 600, 7, pool_max))
    # No call fails because another one was cancelled.
    assert set(ends) == {"cancelled", "done"}
    assert min(ends.values()) > 50
    assert storm.damage(store.superuser_dsn) == storm.Damage(0, 0, 0, 0)


@pytest.mark.engines("postgres")
def test_ctrl_c_can_interrupt_calls_at_any_time(store: Store) -> None:
    command = [sys.executable, "-m", "tests.clients.storm", "interrupt", "--calls", "400", "--seed", "3", "--store"]
    done = subprocess.run(
        [*command, store.dsn, store.superuser_dsn, store.tenant_a, store.tenant_b],
        check=False,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Damage(crossed_rows=0, aborted_rows=0, crossed_jobs=0, aborted_jobs=0)" in done.stdout


@pytest.mark.engines("postgres")
def test_a_task_group_cancelled_by_another_task_leaves_the_pool_usable(store: Store) -> None:
    async def fail() -> None:
        raise ValueError

    async def request(client: AMDS) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())
            group.create_task(storm.upsert(client, "b", "OLD"))

    async def main() -> None:
        async with storm.both_clients(store.dsn, store.tenant_a, store.tenant_b) as clients:
            await storm.upsert(clients["b"], "b", "OLD")
            with pytest.raises(ExceptionGroup):
                await request(clients["b"])
            for symbol in ("NEW1", "NEW2", "NEW3"):
                await storm.upsert(clients["b"], "b", symbol)
                rows = await clients["b"].bars_window(symbol, "1m", storm.START, storm.END, "b")
                assert len(rows) == storm.SMALL

    asyncio.run(main())
    assert storm.damage(store.superuser_dsn) == storm.Damage(0, 0, 0, 0)


def _without_its_transaction(statement: bytes, *parameters: object) -> Operation[list[tuple[object, ...]]]:
    """A statement that runs after the transaction that has set the tenant is over."""

    def talk(session: Session) -> Talk[list[tuple[object, ...]]]:
        yield Group((Execute(b"COMMIT"),))
        (rows,) = yield Group((Execute(statement, (*parameters, session.wanted)),))
        return rows

    return Operation("stray", talk)


@pytest.mark.engines("postgres")
@pytest.mark.parametrize("role_has_a_tenant", [False, True])
def test_the_server_rejects_a_statement_outside_its_transaction(store: Store, role_has_a_tenant: bool) -> None:
    """Also where the session itself has another tenant, which only a setting of the role can give it."""
    bars = KINDS["bars"]
    create = _without_its_transaction(sql.create_series(bars), ["v"], ["STRAY"], ["1m"])
    read = _without_its_transaction(sql.latest_prices(bars), "a", ["SAME"])
    if role_has_a_tenant:
        store.execute(f"ALTER ROLE mds_service SET app.tenant_id = '{store.tenant_a}'")

    async def main() -> None:
        async with AMDS(dsn=store.dsn, tenant_id=store.tenant_a) as a:
            await storm.upsert(a, "a", "SAME")
            for stray in (create, read):
                with pytest.raises(RLSDenied) as caught:
                    await a.for_tenant(store.tenant_b).run(stray)
                assert caught.value.sqlstate == "44000"

    try:
        asyncio.run(main())
    finally:
        store.execute("ALTER ROLE mds_service RESET app.tenant_id")
    assert store.rows("SELECT count(*) FROM store.series WHERE symbol = 'STRAY'") == [(0,)]
