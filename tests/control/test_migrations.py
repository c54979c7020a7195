"""The schema: made on an empty database, made again, compared with its declarations."""

import re
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import psycopg
import pytest
from psycopg.sql import SQL, Identifier
from sqlalchemy import NullPool, create_engine

from datastore import migration, tenants
from datastore import schema as declared
from datastore.connections import head
from datastore.embedded import EmbeddedServer, choose_account, find_binaries
from datastore.engines import detect
from datastore.errors import ControlError, UnsupportedServer
from mds_client import KINDS, MDS, Row
from mds_client.models import Instant, Number, Symbol, UuidText
from mds_client.schema import Kind, kind
from tests.conftest import Client, Store, plain_postgres
from tests.control.catalog import rows, shape

pytestmark = pytest.mark.every_engine

NOON = datetime(2024, 1, 2, 12, tzinfo=UTC)


@pytest.fixture
def admin(server: EmbeddedServer, empty_database: str) -> str:
    """The control plane's DSN of an empty database: it may create roles, and is no superuser."""
    return server.dsn("mds_admin", empty_database)


@pytest.fixture
def superuser(server: EmbeddedServer, empty_database: str) -> str:
    return server.superuser_dsn(empty_database)


def works(dsn: str) -> None:
    """Whether a tenant can write and read."""
    tenant = tenants.create_tenant(dsn, "works")
    with MDS(dsn=dsn, tenant_id=str(tenant.id), pool_max=1) as client:
        bar = {"vendor": "v", "symbol": "S", "timeframe": "1m", "ts": NOON, "close_price": 1.5}
        assert client.upsert_bars([bar]) == 1
        assert [price.price for price in client.latest_prices(["S"], "v")] == [1.5]


def test_an_empty_database_is_brought_to_head_without_a_superuser(
    server: EmbeddedServer, empty_database: str, admin: str
) -> None:
    assert rows(admin, "SELECT rolsuper, rolcreaterole FROM pg_roles WHERE rolname = current_user") == [(False, True)]
    assert migration.check(admin) == [f"the schema version is none, head is {head()}: run datastore migrate"]
    made = migration.migrate(admin)
    assert (made.before, made.after) == (None, head())
    assert "view public.bars" in made.objects
    assert migration.check(admin) == []
    with psycopg.connect(server.dsn("mds_service", empty_database)) as connection:
        assert connection.execute("SELECT count(*) FROM public.bars").fetchone() == (0,)


def test_a_superuser_makes_the_same_schema_with_the_same_owner(admin: str, superuser: str, store: Store) -> None:
    migration.migrate(superuser)
    assert migration.check(superuser) == []
    assert shape(superuser) == shape(store.superuser_dsn)
    works(superuser)


def test_migrating_twice_changes_nothing(store: Store) -> None:
    versions = (
        "SELECT oid::regclass::text, xmin::text FROM pg_class WHERE relnamespace IN"
        " ('mds'::regnamespace, 'store'::regnamespace, 'public'::regnamespace) ORDER BY 1"
    )
    before = rows(store.superuser_dsn, versions)
    again = migration.migrate(store.admin_dsn)
    assert (again.before, again.after, again.objects) == (head(), head(), [])
    assert rows(store.superuser_dsn, versions) == before
    assert migration.check(store.admin_dsn) == []


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Kathmandu"])
def test_check_finds_no_drift_in_any_time_zone(store: Store, monkeypatch: pytest.MonkeyPatch, zone: str) -> None:
    monkeypatch.setenv("PGTZ", zone)
    assert migration.check(store.admin_dsn) == []
    assert migration.migrate(store.admin_dsn).objects == []


@pytest.mark.many_sessions
def test_a_check_changes_and_locks_nothing(store: Store) -> None:
    with psycopg.connect(store.superuser_dsn) as other:
        other.execute("LOCK TABLE store.bars, store.series IN SHARE ROW EXCLUSIVE MODE")
        assert migration.check(store.admin_dsn) == []


def test_concurrent_migrations_of_one_database_all_reach_head(admin: str) -> None:
    together = threading.Barrier(3)

    def migrate(_: int) -> migration.Migration:
        together.wait()
        return migration.migrate(admin)

    with ThreadPoolExecutor(3) as threads:
        made = list(threads.map(migrate, range(3)))
    assert {one.after for one in made} == {head()}
    assert sorted(one.before or "" for one in made) == ["", head(), head()]
    assert migration.check(admin) == []


