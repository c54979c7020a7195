"""Rows that are read when they are used: the same as those of the other reads, and no more than is asked for."""

import asyncio
import threading
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import polars
import pyarrow as pa
import pytest
from polars import col

from mds_client import AMDS, KINDS, MDS, Bar, ConfigurationError, MDSOperationalError
from mds_client.reading import packed
from tests.clients.test_packed import NOON, ROWS, with_maps
from tests.conftest import Client, Store
from tests.engines.databases import shares_session

SECOND: Final = NOON + timedelta(minutes=1, microseconds=1)
LATER: Final = NOON + timedelta(minutes=10)


@pytest.fixture
def client(connect: Callable[..., Any], store: Store) -> Any:
    return connect(dsn=store.dsn, tenant_id=store.tenant_a)


@pytest.fixture
def pieces(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, packed.Piece, tuple[str, ...]]]:
    """What is read from the server: rows, of which series and span, and which columns."""
    found = []
    reading = packed.reading

    def counted(session: Any, asked: packed.Asked, piece: packed.Piece) -> Any:
        answer = yield from reading(session, asked, piece)
        if not isinstance(answer, list):
            found.append((answer.num_rows, piece, asked.fields))
        return answer

    monkeypatch.setattr(packed, "reading", counted)
    return found


def expected(client: Client, kind: str) -> list[dict[str, Any]]:
    rows = [row.model_dump(exclude={"tenant_id"}) for batch in client.iter_rows(kind) for row in batch]
    return sorted(rows, key=lambda row: tuple(row[name] for name in (*KINDS[kind].series, *KINDS[kind].key)))


@pytest.mark.parametrize("kind", list(ROWS))
@pytest.mark.every_engine
def test_a_scan_returns_the_rows_in_every_form_each_time_it_is_used(client: Any, store: Store, kind: str) -> None:
    client.upsert(kind, ROWS[kind])
    client.for_tenant(store.tenant_b).upsert(kind, ROWS[kind][:1])
    rows = expected(client, kind)
    one: dict[str, Any] = {"connections": 1} if shares_session(store.engine) else {}
    frame = client.scan(kind, **one)
    assert with_maps(kind, frame.collect().to_dicts()) == rows
    assert frame.collect_schema()["vendor"] == polars.String
    assert frame.select(polars.len()).collect().item() == len(rows)
    reader = client.scan(kind, as_="arrow", **one)
    assert reader.schema.field("vendor").type == pa.string()
    assert with_maps(kind, reader.read_all().to_pylist()) == rows
    relation = client.scan(kind, as_="duckdb", **one)
    for _ in range(2):
        assert relation.aggregate("count(*)").fetchall() == [(len(rows),)]


@pytest.mark.parametrize(
    ("condition", "series", "rows"),
    [
        (col("symbol") == "A", 1, 20),
        (col("symbol").is_in(["A", "Z", "nobody"]), 2, 40),
        (col("symbol").str.starts_with("B"), 1, 20),
        ((col("symbol") == "A") & (col("ts") >= LATER), 1, 10),
        ((col("ts") < LATER) & (polars.lit("Z") == col("symbol")), 1, 10),
        (col("ts").is_between(NOON, LATER), 4, 40),
        ((col("symbol") == "A") & (col("trade_count") > 5) & (col("ts") == SECOND), 1, 1),
        ((col("symbol") == "A") | (col("open_price") < 0), 4, 80),
        (col("ts").dt.minute() == 3, 4, 80),
        (col("vendor") != "v", 0, 0),
    ],
)  # fmt: skip
def test_conditions_on_names_and_times_are_pushed_down(
    client: Any, pieces: list[Any], condition: polars.Expr, series: int, rows: int
) -> None:
    client.upsert("bars", ROWS["bars"])
    everything = polars.DataFrame(expected(client, "bars"), schema=client.scan("bars").collect_schema())
    found = client.scan("bars").filter(condition).select("ts", "symbol", "open_price").collect()
    assert found.equals(everything.filter(condition).select("ts", "symbol", "open_price"))
    assert sum(piece[0] for piece in pieces) == rows
    assert sum(len(piece.ids) for _, piece, _ in pieces) == series


def test_only_the_columns_that_are_used_are_read(client: Any, pieces: list[Any]) -> None:
    client.upsert("bars", ROWS["bars"])
    frame = client.scan("bars").filter(col("trade_count").is_not_null()).select(col("volume").max())
    assert frame.collect().item() == 2**53
    assert {fields for *_, fields in pieces} == {("volume", "trade_count")}


