"""A database of every release, brought to head: the same as a fresh one, with all that was in it.

`tests/control/releases` has what each release made, with rows in every table: see `tools/freeze_release.py`.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from click.testing import CliRunner
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier

from datastore import aggregates, migration, tenants
from datastore.cli import command_line
from datastore.connections import head
from datastore.engines import detect
from mds_client import KINDS, MDS
from tests.conftest import plain_postgres
from tests.control.catalog import rows, shape
from tests.engines.databases import PASSWORD, Databases, Place
from tests.relay import Relay

pytestmark = pytest.mark.every_engine

RELEASES: Final = sorted((Path(__file__).parent / "releases").glob("*.sql"))
ALPHA: Final = "aaaaaaaa-0000-4000-8000-000000000001"
BETA: Final = "bbbbbbbb-0000-4000-8000-000000000002"
CLOSED: Final = "cccccccc-0000-4000-8000-000000000003"
DESK: Final = "desk_of_beta"
ALWAYS: Final = (datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC))

FROZEN: Final = {
    "0001": "6d79c54a2cb0a8945dbb9a4fada03829136187e3391b7afe3cb452b8542c95a8",
    "0002": "959fcb2c21d43d64e00b8183b5d9cb9a27f7c0c658c280dde12e7d650d8dcd44",
    "0003": "e749d0ba7e4b511c1f3d338cbce0e037276e1d2769ac0dd2bd1d5523c8407427",
    "0004": "698646320bcb2cc11d12ec73ab37ed4f6ef761a8d21b46db010aebd1e3595d3e",
    "0005": "15a94f0fb68b073b7838459069c8ff211317e1277f013bfbf5951d0d8d7be0e5",
    "0006": "fcdd1348b69e6d671efd700b79367ea532a72a1d489c08e6268ec4db6987dfec",
    "0007": "63a57450ed0a94443ae4c494e06bd753d6f16ca5efa3773cab0c2b46209b5f41",
    "0008": "e6d2c56e6e22f67ff6afb0fed11facfe81d796189de44b66be92d0b57a00ada0",
    "0009": "17d6e1d33d2622288e29bbfd684c40119af38fac4d7be7cf81d81dbd4a0ecfcf",
    "0010": "b2f47c6aec544a119d35b0e35fb84074cf85f463df374f8bd7fb1886b23f1442",
    "0011": "4fbba56a750114a88bbaf68f232fe2135e9ed50c3163b14e5fb4718118247428",
    "0012": "f72307b349ac3c9c9b05aeb464545886474423bd6c0542ba14240e9d88d292f4",
    "0013": "c752fdf26d41833f10739fa28301b2d395a49486cdfafff27dab3dd8f5bafa1d",
    "0014": "750fce9412b56f2033971bf771dabde2732fa371b912fbd470273a4dbbd6b4c0",
    "0015": "5909657837586919cddf546ff4428ae712e430e7508a514ec3821b191d848aac",
    "0016": "5996543c06488fe301bede7dc5d8508e3a7475802b1c2e6f79bbbd0ed7de4c76",
    "0017": "9421f7dcb9237c9219efda2fe4964ddbc8cdbc1e90b6e3baded887dfdff9a7e8",
    "0018": "537a5cd1ffd4615eccfaa853f51b7bc6ff9098a3bacc029e67a97da9a239ad0e",
    "0019": "63d38a4f7007968123e2fcab872251dde9f44e03f20e5c1fd411b3fe859343ae",
    "0020": "4dd930abf74b220b018eae8bd68505526bba3da1c9204a23cc6704eb3abf35a8",
}
"""What each migration file is, once it is released."""


def scripts() -> ScriptDirectory:
    configuration = Config()
    configuration.set_main_option("script_location", "datastore:migrations")
    configuration.set_main_option("path_separator", "os")
    return ScriptDirectory.from_config(configuration)


def test_a_released_migration_is_never_changed() -> None:
    """Databases that it has made are out there: what is to be otherwise is another migration's to do."""
    found = {
        script.revision: hashlib.sha256(Path(script.path).read_bytes()).hexdigest()
        for script in scripts().walk_revisions()
    }
    assert found == FROZEN


