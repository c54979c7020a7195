"""`datastore load`: files and Arrow streams into a tenant's rows, the same rows as a client would have written."""

import gzip
import io
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars
import psycopg
import pyarrow as pa
import pytest
from pyarrow import csv, parquet

from datastore import aggregates
from datastore.cli import main
from datastore.errors import UnknownTenant
from datastore.load import Load, load
from mds_client import KINDS, MDS, Bar
from mds_client.columns.arrow import schema_of
from mds_client.schema import OnConflict
from tests import warm
from tests.clients.test_cli import Run, runs, use
from tests.clients.test_columnstore import CHUNKED, compress, key_of, settled
from tests.clients.test_columnstore import rows as of_every_kind
from tests.conftest import Store, odd_rows

START = datetime(2024, 1, 2, 14, 30, tzinfo=UTC)
SYMBOLS = tuple(f"S{number}" for number in range(5))


def bars(minutes: range = range(40), level: float = 100.0, **fields: Any) -> list[Bar]:
    """Minute by minute one bar of each series, as a feed has them."""
    return [
        Bar(
            vendor="v",
            symbol=symbol,
            timeframe="1m",
            ts=START + timedelta(minutes=minute),
            close_price=level + minute + at,
            volume=None if minute % 7 == 0 else minute % 1000,
            **fields,
        )
        for minute in minutes
        for at, symbol in enumerate(SYMBOLS)
    ]


def table(rows: list[Any], kind: str = "bars") -> Any:
    schema = schema_of(KINDS[kind])
    columns = {name: [getattr(row, name) for row in rows] for name in schema.names}
    for name in KINDS[kind].maps:
        columns[name] = [None if value is None else json.dumps(value) for value in columns[name]]
    return pa.table(columns, schema=schema)


def lines(rows: list[Any]) -> bytes:
    return "".join(row.model_dump_json(exclude_none=True) + "\n" for row in rows).encode()


def as_csv(rows: list[Any]) -> bytes:
    written = io.BytesIO()
    csv.write_csv(table(rows), written)
    return written.getvalue()


def as_stream(rows: list[Any]) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table(rows).schema) as writer:
        writer.write_table(table(rows), max_chunksize=17)
    return bytes(sink.getvalue())


def as_file(rows: list[Any]) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table(rows).schema) as writer:
        writer.write_table(table(rows), max_chunksize=17)
    return bytes(sink.getvalue())


def as_parquet(rows: list[Any]) -> bytes:
    sink = pa.BufferOutputStream()
    parquet.write_table(table(rows), sink, row_group_size=30)
    return bytes(sink.getvalue())


FILES: dict[str, Callable[[list[Any]], bytes]] = {
    "b.parquet": as_parquet,
    "told by content": as_parquet,
    "b.arrow": as_file,
    "b.arrows": as_stream,
    "b.csv": as_csv,
    "b.csv.gz": lambda rows: gzip.compress(as_csv(rows)),
    "b.csv.zst": lambda rows: pa.compress(as_csv(rows), "zstd", asbytes=True),
    "b.ndjson": lines,
    "b.jsonl.gz": lambda rows: gzip.compress(lines(rows)),
    "b.ndjson.zst": lambda rows: pa.compress(lines(rows), "zstd", asbytes=True),
}


@pytest.fixture
def client(store: Store) -> Iterator[MDS]:
    """The client of tenant `a`."""
    with MDS(dsn=store.dsn, tenant_id=store.tenant_a) as made:
        yield made


