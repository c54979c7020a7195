"""The engine of a database: how it is found out, what a migrate makes of it, and what happens when it changes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import psycopg
import pytest

from datastore import migration, reads, tenants, timescale_policies
from datastore.connections import head
from datastore.engines import ENGINES, Driver, Engine, Timescale, TimescaleApache, detect
from datastore.errors import UnsupportedServer
from mds_client import KINDS, Bar, Fundamentals, News, OptionSnap
from tests.conftest import Client, Store
from tests.engines.databases import Databases, Place

pytestmark = pytest.mark.every_engine

START = datetime(2024, 1, 1, tzinfo=UTC)
ALWAYS = (datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC))
CHUNKED = [kind.name for kind in KINDS.values() if kind.storage]
ROLLUPS = [f"bars_{rollup.timeframe}" for rollup in KINDS["bars"].rollups]


@pytest.fixture
def plain(databases: Databases) -> Iterator[Place]:
    """A database without the engine's extension, not migrated."""
    with databases.bare(extension=False) as place:
        yield place


def rows(place: Place | Store, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
    with psycopg.connect(place.superuser_dsn, autocommit=True) as connection:
        cursor = connection.execute(cast("Any", statement), parameters or None)
        return cursor.fetchall() if cursor.description else []


def hypertables(place: Place | Store) -> list[str]:
    return [name for (name,) in rows(place, "SELECT hypertable_name FROM timescaledb_information.hypertables"
                                            " WHERE hypertable_schema = 'store' ORDER BY 1")]  # fmt: skip


# Finding it out ---------------------------------------------------------------------------------------------------


def test_the_engine_is_detected_before_and_after_a_migration(bare: Place, engine: str) -> None:
    before = reads.describe(bare.admin_dsn)
    migration.migrate(bare.admin_dsn)
    after = reads.describe(bare.admin_dsn)
    assert (before.engine, after.engine) == (engine, engine)
    assert (before.schema_version, after.schema_version) == (None, head())
    assert (before.engine_version is None) == (engine == "postgres")


def test_client_and_control_plane_report_the_same_engine(client: Client, store: Store) -> None:
    health, described = client.health(), reads.describe(store.admin_dsn)
    assert (health.engine, health.engine_version) == (store.engine, described.engine_version)
    assert health.server_version == described.server_version


@dataclass
class Info:
    server_version: int


class Faked:
    """A connection to a server of any version."""

    def __init__(self, server: int, extension: str | None = None, license_: str | None = None) -> None:
        self.info = Info(server)
        self._row = (extension, license_)

    def execute(self, statement: str) -> "Faked":
        return self

    def fetchone(self) -> tuple[str | None, str | None]:
        return self._row


def detected(server: int, extension: str | None = None, license_: str | None = None) -> Engine:
    return detect(cast("Driver", Faked(server, extension, license_)))


@pytest.mark.parametrize(
    ("version", "message"),
    [
        ((140019, None, None), "PostgreSQL 15 or newer is needed, this is 14"),
        ((140019, "2.19.3", "timescale"), "PostgreSQL 15 or newer is needed, this is 14"),
        (
            (150013, "2.18.2", "timescale"),
            "TimescaleDB 2.19 or newer is needed, this is 2.18.2: ALTER EXTENSION timescaledb UPDATE",
        ),
        ((170002, "1.7.5", "apache"), "TimescaleDB 2.19 or newer is needed, this is 1.7.5"),
    ],
)
def test_a_server_that_is_too_old_is_rejected_with_the_required_version(version: Any, message: str) -> None:
    with pytest.raises(UnsupportedServer, match=message.replace(".", r"\.")):
        detected(*version)


@pytest.mark.parametrize(
    ("version", "name"),
    [
        ((150000, None, None), "postgres"),
        # The library is loaded, and this database does not have the extension.
        ((160004, None, "timescale"), "postgres"),
        ((150000, "2.19.0", "apache"), "timescale-apache"),
        ((170005, "2.23.0-dev", "timescale"), "timescale"),
        ((180000, "2.30.0-rc1", "timescale"), "timescale"),
        # The extension is there, and this session has not loaded its library: what that allows cannot be counted on.
        ((170005, "2.23.0", None), "timescale-apache"),
    ],
)
def test_every_supported_version_has_its_engine(version: Any, name: str) -> None:
    found = detected(*version)
    assert (found.name, type(found)) == (name, ENGINES[name])
    assert (found.server_version, found.extension_version) == version[:2]


@pytest.mark.parametrize(
    ("found", "warned"),
    [
        (Timescale(150020, "2.28.3"), True),
        (Timescale(170012, "2.28.3"), True),
        (Timescale(170011, "2.28.3"), False),
        (Timescale(170013, "2.28.3"), False),
        (TimescaleApache(170012, "2.19.3"), False),
        (Engine(170012), False),
    ],
)
def test_a_version_combination_with_failing_jobs_gives_a_warning(found: Engine, warned: bool) -> None:
    assert bool(found.warnings()) is warned
    if warned:
        assert "stay one minor release below or go one above" in found.warnings()[0]


# What a migrate makes of it -----------------------------------------------------------------------------------------


def test_migrate_creates_engine_specific_objects_and_repeating_it_changes_nothing(bare: Place, engine: str) -> None:
    done = migration.migrate(bare.admin_dsn)
    assert (done.before, done.after) == (None, head())
    made = {
        "postgres": set[str](),
        "timescale-apache": {f"hypertable store.{name}" for name in CHUNKED},
        "timescale": {
            *(f"{what} store.{name}" for name in CHUNKED for what in ("hypertable", "columnstore")),
            *(f"rollup {name}" for name in ROLLUPS),
        },
    }[engine]
    assert {name for name in done.objects if name.split()[0] in ("hypertable", "columnstore", "rollup")} == made
    assert migration.check(bare.admin_dsn) == []
    assert migration.migrate(bare.admin_dsn).objects == []
    assert migration.check(bare.admin_dsn) == []


def test_the_control_plane_needs_no_superuser(bare: Place) -> None:
    migration.migrate(bare.admin_dsn)
    assert rows(
        bare, "SELECT rolname, rolsuper FROM pg_roles WHERE rolname IN ('mds_admin', 'mds_owner') ORDER BY 1"
    ) == [
        ("mds_admin", False),
        ("mds_owner", False),
    ]
    owners = rows(
        bare,
        "SELECT DISTINCT relowner::regrole::text FROM pg_class WHERE relkind IN ('r', 'v', 'p')"
        " AND relnamespace::regnamespace::text IN ('store', 'mds')",
    )
    assert owners == [("mds_owner",)]


@pytest.mark.engines("timescale")
def test_the_owner_can_log_in_without_a_password_where_background_jobs_need_it(store: Store) -> None:
    assert rows(store, "SELECT rolcanlogin, rolpassword FROM pg_authid WHERE rolname = 'mds_owner'") == [(True, None)]
    jobs = rows(store, "SELECT job_id, owner::text FROM timescaledb_information.jobs WHERE hypertable_schema = 'store'")
    assert {owner for _, owner in jobs} == {"mds_owner"}
    for job, _ in jobs:
        store.execute("CALL run_job(%s)", job)


@pytest.mark.engines("postgres", "timescale-apache")
def test_the_owner_cannot_log_in_where_no_background_job_needs_it(store: Store) -> None:
    assert rows(store, "SELECT rolcanlogin FROM pg_roles WHERE rolname = 'mds_owner'") == [(False,)]


def test_chunks_and_columnstore_are_as_declared(store: Store) -> None:
    if store.engine == "postgres":
        assert rows(store, "SELECT * FROM pg_extension WHERE extname = 'timescaledb'") == []
        return
    declared = [(kind.name, kind.time, kind.storage.chunk) for kind in KINDS.values() if kind.storage]
    found = rows(
        store,
        "SELECT hypertable_name::text, column_name::text, time_interval FROM timescaledb_information.dimensions"
        " WHERE hypertable_schema = 'store' ORDER BY 1",
    )
    assert found == sorted(declared)
    if store.engine == "timescale":
        settings = rows(
            store,
            "SELECT hypertable::text, segmentby, orderby FROM timescaledb_information.hypertable_columnstore_settings"
            " WHERE hypertable::text LIKE 'store.%' ORDER BY 1",
        )
        assert [(name, segment) for name, segment, _ in settings] == [
            (f"store.{name}", "series_id") for name in sorted(CHUNKED)
        ]
        for name, _, order in settings:
            kind = KINDS[name.removeprefix("store.")]
            assert [part.strip().split()[0] for part in order.split(",")] == list(kind.key)


# When it changes ----------------------------------------------------------------------------------------------------


def some_rows() -> dict[str, list[Any]]:
    """Rows of every kind, over several chunks."""
    days = range(0, 60, 3)
    return {
        "bars": [
            Bar(
                vendor="v",
                symbol="AAPL",
                timeframe="1m",
                ts=START + timedelta(days=day),
                close_price=day,
                volume=day,
            )
            for day in days
        ],
        "fundamentals": [
            Fundamentals(vendor="v", symbol="AAPL", asof=START + timedelta(days=day), eps=day) for day in days
        ],
        "news": [News(vendor="v", published_at=START + timedelta(days=day), title=f"day {day}") for day in days],
        "options": [
            OptionSnap(
                vendor="v",
                symbol="AAPL",
                expiry=(START + timedelta(days=99)).date(),
                option_type="C",
                strike=100,
                ts=START + timedelta(days=day),
                oi=day,
            )
            for day in days
        ],
    }


def answers(client: Client) -> dict[str, Any]:
    found: dict[str, Any] = {kind: [row for part in client.iter_rows(kind) for row in part] for kind in KINDS}
    for rollup in KINDS["bars"].rollups:
        found[rollup.timeframe] = client.rollup("AAPL", rollup.timeframe, *ALWAYS, "v")
    found["chain"] = client.option_chain("AAPL", START + timedelta(days=30), "v")
    found["latest"] = client.latest_prices(["AAPL"], "v")
    return found


def test_a_database_without_the_extension_works_as_plain_postgresql(
    connect: Callable[..., Client], plain: Place, engine: str
) -> None:
    migration.migrate(plain.admin_dsn)
    rows(plain, "GRANT mds_app TO mds_service")
    tenant = tenants.create_tenant(plain.admin_dsn, "a")
    client = connect(dsn=plain.dsn, tenant_id=str(tenant.id), prepare_threshold="none")
    for kind, some in some_rows().items():
        assert client.upsert(kind, some) == len(some)
    assert client.health().engine == reads.describe(plain.admin_dsn).engine == "postgres"
    assert len(answers(client)["1d"]) == 20
    assert migration.check(plain.admin_dsn) == []


@pytest.mark.engines("timescale-apache", "timescale")
def test_migrate_converts_filled_tables_to_hypertables_once_the_extension_exists(
    connect: Callable[..., Client], plain: Place, engine: str
) -> None:
    migration.migrate(plain.admin_dsn)
    rows(plain, "GRANT mds_app TO mds_service")
    made = [tenants.create_tenant(plain.admin_dsn, name) for name in ("a", "b")]
    client = connect(dsn=plain.dsn, tenant_id=str(made[0].id), prepare_threshold="none")
    other = client.for_tenant(str(made[1].id))
    for kind, some in some_rows().items():
        client.upsert(kind, some)
        other.upsert(kind, some[:7])
    timescale_policies.set_policy(plain.admin_dsn, "bars", "columnstore_after", timedelta(days=40))
    before = [answers(client), answers(other)]

    rows(plain, "CREATE EXTENSION timescaledb")
    # Until somebody migrates, everything is as it was, and a check says what is to be done.
    assert [answers(client), answers(other)] == before
    done = migration.migrate(plain.admin_dsn)
    assert hypertables(plain) == sorted(CHUNKED)
    assert {f"hypertable store.{name}" for name in CHUNKED} <= set(done.objects)
    assert migration.check(plain.admin_dsn) == []
    assert migration.migrate(plain.admin_dsn).objects == []

    assert [answers(client), answers(other)] == before
    assert client.health().engine == engine
    chunks = rows(plain, "SELECT count(*) FROM timescaledb_information.chunks WHERE hypertable_schema = 'store'")
    assert chunks[0][0] >= 3 * 3
    # Writing goes on: the same changes nothing, other values replace, new rows are added.
    for kind, some in some_rows().items():
        client.upsert(kind, some)
    assert [answers(client), answers(other)] == before
    client.upsert_bars([Bar(**{**some_rows()["bars"][0].model_dump(), "close_price": 99.0})])
    assert answers(client)["bars"][0].close_price == 99.0
    assert answers(other) == before[1]


@pytest.mark.engines("timescale")
def test_rows_stored_before_the_extension_existed_are_in_the_stored_rollups(
    connect: Callable[..., Client], plain: Place, engine: str
) -> None:
    migration.migrate(plain.admin_dsn)
    rows(plain, "GRANT mds_app TO mds_service")
    tenant = tenants.create_tenant(plain.admin_dsn, "a")
    client = connect(dsn=plain.dsn, tenant_id=str(tenant.id), prepare_threshold="none")
    client.upsert_bars(some_rows()["bars"])
    rows(plain, "CREATE EXTENSION timescaledb")
    done = migration.migrate(plain.admin_dsn)
    assert [name for name in done.objects if name.startswith("rollup")] == [f"rollup {name}" for name in ROLLUPS]
    stored = rows(
        plain,
        "SELECT view_name::text, format('%I.%I', materialization_hypertable_schema, materialization_hypertable_name)"
        " FROM timescaledb_information.continuous_aggregates",
    )
    assert sorted(name for name, _ in stored) == sorted(ROLLUPS)
    for _, table in stored:
        assert rows(plain, f"SELECT count(*) FROM {table}") == [(20,)]
