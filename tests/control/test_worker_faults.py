"""Workers as processes of their own, killed, stopped and cut off: nothing is lost, and nothing is recorded twice."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from datastore import jobs, migration, tenants
from datastore.embedded import EmbeddedServer
from tests.conftest import SETTINGS, Store
from tests.control.job_types import PATIENCE, Note, is_in, noted, process, put, until
from tests.relay import Relay

# Nothing of it is another on another engine.
pytestmark = [pytest.mark.many_sessions, pytest.mark.engines("postgres")]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "notes"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def stopped(worker: "subprocess.Popen[str]") -> dict[str, int]:
    """End a worker as a service manager does; how many jobs it says ended in which state."""
    worker.send_signal(signal.SIGTERM)
    out, _ = worker.communicate(timeout=PATIENCE)
    assert worker.returncode == 0
    return {state: count for state, count in json.loads(out).items() if count}


def test_a_job_whose_worker_is_killed_is_taken_over(store: Store, file: Path, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    job = put(store.admin_dsn, "test-wait", Note(file=file, until=ready), tenant=store.tenant_a, key="k")
    with process(store.admin_dsn, "--lease", 2) as first:
        until(lambda: noted(file) == ["begin "])
        first.send_signal(signal.SIGKILL)
        first.wait(PATIENCE)
        with process(store.admin_dsn, "--lease", 2) as second:
            until(lambda: noted(file) == ["begin ", "begin "])
            taken = jobs.get_job(store.admin_dsn, job.id)
            assert taken.error == f"its worker was lost in attempt 1 of {taken.max_attempts}"
            ready.touch()
            until(is_in(store.admin_dsn, job.id, "succeeded"))
            assert stopped(second) == {"succeeded": 1}
    assert noted(file) == ["begin ", "begin ", "end "]
    done = jobs.get_job(store.admin_dsn, job.id)
    assert (done.attempts, done.error) == (2, None)


def test_a_job_whose_workers_are_killed_fails_after_max_attempts(store: Store, file: Path) -> None:
    payload = Note(file=file, until=file / "never")
    job = put(store.admin_dsn, "test-wait", payload, tenant=store.tenant_a, key="k", max_attempts=1)
    with process(store.admin_dsn, "--lease", 1) as first:
        until(lambda: noted(file) == ["begin "])
        first.send_signal(signal.SIGKILL)
    with process(store.admin_dsn, "--lease", 1) as second:
        until(is_in(store.admin_dsn, job.id, "failed"))
        assert stopped(second) == {}
    dead = jobs.get_job(store.admin_dsn, job.id)
    assert (dead.attempts, dead.error) == (1, "its worker was lost in attempt 1 of 1")
    assert noted(file) == ["begin "]


def test_a_suspended_worker_records_nothing_after_its_job_was_taken_over(
    store: Store, file: Path, log: Path, tmp_path: Path
) -> None:
    ready = tmp_path / "ready"
    job = put(store.admin_dsn, "test-stubborn", Note(file=file, until=ready), tenant=store.tenant_a, key="k")
    with process(store.admin_dsn, "--lease", 1, log=log) as first:
        until(lambda: noted(file) == ["begin "])
        first.send_signal(signal.SIGSTOP)
        with process(store.admin_dsn, "--lease", 4) as second:
            until(lambda: len(noted(file)) == 2)
            holder = jobs.get_job(store.admin_dsn, job.id).worker
            ready.touch()
            until(is_in(store.admin_dsn, job.id, "succeeded"))
            first.send_signal(signal.SIGCONT)
            until(lambda: "its lease was lost" in log.read_text())
            assert stopped(first) == {}
            assert stopped(second) == {"succeeded": 1}
    done = jobs.get_job(store.admin_dsn, job.id)
    assert (done.worker, done.attempts) == (holder, 2)


def test_a_suspended_worker_continues_its_job_if_no_other_took_it_over(
    store: Store, file: Path, log: Path, tmp_path: Path
) -> None:
    ready = tmp_path / "ready"
    job = put(store.admin_dsn, "test-stubborn", Note(file=file, until=ready), tenant=store.tenant_a, key="k")
    with process(store.admin_dsn, "--lease", 1, log=log) as worker:
        until(lambda: noted(file) == ["begin "])
        worker.send_signal(signal.SIGSTOP)
        until(lambda: store.rows("SELECT leased_until < now() - interval '1 s' FROM store.jobs") == [(True,)])
        worker.send_signal(signal.SIGCONT)
        # It holds on to it again, or has begun it a second time.
        until(lambda: store.rows("SELECT leased_until > now() FROM store.jobs") == [(True,)])
        ready.touch()
        until(is_in(store.admin_dsn, job.id, "succeeded"))
        assert stopped(worker) == {"succeeded": 1}
    assert noted(file) == ["begin ", "end "]
    assert jobs.get_job(store.admin_dsn, job.id).attempts == 1


def test_two_workers_never_do_one_job_twice(store: Store, file: Path) -> None:
    with psycopg.connect(store.admin_dsn) as connection:
        tenant = tenants.list_tenants(store.admin_dsn)[0].id
        for number in range(300):
            payload = Note(file=file, text=str(number))
            jobs.enqueue(connection, "test-note", payload, tenant=tenant, idempotency_key=str(number))
    options = ("--concurrency", 4, "--until-idle")
    with process(store.admin_dsn, *options) as first, process(store.admin_dsn, *options) as second:
        counts = [json.loads(worker.communicate(timeout=PATIENCE)[0])["succeeded"] for worker in (first, second)]
    assert sum(counts) == 300
    assert Counter(noted(file)) == Counter(map(str, range(300)))
    assert store.rows("SELECT state, attempts, count(*) FROM store.jobs GROUP BY 1, 2") == [("succeeded", 1, 300)]


def test_an_always_failing_job_does_not_block_other_jobs(store: Store, file: Path) -> None:
    payload = Note(file=file, text="bad")
    bad = put(store.admin_dsn, "test-fail", payload, tenant=None, key="bad", priority=100, max_attempts=5)
    unknown = put(store.admin_dsn, "nobody-knows", {}, tenant=None, key="unknown", priority=100)
    good = [
        put(store.admin_dsn, "test-note", Note(file=file, text="good"), tenant=None, key=str(number), priority=0)
        for number in range(5)
    ]
    with process(store.admin_dsn, "--concurrency", 1) as worker:
        for job in good:
            until(is_in(store.admin_dsn, job.id, "succeeded"))
        until(is_in(store.admin_dsn, bad.id, "failed"))
        assert jobs.get_job(store.admin_dsn, unknown.id).state == "queued"
        counts = stopped(worker)
    assert counts == {"succeeded": 5, "failed": 1, "queued": 4}
    assert Counter(noted(file)) == {"bad": 5, "good": 5}


# Shutting down -----------------------------------------------------------------------------------------------------


def test_on_sigterm_running_jobs_finish_and_no_other_starts(
    store: Store, file: Path, log: Path, tmp_path: Path
) -> None:
    ready = tmp_path / "ready"
    first = put(store.admin_dsn, "test-wait", Note(file=file, until=ready), tenant=None, key="first")
    second = put(store.admin_dsn, "test-note", Note(file=file, text="second"), tenant=None, key="second")
    with process(store.admin_dsn, "--concurrency", 1, log=log) as worker:
        until(lambda: noted(file) == ["begin "])
        worker.send_signal(signal.SIGTERM)
        until(lambda: "stopping" in log.read_text())
        ready.touch()
        assert stopped_by_now(worker) == {"succeeded": 1}
    assert jobs.get_job(store.admin_dsn, first.id).state == "succeeded"
    waiting = jobs.get_job(store.admin_dsn, second.id)
    assert (waiting.state, waiting.attempts) == ("queued", 0)


def stopped_by_now(worker: "subprocess.Popen[str]") -> dict[str, int]:
    out, _ = worker.communicate(timeout=PATIENCE)
    assert worker.returncode == 0
    return {state: count for state, count in json.loads(out).items() if count}


@pytest.mark.parametrize("kind", ["test-wait", "test-stubborn"])
def test_a_job_unfinished_after_the_grace_period_is_requeued_without_an_attempt(
    store: Store, file: Path, tmp_path: Path, kind: str
) -> None:
    ready = tmp_path / "ready"
    job = put(store.admin_dsn, kind, Note(file=file, until=ready), tenant=None, key="k")
    with process(store.admin_dsn, "--grace", 0.1, "--lease", 600) as worker:
        until(lambda: noted(file) == ["begin "])
        assert stopped(worker) == {"queued": 1}
    given_back = jobs.get_job(store.admin_dsn, job.id)
    assert (given_back.state, given_back.attempts, given_back.leased_until) == ("queued", 0, None)
    assert noted(file) == (["begin ", "ended  stopping"] if kind == "test-wait" else ["begin "])
    ready.touch()
    with process(store.admin_dsn):
        until(is_in(store.admin_dsn, job.id, "succeeded"))
    assert jobs.get_job(store.admin_dsn, job.id).attempts == 1


# The database ------------------------------------------------------------------------------------------------------


@pytest.fixture
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A server of the test's own, which it may stop."""
    server = EmbeddedServer(tmp_path_factory.mktemp("own"), port=0, settings=SETTINGS)
    server.up(migration.migrate)
    yield server
    server.discard()


