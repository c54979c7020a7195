"""Rows out of the store into files, and back in: what was there is there again, exactly."""

import asyncio
import csv
import gzip
import io
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from mds_client import AMDS, KINDS, MDS, Bar, ConfigurationError, Fundamentals, News, OptionSnap, Row
from mds_client.export import TargetError, dump_csv, dump_ndjson, dump_parquet
from mds_client.reading import packed
from mds_client.reading.scans import Work
from mds_client.utils import ingest_ndjson
from tests.clients.test_packed import with_maps
from tests.conftest import Client, Store
from tests.engines.databases import shares_session

NOON = datetime(2024, 1, 2, 12, tzinfo=UTC)

ROWS: dict[str, list[Row]] = {
    "bars": [
        Bar(
            vendor="v",
            symbol=symbol,
            timeframe=timeframe,
            ts=NOON + timedelta(minutes=minute, microseconds=minute),
            close_price=None if minute == 3 else 0.1 + minute / 3,
            open_price=1e300,
            volume=2**53 - 0.5 if minute == 1 else 2**53 - 1,
            trade_count=2**53 + 1,
        )
        for symbol in ("A", "B'\"\\", "ÜÑÏ")
        for timeframe in ("1m", "1d")
        for minute in range(5)
    ],
    "fundamentals": [
        Fundamentals(vendor="v", symbol="A", asof=NOON, eps=-0.25, items={"fcf": 1e20, "a 'b'\n": 0.1, "none": None}),
        Fundamentals(vendor="v", symbol="A", asof=NOON + timedelta(days=1), total_assets=3.5e12),
    ],
    "news": [
        News(vendor="v", published_at=NOON, title="A, 'quoted' \"title\"\nof two lines", symbol="A"),
        News(vendor="w", published_at=NOON, title="another", url="", sentiment_score=-1),
    ],
    "options": [
        OptionSnap(
            vendor="v", symbol="A", expiry=date(2024, 12, 20), option_type=side, strike=strike, ts=NOON, iv=0.25, oi=0
        )
        for side in ("C", "P")
        for strike in (99.5, 200)
    ],
}  # fmt: skip


@pytest.fixture
def clients(store: Store) -> Any:
    with MDS(dsn=store.dsn, tenant_id=store.tenant_a) as client:
        yield client, client.for_tenant(store.tenant_b)


def stored(client: MDS, kind: str) -> list[Row]:
    rows = [row for batch in client.iter_rows(kind) for row in batch]
    return [row.model_copy(update={"tenant_id": None}) for row in rows]


@pytest.mark.parametrize("ending", ["", ".gz", ".zst"])
@pytest.mark.parametrize("kind", list(ROWS))
def test_a_dump_can_be_ingested_to_the_same_rows(
    clients: tuple[MDS, MDS], kind: str, ending: str, tmp_path: Path
) -> None:
    first, second = clients
    first.upsert(kind, ROWS[kind])
    path = tmp_path / f"rows.ndjson{ending}"
    assert dump_ndjson(first, kind, str(path)).rows == len(ROWS[kind])
    assert ingest_ndjson(second, kind, str(path)).written == len(ROWS[kind])
    assert sorted(map(repr, stored(second, kind))) == sorted(map(repr, stored(first, kind)))
    assert len(stored(second, kind)) == len(ROWS[kind])


@pytest.mark.parametrize("dump", [dump_ndjson, dump_csv, dump_parquet])
def test_the_same_rows_produce_the_same_dump_file(
    clients: tuple[MDS, MDS], dump: Callable[..., Any], tmp_path: Path
) -> None:
    client, _ = clients
    client.upsert("bars", ROWS["bars"])
    for name in ("one.gz", "two.gz"):
        dump(client, "bars", str(tmp_path / name))
    assert (tmp_path / "one.gz").read_bytes() == (tmp_path / "two.gz").read_bytes()


def test_a_csv_dump_has_a_header_and_empty_fields_for_none(clients: tuple[MDS, MDS], tmp_path: Path) -> None:
    client, _ = clients
    client.upsert("news", ROWS["news"])
    path = tmp_path / "news.csv.gz"
    dump_csv(client, "news", str(path))
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["title"] for row in rows] == ["A, 'quoted' \"title\"\nof two lines", "another"]
    assert [row["sentiment_score"] for row in rows] == ["", "-1.0"]
    assert "tenant_id" not in rows[0]


