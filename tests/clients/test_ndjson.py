"""`mds ingest-ndjson`: what a file may look like, what becomes of bad lines, and of runs that are stopped."""

import fcntl
import gzip
import io
import itertools
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any

import psycopg
import pytest

from datastore import migration, tenants
from datastore.embedded import EmbeddedServer
from mds_client.cli import main
from mds_client.utils import LONGEST_LINE, RejectFile
from tests import warm
from tests.clients.test_cli import Done, Run, runs, two_tenants, use
from tests.conftest import SETTINGS, Store, odd_rows
from tests.engines.databases import Running

NOON = datetime(2024, 1, 2, 12, tzinfo=UTC)


def line(minute: int = 0, **fields: Any) -> bytes:
    """A good line, or one with these fields instead."""
    row = {"vendor": "v", "symbol": "A", "timeframe": "1m", "ts": (NOON + timedelta(minutes=minute)).isoformat()}
    return json.dumps({**row, "close_price": float(minute), **fields}).encode() + b"\n"


def lines(minutes: Iterable[int]) -> bytes:
    return b"".join(map(line, minutes))


def written(store: Store) -> list[float]:
    """The closes that are stored, by time."""
    return [close for (close,) in store.rows("SELECT close_price FROM store.bars ORDER BY ts")]


def rejected(file: Path) -> list[tuple[int, str, str]]:
    """What a rejects file holds, whose lines have these fields and no others."""
    told = [json.loads(text) for text in file.read_text(encoding="utf-8").splitlines()]
    assert all(list(reject) == ["line", "reason", "row"] for reject in told)
    return [(reject["line"], reject["reason"], reject["row"]) for reject in told]


def await_that(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


def feed(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(data))))


@pytest.fixture
def store(running: Running) -> Iterator[Store]:
    with two_tenants(running) as made:
        yield made


@pytest.fixture
def ingest(
    store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., Done]:
    """`mds ingest-ndjson bars …` for tenant `a`, in an empty folder."""
    use(monkeypatch, MDS_DSN=store.dsn, MDS_TENANT_ID=store.tenant_a)
    monkeypatch.chdir(tmp_path)
    run: Run = runs(main, capsys, monkeypatch)
    return lambda *arguments: run("ingest-ndjson", "bars", *arguments)


# What a file may look like ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("name", ["bars.ndjson", "bars.ndjson.gz", "-"])
def test_compression_is_detected_from_the_content(
    ingest: Run, store: Store, monkeypatch: pytest.MonkeyPatch, name: str, packed: bool
) -> None:
    data = lines(range(3))
    data = gzip.compress(data) if packed else data
    if name == "-":
        feed(monkeypatch, data)
    else:
        Path(name).write_bytes(data)
    done = ingest(name)
    assert (done.code, done.err) == (0, "")
    assert written(store) == [0, 1, 2]
    assert list(Path().glob("*rejects*")) == []


def test_blank_lines_comments_byte_order_marks_and_line_endings_are_ignored(ingest: Run, store: Store) -> None:
    file = Path("awkward.ndjson")
    file.write_bytes(
        b"\xef\xbb\xbf"
        + line(0).strip()
        + b"\r\n\r\n   \n# a comment\n  # another\r\n\t"
        + line(1)
        + b"\n"
        + line(2).strip()
    )
    done = ingest(file, "--json")
    assert done.code == 0
    assert done.json["lines"] == 3
    assert written(store) == [0, 1, 2]


