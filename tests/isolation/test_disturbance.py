"""What a tenant may write for itself, and must not disturb anybody else by: no row of its own stops the control plane,
hides others' bars or makes lists unreadable."""

import itertools
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from datastore import aggregates, gaps, jobs, metrics, migration, reads, tenants, timescale_policies
from datastore.closing import CLOSE_LARGE_OBJECTS
from datastore.embedded import ADMIN_ROLE, SERVICE_ROLE, EmbeddedServer
from datastore.jobs import JobContext
from datastore.locks import held
from datastore.names import LOCKS, REFRESH_LOCK
from datastore.worker import leases
from mds_client import KINDS, MDS, Bar, sql
from mds_client.schema import DOORS
from tests.conftest import SETTINGS, Store
from tests.control.job_types import Note, put, until, working

pytestmark = pytest.mark.every_engine

UNREADABLE = ("infinity", "200000-01-01 00:00Z", "4000-01-01 00:00Z BC")
"""Times that PostgreSQL has and Python has not."""

KEYS = {
    "bars": "ts",
    "fundamentals": "asof",
    "instruments": "asof",
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
            " ('fundamentals', 'v', 'X', NULL), ('instruments', 'v', 'X', NULL), ('news', 'v', NULL, NULL),"
            " ('options', 'v', 'X', NULL)"
        )
        yield connection
    store.execute("DROP OWNED BY attacker; DROP ROLE attacker")


@pytest.mark.parametrize("kind", KEYS)
def test_a_time_that_clients_cannot_represent_is_rejected_by_every_door(
    store: Store, attacker: psycopg.Connection[object], kind: str
) -> None:
    for way, time in itertools.product(DOORS, (*UNREADABLE, "-infinity")):
        values = f"series_id, '{time}'::timestamptz{MORE.get(kind, '')}"
        door = sql.door(KINDS[kind], way)
        with pytest.raises(psycopg.errors.DatetimeFieldOverflow, match=r"not in the years 1 to 9999|out of range"):
            attacker.execute(
                f"INSERT INTO mds.{door} (series_id, {KEYS[kind]})"
                f" SELECT {values} FROM mds.series WHERE kind = '{kind}'".encode()
            )
    assert store.rows(f"SELECT count(*) FROM store.{kind}") == [(0,)]


def test_last_values_that_clients_cannot_represent_are_rejected(
    store: Store, attacker: psycopg.Connection[object]
) -> None:
    for column, time in itertools.product(("last_ts", "last_price_ts"), UNREADABLE):
        with pytest.raises(psycopg.errors.CheckViolation, match="series_last_check"):
            attacker.execute(f"UPDATE mds.series SET {column} = '{time}'".encode())
    assert len(reads.list_series(store.admin_dsn)) == len(KEYS)


def test_existing_rows_with_unreadable_times_do_not_break_other_operations(store: Store) -> None:
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
        "v X: no calendar is set: set one with datastore calendars set, or name one in the request"
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


