"""Files of old rows, published as Iceberg tables: other engines read the rows that a client reads."""

import signal
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import duckdb
import polars
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table
from sqlalchemy.exc import ProgrammingError

from datastore import cold, tenants
from datastore.cold import exporting, keeping, publishing
from mds_client import sql
from tests.conftest import Store
from tests.control.cold_faults import PUBLISH, worked
from tests.control.test_cold import AGE, ALL, FENCE, NOW, Pair, bar, bars
from tests.control.test_tenant_lifecycle import context, order

pytestmark = [
    pytest.mark.engines("postgres"),
    # polars says that planning would be faster with another package.
    pytest.mark.filterwarnings("ignore:Iceberg scan planning"),
]

AT_ONCE: Final = timedelta(0)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return str(tmp_path / "cold")


@pytest.fixture
def pair(store: Store, url: str) -> Iterator[Pair]:
    with Pair(store, url) as made:
        yield made


def publish(store: Store, url: str, **how: Any) -> list[publishing.Published]:
    return list(publishing.publish(store.admin_dsn, url, **how))


def login(store: Store, tenant: str) -> str:
    """The URL by which SQLAlchemy connects as an application that chose a tenant, with `mds` as the search path."""
    given = conninfo_to_dict(store.dsn)
    server = "{user}:{password}@{host}:{port}/{dbname}".format(**given)
    return f"postgresql+psycopg://{server}?options=-csearch_path%3Dmds%20-capp.tenant_id%3D{tenant}"


def catalog(store: Store, tenant: str) -> SqlCatalog:
    return SqlCatalog("store", uri=login(store, tenant), init_catalog_tables="false")


def table(store: Store) -> Table:
    made = catalog(store, store.tenant_a)
    try:
        return made.load_table((store.tenant_a, "bars"))
    finally:
        made.close()


def names(one: Table) -> list[str]:
    return sorted(task.file.file_path.removeprefix("file://") for task in one.scan().plan_files())