def test_ten_running_jobs_survive_a_database_restart(
    own: EmbeddedServer, file: Path, log: Path, tmp_path: Path
) -> None:
    ready = tmp_path / "ready"
    dsn = own.dsn("mds_admin")
    tenant = tenants.create_tenant(dsn, "a").id
    made = [
        put(dsn, "test-stubborn", Note(file=file, text=str(number), until=ready), tenant=str(tenant), key=str(number))
        for number in range(10)
    ]
    with process(dsn, "--concurrency", 10, log=log) as worker:
        until(lambda: len(noted(file)) == 10)
        own.down()
        until(lambda: "the database is away" in log.read_text())
        # They end while nobody can be told.
        ready.touch()
        until(lambda: len(noted(file)) == 20)
        # At the port that it had.
        EmbeddedServer(own.home, settings=SETTINGS).start()
        for job in made:
            until(is_in(dsn, job.id, "succeeded"))
        after = put(dsn, "test-note", Note(file=file, text="after"), tenant=None, key="after")
        until(is_in(dsn, after.id, "succeeded"))
        assert stopped(worker) == {"succeeded": 11}
    assert {jobs.get_job(dsn, job.id).attempts for job in made} == {1}
    assert Counter(noted(file)) == Counter(
        [*(f"{what} {number}" for number in range(10) for what in ("begin", "end")), "after"]
    )