@pytest.fixture
def run(store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """`datastore load …`, with the store's database in the environment."""
    use(monkeypatch, DATABASE_URL=store.admin_dsn)
    return runs(main, capsys, monkeypatch)


def stored(client: MDS, kind: str = "bars") -> list[Any]:
    return sorted((row for part in client.iter_rows(kind) for row in part), key=lambda row: key_of(KINDS[kind], row))


def as_of(client: MDS, rows: list[Any], kind: str = "bars") -> list[Any]:
    """Rows as that client reads them."""
    owned = [row.model_copy(update={"tenant_id": client.tenant_id}) for row in rows]
    return sorted(owned, key=lambda row: key_of(KINDS[kind], row))


def versions(store: Store) -> list[Any]:
    """Where each bar is and which transaction wrote it: a row version that is written changes that."""
    return store.rows("SELECT series_id, ts, ctid::text, xmin::text FROM store.bars ORDER BY 1, 2")


def rejects(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_any_format_is_loaded_completely(store: Store, client: MDS, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(FILES[name](bars()))
    done = load(store.admin_dsn, "a", "bars", str(tmp_path / name), part_rows=64)
    assert stored(client) == as_of(client, bars())
    assert (done.rows, done.rejected, done.merged, done.complete) == (200, 0, 0, True)
    assert (done.start, done.end) == (START, START + timedelta(minutes=39))
    assert not list(tmp_path.glob("*.rejects.ndjson"))


@pytest.mark.parametrize("kind", [*CHUNKED, "fundamentals"])
def test_every_kind_is_loaded(store: Store, client: MDS, kind: str) -> None:
    made = KINDS["fundamentals"].model
    figures = [made(vendor="v", symbol=s, asof=START + timedelta(days=d), eps=d, items={"x" * d: d} if d else None)
               for s in SYMBOLS for d in range(9)]  # fmt: skip
    rows = {**of_every_kind(100.0), "fundamentals": figures}[kind]
    done = load(store.admin_dsn, "a", kind, table(rows, kind), part_rows=100)
    assert done.rows == len(rows)
    assert stored(client, kind) == as_of(client, rows, kind)


def test_frames_and_arrow_streams_can_be_loaded(store: Store, client: MDS) -> None:
    frame = polars.from_arrow(table(bars()))
    reader = pa.RecordBatchReader.from_batches(table(bars()).schema, table(bars(range(40, 60))).to_batches())
    assert isinstance(frame, polars.DataFrame)
    assert load(store.admin_dsn, store.tenant_a, "bars", frame).rows == 200
    assert load(store.admin_dsn, store.tenant_a, "bars", reader).rows == 100
    assert stored(client) == as_of(client, bars(range(60)))


@pytest.mark.parametrize("on_conflict", ["replace", "keep", "fill"])
@pytest.mark.every_engine
def test_only_parts_that_conflict_with_stored_rows_are_merged(
    store: Store, client: MDS, on_conflict: OnConflict
) -> None:
    client.upsert_bars(bars(range(20, 22)))
    batch = bars(level=900.0, open_price=None)
    done = load(store.admin_dsn, "a", "bars", table(batch), part_rows=50, on_conflict=on_conflict)
    assert (done.rows, done.parts, done.merged) == (200, 4, 1)
    left = settled(KINDS["bars"], bars(range(20, 22)), batch, on_conflict)
    assert stored(client) == as_of(client, list(left.values()))


@pytest.mark.every_engine
def test_repeating_a_load_creates_no_new_row_versions(store: Store, client: MDS, tmp_path: Path) -> None:
    path = tmp_path / "b.parquet"
    path.write_bytes(as_parquet(bars()))
    load(store.admin_dsn, "a", "bars", str(path), part_rows=64)
    before = versions(store)
    done = load(store.admin_dsn, "a", "bars", str(path), part_rows=64)
    assert (done.rows, done.merged) == (200, done.parts)
    assert versions(store) == before


@odd_rows
def test_the_last_row_wins_when_a_load_repeats_a_key(store: Store, client: MDS) -> None:
    twice = [*bars(range(10)), *bars(range(10), level=500.0)]
    load(store.admin_dsn, "a", "bars", table(twice), part_rows=100)
    load(store.admin_dsn, "b", "bars", table(twice), part_rows=30)
    for one in (client, client.for_tenant(store.tenant_b)):
        assert stored(one) == as_of(one, bars(range(10), level=500.0))


@pytest.mark.every_engine
def test_a_load_updates_latest_prices_like_an_upsert(store: Store, client: MDS) -> None:
    loads = (bars(range(20, 40)), bars(range(20), level=7.0), bars(range(38, 44), level=300.0))
    other = client.for_tenant(store.tenant_b)
    for rows in loads:
        load(store.admin_dsn, "a", "bars", table(rows), part_rows=33)
        other.upsert_bars(rows)
        mine, theirs = (
            [price.model_copy(update={"tenant_id": ""}) for price in one.latest_prices(SYMBOLS, "v")]
            for one in (client, other)
        )
        assert mine == theirs
        assert len(mine) == len(SYMBOLS)


def test_a_load_does_not_touch_rows_of_other_tenants(store: Store, client: MDS) -> None:
    other = client.for_tenant(store.tenant_b)
    other.upsert_bars(bars(level=1.0))
    load(store.admin_dsn, "a", "bars", table(bars()))
    assert stored(other) == as_of(other, bars(level=1.0))
    assert stored(client) == as_of(client, bars())


def test_rows_that_name_another_tenant_are_rejected(store: Store, client: MDS, tmp_path: Path) -> None:
    foreign = bars(range(2), tenant_id=store.tenant_b)
    (tmp_path / "b.ndjson").write_bytes(lines([*bars(range(2, 4)), *foreign]))
    done = load(store.admin_dsn, "a", "bars", str(tmp_path / "b.ndjson"))
    assert (done.rows, done.rejected) == (10, 10)
    assert done.rejects is not None
    told = rejects(done.rejects)
    assert [one["line"] for one in told] == list(range(11, 21))
    assert all(f"is of tenant {store.tenant_b}" in one["reason"] for one in told)
    assert stored(client) == as_of(client, bars(range(2, 4)))
    assert stored(client.for_tenant(store.tenant_b)) == []


@pytest.mark.parametrize("tenant", ["nobody", "0e8d583a-2cf6-4fba-b2a9-add128d0a2b1"])
def test_loading_for_an_unknown_tenant_is_an_error(store: Store, tenant: str) -> None:
    with pytest.raises(UnknownTenant, match=f"there is no tenant '{tenant}'"):
        load(store.admin_dsn, tenant, "bars", table(bars()))


BAD = (
    ("b.ndjson", b'{"vendor": "v", "symbol": "X", "timeframe": "1m"}\nnot json\n', 201),
    ("b.csv", b"v,X,1m,,,,,,,,,\nv,X,1m,never,,,,,,,,\nv,X\nv,X,1m,2024-01-02,,,,nan,,,,\n", 202),
)


@pytest.mark.parametrize(("name", "more", "first"), BAD)
def test_invalid_rows_are_rejected_with_line_and_reason(
    store: Store, client: MDS, tmp_path: Path, name: str, more: bytes, first: int
) -> None:
    (tmp_path / name).write_bytes(FILES[name](bars()) + more)
    done = load(store.admin_dsn, "a", "bars", str(tmp_path / name))
    assert done.rejects == tmp_path / f"{name}.rejects.ndjson"
    told = sorted(rejects(done.rejects), key=lambda one: one["line"])
    assert [one["line"] for one in told] == [first + at for at in range(len(more.splitlines()))]
    assert all(one["reason"] and one["row"] for one in told)
    assert ("ts: " in told[0]["reason"], done.rows, done.rejected) == (True, 200, len(told))
    assert stored(client) == as_of(client, bars())


def test_only_the_invalid_rows_of_a_column_are_rejected(store: Store, client: MDS, tmp_path: Path) -> None:
    given = table(bars())
    prices = given["close_price"].to_pylist()
    prices[3], prices[150] = float("nan"), float("inf")
    given = given.set_column(given.column_names.index("close_price"), "close_price", pa.array(prices))
    nanoseconds = given["ts"].cast(pa.timestamp("ns", "UTC"))
    given = given.set_column(given.column_names.index("ts"), "ts", nanoseconds)
    parquet.write_table(given, tmp_path / "b.parquet")
    done = load(store.admin_dsn, "a", "bars", str(tmp_path / "b.parquet"), part_rows=90)
    assert done.rejects is not None
    assert [(one["line"], "close_price" in one["reason"]) for one in rejects(done.rejects)] == [(4, True), (151, True)]
    left = [row for at, row in enumerate(bars()) if at not in (3, 150)]
    assert stored(client) == as_of(client, left)


@pytest.mark.every_engine
def test_a_row_refused_by_the_server_is_rejected(store: Store, client: MDS, tmp_path: Path) -> None:
    store.execute("ALTER TABLE store.bars ADD CONSTRAINT small CHECK (volume IS DISTINCT FROM 5)")
    (tmp_path / "b.csv").write_bytes(as_csv(bars(range(10))))
    done = load(store.admin_dsn, "a", "bars", str(tmp_path / "b.csv"), part_rows=20)
    assert done.rejects is not None
    assert [one["line"] for one in rejects(done.rejects)] == list(range(27, 32))
    assert all("small" in one["reason"] for one in rejects(done.rejects))
    assert (done.rows, done.rejected) == (45, 5)
    assert stored(client) == as_of(client, [row for row in bars(range(10)) if row.volume != 5])


SHAPES: dict[str, tuple[bytes, str]] = {
    "b.csv": (b"vendor,symbol,timeframe,ts,colour\nv,X,1m,2024-01-02,red\n", "no column colour"),
    "c.csv": (b"vendor,symbol\nv,X\n", "need a column timeframe, ts"),
    "d.csv": (b"", "the file is empty: a CSV needs a line with the names"),
    "d.parquet": (b"PAR1 and then nothing", "d.parquet: "),
    "d.txt": (b"hello", "does not say what it is"),
    "d.ndjson.gz": (gzip.compress(b'{"a": 1}\n' * 999)[:-9], "damaged after line"),
}


@pytest.mark.parametrize("name", SHAPES)
def test_an_input_of_the_wrong_shape_prints_one_error_line(store: Store, tmp_path: Path, run: Run, name: str) -> None:
    content, message = SHAPES[name]
    (tmp_path / name).write_bytes(content)
    done = run("load", "bars", str(tmp_path / name), "--tenant", "a")
    assert done.code == 1
    assert message in done.err.splitlines()[-1]
    assert store.rows("SELECT count(*) FROM store.bars") == [(0,)]


def test_the_load_command_reports_its_result_and_exits_with_3_on_rejects(
    store: Store, client: MDS, tmp_path: Path, run: Run
) -> None:
    (tmp_path / "b.csv").write_bytes(as_csv(bars()))
    said = run("load", "bars", str(tmp_path / "b.csv"), "--tenant", "a", "--json")
    fields = json.loads(said.out)
    assert (said.code, set(fields)) == (0, {*Load.__dataclass_fields__, "rows_per_second", "error"})
    assert (fields["rows"], fields["error"], fields["complete"]) == (200, None, True)
    with (tmp_path / "b.csv").open("ab") as file:
        file.write(b"v,X,1m,,,,,,,\n")
    said = run("load", "bars", str(tmp_path / "b.csv"), "--tenant", "a", "--rejects", str(tmp_path / "aside"))
    assert said.code == 3
    assert said.out.startswith("bars: 200 rows loaded in ")
    assert said.out.endswith(f"; 1 rejected, see {tmp_path / 'aside'}\n")
    assert stored(client) == as_of(client, bars())


@pytest.mark.parametrize(("written", "options"), [(as_stream, ()), (lines, ("--format", "ndjson"))])
def test_standard_input_is_loaded(
    store: Store, client: MDS, tmp_path: Path, written: Callable[[list[Any]], bytes], options: tuple[str, ...]
) -> None:
    done = subprocess.run(
        [str(warm.folder() / "datastore"), "load", "bars", "-", "--tenant", "a", "--dsn", store.admin_dsn, *options],
        input=written(bars()),
        cwd=tmp_path,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert stored(client) == as_of(client, bars())


@pytest.mark.many_sessions
@pytest.mark.every_engine
def test_repeating_a_killed_load_completes_it(store: Store, client: MDS, tmp_path: Path) -> None:
    rows = bars(range(4000))
    parquet.write_table(table(rows), tmp_path / "b.parquet")
    arguments = ["load", "bars", "b.parquet", "--tenant", "a", "--dsn", store.admin_dsn, "--part-rows", "200"]
    started = warm.Started("datastore", arguments, env=os.environ, cwd=tmp_path, stdout=subprocess.DEVNULL)
    until = time.monotonic() + 60
    with psycopg.connect(store.superuser_dsn, autocommit=True) as watching:
        while watching.execute("SELECT FROM store.bars LIMIT 1").fetchone() is None:
            assert time.monotonic() < until
    started.send_signal(signal.SIGKILL)
    assert started.wait() == -signal.SIGKILL
    assert 0 < len(stored(client)) < len(rows)
    again = [str(warm.folder() / "datastore"), *arguments, "--json"]
    done = subprocess.run(again, cwd=tmp_path, capture_output=True, timeout=120, check=True)
    said = json.loads(done.stdout)
    assert said["rows"] == len(rows)
    assert 0 < said["merged"] < said["parts"]
    assert stored(client) == as_of(client, rows)


@pytest.mark.many_sessions
def test_a_load_and_an_application_can_write_the_same_series_concurrently(store: Store, client: MDS) -> None:
    rows = bars(range(2000))
    with ThreadPoolExecutor(2) as pool:
        loading = pool.submit(load, store.admin_dsn, "a", "bars", table(rows), part_rows=500)
        upserting = pool.submit(lambda: [client.upsert_bars(rows[at : at + 700]) for at in range(0, len(rows), 700)])
        assert (loading.result().rows, sum(upserting.result())) == (len(rows), len(rows))
    assert stored(client) == as_of(client, rows)
    assert {price.price for price in client.latest_prices(SYMBOLS, "v")} == {row.close_price for row in rows[-5:]}


@pytest.mark.parametrize("kind", CHUNKED)
@pytest.mark.every_engine
def test_a_load_merges_with_rows_in_the_columnstore(store: Store, client: MDS, kind: str) -> None:
    there = of_every_kind(100.0)[kind]
    client.upsert(kind, there)
    compress(store)
    time_of = KINDS[kind].time
    moved = [row.model_copy(update={time_of: getattr(row, time_of) + timedelta(seconds=30)}) for row in there]
    changes: dict[str, dict[str, Any]] = {
        "bars": {"volume": 7},
        "news": {"sentiment_score": 0.25},
        "options": {"oi": 7},
    }
    changed = [row.model_copy(update=changes[kind]) for row in there[::3]]
    assert load(store.admin_dsn, "a", kind, table(moved, kind)).merged == 0
    assert load(store.admin_dsn, "a", kind, table(changed, kind)).merged == 1
    left = settled(KINDS[kind], [*there, *moved], changed, "replace")
    assert stored(client, kind) == as_of(client, list(left.values()), kind)


@pytest.mark.every_engine
def test_a_load_refreshes_the_rollups_of_its_range(store: Store, client: MDS) -> None:
    client.upsert_bars(bars(range(-3000, -2990)))
    aggregates.refresh(store.admin_dsn)
    done = load(store.admin_dsn, "a", "bars", table(bars(range(-2000, 400, 10))))
    stored_ones = [one.name for one in aggregates.list_aggregates(store.admin_dsn) if one.stored]
    assert done.rollups == stored_ones
    if stored_ones:
        # What is materialised, without what the server would compute for the rest.
        store.execute("ALTER MATERIALIZED VIEW store.bars_1h SET (timescaledb.materialized_only = true)")
    assert done.start is not None
    hours = client.rollup("S0", "1h", done.start - timedelta(hours=1), START + timedelta(days=1), "v")
    assert sum(hour.volume or 0 for hour in hours) == sum(
        row.volume or 0 for row in bars(range(-2000, 400, 10)) if row.symbol == "S0"
    )