def test_the_newest_migration_is_frozen_for_later_releases() -> None:
    """Else nobody could test later that a database of today comes along: python tools/freeze_release.py."""
    assert RELEASES[-1].stem == head()
    assert {path.stem for path in RELEASES} <= set(FROZEN)


@contextmanager
def restored(databases: Databases, release: Path) -> Iterator[Place]:
    """A release's database, with the hypertables that it would have made on this engine and, where there are columnar
    chunks, with its old rows in them."""
    with databases.bare() as place:
        with psycopg.connect(place.superuser_dsn, autocommit=True) as connection:
            for role in ("mds_owner", "mds_app", DESK):
                if not connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (role,)).rowcount:
                    connection.execute(SQL("CREATE ROLE {}").format(Identifier(role)))
            connection.execute("GRANT mds_owner TO mds_admin; GRANT mds_app TO mds_service")
            connection.execute(f"ALTER ROLE {DESK} LOGIN PASSWORD '{PASSWORD}'; GRANT mds_app TO {DESK}".encode())
            connection.execute(release.read_bytes())
            connection.execute("RESET ALL")
        there = {name for (name,) in rows(place.superuser_dsn, TABLES)}
        with psycopg.connect(place.superuser_dsn) as driver:
            engine = detect(driver)
            engine.prepare_owner(driver, "mds_owner")
            driver.execute("SET ROLE mds_owner")
            for kind in KINDS.values():
                if kind.name in there:
                    engine.store_table(driver, kind)
            driver.commit()
            if engine.has_columnstore:
                driver.execute("SELECT compress_chunk(c) FROM show_chunks('store.bars') AS c")
        yield place


TABLES: Final = (
    "SELECT relname::text FROM pg_class WHERE relnamespace = 'store'::regnamespace AND relkind = 'r'"
    " AND relname NOT IN ('alembic_version', 'objects') AND NOT starts_with(relname, 'lock_') ORDER BY 1"
)


def contents(dsn: str, columns: dict[str, list[str]]) -> dict[str, list[Any]]:
    """Every row of these tables, as far as these columns go."""
    found = {}
    with psycopg.connect(dsn) as connection:
        for table, names in columns.items():
            selected = SQL(", ").join(map(Identifier, names))
            statement = SQL("SELECT {} FROM {} ORDER BY {}").format(
                selected,
                Identifier("store", table),
                SQL(", ").join(SQL("{}::text").format(Identifier(n)) for n in names),
            )
            found[table] = connection.execute(statement).fetchall()
    return found