def test_databases_of_one_server_can_be_migrated_concurrently(server: EmbeddedServer) -> None:
    names = ("twin_1", "twin_2", "twin_3")
    with psycopg.connect(server.superuser_dsn(), autocommit=True) as connection:
        for name in names:
            connection.execute(SQL("CREATE DATABASE {} OWNER mds_admin").format(Identifier(name)))
        try:
            dsns = [server.dsn("mds_admin", name) for name in names]
            with ThreadPoolExecutor(3) as threads:
                list(threads.map(migration.migrate, dsns))
            assert [migration.check(dsn) for dsn in dsns] == [[], [], []]
        finally:
            for name in names:
                connection.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))


DRIFT = (
    ("ALTER TABLE store.bars DROP COLUMN volume CASCADE", "column .*bars.*volume is missing"),
    ("ALTER TABLE store.bars ADD COLUMN extra int", "column .*bars.*extra is not declared"),
    ("ALTER TABLE store.objects ALTER COLUMN declared TYPE varchar(99)", "type .*objects.*declared"),
    ("ALTER TABLE store.tenants ALTER COLUMN disabled_at TYPE date", "type .*tenants.*disabled_at"),
    ("ALTER TABLE store.series ALTER COLUMN vendor DROP NOT NULL", "nullable .*series.*vendor"),
    ("ALTER TABLE store.tenants ALTER COLUMN created_at SET DEFAULT '2000-01-01'", "default .*tenants.*created_at"),
    ("ALTER TABLE store.tenants DROP CONSTRAINT tenants_name_key", "tenants_name_key is missing"),
    ("DROP INDEX store.series_name_key", "index .*series_name_key is missing"),
    ("CREATE INDEX extra ON store.bars (ts)", "index .*extra is not declared"),
    ("CREATE TABLE store.extra (x int)", "table .*extra is not declared"),
    ("ALTER VIEW public.latest_prices SET (security_barrier = false)", "view public.latest_prices was changed by hand"),
    (
        (
            "CREATE OR REPLACE VIEW public.tenants WITH (security_barrier) AS SELECT id, name,"
            " created_at FROM store.tenants"
        ),
        "view public.tenants was changed by hand",
    ),
    ("DROP VIEW public.latest_prices", "view public.latest_prices is missing"),
    ("COMMENT ON VIEW public.symbols IS 'mine'", "view public.symbols was changed by hand"),
    ("COMMENT ON COLUMN public.series.symbol IS NULL", "view public.series was changed by hand"),
    ("GRANT DELETE ON mds.bars TO mds_app", "view mds.bars was changed by hand"),
    ("GRANT SELECT ON mds.series TO PUBLIC", "view mds.series was changed by hand"),
    ("GRANT UPDATE (vendor) ON mds.series TO mds_app", "view mds.series was changed by hand"),
    ("ALTER VIEW mds.series OWNER TO postgres", "view mds.series was changed by hand"),
    ("ALTER VIEW mds.series ALTER COLUMN series_id SET DEFAULT 1", "view mds.series was changed by hand"),
    (
        "CREATE OR REPLACE FUNCTION store.tenant_floor() RETURNS bigint LANGUAGE sql AS 'SELECT 0::bigint'",
        r"store.tenant_floor\(\) was changed by hand",
    ),
    ("GRANT EXECUTE ON FUNCTION store.tenant_no() TO PUBLIC", r"store.tenant_no\(\) was changed by hand"),
    ("GRANT SELECT ON store.bars TO mds_app", "rights in store was changed by hand"),
    ("GRANT USAGE ON SCHEMA store TO mds_app", "schema store was changed by hand"),
    ("ALTER TABLE store.tenants DISABLE ROW LEVEL SECURITY", "rights in store was changed by hand"),
    ("DROP TRIGGER announce ON store.jobs", "trigger store.jobs.announce is missing"),
    ("ALTER TABLE store.jobs DISABLE TRIGGER announce", "trigger store.jobs.announce was changed by hand"),
    ("UPDATE store.objects SET declared = 'x' WHERE name = 'view mds.bars'", "view mds.bars is of another release"),
)