@pytest.mark.parametrize("kind", list(ROWS))
def test_a_parquet_dump_has_the_types_of_the_kind(clients: tuple[MDS, MDS], kind: str, tmp_path: Path) -> None:
    client, _ = clients
    client.upsert(kind, ROWS[kind])
    path = tmp_path / "rows.parquet"
    assert dump_parquet(client, kind, str(path)).rows == len(ROWS[kind])
    table = pyarrow.parquet.read_table(path)
    model = type(ROWS[kind][0])
    assert "tenant_id" not in table.column_names
    read = [model(**row) for row in table.to_pylist()]
    assert sorted(map(repr, read)) == sorted(map(repr, stored(client, kind)))


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        ({"symbols": ["a"]}, 10),
        ({"symbols": ["A", "ÜÑÏ"], "timeframe": "1d"}, 10),
        ({"vendor": "nobody"}, 0),
        ({"start": NOON + timedelta(minutes=3)}, 12),
        ({"end": NOON + timedelta(minutes=1)}, 6),
        ({"start": NOON, "end": NOON, "vendor": "v"}, 0),
    ],
)
def test_filters_limit_the_dumped_rows(
    clients: tuple[MDS, MDS], filters: dict[str, Any], count: int, tmp_path: Path
) -> None:
    client, _ = clients
    client.upsert("bars", ROWS["bars"])
    path = tmp_path / "some.ndjson"
    assert dump_ndjson(client, "bars", str(path), **filters).rows == count
    assert len(path.read_text().splitlines()) == count


def test_news_are_filtered_by_the_symbol_of_the_row(clients: tuple[MDS, MDS], tmp_path: Path) -> None:
    client, _ = clients
    client.upsert("news", ROWS["news"])
    assert dump_ndjson(client, "news", str(tmp_path / "x"), symbols=["a"]).rows == 1
    (batch,) = client.iter_rows(News, symbols=["A"], as_="arrow")
    assert batch["symbol"].to_pylist() == ["A"]
    with client.transaction() as inner:
        (batch,) = inner.iter_rows(News, symbols=["A"], as_="arrow")
        assert batch["symbol"].to_pylist() == ["A"]
    assert dump_parquet(client, "news", str(tmp_path / "y"), symbols=["a"]).rows == 1
    assert pyarrow.parquet.read_table(tmp_path / "y")["symbol"].to_pylist() == ["A"]
    assert client.scan("news", symbols=["A"]).collect()["symbol"].to_list() == ["A"]


def test_a_filter_that_the_kind_does_not_have_is_rejected(clients: tuple[MDS, MDS], tmp_path: Path) -> None:
    client, _ = clients
    with pytest.raises(ConfigurationError, match="news have no timeframe"):
        dump_ndjson(client, "news", str(tmp_path / "x"), timeframe="1d")


def test_a_failed_dump_leaves_no_file_and_keeps_the_old_one(
    clients: tuple[MDS, MDS], store: Store, tmp_path: Path
) -> None:
    client, _ = clients
    client.upsert("bars", ROWS["bars"])
    path = tmp_path / "rows.ndjson"
    path.write_text("old\n")
    store.execute("REVOKE SELECT ON mds.bars FROM mds_app")
    with pytest.raises(Exception, match="permission denied"):
        dump_ndjson(client, "bars", str(path))
    assert path.read_text() == "old\n"
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_target_folder_is_reported_by_name(clients: tuple[MDS, MDS], tmp_path: Path) -> None:
    client, _ = clients
    with pytest.raises(TargetError, match=r"nowhere/x\.csv: No such file"):
        dump_csv(client, "bars", str(tmp_path / "nowhere" / "x.csv"))


