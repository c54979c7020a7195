"""The parts of a scan, which other processes read: all rows, each once, whatever is late, deleted or not moved yet."""

import asyncio
import pickle
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import polars
import pytest

from mds_client import AMDS, MDS, ConfigurationError, Part, RetryableError
from tests.conftest import Store
from tests.control.test_cold import ALL, FENCE, Pair, bar, bars, joined


@pytest.fixture
def pair(store: Store, tmp_path: Path) -> Iterator[Pair]:
    with Pair(store, str(tmp_path / "cold")) as pair:
        pair.upsert(bars())
        pair.move()
        yield pair


@pytest.mark.every_engine
def test_a_part_is_a_file_or_a_month_of_the_table_and_holds_no_row_of_a_file(pair: Pair) -> None:
    parts = pair.a.scan_parts("bars")
    files = pair.a.cold_files()
    assert [part.file for part in parts] == [*files, *([None] * (len(parts) - len(files)))]
    assert [part.start.month for part in parts] == [1, 2, 3, 4, 5][: len(parts)]
    assert [(len(part.replaced), part.rows.num_rows) for part in parts[:4]] == [(0, 0)] * 4
    hot = pair.b.scan("bars", FENCE).collect()
    assert [part.scan().collect().sort("symbol", "ts").to_dicts() for part in parts[4:]] == [hot.to_dicts()]
    pair.same(joined)


def test_late_rows_and_deletions_are_in_the_parts_and_replace_rows_of_files_by_number(pair: Pair) -> None:
    for there, number, mode in zip(bars("A"), range(3), ("replace", "keep", "fill"), strict=False):
        ts = there.ts
        pair.upsert([bar(ts, 80.0 + number), bar(ts + timedelta(seconds=1), 9.0, volume=3)], on_conflict=mode)
        pair.upsert([bar(ALL[0] + timedelta(days=5), None, symbol="NEW", trade_count=number)], on_conflict=mode)
    pair.delete("B", "2024-02-03", "2024-02-20")
    pair.upsert([bar(datetime(2024, 2, 5, tzinfo=UTC), 70.0, symbol="B")], on_conflict="fill")
    rows = pair.same(joined)
    january, february, *_ = parts = pair.a.scan_parts("bars")
    # To keep what is there changes nothing, and is not written.
    assert len(january.replaced) == 2
    assert january.rows.num_rows == 2 + 3 + 1
    begin, end = (datetime(2024, 2, day, tzinfo=UTC) for day in (3, 20))
    deleted = polars.read_parquet(str(february.file), row_index_name="n").filter(
        polars.col("symbol") == "B",
        polars.col("ts").is_between(begin, end, closed="left"),
    )
    assert february.replaced.to_pylist() == deleted["n"].to_list() != []
    assert february.rows.num_rows == 1
    assert sum(part.scan().select(polars.len()).collect().item() for part in parts) == len(rows)
    pair.fold()
    assert [(len(part.replaced), part.rows.num_rows) for part in pair.a.scan_parts("bars")[:2]] == [(0, 0)] * 2
    assert joined(pair.a) == rows


def test_parts_of_some_series_columns_and_of_a_span_that_cuts_a_month(pair: Pair) -> None:
    pair.upsert([bar(datetime(2024, 1, 20, tzinfo=UTC), 5.0, symbol="B"), bar(ALL[0], 6.0)])
    span = datetime(2024, 1, 15, tzinfo=UTC), datetime(2024, 3, 10, tzinfo=UTC)
    selected: tuple[dict[str, Any], ...] = (
        {"symbols": ["b"]},
        {"symbols": ["A", "B", "C"], "vendor": "v"},
        {"timeframe": "1m", "columns": ("close_price", "symbol")},
        {"vendor": "other"},
        {"symbols": []},
    )
    for how in selected:
        rows = pair.same(partial(joined, span=span, **how))
        assert bool(rows) == (how.get("vendor", "v") == "v" and how.get("symbols") != [])


def test_another_process_reads_a_part_without_a_connection_to_the_server(pair: Pair, tmp_path: Path) -> None:
    pair.upsert([bar(ALL[0], 6.0)])
    parts = pair.a.scan_parts("bars", columns=("symbol", "volume"))
    (tmp_path / "parts").write_bytes(pickle.dumps(parts))
    program = (
        "import pickle, polars, sys\n"
        "parts = pickle.load(open(sys.argv[1], 'rb'))\n"
        "print(polars.concat([part.scan() for part in parts]).select(polars.col('volume').sum()).collect().item())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "parts")],
        env={"PATH": "", "HOME": str(tmp_path)}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert float(done.stdout) == pair.b.scan("bars").select(polars.col("volume").sum()).collect().item()


def test_what_cannot_be_read_is_an_error_and_no_hole(pair: Pair, store: Store) -> None:
    with (
        MDS(dsn=store.dsn, tenant_id=store.tenant_a) as told_nothing,
        pytest.raises(ConfigurationError, match="set MDS_COLD_URL"),
    ):
        told_nothing.scan_parts("bars")
    pair.upsert([bar(ALL[0], 6.0)])
    part = pair.a.scan_parts("bars")[0]
    Path(str(part.file)).unlink()
    with pytest.raises(FileNotFoundError):
        part.scan().collect()
    with pytest.raises(RetryableError, match="cannot be read"):
        pair.a.scan_parts("bars")


def test_the_other_client_has_the_same_parts(pair: Pair, store: Store) -> None:
    pair.a.upsert_bars([bar(ALL[0], 6.0)])

    def what(parts: list[Part]) -> list[Any]:
        return [(part.start, part.end, part.file, part.replaced, part.rows) for part in parts]

    async def parts() -> list[Part]:
        async with AMDS(dsn=store.dsn, tenant_id=store.tenant_a, cold_url=pair.url) as client:
            return await client.scan_parts("bars")

    assert what(asyncio.run(parts())) == what(pair.a.scan_parts("bars"))
