"""Jobs as an operator handles them, and as an application may see them."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from pydantic import BaseModel

from datastore import jobs, pages
from datastore.cli import main
from datastore.jobs import Conflict, JobContext, JobError, UnknownJob, job_type
from datastore.names import LARGEST_PAYLOAD
from mds_client import MDS
from tests.clients.test_cli import Run, runs, use
from tests.conftest import Store
from tests.control.job_types import put


class Order(BaseModel):
    symbol: str
    since: datetime


def tenant_of(store: Store) -> UUID:
    return UUID(store.tenant_a)


def test_a_job_is_enqueued_with_the_given_values(store: Store) -> None:
    order = Order(symbol="S", since=datetime(2024, 1, 1, tzinfo=UTC))
    due = datetime(2030, 1, 1, tzinfo=UTC)
    job = put(store.admin_dsn, "t", order, tenant=store.tenant_a, key="k", priority=7, due_at=due)
    found = jobs.get_job(store.admin_dsn, job.id)
    assert found == job
    assert (found.tenant, found.idempotency_key, found.job_type) == (tenant_of(store), "k", "t")
    assert found.payload == {"symbol": "S", "since": "2024-01-01T00:00:00Z"}
    assert (found.priority, found.state, found.attempts, found.max_attempts) == (7, "queued", 0, 10)
    assert (found.due_at, found.cancel_requested, found.worker, found.done, found.result) == (
        due,
        False,
        None,
        None,
        None,
    )


def test_a_key_identifies_one_job_per_tenant(store: Store) -> None:
    made = [
        put(store.admin_dsn, "t", {"n": 1}, tenant=tenant, key="k") for tenant in (store.tenant_a, store.tenant_b, None)
    ]
    again = [
        put(store.admin_dsn, "t", {"n": 1}, tenant=str(job.tenant) if job.tenant else None, key="k") for job in made
    ]
    assert [job.id for job in again] == [job.id for job in made]
    assert len({job.id for job in made}) == 3
    for kind, payload in (("t", {"n": 2}), ("other", {"n": 1})):
        with pytest.raises(Conflict, match="'k' already exists with another type or payload: t"):
            put(store.admin_dsn, kind, payload, tenant=None, key="k")


def test_the_application_and_the_control_plane_share_job_keys(store: Store) -> None:
    with MDS(dsn=store.dsn, tenant_id=store.tenant_a) as client:
        job = client.enqueue_job("k", "t", {"n": 1})
    assert put(store.admin_dsn, "t", {"n": 1}, tenant=store.tenant_a, key="k").id == job.id


@pytest.mark.many_sessions
def test_concurrent_enqueues_of_one_key_create_one_job(store: Store) -> None:
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda _: put(store.admin_dsn, "t", {}, tenant=None, key="k").id, range(16)))
    assert len(set(made)) == 1


def test_a_job_is_enqueued_in_the_callers_transaction(store: Store) -> None:
    with psycopg.connect(store.admin_dsn) as connection:
        jobs.enqueue(connection, "t", {}, tenant=None, idempotency_key="k")
        connection.rollback()
    assert jobs.list_jobs(store.admin_dsn).items == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"tenant": str(uuid4())}, "there is no tenant"),
        ({"key": " "}, "the idempotency key is empty"),
        ({"kind": ""}, "the job type is empty"),
        ({"priority": 101}, "from 0 to 100, not 101"),
        ({"priority": -1}, "from 0 to 100, not -1"),
    ],
)
def test_an_invalid_job_is_rejected(store: Store, change: dict[str, Any], says: str) -> None:
    with pytest.raises(JobError, match=says):
        put(store.admin_dsn, **{"kind": "t", "payload": {}, "tenant": None, "key": "k", **change})


def test_jobs_are_listed_newest_first_a_page_at_a_time(store: Store) -> None:
    made = [
        put(store.admin_dsn, kind, {}, tenant=tenant, key=f"{kind}{number}").id
        for number in range(3)
        for kind, tenant in (("x", store.tenant_a), ("y", store.tenant_b), ("x", None))
    ]
    store.execute("UPDATE store.jobs SET state = 'failed' WHERE id = %s", made[4])

    def listed(**filters: Any) -> list[int]:
        return [job.id for job in jobs.list_jobs(store.admin_dsn, **filters).items]

    newest = made[::-1]
    assert listed() == newest
    assert listed(limit=4) == newest[:4]
    assert listed(limit=4, after=newest[3]) == newest[4:8]
    assert listed(tenant=tenant_of(store)) == newest[2::3]
    assert listed(job_type="y") == newest[1::3]
    assert listed(state="failed") == [made[4]]
    assert listed(state="failed", job_type="x") == []
    assert listed(tenant=uuid4()) == []


@pytest.fixture
def large(store: Store) -> list[int]:
    """Jobs, newest first, of more JSON together than a page has."""
    text = "x" * (LARGEST_PAYLOAD - 20)
    count = pages.MOST_BYTES // LARGEST_PAYLOAD + pages.STEP + 5
    return [put(store.admin_dsn, "t", {"text": text}, tenant=None, key=str(n)).id for n in range(count)][::-1]


# What is tried is Python's.
@pytest.mark.engines("postgres")
def test_a_page_of_large_jobs_ends_early_and_says_that_more_follow(store: Store, large: list[int]) -> None:
    first = jobs.list_jobs(store.admin_dsn, limit=1000)
    read = sum(len(job.payload["text"]) for job in first.items)
    assert pages.MOST_BYTES - LARGEST_PAYLOAD < read < pages.MOST_BYTES + pages.STEP * LARGEST_PAYLOAD
    assert first.more
    rest = jobs.list_jobs(store.admin_dsn, limit=1000, after=first.items[-1].id)
    assert not rest.more
    assert [job.id for job in (*first.items, *rest.items)] == large


@pytest.mark.engines("postgres")
def test_the_list_command_prints_how_to_get_the_next_page(run: Run, store: Store, large: list[int]) -> None:
    shown = run("jobs", "list", "--limit", "1000", "--json")
    last = shown.json[-1]["id"]
    assert len(shown.json) < len(large)
    assert shown.err == f"there are more: --after {last}\n"
    rest = run("jobs", "list", "--limit", "1000", "--after", str(last), "--json")
    assert [job["id"] for job in (*shown.json, *rest.json)] == large
    assert rest.err == ""
    assert run("jobs", "list", "--limit", "2").err == f"there are more: --after {large[1]}\n"


def test_another_tenants_job_is_unknown(store: Store) -> None:
    job = put(store.admin_dsn, "t", {}, tenant=store.tenant_a, key="k")
    other = UUID(store.tenant_b)
    for do in (jobs.get_job, jobs.cancel_job, jobs.retry_job):
        with pytest.raises(UnknownJob, match=f"there is no job {job.id}"):
            do(store.admin_dsn, job.id, tenant=other)
        with pytest.raises(UnknownJob):
            do(store.admin_dsn, job.id + 1)
    assert jobs.get_job(store.admin_dsn, job.id, tenant=tenant_of(store)) == job


@pytest.mark.parametrize(
    ("state", "retry", "cancel"),
    [
        ("queued", "queued", "cancelled"),
        ("running", None, "running"),
        ("succeeded", None, None),
        ("failed", "queued", None),
        ("cancelled", "queued", "cancelled"),
    ],
)
def test_the_state_of_a_job_decides_whether_it_can_be_retried_or_cancelled(
    store: Store, state: str, retry: str | None, cancel: str | None
) -> None:
    job = put(store.admin_dsn, "t", {}, tenant=None, key="k")
    do: Callable[..., Any]
    for do, after in ((jobs.retry_job, retry), (jobs.cancel_job, cancel)):
        store.execute("UPDATE store.jobs SET state = %s, cancel_requested = false", state)
        if after is None:
            with pytest.raises(JobError, match=f"job {job.id}.* {state}"):
                do(store.admin_dsn, job.id)
            assert jobs.get_job(store.admin_dsn, job.id).state == state
        else:
            assert do(store.admin_dsn, job.id).state == after


@pytest.mark.parametrize(("first", "then"), [("1", "true"), ("1", "1.5"), ("[1, 2]", "[2, 1]")])
def test_payloads_are_compared_in_their_stored_form(store: Store, first: str, then: str) -> None:
    def enqueue(value: str, key: str) -> jobs.JobRecord:
        with psycopg.connect(store.admin_dsn) as connection:
            return jobs.enqueue(connection, "t", {"value": json.loads(value)}, tenant=None, idempotency_key=key)

    # What comes back of this is another number to Python.
    assert enqueue("1e23", "large").id == enqueue("1e23", "large").id
    assert enqueue(first, "k").id == enqueue(first, "k").id
    with pytest.raises(jobs.Conflict):
        enqueue(then, "k")


def test_the_backlog_counts_queued_running_and_failed_jobs(store: Store) -> None:
    for number, state in enumerate(("queued", "queued", "running", "failed", "succeeded", "cancelled")):
        job = put(store.admin_dsn, "t", {}, tenant=store.tenant_a, key=f"{number}")
        store.execute("UPDATE store.jobs SET state = %s WHERE id = %s", state, job.id)
    late = put(store.admin_dsn, "u", {}, tenant=None, key="late")
    store.execute("UPDATE store.jobs SET due_at = now() - interval '1 hour' WHERE id = %s", late.id)
    put(store.admin_dsn, "u", {}, tenant=None, key="later", due_at=datetime.now(UTC) + timedelta(days=1))
    with psycopg.connect(store.admin_dsn) as connection:
        found = jobs.backlog(connection, ["t", "u"])
    counts = [(count.job_type, count.state, count.jobs) for count in found.counts]
    assert counts == [("t", "failed", 1), ("t", "queued", 2), ("t", "running", 1), ("u", "queued", 2)]
    assert found.oldest_due is not None
    assert timedelta(hours=1) <= found.oldest_due < timedelta(hours=2)
    store.execute("DELETE FROM store.jobs WHERE tenant_no IS NULL")
    with psycopg.connect(store.admin_dsn) as connection:
        assert jobs.backlog(connection, []).oldest_due is not None
    # Jobs of a tenant that is disabled wait for that, and for no worker.
    store.execute("UPDATE store.tenants SET disabled_at = now()")
    with psycopg.connect(store.admin_dsn) as connection:
        assert jobs.backlog(connection, []).oldest_due is None
    store.execute("DELETE FROM store.jobs")
    with psycopg.connect(store.admin_dsn) as connection:
        assert jobs.backlog(connection, []) == jobs.Backlog([], None)


# What an application may -----------------------------------------------------------------------------------------


@pytest.fixture
def application(store: Store) -> Iterator[psycopg.Connection[Any]]:
    """A session of the service role as tenant a."""
    with psycopg.connect(store.dsn, autocommit=True) as connection:
        connection.execute("SELECT set_config('app.tenant_id', %s, false)", (store.tenant_a,))
        yield connection


def test_an_application_sees_only_its_own_jobs_with_progress_and_result(
    store: Store, application: psycopg.Connection[Any]
) -> None:
    for tenant in (store.tenant_a, store.tenant_b, None):
        put(store.admin_dsn, "t", {}, tenant=tenant, key="k")
    store.execute("UPDATE store.jobs SET done = 1, total = 2, result = '{\"x\": 3}', worker = 'machine'")
    seen = application.execute(
        "SELECT tenant_id, done, total, result, cancel_requested FROM public.jobs_outbox"
    ).fetchall()
    assert seen == [(tenant_of(store), 1, 2, {"x": 3}, False)]
    columns = {column.name for column in application.execute("SELECT * FROM public.jobs_outbox").description or []}
    assert columns & {"worker", "leased_until", "backfill_id"} == set()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE mds.jobs SET state = 'succeeded'",
        "UPDATE mds.jobs SET cancel_requested = true",
        "UPDATE public.jobs_outbox SET result = '1'",
        "DELETE FROM mds.jobs",
        "INSERT INTO mds.jobs (idempotency_key, job_type, payload, priority, tenant_no) VALUES ('x', 't', '{}', 1, 1)",
        "INSERT INTO mds.jobs (idempotency_key, job_type, payload, priority, result) VALUES ('x', 't', '{}', 1, '1')",
        "INSERT INTO mds.jobs (idempotency_key, job_type, payload, priority, error) VALUES ('x', 't', '{}', 1, 'e')",
        "SELECT store.job_tenant()",
        "SELECT store.announce_jobs()",
        "CREATE TRIGGER t AFTER INSERT ON store.jobs EXECUTE FUNCTION store.announce_jobs()",
    ],
)
def test_an_application_cannot_change_a_job(store: Store, application: psycopg.Connection[Any], statement: Any) -> None:
    put(store.admin_dsn, "t", {}, tenant=store.tenant_a, key="k")
    before = store.rows("SELECT j::text, xmin FROM store.jobs AS j")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        application.execute(statement)
    assert store.rows("SELECT j::text, xmin FROM store.jobs AS j") == before


@pytest.mark.parametrize("key", ["there", "not there"])
def test_without_a_tenant_existing_job_keys_cannot_be_probed(store: Store, key: str) -> None:
    put(store.admin_dsn, "t", {}, tenant=None, key="there")
    statement = "INSERT INTO mds.jobs (idempotency_key, job_type, payload, priority) VALUES (%s, 't', '{}', 1)"
    with psycopg.connect(store.dsn, autocommit=True) as connection:
        for end in ("", " ON CONFLICT DO NOTHING"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="no tenant is set"):
                connection.execute((statement + end).encode(), (key,))
        assert connection.execute("SELECT count(*) FROM mds.jobs").fetchone() == (0,)


@pytest.mark.many_sessions
def test_job_notifications_contain_no_data_of_a_tenant(store: Store) -> None:
    with psycopg.connect(store.dsn, autocommit=True) as listener:
        listener.execute("LISTEN mds_jobs")
        with MDS(dsn=store.dsn, tenant_id=store.tenant_b) as client:
            client.enqueue_job("secret-key", "secret-type", {"secret": 1})
            client.enqueue_job("secret-key", "secret-type", {"secret": 1})
        told = list(listener.notifies(timeout=10, stop_after=1)) + list(listener.notifies(timeout=0.2))
    # The second time nothing was put down.
    assert [(one.channel, one.payload) for one in told] == [("mds_jobs", "")]


# Job types -------------------------------------------------------------------------------------------------------


def test_a_job_type_name_belongs_to_one_function(store: Store) -> None:
    def first(context: JobContext, payload: dict[str, Any]) -> None:
        """Does nothing."""

    def second(context: JobContext, payload: dict[str, Any]) -> None:
        """Does nothing else."""

    name = f"test-{uuid4()}"
    assert job_type(name)(first) is first
    job_type(name)(first)
    with pytest.raises(JobError, match=rf"'{name}' is already defined by .*first, so .*second cannot define it"):
        job_type(name)(second)


async def waits(context: JobContext, payload: dict[str, Any]) -> None:
    """Runs in no thread."""


def takes_one(context: JobContext) -> None:
    """Takes no payload."""


def takes_anything(context, payload):  # type: ignore[no-untyped-def]
    """Does not say which payload."""


@pytest.mark.parametrize("function", [waits, takes_one, takes_anything])
def test_a_function_that_cannot_run_jobs_is_refused(function: Any) -> None:
    with pytest.raises(JobError, match="cannot run jobs"):
        job_type("test-refused")(function)
    assert "test-refused" not in jobs.load()


def test_loading_job_types_from_a_missing_module_is_an_error() -> None:
    with pytest.raises(JobError, match="job types of nowhere cannot be loaded: ModuleNotFoundError"):
        jobs.load("nowhere")


def test_a_job_context_can_be_used_outside_a_worker(store: Store) -> None:
    job = put(store.admin_dsn, "t", {}, tenant=None, key="k")
    context = JobContext(job, store.admin_dsn)
    context.progress(1, 2)
    context.check()
    assert store.admin_dsn not in repr(context)


# The command line -------------------------------------------------------------------------------------------------


@pytest.fixture
def run(store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """`datastore …` on the test's database."""
    use(monkeypatch, DATABASE_URL=store.admin_dsn)
    return runs(main, capsys, monkeypatch)