def test_a_dump_to_standard_output_prints_only_rows(
    clients: tuple[MDS, MDS], capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    client, _ = clients
    client.upsert("bars", ROWS["bars"])
    dump_ndjson(client, "bars", "-")
    out = capfdbinary.readouterr().out
    assert len(io.BytesIO(out).readlines()) == len(ROWS["bars"])


def exported(client: Any, kind: str, path: Path, **options: Any) -> list[dict[str, Any]]:
    """The rows of a file that `export` has written."""
    done = client.export(kind, str(path), **options)
    table = pyarrow.parquet.read_table(path)
    assert done.rows == table.num_rows
    return with_maps(kind, table.to_pylist())


def one_by_one(client: Any, kind: str) -> list[dict[str, Any]]:
    """The rows as models have them, in the order of a file: by the names of the series, and then by key."""
    rows = [row.model_dump(exclude={"tenant_id"}) for batch in client.iter_rows(kind) for row in batch]
    return sorted(rows, key=lambda row: tuple(row[name] for name in (*KINDS[kind].series, *KINDS[kind].key)))


@pytest.mark.parametrize("kind", list(ROWS))
@pytest.mark.every_engine
def test_an_exported_file_has_all_rows_ordered_by_name_and_time(
    client: Client, store: Store, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed, "TARGET", 3)
    monkeypatch.setattr(packed, "MOST", 5)
    monkeypatch.setattr(packed, "FIRST_SERIES", 1)
    client.upsert(kind, ROWS[kind])
    client.for_tenant(store.tenant_b).upsert(kind, ROWS[kind][:1])
    connections = 1 if shares_session(store.engine) else 3
    expected = one_by_one(client, kind)
    assert len(expected) == len(ROWS[kind])
    assert exported(client, kind, tmp_path / "rows.parquet", connections=connections) == expected
    names = pyarrow.parquet.read_schema(tmp_path / "rows.parquet").field("vendor")
    assert names.type == pyarrow.string()


def test_an_export_takes_filters_and_columns(client: Client, tmp_path: Path) -> None:
    client.upsert("bars", ROWS["bars"])
    path = tmp_path / "some.parquet"
    filters: dict[str, Any] = {"symbols": ["ÜÑÏ"], "timeframe": "1m", "start": NOON + timedelta(minutes=1)}
    found = exported(client, "bars", path, **filters, columns=["volume", "symbol"])
    assert found == [{"volume": volume, "symbol": "ÜÑÏ"} for volume in (2**53 - 0.5, 2**53 - 1, 2**53 - 1, 2**53 - 1)]
    assert exported(client, "bars", path, vendor="nobody") == []


def test_all_connections_of_an_export_see_the_same_rows(
    clients: tuple[MDS, MDS], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, _ = clients
    monkeypatch.setattr(packed, "FIRST_SERIES", 1)
    monkeypatch.setattr(packed, "MOST_SERIES", 1)
    client.upsert("bars", ROWS["bars"])
    later = [bar.model_copy(update={"volume": 1}) for bar in ROWS["bars"]]
    following = Work.following

    def written_before(work: Work, number: int) -> Any:
        client.upsert("bars", later)
        return following(work, number)

    monkeypatch.setattr(Work, "following", written_before)
    found = exported(client, "bars", tmp_path / "bars.parquet", connections=4)
    assert {row["volume"] for row in found} == {2**53 - 0.5, 2**53 - 1}
    assert {row["volume"] for row in one_by_one(client, "bars")} == {1}


def test_an_interrupted_export_leaves_no_file_and_a_usable_client(
    clients: tuple[MDS, MDS], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, _ = clients
    monkeypatch.setattr(packed, "FIRST_SERIES", 1)
    monkeypatch.setattr(packed, "MOST_SERIES", 1)
    client.upsert("bars", ROWS["bars"])
    settle, settled = packed.Plan.settle, []

    def interrupted(plan: packed.Plan, piece: packed.Piece, found: Any) -> None:
        settle(plan, piece, found)
        settled.append(piece)
        if len(settled) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(packed.Plan, "settle", interrupted)
    with pytest.raises(KeyboardInterrupt):
        client.export("bars", str(tmp_path / "bars.parquet"), connections=3)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    assert len(exported(client, "bars", tmp_path / "bars.parquet")) == len(ROWS["bars"])


@pytest.mark.parametrize("connections", [0, 3])
def test_an_export_rejects_more_connections_than_the_pool_has(
    connect: Callable[..., Any], store: Store, connections: int, tmp_path: Path
) -> None:
    client = connect(dsn=store.dsn, tenant_id=store.tenant_a, pool_max=2)
    with pytest.raises(ConfigurationError, match=f"from 1 to pool_max, which is 2; not {connections}"):
        client.export("bars", str(tmp_path / "x"), connections=connections)


def test_a_cancelled_asynchronous_export_leaves_no_file_and_a_usable_client(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed, "FIRST_SERIES", 1)
    monkeypatch.setattr(packed, "MOST_SERIES", 1)
    settle, settled = packed.Plan.settle, []

    def left() -> list[Path]:
        return list(tmp_path.iterdir())

    async def export() -> int:
        async with AMDS(dsn=store.dsn, tenant_id=store.tenant_a) as amds:
            await amds.upsert("bars", ROWS["bars"])
            task = asyncio.create_task(amds.export("bars", str(tmp_path / "bars.parquet"), connections=3))

            def cancelled(plan: packed.Plan, piece: packed.Piece, found: Any) -> None:
                settle(plan, piece, found)
                settled.append(piece)
                if len(settled) == 3:
                    task.cancel()

            monkeypatch.setattr(packed.Plan, "settle", cancelled)
            with pytest.raises(asyncio.CancelledError):
                await task
            assert left() == []
            return (await amds.export("bars", str(tmp_path / "bars.parquet"), connections=3)).rows

    assert asyncio.run(export()) == len(ROWS["bars"])