def test_a_bar_of_the_next_century_does_not_hide_current_bars_of_others(store: Store) -> None:
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
def test_locks_that_a_tenant_can_take_do_not_block_migrations_refreshes_or_claims(
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


def test_a_lock_of_the_store_cannot_be_taken_by_name(attacker: psycopg.Connection[object]) -> None:
    modes = ("ACCESS SHARE", "ROW EXCLUSIVE", "SHARE UPDATE EXCLUSIVE", "ACCESS EXCLUSIVE")
    for lock, mode in itertools.product(LOCKS, modes):
        with pytest.raises(psycopg.errors.InsufficientPrivilege), attacker.transaction():
            attacker.execute(f"LOCK TABLE store.{lock} IN {mode} MODE".encode())


# Notifications -----------------------------------------------------------------------------------------------------


class Flood:
    """Announcements without end, from a login that is bound to a tenant."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._send)
        self.commits = 0

    def __enter__(self) -> "Flood":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _send(self) -> None:
        with psycopg.connect(self._dsn, autocommit=True) as connection:
            while not self._over.is_set():
                connection.execute(
                    "SELECT pg_notify('mds_jobs', 'cancel'), pg_notify('mds_jobs', repeat('x', 7000) || n)"
                    " FROM generate_series(1, 50) AS n"
                )
                self.commits += 1


@pytest.mark.engines("postgres")
def test_a_full_notification_queue_does_not_prevent_other_tenants_from_enqueueing(tmp_path: Path) -> None:
    # The setting, which makes the queue small, is of PostgreSQL 17 and later.
    server = EmbeddedServer(tmp_path / "server", port=0, settings={**SETTINGS, "max_notify_queue_pages": "64"})
    server.up(migration.migrate)
    try:
        admin, service = server.dsn(ADMIN_ROLE), server.dsn(SERVICE_ROLE)
        first, second = tenants.seed(admin, ("a", "b"))
        with psycopg.connect(server.superuser_dsn(), autocommit=True) as connection:
            connection.execute("CREATE ROLE attacker LOGIN PASSWORD 'x'")
        tenants.bind_role(admin, first.name, "attacker")
        dsn = make_conninfo(service, user="attacker", password="x")
        with psycopg.connect(dsn) as holding, psycopg.connect(dsn, autocommit=True) as sending:
            holding.execute("LISTEN mine")
            holding.commit()
            # What is in a transaction takes nothing from the queue.
            holding.execute("SELECT 1")
            with suppress(psycopg.errors.ProgramLimitExceeded):
                while True:
                    sending.execute("SELECT pg_notify('mine', repeat('x', 7000) || n) FROM generate_series(1, 5) AS n")
            with pytest.raises(psycopg.errors.ProgramLimitExceeded):
                sending.execute("SELECT pg_notify('mine', repeat('x', 7900))")
            with MDS(dsn=service, tenant_id=str(second.id)) as client:
                made = client.enqueue_job("k", "test-note", {"file": str(tmp_path / "notes"), "text": "done"})
            cancelled = put(admin, "test-note", Note(file=tmp_path / "notes"), tenant=None, key="own")
            assert jobs.cancel_job(admin, cancelled.id).state == "cancelled"
            with working(admin, poll=timedelta(milliseconds=50)):
                until(lambda: jobs.get_job(admin, made.id).state == "succeeded")
    finally:
        server.down(mode="immediate")
        server.discard()


# The disk, and connections -----------------------------------------------------------------------------------------

WRITING_OBJECTS = (
    "SELECT lo_create(0)",
    "SELECT lo_creat(-1)",
    "SELECT lo_from_bytea(0, 'x')",
    "SELECT lo_import('/etc/hostname')",
    "SELECT lo_import('/etc/hostname', 0)",
    "SELECT lo_put(1, 0, 'x')",
    "SELECT lowrite(0, 'x')",
    "SELECT lo_truncate(0, 0)",
    "SELECT lo_truncate64(0, 0)",
)
READING_OBJECTS = {
    *("lo_close", "lo_get", "lo_lseek", "lo_lseek64", "lo_open", "lo_tell", "lo_tell64", "lo_unlink", "loread"),
}


@pytest.mark.many_sessions
@pytest.mark.parametrize("by", [pytest.param("up", marks=pytest.mark.engines("postgres")), "a superuser"])
def test_no_tenant_can_create_large_objects(store: Store, attacker: psycopg.Connection[object], by: str) -> None:
    if by == "a superuser":
        with psycopg.connect(store.superuser_dsn) as connection:
            connection.execute(CLOSE_LARGE_OBJECTS)
    for statement in WRITING_OBJECTS:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            attacker.execute(statement.encode())
    callable_ = store.rows(
        "SELECT DISTINCT proname::text FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace"
        " AND (proname LIKE 'lo\\_%%' OR proname IN ('loread', 'lowrite'))"
        " AND has_function_privilege('attacker', oid, 'EXECUTE')"
    )
    assert {name for (name,) in callable_} == READING_OBJECTS


@pytest.fixture
def limited(store: Store) -> Iterator[str]:
    """The DSN of a login that the control plane has made and bound, with limits."""
    with psycopg.connect(store.admin_dsn) as connection:
        connection.execute("CREATE ROLE limited LOGIN PASSWORD 'x'")
    yield make_conninfo(store.dsn, user="limited", password="x")
    store.execute("DROP OWNED BY limited; DROP ROLE limited")


@pytest.mark.engines("postgres")
def test_a_bound_login_cannot_undo_its_limits(store: Store, limited: str) -> None:
    bound = tenants.bind_role(store.admin_dsn, "a", "limited", connections=2)
    assert (bound.limits, bound.to_run) == (["2 connections", "temp_file_limit 10GB"], [])
    with psycopg.connect(limited, autocommit=True) as connection:
        for statement in (
            "ALTER ROLE limited CONNECTION LIMIT -1",
            "ALTER ROLE limited SET temp_file_limit = -1",
            "SET temp_file_limit = -1",
            "SELECT set_config('temp_file_limit', '-1', false)",
            "ALTER ROLE limited RESET temp_file_limit",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement.encode())
        # This takes back what the role may set, and leaves the rest.
        connection.execute("ALTER ROLE limited RESET ALL")
        connection.execute("RESET ALL")
        assert connection.execute("SHOW temp_file_limit").fetchone() == ("10GB",)
        with psycopg.connect(limited) as second:
            assert second.execute("SHOW temp_file_limit").fetchone() == ("10GB",)
            with pytest.raises(psycopg.OperationalError, match="too many connections for role"):
                psycopg.connect(limited)


@pytest.mark.engines("postgres")
def test_existing_limits_of_a_login_are_kept_and_enforced(store: Store, limited: str) -> None:
    store.execute("ALTER ROLE limited CONNECTION LIMIT 7; ALTER ROLE limited SET temp_file_limit = '1MB'")
    assert tenants.bind_role(store.admin_dsn, "a", "limited").limits == ["7 connections", "temp_file_limit 1MB"]
    with psycopg.connect(limited, autocommit=True) as connection:
        connection.execute("SET work_mem = '64kB'")
        with pytest.raises(psycopg.errors.ConfigurationLimitExceeded, match="temp_file_limit"):
            connection.execute("SELECT n FROM generate_series(1, 1000000) AS n ORDER BY md5(n::text) OFFSET 999999")
    assert tenants.bind_role(store.admin_dsn, "a", "limited", connections=9).limits[0] == "9 connections"


@pytest.mark.engines("postgres", "timescale-apache")
def test_limits_that_need_a_superuser_are_returned_as_statements_to_run(store: Store) -> None:
    # From PostgreSQL 16 on only who has made a role, or administers it, may change it.
    store.execute("CREATE ROLE not_its_own LOGIN PASSWORD 'x'")
    try:
        bound = tenants.bind_role(store.admin_dsn, "a", "not_its_own")
        assert (bound.roles, bound.limits) == (["not_its_own"], [])
        assert bound.to_run == [
            'ALTER ROLE "not_its_own" CONNECTION LIMIT 20',
            "ALTER ROLE \"not_its_own\" SET temp_file_limit = '10GB'",
        ]
        store.execute("; ".join(bound.to_run))
        again = tenants.bind_role(store.admin_dsn, "a", "not_its_own")
        assert (again.limits, again.to_run) == (["20 connections", "temp_file_limit 10GB"], [])
    finally:
        store.execute("DROP OWNED BY not_its_own; DROP ROLE not_its_own")
