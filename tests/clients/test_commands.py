"""Commands of `mds` for every kind, the job outbox and files; and reads that answer as frames."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow
import pytest

from mds_client import MDS, Bar, ConfigurationError
from mds_client.cli import main
from tests import warm
from tests.clients.test_cli import Run, runs, two_tenants, use
from tests.conftest import Client, Store, nothing_there, odd_rows
from tests.engines.databases import Running

NOON = datetime(2024, 1, 2, 12, tzinfo=UTC)


@pytest.fixture
def store(running: Running) -> Iterator[Store]:
    with two_tenants(running) as made:
        yield made


@pytest.fixture
def mds(store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    use(monkeypatch, MDS_DSN=store.dsn, MDS_TENANT_ID=store.tenant_a)
    return runs(main, capsys, monkeypatch)


def bars(count: int) -> list[Bar]:
    return [
        Bar(vendor="v", symbol=f"S{at % 3}", timeframe="1m", ts=NOON + timedelta(minutes=at), close_price=at)
        for at in range(count)
    ]


def words(text: str) -> list[str]:
    return text.split()


@pytest.mark.parametrize(
    ("command", "options", "column", "value"),
    [
        (
            "write-fundamental",
            ["--vendor", "alpha", "--symbol", "aapl", "--asof", "2024-01-01", "--eps", "1.25"],
            "public.fundamentals, eps",
            1.25,
        ),
        (
            "write-news",
            words("--vendor reuters --title AAPL-up --published-at 2024-01-01T10:00 --symbol A --sentiment-score 0.8"),
            "public.news, sentiment_score",
            0.8,
        ),
        (
            "write-option",
            words("--vendor ibkr --symbol AAPL --expiry 2024-12-20 --option-type C --strike 200")
            + words("--ts 2024-01-01T10:00:00 --iv 0.25 --delta 0.55"),
            "public.options_snap, delta",
            0.55,
        ),
    ],
)  # fmt: skip
def test_a_row_of_every_kind_is_written_from_its_options(
    mds: Run, store: Store, command: str, options: list[str], column: str, value: float
) -> None:
    assert mds(command, *options, "--json").json == {"written": 1}
    relation, name = column.split(", ")
    store.execute("CREATE TABLE public.seen (value double precision)")
    with_tenant = f"SELECT set_config('app.tenant_id', '{store.tenant_a}', true)"
    store.execute(f"DO $$ BEGIN PERFORM ({with_tenant}); INSERT INTO public.seen SELECT {name} FROM {relation}; END $$")
    assert store.rows("SELECT value FROM public.seen") == [(value,)]


def test_a_job_is_enqueued_and_printed(mds: Run, store: Store) -> None:
    told = ["--idempotency-key", "job-123", "--job-type", "backfill", "--payload", '{"symbol": "AAPL"}']
    first = mds("enqueue-job", *told, "--priority", "high", "--json").json
    again = mds("enqueue-job", *told, "--json").json
    assert (first["state"], first["payload"], first["priority"]) == ("queued", {"symbol": "AAPL"}, 75)
    assert again["id"] == first["id"]
    assert store.rows("SELECT count(*) FROM store.jobs") == [(1,)]


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["--payload", "{nope"], 2, "not JSON"),
        (["--priority", "urgent"], 1, "priority is low, normal, medium, high or from 0 to 100"),
        (["--idempotency-key", " "], 1, "idempotency_key is empty"),
    ],
)
def test_an_invalid_job_is_rejected(mds: Run, options: list[str], code: int, says: str) -> None:
    done = mds("enqueue-job", "--idempotency-key", "k", "--job-type", "t", *options)
    assert done.code == code
    assert says in done.err


@pytest.mark.parametrize("form", ["ndjson", "csv", "parquet"])
def test_dump_commands_write_a_file_in_each_format(mds: Run, store: Store, form: str, tmp_path: Path) -> None:
    with MDS(dsn=store.dsn, tenant_id=store.tenant_a) as client:
        client.upsert_bars(bars(30))
    path = tmp_path / f"rows.{form}"
    report = mds(f"dump-{form}", "bars", path, "--symbols", "s0,S1", "--start", "2024-01-02T12:10", "--json").json
    assert report["rows"] == 13
    assert path.stat().st_size > 0


def test_dumping_an_unknown_kind_is_a_usage_error(mds: Run) -> None:
    done = mds("dump-csv", "trades", "-")
    assert done.code == 2
    assert "there are: bars" in done.err


def test_the_asynchronous_ingest_writes_and_rejects_like_the_synchronous_one(
    mds: Run, store: Store, tmp_path: Path
) -> None:
    path = tmp_path / "bars.ndjson"
    lines = [bar.model_dump_json(exclude_none=True) for bar in bars(2500)]
    path.write_text("\n".join([*lines[:7], "nope", *lines[7:]]))
    report = mds("ingest-ndjson-async", "bars", path, "--max-rows", "100", "--json")
    assert report.code == 3
    assert (report.json["written"], report.json["rejected"], report.json["complete"]) == (2500, 1, True)
    (reject,) = map(json.loads, (tmp_path / "bars.ndjson.rejects.ndjson").read_text().splitlines())
    assert (reject["line"], reject["row"]) == (8, "nope")
    assert store.rows("SELECT count(*) FROM store.bars") == [(2500,)]


def test_the_asynchronous_ingest_writes_rows_of_a_slow_pipe_as_they_arrive(store: Store) -> None:
    command = [str(warm.folder() / "mds"), "ingest-ndjson-async", "bars", "-", "--max-ms", "20", "--json"]
    where = ["--dsn", store.dsn, "--tenant-id", store.tenant_a]
    with subprocess.Popen([*command, *where], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(bars(1)[0].model_dump_json().encode() + b"\n")
        process.stdin.flush()
        # The pipe stays open, and nothing more comes: the row is written all the same.
        store.execute(
            "DO $$ BEGIN FOR attempt IN 1..2000 LOOP"
            " IF EXISTS (SELECT FROM store.bars) THEN RETURN; END IF;"
            " PERFORM pg_sleep(0.01); COMMIT; END LOOP; RAISE 'nothing was written'; END $$"
        )
        out, _ = process.communicate()
    assert process.returncode == 0
    assert json.loads(out)["written"] == 1


def test_the_asynchronous_ingest_without_a_server_prints_a_one_line_error(mds: Run, tmp_path: Path) -> None:
    path = tmp_path / "x.ndjson"
    path.write_text("")
    done = mds("ingest-ndjson-async", "bars", path, "--dsn", "postgresql://nobody:secret@127.0.0.1:1/x")
    assert done.code == 1
    assert done.err.startswith("error: no connection to the server")
    assert "secret" not in done.err


@pytest.mark.parametrize("as_", ["arrow", "pandas", "polars"])
@odd_rows
@nothing_there
def test_every_read_can_return_a_frame(connect: Callable[..., Client], store: Store, as_: str) -> None:
    client = connect(dsn=store.dsn, tenant_id=store.tenant_a)
    written = bars(30)
    client.upsert_bars(written)
    contract = {"vendor": "v", "symbol": "A", "expiry": NOON.date(), "strike": 1, "ts": NOON}
    client.upsert_options([{**contract, "option_type": side} for side in "CP"])
    client.upsert_news([{"vendor": "v", "published_at": NOON, "title": "t", "symbol": "A"}])
    client.upsert_fundamentals([{"vendor": "v", "symbol": "A", "asof": NOON, "eps": 1}])
    end = NOON + timedelta(days=1)
    frames: dict[str, tuple[Any, list[str]]] = {
        "one": (client.bars_window("S0", "1m", NOON, end, "v", as_=as_), ["S0"] * 10),
        "many": (client.bars_window(["S2", "S1"], "1m", NOON, end, "v", as_=as_), ["S1"] * 10 + ["S2"] * 10),
        "rollup": (client.rollup("S0", "5m", NOON, end, "v", as_=as_), ["S0"] * 6),
        "chain": (client.option_chain("A", NOON, "v", as_=as_), ["A", "A"]),
        "news": (client.news_window(NOON, end, symbol="a", as_=as_), ["A"]),
        "fundamentals": (client.fundamentals_window("A", NOON, end, "v", as_=as_), ["A"]),
    }
    for name, (frame, symbols) in frames.items():
        assert type(frame).__module__.split(".")[0] == {"arrow": "pyarrow"}.get(as_, as_), name
        found = frame["symbol"].to_pylist() if as_ == "arrow" else list(frame["symbol"])
        assert found == symbols, name


@pytest.mark.parametrize("as_", ["arrow", "pandas", "polars"])
@odd_rows
@nothing_there
def test_latest_prices_series_and_coverage_can_return_frames(
    connect: Callable[..., Client], store: Store, as_: str
) -> None:
    client = connect(dsn=store.dsn, tenant_id=store.tenant_a)
    for frame in (client.latest_prices(["S0"], "v", as_=as_), client.series(as_=as_), client.coverage(as_=as_)):
        assert len(frame) == 0
        assert "vendor" in (frame.column_names if as_ == "arrow" else list(frame.columns))
    client.upsert_bars(bars(30))
    prices, series, covered = (
        client.latest_prices(["S0", "S1"], "v", as_=as_),
        client.series(as_=as_),
        client.coverage(as_=as_),
    )
    column = (
        (lambda frame, name: frame[name].to_pylist()) if as_ == "arrow" else (lambda frame, name: list(frame[name]))
    )
    assert column(prices, "price") == [27.0, 28.0]
    assert column(series, "symbol") == ["S0", "S1", "S2"]
    assert column(covered, "count") == [10, 10, 10]


def test_a_stream_can_return_record_batches(connect: Callable[..., Client], store: Store) -> None:
    client = connect(dsn=store.dsn, tenant_id=store.tenant_a)
    written = bars(3000)
    client.upsert_bars(written)
    end = NOON + timedelta(days=30)
    for parts in (
        client.iter_bars_window(["S0", "S1", "S2"], "1m", NOON, end, "v", as_="arrow"),
        client.iter_rows("bars", as_="arrow"),
    ):
        table = pyarrow.Table.from_batches(list(parts))
        assert table.num_rows == 3000
        found = set(zip(table["symbol"].to_pylist(), table["close_price"].to_pylist(), strict=True))
        assert found == {(bar.symbol, bar.close_price) for bar in written}


def test_a_stream_in_pandas_is_refused(client: Client) -> None:
    with pytest.raises(ConfigurationError, match="as_ of a stream is models, arrow; not 'pandas'"):
        client.iter_rows("bars", as_="pandas")


def test_an_unknown_value_of_as_is_rejected_before_any_query(client: Client) -> None:
    with pytest.raises(ConfigurationError, match="as_ is models, arrow, pandas, polars; not 'excel'"):
        client.bars_window("S0", "1m", NOON, NOON, "v", as_="excel")


@pytest.mark.parametrize(
    ("program", "typed", "word"), [("mds", "la", "latest-prices"), ("datastore", "po", "policies")]
)
def test_a_shell_completes_commands(program: str, typed: str, word: str) -> None:
    variables = {f"_{program.upper()}_COMPLETE": "bash_complete", "COMP_WORDS": f"{program} {typed}", "COMP_CWORD": "1"}
    command = [str(Path(sys.executable).with_name(program))]
    done = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, check=False)
    assert done.stdout.split() == [f"plain,{word}"]
