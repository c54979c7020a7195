"""What the service and the workers tell Prometheus, and what that costs the database."""

import os
import re
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
import yaml
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from psycopg.sql import SQL, Identifier

from datastore import jobs, metrics, tenants, timescale_policies
from datastore.connections import head
from datastore.jobs.records import JobCount
from datastore.metrics import DECLARED, OTHER, ServiceMetrics, StoreCollector, WorkerMetrics, reads
from mds_client import KINDS, MDS, Bar, Fundamentals
from tests import warm
from tests.conftest import Store
from tests.engines.promtool import promtool

START = datetime(2024, 1, 1, tzinfo=UTC)
REFERENCE = Path(__file__).parents[2] / "docs/reference/metrics.md"
DOCKER = Path(__file__).parents[2] / "docker"


@pytest.fixture
def exposed(store: Store) -> Iterator[ServiceMetrics]:
    made = ServiceMetrics(store.admin_dsn)
    yield made
    made.close()


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every scrape reads anew."""
    monkeypatch.setattr(StoreCollector, "MIN_AGE", 0.0)
    monkeypatch.setattr(StoreCollector, "SHARE", 0.0)


def scraped(exposed: ServiceMetrics | WorkerMetrics) -> dict[str, dict[tuple[str, ...], float]]:
    """Every sample of a scrape, by name and by the values of its labels, in the order of their declaration."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(exposed.exposition()[0].decode()):
        declared = DECLARED.get(declared_name(family))
        for sample in family.samples:
            order = [*declared.labels, "le"] if declared else sorted(sample.labels)
            values = tuple(sample.labels[label] for label in order if label in sample.labels)
            found.setdefault(sample.name, {})[values] = sample.value
    return found


def declared_name(family: Metric) -> str:
    return f"{family.name}_total" if family.type == "counter" else family.name


def fill(store: Store) -> None:
    with MDS(dsn=store.dsn, tenant_id=store.tenant_a) as client:
        client.upsert_bars([
            Bar(vendor="v", symbol=name, timeframe="1m", ts=START + timedelta(days=day, minutes=minute), close_price=1)
            for name in ("X", "Y") for day in (0, 30) for minute in range(200)
        ])  # fmt: skip
        client.upsert_fundamentals([Fundamentals(vendor="w", symbol="X", asof=START, eps=1)])
        client.enqueue_job("one", "of.an.application")


@pytest.mark.every_engine
def test_a_scrape_reports_the_state_of_the_store(store: Store, exposed: ServiceMetrics) -> None:
    fill(store)
    found = scraped(exposed)
    assert found["datastore_database_up"] == {(): 1}
    assert set(found["datastore_collect_success"].values()) == {1}
    assert found["datastore_schema_at_head"] == {(): 1}
    assert found["datastore_schema_info"] == {(head(), head()): 1}
    ((_, engine, _),) = found["datastore_database_info"]
    assert engine == store.engine
    assert found["datastore_tenants"] == {("enabled",): 2, ("disabled",): 0}
    assert found["datastore_series"] == {("bars", "v", "1m"): 2, ("fundamentals", "w", ""): 1}
    newest = (START + timedelta(days=30, minutes=199)).timestamp()
    assert found["datastore_newest_row_timestamp_seconds"][("bars", "v", "1m")] == newest
    assert found["datastore_jobs"][(OTHER, "queued")] == 1
    assert found["datastore_jobs"][(tenants.DELETE, "failed")] == 0
    assert found["datastore_job_oldest_due_seconds"][()] >= 0
    assert found["datastore_backfills"] == {(): 0}
    assert found["datastore_database_size_bytes"][()] > 1_000_000
    sizes = found["datastore_relation_size_bytes"]
    assert sizes["bars", "table"] > 8192
    assert sizes["bars", "indexes"] > 8192
    assert ("series", "table") in sizes


@pytest.mark.engines("timescale-apache", "timescale")
def test_chunks_are_counted_and_measured(store: Store, exposed: ServiceMetrics) -> None:
    fill(store)
    found = scraped(exposed)
    assert found["datastore_chunks"]["bars", "rows"] == 2
    assert found["datastore_chunks"]["bars", "columnar"] == 0
    assert found["datastore_chunk_largest_bytes"]["bars",] > 8192
    assert found["datastore_chunk_largest_bytes"]["news",] == 0
    assert "datastore_compression_ratio" not in found


