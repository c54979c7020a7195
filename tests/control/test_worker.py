"""What a worker does with jobs: order, fairness, another attempt, cancelling, progress, and when it begins."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from datastore import control, jobs, leases, maintenance
from datastore.jobs import JobRecord
from mds_client import MDS
from tests.conftest import Store
from tests.control.job_types import Note, is_in, noted, put, until, work, working

# A worker has two connections, and so have its jobs.
pytestmark = pytest.mark.many_sessions

LEASE = timedelta(seconds=30)
NEVER = timedelta(hours=1)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "notes"


def ended(store: Store, job: JobRecord) -> JobRecord:
    return jobs.get_job(store.admin_dsn, job.id)


def test_a_job_that_an_application_puts_down_is_done_and_it_sees_what_came_of_it(store: Store, file: Path) -> None:
    with MDS(dsn=store.dsn, tenant_id=store.tenant_a) as client:
        job = client.enqueue_job("k", "test-note", {"file": str(file), "text": "hello"})
    assert work(store.admin_dsn) == {"succeeded": 1}
    assert noted(file) == ["hello"]
    done = jobs.get_job(store.admin_dsn, job.id)
    assert (done.state, done.attempts, done.result, done.error) == ("succeeded", 1, {"noted": "hello"}, None)
    assert done.started_at is not None
    assert done.finished_at is not None
    assert done.created_at <= done.started_at <= done.finished_at
    assert done.leased_until is None
    with MDS(dsn=store.dsn, tenant_id=store.tenant_a) as client:
        again = client.enqueue_job("k", "test-note", {"file": str(file), "text": "hello"})
    assert (again.id, again.state, again.result) == (job.id, "succeeded", {"noted": "hello"})
    with psycopg.connect(store.dsn) as connection:
        connection.execute("SELECT mds.use_tenant(%s)", (UUID(store.tenant_a),))
        seen = connection.execute("SELECT state, result, attempts FROM public.jobs_outbox").fetchall()
    assert seen == [("succeeded", {"noted": "hello"}, 1)]


def test_the_larger_priority_goes_first_and_then_the_older_one(store: Store, file: Path) -> None:
    for text, priority in (("old low", 10), ("old high", 90), ("new high", 90), ("middle", 50), ("new low", 10)):
        put(
            store.admin_dsn, "test-note", Note(file=file, text=text), tenant=store.tenant_a, key=text, priority=priority
        )
    work(store.admin_dsn)
    assert noted(file) == ["old high", "new high", "middle", "old low", "new low"]


def test_one_job_of_a_tenant_does_not_wait_for_the_thousand_of_another(store: Store, file: Path) -> None:
    with psycopg.connect(store.admin_dsn) as connection:
        for number in range(1000):
            tenant = UUID(store.tenant_a)
            payload = Note(file=file, text="a")
            jobs.enqueue(connection, "test-note", payload, tenant=tenant, idempotency_key=str(number), priority=100)
    put(store.admin_dsn, "test-note", Note(file=file, text="b"), tenant=store.tenant_b, key="b", priority=0)
    put(store.admin_dsn, "test-note", Note(file=file, text="store"), tenant=None, key="own", priority=0)
    with working(store.admin_dsn, concurrency=1):
        until(lambda: {"b", "store"} <= set(noted(file)))
    assert {"b", "store"} <= set(noted(file)[:4])


def test_who_has_fewest_jobs_running_is_next(store: Store, file: Path) -> None:
    for number in range(10):
        put(store.admin_dsn, "test-note", Note(file=file), tenant=store.tenant_a, key=f"{number}")
    with psycopg.connect(store.admin_dsn, autocommit=True) as connection:
        first, last = leases.claim(connection, "w", 3, LEASE, 0)
        assert len(first) == 3
        for number in range(10):
            put(store.admin_dsn, "test-note", Note(file=file), tenant=store.tenant_b, key=f"{number}")
        second, last = leases.claim(connection, "w", 2, LEASE, last)
        third, _ = leases.claim(connection, "another", 5, LEASE, 0)
    assert [str(job.tenant) for job in second] == [store.tenant_b] * 2
    assert sorted(str(job.tenant) for job in third) == sorted([store.tenant_b] * 3 + [store.tenant_a] * 2)


def test_what_an_operator_holds_locked_is_passed_over(store: Store, file: Path) -> None:
    ids = [put(store.admin_dsn, "test-note", Note(file=file), tenant=None, key=key).id for key in "abc"]
    with psycopg.connect(store.superuser_dsn) as operator:
        operator.execute("SELECT FROM store.jobs WHERE id = %s FOR UPDATE", (ids[1],))
        with psycopg.connect(store.admin_dsn, autocommit=True) as connection:
            claimed, _ = leases.claim(connection, "w", 3, LEASE, 0)
    assert [job.id for job in claimed] == [ids[0], ids[2]]


def test_jobs_of_a_disabled_tenant_wait_until_it_is_enabled(store: Store, file: Path) -> None:
    job = put(store.admin_dsn, "test-note", Note(file=file), tenant=store.tenant_a, key="k")
    store.execute("UPDATE store.tenants SET disabled_at = now() WHERE id = %s", store.tenant_a)
    assert work(store.admin_dsn) == {}
    store.execute("UPDATE store.tenants SET disabled_at = NULL WHERE id = %s", store.tenant_a)
    assert work(store.admin_dsn) == {"succeeded": 1}
    assert ended(store, job).attempts == 1


# What goes wrong ---------------------------------------------------------------------------------------------------


def test_a_job_that_fails_waits_twice_as_long_each_time(store: Store) -> None:
    job = put(store.admin_dsn, "test-slow-backoff", {}, tenant=store.tenant_a, key="k")
    for attempt, longest in enumerate((450, 900, 900), start=1):
        before = datetime.now(UTC)
        assert work(store.admin_dsn) == {"queued": 1}
        after = ended(store, job)
        assert (after.state, after.attempts, after.finished_at, after.result) == ("queued", attempt, None, None)
        assert after.error is not None
        assert after.error.startswith("RuntimeError: not now (at tests.control.job_types:")
        waits = (after.due_at - before).total_seconds()
        assert longest / 2 - 1 <= waits <= longest + 60
        assert work(store.admin_dsn) == {}
        jobs.retry_job(store.admin_dsn, job.id)


def test_a_job_that_always_fails_ends_as_a_dead_letter_that_says_what_and_where(store: Store, file: Path) -> None:
    job = put(
        store.admin_dsn, "test-fail", Note(file=file, text="tried"), tenant=store.tenant_a, key="k", max_attempts=3
    )
    with working(store.admin_dsn):
        until(is_in(store.admin_dsn, job.id, "failed"))
    dead = ended(store, job)
    assert noted(file) == ["tried"] * 3
    assert (dead.attempts, dead.max_attempts, dead.result) == (3, 3, None)
    assert dead.finished_at is not None
    assert dead.error is not None
    assert dead.error.startswith("ValueError: no luck with postgresql://someone:***@db/x and password=***")
    assert "(at tests.control.job_types:" in dead.error
    assert "s3cret" not in dead.error
    assert [found.id for found in jobs.list_jobs(store.admin_dsn, state="failed")] == [job.id]
    again = jobs.retry_job(store.admin_dsn, job.id)
    assert (again.state, again.attempts, again.error, again.finished_at) == ("queued", 0, None, None)


@pytest.mark.parametrize(
    ("kind", "payload", "says"),
    [
        ("nobody-knows", {}, "no function takes jobs of type 'nobody-knows'"),
        ("test-note", {"text": "x"}, "the payload is none that 'test-note' takes: file: Field required"),
        ("test-note", {"file": 3}, "the payload is none that 'test-note' takes: file: "),
        ("test-give-up", {"file": "/dev/null", "text": "this"}, "never: this"),
        ("test-answer", {"python": "object()"}, "what the function returned cannot be stored: "),
        ("test-answer", {"python": "float('nan')"}, "what the function returned cannot be stored: "),
        ("test-answer", {"python": "'a' + chr(0)"}, "what the function returned cannot be stored: "),
        ("maintain-outbox", {}, "jobs of type 'maintain-outbox' are the store's own: a tenant has none"),
    ],
)
def test_what_no_attempt_could_do_fails_at_once(store: Store, kind: str, payload: dict[str, object], says: str) -> None:
    job = put(store.admin_dsn, kind, payload, tenant=store.tenant_a, key="k")
    assert work(store.admin_dsn) == {"failed": 1}
    dead = ended(store, job)
    assert (dead.state, dead.attempts, dead.result) == ("failed", 1, None)
    assert dead.error is not None
    assert dead.error.startswith(says)


def test_a_result_that_cannot_be_stored_leaves_the_others_as_they_are(store: Store) -> None:
    texts = ("1", "'a' + chr(0)", "[2]", "chr(0xd800)", "{'three': 3}")
    made = [put(store.admin_dsn, "test-answer", {"python": text}, tenant=None, key=text) for text in texts]
    assert work(store.admin_dsn, concurrency=8) == {"succeeded": 3, "failed": 2}
    assert [ended(store, job).result for job in made] == [1, None, [2], None, {"three": 3}]


def test_a_worker_whose_lease_was_lost_ends_the_job_and_records_nothing(store: Store, file: Path) -> None:
    job = put(store.admin_dsn, "test-wait", Note(file=file, until=file / "never"), tenant=None, key="k")
    with working(store.admin_dsn):
        until(lambda: noted(file) == ["begin "])
        store.execute("UPDATE store.jobs SET worker = 'another', attempts = 2")
        until(lambda: len(noted(file)) == 2)
    assert noted(file) == ["begin ", "ended  lost"]
    found = ended(store, job)
    assert (found.state, found.worker, found.attempts, found.finished_at) == ("running", "another", 2, None)


# Progress and cancelling -------------------------------------------------------------------------------------------


def test_how_far_a_job_is_can_be_read_while_it_runs(store: Store, file: Path, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    job = put(store.admin_dsn, "test-wait", Note(file=file, until=ready), tenant=store.tenant_a, key="k")
    with working(store.admin_dsn):
        until(lambda: (ended(store, job).done or 0) > 0)
        assert ended(store, job).total == 1_000_000
        far = ended(store, job).done or 0
        until(lambda: (ended(store, job).done or 0) > far)
        ready.touch()
        until(is_in(store.admin_dsn, job.id, "succeeded"))
    assert ended(store, job).result == "waited"


def test_a_queued_job_is_cancelled_at_once_and_never_begins(store: Store, file: Path) -> None:
    job = put(store.admin_dsn, "test-note", Note(file=file, text="x"), tenant=store.tenant_a, key="k")
    cancelled = jobs.cancel_job(store.admin_dsn, job.id)
    assert (cancelled.state, cancelled.attempts) == ("cancelled", 0)
    assert cancelled.finished_at is not None
    assert work(store.admin_dsn) == {}
    assert noted(file) == []


def test_a_running_job_is_cancelled_when_its_function_looks(store: Store, file: Path) -> None:
    job = put(
        store.admin_dsn,
        "test-wait",
        Note(file=file, text="quiet", until=file / "never"),
        tenant=store.tenant_a,
        key="k",
    )
    # The heartbeat alone would come too late.
    with working(store.admin_dsn, lease=NEVER, poll=NEVER):
        until(lambda: noted(file) == ["begin quiet"])
        asked = jobs.cancel_job(store.admin_dsn, job.id)
        assert (asked.state, asked.cancel_requested) == ("running", True)
        until(is_in(store.admin_dsn, job.id, "cancelled"))
    assert noted(file) == ["begin quiet", "ended quiet cancelled"]
    assert jobs.retry_job(store.admin_dsn, job.id).cancel_requested is False


def test_a_job_that_was_to_be_cancelled_is_not_tried_again(store: Store, file: Path, tmp_path: Path) -> None:
    job = put(store.admin_dsn, "test-slow-backoff", {}, tenant=store.tenant_a, key="k")
    with psycopg.connect(store.admin_dsn, autocommit=True) as connection:
        (claimed,), _ = leases.claim(connection, "w", 1, LEASE, 0)
        jobs.cancel_job(store.admin_dsn, job.id)
        held = leases.Held(claimed.id, claimed.attempts, None, None)
        outcome = leases.Outcome(held, "queued", error="no", delay=timedelta(0))
        assert leases.finish(connection, "w", [outcome]) == {job.id: "cancelled"}
        assert leases.finish(connection, "w", [outcome]) == {}
    assert ended(store, job).state == "cancelled"


# When it begins ----------------------------------------------------------------------------------------------------


def test_a_job_begins_without_delay_though_nobody_looks(store: Store, file: Path) -> None:
    with working(store.admin_dsn, poll=NEVER, lease=NEVER):
        with MDS(dsn=store.dsn, tenant_id=store.tenant_a) as client:
            client.enqueue_job("k", "test-note", {"file": str(file), "text": "announced"})
        until(lambda: noted(file) == ["announced"])


def test_a_job_for_later_begins_when_it_is_due_though_nobody_looks(store: Store, file: Path) -> None:
    with working(store.admin_dsn, poll=NEVER, lease=NEVER):
        due = datetime.now(UTC) + timedelta(seconds=1)
        job = put(store.admin_dsn, "test-note", Note(file=file), tenant=None, key="k", due_at=due)
        until(is_in(store.admin_dsn, job.id, "succeeded"))
    started = ended(store, job).started_at
    assert started is not None
    assert started >= due


def test_a_job_that_is_not_announced_is_found_by_looking(store: Store, file: Path) -> None:
    store.execute("ALTER TABLE store.jobs DISABLE TRIGGER announce")
    with working(store.admin_dsn, poll=timedelta(milliseconds=50)):
        job = put(store.admin_dsn, "test-note", Note(file=file, text="found"), tenant=None, key="k")
        until(is_in(store.admin_dsn, job.id, "succeeded"))


# Periodic ----------------------------------------------------------------------------------------------------------


def test_periodic_jobs_run_once_however_many_workers_there_are(store: Store) -> None:
    settings = {"upkeep": True, "lease": timedelta(seconds=1)}
    with working(store.admin_dsn, **settings), working(store.admin_dsn, **settings):
        until(lambda: len(jobs.list_jobs(store.admin_dsn, state="succeeded")) == len(maintenance.PERIODIC))
    work(store.admin_dsn, upkeep=True)
    found = jobs.list_jobs(store.admin_dsn)
    assert sorted(job.job_type for job in found) == sorted(task.job_type for task in maintenance.PERIODIC)
    assert {(job.tenant, job.attempts, job.error) for job in found} == {(None, 1, None)}


def test_an_interval_is_put_down_once_and_only_when_the_job_before_has_ended(store: Store) -> None:
    def keys() -> set[str]:
        return {job.idempotency_key for job in jobs.list_jobs(store.admin_dsn)}

    with psycopg.connect(store.admin_dsn, autocommit=True) as connection:
        maintenance.put_down(connection, set())
        first = keys()
        maintenance.put_down(connection, set())
        assert keys() == first
        assert len(first) == len(maintenance.PERIODIC)
        store.execute("UPDATE store.jobs SET idempotency_key = idempotency_key || ' of yesterday'")
        maintenance.put_down(connection, set())
        assert len(keys()) == len(first)
        store.execute("UPDATE store.jobs SET state = 'succeeded', finished_at = now()")
        maintenance.put_down(connection, set())
    assert len(keys()) == 2 * len(first)


def test_retention_that_the_server_does_not_keep_is_kept_by_the_worker(store: Store) -> None:
    control.set_policy(store.admin_dsn, "fundamentals", "retention_after", timedelta(days=30))
    control.set_policy(store.admin_dsn, "bars", "retention_after", timedelta(days=30))
    old, new = datetime.now(UTC) - timedelta(days=60), datetime.now(UTC) - timedelta(days=1)
    with MDS(dsn=store.dsn, tenant_id=store.tenant_a) as client:
        for asof in (old, new):
            client.upsert_fundamentals([{"vendor": "v", "symbol": "S", "asof": asof, "eps": 1.0}])
            client.upsert_bars([{"vendor": "v", "symbol": "S", "timeframe": "1d", "ts": asof, "close_price": 1.0}])
    job = put(store.admin_dsn, "maintain-retention", {}, tenant=None, key="k")
    work(store.admin_dsn)
    by_server = {state.relation for state in control.policies(store.admin_dsn) if state.kept_by == "server"}
    assert ended(store, job).result == {"fundamentals": 1} | ({} if "bars" in by_server else {"bars": 1})
    assert store.rows("SELECT asof FROM store.fundamentals") == [(new,)]


def test_only_the_stores_own_jobs_are_cleaned_up(store: Store, file: Path) -> None:
    for key in ("old", "new"):
        for tenant in (None, store.tenant_a):
            put(store.admin_dsn, "test-note", Note(file=file), tenant=tenant, key=key)
    work(store.admin_dsn)
    store.execute("UPDATE store.jobs SET finished_at = now() - interval '31 days' WHERE idempotency_key = 'old'")
    job = put(store.admin_dsn, "maintain-outbox", {}, tenant=None, key="clean-up")
    work(store.admin_dsn)
    assert ended(store, job).result == 1
    left = {(job.tenant is None, job.idempotency_key) for job in jobs.list_jobs(store.admin_dsn)}
    assert left == {(True, "new"), (True, "clean-up"), (False, "old"), (False, "new")}