def rows(frame: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = frame.sort("vendor", "symbol", "timeframe", "ts").to_dicts()
    return found


def same_as_scan(pair: Pair, store: Store) -> None:
    """polars, and DuckDB over the files that the table names, read what a scan reads of the time before the fence."""
    published = table(store)
    scanned = pair.a.scan("bars", ALL[0], FENCE).collect()
    columns = [name for name in scanned.columns if name != "tenant_id"]
    expected = rows(scanned.select(columns))
    assert rows(polars.scan_iceberg(published).select(columns).collect()) == expected
    files = names(published)
    assert files == sorted(pair.a.cold_files())
    found = duckdb.read_parquet(files).pl().select(columns).cast(dict(scanned.select(columns).schema))
    assert rows(found) == expected
    some = polars.col("symbol") == "A"
    assert rows(polars.scan_iceberg(published).filter(some).select(columns).collect()) == rows(
        scanned.filter(some).select(columns)
    )


def test_other_engines_read_the_published_rows_after_each_move_fold_and_restore(
    pair: Pair, store: Store, url: str
) -> None:
    pair.upsert(bars(hours=450))
    pair.move(NOW - timedelta(days=60))
    (first,) = publish(store, url)
    assert (first.files, first.added, first.removed) == (2, 2, 0)
    pair.move()
    (second,) = publish(store, url, again=True)
    assert (second.files, second.removed) == (first.files + second.added, 0)
    same_as_scan(pair, store)
    pair.upsert([bar(ALL[0] + timedelta(days=3), 77.5)])
    pair.fold()
    (third,) = publish(store, url)
    assert (third.files, third.added, third.removed) == (second.files, 1, 1)
    same_as_scan(pair, store)
    assert publish(store, url) == []

    # Readers of the table as it was have the files for a day, and nobody removes what the newest table needs.
    swept = keeping.sweep(store.admin_dsn, url, older_than=AT_ONCE)
    assert {one.why for one in swept} == {"replaced", "of no published table"}
    same_as_scan(pair, store)
    assert [one.problem for one in keeping.verify(store.admin_dsn, url)] == [None] * third.files

    pair.restore()
    (last,) = publish(store, url)
    assert (last.files, last.removed) == (0, third.files)
    assert names(table(store)) == []


def test_a_sweep_keeps_the_files_of_an_outdated_published_table(pair: Pair, store: Store, url: str) -> None:
    pair.upsert(bars("A", hours=100))
    (moved,) = pair.move()
    publish(store, url)
    pair.upsert([bar(ALL[0] + timedelta(days=3), 77.5)])
    pair.fold()
    metadata = Path(url) / store.tenant_a / "iceberg" / "bars" / "metadata"
    incomplete = metadata / f".00002-{UUID(int=2)}.metadata.json.{'0' * 32}.part"
    incomplete.write_text("{")
    for _ in range(2):
        keeping.sweep(store.admin_dsn, url, older_than=AT_ONCE)
        assert table(store).scan().to_arrow().num_rows == moved.rows
    assert not incomplete.exists()
    publish(store, url)
    assert moved.path in [one.path for one in keeping.sweep(store.admin_dsn, url, older_than=AT_ONCE)]
    same_as_scan(pair, store)


def test_only_tables_that_were_published_are_published_again(pair: Pair, store: Store, url: str) -> None:
    pair.upsert(bars("A", hours=100))
    pair.move()
    assert list(cold.published_again(store.admin_dsn, url)) == []
    assert not list(Path(url).rglob("*.avro"))


@pytest.mark.parametrize("step", PUBLISH)
def test_the_next_run_repairs_a_publication_that_was_killed(step: str, pair: Pair, store: Store, url: str) -> None:
    pair.upsert(bars("A", hours=250))
    pair.move(NOW - timedelta(days=60))
    if step != "made":
        publish(store, url)
        pair.move()
        pair.upsert([bar(ALL[0] + timedelta(days=3), 77.5)])
        pair.fold()
    assert worked(store.admin_dsn, url, store.tenant_a, "publish", step) == -signal.SIGKILL
    publish(store, url)
    keeping.sweep(store.admin_dsn, url, older_than=AT_ONCE)
    assert names(table(store)) == sorted(pair.a.cold_files())
    assert (
        table(store).scan().to_arrow().num_rows
        == pair.a.scan("bars", ALL[0], FENCE if step != "made" else ALL[0] + timedelta(days=60))
        .select(polars.len())
        .collect()
        .item()
    )


def test_a_tenant_cannot_see_or_change_tables_of_another(pair: Pair, store: Store, url: str) -> None:
    pair.upsert(bars(hours=100))
    for tenant in (store.tenant_a, store.tenant_b):
        cold.set_age(store.admin_dsn, UUID(tenant), "bars", AGE)
    list(exporting.run(store.admin_dsn, url, now=NOW))
    assert len(publish(store, url)) == 2
    own = catalog(store, store.tenant_a)
    try:
        assert own.list_namespaces() == [(store.tenant_a,)]
        assert own.list_tables(store.tenant_a) == [(store.tenant_a, "bars")]
        assert not own.table_exists((store.tenant_b, "bars"))
        mine = own.load_table((store.tenant_a, "bars"))
        with pytest.raises(ProgrammingError, match="permission denied"):
            mine.transaction().set_properties(owner="me").commit_transaction()
        with pytest.raises(ProgrammingError, match="permission denied"):
            own.drop_table((store.tenant_a, "bars"))
    finally:
        own.close()
    with psycopg.connect(store.dsn) as connection:
        connection.execute(sql.USE_TENANT, (store.tenant_a,))
        for relation, column in (("iceberg_tables", "table_namespace"), ("iceberg_namespace_properties", "namespace")):
            seen = connection.execute(f"SELECT DISTINCT {column} FROM mds.{relation}").fetchall()
            assert seen == [(store.tenant_a,)]
            for attempt in (
                f"SELECT * FROM store.{relation}",
                f"DELETE FROM mds.{relation}",
                f"UPDATE mds.{relation} SET {column} = {column}",
                f"INSERT INTO mds.{relation} ({column}) VALUES ('{store.tenant_b}')",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege), connection.transaction():
                    connection.execute(attempt)
        connection.execute("SELECT set_config('app.tenant_id', '', true)")
        assert connection.execute("SELECT * FROM mds.iceberg_tables").fetchall() == []


def test_deleting_a_tenant_removes_its_iceberg_tables(
    pair: Pair, store: Store, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATASTORE_COLD_URL", url)
    pair.upsert(bars("A", hours=100))
    pair.move()
    publish(store, url)
    job, wanted = order(store)
    tenants.run_deletion(context(store, job), wanted)
    assert store.rows("SELECT FROM store.iceberg_namespace_properties") == []
    assert store.rows("SELECT * FROM store.iceberg_tables") == []
    keeping.sweep(store.admin_dsn, url, older_than=AT_ONCE)
    assert [path for path in Path(url).rglob("*") if path.is_file() and not path.name.startswith(".")] == []


def test_engine_settings_name_each_table_and_the_polars_settings_work(pair: Pair, store: Store, url: str) -> None:
    pair.upsert(bars("A", hours=100))
    pair.move()
    publish(store, url)
    shown = {engine: cold.settings(store.admin_dsn, url, engine) for engine in cold.ENGINES}
    for text in shown.values():
        assert store.tenant_a in text
        assert str(conninfo_to_dict(store.admin_dsn)["password"]) not in text
    given = conninfo_to_dict(store.dsn)
    program = shown["polars"].replace("LOGIN:PASSWORD", f"{given['user']}:{given['password']}")
    scope: dict[str, Any] = {}
    exec(program.replace("%3Dmds", f"%3Dmds%20-capp.tenant_id%3D{store.tenant_a}"), scope)
    scanned = pair.a.scan("bars", ALL[0], FENCE)
    assert polars.collect_all([scope["bars"].select(polars.len()), scanned.select(polars.len())])[0].item() == 200
    scope["catalog"].close()