@pytest.mark.engines("timescale")
def test_compression_rollups_and_policies_are_reported_if_the_engine_has_them(
    store: Store, exposed: ServiceMetrics, at_once: None
) -> None:
    fill(store)
    assert scraped(exposed)["datastore_policy_runs_total"]["bars", "columnstore_after"] == 0
    store.execute("SELECT compress_chunk(c) FROM show_chunks('store.bars') AS c")
    # The server's own job would do the same for all years.
    store.execute("CALL refresh_continuous_aggregate('store.bars_5m', '2024-01-01Z', '2024-02-01Z')")
    found = scraped(exposed)
    assert found["datastore_chunks"]["bars", "columnar"] == 2
    before, after = (found[f"datastore_columnar_{when}_bytes"]["bars",] for when in ("before", "after"))
    assert found["datastore_compression_ratio"]["bars",] == pytest.approx(before / after)
    assert found["datastore_relation_size_bytes"]["bars_5m", "table"] >= 8192
    policies = {
        (state.relation, state.policy) for state in timescale_policies.policies(store.admin_dsn) if state.in_force
    }
    assert policies <= set(found["datastore_policy_runs_total"])
    assert set(found["datastore_policy_failures_total"]) == set(found["datastore_policy_runs_total"])


def test_gap_metrics_sum_the_last_check_of_all_tenants(store: Store, exposed: ServiceMetrics) -> None:
    store.execute(
        "INSERT INTO store.gap_counts (tenant_no, vendor, timeframe, range_start, range_end, series, expected, missing,"
        " gaps, repeated, checked_at)"
        " SELECT no, 'v', '1m', now(), now(), 1, 9, 4, 2, 3, to_timestamp(no * 1000) FROM store.tenants"
    )
    found = scraped(exposed)
    assert found["datastore_gaps"] == {("v", "1m"): 4}
    assert found["datastore_missing_bars"] == {("v", "1m"): 8}
    assert found["datastore_repeated_sessions"] == {("v", "1m"): 6}
    assert found["datastore_gap_check_timestamp_seconds"] == {("v", "1m"): 1000}


def test_a_running_backfill_reports_its_progress(store: Store, exposed: ServiceMetrics) -> None:
    store.execute(
        "INSERT INTO store.backfills (tenant_no, idempotency_key, kind, vendor, timeframe, range_start, range_end,"
        " source, params, series, missing) SELECT 1, k, 'bars', 'v', '1m', now(), now(), '{}', '{}', 1, 1"
        " FROM unnest(ARRAY['open', 'over']) AS k"
    )
    store.execute(
        "INSERT INTO store.jobs (tenant_no, idempotency_key, job_type, payload, priority, state, backfill_id)"
        " SELECT 1, b || state || n, 'backfill', '{}', 50, state, b FROM (VALUES"
        " (1, 'succeeded', 3), (1, 'running', 1), (1, 'queued', 4), (2, 'succeeded', 7)) AS v(b, state, c),"
        " generate_series(1, c) AS n"
    )
    found = scraped(exposed)
    assert found["datastore_backfills"] == {(): 1}
    states = {state: count for (state,), count in found["datastore_backfill_jobs"].items()}
    assert states == {"queued": 4, "running": 1, "succeeded": 3, "failed": 0, "cancelled": 0}
    assert found["datastore_backfill_progress_ratio"] == {(): 3 / 8}


def test_job_metrics_start_at_zero_so_that_a_first_failure_is_an_increase(
    store: Store, exposed: ServiceMetrics, at_once: None
) -> None:
    """Of what has just appeared, Prometheus does not know that it was none before."""
    before = scraped(exposed)["datastore_jobs"]
    assert before == dict.fromkeys(before, 0)
    assert set(before) == {(name, state) for name in (*jobs.load(), OTHER) for state in ("queued", "running", "failed")}
    store.execute(
        "INSERT INTO store.jobs (tenant_no, idempotency_key, job_type, payload, priority, state)"
        " VALUES (1, 'k', 'of.an.application', '{}', 50, 'failed')"
    )
    assert scraped(exposed)["datastore_jobs"] == before | {(OTHER, "failed"): 1}