def test_commands_enqueue_list_cancel_and_retry_jobs(run: Run, store: Store) -> None:
    told = ("--tenant", store.tenant_a, "--idempotency-key", "k", "--payload", '{"n": 1}', "--priority", 9)
    made = run("jobs", "enqueue", "t", *told, "--due", "2030-01-01", "--json").json
    assert (made["tenant"], made["payload"], made["priority"]) == (store.tenant_a, {"n": 1}, 9)
    assert made["due_at"] == "2030-01-01T00:00:00+00:00"
    assert run("jobs", "enqueue", "t", *told, "--json").json == made
    assert run("jobs", "show", made["id"], "--json").json == made
    assert 'payload           {"n": 1}\n' in run("jobs", "show", made["id"]).out
    assert run("jobs", "cancel", made["id"], "--json").json["state"] == "cancelled"
    assert [job["id"] for job in run("jobs", "list", "--state", "cancelled", "--json").json] == [made["id"]]
    assert run("jobs", "list", "--tenant", store.tenant_b, "--json").json == []
    assert run("jobs", "retry", made["id"], "--json").json["state"] == "queued"
    assert "queued" in run("jobs", "list", "--type", "t").out


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("show", "1"), 1, "error: there is no job 1\n"),
        (("enqueue", "t", "--idempotency-key", "k", "--payload", "{"), 2, "not JSON"),
        (("enqueue", "t", "--idempotency-key", "k", "--priority", "101"), 2, "101 is not in the range"),
        (("types", "--import", "nowhere"), 1, "error: job types of nowhere cannot be loaded"),
    ],
)
def test_an_impossible_request_prints_one_error_line(
    run: Run, arguments: tuple[str, ...], code: int, says: str
) -> None:
    done = run("jobs", *arguments)
    assert (done.code, done.out) == (code, "")
    assert says in done.err


@pytest.mark.parametrize(
    ("option", "value"), [("--lease", "0.5"), ("--grace", "-1"), ("--poll", "x"), ("--grace", "nan")]
)
def test_invalid_seconds_for_a_worker_are_a_usage_error(run: Run, option: str, value: str) -> None:
    done = run("worker", option, value)
    assert done.code == 2
    assert "is not a number of seconds from" in done.err


def test_job_types_are_listed_with_their_payload_fields(run: Run) -> None:
    found = {
        kind["job_type"]: kind for kind in run("jobs", "types", "--import", "tests.control.job_types", "--json").json
    }
    assert found["maintain-outbox"]["function"] == "datastore.maintenance.periodic:clean_up"
    assert sorted(found["test-note"]["payload"]["properties"]) == ["file", "text", "until"]
    assert "file, text, until" in run("jobs", "types").out
