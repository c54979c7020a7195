"""Rows out of the store into files, and back in: what was there is there again, exactly."""

import csv
import gzip
import io
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from mds_client import MDS, Bar, ConfigurationError, Fundamentals, News, OptionSnap, Row
from mds_client.export import TargetError, dump_csv, dump_ndjson, dump_parquet
from mds_client.utils import ingest_ndjson
from tests.conftest import Store

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
        Fundamentals(vendor="v", symbol="A", asof=NOON, eps=-0.25),
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
@pytest.mark.every_engine
def test_a_dump_written_again_is_the_same_rows(
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
def test_the_same_rows_make_the_same_file(clients: tuple[MDS, MDS], dump: Callable[..., Any], tmp_path: Path) -> None:
    client, _ = clients
    client.upsert("bars", ROWS["bars"])
    for name in ("one.gz", "two.gz"):
        dump(client, "bars", str(tmp_path / name))
    assert (tmp_path / "one.gz").read_bytes() == (tmp_path / "two.gz").read_bytes()


def test_a_csv_has_a_header_and_leaves_none_empty(clients: tuple[MDS, MDS], tmp_path: Path) -> None:
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
def test_a_parquet_file_has_the_kinds_types(clients: tuple[MDS, MDS], kind: str, tmp_path: Path) -> None:
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
def test_filters_say_which_rows(clients: tuple[MDS, MDS], filters: dict[str, Any], count: int, tmp_path: Path) -> None:
    client, _ = clients
    client.upsert("bars", ROWS["bars"])
    path = tmp_path / "some.ndjson"
    assert dump_ndjson(client, "bars", str(path), **filters).rows == count
    assert len(path.read_text().splitlines()) == count


def test_news_are_found_by_the_symbol_of_the_row(clients: tuple[MDS, MDS], tmp_path: Path) -> None:
    client, _ = clients
    client.upsert("news", ROWS["news"])
    assert dump_ndjson(client, "news", str(tmp_path / "x"), symbols=["a"]).rows == 1
    (batch,) = client.iter_rows(News, symbols=["A"], as_="arrow")
    assert batch["symbol"].to_pylist() == ["A"]


def test_a_kind_is_not_asked_for_by_a_name_that_it_does_not_have(clients: tuple[MDS, MDS], tmp_path: Path) -> None:
    client, _ = clients
    with pytest.raises(ConfigurationError, match="news have no timeframe"):
        dump_ndjson(client, "news", str(tmp_path / "x"), timeframe="1d")


def test_a_dump_that_fails_leaves_no_file_and_the_old_one_as_it_was(
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


def test_a_folder_that_is_not_there_is_named(clients: tuple[MDS, MDS], tmp_path: Path) -> None:
    client, _ = clients
    with pytest.raises(TargetError, match=r"nowhere/x\.csv: No such file"):
        dump_csv(client, "bars", str(tmp_path / "nowhere" / "x.csv"))


def test_a_dump_to_standard_output_is_only_rows(
    clients: tuple[MDS, MDS], capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    client, _ = clients
    client.upsert("bars", ROWS["bars"])
    dump_ndjson(client, "bars", "-")
    out = capfdbinary.readouterr().out
    assert len(io.BytesIO(out).readlines()) == len(ROWS["bars"])