def test_a_job_of_a_lost_worker_is_counted_as_queued(store: Store, exposed: ServiceMetrics) -> None:
    """Without a worker nobody takes it back: it would be said to be worked off for ever."""
    store.execute(
        "INSERT INTO store.jobs (idempotency_key, job_type, payload, priority, state, worker, leased_until)"
        " SELECT seconds::text, %s, '{}', 50, 'running', 'w', now() + seconds * INTERVAL '1 second'"
        " FROM unnest(ARRAY[-2, -1, 600]) AS seconds",
        tenants.DELETE,
    )
    found = scraped(exposed)["datastore_jobs"]
    assert found[tenants.DELETE, "running"] == 1
    assert found[tenants.DELETE, "queued"] == 2


def test_many_vendors_share_one_label(store: Store, exposed: ServiceMetrics) -> None:
    store.execute(
        "INSERT INTO store.series (series_id, kind, vendor, symbol, timeframe, last_ts)"
        " SELECT (1::bigint << 40) + n, 'bars', 'v' || n, 'X', '1m', to_timestamp(n) FROM generate_series(1, 1000) AS n"
    )
    found = scraped(exposed)
    series = found["datastore_series"]
    assert len(series) == metrics.MAX_GROUPS + 1
    assert sum(series.values()) == 1000
    assert series["bars", OTHER, OTHER] == 1000 - metrics.MAX_GROUPS


def test_metrics_queries_fetch_no_more_groups_than_labels(store: Store) -> None:
    """Whatever names tenants make up for vendors and for types of jobs."""
    thousand = "FROM generate_series(1, 1000) AS n"
    store.execute(
        "INSERT INTO store.series (series_id, kind, vendor, symbol, timeframe)"
        f" SELECT (1::bigint << 40) + n, 'bars', 'v' || n, 'X', '1m' {thousand}"
    )
    store.execute(
        "INSERT INTO store.gap_counts (tenant_no, vendor, timeframe, range_start, range_end, series, expected, missing,"
        f" gaps) SELECT 1, 'v' || n, '1m', now(), now(), 1, 9, 9, 1 {thousand}"
    )
    store.execute(
        "INSERT INTO store.jobs (tenant_no, idempotency_key, job_type, payload, priority, state)"
        f" SELECT 1, n::text, 'type ' || n, '{{}}', 50, 'queued' {thousand}"
    )
    with psycopg.connect(store.admin_dsn) as connection:
        for statement in (reads._SERIES, reads._GAPS):
            assert connection.execute(statement, reads._LABELS).rowcount == metrics.MAX_GROUPS + 1
        assert jobs.backlog(connection, []).counts == [JobCount(None, "queued", 1000)]


def test_a_tenant_with_very_many_vendors_leaves_the_others_their_labels(store: Store, exposed: ServiceMetrics) -> None:
    """By size alone they would all be "(other)", for which no alert about old data is."""
    store.execute(
        "INSERT INTO store.series (series_id, kind, vendor, symbol, timeframe, last_ts)"
        " SELECT (1::bigint << 40) + n, 'bars', 'many' || n %% %s, 'S' || n, '1m', now()"
        " FROM generate_series(1, %s) AS n"
        " UNION ALL SELECT (2::bigint << 40) + n, 'bars', 'own' || n, 'X', '1m', to_timestamp(n)"
        " FROM generate_series(1, 3) AS n",
        metrics.MAX_GROUPS,
        metrics.MAX_GROUPS * 5,
    )
    found = scraped(exposed)
    for n in (1, 2, 3):
        assert found["datastore_series"]["bars", f"own{n}", "1m"] == 1
        assert found["datastore_newest_row_timestamp_seconds"]["bars", f"own{n}", "1m"] == n
    assert len(found["datastore_series"]) == metrics.MAX_GROUPS + 1
    assert found["datastore_series"]["bars", OTHER, OTHER] == 3 * 5