def columns(dsn: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {table: [] for (table,) in rows(dsn, TABLES)}
    for table, name in rows(
        dsn,
        "SELECT table_name::text, column_name::text FROM information_schema.columns WHERE table_schema = 'store'"
        " ORDER BY table_name, ordinal_position",
    ):
        if table in found:
            found[table].append(name)
    return found


@pytest.fixture
def fresh(databases: Databases) -> list[Any]:
    """What a database is that was made at head at once."""
    with databases.bare() as place:
        migration.migrate(place.admin_dsn)
        return shape(place.superuser_dsn)


@pytest.mark.parametrize(
    "release",
    [
        # Hypertables come along from the oldest release, through all migrations.
        pytest.param(path, id=path.stem, marks=() if path == RELEASES[0] else plain_postgres)
        for path in RELEASES
    ],
)
def test_a_database_of_every_release_migrates_to_head_with_all_rows(
    databases: Databases, fresh: list[Any], release: Path
) -> None:
    with restored(databases, release) as place:
        before = columns(place.superuser_dsn)
        had = contents(place.superuser_dsn, before)
        assert all(had.values()), "a table without a row proves nothing: python tools/freeze_release.py"
        migrated = migration.migrate(place.admin_dsn)
        assert (migrated.before, migrated.after) == (release.stem, head())
        assert migration.check(place.admin_dsn) == []
        assert shape(place.superuser_dsn) == fresh
        assert contents(place.superuser_dsn, before) == had
        again = migration.migrate(place.admin_dsn)
        assert (again.before, again.after, again.objects) == (head(), head(), [])
        works(place)


BEFORE_SPELLINGS, BEFORE_FRACTIONS = (path for path in RELEASES if path.stem in ("0007", "0008"))
ASIDE: Final = "SELECT count(*) FROM pg_class WHERE relname LIKE '%aside'"


def rollups_of_another_release(place: Place) -> dict[str, list[Any]]:
    """Store the rollups as releases up to 0008 did, lose the oldest rows, and say what there is of each rollup."""
    with psycopg.connect(place.superuser_dsn, autocommit=True) as driver:
        driver.execute("SET ROLE mds_owner")
        for source, name, width in (
            ("bars", "bars_5m", "5 minutes"),
            ("bars_5m", "bars_15m", "15 minutes"),
            ("bars_15m", "bars_1h", "1 hour"),
            ("bars_1h", "bars_1d", "1 day"),
        ):
            values = ", ".join(
                f"{how}({column}{', ts' if how in ('first', 'last') else ''}) AS {column}"
                for column, how in KINDS["bars"].aggregates
                if column not in ("trade_count", "vwap")
            )
            driver.execute(
                f"CREATE MATERIALIZED VIEW store.{name} WITH (timescaledb.continuous,"
                " timescaledb.materialized_only = false) AS"
                f" SELECT series_id, time_bucket('{width}', ts) AS ts, {values}"
                f" FROM store.{source} GROUP BY 1, 2 WITH NO DATA".encode()
            )
            driver.execute("CALL refresh_continuous_aggregate(%s, NULL, '2024-03-01Z')", (f"store.{name}",))
        driver.execute("SELECT drop_chunks('store.bars', older_than => '2024-01-20Z'::timestamptz)")
    return stored_rollups(place)


def stored_rollups(place: Place) -> dict[str, list[Any]]:
    """Every rollup, as the owner of the schema reads it."""
    return {
        name: rows(place.superuser_dsn, f"SELECT series_id, ts, close_price, volume FROM store.{name} ORDER BY 1, 2")
        for name in aggregates.names()
    }


@pytest.mark.engines("timescale")
def test_a_rollup_that_gets_a_column_keeps_bars_removed_by_retention(databases: Databases) -> None:
    with restored(databases, BEFORE_FRACTIONS) as place:
        had = rollups_of_another_release(place)
        ((left,),) = rows(place.superuser_dsn, "SELECT count(*) FROM store.bars")
        assert all(len(found) > left for found in had.values())
        migrated = migration.migrate(place.admin_dsn)
        assert {f"rollup {name}" for name in aggregates.names()} <= set(migrated.objects)
        assert stored_rollups(place) == had
        assert migration.check(place.admin_dsn) == []
        assert rows(place.superuser_dsn, ASIDE) == [(0,)]
        # What is there is refreshed, and what is gone stays.
        aggregates.refresh(place.admin_dsn)
        assert stored_rollups(place) == had
        with MDS(dsn=place.dsn, tenant_id=ALPHA, pool_max=1) as client:
            newest = client.bars_window("AAPL", "1m", *ALWAYS, "v")[-1]
            client.upsert_bars([newest.model_copy(update={"volume": 0.5, "trade_count": 3, "vwap": 2.5})])
            aggregates.refresh(place.admin_dsn)
            (day,) = client.rollup("AAPL", "1d", newest.ts - timedelta(days=1), newest.ts, "v")
            assert (day.volume, day.trade_count, day.vwap) == (0.5, 3, 2.5)
        assert migration.migrate(place.admin_dsn).objects == []


@pytest.mark.engines("timescale")
def test_long_migration_steps_are_announced_with_an_estimate_and_report_progress(databases: Databases) -> None:
    with restored(databases, BEFORE_FRACTIONS) as place:
        rollups_of_another_release(place)
        seen: list[Any] = []
        migration.migrate(
            place.admin_dsn,
            ahead=lambda steps: seen.append((steps, rows(place.superuser_dsn, ASIDE))),
            told=lambda *progress: seen.append(progress),
        )
        (steps, aside), *progress = seen
        assert [(step.name, step.work) for step in steps] == [(name, "replace") for name in aggregates.names()]
        assert all(step.rows > 0 and step.bytes > 0 and step.seconds > 0 for step in steps)
        # It is said before the first one is set aside.
        assert aside == [(0,)]
        for name in aggregates.names():
            parts = [(done, total) for which, done, total in progress if which == name]
            assert parts == [(done, len(parts)) for done in range(1, len(parts) + 1)]
        seen.clear()
        migration.migrate(place.admin_dsn, ahead=seen.append)
        assert seen == [[]]


@pytest.mark.engines("timescale-apache")
def test_migrate_announces_a_table_that_becomes_a_hypertable(databases: Databases) -> None:
    with databases.bare() as place:
        migration.migrate(place.admin_dsn)
        with psycopg.connect(place.superuser_dsn, autocommit=True) as connection:
            # As it is where the extension is added to a database with rows.
            connection.execute("CREATE TABLE store.plain (LIKE store.bars INCLUDING ALL)")
            connection.execute(
                "INSERT INTO store.plain (series_id, ts) SELECT 1 + (1::bigint << 40), ts FROM generate_series("
                "'2024-01-01Z'::timestamptz, '2024-03-01Z', '5 min') AS ts"
            )
            connection.execute("ANALYZE store.plain; ALTER TABLE store.plain OWNER TO mds_owner")
            before = connection.execute("SELECT pg_get_viewdef('mds.bars'::regclass)").fetchone()
            assert before is not None
            connection.execute("DROP TABLE store.bars CASCADE; ALTER TABLE store.plain RENAME TO bars")
        said = CliRunner().invoke(command_line(), ["migrate", "--dsn", place.admin_dsn])
        assert said.exit_code == 0, said.output
        assert "the table bars becomes a hypertable: writers wait until it is done (about 17,281 rows," in said.stderr
        assert "you can interrupt the command and run it again" in said.stderr
        assert rows(place.superuser_dsn, "SELECT count(*) FROM store.bars") == [(17_281,)]
        assert "hypertable" not in CliRunner().invoke(command_line(), ["migrate", "--dsn", place.admin_dsn]).stderr


@pytest.mark.every_case
@pytest.mark.engines("timescale")
@pytest.mark.parametrize("copy", [1, 3])
def test_a_migration_interrupted_while_copying_a_rollup_can_be_resumed(databases: Databases, copy: int) -> None:
    with restored(databases, BEFORE_FRACTIONS) as place:
        had = rollups_of_another_release(place)
        relay = Relay(place.admin_dsn)
        try:
            relay.cut_before(b'INSERT INTO "_timescaledb_internal"', copy)
            with pytest.raises(psycopg.OperationalError):
                migration.migrate(relay.dsn)
        finally:
            relay.close()
        assert rows(place.superuser_dsn, ASIDE) != [(0,)]
        migration.migrate(place.admin_dsn)
        assert stored_rollups(place) == had
        assert migration.check(place.admin_dsn) == []


OTHER_SPELLINGS: Final = """
INSERT INTO store.series (series_id, kind, vendor, symbol, timeframe, last_ts, last_price, last_price_ts)
  SELECT (t.no::bigint << 40) + nextval('store.series_n'), 'bars', 'v', s.symbol, s.timeframe, s.ts, s.price, s.ts
  FROM store.tenants AS t, (VALUES
    ('ALONE', '60m', timestamptz '2024-01-02 12:00Z', 1.0), ('ALONE', '120s', '2024-01-02 12:00Z', 2.0),
    ('BOTH', '60m', '2024-01-02 13:00Z', 3.0), ('BOTH', '1h', '2024-01-02 12:00Z', 4.0), ('ALONE', '90m',
    '2024-01-02 12:00Z', 5.0)) AS s(symbol, timeframe, ts, price) WHERE t.name = 'alpha';
INSERT INTO store.bars (series_id, ts, close_price)
  SELECT series_id, last_ts, last_price FROM store.series WHERE symbol IN ('ALONE', 'BOTH');
INSERT INTO store.bars (series_id, ts, close_price)
  SELECT series_id, '2024-01-02 12:00Z', 9.0 FROM store.series WHERE symbol = 'BOTH' AND timeframe = '60m';
"""


def test_the_upgrade_unifies_spellings_of_a_timeframe(databases: Databases) -> None:
    with restored(databases, BEFORE_SPELLINGS) as place:
        with psycopg.connect(place.superuser_dsn) as connection:
            connection.execute(OTHER_SPELLINGS)
        migration.migrate(place.admin_dsn)
        with MDS(dsn=place.dsn, tenant_id=ALPHA, pool_max=1) as client:
            found = {
                (symbol, timeframe): [bar.close_price for bar in client.bars_window(symbol, timeframe, *ALWAYS, "v")]
                for symbol, timeframe in (("ALONE", "1h"), ("ALONE", "2m"), ("ALONE", "90m"), ("BOTH", "60m"))
            }
            assert found == {
                ("ALONE", "1h"): [1.0],
                ("ALONE", "2m"): [2.0],
                ("ALONE", "90m"): [5.0],
                # The rows of the one spelling stay, and the others come to them.
                ("BOTH", "60m"): [4.0, 3.0],
            }
            assert [price.price for price in client.latest_prices(["BOTH"], "v")] == [3.0]
        left = rows(place.superuser_dsn, "SELECT timeframe FROM store.series WHERE symbol = 'BOTH'")
        assert left == [("1h",)]


def works(place: Place) -> None:
    """Tenants find their old rows, each its own; what is written goes on after them."""
    for tenant, number in ((ALPHA, 1), (BETA, 2)):
        with MDS(dsn=place.dsn, tenant_id=tenant, pool_max=1) as client:
            bars = client.bars_window("AAPL", "1m", *ALWAYS, "v")
            assert [bar.close_price for bar in bars] == [number + n for n in range(4)]
            assert client.upsert_bars(bars) == 4
            new = bars[-1].model_copy(
                update={"ts": bars[-1].ts + timedelta(days=1), "symbol": "NEW", "close_price": 7.5}
            )
            client.upsert_bars([new])
            assert [price.price for price in client.latest_prices(["NEW"], "v")] == [7.5]
    assert rows(place.superuser_dsn, "SELECT count(*) FROM store.series WHERE symbol = 'NEW'") == [(2,)]
    with psycopg.connect(make_conninfo(place.dsn, user=DESK, password=PASSWORD)) as connection:
        connection.execute("SELECT set_config('app.tenant_id', %s, true)", (ALPHA,))
        assert connection.execute("SELECT DISTINCT tenant_id::text FROM public.bars").fetchall() == [(BETA,)]
    with psycopg.connect(place.dsn) as connection:
        connection.execute("SELECT set_config('app.tenant_id', %s, true)", (CLOSED,))
        assert connection.execute("SELECT count(*) FROM public.bars").fetchone() == (0,)
    made = tenants.create_tenant(place.admin_dsn, "made after the upgrade")
    assert made.no == max(tenant.no for tenant in tenants.list_tenants(place.admin_dsn)) > 3