@pytest.mark.parametrize(
    "data",
    [b"", b"\n\n", b"# nothing\n", b"\xef\xbb\xbf", gzip.compress(b"")],
    ids=["nothing", "blank", "comment", "mark", "gzip"],
)
def test_an_input_without_rows_is_no_error(ingest: Run, monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    feed(monkeypatch, data)
    done = ingest("-")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("bars: 0 rows written from 0 lines")


CSV = b"vendor,symbol,timeframe,ts,close_price\nv,A,1m,2024-01-02T12:00Z,1\n"


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("bars.csv", CSV, "bars.csv is CSV"),
        ("bars.txt", b"# from a vendor\n\n" + CSV, "bars.txt is CSV"),
        ("bars", b"\xef\xbb\xbf" + CSV.replace(b",", b";"), "bars is CSV"),
        ("bars.csv.gz", gzip.compress(b"12:00,1\n12:01,2\n"), "bars.csv.gz is CSV"),
        ("-", CSV, "standard input is CSV"),
        ("bars.parquet", b"PAR1\x00\n\xff\nPAR1", "bars.parquet is Parquet"),
    ],
    ids=["name", "content", "semicolons", "no header", "pipe", "parquet"],
)
@pytest.mark.parametrize("command", ["ingest-ndjson", "ingest-ndjson-async"])
def test_an_input_in_another_format_is_rejected_with_the_command_that_reads_it(
    store: Store,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    command: str,
    name: str,
    data: bytes,
    said: str,
) -> None:
    use(monkeypatch, MDS_DSN=store.dsn, MDS_TENANT_ID=store.tenant_a)
    monkeypatch.chdir(tmp_path)
    if name == "-":
        feed(monkeypatch, data)
    else:
        Path(name).write_bytes(data)
    done = runs(main, capsys, monkeypatch)(command, "bars", name)
    assert (done.code, done.out) == (1, "")
    assert f"error: {said}, not NDJSON. This command reads it: mds import bars FILE" in done.err
    assert list(Path().glob("*rejects*")) == []
    assert store.rows("SELECT FROM store.bars") == []


def test_invalid_json_lines_of_an_unknown_format_are_rejected_one_by_one(ingest: Run, store: Store) -> None:
    Path("bars.ndjson").write_bytes(b"vendor, that is all\n{broken\n" + line(0))
    done = ingest("bars.ndjson")
    assert (done.code, written(store)) == (3, [0])
    assert [number for number, _, _ in rejected(Path("bars.ndjson.rejects.ndjson"))] == [1, 2]


def test_a_gzip_file_with_several_members_is_read_to_its_end(ingest: Run, store: Store) -> None:
    Path("parts.gz").write_bytes(gzip.compress(lines([0])) + gzip.compress(lines([1])))
    assert ingest("parts.gz").code == 0
    assert written(store) == [0, 1]


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_a_pipe_whose_first_byte_arrives_alone_is_read_correctly(
    ingest: Run, store: Store, monkeypatch: pytest.MonkeyPatch, packed: bool
) -> None:
    data = gzip.compress(lines(range(3))) if packed else lines(range(3))
    reading, writing = os.pipe()

    def give() -> None:
        with os.fdopen(writing, "wb", buffering=0) as pipe:
            pipe.write(data[:1])
            await_that(lambda: struct.unpack("i", fcntl.ioctl(writing, termios.FIONREAD, b"\0" * 4)) == (0,))
            pipe.write(data[1:])

    giver = threading.Thread(target=give)
    giver.start()
    with os.fdopen(reading, encoding="utf-8") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        done = ingest("-")
        giver.join()
    assert done.code == 0
    assert written(store) == [0, 1, 2]


