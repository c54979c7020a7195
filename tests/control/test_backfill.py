"""Backfills: from an empty database to a filled gap, through faults, cancelling and another attempt, to a report."""

import json
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pyarrow as pa
import pytest
from psycopg.types.json import Jsonb
from pyarrow import parquet
from pydantic import ValidationError

from datastore import backfill, gaps, jobs
from datastore.backfill import (
    BackfillConflict,
    BackfillError,
    BackfillRecord,
    BackfillSpec,
    ChunkJob,
    UnknownBackfill,
    filling,
    planning,
    records,
)
from datastore.errors import UnknownTenant
from datastore.gaps import CalendarError, GapError, calendars
from datastore.jobs import JobContext, JobFailed
from datastore.names import OFFER_LOCKS
from datastore.sources import SourceError
from datastore.worker import scope, unserved
from datastore.worker import worker as worker_module
from mds_client import KINDS, MDS, Bar
from tests.conftest import Store
from tests.control.http_source import Service, at, minutes, serving
from tests.control.job_types import Note, is_in, process, put, until, work, working

WEEKS = ("2024-03-04", "2024-03-16")
"""Two weeks of New York, between which its clocks change."""

SESSIONS = [
    *(minutes(f"2024-03-{day:02}T14:30", f"2024-03-{day:02}T21:00") for day in (4, 5, 6, 7, 8)),
    *(minutes(f"2024-03-{day:02}T13:30", f"2024-03-{day:02}T20:00") for day in (11, 12, 13, 14, 15)),
]
STAMPS = [ts for session in SESSIONS for ts in session]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of sources, with a file for each of two symbols."""
    monkeypatch.setenv("DATASTORE_SOURCE_ROOT", str(tmp_path))
    for symbol in ("S", "T"):
        lines = (f"{ts.isoformat()},{number % 7 + 1},{number}" for number, ts in enumerate(STAMPS))
        (tmp_path / f"{symbol}.csv").write_text("ts,close_price,volume\n" + "\n".join(lines))
    return tmp_path


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    with serving(stamps=STAMPS) as running:
        monkeypatch.setenv("DATASTORE_SOURCE_URLS", running.root)
        yield running


def spec(**more: Any) -> BackfillSpec:
    asked = {"tenant": "a", "vendor": "v", "timeframe": "1m", "start": WEEKS[0], "end": WEEKS[1], "symbols": ["S", "T"],
             "calendar": "XNYS", "source": {"type": "files", "path": "{symbol}.csv"}, **more}  # fmt: skip
    return BackfillSpec.model_validate(asked)


def finish(store: Store, id_: int) -> BackfillRecord:
    """Have a worker do it; where clients share one session, do what a worker does with each job."""
    if store.engine != "timescale":
        work(store.admin_dsn)
        return backfill.get_backfill(store.admin_dsn, id_)
    for job in jobs.list_jobs(store.admin_dsn, state="queued").items:
        result = run(store, job.id)
        store.execute(
            "UPDATE store.jobs SET state = 'succeeded', started_at = created_at, finished_at = now(), result = %s"
            " WHERE id = %s",
            Jsonb(result),
            job.id,
        )
    return backfill.get_backfill(store.admin_dsn, id_)


def run(store: Store, job_id: int) -> dict[str, Any]:
    """The function of a job, called."""
    job = jobs.get_job(store.admin_dsn, job_id)
    payload = ChunkJob.model_validate(job.payload)
    return filling.run(JobContext(job, store.admin_dsn), payload)


def bars(store: Store, symbol: str = "S") -> list[Bar]:
    with MDS(dsn=store.dsn, tenant_id=store.tenant_a, pool_max=1) as client:
        found: list[Bar] = client.bars_window(symbol, "1m", at(WEEKS[0]), at(WEEKS[1]), "v")
        return found


def start(store: Store, key: str = "k", **more: Any) -> BackfillRecord:
    return backfill.start(store.admin_dsn, spec(**more), idempotency_key=key)


# A plan ---------------------------------------------------------------------------------------------------------------


def test_a_plan_splits_missing_ranges_into_chunks_and_stores_nothing(store: Store, folder: Path) -> None:
    with MDS(dsn=store.dsn, tenant_id=store.tenant_a, pool_max=1) as client:
        stamps = [*STAMPS[10:700], *STAMPS[1950:]]
        client.upsert_bars([Bar(vendor="v", symbol="S", timeframe="1m", ts=ts, close_price=1) for ts in stamps])
    planned = backfill.plan(store.admin_dsn, spec(chunk_days=7))
    assert (planned.tenant, planned.series, planned.gaps) == (UUID(store.tenant_a), 2, 3)
    assert planned.missing == 10 + 1250 + 3900 == sum(chunk.missing for chunk in planned.chunks)
    # Cut on Saturdays, at midnight; each series from its first to its last missing bar.
    assert [[(one.symbol, one.start, one.end, one.missing) for one in chunk.spans] for chunk in planned.chunks] == [
        [("S", STAMPS[0], at("2024-03-08T21:00"), 1260), ("T", STAMPS[0], at("2024-03-08T21:00"), 1950)],
        [("T", at("2024-03-11T13:30"), at("2024-03-15T20:00"), 1950)],
    ]
    assert store.rows("SELECT FROM store.jobs UNION ALL SELECT FROM store.backfills") == []


def test_a_plan_groups_chunks_by_calendar_and_by_chunk_series(store: Store, folder: Path) -> None:
    calendars.assign(store.admin_dsn, "a", "XNYS")
    calendars.assign(store.admin_dsn, "a", "24/7", symbol="BTCUSD")
    symbols = ["A", "B", "C", "BTCUSD"]
    planned = backfill.plan(store.admin_dsn, spec(symbols=symbols, calendar=None, chunk_days=14, chunk_series=2))
    chunks = [(chunk.calendar, [one.symbol for one in chunk.spans], chunk.missing) for chunk in planned.chunks]
    assert sum(missing for *_, missing in chunks) == planned.missing == 3 * 3900 + 12 * 1440
    assert {calendar: [some for its, some, _ in chunks if its == calendar] for calendar in ("24/7", "XNYS")} == {
        "24/7": [["BTCUSD"]] * 2,
        "XNYS": [["A", "B"], ["C"]] * 2,
    }


# From an empty database to a filled gap -------------------------------------------------------------------------------


@pytest.mark.every_engine
def test_a_backfill_from_files_fills_a_gap_and_updates_the_rollups(store: Store, folder: Path) -> None:
    made = start(store)
    assert (made.state, made.missing, made.done, made.report) == ("queued", 7800, 0, None)
    assert made.jobs["queued"] == 2
    done = finish(store, made.id)
    assert (done.state, done.done, done.rows, done.rejected, done.errors) == ("succeeded", 7800, 7800, 0, [])
    assert done.report is not None
    assert (done.report.missing, done.report.gaps, done.report.first) == (0, 0, [])
    assert [(bar.ts, bar.close_price, bar.volume) for bar in bars(store)] == [
        (ts, number % 7 + 1, number) for number, ts in enumerate(STAMPS)
    ]
    with MDS(dsn=store.dsn, tenant_id=store.tenant_a, pool_max=1) as client:
        for rollup in KINDS["bars"].rollups:
            rolled = client.rollup("T", rollup.timeframe, at(WEEKS[0]), at(WEEKS[1]), "v")
            assert sum(bar.volume or 0 for bar in rolled) == sum(range(3900))
            assert rolled[-1].close_price == 3899 % 7 + 1
    left = gaps.check(
        store.admin_dsn,
        tenant="a",
        vendor="v",
        timeframe="1m",
        start=at(WEEKS[0]),
        end=at(WEEKS[1]),
        calendar="XNYS",
    )
    assert left.gaps == []


@pytest.mark.engines("timescale")
def test_stored_rollups_include_a_backfill_into_an_already_refreshed_range(store: Store, folder: Path) -> None:
    with MDS(dsn=store.dsn, tenant_id=store.tenant_a, pool_max=1) as client:
        client.upsert_bars([Bar(vendor="v", symbol="S", timeframe="1m", ts=at("2024-04-01T14:00"), volume=1)])
    store.execute("CALL refresh_continuous_aggregate('store.bars_5m', NULL, NULL)")
    finish(store, start(store).id)
    # What is stored, and not what is computed beside it when it is read.
    (stored,) = store.rows(
        "SELECT format('%%I.%%I', materialization_hypertable_schema, materialization_hypertable_name)"
        " FROM timescaledb_information.continuous_aggregates WHERE view_name = 'bars_1d'"
    )
    assert store.rows(f"SELECT sum(volume) FROM {stored[0]} WHERE ts < '2024-03-20'") == [(2 * sum(range(3900)),)]


def test_bars_missing_from_the_source_are_listed_in_the_report(store: Store, folder: Path) -> None:
    text = (folder / "S.csv").read_text().splitlines()
    (folder / "S.csv").write_text("\n".join([*text[:100], "soon,1,1", *text[110:]]))
    done = finish(store, start(store).id)
    assert (done.state, done.rows, done.rejected) == ("succeeded", 7790, 1)
    assert done.report is not None
    assert (done.report.missing, done.report.gaps) == (10, 1)
    (gap,) = done.report.first
    assert (gap["symbol"], datetime.fromisoformat(gap["start"]), gap["missing"]) == ("S", STAMPS[99], 10)
    first = jobs.list_jobs(store.admin_dsn, job_type="backfill").items[-1]
    assert (first.result["rows"], first.result["missing"]) == (3890, 10)
    assert first.result["rejects"][0]["where"] == "S.csv, line 101"


def test_an_invalid_record_of_a_file_is_counted_once_for_all_chunks(store: Store, folder: Path) -> None:
    (folder / "S.csv").write_text((folder / "S.csv").read_text() + "\nsoon,1,1\nlater,1,1")
    (folder / "T.csv").write_text((folder / "T.csv").read_text() + "\nnever,1,1")
    done = finish(store, start(store, chunk_days=1).id)
    assert (done.jobs["succeeded"], done.rejected) == (10, 3)
    results = [job.result for job in jobs.list_jobs(store.admin_dsn, job_type="backfill").items]
    assert [one["rejected"] for one in results] == [3] * 10
    assert results[0]["rejected_in"] == {"S.csv": 2, "T.csv": 1}


def test_invalid_rows_of_an_http_source_are_counted_in_every_chunk(store: Store, service: Service) -> None:
    service.answer = lambda _symbol, _query: {"data": {"bars": [{"t": "soon", "c": 1}]}}
    done = finish(store, start(store, symbols=["S"], source=service.spec(), chunk_days=1).id)
    assert (done.jobs["succeeded"], done.rejected) == (10, 10)


# Sources that have nothing ------------------------------------------------------------------------------------------


def test_a_source_with_only_other_times_fails_the_job_and_reports_its_content(store: Store, folder: Path) -> None:
    made = start(store, start="2025-03-03", end="2025-03-05")
    (job,) = jobs.list_jobs(store.admin_dsn).items
    with pytest.raises(JobFailed) as failed:
        run(store, job.id)
    assert str(failed.value) == (
        "nothing in the source is of what was asked for: S, T of v in 1m from 2025-03-03T00:00:00Z to"
        " 2025-03-05T00:00:00Z. It holds 7,800 bars: S of v in 1m from 2024-03-04T14:30:00Z to 2024-03-15T19:59:00Z,"
        " T of v in 1m from 2024-03-04T14:30:00Z to 2024-03-15T19:59:00Z"
    )
    done = finish(store, made.id) if store.engine != "timescale" else None
    assert done is None or (done.state, done.rows, done.errors) == ("failed", 0, [str(failed.value)])


def test_a_file_of_other_symbols_fails_the_job_and_names_some_of_them(store: Store, folder: Path) -> None:
    (folder / "all.csv").write_text(
        "symbol,ts,close_price\n" + "\n".join(f"X{number},{STAMPS[number].isoformat()},1" for number in range(9))
    )
    start(store, source={"type": "files", "path": "all.csv"})
    with pytest.raises(
        JobFailed, match=r"It holds 9 bars: X0 of v in 1m from 2024-03-04T14:30:00Z to .*, X4 .* and 4 more"
    ):
        run(store, jobs.list_jobs(store.admin_dsn).items[0].id)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_chunk_may_be_empty_if_its_file_has_bars_around_it(store: Store, folder: Path, suffix: str) -> None:
    """The week after its end, and a halt that nobody traded in."""
    kept = [ts for ts in STAMPS[:1950] if ts.date() != at("2024-03-06").date()]
    if suffix == "csv":
        (folder / "S.csv").write_text("ts,close_price\n" + "\n".join(f"{ts.isoformat()},1" for ts in kept))
    else:
        table = pa.table({"ts": pa.array(kept, pa.timestamp("us", "UTC")), "close_price": [1.0] * len(kept)})
        parquet.write_table(table, folder / "S.parquet")
    source = {"type": "files", "path": f"{{symbol}}.{suffix}"}
    start(store, symbols=["S"], source=source)
    later, first = jobs.list_jobs(store.admin_dsn).items
    assert [run(store, job.id)["rows"] for job in (first, later)] == [len(kept), 0]
    start(store, "halt", symbols=["S"], source=source, start="2024-03-06", end="2024-03-07")
    (halt,) = jobs.list_jobs(store.admin_dsn, state="queued", limit=1).items
    assert (run(store, halt.id)["rows"], run(store, halt.id)["missing"]) == (0, 390)


@pytest.mark.parametrize(
    ("answer", "fails"),
    [
        ([], False),
        (None, False),
        # A service that answers by the day, in which nothing more was traded.
        ([{"t": "2024-03-04T09:00:00Z", "c": 1}], False),
        ([{"t": "2024-03-01T14:30:00Z", "c": 1}], True),
        # Milliseconds for seconds.
        ([{"t": "1970-01-20T17:45:00Z", "c": 1}], True),
    ],
    ids=["empty", "null", "the day", "another day", "another unit"],
)
def test_an_http_response_may_be_empty_but_not_of_another_time(
    store: Store, service: Service, answer: Any, fails: bool
) -> None:
    service.answer = lambda _symbol, _query: {"data": {"bars": answer}}
    start(store, symbols=["S"], source=service.spec(), start="2024-03-04T20:59", end="2024-03-04T21:00")
    (job,) = jobs.list_jobs(store.admin_dsn).items
    if fails:
        with pytest.raises(
            JobFailed, match=r"nothing in the source .* It holds 1 bar: S of v in 1m from (2024-03-01|1970)"
        ):
            run(store, job.id)
    else:
        assert run(store, job.id)["rows"] == 0


def test_times_are_in_utc_in_every_session_time_zone(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGTZ", "America/New_York")
    done = finish(store, start(store).id)
    assert done.report is not None
    times = (done.start, done.end, done.created_at, done.started_at, done.finished_at, done.report.checked_at)
    assert {time.utcoffset() if time else None for time in times} == {timedelta(0)}
    assert done.start.isoformat() == "2024-03-04T00:00:00+00:00"
    calendars.assign(store.admin_dsn, "a", "XNYS")
    gaps.count_all(store.admin_dsn, now=at(WEEKS[1]))
    (count,) = gaps.last_counts(store.admin_dsn)
    assert {time.utcoffset() for time in (count.start, count.end, count.checked_at)} == {timedelta(0)}


def test_a_backfill_without_missing_bars_succeeds_without_jobs(store: Store, folder: Path) -> None:
    finish(store, start(store).id)
    done = backfill.get_backfill(store.admin_dsn, start(store, "again").id)
    assert (done.state, done.missing, sum(done.jobs.values())) == ("succeeded", 0, 0)
    assert done.report is not None
    assert done.report.missing == 0


def test_a_job_that_runs_again_changes_nothing(store: Store, folder: Path) -> None:
    start(store)
    ids = [job.id for job in jobs.list_jobs(store.admin_dsn).items]
    first = [run(store, id_) for id_ in ids]
    before = store.rows("SELECT series_id, ts, xmin::text FROM store.bars ORDER BY 1, 2")
    assert [run(store, id_) for id_ in ids] == first
    assert store.rows("SELECT series_id, ts, xmin::text FROM store.bars ORDER BY 1, 2") == before


@pytest.mark.parametrize(("on_conflict", "kept"), [("keep", 99.0), ("replace", 2.0)])
def test_a_stored_bar_within_the_missing_range_follows_on_conflict(
    store: Store, folder: Path, on_conflict: str, kept: float
) -> None:
    with MDS(dsn=store.dsn, tenant_id=store.tenant_a, pool_max=1) as client:
        client.upsert_bars([Bar(vendor="v", symbol="S", timeframe="1m", ts=STAMPS[1], close_price=99)])
    finish(store, start(store, on_conflict=on_conflict).id)
    assert [bar.close_price for bar in bars(store)[:3]] == [1.0, kept, 3.0]


def test_a_timeframe_without_rollups_can_be_backfilled(store: Store, folder: Path) -> None:
    (folder / "D.ndjson").write_text(
        "\n".join(json.dumps({"ts": f"2024-03-{day:02}", "close_price": day}) for day in range(1, 31))
    )
    source = {"type": "files", "path": "{symbol}.ndjson"}
    done = finish(store, start(store, timeframe="1d", symbols=["d"], source=source).id)
    assert done.report is not None
    assert (done.missing, done.rows, done.report.missing) == (10, 10, 0)


# Through faults -------------------------------------------------------------------------------------------------------


@pytest.mark.many_sessions
def test_a_failing_source_fails_the_backfill_and_resuming_completes_it(store: Store, service: Service) -> None:
    source = service.spec(attempts=1)
    made = start(store, symbols=["S"], source=source, attempts=1)
    service.faults = [(500, {})]
    work(store.admin_dsn)
    failed = backfill.get_backfill(store.admin_dsn, made.id)
    assert (failed.state, failed.jobs["failed"], failed.jobs["succeeded"], failed.done) == ("failed", 1, 1, 1950)
    assert "answered 500" in failed.errors[0]
    assert failed.report is not None
    assert failed.report.missing == 1950

    resumed = backfill.resume_backfill(store.admin_dsn, made.id)
    assert (resumed.jobs["queued"], resumed.jobs["succeeded"], resumed.report) == (1, 1, None)
    asked = len(service.asked)
    work(store.admin_dsn)
    done = backfill.get_backfill(store.admin_dsn, made.id)
    assert (done.state, done.rows) == ("succeeded", 3900)
    assert done.report is not None
    assert done.report.missing == 0
    assert len(service.asked) == asked + 1


@pytest.mark.many_sessions
def test_the_worker_retries_a_source_that_is_briefly_unavailable(store: Store, service: Service) -> None:
    made = start(store, symbols=["S"], source=service.spec(attempts=1), chunk_days=3660)
    service.faults = [(500, {})]
    assert work(store.admin_dsn) == {"queued": 1}
    store.execute("UPDATE store.jobs SET due_at = now()")
    work(store.admin_dsn)
    assert backfill.get_backfill(store.admin_dsn, made.id).state == "succeeded"


# Workers that cannot ------------------------------------------------------------------------------------------------


@pytest.mark.many_sessions
def test_a_worker_that_cannot_read_the_source_leaves_its_jobs_to_other_workers(
    store: Store, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    log = tmp_path_factory.mktemp("log") / "log"
    with (
        process(store.admin_dsn, "--concurrency", 4, log=log, DATASTORE_SOURCE_ROOT="") as cannot,
        process(store.admin_dsn, "--concurrency", 1),
    ):
        until(lambda: log.exists() and "jobs at once" in log.read_text())
        made = start(store, chunk_series=1)
        # The other one has its work meanwhile, though the backfill's jobs stand before it.
        note = put(store.admin_dsn, "test-note", Note(file=folder / "n"), tenant=store.tenant_a, key="n", priority=0)
        until(is_in(store.admin_dsn, note.id, "succeeded"))
        until(lambda: backfill.get_backfill(store.admin_dsn, made.id).finished)
        cannot.terminate()
        counts = json.loads(cannot.communicate(timeout=60)[0])
    done = backfill.get_backfill(store.admin_dsn, made.id)
    assert (done.state, done.jobs["succeeded"], done.rows) == ("succeeded", 4, 7800)
    assert store.rows("SELECT state, attempts, count(*) FROM store.jobs GROUP BY 1, 2") == [("succeeded", 1, 5)]
    assert counts["failed"] == counts["queued"] == 0
    left = (
        "backfill {} is left to other workers: source 'files': files cannot be read: DATASTORE_SOURCE_ROOT is not set"
    )
    assert log.read_text().count(left.format(made.id)) == 1


@pytest.mark.many_sessions
def test_a_backfill_waits_until_a_worker_can_read_its_source(
    store: Store, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATASTORE_SECRET_KEY", "of the vendor")
    monkeypatch.setenv("DATASTORE_SOURCE_URLS", f"{service.root} DATASTORE_SECRET_KEY")
    made = start(store, symbols=["S"], source=service.spec(secret_headers={"X-Key": "DATASTORE_SECRET_KEY"}))
    monkeypatch.delenv("DATASTORE_SECRET_KEY")
    assert work(store.admin_dsn) == {}
    assert {job.attempts for job in jobs.list_jobs(store.admin_dsn).items} == {0}
    monkeypatch.setenv("DATASTORE_SECRET_KEY", "of the vendor")
    assert work(store.admin_dsn) == {"succeeded": 2}
    assert backfill.get_backfill(store.admin_dsn, made.id).state == "succeeded"


@pytest.mark.many_sessions
def test_a_source_folder_that_is_mounted_later_is_found(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made = start(store, symbols=["S"], chunk_days=3660)
    monkeypatch.setattr(worker_module, "AGAIN", 0.0)
    away = folder.rename(folder.with_name("away"))
    with working(store.admin_dsn, lease=timedelta(seconds=8)):
        until(lambda: unserved(store.admin_dsn, made.source) == "1 worker running, none of which can read the source:"
              " start one that has DATASTORE_SOURCE_ROOT")  # fmt: skip
        until(lambda: f"backfill {made.id} is left to other workers: it needs DATASTORE_SOURCE_ROOT" in caplog.text)
        away.rename(folder)
        until(lambda: backfill.get_backfill(store.admin_dsn, made.id).finished)
        assert unserved(store.admin_dsn, made.source) is None
    assert backfill.get_backfill(store.admin_dsn, made.id).rows == 3900


@pytest.mark.many_sessions
def test_unserved_sources_are_explained_and_applications_cannot_pose_as_workers(
    store: Store, service: Service, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATASTORE_SECRET_KEY", "of the vendor")
    monkeypatch.setenv("DATASTORE_SOURCE_URLS", f"{service.root} DATASTORE_SECRET_KEY")
    secret = service.spec(secret_headers={"X-Key": "DATASTORE_SECRET_KEY"})
    files = spec().source
    nobody = "no worker runs: start one (datastore worker) that has DATASTORE_SOURCE_ROOT and the source files"
    assert unserved(store.admin_dsn, files) == nobody
    with psycopg.connect(store.dsn, autocommit=True) as application:
        for name in ("a worker", "the source files", "DATASTORE_SOURCE_ROOT"):
            application.execute("SELECT pg_advisory_lock_shared(%s, %s)", (OFFER_LOCKS, scope._key(name)))
        assert unserved(store.admin_dsn, files) == nobody
    with process(store.admin_dsn, DATASTORE_SECRET_KEY=""), process(store.admin_dsn, DATASTORE_SOURCE_URLS=""):
        until(lambda: unserved(store.admin_dsn, files) is None)
        until(lambda: (unserved(store.admin_dsn, secret) or "").startswith("2 workers running"))
        assert unserved(store.admin_dsn, service.spec()) is None
        # Each of the two lacks one thing: it says what one of them lacks.
        lacking = ("DATASTORE_SECRET_KEY", "DATASTORE_SOURCE_URLS")
        assert (unserved(store.admin_dsn, secret) or "").endswith(lacking)
        with process(store.admin_dsn):
            until(lambda: unserved(store.admin_dsn, secret) is None)
        until(lambda: unserved(store.admin_dsn, secret) is not None)


@pytest.mark.many_sessions
def test_a_running_backfill_reports_progress_and_can_be_cancelled_and_resumed(store: Store, service: Service) -> None:
    go_on = threading.Event()
    waits = {"count": 0}

    def hold() -> None:
        waits["count"] += 1
        if waits["count"] > 1:
            go_on.wait(60)

    service.before = hold
    made = start(store, symbols=["S"], source=service.spec())
    try:
        with working(store.admin_dsn, concurrency=1):
            until(lambda: waits["count"] == 2)
            half = backfill.get_backfill(store.admin_dsn, made.id)
            assert (half.state, half.done, half.missing, half.rows) == ("running", 1950, 3900, 1950)
            assert half.eta is not None
            assert half.started_at is not None
            assert half.eta > half.started_at
            assert half.finished_at is None
            backfill.cancel_backfill(store.admin_dsn, made.id)
            go_on.set()
            until(lambda: backfill.get_backfill(store.admin_dsn, made.id).finished)
    finally:
        go_on.set()
    cancelled = backfill.get_backfill(store.admin_dsn, made.id)
    assert (cancelled.state, cancelled.jobs["cancelled"], cancelled.jobs["succeeded"]) == ("cancelled", 1, 1)
    assert cancelled.report is not None
    assert cancelled.report.missing == 3900 - len(bars(store))
    backfill.resume_backfill(store.admin_dsn, made.id)
    work(store.admin_dsn)
    done = backfill.get_backfill(store.admin_dsn, made.id)
    assert (done.state, done.done, len(bars(store))) == ("succeeded", 3900, 3900)


@pytest.mark.many_sessions
def test_no_secret_of_a_source_appears_in_worker_logs_or_job_records(
    store: Store, service: Service, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DATASTORE_SECRET_KEY", "hunter2")
    monkeypatch.setenv("DATASTORE_SECRET_AUTH", "Bearer hunter2")
    monkeypatch.setenv("DATASTORE_SOURCE_URLS", f"{service.root} DATASTORE_SECRET_KEY DATASTORE_SECRET_AUTH")
    secrets = {"secret_params": {"key": "DATASTORE_SECRET_KEY"}, "secret_headers": {"Auth": "DATASTORE_SECRET_AUTH"}}
    made = start(store, symbols=["S"], source=service.spec(attempts=2, **secrets), attempts=1, chunk_days=3)
    # One passes, one does not, one leads elsewhere; what comes then is served.
    service.faults = [(500, {}), (404, {}), (302, {"Location": "/elsewhere?key=hunter2"})]
    log = tmp_path / "log"
    with process(store.admin_dsn, "--until-idle", "--concurrency", 1, "--verbose", log=log) as worker:
        printed, _ = worker.communicate(timeout=60)
    done = backfill.get_backfill(store.admin_dsn, made.id)
    assert service.asked[0][1]["key"] == "hunter2"
    assert (done.jobs["failed"], done.jobs["succeeded"] > 0) == (2, True)
    assert [error.partition(" (at")[0].split(": ", 2)[-1] for error in done.errors] == [
        f"a redirect to {service.url}/elsewhere is not followed",
        "answered 404",
    ]
    said = log.read_text()
    assert "failed for good" in said
    assert "hunter2" not in said + printed + repr(store.rows("SELECT j::text FROM store.jobs AS j"))


def test_a_backfill_cancelled_before_it_starts_writes_nothing(store: Store, folder: Path) -> None:
    made = start(store)
    cancelled = backfill.cancel_backfill(store.admin_dsn, made.id)
    assert (cancelled.state, cancelled.jobs["cancelled"]) == ("cancelled", 2)
    assert backfill.cancel_backfill(store.admin_dsn, made.id).state == "cancelled"
    done = finish(store, made.id)
    assert done.report is not None
    assert (done.state, done.rows, done.report.missing) == ("cancelled", 0, 7800)


def test_a_source_that_is_no_longer_allowed_fails_the_job_for_good(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(store)
    monkeypatch.delenv("DATASTORE_SOURCE_ROOT")
    with pytest.raises(JobFailed, match="DATASTORE_SOURCE_ROOT is not set"):
        run(store, jobs.list_jobs(store.admin_dsn).items[0].id)


# Starting, and whose it is --------------------------------------------------------------------------------------------


def test_repeating_a_key_returns_the_same_backfill_and_a_different_request_conflicts(
    store: Store, folder: Path
) -> None:
    made = start(store)
    assert start(store).id == made.id
    assert start(store, tenant=store.tenant_a).id == made.id
    assert len(jobs.list_jobs(store.admin_dsn).items) == 2
    with pytest.raises(BackfillConflict, match="'k' already exists"):
        start(store, chunk_days=30)
    assert start(store, "other").id != made.id
    assert start(store, tenant="b").id != made.id
    with pytest.raises(BackfillError, match="key is empty"):
        start(store, " ")


def test_requests_with_the_same_key_are_compared_in_their_stored_form(store: Store, folder: Path) -> None:
    made = start(store, source={"type": "files", "path": "{symbol}.csv", "time_unit": "iso"})
    store.execute("""UPDATE store.backfills SET source = source || '{"n": 1e23, "one": 1}'""")
    same = {"type": "files", "path": "{symbol}.csv", "time_unit": "iso", "n": 1e23}
    assert start(store, source={**same, "one": 1}).id == made.id
    assert start(store, source={**same, "one": 1.0}).id == made.id
    with pytest.raises(BackfillConflict):
        start(store, source={**same, "one": True})


def test_a_backfill_is_found_by_its_key(store: Store, folder: Path) -> None:
    made = start(store)
    for tenant in ("a", store.tenant_a, UUID(store.tenant_a)):
        assert backfill.find_backfill(store.admin_dsn, tenant, "k") == made
    assert backfill.find_backfill(store.admin_dsn, "a", "other") is None
    assert backfill.find_backfill(store.admin_dsn, "b", "k") is None


@pytest.mark.many_sessions
def test_two_concurrent_starts_of_one_backfill_create_one(store: Store, folder: Path) -> None:
    made: list[BackfillRecord] = []
    both = threading.Barrier(2)

    def begin() -> None:
        both.wait()
        made.append(start(store))

    threads = [threading.Thread(target=begin) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({one.id for one in made}) == 1
    assert len(made) == 2
    assert len(jobs.list_jobs(store.admin_dsn).items) == 2


def test_backfills_are_listed_newest_first_by_page_and_by_tenant(store: Store, folder: Path) -> None:
    first, second, third = start(store, "1"), start(store, "2", tenant="b"), start(store, "3")

    def listed(**options: Any) -> list[int]:
        return [one.id for one in backfill.list_backfills(store.admin_dsn, **options).items]

    assert listed() == [third.id, second.id, first.id]
    assert listed(tenant=UUID(store.tenant_a)) == [third.id, first.id]
    assert listed(limit=1) + listed(after=third.id) == [third.id, second.id, first.id]
    newest = backfill.list_backfills(store.admin_dsn, limit=1)
    assert (newest.items, newest.more) == ([backfill.get_backfill(store.admin_dsn, third.id)], True)
    assert not backfill.list_backfills(store.admin_dsn, limit=3).more


def test_a_page_of_backfills_reads_only_the_jobs_of_its_backfills(store: Store) -> None:
    store.execute(
        "INSERT INTO store.backfills (tenant_no, idempotency_key, kind, vendor, timeframe, range_start, range_end,"
        " source, params, series, missing) SELECT 1 + n %% 2, n::text, 'bars', 'v', '1m', now(), now() + '1 day', '{}',"
        " '{}', 1, 1 FROM generate_series(1, 40) AS n"
    )
    store.execute(
        "INSERT INTO store.jobs (tenant_no, idempotency_key, job_type, payload, priority, state, backfill_id)"
        " SELECT b.tenant_no, b.id || ' ' || n, 'backfill', '{}', 50, 'queued', b.id"
        " FROM store.backfills AS b, generate_series(1, 10) AS n; ANALYZE store.jobs, store.backfills"
    )
    with psycopg.connect(store.admin_dsn) as connection:
        # Small tables are read as a whole, whoever asks.
        connection.execute("SELECT set_config('enable_seqscan', 'off', true)")
        found = records.page(connection, UUID(store.tenant_a), None, 2)
        (read,) = connection.execute(
            "SELECT coalesce(seq_tup_read, 0) + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'jobs'"
        ).fetchall()
    assert [(one.jobs["queued"], one.tenant) for one in found.items] == [(10, UUID(store.tenant_a))] * 2
    assert found.more
    # Those of one more, by which it is known that there are more.
    assert read[0] <= 30


def test_another_tenants_backfill_is_unknown(store: Store, folder: Path) -> None:
    made, other = start(store), UUID(store.tenant_b)
    for ask in (backfill.get_backfill, backfill.cancel_backfill, backfill.resume_backfill):
        with pytest.raises(UnknownBackfill, match=f"no backfill {made.id}"):
            ask(store.admin_dsn, made.id, tenant=other)
        with pytest.raises(UnknownBackfill, match="no backfill 999"):
            ask(store.admin_dsn, 999)
    assert backfill.get_backfill(store.admin_dsn, made.id, tenant=UUID(store.tenant_a)).state == "queued"


def test_a_tenant_cannot_run_the_backfill_of_another_tenant(store: Store, folder: Path) -> None:
    start(store)
    payload = jobs.list_jobs(store.admin_dsn).items[0].payload
    with MDS(dsn=store.dsn, tenant_id=store.tenant_b, pool_max=1) as client:
        job = client.enqueue_job("mine", "backfill", payload)
    with pytest.raises(JobFailed, match="the tenant has no backfill"):
        run(store, job.id)
    assert store.rows("SELECT count(*) FROM store.bars") == [(0,)]


def test_a_tenant_cannot_make_its_backfill_request_more_than_was_planned(store: Store, folder: Path) -> None:
    """The source is asked with the operator's secrets, for what the operator has seen."""
    made = start(store, symbols=["S"])
    payload = jobs.list_jobs(store.admin_dsn).items[0].payload
    payload["spans"][0]["symbol"] = "T"
    with MDS(dsn=store.dsn, tenant_id=store.tenant_a, pool_max=1) as client:
        job = client.enqueue_job("mine", "backfill", payload)
    with pytest.raises(JobFailed, match=f"no backfill {made.id} with this job"):
        run(store, job.id)
    assert store.rows("SELECT count(*) FROM store.bars") == [(0,)]