def rounds(changes: Iterable[tuple[str, str]]) -> list[list[tuple[str, str]]]:
    """Changes that can be made to one database at once: of each relation and function only one."""
    made: list[tuple[set[str], list[tuple[str, str]]]] = []
    for change, line in changes:
        touched = {"CASCADE"} if "CASCADE" in change else {*re.findall(r"\b(?:store|mds|public)\.\w+", change)}
        touched |= {part for part in ("rights in store", "schema store") if part in line}
        for there, some in made:
            if not touched & there and "CASCADE" not in touched | there:
                there |= touched
                some.append((change, line))
                break
        else:
            made.append((touched, [(change, line)]))
    return [some for _, some in made]


def rounds_by_engine(changes: Iterable[tuple[str, str]], everywhere: int) -> list[Any]:
    """The rounds as parameters. The first ones change what becomes a hypertable, and run on every engine."""
    return [
        pytest.param(some, id=some[0][0][:60], marks=() if number < everywhere else plain_postgres)
        for number, some in enumerate(rounds(changes))
    ]


@pytest.mark.every_case
@pytest.mark.parametrize("changes", rounds_by_engine(DRIFT, everywhere=2))
def test_check_finds_manual_changes(store: Store, changes: list[tuple[str, str]]) -> None:
    for change, _ in changes:
        rows(store.superuser_dsn, change)
    found = migration.check(store.admin_dsn)
    for change, line in changes:
        assert [one for one in found if re.search(line, one)], (change, found)


# What is applied again at every migrate. (What another role owns is not a migrate's to take back.)
HEALED = [
    (change, line)
    for change, line in DRIFT
    if line.startswith(("view", "store", "schema", "rights", "trigger")) and "OWNER" not in change
]


@pytest.mark.parametrize("changes", rounds_by_engine(HEALED, everywhere=1))
def test_migrate_restores_changed_functions_views_and_grants(store: Store, changes: list[tuple[str, str]]) -> None:
    before = shape(store.superuser_dsn)
    for change, _ in changes:
        rows(store.superuser_dsn, change)
    made = migration.migrate(store.superuser_dsn)
    assert len(made.objects) >= len(changes)
    assert migration.check(store.admin_dsn) == []
    assert shape(store.superuser_dsn) == before


def test_the_declarations_make_the_same_tables_as_the_migrations(superuser: str, store: Store) -> None:
    rows(superuser, "CREATE SCHEMA store")
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(superuser), poolclass=NullPool)
    with engine.begin() as connection:
        declared.metadata().create_all(connection)
    engine.dispose()
    for made, migrated in zip(shape(superuser, views=False), shape(store.superuser_dsn, views=False), strict=True):
        assert made == migrated


