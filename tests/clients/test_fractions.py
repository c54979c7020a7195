"""Volumes and open interest with a fraction come out as they went in, and whole ones as whole numbers."""

import csv
import io
import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import polars
import psycopg
import pyarrow as pa
import pytest

from datastore import aggregates
from datastore.load import load
from mds_client import Bar, InvalidRow, OptionSnap
from mds_client.export import dump_csv, dump_ndjson
from mds_client.sql import USE_TENANT
from tests.conftest import Client, Store, before_the_server

NOON: Final = datetime(2024, 1, 2, 12, tzinfo=UTC)
ALWAYS: Final = (datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC))
VOLUMES: Final[list[float | None]] = [0, 0.00012345, 3, None, 1234567.25, 2**53 - 1, 0.1 + 0.2, 2**62]
MODES: Final = ("executemany", "values", "copy", "auto")


def bars(volumes: list[float | None], symbol: str = "BTC-USD") -> list[Bar]:
    return [
        Bar(vendor="v", symbol=symbol, timeframe="1m", ts=NOON + timedelta(minutes=n), close_price=n + 1, volume=volume)
        for n, volume in enumerate(volumes)
    ]


def found(client: Client, symbol: str = "BTC-USD") -> list[float | None]:
    return [bar.volume for bar in client.bars_window(symbol, "1m", *ALWAYS, "v")]


def same(found: list[Any], expected: list[Any]) -> bool:
    """Equal, and whole numbers are ints: for Python 3 and 3.0 are equal."""
    return found == expected and list(map(type, found)) == list(map(type, expected))


@pytest.mark.every_engine
@pytest.mark.parametrize("mode", MODES)
def test_a_fraction_comes_back_as_it_is_and_a_whole_number_as_an_int(
    connect: Callable[..., Client], store: Store, mode: str
) -> None:
    client = connect(dsn=store.dsn, tenant_id=store.tenant_a, write_mode=mode)
    client.upsert_bars(bars(VOLUMES))
    assert same(found(client), VOLUMES)
    contract: dict[str, Any] = {"vendor": "v", "symbol": "SPX", "expiry": date(2024, 1, 19), "strike": 1, "ts": NOON}
    client.upsert_options([OptionSnap(**contract, option_type="C", oi=0.5, volume=7)])
    (option,) = client.option_chain("SPX", NOON, "v")
    assert same([option.oi, option.volume], [0.5, 7])


@pytest.mark.every_engine
@pytest.mark.parametrize("rows", [10, 5_000], ids=["few", "many"])
def test_volumes_in_frames_are_floats(client: Client, rows: int) -> None:
    volumes = [n + (0.25 if n % 7 == 0 else 0) for n in range(rows)]
    written = polars.DataFrame(
        {
            "vendor": "v",
            "symbol": "BTC-USD",
            "timeframe": "1m",
            "ts": [NOON + timedelta(minutes=n) for n in range(rows)],
            "close_price": 1.0,
            "volume": volumes,
        }
    )
    client.upsert_bars(written)
    read = client.bars_window("BTC-USD", "1m", *ALWAYS, "v", as_="polars")
    assert read["volume"].dtype == polars.Float64
    assert read["volume"].to_list() == volumes
    parts = list(client.iter_bars_window("BTC-USD", "1m", *ALWAYS, "v", as_="arrow"))
    assert pa.Table.from_batches(parts)["volume"].to_pylist() == volumes


@pytest.mark.parametrize(
    ("on_conflict", "expected"),
    [("replace", [10, 2.5, None, 0.5]), ("keep", [1.5, 2, 3, 4.25]), ("fill", [10, 2.5, 3, 0.5])],
)
def test_on_conflict_applies_to_the_whole_and_fractional_part_of_an_amount(
    client: Client, on_conflict: str, expected: list[Any]
) -> None:
    client.upsert_bars(bars([1.5, 2, 3, 4.25]))
    client.upsert_bars(bars([10, 2.5, None, 0.5]), on_conflict=on_conflict)
    assert same(found(client), expected)


@pytest.mark.parametrize("on_conflict", ["replace", "keep", "fill"])
def test_rewriting_the_same_fractions_creates_no_new_row_versions(
    client: Client, store: Store, on_conflict: str
) -> None:
    client.upsert_bars(bars(VOLUMES))
    versions = store.rows("SELECT ts, xmin::text, ctid::text FROM store.bars ORDER BY 1")
    client.upsert_bars(bars(VOLUMES), on_conflict=on_conflict)
    assert store.rows("SELECT ts, xmin::text, ctid::text FROM store.bars ORDER BY 1") == versions


