"""A kind is one declaration: what the test declares here gets everything that a kind has, and no list names it."""

import importlib.util
import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import psycopg
import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from pydantic import Field

from datastore import migration
from mds_client import KINDS, MDS, RLSDenied, Row
from mds_client.batch import BatchConfig, BatchProcessor
from mds_client.cli import command_line, main
from mds_client.models import Count, Day, Instant, Number, Symbol, Text, UuidText
from mds_client.schema import Storage, kind
from tests.clients.test_cli import Run, runs, two_tenants, use
from tests.conftest import Client, Store, odd_rows
from tests.engines.databases import Running

NOON = datetime(2024, 1, 2, 12, tzinfo=UTC)
TRADE_ID = "0e0bc1a6-5e5b-4b0e-9a6b-0b8f6f3c2d11"


@pytest.fixture
def store(running: Running) -> Iterator[Store]:
    with two_tenants(running) as made:
        yield made


@pytest.fixture
def trade() -> Iterator[type[Row]]:
    """A kind that is there for the test only."""

    @kind(
        "trades",
        singular="trade",
        time="executed_at",
        series=("vendor", "symbol"),
        key=("venue", "number"),
        price="price",
        storage=Storage(chunk=timedelta(days=1), columnstore_after=timedelta(days=2)),
    )
    class Trade(Row):
        """One execution on one venue."""

        symbol: Symbol
        executed_at: Instant
        venue: Text
        number: Count
        price: Annotated[Number, Field(gt=0)]
        size: Count | None = None
        settles_on: Day | None = None
        conditions: Text | None = None
        order_id: UuidText | None = None

    yield Trade
    KINDS.remove("trades")


@pytest.fixture
def trades(trade: type[Row], store: Store, tmp_path: Path) -> Store:
    """A store that has the kind, by the migration that the control plane writes from the declaration."""
    path = migration.revision(store.admin_dsn, "trades", tmp_path)
    spec = importlib.util.spec_from_file_location("trades_migration", path)
    assert spec
    assert spec.loader
    written = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(written)
    with migration.owner_connection(store.admin_dsn) as connection:
        with Operations.context(MigrationContext.configure(connection)):
            written.upgrade()
        connection.commit()
    migration.migrate(store.admin_dsn)
    return store


def execution(number: int = 1, price: float = 10.0, **fields: Any) -> dict[str, Any]:
    row = {"vendor": "v", "symbol": "aapl", "executed_at": NOON, "venue": "X", "number": number, "price": price}
    return {**row, **fields}


def seen(store: Store, tenant: str) -> list[tuple[Any, ...]]:
    """The public view, as an application sees it."""
    with psycopg.connect(store.dsn) as connection:
        connection.execute("SELECT mds.use_tenant(%s)", (tenant,))
        return connection.execute(
            "SELECT tenant_id::text, vendor, symbol, executed_at, venue, number, price, size, settles_on, conditions,"
            " order_id::text FROM public.trades ORDER BY executed_at, venue, number"
        ).fetchall()


def test_check_reports_when_the_table_differs_from_its_declaration(trades: Store) -> None:
    assert migration.check(trades.admin_dsn) == []
    assert trades.rows(
        "SELECT column_name::text, data_type::text, is_nullable::text FROM information_schema.columns"
        " WHERE table_schema = 'store' AND table_name = 'trades' ORDER BY ordinal_position"
    ) == [
        ("series_id", "bigint", "NO"),
        ("executed_at", "timestamp with time zone", "NO"),
        ("venue", "text", "NO"),
        ("number", "bigint", "NO"),
        ("price", "double precision", "NO"),
        ("size", "bigint", "YES"),
        ("settles_on", "date", "YES"),
        ("conditions", "text", "YES"),
        ("order_id", "uuid", "YES"),
    ]
    trades.execute("ALTER TABLE store.trades DROP COLUMN settles_on CASCADE")
    assert any("settles_on" in line for line in migration.check(trades.admin_dsn))


@pytest.mark.parametrize("mode", ["executemany", "values", "copy", "auto"])
@odd_rows
def test_a_new_kind_is_written_in_every_mode_and_rewriting_changes_nothing(
    trades: Store, trade: type[Row], connect: Callable[..., Client], mode: str
) -> None:
    client = connect(dsn=trades.dsn, tenant_id=trades.tenant_a, write_mode=mode)
    rows = [
        execution(1, 10.0, size=5, settles_on=date(2024, 1, 4), conditions="", order_id=TRADE_ID.upper()),
        execution(2, 11.5, conditions="Ünï\t\\N"),
        execution(1, 9.0, venue="Y"),
        trade.model_validate(execution(2, 12.5)),  # the same key again: the last one wins
        execution(7, 1.0, symbol="msft", executed_at=NOON - timedelta(days=400)),
    ]
    assert client.upsert("trades", rows) == 5
    a = trades.tenant_a
    assert seen(trades, a) == [
        (a, "v", "MSFT", NOON - timedelta(days=400), "X", 7, 1.0, None, None, None, None),
        (a, "v", "AAPL", NOON, "X", 1, 10.0, 5, date(2024, 1, 4), "", TRADE_ID),
        (a, "v", "AAPL", NOON, "X", 2, 12.5, None, None, None, None),
        (a, "v", "AAPL", NOON, "Y", 1, 9.0, None, None, None, None),
    ]
    versions = "SELECT ctid::text, xmin::text FROM store.trades ORDER BY 1"
    before = trades.rows(versions)
    client.upsert(trade, rows)
    assert trades.rows(versions) == before
    assert trades.rows("SELECT symbol, last_ts FROM store.series WHERE kind = 'trades' ORDER BY 1") == [
        ("AAPL", NOON),
        ("MSFT", NOON - timedelta(days=400)),
    ]


