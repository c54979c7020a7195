"""What a tenant may write for itself, and must not disturb anybody else by: no row of its own stops the control plane,
hides others' bars or makes lists unreadable."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from datastore import aggregates, gaps, metrics, migration, reads, tenants, timescale_policies
from datastore.jobs import JobContext
from datastore.locks import held
from datastore.names import LOCKS, REFRESH_LOCK
from datastore.worker import leases
from mds_client import KINDS, MDS, Bar, sql
from mds_client.schema import DOORS
from tests.conftest import Store

pytestmark = pytest.mark.every_engine

UNREADABLE = ("infinity", "200000-01-01 00:00Z", "4000-01-01 00:00Z BC")
"""Times that PostgreSQL has and Python has not."""

KEYS = {
    "bars": "ts",
    "fundamentals": "asof",
    "news": "published_at, id, title",
    "options": "ts, expiry, option_type, strike",
}
MORE = {"news": ", gen_random_uuid(), 'up'", "options": ", DATE '2024-01-01', 'C', 1"}


def bar(ts: datetime, price: float = 1.0) -> Bar:
    return Bar(vendor="v", symbol="X", timeframe="1m", ts=ts, close_price=price)


@pytest.fixture
def attacker(store: Store) -> Iterator[psycopg.Connection[object]]:
    """A login that is bound to the first tenant, and has a series of each kind."""
    store.execute("CREATE ROLE attacker LOGIN PASSWORD 'x'")
    tenants.bind_role(store.admin_dsn, "a", "attacker")
    with psycopg.connect(store.dsn, user="attacker", password="x", autocommit=True) as connection:
        connection.execute(
            "INSERT INTO mds.series (kind, vendor, symbol, timeframe) VALUES ('bars', 'v', 'X', '1m'),"
            " ('fundamentals', 'v', 'X', NULL), ('news', 'v', NULL, NULL), ('options', 'v', 'X', NULL)"
        )
        yield connection
    store.execute("DROP OWNED BY attacker; DROP ROLE attacker")


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("time", [*UNREADABLE, "-infinity"])
def test_a_time_that_no_client_can_hold_is_refused_at_every_door(
    store: Store, attacker: psycopg.Connection[object], kind: str, time: str
) -> None:
    values = f"series_id, %s::timestamptz{MORE.get(kind, '')}"
    for way in DOORS:
        door = sql.door(KINDS[kind], way)
        with pytest.raises(psycopg.errors.DatetimeFieldOverflow, match=r"not in the years 1 to 9999|out of range"):
            attacker.execute(
                f"INSERT INTO mds.{door} (series_id, {KEYS[kind]})"
                f" SELECT {values} FROM mds.series WHERE kind = '{kind}'".encode(),
                (time,),
            )
    assert store.rows(f"SELECT count(*) FROM store.{kind}") == [(0,)]


@pytest.mark.parametrize("column", ["last_ts", "last_price_ts"])
@pytest.mark.parametrize("time", UNREADABLE)
def test_last_values_that_no_client_can_hold_are_refused(
    store: Store, attacker: psycopg.Connection[object], column: str, time: str
) -> None:
    with pytest.raises(psycopg.errors.CheckViolation, match="series_last_check"):
        attacker.execute(f"UPDATE mds.series SET {column} = %s".encode(), (time,))
    assert len(reads.list_series(store.admin_dsn)) == 4


def test_rows_that_are_there_already_and_cannot_be_read_stop_nothing(store: Store) -> None:
    """As a release without that check may have let them in."""
    with MDS(dsn=store.dsn, tenant_id=store.tenant_a) as client, client.for_tenant(store.tenant_b) as other:
        client.upsert_bars([bar(datetime(2024, 1, 2, tzinfo=UTC))])
        other.upsert_bars([bar(datetime(2024, 1, 2, tzinfo=UTC))])
    for time in UNREADABLE:
        store.execute(
            "INSERT INTO store.bars (series_id, ts, close_price)"
            " SELECT series_id, %s, 2 FROM store.series WHERE series_id >> 40 = 1",
            time,
        )
    assert migration.migrate(store.admin_dsn).objects == []
    aggregates.refresh(store.admin_dsn)
    timescale_policies.set_policy(store.admin_dsn, "bars", "retention_after", timedelta(days=400_000))
    timescale_policies.expire(store.admin_dsn, dry_run=True)
    assert [count.problem for count in gaps.count_all(store.admin_dsn)] == [
        "v X: no calendar is set (datastore calendars set), and none is given"
    ] * 2
    assert len(reads.freshness(store.admin_dsn)) == 1
    exposed = metrics.ServiceMetrics(store.admin_dsn)
    try:
        text, _ = exposed.exposition(None)
    finally:
        exposed.close()
    assert b'datastore_collect_success{part="series"} 1.0' in text
    job = tenants.delete_tenant(store.admin_dsn, UUID(store.tenant_a), name="a")
    tenants.run_deletion(JobContext(job, store.admin_dsn), tenants.DeletionOrder.model_validate(job.payload))
    assert store.rows("SELECT DISTINCT series_id >> 40 FROM store.bars") == [(2,)]


def test_a_bar_of_the_next_century_hides_nobodys_bars_of_today(store: Store) -> None:
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    with MDS(dsn=store.dsn, tenant_id=store.tenant_a) as client, client.for_tenant(store.tenant_b) as other:
        client.upsert_bars([bar(datetime(2100, 1, 2, tzinfo=UTC), 3.0)])
        other.upsert_bars([bar(now - timedelta(days=3), 1.0)])
        aggregates.refresh(store.admin_dsn)
        other.upsert_bars([bar(now, 2.0)])
        for timeframe in ("5m", "1d"):
            found = other.rollup("X", timeframe, now - timedelta(days=9), now + timedelta(days=1), "v")
            assert [row.close_price for row in found] == [1.0, 2.0]
            late = client.rollup("X", timeframe, now, datetime(2101, 1, 1, tzinfo=UTC), "v")
            assert [row.close_price for row in late] == [3.0]


# Locks -------------------------------------------------------------------------------------------------------------

HOLD = """
DO $$
DECLARE
  relation oid;