def test_a_scan_that_stops_early_returns_its_connections(
    connect: Callable[..., Any], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed, "FIRST_SERIES", 1)
    monkeypatch.setattr(packed, "MOST_SERIES", 1)
    client = connect(dsn=store.dsn, tenant_id=store.tenant_a, pool_max=2, connect_timeout=3)
    client.upsert("bars", ROWS["bars"])
    for _ in range(3):
        assert client.scan("bars").head(3).collect().height == 3
        assert next(iter(client.scan("bars", as_="arrow"))).num_rows == 20
        assert client.scan("bars", as_="duckdb").limit(1).fetchall()
    assert len(expected(client, "bars")) == len(ROWS["bars"])


def test_a_piece_that_is_read_more_slowly_than_all_that_wait_for_it_loses_no_rows(
    connect: Callable[..., Any], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for most in ("FIRST_SERIES", "MOST_SERIES"):
        monkeypatch.setattr(packed, most, 1)
    client = connect(dsn=store.dsn, tenant_id=store.tenant_a, pool_max=2)
    symbols = [f"S{number}" for number in range(9)]
    client.upsert("bars", [Bar(vendor="v", symbol=one, timeframe="1d", ts=NOON, close_price=1) for one in symbols])
    reading, begun, ended = packed.reading, [], []
    others = threading.Event()

    def slow(session: Any, asked: packed.Asked, piece: packed.Piece) -> Any:
        begun.append(piece)
        # The first piece is read before there is another connection.
        if len(begun) == 2:
            assert others.wait(30)
        answer = yield from reading(session, asked, piece)
        ended.append(piece)
        if len(ended) == 4:
            others.set()
        return answer

    monkeypatch.setattr(packed, "reading", slow)
    assert client.scan("bars", connections=2).collect()["symbol"].to_list() == symbols


def test_scan_arguments_and_filters_are_combined(client: Any) -> None:
    client.upsert("bars", ROWS["bars"])
    frame = client.scan("bars", NOON, LATER, symbols=["a", "z"], columns=["symbol", "ts"])
    assert frame.collect_schema().names() == ["symbol", "ts"]
    assert frame.filter(col("symbol") == "B").collect().is_empty()
    assert frame.filter(col("ts") >= LATER - timedelta(minutes=1)).collect()["symbol"].to_list() == ["A", "Z"]
    assert frame.filter(col("ts") > datetime(2100, 1, 1, tzinfo=UTC)).collect().is_empty()
    assert frame.filter(col("ts").dt.date() == date(2024, 1, 2)).collect().height == 20


def test_a_condition_after_head_applies_to_these_rows_only(client: Client) -> None:
    client.upsert("bars", ROWS["bars"])
    scan, everything = client.scan("bars"), client.scan("bars").collect()
    last = everything["symbol"][-1]
    for condition in (polars.col("symbol") == last, polars.col("ts") > everything["ts"].min()):
        assert scan.head(3).filter(condition).collect().rows() == everything.head(3).filter(condition).rows()
        assert scan.filter(condition).head(3).collect().rows() == everything.filter(condition).head(3).rows()


@pytest.mark.parametrize("as_", ["polars", "arrow"])
def test_a_scan_of_a_client_that_is_closed_is_an_error(client: MDS, as_: Any) -> None:
    scanned = client.scan("bars", as_=as_)
    client.close()
    with pytest.raises(MDSOperationalError, match="closed"):
        scanned.read_all() if as_ == "arrow" else scanned.collect()


def test_an_invalid_scan_is_rejected_at_once(client: MDS) -> None:
    with pytest.raises(ConfigurationError, match="polars, arrow, duckdb; not 'models'"):
        client.scan("bars", as_="models")  # type: ignore[call-overload]
    with pytest.raises(ConfigurationError, match="there is no 'colour'"):
        client.scan("bars", columns=["colour"])
    with pytest.raises(ConfigurationError, match="news have no timeframe"):
        client.scan("news", timeframe="1m")


def test_a_scan_of_an_asynchronous_client_can_be_collected_synchronously(store: Store) -> None:
    async def read() -> tuple[int, int]:
        async with AMDS(dsn=store.dsn, tenant_id=store.tenant_a) as amds:
            await amds.upsert("bars", ROWS["bars"])
            frame = amds.scan("bars")
            found = frame.collect().height, (await asyncio.to_thread(frame.collect)).height
        with pytest.raises(MDSOperationalError, match="closed"):
            frame.collect()
        return found

    assert asyncio.run(read()) == (len(ROWS["bars"]), len(ROWS["bars"]))