def test_an_idle_worker_stops_at_once_while_the_database_is_down(own: EmbeddedServer, log: Path) -> None:
    with process(own.dsn("mds_admin"), "--grace", 2 * PATIENCE, log=log) as worker:
        until(lambda: log.exists() and "jobs at once" in log.read_text())
        own.down()
        until(lambda: "the database is away" in log.read_text())
        assert stopped(worker) == {}


def test_a_worker_continues_after_its_connections_are_terminated(store: Store, file: Path, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    job = put(store.admin_dsn, "test-wait", Note(file=file, until=ready), tenant=None, key="k")
    with process(store.admin_dsn) as worker:
        until(lambda: noted(file) == ["begin "])
        theirs = "FROM pg_stat_activity WHERE application_name = 'datastore worker' AND datname = current_database()"
        until(lambda: store.rows(f"SELECT count(*) {theirs}") == [(2,)])
        store.rows(f"SELECT pg_terminate_backend(pid) {theirs}")
        ready.touch()
        until(is_in(store.admin_dsn, job.id, "succeeded"))
        assert stopped(worker) == {"succeeded": 1}
    assert jobs.get_job(store.admin_dsn, job.id).attempts == 1


@pytest.fixture
def relay(store: Store) -> Iterator[Relay]:
    made = Relay(store.admin_dsn)
    yield made
    made.close()


def test_a_worker_replaces_silent_connections(
    store: Store, relay: Relay, file: Path, log: Path, tmp_path: Path
) -> None:
    """A network that has failed over: the sockets stay open, and nothing comes through them any more."""
    ready = tmp_path / "ready"
    job = put(store.admin_dsn, "test-wait", Note(file=file, until=ready), tenant=None, key="k")
    with process(relay.dsn, "--lease", 6, log=log) as worker:
        until(lambda: noted(file) == ["begin "])
        relay.strand()
        until(lambda: "the server sent nothing" in log.read_text())
        ready.touch()
        until(is_in(store.admin_dsn, job.id, "succeeded"))
        after = put(store.admin_dsn, "test-note", Note(file=file, text="after"), tenant=None, key="after")
        until(is_in(store.admin_dsn, after.id, "succeeded"))
        assert stopped(worker) == {"succeeded": 2}
    assert jobs.get_job(store.admin_dsn, job.id).attempts == 1


def test_a_worker_ends_on_sigterm_although_the_network_is_silent(relay: Relay, log: Path) -> None:
    with process(relay.dsn, "--lease", 6, "--grace", 1, log=log) as worker:
        until(lambda: log.exists() and "jobs at once" in log.read_text())
        relay.silence()
        until(lambda: "the database is away" in log.read_text())
        assert stopped(worker) == {}


def test_a_worker_that_cannot_start_prints_one_error_line(own: EmbeddedServer, log: Path) -> None:
    with psycopg.connect(own.superuser_dsn(), autocommit=True) as connection:
        connection.execute("CREATE DATABASE bare OWNER mds_admin")
    with process(own.dsn("mds_admin", "bare"), log=log) as worker:
        assert worker.wait(PATIENCE) == 1
    assert log.read_text().startswith("error: the schema version is none")
    log.unlink()
    with process("postgresql://nobody@127.0.0.1:1/x", log=log) as worker:
        assert worker.wait(PATIENCE) == 1
    assert log.read_text().startswith("error: ")
    assert "Traceback" not in log.read_text()


# Third parties -----------------------------------------------------------------------------------------------------


def test_a_third_party_adds_a_job_type_by_entry_point(store: Store, file: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    information = site / "desk_jobs-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: desk-jobs\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[datastore.jobs]\ndesk = desk_jobs\n")
    (site / "desk_jobs.py").write_text(
        textwrap.dedent(
            """
            from pathlib import Path
            from pydantic import BaseModel
            from datastore.jobs import JobContext, job_type

            class Report(BaseModel):
                file: Path

            @job_type("desk-report")
            def report(context: JobContext, payload: Report) -> dict[str, int]:
                payload.file.write_text("a desk's own report")
                return {"pages": 1}
            """
        )
    )
    environment = {**os.environ, "PYTHONPATH": str(site), "DATABASE_URL": store.admin_dsn}
    program = (sys.executable, "-m", "datastore.cli")

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*program, *arguments], env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
        )

    job = put(store.admin_dsn, "desk-report", {"file": str(file)}, tenant=store.tenant_a, key="k")
    types = json.loads(run("jobs", "types", "--json").stdout)
    assert [kind["function"] for kind in types if kind["job_type"] == "desk-report"] == ["desk_jobs:report"]
    assert run("worker", "--until-idle", "--no-upkeep").returncode == 0
    assert jobs.get_job(store.admin_dsn, job.id).result == {"pages": 1}
    assert file.read_text() == "a desk's own report"
    (site / "desk_jobs.py").write_text("import nowhere_to_be_found")
    broken = run("worker", "--until-idle")
    assert broken.returncode == 1
    assert broken.stderr == (
        "error: job types of desk_jobs (entry point 'desk') cannot be loaded:"
        " ModuleNotFoundError: No module named 'nowhere_to_be_found'\n"
    )