@pytest.mark.every_engine
def test_rollups_and_sql_views_show_an_amount_as_one_number(client: Client, store: Store) -> None:
    client.upsert_bars(bars([0.5, 1.25, 3, None, 1]))
    client.upsert_bars(bars([2, 3], "WHOLE"))
    assert same([bar.volume for bar in client.rollup("BTC-USD", "5m", *ALWAYS, "v")], [5.75])
    assert same([bar.volume for bar in client.rollup("BTC-USD", "2m", *ALWAYS, "v")], [1.75, 3, 1])
    assert same([bar.volume for bar in client.rollup("WHOLE", "1d", *ALWAYS, "v")], [5])
    seen = "SELECT volume, pg_typeof(volume)::text FROM public.{} WHERE symbol = 'BTC-USD' ORDER BY ts"
    assert asked(store, seen.format("bars")) == [(volume, "double precision") for volume in (0.5, 1.25, 3.0, None, 1.0)]
    assert asked(store, seen.format("bars_5m")) == [(5.75, "double precision")]


def asked(store: Store, statement: str) -> list[tuple[Any, ...]]:

    with psycopg.connect(store.dsn) as connection:
        connection.execute(USE_TENANT, (store.tenant_a,))
        return connection.execute(statement.encode()).fetchall()


def test_dump_files_have_whole_numbers_without_a_decimal_point(
    connect: Callable[..., Any], store: Store, tmp_path: Path
) -> None:
    client = connect(dsn=store.dsn, tenant_id=store.tenant_a)
    client.upsert_bars(bars([3, 0.5, None]))
    dump_ndjson(client, "bars", str(tmp_path / "bars.ndjson"))
    lines = (tmp_path / "bars.ndjson").read_text().splitlines()
    assert same([json.loads(line).get("volume") for line in lines], [3, 0.5, None])
    dump_csv(client, "bars", str(tmp_path / "bars.csv"))
    read = csv.DictReader(io.StringIO((tmp_path / "bars.csv").read_text()))
    assert [row["volume"] for row in read] == ["3", "0.5", ""]


@pytest.mark.every_engine
@pytest.mark.parametrize("suffix", ["ndjson", "csv"])
def test_a_bulk_load_keeps_fractions(client: Client, store: Store, tmp_path: Path, suffix: str) -> None:
    rows = [
        {"vendor": "v", "symbol": "BTC-USD", "timeframe": "1m", "ts": bar.ts.isoformat(), "close_price": 1.0}
        | ({} if bar.volume is None else {"volume": bar.volume})
        for bar in bars(VOLUMES)
    ]
    path = tmp_path / f"bars.{suffix}"
    if suffix == "ndjson":
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    else:
        with path.open("w") as file:
            writer = csv.DictWriter(file, [*rows[0]])
            writer.writeheader()
            writer.writerows(rows)
    done = load(store.admin_dsn, store.tenant_a, "bars", str(path))
    assert done.rows == len(rows)
    assert same(found(client), VOLUMES)


@pytest.mark.parametrize(
    ("volume", "reason"),
    [
        (2**53 + 1, "a whole number above 2[*][*]53 cannot be stored exactly"),
        (1e19, "too large"),
        (10**19, "cannot be stored exactly"),
        ("much", "valid number"),
        (-0.5, "greater than or equal to 0"),
        (float("inf"), "finite number"),
        (True, "truth value"),
    ],
)
@before_the_server
def test_an_invalid_amount_is_rejected(client: Client, volume: Any, reason: str) -> None:
    row = {"vendor": "v", "symbol": "X", "timeframe": "1m", "ts": NOON, "close_price": 1.0, "volume": volume}
    with pytest.raises(InvalidRow, match=reason):
        client.upsert_bars([row])
    if isinstance(volume, float):
        with pytest.raises(InvalidRow, match=reason):
            client.upsert_bars(pa.Table.from_pylist([row]))


@pytest.mark.every_case
@pytest.mark.every_engine
@pytest.mark.parametrize("refreshed", [False, True], ids=["computed", "refreshed"])
def test_a_rollup_sum_may_exceed_the_largest_single_volume(client: Client, store: Store, refreshed: bool) -> None:
    largest = float(2**63 - 1024)
    rows = bars([largest, largest, largest, 0.5])
    client.upsert_bars([bar.model_copy(update={"trade_count": 2**63 - 1}) for bar in rows])
    client.upsert_bars(bars([None], "NONE"))
    if refreshed:
        aggregates.refresh(store.admin_dsn)
    for timeframe in ("5m", "15m", "1h", "4h", "1d", "1w"):
        (row,) = client.rollup("BTC-USD", timeframe, *ALWAYS, "v")
        # A count that no column can hold is the largest one.
        assert (row.volume, row.trade_count) == (3 * largest, 2**63 - 1), timeframe
        (none,) = client.rollup("NONE", timeframe, *ALWAYS, "v")
        assert (none.volume, none.trade_count) == (None, None), timeframe
        frame = client.rollup(["BTC-USD"], timeframe, *ALWAYS, "v", as_="arrow")
        assert frame["volume"].to_pylist() == [3 * largest]
    assert [row.volume for part in client.iter_rollup("BTC-USD", "1h", *ALWAYS, "v") for row in part] == [3 * largest]
    with psycopg.connect(store.dsn) as connection:
        connection.execute(USE_TENANT, (store.tenant_a,))
        found = connection.execute("SELECT volume, trade_count FROM public.bars_1h WHERE symbol = 'BTC-USD'")
        assert found.fetchall() == [(3 * largest, 2**63 - 1)]
