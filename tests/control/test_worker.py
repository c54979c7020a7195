"""What a worker does with jobs: order, fairness, another attempt, cancelling, progress, and when it begins."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest

from datastore import jobs, maintenance, tenants, timescale_policies
from datastore.jobs import JobError, JobRecord
from datastore.worker import leases
from mds_client import MDS
from mds_client.errors import ConstraintViolation
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


def test_an_application_can_enqueue_a_job_and_read_its_result(store: Store, file: Path) -> None:
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


def test_jobs_run_by_priority_and_then_by_age(store: Store, file: Path) -> None:
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


def test_the_tenant_with_the_fewest_running_jobs_is_next(store: Store, file: Path) -> None:
    for number in range(10):
        put(store.admin_dsn, "test-note", Note(file=file), tenant=store.tenant_a, key=f"{number}")
    with psycopg.connect(store.admin_dsn, autocommit=True) as connection:
        first = leases.claim(connection, "w", 3, LEASE)
        assert len(first.taken) == 3
        for number in range(10):
            put(store.admin_dsn, "test-note", Note(file=file), tenant=store.tenant_b, key=f"{number}")
        second = leases.claim(connection, "w", 2, LEASE, first.last)
        third = leases.claim(connection, "another", 5, LEASE)
    assert [str(one.job.tenant) for one in second.taken] == [store.tenant_b] * 2
    assert sorted(str(one.job.tenant) for one in third.taken) == sorted([store.tenant_b] * 3 + [store.tenant_a] * 2)


def test_locked_jobs_are_skipped_when_claiming(store: Store, file: Path) -> None:
    ids = [put(store.admin_dsn, "test-note", Note(file=file), tenant=None, key=key).id for key in "abc"]
    with psycopg.connect(store.superuser_dsn) as operator:
        operator.execute("SELECT FROM store.jobs WHERE id = %s FOR UPDATE", (ids[1],))
        with psycopg.connect(store.admin_dsn, autocommit=True) as connection:
            claim = leases.claim(connection, "w", 3, LEASE)
    assert [one.job.id for one in claim.taken] == [ids[0], ids[2]]
    assert claim.locked == [ids[1]]


def test_locked_jobs_at_the_head_of_the_queue_do_not_block_others(store: Store, file: Path) -> None:
    put_down = [put(store.admin_dsn, "test-note", Note(file=file, text=key), tenant=None, key=key) for key in "abcdef"]
    with psycopg.connect(store.superuser_dsn) as operator:
        head = [job.id for job in put_down[:4]]
        operator.execute("SELECT FROM store.jobs WHERE id = ANY(%s) FOR UPDATE", (head,))
        with working(store.admin_dsn, concurrency=2, until_idle=True):
            # Two are done at a time, in whatever order they come to their lines.
            until(lambda: sorted(noted(file)) == ["e", "f"])
            operator.rollback()
            # It does not end before it has done what was locked.
            until(lambda: sorted(noted(file)) == list("abcdef"))


def test_a_locked_job_does_not_block_lease_renewals_and_results_of_others(
    store: Store, file: Path, tmp_path: Path
) -> None:
    ready = tmp_path / "ready"
    made = [
        put(store.admin_dsn, "test-stubborn", Note(file=file, text=key, until=ready), tenant=None, key=key)
        for key in "abc"
    ]
    with working(store.admin_dsn, lease=timedelta(seconds=1)):
        until(lambda: len(noted(file)) == 3)
        with psycopg.connect(store.superuser_dsn, autocommit=True) as operator:
            begun = operator.execute("SELECT clock_timestamp()").fetchone()
            with operator.transaction():
                operator.execute("SELECT FROM store.jobs WHERE id = %s FOR UPDATE", (made[0].id,))
                # Its own lease runs out meanwhile; nobody else's does.
                until(
                    lambda: (
                        operator.execute(
                            "SELECT bool_and(CASE WHEN id = %s THEN leased_until < clock_timestamp()"
                            " ELSE leased_until > %s::timestamptz + interval '2 s' END) FROM store.jobs",
                            (made[0].id, *(begun or ())),
                        ).fetchone()
                        == (True,)
                    )
                )
                ready.touch()
                for job in made[1:]:
                    until(is_in(store.admin_dsn, job.id, "succeeded"))
        until(is_in(store.admin_dsn, made[0].id, "succeeded"))
    assert {ended(store, job).attempts for job in made} == {1}
    assert len(noted(file)) == 6


def test_jobs_of_a_disabled_tenant_wait_until_it_is_enabled(store: Store, file: Path) -> None:
    job = put(store.admin_dsn, "test-note", Note(file=file), tenant=store.tenant_a, key="k")
    store.execute("UPDATE store.tenants SET disabled_at = now() WHERE id = %s", store.tenant_a)
    assert work(store.admin_dsn) == {}
    store.execute("UPDATE store.tenants SET disabled_at = NULL WHERE id = %s", store.tenant_a)
    assert work(store.admin_dsn) == {"succeeded": 1}
    assert ended(store, job).attempts == 1


# What goes wrong ---------------------------------------------------------------------------------------------------


def test_the_backoff_of_a_failing_job_doubles_with_each_attempt(store: Store) -> None:
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


def test_a_job_that_always_fails_becomes_a_dead_letter_with_its_error(store: Store, file: Path) -> None:
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
    assert [found.id for found in jobs.list_jobs(store.admin_dsn, state="failed").items] == [job.id]
    again = jobs.retry_job(store.admin_dsn, job.id)
    assert (again.state, again.attempts, again.error, again.finished_at) == ("queued", 0, None, None)


@pytest.mark.parametrize(
    ("kind", "payload", "says"),
    [
        ("test-note", {"text": "x"}, "the payload is not valid for 'test-note': file: Field required"),
        ("test-note", {"file": 3}, "the payload is not valid for 'test-note': file: "),
        ("test-give-up", {"file": "/dev/null", "text": "this"}, "never: this"),
        ("test-answer", {"python": "object()"}, "the result of the function cannot be stored: "),
        ("test-answer", {"python": "float('nan')"}, "the result of the function cannot be stored: "),
        ("test-answer", {"python": "'a' + chr(0)"}, "the result of the function cannot be stored: "),
        ("maintain-outbox", {}, "jobs of type 'maintain-outbox' belong to the store: a tenant cannot have one"),
    ],
)
def test_a_job_that_can_never_succeed_fails_at_once(
    store: Store, kind: str, payload: dict[str, object], says: str
) -> None:
    job = put(store.admin_dsn, kind, payload, tenant=store.tenant_a, key="k")
    assert work(store.admin_dsn) == {"failed": 1}
    dead = ended(store, job)
    assert (dead.state, dead.attempts, dead.result) == ("failed", 1, None)
    assert dead.error is not None
    assert dead.error.startswith(says)


def test_a_job_of_an_unknown_type_stays_queued_and_blocks_no_other_job(
    store: Store, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    unknown = put(store.admin_dsn, "nobody-knows", {}, tenant=store.tenant_a, key="unknown", priority=50)
    for number in range(5):
        put(store.admin_dsn, "test-note", Note(file=file), tenant=store.tenant_a, key=str(number))
    assert work(store.admin_dsn, concurrency=2) == {"succeeded": 5}
    waiting = ended(store, unknown)
    assert (waiting.state, waiting.attempts, waiting.error) == ("queued", 0, None)
    told = [record.getMessage() for record in caplog.records if "nobody-knows" in record.getMessage()]
    assert told == ["jobs of type 'nobody-knows' wait for another worker: no function of this one takes them"]


def test_an_export_waits_for_a_worker_with_an_export_folder(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = tenants.export_tenant(store.admin_dsn, UUID(store.tenant_a), idempotency_key="k", kinds=["bars"])
    monkeypatch.delenv("DATASTORE_EXPORTS", raising=False)
    assert work(store.admin_dsn) == {}
    assert ended(store, job).attempts == 0
    monkeypatch.setenv("DATASTORE_EXPORTS", str(tmp_path))
    assert work(store.admin_dsn) == {"succeeded": 1}


def test_a_result_that_cannot_be_stored_does_not_affect_other_jobs(store: Store) -> None:
    texts = ("1", "'a' + chr(0)", "[2]", "chr(0xd800)", "{'three': 3}")
    made = [put(store.admin_dsn, "test-answer", {"python": text}, tenant=None, key=text) for text in texts]
    assert work(store.admin_dsn, concurrency=8) == {"succeeded": 3, "failed": 2}
    assert [ended(store, job).result for job in made] == [1, None, [2], None, {"three": 3}]


def test_a_worker_that_lost_its_lease_stops_the_job_and_records_nothing(store: Store, file: Path) -> None:
    job = put(store.admin_dsn, "test-wait", Note(file=file, until=file / "never"), tenant=None, key="k")
    with working(store.admin_dsn):
        until(lambda: noted(file) == ["begin "])
        store.execute("UPDATE store.jobs SET worker = 'another', attempts = 2")
        until(lambda: len(noted(file)) == 2)
    assert noted(file) == ["begin ", "ended  lost"]
    found = ended(store, job)
    assert (found.state, found.worker, found.attempts, found.finished_at) == ("running", "another", 2, None)


# Progress and cancelling -------------------------------------------------------------------------------------------


def test_the_progress_of_a_job_can_be_read_while_it_runs(store: Store, file: Path, tmp_path: Path) -> None:
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


def test_a_queued_job_is_cancelled_at_once_and_never_starts(store: Store, file: Path) -> None:
    job = put(store.admin_dsn, "test-note", Note(file=file, text="x"), tenant=store.tenant_a, key="k")
    cancelled = jobs.cancel_job(store.admin_dsn, job.id)
    assert (cancelled.state, cancelled.attempts) == ("cancelled", 0)
    assert cancelled.finished_at is not None
    assert work(store.admin_dsn) == {}
    assert noted(file) == []


def test_a_running_job_is_cancelled_when_its_function_checks(store: Store, file: Path) -> None:
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


def test_a_failing_job_with_a_cancel_request_is_not_retried(store: Store, file: Path, tmp_path: Path) -> None:
    job = put(store.admin_dsn, "test-slow-backoff", {}, tenant=store.tenant_a, key="k")
    with psycopg.connect(store.admin_dsn, autocommit=True) as connection:
        (claimed,) = leases.claim(connection, "w", 1, LEASE).taken
        jobs.cancel_job(store.admin_dsn, job.id)
        held = leases.Held(claimed.job.id, claimed.fence, None, None)
        outcome = leases.Outcome(held, "queued", error="no", delay=timedelta(0))
        assert leases.finish(connection, "w", [outcome]) == {job.id: "cancelled"}
        assert leases.finish(connection, "w", [outcome]) == {}
    assert ended(store, job).state == "cancelled"


def test_a_result_with_an_outdated_fence_changes_nothing(store: Store, file: Path) -> None:
    job = put(store.admin_dsn, "test-note", Note(file=file), tenant=None, key="k", max_attempts=1)
    with psycopg.connect(store.admin_dsn, autocommit=True) as connection:
        (first,) = leases.claim(connection, "w", 1, timedelta(0)).taken
        old = leases.Held(job.id, first.fence, 1, 2)
        # Who asks is alive, and has it still.
        assert leases.take_back(connection, "w", [job.id]) == []
        assert [(one.id, one.state) for one in leases.take_back(connection, "another", [])] == [(job.id, "failed")]
        assert leases.look(connection, "w", [old]) == {}
        jobs.retry_job(store.admin_dsn, job.id)
        # The same worker, and the first attempt again.
        (second,) = leases.claim(connection, "w", 1, LEASE).taken
        assert (second.job.worker, second.job.attempts) == (first.job.worker, first.job.attempts)
        assert leases.renew(connection, "w", [old], LEASE) == {}
        assert leases.finish(connection, "w", [leases.Outcome(old, "succeeded", result='"old"')]) == {}
        held = leases.Held(job.id, second.fence, None, None)
        assert leases.look(connection, "w", [old, held]) == {job.id: True}
        assert leases.finish(connection, "w", [leases.Outcome(held, "succeeded", result='"new"')])
        assert leases.look(connection, "w", [held]) == {job.id: False}
    assert ended(store, job).result == "new"


@pytest.mark.parametrize(
    ("progress", "message"),
    [
        ("2**70", f"ValueError: progress must be a number from 0 to {2**63 - 1}, not {2**70}"),
        ("-1", "ValueError: progress must be a number"),
        ("'abc'", "TypeError"),
        ("0.5", "TypeError"),
        ("float('nan')", "TypeError"),
    ],
)
def test_invalid_progress_fails_the_job_that_reports_it(store: Store, file: Path, progress: str, message: str) -> None:
    bad = put(store.admin_dsn, "test-progress", {"python": progress}, tenant=None, key="bad", max_attempts=1)
    good = put(store.admin_dsn, "test-note", Note(file=file), tenant=None, key="good")
    assert work(store.admin_dsn) == {"failed": 1, "succeeded": 1}
    assert (ended(store, bad).error or "").startswith(message)
    assert ended(store, good).state == "succeeded"


@pytest.mark.parametrize(
    "python", ["'x' * 2_000_000", "__import__('functools').reduce(lambda a, _: [a], range(9999), 1)"]
)
def test_a_result_that_is_too_large_or_too_deep_fails_only_its_job(store: Store, file: Path, python: str) -> None:
    bad = put(store.admin_dsn, "test-answer", {"python": python}, tenant=None, key="bad")
    good = put(store.admin_dsn, "test-note", Note(file=file), tenant=None, key="good")
    assert work(store.admin_dsn) == {"failed": 1, "succeeded": 1}
    assert "cannot be stored" in (ended(store, bad).error or "")
    assert ended(store, good).state == "succeeded"


def test_a_result_that_the_server_refuses_is_logged_with_the_reason(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    job = put(store.admin_dsn, "test-answer", {"python": "'a' + chr(0)"}, tenant=None, key="bad")
    assert work(store.admin_dsn) == {"failed": 1}
    error = ended(store, job).error or ""
    assert "cannot be stored" in error
    (told,) = [record.getMessage() for record in caplog.records if "failed for good" in record.getMessage()]
    assert told.endswith(error)


# What PostgreSQL stores as JSON, and Python does not read.
POISON = ['{"a": 1e5000}', "repeat('[', 3000) || repeat(']', 3000)", '{"a": 1e400}', '{"a": 1%s.5}' % ("0" * 400)]


@pytest.mark.parametrize("poison", POISON, ids=["digits", "depth", "whole", "float"])
def test_an_unreadable_payload_fails_only_its_job_and_breaks_no_list(store: Store, file: Path, poison: str) -> None:
    text = f"'{poison}'" if poison.startswith("{") else poison
    with psycopg.connect(store.dsn) as application:
        application.execute("SELECT mds.use_tenant(%s)", (store.tenant_a,))
        application.execute(
            f"INSERT INTO mds.jobs (idempotency_key, job_type, payload, priority)"
            f" VALUES ('bad', 'test-answer', ({text})::jsonb, 100)".encode()
        )
    good = put(store.admin_dsn, "test-note", Note(file=file), tenant=store.tenant_a, key="good")
    shown = jobs.list_jobs(store.admin_dsn).items[1]
    json.dumps(shown.payload, allow_nan=False)
    assert work(store.admin_dsn) == {"failed": 1, "succeeded": 1}
    assert ended(store, good).state == "succeeded"
    assert "payload" in (jobs.get_job(store.admin_dsn, shown.id).error or "")


def test_oversized_payloads_keys_and_types_are_rejected(store: Store) -> None:
    for change, message in (
        ({"payload": {"x": "y" * (1 << 20)}}, "payload may have 1048576 bytes"),
        ({"idempotency_key": "k" * 501}, "may have 500 bytes"),
        ({"job_type": "t" * 501}, "may have 500 bytes"),
    ):
        order: dict[str, Any] = {"idempotency_key": "k", "job_type": "t", "payload": {}, **change}
        with MDS(dsn=store.dsn, tenant_id=store.tenant_a) as client, pytest.raises(ConstraintViolation, match=message):
            client.enqueue_job(order["idempotency_key"], order["job_type"], order["payload"])
        with psycopg.connect(store.admin_dsn) as connection, pytest.raises(JobError, match=message):
            jobs.enqueue(
                connection,
                order["job_type"],
                order["payload"],
                tenant=None,
                idempotency_key=order["idempotency_key"],
            )


# When it begins ----------------------------------------------------------------------------------------------------


def test_a_notified_job_starts_without_waiting_for_a_poll(store: Store, file: Path) -> None:
    with working(store.admin_dsn, poll=NEVER, lease=NEVER):
        with MDS(dsn=store.dsn, tenant_id=store.tenant_a) as client:
            client.enqueue_job("k", "test-note", {"file": str(file), "text": "announced"})
        until(lambda: noted(file) == ["announced"])


def test_a_scheduled_job_starts_when_due_without_waiting_for_a_poll(store: Store, file: Path) -> None:
    with working(store.admin_dsn, poll=NEVER, lease=NEVER):
        due = datetime.now(UTC) + timedelta(seconds=1)
        job = put(store.admin_dsn, "test-note", Note(file=file), tenant=None, key="k", due_at=due)
        until(is_in(store.admin_dsn, job.id, "succeeded"))
    started = ended(store, job).started_at
    assert started is not None
    assert started >= due


def test_a_job_without_a_notification_is_found_by_polling(store: Store, file: Path) -> None:
    store.execute("ALTER TABLE store.jobs DISABLE TRIGGER announce")
    with working(store.admin_dsn, poll=timedelta(milliseconds=50)):
        job = put(store.admin_dsn, "test-note", Note(file=file, text="found"), tenant=None, key="k")
        until(is_in(store.admin_dsn, job.id, "succeeded"))


# Periodic ----------------------------------------------------------------------------------------------------------


def test_periodic_jobs_run_once_with_several_workers(store: Store) -> None:
    settings = {"upkeep": True, "lease": timedelta(seconds=1)}
    with working(store.admin_dsn, **settings), working(store.admin_dsn, **settings):
        until(lambda: len(jobs.list_jobs(store.admin_dsn, state="succeeded").items) == len(maintenance.PERIODIC))
    work(store.admin_dsn, upkeep=True)
    found = jobs.list_jobs(store.admin_dsn).items
    assert sorted(job.job_type for job in found) == sorted(task.job_type for task in maintenance.PERIODIC)
    assert {(job.tenant, job.attempts, job.error) for job in found} == {(None, 1, None)}


def test_a_periodic_job_is_enqueued_once_per_interval_after_the_previous_has_ended(store: Store) -> None:
    def keys() -> set[str]:
        return {job.idempotency_key for job in jobs.list_jobs(store.admin_dsn).items}

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


def test_a_periodic_job_key_in_use_does_not_stop_the_worker(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    with psycopg.connect(store.admin_dsn, autocommit=True) as connection:
        maintenance.put_down(connection, set())
        keys = [job.idempotency_key for job in jobs.list_jobs(store.admin_dsn).items]
        store.execute("DELETE FROM store.jobs")
        put(store.admin_dsn, "test-note", {"file": "/dev/null"}, tenant=None, key=keys[0])
        maintenance.put_down(connection, set())
    assert f"job {keys[0]!r} already exists with another type" in caplog.text
    assert len(jobs.list_jobs(store.admin_dsn).items) == len(keys)


@pytest.mark.every_engine
def test_the_worker_enforces_retention_that_the_server_does_not(store: Store) -> None:
    timescale_policies.set_policy(store.admin_dsn, "fundamentals", "retention_after", timedelta(days=30))
    timescale_policies.set_policy(store.admin_dsn, "bars", "retention_after", timedelta(days=30))
    old, new = datetime.now(UTC) - timedelta(days=60), datetime.now(UTC) - timedelta(days=1)
    with MDS(dsn=store.dsn, tenant_id=store.tenant_a) as client:
        for asof in (old, new):
            client.upsert_fundamentals([{"vendor": "v", "symbol": "S", "asof": asof, "eps": 1.0}])
            client.upsert_bars([{"vendor": "v", "symbol": "S", "timeframe": "1d", "ts": asof, "close_price": 1.0}])
    job = put(store.admin_dsn, "maintain-retention", {}, tenant=None, key="k")
    work(store.admin_dsn)
    by_server = {state.relation for state in timescale_policies.policies(store.admin_dsn) if state.kept_by == "server"}
    assert ended(store, job).result == {"fundamentals": 1} | ({} if "bars" in by_server else {"bars": 1})
    assert store.rows("SELECT asof FROM store.fundamentals") == [(new,)]


def test_the_clean_up_removes_only_old_jobs_of_the_store(store: Store, file: Path) -> None:
    for key in ("old", "new"):
        for tenant in (None, store.tenant_a):
            put(store.admin_dsn, "test-note", Note(file=file), tenant=tenant, key=key)
    work(store.admin_dsn)
    store.execute("UPDATE store.jobs SET finished_at = now() - interval '31 days' WHERE idempotency_key = 'old'")
    job = put(store.admin_dsn, "maintain-outbox", {}, tenant=None, key="clean-up")
    work(store.admin_dsn)
    assert ended(store, job).result == 1
    left = {(job.tenant is None, job.idempotency_key) for job in jobs.list_jobs(store.admin_dsn).items}
    assert left == {(True, "new"), (True, "clean-up"), (False, "old"), (False, "new")}