def test_times_without_a_zone_are_utc(ingest: Run, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    feed(monkeypatch, line(0, ts="2024-01-01T10:00:00") + line(1, ts="2024-01-01T10:00:00-05:00"))
    assert ingest("-").code == 0
    assert [row[0] for row in store.rows("SELECT ts FROM store.bars ORDER BY ts")] == [
        datetime(2024, 1, 1, 10, tzinfo=UTC),
        datetime(2024, 1, 1, 15, tzinfo=UTC),
    ]


# Bad lines --------------------------------------------------------------------------------------------------------

BAD = [
    (b"not json\n", "Invalid JSON: "),
    (b'{"vendor":"v","symbol":"A","timeframe":"1m","ts":"2024-01-01"\n', "Invalid JSON: EOF"),
    (b"[1]\n", "Input should be an object"),
    (b"null\n", "Input should be an object"),
    (line().replace(b'"vendor": "v", ', b""), "vendor: Field required"),
    (line(vendor=5), "vendor: Input should be a valid string"),
    (line(vendor=""), "vendor: String should have at least 1 character"),
    (line(symbol="x" * 256), "symbol: String should have at most 255 characters"),
    (line(timeframe="1x"), "timeframe: "),
    (line(ts="yesterday"), "ts: a time is ISO 8601 text"),
    (line(ts=True), "ts: "),
    (line(ts="9999-12-31T23:59:59-05:00"), "ts: the time is outside the years 1 to 9999 in UTC"),
    (line(close_price="dear"), "close_price: Input should be a valid number"),
    (line(close_price=float("nan")), "close_price: Input should be a finite number"),
    (line(close_price=float("-inf")), "close_price: Input should be a finite number"),
    (line().replace(b"0.0", b"1e999"), "close_price: Input should be a finite number"),
    (line(close_price=True), "close_price: a truth value is not a number"),
    (line(volume=True), "volume: a truth value is not a number"),
    (line(trade_count=1.5), "trade_count: Input should be a valid integer"),
    (line(volume=-1), "volume: -1 is no count; if it means that there is no value, say so with null_values"),
    (line(volume=2**63), "volume: a whole number above 2**53 cannot be stored exactly"),
    (line(id="no uuid"), "id: 'no uuid' is not a uuid"),
    (line(extra=1), "extra: Extra inputs are not permitted"),
    (line(symbol="A\0"), "symbol: text must not contain a NUL character"),
    (line().replace(b'"A"', b'"A\0"'), "Invalid JSON: "),
    (line().replace(b'"A"', b'"\xff"'), "Invalid JSON: invalid unicode code point"),
    (line().replace(b'"A"', b'"\\ud800"'), "Invalid JSON: "),
    (line(symbol="x" * LONGEST_LINE), "the line is longer than 1,048,576 bytes, this is its beginning"),
    (line().strip() + b" " * LONGEST_LINE + b"junk\n", "the line is longer than 1,048,576 bytes"),
]


def test_invalid_lines_are_rejected_with_number_and_reason_and_the_others_are_written(
    ingest: Run, store: Store, tmp_path: Path
) -> None:
    file = tmp_path / "bars.ndjson"
    file.write_bytes(b"".join(line(n) + bad for n, (bad, _) in enumerate(BAD)) + line(len(BAD)))
    done = ingest(file)
    assert (done.code, done.err) == (3, "")
    assert written(store) == list(range(len(BAD) + 1))
    rejects = tmp_path / "bars.ndjson.rejects.ndjson"
    assert f"{len(BAD)} rejected, see {rejects}" in done.out
    told = rejected(rejects)
    assert [number for number, _, _ in told] == [2 * n + 2 for n in range(len(BAD))]
    for (_, reason, row), (bad, expected) in zip(told, BAD, strict=True):
        assert reason.startswith(expected)
        assert "\n" not in reason
        text = bad.decode("utf-8", "replace")
        assert row == (text.strip() if len(bad) <= LONGEST_LINE else text[: LONGEST_LINE + 1])


@odd_rows
def test_rows_replaced_by_later_ones_are_counted_in_the_summary(ingest: Run, store: Store) -> None:
    Path("bars.ndjson").write_bytes(line(0, ts="2024-01-01T00:00:00Z") + line(1, ts="2024-01-01T00:00:00Z"))
    done = ingest("bars.ndjson")
    assert "1 replaced by a later row with the same key and other values" in done.out
    assert written(store) == [1]


def test_extra_ignore_drops_unknown_fields(ingest: Run, store: Store) -> None:
    Path("bars.ndjson").write_bytes(line(0, extra=1) + line(1, extra={"a": 1}) + b"[1]\n" + line(2))
    assert ingest("bars.ndjson", "--extra", "ignore").code == 3
    assert written(store) == [0, 1, 2]
    ((number, reason, _),) = rejected(Path("bars.ndjson.rejects.ndjson"))
    assert (number, "no such field" in reason or "field" in reason.lower()) == (3, True)


def test_a_json_array_is_read_as_rows(ingest: Run, store: Store) -> None:
    Path("bars.json").write_bytes(b"[" + b",".join(line(n).strip() for n in range(3)) + b"]")
    assert ingest("bars.json").code == 0
    assert written(store) == [0, 1, 2]


def test_corrected_rejects_can_be_ingested(ingest: Run, store: Store) -> None:
    Path("bars.ndjson").write_bytes(line(0) + line(1, volume=1.5) + line(2, close_price=float("nan")) + line(3))
    assert ingest("bars.ndjson").code == 3
    mended = [
        row.replace("1.5", "1").replace("NaN", "2.5") for _, _, row in rejected(Path("bars.ndjson.rejects.ndjson"))
    ]
    Path("mended.ndjson").write_text("\n".join(mended))
    assert ingest("mended.ndjson").code == 0
    assert written(store) == [0, 1, 2.5, 3]


def test_a_line_of_exactly_one_mebibyte_is_accepted(ingest: Run, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    feed(monkeypatch, line(0).strip().ljust(LONGEST_LINE) + b"\n" + line(1).strip().ljust(LONGEST_LINE))
    assert ingest("-").code == 0
    assert written(store) == [0, 1]


def test_a_very_long_comment_counts_as_one_line(ingest: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    feed(monkeypatch, b"#" * (3 * LONGEST_LINE) + b"\nbad\n")
    assert ingest("-").code == 3
    assert [number for number, _, _ in rejected(Path("stdin.rejects.ndjson"))] == [2]


def test_rejects_are_written_to_the_chosen_file(ingest: Run) -> None:
    Path("bars.ndjson").write_bytes(b"bad\n")
    done = ingest("bars.ndjson", "--rejects", "here.ndjson", "--json")
    assert done.code == 3
    assert done.json["rejects"] == "here.ndjson"
    assert [path.name for path in sorted(Path().iterdir())] == ["bars.ndjson", "here.ndjson"]


def test_each_run_replaces_the_reject_file_and_a_clean_run_removes_it(ingest: Run) -> None:
    file, rejects = Path("bars.ndjson"), Path("bars.ndjson.rejects.ndjson")
    file.write_bytes(b"bad\nworse\n")
    ingest(file)
    file.write_bytes(b"still bad\n")
    ingest(file)
    assert [row for _, _, row in rejected(rejects)] == ["still bad"]
    file.write_bytes(line())
    assert ingest(file).code == 0
    assert not rejects.exists()


def test_a_failed_run_keeps_the_rejects_of_an_earlier_run(ingest: Run) -> None:
    file, rejects = Path("bars.ndjson"), Path("bars.ndjson.rejects.ndjson")
    rejects.write_text("from before\n")
    file.write_bytes(gzip.compress(lines(range(1000)))[:-20])
    assert ingest(file).code == 1
    assert rejects.read_text() == "from before\n"


def test_a_clean_run_does_not_remove_a_symbolic_link(ingest: Run) -> None:
    Path("bars.ndjson").write_bytes(line())
    Path("target").write_text("mine\n")
    Path("link").symlink_to("target")  # /dev/stdout is one
    assert ingest("bars.ndjson", "--rejects", "link").code == 0
    assert Path("link").is_symlink()
    assert Path("target").read_text() == "mine\n"


def test_the_reject_file_must_not_be_the_input_file(ingest: Run) -> None:
    Path("bars.ndjson").write_bytes(b"bad\n")
    done = ingest("bars.ndjson", "--rejects", Path("bars.ndjson").absolute())
    assert done.code == 2
    assert "the rejects file must not be the input file" in done.err
    assert Path("bars.ndjson").read_bytes() == b"bad\n"


def test_rejects_that_cannot_be_written_stop_the_run(ingest: Run, store: Store) -> None:
    Path("bars.ndjson").write_bytes(line(0) + b"bad\n" + line(1))
    done = ingest("bars.ndjson", "--rejects", "no/such/folder/rejects")
    assert (done.code, done.out) == (1, "")
    assert "error: no/such/folder/rejects: rejects cannot be written: No such file or directory\n" in done.err
    assert written(store) == [0, 1], "the rows of the block are written before its rejects are"
    Path("bars.ndjson.rejects.ndjson").mkdir()
    assert "rejects cannot be written: Is a directory" in ingest("bars.ndjson").err


def test_rejects_written_by_several_threads_do_not_interleave(tmp_path: Path) -> None:
    file = RejectFile(tmp_path / "rejects")

    def write(first: int) -> None:
        for number in range(first, first + 500):
            file.write(number, "why" * 50, "text" * 100)

    threads = [threading.Thread(target=write, args=(first,)) for first in range(0, 2000, 500)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    file.close(complete=True)
    assert sorted(number for number, _, _ in rejected(file.path)) == list(range(2000))
    assert file.count == 2000


def test_strict_stops_at_the_first_invalid_line_and_keeps_earlier_rows(ingest: Run, store: Store) -> None:
    Path("bars.ndjson").write_bytes(line(0) + line(1) + b"bad\n" + line(2) + b"worse\n")
    done = ingest("bars.ndjson", "--strict")
    assert (done.code, done.out) == (3, "")
    assert re.search(r"^error: line 3: Invalid JSON", done.err, re.MULTILINE)
    assert "bars: 2 rows written from 3 lines" in done.err
    assert written(store) == [0, 1]
    assert [number for number, _, _ in rejected(Path("bars.ndjson.rejects.ndjson"))] == [3]


def test_rows_refused_by_the_server_are_rejected_with_their_line_number(ingest: Run, store: Store) -> None:
    store.execute("ALTER TABLE store.bars ADD CONSTRAINT dear CHECK (close_price < 100)")
    Path("bars.ndjson").write_bytes(
        b"# head\n" + line(0) + line(1, close_price=200) + b"bad\n" + line(2) + line(3, close_price=300)
    )
    done = ingest("bars.ndjson", "--json")
    assert done.code == 3
    assert (done.json["written"], done.json["rejected"], done.json["complete"]) == (2, 3, True)
    assert written(store) == [0, 2]
    told = {number: (reason, row) for number, reason, row in rejected(Path("bars.ndjson.rejects.ndjson"))}
    assert sorted(told) == [3, 4, 6]
    assert 'violates check constraint "dear"' in told[3][0]
    assert json.loads(told[6][1])["close_price"] == 300
    store.execute("ALTER TABLE store.bars DROP CONSTRAINT dear")
    Path("again.ndjson").write_text("\n".join(told[number][1] for number in (3, 6)))
    assert ingest("again.ndjson").code == 0
    assert written(store) == [0, 200, 2, 300]


def test_strict_stops_at_the_first_row_that_the_server_refuses(ingest: Run, store: Store) -> None:
    store.execute("ALTER TABLE store.bars ADD CONSTRAINT dear CHECK (close_price < 100)")
    Path("bars.ndjson").write_bytes(lines([0, 1]) + line(2, close_price=200) + lines([3]) + b"bad\n")
    done = ingest("bars.ndjson", "--strict")
    assert done.code == 3
    assert re.search(r'^error: line 3: .*violates check constraint "dear"', done.err, re.MULTILINE)
    assert written(store) == [0, 1]
    numbers = [number for number, _, _ in rejected(Path("bars.ndjson.rejects.ndjson"))]
    assert len(numbers) == len(set(numbers)), "a line went aside twice"
    assert 3 in numbers


# Inputs that cannot be read ---------------------------------------------------------------------------------------


def test_a_truncated_gzip_file_is_an_error_after_its_readable_rows_are_written(ingest: Run, store: Store) -> None:
    count = 20_000
    Path("cut.gz").write_bytes(gzip.compress(lines(range(count)))[:-2000])
    done = ingest("cut.gz", "--max-rows", "1000")
    assert (done.code, done.out) == (1, "")
    said = re.search(r"^error: cut\.gz: damaged after line ([0-9]+): .*end-of-stream", done.err, re.MULTILINE)
    assert said
    whole = int(said[1])
    assert 0 < whole < count
    assert written(store) == list(range(whole))
    assert f"bars: {whole:,} rows written from {whole:,} lines" in done.err
    assert "same command" not in done.err, "it would end the same way"


def test_a_gzip_with_a_flipped_byte_is_an_error(ingest: Run) -> None:
    data = bytearray(gzip.compress(lines(range(2000))))
    data[len(data) // 2] ^= 0xFF
    Path("flipped.gz").write_bytes(data)
    done = ingest("flipped.gz")
    assert done.code == 1
    assert "error: flipped.gz: damaged after line " in done.err


@pytest.mark.parametrize(
    ("path", "why"),
    [("missing", "No such file or directory"), (".", "Is a directory"), ("/etc/passwd/x", "Not a directory")],
)
def test_a_path_that_is_not_a_file_is_an_error(ingest: Run, path: str, why: str) -> None:
    assert ingest(path) == Done(1, "", f"error: {path}: {why}\n")


def test_an_unknown_kind_is_a_usage_error_and_needs_no_server(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, MDS_DSN="postgresql://127.0.0.1:1/nowhere")
    done = runs(main, capsys, monkeypatch)("ingest-ndjson", "quotes", "-")
    assert (done.code, done.out) == (2, "")
    assert "there is no kind 'quotes'; there are: bars" in done.err


# Batches and what is said of them ---------------------------------------------------------------------------------


def test_a_batch_is_a_transaction_of_max_rows(ingest: Run, store: Store) -> None:
    Path("bars.ndjson").write_bytes(lines(range(5)))
    assert ingest("bars.ndjson", "--max-rows", "2", "--max-ms", "600000").code == 0
    batches = store.rows("SELECT count(*)::int FROM store.bars GROUP BY xmin ORDER BY min(ts)")
    assert batches == [(2,), (2,), (1,)]


def test_the_summary_line_has_rows_rate_and_rejects(ingest: Run) -> None:
    Path("bars.ndjson").write_bytes(lines(range(2000)) + b"bad\n")
    done = ingest("bars.ndjson")
    assert re.fullmatch(
        r"bars: 2,000 rows written from 2,001 lines in [0-9.]+ s \([0-9,]+ rows/s\), 1 rejected,"
        r" see bars\.ndjson\.rejects\.ndjson\n",
        done.out,
    )


def test_the_json_report_has_the_same_numbers_as_the_summary(ingest: Run) -> None:
    Path("bars.ndjson").write_bytes(lines(range(2)))
    report = ingest("bars.ndjson", "--json").json
    assert report.pop("seconds") > 0
    assert report.pop("rows_per_second") > 0
    assert report == {
        "kind": "bars",
        "source": "bars.ndjson",
        "lines": 2,
        "written": 2,
        "replaced": 0,
        "rejected": 0,
        "rejects": None,
        "complete": True,
        "error": None,
    }
    Path("bars.ndjson").write_bytes(line(0) + b"bad\n")
    report = ingest("bars.ndjson", "--json", "--strict").json
    assert (report["complete"], report["written"], report["rejected"]) == (False, 1, 1)
    assert report["error"].startswith("line 2: Invalid JSON")


def test_ingesting_the_same_file_again_changes_nothing(ingest: Run, store: Store) -> None:
    Path("bars.ndjson").write_bytes(lines(range(10)))
    versions = "SELECT series_id, ts, ctid::text, xmin::text FROM store.bars ORDER BY ts"
    assert ingest("bars.ndjson").code == 0
    before = store.rows(versions)
    assert ingest("bars.ndjson").code == 0
    assert store.rows(versions) == before
    assert len(before) == 10


@pytest.mark.parametrize(("rule", "left"), [("replace", (None, 7)), ("keep", (1.0, None)), ("fill", (1.0, 7))])
def test_on_conflict_decides_which_values_are_kept(
    ingest: Run, store: Store, monkeypatch: pytest.MonkeyPatch, rule: str, left: Any
) -> None:
    feed(monkeypatch, line(close_price=1.0))
    ingest("-")
    feed(monkeypatch, line(close_price=None, volume=7))
    assert ingest("-", "--on-conflict", rule).code == 0
    assert store.rows("SELECT close_price, volume FROM store.bars") == [left]


def started(*arguments: object, **options: Any) -> "subprocess.Popen[bytes]":
    """`mds ingest-ndjson bars …` as a process of its own, fed through a pipe."""
    pipe = subprocess.PIPE
    streams = {"stdin": pipe, "stdout": pipe, "stderr": pipe, **options}
    return warm.Started("mds", ["ingest-ndjson", "bars", *map(str, arguments)], env=os.environ, **streams)


def give(process: "subprocess.Popen[bytes]", data: bytes) -> None:
    assert process.stdin
    process.stdin.write(data)
    process.stdin.flush()


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_rows_of_a_slow_pipe_wait_no_longer_than_max_ms(ingest: Run, store: Store, packed: bool) -> None:
    with started("-", "--max-rows", "1000", "--max-ms", "20") as process:
        assert process.stdin
        pipe: IO[bytes] | gzip.GzipFile = gzip.GzipFile(fileobj=process.stdin, mode="wb") if packed else process.stdin
        for n in range(2):
            pipe.write(line(n))
            pipe.flush()
            process.stdin.flush()
            await_that(lambda n=n: written(store) == list(range(n + 1)))  # type: ignore[misc]
            assert process.poll() is None
        if packed:
            pipe.close()
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, b"")
    assert out.startswith(b"bars: 2 rows written from 2 lines")


def test_ctrl_c_reports_the_committed_rows_and_a_rerun_completes_the_input(ingest: Run, store: Store) -> None:
    with started("-", "--max-rows", "100", "--max-ms", "600000") as process:
        give(process, lines(range(1050)))
        await_that(lambda: len(written(store)) == 1000)
        process.send_signal(signal.SIGINT)
        out, err = (text.decode() for text in process.communicate(timeout=60))
    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in err
    assert "error: interrupted; the same command again completes it\n" in err
    said = re.search(r"^bars: ([0-9,]+) rows written", err, re.MULTILINE)
    assert said
    assert written(store) == list(range(int(said[1].replace(",", ""))))

    Path("bars.ndjson").write_bytes(lines(range(2000)))
    assert ingest("bars.ndjson").code == 0
    assert written(store) == list(range(2000))


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    """A server that a test may kill."""
    # What a killed server has said to be committed has to be in its log.
    server = EmbeddedServer(tmp_path / "own", port=0, settings={**SETTINGS, "synchronous_commit": "on"})
    server.up(migration.migrate)
    yield server
    server.discard()


def test_after_a_server_crash_the_reported_rows_are_stored_and_a_rerun_completes_it(
    own_server: EmbeddedServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    admin = own_server.dsn("mds_admin")
    tenant = tenants.create_tenant(admin, "a")
    use(
        monkeypatch,
        MDS_DSN=own_server.dsn("mds_service"),
        MDS_TENANT_ID=str(tenant.id),
        MDS_CONNECT_TIMEOUT="2",
        MDS_MAX_ATTEMPTS="2",
    )
    monkeypatch.chdir(tmp_path)

    def stored() -> list[float]:
        with psycopg.connect(own_server.superuser_dsn("mds")) as connection:
            return [row[0] for row in connection.execute("SELECT close_price FROM store.bars ORDER BY ts")]

    with started("-", "--max-rows", "100", "--max-ms", "600000") as process:
        give(process, lines(range(550)))
        await_that(lambda: len(stored()) == 500)
        pid = own_server.status().pid
        assert pid
        os.kill(pid, signal.SIGKILL)
        await_that(lambda: not own_server.status().running)
        out, err = (text.decode() for text in process.communicate(lines(range(550, 2000)), timeout=60))
    assert (process.returncode, out) == (1, "")
    assert "Traceback" not in err
    first, last = err.splitlines()
    assert re.match(r"bars: 500 rows written from [0-9,]+ lines", first)
    assert re.fullmatch(r"error: .*connection.*; the same command again completes it", last)

    own_server.start()
    use(monkeypatch, MDS_DSN=own_server.dsn("mds_service"), MDS_TENANT_ID=str(tenant.id))
    assert stored() == list(range(500)), "half a batch was written"
    Path("bars.ndjson").write_bytes(lines(range(2000)))
    assert runs(main, capsys, monkeypatch)("ingest-ndjson", "bars", "bars.ndjson").code == 0
    assert stored() == list(range(2000))


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_is_shown_on_a_terminal_only(ingest: Run, monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # what a build server sets is no terminal
    Path("bars.ndjson").write_bytes(lines(range(3000)))
    outer, inner = pty.openpty() if terminal else os.pipe()
    with started("bars.ndjson", stderr=inner) as process:
        os.close(inner)
        seen = b""
        # A terminal whose other side is closed is an error to read from, a pipe ends.
        for _ in itertools.count():
            try:
                chunk = os.read(outer, 4096)
            except OSError:
                break
            if not chunk:
                break
            seen += chunk
        out, _ = process.communicate(timeout=60)
    os.close(outer)
    assert process.returncode == 0
    assert out.startswith(b"bars: 3,000 rows written")
    if terminal:
        assert b"bars.ndjson" in seen
        assert b"%" in seen
    else:
        assert seen == b""