BEGIN
  FOR relation IN SELECT oid FROM pg_class WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = 'store')
  LOOP
    BEGIN PERFORM nextval(relation::regclass); EXCEPTION WHEN OTHERS THEN NULL; END;
    BEGIN PERFORM brin_summarize_range(relation::regclass, 0); EXCEPTION WHEN OTHERS THEN NULL; END;
    BEGIN PERFORM pg_relation_size(relation::regclass); EXCEPTION WHEN OTHERS THEN NULL; END;
  END LOOP;
END
$$
"""
"""By their numbers, which the catalog shows to everybody: nextval locks a relation before it looks at rights."""

FORMER = (0x6D64735F6D696772, 0x6D64735F726F6C6C, 0x6D64735F6A6F6273)
"""The advisory locks of releases that had such."""


@pytest.mark.many_sessions
def test_no_lock_that_a_tenant_can_take_holds_up_a_migration_a_refresh_or_a_claim(
    store: Store, attacker: psycopg.Connection[object]
) -> None:
    for number in FORMER:
        attacker.execute("SELECT pg_advisory_lock(%s)", (number,))
    with attacker.transaction():
        attacker.execute(HOLD)
        reached = store.rows(
            "SELECT DISTINCT c.relname::text, l.mode FROM pg_locks AS l JOIN pg_class AS c ON c.oid = l.relation"
            " WHERE l.pid = %s AND l.granted AND c.relname = ANY(%s)",
            attacker.info.backend_pid,
            list(LOCKS),
        )
        # Of the locks' tables it holds the strongest mode that it can get.
        assert sorted(reached) == [(lock, "RowExclusiveLock") for lock in sorted(LOCKS)]
        admin = make_conninfo(store.admin_dsn, options="-c lock_timeout=20s")
        assert migration.migrate(admin).objects == []
        aggregates.refresh(admin)
        with psycopg.connect(admin, autocommit=True) as connection:
            with held(admin, REFRESH_LOCK, connection):
                pass
            assert leases.claim(connection, "w", 1, timedelta(seconds=30)).taken == []


@pytest.mark.parametrize("mode", ["ACCESS SHARE", "ROW EXCLUSIVE", "SHARE UPDATE EXCLUSIVE", "ACCESS EXCLUSIVE"])
@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_of_the_store_cannot_be_taken_by_name(
    attacker: psycopg.Connection[object], lock: str, mode: str
) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege), attacker.transaction():
        attacker.execute(f"LOCK TABLE store.{lock} IN {mode} MODE".encode())