def psql(server: EmbeddedServer, dsn: str, script: str) -> str:
    data = server.status().data_directory
    assert data is not None
    binaries = find_binaries(choose_account(Path(data)))
    made = subprocess.run(
        [binaries.program("psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", dsn],
        input=script,
        text=True,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    return made.stderr


def test_migration_sql_runs_in_psql_and_creates_the_same_schema(
    server: EmbeddedServer, admin: str, superuser: str, store: Store
) -> None:
    assert "ERROR" not in psql(server, admin, migration.migrate_sql())
    assert migration.stamp_head(admin) == head()
    assert migration.check(admin) == []
    assert shape(superuser) == shape(store.superuser_dsn)
    assert migration.migrate(admin).before == head()


def test_migration_sql_contains_no_name_of_a_user_or_a_database(empty_database: str) -> None:
    script = migration.migrate_sql()
    assert empty_database not in script
    assert "mds_admin" not in script
    assert script == migration.migrate_sql()


def test_existing_roles_are_reused_unchanged(admin: str, superuser: str) -> None:
    known = rows(superuser, "SELECT rolname, oid FROM pg_roles WHERE rolname LIKE 'mds%' ORDER BY 1")
    migration.migrate(admin)
    assert rows(superuser, "SELECT rolname, oid FROM pg_roles WHERE rolname LIKE 'mds%' ORDER BY 1") == known


def test_a_view_of_the_user_survives_a_migration(store: Store) -> None:
    store.execute("CREATE SCHEMA desk; CREATE VIEW desk.mine AS SELECT symbol, close_price FROM public.bars")
    store.execute("UPDATE store.objects SET declared = 'another release'")
    migration.migrate(store.admin_dsn)
    assert rows(store.superuser_dsn, "SELECT count(*) FROM desk.mine") == [(0,)]
    assert migration.check(store.admin_dsn) == []


def test_rows_survive_a_migration(store: Store) -> None:
    with MDS(dsn=store.dsn, tenant_id=store.tenant_a) as client:
        bar = {"vendor": "v", "symbol": "S", "timeframe": "1m", "ts": NOON, "close_price": 1.5}
        client.upsert_bars([bar])
        store.execute("UPDATE store.objects SET declared = 'another release'")
        migration.migrate(store.admin_dsn)
        assert client.upsert_bars([{**bar, "close_price": 2.5}]) == 1
    assert store.rows("SELECT close_price FROM store.bars") == [(2.5,)]


def test_an_unsupported_server_is_rejected_with_its_version() -> None:
    old = SimpleNamespace(info=SimpleNamespace(server_version=140011))
    with pytest.raises(UnsupportedServer, match="PostgreSQL 15 or newer is needed, this is 14"):
        detect(cast("Any", old))


def test_a_role_that_may_not_create_roles_is_refused(server: EmbeddedServer, empty_database: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        migration.migrate(server.dsn("mds_service", empty_database))


# A kind that is declared here and nowhere else ------------------------------------------------------------------------


@pytest.fixture
def ticks() -> Iterator[Kind]:
    @kind("ticks", singular="tick", time="at", series=("vendor", "symbol"), key=("sequence",), price="paid")
    class Tick(Row):
        """One trade."""

        symbol: Symbol
        at: Instant
        sequence: UuidText
        paid: Number | None = None
        size: Number | None = None

    yield KINDS["ticks"]
    KINDS.remove("ticks")


def apply_revision(dsn: str, folder: Path) -> Path:
    """Run the migration that the declarations ask for, as a person would after reading it."""
    made = migration.revision(dsn, "ticks", folder)
    namespace: dict[str, Any] = {}
    exec(compile(made.read_text(), str(made), "exec"), namespace)
    with migration.owner_connection(dsn) as connection:
        from alembic.migration import MigrationContext
        from alembic.operations import Operations

        with Operations.context(MigrationContext.configure(connection)):
            namespace["upgrade"]()
        connection.commit()
    return made


@plain_postgres
def test_a_new_kind_is_missing_until_its_generated_migration_has_run(store: Store, ticks: Kind, tmp_path: Path) -> None:
    assert "table ticks is missing" in migration.check(store.admin_dsn)
    made = apply_revision(store.admin_dsn, tmp_path)
    assert made.parent == tmp_path
    assert made.name.startswith(f"{int(head()) + 1:04d}_")
    text = made.read_text()
    assert f"down_revision: str | None = {head()!r}" in text
    assert text.count("op.create_table(") == 1
    migration.migrate(store.admin_dsn)
    assert migration.check(store.admin_dsn) == []


def test_a_new_kind_can_be_written_in_every_mode_and_read_back_by_its_tenant_only(
    connect: Callable[..., Client], store: Store, ticks: Kind, tmp_path: Path
) -> None:
    apply_revision(store.admin_dsn, tmp_path)
    migration.migrate(store.admin_dsn)
    for number, mode in enumerate(("executemany", "values", "copy")):
        client = connect(dsn=store.dsn, tenant_id=store.tenant_a, write_mode=mode)
        batch = [
            {
                "vendor": "v",
                "symbol": "s",
                "at": NOON + timedelta(seconds=second),
                "sequence": f"00000000-0000-4000-8000-00000000000{second}",
                "paid": number + second / 8,
            }
            for second in (2, 0, 1, 2)
        ]
        assert client.upsert("ticks", batch) == 4
        assert client.upsert("ticks", batch[:1], on_conflict="keep") == 1
        assert store.rows("SELECT at, paid, size FROM store.ticks ORDER BY at") == [
            (NOON + timedelta(seconds=second), number + second / 8, None) for second in range(3)
        ]
        assert store.rows("SELECT kind, symbol, timeframe, last_price FROM store.series") == [
            ("ticks", "S", None, number + 2 / 8)
        ]
    with psycopg.connect(store.dsn) as connection:
        for tenant, count in ((store.tenant_a, 3), (store.tenant_b, 0)):
            connection.execute("SELECT mds.use_tenant(%s)", (tenant,))
            assert connection.execute("SELECT count(*) FROM public.ticks").fetchone() == (count,)


@plain_postgres
def test_a_revision_without_a_change_is_refused_and_leaves_no_file(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ControlError, match="there is nothing to migrate"):
        migration.revision(store.admin_dsn, "nothing", tmp_path)
    assert list(tmp_path.iterdir()) == []
