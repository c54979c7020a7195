"""Old rows in files: deletions, the daily job, metrics, gaps, and what becomes of the files of tenants."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest

from datastore import cold, gaps, tenants
from datastore.cold import compacting, keeping
from datastore.gaps import finding
from datastore.jobs import outbox
from datastore.metrics import ServiceMetrics
from datastore.tenants import files as tenant_files
from mds_client import MDS, Bar, ConfigurationError, RetryableError
from mds_client.writing import deletes
from tests.conftest import Store
from tests.control.job_types import put, work
from tests.control.test_cold import FENCE, NOW, Pair, bar, bars, pair, tables_and_columnstore, url
from tests.control.test_metrics import scraped

__all__ = ["pair", "url"]  # fixtures


@pytest.mark.every_engine
def test_the_daily_job_moves_and_folds_and_metrics_report_it(
    pair: Pair, store: Store, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATASTORE_COLD_URL", url)
    pair.upsert(bars("A", hours=100))
    with closing(ServiceMetrics(store.admin_dsn)) as metrics:
        found = scraped(metrics)
        assert found["datastore_collect_success"]["cold",] == 1
        assert found["datastore_cold_tenants"] == {("bars",): 0, ("options",): 0}
        assert "datastore_cold_orphans" not in found
    cold.set_age(store.admin_dsn, UUID(store.tenant_a), "bars", timedelta(days=90))
    job = put(store.admin_dsn, "maintain-cold", {}, tenant=None, key="k")
    assert work(store.admin_dsn) == {"succeeded": 1}
    done = outbox.get_job(store.admin_dsn, job.id).result
    assert done == {"moved": 1, "folded": 0, "compacted": 0, "published": 0, "removed": 0, "orphans": 0}
    # A month that could have moved four weeks ago, and a replaced file.
    store.execute("UPDATE store.cold_fences SET cold_before = now() - interval '118 days' - interval '1 month'")
    pair.upsert([bar(datetime(2024, 1, 3, tzinfo=UTC), 80)])
    pair.fold()
    with closing(ServiceMetrics(store.admin_dsn)) as metrics:
        found = scraped(metrics)
    assert found["datastore_cold_tenants"] == {("bars",): 1, ("options",): 0}
    assert {key: count for key, count in found["datastore_cold_files"].items() if count} == {
        ("bars", "current"): 1,
        ("bars", "replaced"): 1,
    }
    ((rows, size),) = store.rows("SELECT rows, bytes FROM store.cold_periods WHERE replaced_at IS NULL")
    assert (found["datastore_cold_rows"]["bars",], found["datastore_cold_size_bytes"]["bars",]) == (rows, size)
    assert found["datastore_cold_overdue_seconds"]["bars",] == pytest.approx(28 * 86400, abs=7200)
    assert found["datastore_cold_last_success_timestamp_seconds"][()] == pytest.approx(time.time(), abs=600)
    assert found["datastore_cold_orphans"] == {(): 0}


def prices(client: MDS) -> list[tuple[object, ...]]:
    found = client.latest_prices(["A", "B", "C"], "v", missing="ignore")
    return [(row.symbol, row.price, row.price_timestamp) for row in found]


def test_deleting_rows_in_files_counts_them_and_hides_them_from_every_read(pair: Pair, store: Store) -> None:
    pair.upsert(bars())
    pair.move()
    span = datetime(2024, 2, 10, tzinfo=UTC), datetime(2024, 3, 20, tzinfo=UTC)
    would = pair.delete("A", *span, dry_run=True)
    pair.same_everywhere()
    assert pair.delete("A", *span, step_rows=50) == would
    assert would[0] > 100
    # One for each month.
    assert store.rows("SELECT count(*) FROM store.late_bars WHERE mode = 'delete'") == [(2,)]
    pair.same_everywhere()
    assert pair.delete("A", *span) == [0]
    # What is written after it is there, in each mode; and a later deletion takes it, too.
    for mode in ("keep", "fill", "replace"):
        pair.upsert([bar(span[0] + timedelta(hours=5), 80)], on_conflict=mode)
        pair.upsert([bar(span[0], None, volume=3)], on_conflict=mode)
        pair.same_everywhere()
    pair.delete("A", span[0], span[0] + timedelta(hours=1))
    pair.same_everywhere()
    assert pair.fold()
    assert store.rows("SELECT count(*) FROM store.late_bars") == [(0,)]
    pair.same_everywhere()
    pair.same(prices)


@tables_and_columnstore
def test_deletions_across_the_fence_keep_latest_prices_correct(pair: Pair) -> None:
    pair.upsert([*bars(), *(row.model_copy(update={"symbol": "C"}) for row in bars("A"))])
    pair.move()
    pair.delete("A", datetime(2024, 4, 10, tzinfo=UTC))
    pair.same_everywhere()
    pair.same(prices)
    # All rows of the table go; the newest price is in a file now.
    pair.delete("B", FENCE)
    pair.same_everywhere()
    pair.same(prices)
    # Everything goes, and the months have no file then.
    pair.delete()
    assert pair.same(prices) == []
    pair.same_everywhere()
    assert {one.path for one in pair.fold()} == {None}
    pair.same_everywhere()
    pair.upsert(bars("A", hours=20))
    pair.same_everywhere()
    pair.same(prices)


def test_a_deletion_is_retryable_during_a_restore_and_rejected_for_another_tenant(pair: Pair, store: Store) -> None:
    pair.upsert(bars(hours=100))
    pair.move()
    store.execute("UPDATE store.cold_fences SET restoring = true")
    with MDS(dsn=store.dsn, tenant_id=store.tenant_a, cold_url=pair.url, max_attempts=1) as client:
        with pytest.raises(RetryableError):
            client.delete("bars", vendor="v", symbol="A")
        store.execute("UPDATE store.cold_fences SET restoring = false")
        pair.same_everywhere()
    with (
        MDS(dsn=store.dsn, tenant_id=store.tenant_a) as other,
        pytest.raises(ConfigurationError, match="set MDS_COLD_URL"),
    ):
        other.delete("bars", vendor="v", symbol="A")
    ((series,),) = store.rows("SELECT series_id FROM store.series WHERE symbol = 'A' ORDER BY 1 LIMIT 1")
    with psycopg.connect(store.dsn) as connection:
        connection.execute("SELECT mds.use_tenant(%s)", (store.tenant_b,))
        with pytest.raises(psycopg.Error) as refused:
            connection.execute(
                "SELECT mds.delete_late_bars(%s, %s, '2024-01-01Z', '2025-01-01Z', %s, NULL, NULL, NULL)",
                (store.tenant_b, series, FENCE),
            )
        assert refused.value.sqlstate == "44000"
    with psycopg.connect(store.dsn) as connection:
        connection.execute("SELECT mds.use_tenant(%s)", (store.tenant_a,))
        with pytest.raises(psycopg.Error) as refused:
            connection.execute(
                "INSERT INTO mds.bars_late (series_id, ts, mode) VALUES (%s, '2024-01-01Z', 'delete')", (series,)
            )
        assert refused.value.sqlstate == "23514"
    pair.same_everywhere()


def test_a_deletion_after_the_fence_has_moved_is_complete(pair: Pair) -> None:
    pair.upsert(bars())
    pair.move(datetime(2024, 4, 15, tzinfo=UTC))
    assert pair.a.delete("bars", vendor="v", symbol="A", dry_run=True).rows > 0
    pair.move()
    pair.delete("A", datetime(2024, 3, 20, tzinfo=UTC), datetime(2024, 4, 20, tzinfo=UTC))
    pair.same_everywhere()
    pair.restore()
    pair.same_everywhere()


@pytest.mark.parametrize("how", ["back", "on"])
def test_a_deletion_restarts_if_the_fence_moves_after_its_count(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    pair.upsert(bars())
    pair.move(NOW if how == "back" else datetime(2024, 4, 15, tzinfo=UTC))
    work = deletes._Plan.work
    moves = [(lambda: pair.restore(datetime(2024, 3, 1, tzinfo=UTC))) if how == "back" else pair.move]

    def moved(*arguments: Any) -> Any:
        while moves:
            moves.pop()()
        return work(*arguments)

    monkeypatch.setattr(deletes._Plan, "work", moved)
    # With the last rows of the series, so that its last values are in a file.
    pair.delete("A", datetime(2024, 2, 10, tzinfo=UTC))
    assert moves == []
    pair.same_everywhere()
    pair.same(prices)


def test_a_deletion_restarts_if_it_cannot_read_a_file(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    pair.upsert(bars())
    pair.move()
    read = deletes._Plan._before_the_fence
    files = [Path(path) for path in pair.a.cold_files()]

    def once_away(*arguments: Any) -> Iterator[Any]:
        gone = files.pop() if files else None
        files.clear()
        aside = None if gone is None else gone.rename(gone.with_suffix(".aside"))
        try:
            yield from read(*arguments)
        finally:
            if aside is not None and gone is not None:
                aside.rename(gone)

    monkeypatch.setattr(deletes._Plan, "_before_the_fence", once_away)
    assert pair.delete("A", datetime(2024, 2, 10, tzinfo=UTC))[0] > 100
    pair.same_everywhere()


def test_concurrent_deletions_that_empty_the_table_keep_rows_in_files(pair: Pair, store: Store) -> None:
    pair.upsert(bars("A"))
    pair.move()
    middle = FENCE + timedelta(days=4)
    ((series,),) = store.rows(
        "SELECT series_id FROM store.series JOIN store.tenants ON no = series_id >> 40 WHERE id = %s", store.tenant_a
    )
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    with ThreadPoolExecutor(1) as pool, psycopg.connect(store.dsn) as first:
        first.execute("SELECT mds.use_tenant(%s)", (store.tenant_a,))
        deleted = first.execute(
            "SELECT deleted FROM mds.delete_bars(%s, %s, %s, %s, 50000)", (store.tenant_a, series, FENCE, middle)
        ).fetchone()
        assert deleted is not None
        assert deleted[0] > 0
        second = pool.submit(pair.a.delete, "bars", vendor="v", symbol="A", start=middle)
        while store.rows(waiting) != [(1,)]:
            assert not second.done()
        first.commit()
        assert second.result().rows > 0
    pair.b.delete("bars", vendor="v", symbol="A", start=FENCE)
    pair.same_everywhere()
    pair.same(prices)


def test_deletions_over_several_series_and_years_of_files_match_a_plain_table(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deletes, "SERIES_AT_ONCE", 2)
    rows = [
        bar(datetime(year, month, 3, tzinfo=UTC), year + month / 100 if month < 5 else None, symbol, volume=month)
        for symbol in "ABC"
        for year in (2021, 2022, 2023, 2024)
        for month in (1, 4, 5)
    ]
    pair.upsert(rows)
    pair.move()
    pair.compact()
    for start, end in ((2021, 2022), (2022, 2024), (2020, 2030)):
        span = datetime(start, 4, 1, tzinfo=UTC), datetime(end, 2, 1, tzinfo=UTC)
        assert pair.delete(None, *span)[0] > 0
        pair.same(prices)
        pair.same_everywhere()
        pair.upsert([bar(datetime(end - 6, 1, 5, tzinfo=UTC), 9.5, "B")])
        pair.same(prices)


def test_a_fold_waits_for_uncommitted_late_rows(pair: Pair, store: Store) -> None:
    pair.upsert(bars(hours=100))
    pair.move()
    moment = datetime(2024, 1, 1, tzinfo=UTC)
    ((series,),) = store.rows(
        "SELECT series_id FROM store.series JOIN store.tenants ON no = series_id >> 40 WHERE id = %s AND symbol = 'A'",
        store.tenant_a,
    )
    calls: list[None] = []
    waited = threading.Event()

    def check() -> None:
        # It is called again and again while transactions are waited for, and once before each month.
        calls.append(None)
        if len(calls) == 3:
            waited.set()

    with ThreadPoolExecutor(1) as pool, psycopg.connect(store.dsn) as first:
        first.execute("SELECT mds.use_tenant(%s)", (store.tenant_a,))
        first.execute(
            "INSERT INTO mds.bars_late (series_id, ts, close_price, mode) VALUES (%s, %s, 7, 'replace')",
            (series, moment),
        )
        pair.upsert([bar(moment, 8.0)])
        folded = pool.submit(pair.fold, check=check)
        folded.add_done_callback(lambda _: waited.set())
        assert waited.wait(60)
        first.commit()
        assert [one.late for one in folded.result()] == [2]
    pair.same_everywhere()


def test_bars_moved_during_a_gap_check_are_not_reported_as_gaps(
    pair: Pair, store: Store, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATASTORE_COLD_URL", url)
    begin = datetime(2024, 4, 1, tzinfo=UTC)
    pair.upsert(
        [
            Bar(vendor="v", symbol="A", timeframe="1h", ts=begin + timedelta(hours=n), close_price=1)
            for n in range(40 * 24)
            if n % 17
        ]
    )
    planned = finding._planned

    def moved(*arguments: Any) -> Any:
        pair.move()
        return planned(*arguments)

    monkeypatch.setattr(finding, "_planned", moved)
    found = [
        gaps.check(
            store.admin_dsn, tenant=tenant, vendor="v", timeframe="1h", start=begin, end=FENCE, calendar="24/7"
        ).missing
        for tenant in ("a", "b")
    ]
    assert found[0] == found[1] > 2


@pytest.mark.parametrize("timeframe", ["1h", "1d"])
def test_bars_in_files_are_not_reported_as_gaps(
    pair: Pair, store: Store, url: str, monkeypatch: pytest.MonkeyPatch, timeframe: str
) -> None:
    monkeypatch.setenv("DATASTORE_COLD_URL", url)
    begin, step = datetime(2024, 4, 1, tzinfo=UTC), timedelta(hours=1) if timeframe == "1h" else timedelta(days=1)
    rows = [
        Bar(vendor="v", symbol=symbol, timeframe=timeframe, ts=begin + step * n, close_price=1)
        for symbol in "AB"
        for n in range(40 * (24 if timeframe == "1h" else 1))
        if n % 17
    ]
    pair.upsert(rows)
    pair.upsert([rows[3].model_copy(update={"ts": rows[3].ts + timedelta(minutes=5)})])
    assert pair.move()

    def found(tenant: str) -> dict[str, Any]:
        looked = gaps.check(
            store.admin_dsn, tenant=tenant, vendor="v", timeframe=timeframe, start=begin - step, end=FENCE + 20 * step,
            calendar="24/7",
        )  # fmt: skip
        said = asdict(looked)
        for one in (*said["gaps"], *said["repeats"]):
            one.pop("tenant", None)
        return said

    assert found("a") == found("b")
    assert found("a")["missing"] > 2
    pair.delete("A", begin, begin + 3 * step)
    pair.upsert([rows[0].model_copy(update={"ts": begin})])
    assert found("a") == found("b")


def test_an_export_of_a_tenant_includes_rows_in_files(
    pair: Pair, store: Store, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATASTORE_EXPORTS", str(tmp_path / "exports"))
    pair.upsert([*bars(), *(row.model_copy(update={"symbol": "C"}) for row in bars("A"))])
    pair.move()
    pair.upsert([bar(datetime(2024, 1, 3, tzinfo=UTC), 80)])
    pair.delete("B", datetime(2024, 2, 1, tzinfo=UTC), datetime(2024, 2, 20, tzinfo=UTC))
    monkeypatch.setattr(tenant_files, "ROWS_AT_ONCE", 1000)

    def exported(tenant: str, key: str) -> list[str]:
        job = tenants.export_tenant(store.admin_dsn, UUID(tenant), idempotency_key=key, kinds=["bars"])
        work(store.admin_dsn)
        done = outbox.get_job(store.admin_dsn, job.id)
        if done.state != "succeeded":
            return [str(done.error)]
        (file,) = done.result["files"]
        lines = (tmp_path / "exports" / file["path"]).read_text().splitlines()
        assert len(lines) == file["rows"]
        return sorted(lines)

    (said,) = exported(store.tenant_a, "one")
    assert "set DATASTORE_COLD_URL" in said
    monkeypatch.setenv("DATASTORE_COLD_URL", url)
    assert exported(store.tenant_a, "two") == exported(store.tenant_b, "two")
    tenants.disable_tenant(store.admin_dsn, UUID(store.tenant_a))
    assert exported(store.tenant_a, "three") == exported(store.tenant_b, "three")


@pytest.mark.every_engine
def test_a_tenant_is_deleted_with_its_files(
    pair: Pair, store: Store, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair.upsert(bars("A", hours=200))
    moved = pair.move()
    assert tenants.plan_deletion(store.admin_dsn, UUID(store.tenant_a)).files == len(moved)
    job = tenants.delete_tenant(store.admin_dsn, UUID(store.tenant_a), name="a")
    work(store.admin_dsn)
    assert "set DATASTORE_COLD_URL" in str(outbox.get_job(store.admin_dsn, job.id).error)
    assert list(Path(url).rglob("*.parquet"))
    monkeypatch.setenv("DATASTORE_COLD_URL", url)
    tenants.delete_tenant(store.admin_dsn, UUID(store.tenant_a), name="a")
    work(store.admin_dsn)
    assert outbox.get_job(store.admin_dsn, job.id).result["files"] == len(moved)
    assert not list(Path(url).rglob("*.parquet"))
    assert store.rows("SELECT count(*) FROM store.late_bars") == [(0,)]


def test_small_files_of_a_year_are_compacted_into_one_that_can_be_restored(pair: Pair, store: Store) -> None:
    pair.upsert(bars())
    later = datetime(2025, 2, 15, tzinfo=UTC)
    assert pair.compact() == []
    pair.move()
    # The year is not over before the fence.
    assert pair.compact() == []
    pair.move(later)
    # Late rows and deletions stay what they are.
    pair.upsert([bar(datetime(2024, 2, 3, tzinfo=UTC), 80)])
    pair.delete("B", datetime(2024, 2, 10, tzinfo=UTC), datetime(2024, 3, 5, tzinfo=UTC))
    (made,) = pair.compact()
    assert (made.files, made.start) == (5, datetime(2024, 1, 1, tzinfo=UTC))
    pair.same_everywhere()
    assert pair.compact() == []
    assert [one.rows for one in keeping.verify(store.admin_dsn, pair.url)] == [made.rows]
    # Of two months, in one file; and one month that had none.
    pair.upsert([bar(datetime(2024, month, 3, tzinfo=UTC), 81) for month in (2, 3, 11)])
    pair.delete("A", datetime(2024, 1, 20, tzinfo=UTC), datetime(2024, 4, 20, tzinfo=UTC))
    pair.upsert([bar(datetime(2024, 4, 1, tzinfo=UTC), 82)])
    pair.same_everywhere()
    (folded,) = pair.fold()
    assert folded.start == made.start
    pair.same_everywhere()
    pair.upsert([bar(datetime(2024, 4, 2, tzinfo=UTC), 83)])
    assert [one.start for one in pair.restore(datetime(2024, 3, 1, tzinfo=UTC))] == [made.start]
    assert store.rows("SELECT cold_before FROM store.cold_fences") == [(None,)]
    pair.same_everywhere()


def test_large_years_stay_in_monthly_files(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    pair.upsert(bars("A", hours=300))
    pair.move(datetime(2025, 2, 15, tzinfo=UTC))
    monkeypatch.setattr(compacting, "LARGEST", 500)
    assert pair.compact() == []
