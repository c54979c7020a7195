"""`mds import`: files as vendors write them, by a column mapping, in one command."""

import gzip
import json
import signal
import subprocess
import zipfile
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from datastore import vendors
from mds_client import MDS, ConfigurationError, profile
from mds_client.cli import main
from tests import warm
from tests.clients.test_cli import Run, runs, two_tenants, use
from tests.conftest import Store, odd_rows
from tests.engines.databases import Running, superuser

OPTIONS: Final = (
    *("--vendor", "stooq", "--timeframe", "1d", "--map", "ts=Date", "--map", "close_price=Close"),
    *("--map", "volume=Volume", "--extra", "ignore"),
)
CSV: Final = "Date,Open,Close,Volume\n2024-01-02,187.0,187.5,100\n2024-01-03,188.0,188.5,100.25\n"


@pytest.fixture
def store(running: Running) -> Iterator[Store]:
    with two_tenants(running) as made:
        yield made


@pytest.fixture
def mds(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
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


def test_a_vendor_file_is_imported_by_a_mapping_and_importing_it_again_changes_nothing(
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
def test_invalid_rows_are_rejected_with_their_line_and_the_others_are_written(
    mds: Run, store: Store, tmp_path: Path
) -> None:
    path = tmp_path / "AAPL.csv"
    path.write_text(CSV + "20240104153000,1,1,1\n2024-01-05,1,,\n2024-01-08,1,2,3\n")
    done = mds("import", "bars", path, *OPTIONS, "--symbol", "AAPL")
    assert (done.code, len(stored(store))) == (3, 4)
    (reject,) = map(json.loads, (tmp_path / "AAPL.csv.rejects.ndjson").read_text().splitlines())
    assert (reject["line"], "a bare number is not a time" in reject["reason"]) == (4, True)


@odd_rows
@pytest.mark.parametrize("form", ["csv", "ndjson", "parquet"])
def test_only_some_rows_beside_an_invalid_one_are_read_as_models_with_the_same_result(
    mds: Run, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    monkeypatch.setattr("mds_client.transfer.imports.MODEL_ROWS", 4)
    rows = [{"symbol": "S", "ts": f"2024-01-{day:02}", "close_price": str(day)} for day in range(1, 21)]
    rows[6]["ts"], rows[14]["ts"] = "soon", "later"
    table = pa.Table.from_pylist(rows)
    path = tmp_path / f"a.{form}"
    if form == "parquet":
        parquet.write_table(table, path)
    elif form == "csv":
        path.write_text("symbol,ts,close_price\n" + "".join(f"{','.join(row.values())}\n" for row in rows))
    else:
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    done = mds("import", "bars", path, "--vendor", "v", "--timeframe", "1d")
    assert (done.code, len(stored(store))) == (3, 18), done.err
    lines = [json.loads(line)["line"] for line in Path(f"{path}.rejects.ndjson").read_text().splitlines()]
    assert lines == ([8, 16] if form == "csv" else [7, 15])


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


def test_a_dry_run_needs_no_server(mds: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "AAPL.csv").write_text(CSV)
    monkeypatch.delenv("MDS_DSN")
    asked = ("import", "bars", tmp_path / "AAPL.csv", *OPTIONS, "--symbol", "aapl")
    assert mds(*asked, "--dry-run").code == 0
    done = mds(*asked)
    assert (done.code, "no server is named" in done.err) == (1, True)


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
def test_invalid_options_are_rejected_before_any_file_is_read(
    mds: Run, tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    done = mds("import", "bars", tmp_path / "none.csv", *options)
    assert (done.code, said in done.err) == (2, True), done.err


def test_a_missing_file_and_a_file_without_the_needed_columns_are_reported(
    mds: Run, store: Store, tmp_path: Path
) -> None:
    done = mds("import", "bars", tmp_path / "none.csv")
    assert (done.code, "none.csv" in done.err) == (1, True)
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    done = mds("import", "bars", tmp_path / "x.csv")
    assert (done.code, "--header" in done.err) == (3, True), done.err
    assert stored(store) == []


@odd_rows
def test_replaced_rows_are_counted_also_for_case_sensitive_vendors(mds: Run, store: Store, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f"{CSV}2024-01-03,1,2,3\n")
    asked = ("import", "bars", tmp_path / "a.csv", *OPTIONS, "--symbol", "aapl")
    said = "1 replaced by a later row with the same key and other values"
    assert said in mds(*asked).out
    vendors.declare(store.admin_dsn, "stooq")
    assert said in mds(*asked).out


VENDORS: Final = Path(__file__).resolve().parent.parent / "vendors"


def test_the_sample_file_of_every_profile_can_be_imported(mds: Run, store: Store) -> None:
    for folder in sorted(VENDORS.iterdir()):
        told = ("--mapping", folder / "told.toml") if (folder / "told.toml").exists() else ()
        for sample in folder.iterdir():
            expected = sample.with_name(f"{sample.name}.expected.ndjson")
            if not expected.exists():
                continue
            table = f"store.{profile(folder.name).kind}"
            with superuser(store.superuser_dsn) as connection:
                connection.execute(f"TRUNCATE {table}".encode())
            done = mds("import", sample, *told, "--json")
            rows = len(set(expected.read_text(encoding="utf-8").splitlines()))
            count = store.rows(f"SELECT count(*) FROM {table}")
            assert (done.code, count) == (0, [(rows,)]), (sample, done.err)


def test_a_recognised_vendor_file_needs_only_options_for_what_it_lacks(mds: Run, store: Store) -> None:
    done = mds("import", VENDORS / "stooq" / "aapl_us_d.csv")
    assert done.code == 0, done.err
    assert "profile stooq (Stooq: history of one symbol), recognised by its columns" in done.err
    assert "times are dates: each is midnight UTC" in done.err
    assert [row[:4] for row in stored(store)] == [
        ("stooq", "AAPL", "1d", "2024-01-02"),
        ("stooq", "AAPL", "1d", "2024-01-03"),
    ]
    done = mds("import", VENDORS / "ccxt" / "btc.json", "--symbol", "BTC/USDT", "--timeframe", "1m")
    assert (done.code, "bars need a column vendor" in done.err, "--set vendor=…" in done.err) == (3, True, True)


def test_profiles_are_listed_with_the_options_they_need(mds: Run) -> None:
    done = mds("import", "--list-profiles")
    assert done.code == 0
    assert any(line.split()[0] == "ccxt" and "vendor, symbol, timeframe" in line for line in done.out.splitlines())
    done = mds("import", "nothing.csv", "--profile", "yahoo")
    assert (done.code, "there is no profile 'yahoo'; there are:" in done.err) == (2, True)


def test_options_override_values_of_a_mapping_file(mds: Run, store: Store, tmp_path: Path) -> None:
    (tmp_path / "acme.toml").write_text(
        'delimiter = ";"\ntime_zone = "UTC"\nextra = "ignore"\n[columns]\nts = ["Day", "Clock"]\n'
        'close_price = "Last"\n[constants]\nvendor = "acme"\ntimeframe = "1h"\n'
    )
    (tmp_path / "a.csv").write_text("Day;Clock;Last;More\n2024-01-02;15:00;1.5;x\n")
    done = mds("import", "bars", tmp_path / "a.csv", "--mapping", tmp_path / "acme.toml", "--symbol", "S",
               "--timeframe", "1d")  # fmt: skip
    assert done.code == 0, done.err
    assert stored(store) == [("acme", "S", "1d", "2024-01-02", 1.5, None)]


def test_one_broken_file_among_many_does_not_stop_the_others(mds: Run, store: Store, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(CSV)
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(CSV.encode())[:-9])
    (tmp_path / "c.csv").write_text("when,what\n1,2\n")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "d.csv").write_text(CSV.replace("2024-01-0", "2024-02-0"))
    with zipfile.ZipFile(tmp_path / "e.csv.zip", "w") as archive:
        archive.writestr("e.csv", CSV)
    # Its list of files is damaged, and not its end, by which it is known.
    damaged = (tmp_path / "e.csv.zip").read_bytes().replace(b"PK\x01\x02", b"PK\x00\x00")
    (tmp_path / "e.csv.zip").write_bytes(damaged)
    with zipfile.ZipFile(tmp_path / "f.csv.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("f.csv", CSV + ("2" * 65_535 + "\n") * 1_200)
    columns = "Date,Close,Volume,Open\n2024-03-04,1,2,3\n"
    (tmp_path / "g.csv").write_text(CSV.replace("2024-01-0", "2024-03-0") + columns)
    (tmp_path / "h.csv").write_text("Date,Close\n01/02/2024,1\n02/03/2024,1\n")
    (tmp_path / "i.csv").write_text("Date,Close\n2024-04-01T10:00:00Z,1\n2024-04-01T11:00:00,1\n")
    done = mds("import", "bars", str(tmp_path / "**/*.csv*"), *OPTIONS, "--symbol", "AAPL")
    # The rows above the place where the columns change are written, too.
    assert (done.code, len(stored(store))) == (3, 6)
    assert "b.csv.gz: damaged" in done.err
    assert "c.csv: bars need a column ts" in done.err
    assert "e.csv.zip: damaged" in done.err
    assert "it unpacks to more than 500 times its size" in done.err
    assert "g.csv: line 4: another header: the columns change here" in done.err
    assert "h.csv: ts: " in done.err
    assert "i.csv: ts: " in done.err
    assert "7 files of 9 not or not completely imported" in done.err


def test_a_path_that_cannot_be_opened_does_not_stop_other_files(mds: Run, store: Store, tmp_path: Path) -> None:
    (tmp_path / "AAPL.csv").write_text(CSV)
    done = mds("import", "bars", f"/{'x' * 300}/a.csv", tmp_path / "AAPL.csv", *OPTIONS, "--symbol", "AAPL")
    assert (done.code, stored(store)) == (3, EXPECTED)
    assert "a.csv: File name too long" in done.err


@odd_rows
def test_a_full_disk_for_rejects_stops_only_that_file(mds: Run, store: Store, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(CSV + "20240104153000,1,1,1\n")
    (tmp_path / "b.csv").write_text(CSV.replace("2024-01-0", "2024-02-0"))
    (tmp_path / "a.csv.rejects.ndjson").symlink_to("/dev/full")
    files = (tmp_path / "a.csv", tmp_path / "b.csv")
    done = mds("import", "bars", *files, *OPTIONS, "--symbol", "AAPL")
    assert (done.code, "rejects cannot be written: No space left on device" in done.err) == (3, True), done.err
    assert {row[3][:7] for row in stored(store)} >= {"2024-02"}
    # With room again, the same command imports the file that it could not.
    (tmp_path / "a.csv.rejects.ndjson").unlink()
    assert mds("import", "bars", *files, *OPTIONS, "--symbol", "AAPL").code == 3
    assert (len(stored(store)), (tmp_path / "a.csv.rejects.ndjson").read_text().count("\n")) == (4, 1)


def test_a_broken_file_among_hundreds_is_named_and_the_others_are_imported(
    mds: Run, store: Store, tmp_path: Path
) -> None:
    first = date(2000, 1, 1)
    for number in range(300):
        day = first + timedelta(days=number)
        (tmp_path / f"{day}.csv").write_text(f"Date,Close\n{day},{'one' if number == 177 else number}\n")
    done = mds("import", "bars", tmp_path, *OPTIONS[:-4], "--symbol", "S")
    assert (done.code, len(stored(store))) == (3, 299), done.err[-500:]
    broken = first + timedelta(days=177)
    assert [path.name for path in tmp_path.glob("*.rejects.ndjson")] == [f"{broken}.csv.rejects.ndjson"]
    assert f"{broken}.csv" in done.err


def test_an_interrupted_import_keeps_written_rows_and_is_completed_by_a_rerun(
    mds: Run, store: Store, tmp_path: Path
) -> None:
    days = [(date(2000, 1, 1) + timedelta(days=n)).isoformat() for n in range(2_000)]
    path = tmp_path / "all.csv"
    path.write_text("Date,Close\n" + "".join(f"{day},1\n" for day in days))
    (tmp_path / "first.csv").write_text(f"Date,Close\n{days[0]},1\n")
    told = (*OPTIONS[:-4], "--symbol", "S", "--part-rows", "500")
    assert mds("import", "bars", tmp_path / "first.csv", *told).code == 0
    with superuser(store.superuser_dsn) as blocker, blocker.transaction(force_rollback=True):
        # The third part waits for who writes one of its rows, and has not committed.
        blocker.execute(
            "INSERT INTO store.bars (series_id, ts, close_price) SELECT series_id, %s, 2 FROM store.series",
            [datetime.fromisoformat(f"{days[1_200]}T00:00Z")],
        )
        process = subprocess.Popen(
            [str(warm.folder() / "mds"), "import", "bars", str(path), *told],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        with process:
            waiting = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            while not store.rows(waiting):
                assert process.poll() is None
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "1,000 rows of bars written" in out + err
    assert "error: interrupted; the same command again completes it\n" in err
    assert len(stored(store)) == 1_000
    assert mds("import", "bars", path, *told).code == 0
    assert len(stored(store)) == 2_000


def test_a_frame_can_be_written_with_a_mapping_or_a_profile_name(mds: Run, store: Store) -> None:
    frame = pd.DataFrame(
        {"Open": [187.0], "High": [188.0], "Low": [186.0], "Close": [187.5], "Volume": [100], "Dividends": [0.0]},
        index=pd.DatetimeIndex(["2024-01-02"], name="Date"),
    )
    named = profile("yfinance").mapping.but(constants={"symbol": "AAPL", "timeframe": "1d"})
    wide = frame.rename(columns=lambda name: f"('{name}', 'MSFT')").assign(timeframe="1d")
    with MDS(dsn=store.dsn, tenant_id=store.tenant_a) as client:
        assert client.upsert_bars(frame, mapping=named) == 1
        assert client.upsert_bars(wide, mapping="yfinance-multi") == 1
        with pytest.raises(ConfigurationError, match="there is no profile 'yahoo'"):
            client.upsert_bars(frame, mapping="yahoo")
    assert [row[:3] for row in stored(store)] == [("yfinance", "AAPL", "1d"), ("yfinance", "MSFT", "1d")]