@pytest.mark.parametrize(("rule", "left"), [("replace", (2.0, None)), ("keep", (1.0, 5)), ("fill", (2.0, 5))])
def test_a_new_kind_follows_on_conflict_in_every_mode(
    trades: Store, connect: Callable[..., Client], rule: str, left: tuple[Any, ...]
) -> None:
    numbers = {"executemany": 1, "values": 2, "copy": 3}
    for mode, number in numbers.items():
        client = connect(dsn=trades.dsn, tenant_id=trades.tenant_a, write_mode=mode)
        client.upsert("trades", [execution(number, 1.0, size=5)])
        client.upsert("trades", [execution(number, 2.0)], on_conflict=rule)
    assert trades.rows("SELECT price, size FROM store.trades") == [left] * len(numbers)


def test_rows_of_a_new_kind_are_isolated_between_tenants(trades: Store, connect: Callable[..., Client]) -> None:
    client = connect(dsn=trades.dsn, tenant_id=trades.tenant_a)
    client.upsert("trades", [execution()])
    assert len(seen(trades, trades.tenant_a)) == 1
    assert seen(trades, trades.tenant_b) == []
    with pytest.raises(RLSDenied):
        client.upsert("trades", [execution(tenant_id=trades.tenant_b)])


def test_the_batch_processor_has_a_method_for_a_new_kind(trades: Store) -> None:
    with MDS(dsn=trades.dsn, tenant_id=trades.tenant_a) as client, BatchProcessor(client, BatchConfig()) as processor:
        adder: Any = processor
        adder.add_trade(execution(1))
        adder.add_trade(execution(2))
    assert len(seen(trades, trades.tenant_a)) == 2


@pytest.fixture
def mds(trades: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    use(monkeypatch, MDS_DSN=trades.dsn, MDS_TENANT_ID=trades.tenant_a)
    return runs(main, capsys, monkeypatch)


def test_a_new_kind_can_be_ingested_from_ndjson_with_rejects(mds: Run, trades: Store, tmp_path: Path) -> None:
    file = tmp_path / "trades.ndjson"
    texts = [json.dumps(execution(n, 1.0 + n, executed_at=NOON.isoformat(), size=n)) for n in range(3)]
    file.write_text("\n".join([*texts, json.dumps(execution(9, -1.0, executed_at=NOON.isoformat()))]))
    done = mds("ingest-ndjson", "trades", file)
    assert done.code == 3
    assert done.out.startswith("trades: 3 rows written from 4 lines")
    assert trades.rows("SELECT number, price, size FROM store.trades ORDER BY 1") == [(0, 1, 0), (1, 2, 1), (2, 3, 2)]
    assert "price: Input should be greater than 0" in Path(f"{file}.rejects.ndjson").read_text()


def test_a_new_kind_has_a_write_command(mds: Run, trades: Store) -> None:
    options = ("--vendor", "v", "--symbol", "aapl", "--executed-at", "2024-01-02T12:00:00", "--venue", "X")
    more = ("--number", "1", "--price", "10.5", "--settles-on", "2024-01-04", "--order-id", TRADE_ID)
    assert mds("write-trade", *options, *more).out == "1 trade written\n"
    assert trades.rows("SELECT executed_at, price, settles_on, order_id FROM store.trades") == [
        (NOON, 10.5, date(2024, 1, 4), UUID(TRADE_ID))
    ]
    read = mds("trades", "--symbol", "AAPL", "--format", "csv").out
    assert read.splitlines()[1].split(",")[:3] == ["v", "AAPL", "2024-01-02T12:00:00Z"]
    shown = mds("write-trade", "--help").out
    assert "One execution on one venue." in shown
    assert re.search(r"--settles-on TEXT +date", shown)
    done = mds("write-trade", *options)
    assert (done.code, "Missing option '--number'" in done.err) == (2, True)


def test_a_removed_kind_has_no_command(trade: type[Row]) -> None:
    assert "write-trade" in command_line().commands
    taken = KINDS["trades"]
    KINDS.remove("trades")
    try:
        assert "write-trade" not in command_line().commands
    finally:
        KINDS.add(taken)