def test_a_tenant_with_very_many_gaps_leaves_the_others_their_labels(store: Store, exposed: ServiceMetrics) -> None:
    store.execute(
        "INSERT INTO store.gap_counts (tenant_no, vendor, timeframe, range_start, range_end, series, expected, missing,"
        " gaps) SELECT 1, 'many' || n, '1m', now(), now(), 1, 9, 9, 1 FROM generate_series(1, %s) AS n"
        " UNION ALL SELECT 2, 'own', '1m', now(), now(), 1, 9, 1, 1",
        metrics.MAX_GROUPS,
    )
    found = scraped(exposed)
    assert found["datastore_missing_bars"]["own", "1m"] == 1
    assert found["datastore_missing_bars"][OTHER, OTHER] == 9


def test_labels_contain_no_tenant_symbol_or_application_text(store: Store, exposed: ServiceMetrics) -> None:
    fill(store)
    exposed.request_began()
    exposed.request_ended(None, "BREW", 404, 0.1)
    text = exposed.exposition()[0].decode()
    for secret in (store.tenant_a, "of.an.application", '"X"', "BREW"):
        assert secret not in text


def test_requests_are_counted_by_route_method_and_status(store: Store, exposed: ServiceMetrics) -> None:
    exposed.request_began()
    assert scraped(exposed)["datastore_http_requests_in_flight"] == {(): 1}
    exposed.request_ended("/jobs/{id}", "GET", 200, 0.02)
    found = scraped(exposed)
    assert found["datastore_http_requests_in_flight"] == {(): 0}
    assert found["datastore_http_requests_total"] == {("/jobs/{id}", "GET", "200"): 1}
    assert found["datastore_http_request_duration_seconds_count"] == {("/jobs/{id}", "GET"): 1}
    assert found["datastore_http_request_duration_seconds_bucket"]["/jobs/{id}", "GET", "0.025"] == 1
    assert found["datastore_http_request_duration_seconds_bucket"]["/jobs/{id}", "GET", "0.01"] == 0


def test_the_clients_of_the_process_are_in_the_same_scrape(store: Store, exposed: ServiceMetrics) -> None:
    with MDS(dsn=store.dsn, tenant_id=store.tenant_a, app_name="service", observer=exposed.client) as client:
        client.upsert_bars([Bar(vendor="v", symbol="X", timeframe="1m", ts=START, close_price=1)])
        found = scraped(exposed)
    assert sum(found["mds_rows_total"].values()) == 1
    assert ("service", "idle") in found["mds_pool_connections"]


def test_a_scrape_shortly_after_another_reuses_its_values(store: Store, exposed: ServiceMetrics) -> None:
    before = scraped(exposed)
    tenants.create_tenant(store.admin_dsn, "new")
    after = scraped(exposed)
    assert after["datastore_tenants"] == before["datastore_tenants"]
    assert after["datastore_collect_timestamp_seconds"] == before["datastore_collect_timestamp_seconds"]