def test_a_tenant_cannot_take_the_keys_of_a_backfills_jobs(store: Store, folder: Path) -> None:
    first = start(store)
    taken = [job.idempotency_key for job in jobs.list_jobs(store.admin_dsn).items]
    with MDS(dsn=store.dsn, tenant_id=store.tenant_a, pool_max=1) as client:
        for key in taken:
            client.enqueue_job(key.replace(f":{first.id}:", f":{first.id + 1}:"), "backfill", {})
        for number in range(2):
            client.enqueue_job(f"backfill:{first.id + 1}:{number}", "backfill", {})
    assert start(store, "other").jobs["queued"] == 2


def test_applications_cannot_access_the_backfill_tables(store: Store) -> None:
    for table in ("backfills", "calendars", "gap_counts"):
        with psycopg.connect(store.dsn) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(f"SELECT FROM store.{table}".encode())


@pytest.mark.parametrize(
    ("more", "error", "message"),
    [
        ({"tenant": "nobody"}, UnknownTenant, "no tenant 'nobody'"),
        ({"symbols": None}, GapError, "no 1m bars of v"),
        ({"calendar": "XNIS"}, CalendarError, "no calendar 'XNIS'"),
        ({"calendar": None}, CalendarError, "no calendar is set"),
        ({"start": "1800-01-01"}, CalendarError, "is known from 1900"),
        ({"source": {"type": "ftp"}}, SourceError, "'ftp' is unknown"),
        (
            {"source": {"type": "files", "path": "../*.csv"}},
            SourceError,
            "must be a relative pattern within the folder",
        ),
        ({"source": {"type": "http", "url": "http://127.0.0.1/"}}, SourceError, "DATASTORE_SOURCE_URLS is not set"),
    ],
)
def test_an_impossible_backfill_is_rejected_before_anything_is_stored(
    store: Store, folder: Path, more: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        start(store, **more)
    assert store.rows("SELECT FROM store.jobs UNION ALL SELECT FROM store.backfills") == []


def test_a_plan_with_too_many_jobs_is_rejected_with_advice(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "MOST_JOBS", 5)
    with pytest.raises(BackfillError, match="that would be 10 jobs, but at most 5 are allowed: use larger chunks"):
        start(store, chunk_days=1)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"end": WEEKS[0]}, "is not after start"),
        ({"timeframe": "1x"}, "timeframe"),
        ({"chunk_days": 0}, "chunk_days"),
        ({"symbols": []}, "symbols"),
        ({"colour": "red"}, "colour"),
        ({"source": "files"}, "source"),
        ({"source": {"type": "files", "n": float("nan")}}, "a value that JSON cannot represent"),
        ({"source": {"type": "files", "path": "\udcff"}}, "a value that JSON cannot represent"),
        ({"source": {"type": "files", "path": "a\0"}}, "NUL"),
    ],
)
def test_an_invalid_spec_is_rejected_with_the_field(more: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        spec(**more)
    assert spec(end=at(WEEKS[1]) + timedelta(days=1)).end > spec().end
    assert spec(source={"type": "files", "path": r"\u0000"}).source["path"] == r"\u0000"
