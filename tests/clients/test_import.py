"""`mds import`: files as vendors write them, by a column mapping, in one command."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pytest
from pyarrow import parquet

from datastore.embedded import EmbeddedServer
from mds_client.cli import main
from tests.clients.test_cli import Run, runs, two_tenants, use
from tests.conftest import Store, odd_rows

OPTIONS: Final = (
    *("--vendor", "stooq", "--timeframe", "1d", "--map", "ts=Date", "--map", "close_price=Close"),
    *("--map", "volume=Volume", "--extra", "ignore"),
)
CSV: Final = "Date,Open,Close,Volume\n2024-01-02,187.0,187.5,100\n2024-01-03,188.0,188.5,100.25\n"


@pytest.fixture
def store(server: EmbeddedServer) -> Iterator[Store]:
    with two_tenants(server) as made:
        yield made


@pytest.fixture
def mds(store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    use(monkeypatch, MDS_DSN=store.dsn, MDS_TENANT_ID=store.tenant_a)
    return runs(main, capsys, monkeypatch)


def stored(store: Store) -> list[tuple[Any, ...]]:
    return store.rows(
        "SELECT s.vendor, s.symbol, s.timeframe, r.ts::date::text, r.close_price,"
        " r.volume + coalesce(r.volume_fraction, 0) FROM store.bars AS r JOIN store.series AS s USING (series_id)"
        " ORDER BY 2, 4"
    )


EXPECTED: Final = [
    ("stooq", "AAPL", "1d", "2024-01-02", 187.5, 100.0),
    ("stooq", "AAPL", "1d", "2024-01-03", 188.5, 100.25),
]


def test_a_vendors_file_is_written_by_a_mapping_and_again_changes_nothing(
    mds: Run, store: Store, tmp_path: Path
) -> None:
    path = tmp_path / "AAPL.csv"
    path.write_text(CSV)
    done = mds("import", "bars", path, *OPTIONS, "--symbol", "aapl")
    assert (done.code, stored(store)) == (0, EXPECTED)
    assert "2 rows of bars written" in done.out
    versions = store.rows("SELECT xmin::text FROM store.bars ORDER BY ts")
    assert mds("import", "bars", path, *OPTIONS, "--symbol", "aapl").code == 0
    assert store.rows("SELECT xmin::text FROM store.bars ORDER BY ts") == versions


def test_a_folder_of_files_of_several_formats_is_written(mds: Run, store: Store, tmp_path: Path) -> None:
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(CSV.encode()))
    rows = [{"Date": "2024-01-04", "Close": 189, "Volume": None}]
    (tmp_path / "b.ndjson").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    (tmp_path / "c.json").write_text(json.dumps([{**rows[0], "Date": "2024-01-05"}]))
    parquet.write_table(pa.table({"Date": ["2024-01-06"], "Close": [190.5]}), tmp_path / "d.parquet")
    (tmp_path / "readme.txt").write_text("no data")
    done = mds("import", "bars", tmp_path, *OPTIONS, "--symbol", "AAPL", "--json")
    assert [file["rows"] for file in done.json["files"]] == [2, 1, 1, 1]
    assert stored(store) == [
        *EXPECTED,
        ("stooq", "AAPL", "1d", "2024-01-04", 189.0, None),
        ("stooq", "AAPL", "1d", "2024-01-05", 189.0, None),
        ("stooq", "AAPL", "1d", "2024-01-06", 190.5, None),
    ]


@odd_rows
def test_invalid_rows_go_to_the_rejects_with_their_line_and_the_others_are_written(
    mds: Run, store: Store, tmp_path: Path
) -> None:
    path = tmp_path / "AAPL.csv"
    path.write_text(CSV + "20240104153000,1,1,1\n2024-01-05,1,,\n2024-01-08,1,2,3\n")
    done = mds("import", "bars", path, *OPTIONS, "--symbol", "AAPL")
    assert (done.code, len(stored(store))) == (3, 4)
    (reject,) = map(json.loads, (tmp_path / "AAPL.csv.rejects.ndjson").read_text().splitlines())
    assert (reject["line"], "a bare number is not a time" in reject["reason"]) == (4, True)


def test_a_dry_run_shows_the_rows_as_stored_and_writes_nothing(mds: Run, store: Store, tmp_path: Path) -> None:
    path = tmp_path / "AAPL.csv"
    path.write_text(CSV)
    asked = ("import", "bars", path, *OPTIONS, "--symbol", "aapl", "--time-zone", "America/New_York", "--dry-run")
    shown = mds(*asked, "--json").json["rows"]
    assert [(row["symbol"], row["ts"], row["volume"]) for row in shown] == [
        ("AAPL", "2024-01-02T05:00:00Z", 100),
        ("AAPL", "2024-01-03T05:00:00Z", 100.25),
    ]
    assert "the first 2 rows as stored; nothing is written" in mds(*asked).out
    assert stored(store) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--map", "close=Close"), "close: no field of a bar; there are"),
        (("--map", "close_price"), "'close_price' is not FIELD=…"),
        (("--set", "vendor=a", "--set", "vendor=b"), "vendor is given twice"),
        (("--time-zone", "Mars/Phobos"), "there is no time zone Mars/Phobos"),
        (("--delimiter", "::"), "delimiter"),
    ],
)
def test_options_that_cannot_be_meant_are_refused_before_anything_is_read(
    mds: Run, tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    done = mds("import", "bars", tmp_path / "none.csv", *options)
    assert (done.code, said in done.err) == (2, True), done.err


def test_a_file_that_is_not_there_and_one_of_another_kind_say_so(mds: Run, store: Store, tmp_path: Path) -> None:
    done = mds("import", "bars", tmp_path / "none.csv")
    assert (done.code, "none.csv" in done.err) == (1, True)
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    done = mds("import", "bars", tmp_path / "x.csv")
    assert (done.code, "--header" in done.err) == (3, True), done.err
    assert stored(store) == []