@pytest.mark.many_sessions
def test_concurrent_scrapes_read_the_database_once(store: Store, exposed: ServiceMetrics) -> None:
    texts: list[str] = []
    threads = [threading.Thread(target=lambda: texts.append(exposed.exposition()[0].decode())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    reads = {tuple(re.findall(r"^datastore_collect_timestamp_seconds.*$", text, re.MULTILINE)) for text in texts}
    assert len(reads) == 1
    assert len(texts) == 8


@pytest.mark.every_engine
def test_a_scrape_reads_no_rows_of_a_kind(store: Store, exposed: ServiceMetrics) -> None:
    """Rows may be locked away, and a scrape has all that it needs."""
    with psycopg.connect(store.superuser_dsn, autocommit=True) as connection:
        tables = [f"store.{name}" for name in KINDS]
        for table in tables:
            connection.execute(f"REVOKE SELECT ON {table} FROM mds_owner")
        try:
            found = scraped(exposed)
        finally:
            for table in tables:
                connection.execute(f"GRANT SELECT ON {table} TO mds_owner")
    assert set(found["datastore_collect_success"].values()) == {1}


@pytest.mark.many_sessions
def test_a_metric_that_cannot_be_read_keeps_its_last_value_and_is_marked(
    store: Store, exposed: ServiceMetrics, at_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = scraped(exposed)
    monkeypatch.setattr(StoreCollector, "TIMEOUT_MS", 100)
    with psycopg.connect(store.superuser_dsn) as connection:
        connection.execute("LOCK TABLE store.gap_counts IN ACCESS EXCLUSIVE MODE")
        tenants.create_tenant(store.admin_dsn, "new")
        after = scraped(exposed)
    assert {part for (part,), success in after["datastore_collect_success"].items() if not success} >= {"gaps"}
    assert after["datastore_collect_success"]["tenants",] == 1
    assert after["datastore_tenants"]["enabled",] == 3
    assert after["datastore_database_up"] == {(): 1}
    stamps = "datastore_collect_timestamp_seconds"
    assert after[stamps]["gaps",] == before[stamps]["gaps",]
    assert set(scraped(exposed)["datastore_collect_success"].values()) == {1}


@pytest.mark.many_sessions
def test_a_scrape_returns_in_time_while_all_tables_are_locked(
    store: Store, exposed: ServiceMetrics, at_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prometheus takes an answer that comes late for none: everything would be unknown, and not some of it."""
    before = scraped(exposed)
    monkeypatch.setattr(StoreCollector, "TIMEOUT_MS", 1000)
    monkeypatch.setattr(StoreCollector, "BUDGET", 1.5)
    with psycopg.connect(store.superuser_dsn) as connection:
        tenants.create_tenant(store.admin_dsn, "new")
        for (table,) in store.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'store'"):
            connection.execute(SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(Identifier("store", table)))
        began = time.monotonic()
        during = scraped(exposed)
        took = time.monotonic() - began
    assert took < 3 < 6 * StoreCollector.TIMEOUT_MS / 1000
    assert {part for (part,), success in during["datastore_collect_success"].items() if not success} >= {
        "database", "tenants", "series", "gaps", "jobs", "backfills", "sizes"
    }  # fmt: skip
    assert during["datastore_database_up"] == {(): 1}
    assert during["datastore_tenants"] == before["datastore_tenants"]
    assert during["datastore_collect_timestamp_seconds"] == before["datastore_collect_timestamp_seconds"]
    # The one that began then may be under way still.
    scraped(exposed)
    after = scraped(exposed)
    assert set(after["datastore_collect_success"].values()) == {1}
    assert after["datastore_tenants"]["enabled",] == 3


def test_the_scrape_budget_is_below_the_prometheus_timeout() -> None:
    configuration = yaml.safe_load((DOCKER / "prometheus/prometheus.yml").read_text(encoding="utf-8"))
    # Which is 10 seconds, where it does not say.
    assert "scrape_timeout" not in str(configuration)
    assert StoreCollector.TIMEOUT_MS / 1000 < StoreCollector.BUDGET <= 10 / 2


@pytest.mark.many_sessions
def test_a_scrape_does_not_hang_on_a_silent_database(
    store: Store, exposed: ServiceMetrics, at_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that stands still heeds no timeout of its own."""
    before = scraped(exposed)
    monkeypatch.setattr(StoreCollector, "BUDGET", 0.5)
    ((backend,),) = store.rows(
        "SELECT pid FROM pg_stat_activity WHERE application_name = 'datastore-metrics' AND datname = current_database()"
    )
    os.kill(backend, signal.SIGSTOP)
    try:
        silent = scraped(exposed)
        still = scraped(exposed)
    finally:
        os.kill(backend, signal.SIGCONT)
    assert silent["datastore_database_up"] == still["datastore_database_up"] == {(): 0}
    assert set(silent["datastore_collect_success"].values()) == {0}
    assert silent["datastore_tenants"] == before["datastore_tenants"]
    monkeypatch.undo()
    assert scraped(exposed)["datastore_database_up"] == {(): 1}


@pytest.mark.many_sessions
def test_a_lost_database_keeps_the_last_values_and_is_reconnected(
    store: Store, exposed: ServiceMetrics, at_once: None
) -> None:
    before = scraped(exposed)
    name = psycopg.conninfo.conninfo_to_dict(store.admin_dsn)["dbname"]
    with psycopg.connect(psycopg.conninfo.make_conninfo(store.superuser_dsn, dbname="postgres"), autocommit=True) as c:
        c.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        try:
            c.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", (name,))
            away = scraped(exposed)
            again = scraped(exposed)
        finally:
            c.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
    assert away["datastore_database_up"] == again["datastore_database_up"] == {(): 0}
    assert away["datastore_tenants"] == before["datastore_tenants"]
    assert scraped(exposed)["datastore_database_up"] == {(): 1}


def test_a_database_that_was_never_reachable_is_reported_down() -> None:
    exposed = ServiceMetrics("host=127.0.0.1 port=1 dbname=nowhere connect_timeout=1")
    found = scraped(exposed)
    assert found["datastore_database_up"] == {(): 0}
    assert set(found["datastore_collect_success"].values()) == {0}
    assert "datastore_tenants" not in found


def test_a_worker_serves_its_job_metrics_on_a_loopback_port() -> None:
    exposed = WorkerMetrics({"expire"})
    exposed.job_began()
    exposed.job_began()
    exposed.job_ended("expire", "succeeded", 0.3)
    with closing(exposed.serve(0)) as served:
        where = f"http://127.0.0.1:{served.port}/metrics"
        with urllib.request.urlopen(where) as answer:
            text = answer.read().decode()
    assert 'datastore_worker_jobs_total{job_type="expire",outcome="succeeded"} 1.0' in text
    assert "datastore_worker_jobs_in_progress 1.0" in text
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(where)


def test_openmetrics_is_returned_if_accepted(store: Store, exposed: ServiceMetrics) -> None:
    text, content_type = exposed.exposition("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert text.endswith(b"# EOF\n")
    assert exposed.exposition()[1].startswith("text/plain")


def everything(store: Store) -> str:
    """A scrape of the service and one of a worker, with a sample of each of their own metrics."""
    service, worker = ServiceMetrics(store.admin_dsn), WorkerMetrics({"expire"})
    service.request_began()
    service.request_ended("/health", "GET", 200, 0.01)
    worker.job_began()
    worker.job_ended("expire", "succeeded", 0.1)
    try:
        return service.exposition()[0].decode() + worker.exposition()[0].decode()
    finally:
        service.close()


def test_exposed_metrics_match_their_declarations(store: Store) -> None:
    families = {}
    for family in text_string_to_metric_families(everything(store)):
        name = declared_name(family)
        if name.startswith("datastore_") and not name.endswith("_created"):
            families[name] = family
    assert set(families) == set(DECLARED)
    for name, family in families.items():
        declared = DECLARED[name]
        assert (family.type, family.documentation) == (declared.type, declared.help)
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(declared.labels), name


def test_every_metric_is_in_the_reference() -> None:
    page = REFERENCE.read_text(encoding="utf-8")
    for metric in DECLARED.values():
        assert f"| `{metric.name}` | {metric.type} |" in page


@pytest.mark.promtool
def test_promtool_reports_no_problem(store: Store, exposed: ServiceMetrics) -> None:
    fill(store)
    jobs.list_jobs(store.admin_dsn, tenant=UUID(store.tenant_a))
    exposed.request_began()
    exposed.request_ended("/health", "GET", 200, 0.01)
    worker = WorkerMetrics({"expire"})
    worker.job_began()
    worker.job_ended("expire", "succeeded", 0.1)
    for text in (exposed.exposition()[0], worker.exposition()[0]):
        assert promtool("check", "metrics", stdin=text) == (0, "")


@pytest.mark.many_sessions
def test_the_worker_command_answers_scrapes_while_it_works(store: Store) -> None:
    with MDS(dsn=store.dsn, tenant_id=store.tenant_a) as client:
        client.enqueue_job("one", "test-answer", payload={"what": 1})
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [str(warm.folder() / "datastore"), "worker", "--no-upkeep", "--metrics-port", str(port)]
    command += ["--import", "tests.control.job_types"]
    worker = subprocess.Popen(command, env={**os.environ, "DATABASE_URL": store.admin_dsn}, stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, text=True)  # fmt: skip
    try:
        assert worker.stderr
        for line in worker.stderr:
            if "test-answer" in line and "failed" in line:
                break
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            text = answer.read().decode()
    finally:
        worker.terminate()
        worker.communicate()
    assert 'datastore_worker_jobs_total{job_type="test-answer",outcome="failed"} 1.0' in text
    assert "datastore_worker_jobs_in_progress 0.0" in text
