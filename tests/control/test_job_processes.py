"""Jobs that hold the interpreter, crash or never end: that costs such a job an attempt, and no other job anything."""

import os
import signal
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from datastore import jobs
from datastore.jobs import JobRecord
from tests.conftest import Store
from tests.control.job_types import Note, is_in, noted, process, put, until, work, working

# Nothing of it is another on another engine.
pytestmark = [pytest.mark.many_sessions, pytest.mark.engines("postgres")]

SECOND = timedelta(seconds=1)
NOTE = "[open({file!r}, 'a').write(f'{{__import__(\"os\").getpid()}}\\n'), {then}]"
HOLD = "__import__('ctypes').PyDLL(None).sleep({seconds})"
"""Sleep without letting go of the interpreter, so that none of the process's other threads runs meanwhile."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "notes"


@pytest.fixture
def python(store: Store, file: Path) -> Callable[..., JobRecord]:
    """Put down a job that notes its process and then does what a Python expression says."""

    def put_down(then: str, kind: str = "test-answer", **options: Any) -> JobRecord:
        payload = {"python": NOTE.format(file=str(file), then=then)}
        return put(store.admin_dsn, kind, payload, tenant=store.tenant_a, key=f"{kind} {then}", **options)

    return put_down


def test_a_job_that_blocks_the_interpreter_beyond_its_lease_runs_once(
    store: Store, file: Path, tmp_path: Path, python: Callable[..., JobRecord]
) -> None:
    """Nor is its worker's other job taken for lost."""
    ready, notes = tmp_path / "ready", tmp_path / "other"
    holding = python(HOLD.format(seconds=4))
    other = put(store.admin_dsn, "test-wait", Note(file=notes, until=ready), tenant=store.tenant_a, key="other")
    with process(store.admin_dsn, "--lease", 1), process(store.admin_dsn, "--lease", 1):
        until(is_in(store.admin_dsn, holding.id, "succeeded"))
        ready.touch()
        until(is_in(store.admin_dsn, other.id, "succeeded"))
    assert len(noted(file)) == 1
    assert noted(notes) == ["begin ", "end "]
    assert [jobs.get_job(store.admin_dsn, job.id).attempts for job in (holding, other)] == [1, 1]


@pytest.mark.parametrize(
    ("crash", "how"),
    [
        ("__import__('os')._exit(3)", "its process ended with exit code 3"),
        (f"__import__('os').kill(__import__('os').getpid(), {int(signal.SIGSEGV)})", "(SIGSEGV)"),
        (f"__import__('os').kill(__import__('os').getpid(), {int(signal.SIGKILL)})", "when memory runs out"),
    ],
)
def test_a_crashing_job_loses_an_attempt_and_affects_no_other_job(
    store: Store, file: Path, tmp_path: Path, python: Callable[..., JobRecord], crash: str, how: str
) -> None:
    ready, notes = tmp_path / "ready", tmp_path / "other"
    other = put(store.admin_dsn, "test-wait", Note(file=notes, until=ready), tenant=store.tenant_a, key="other")
    with working(store.admin_dsn, concurrency=2):
        until(lambda: noted(notes) == ["begin "])
        crashing = python(crash, max_attempts=1)
        until(is_in(store.admin_dsn, crashing.id, "failed"))
        ready.touch()
        until(is_in(store.admin_dsn, other.id, "succeeded"))
    error = jobs.get_job(store.admin_dsn, crashing.id).error
    assert error is not None
    assert how in error
    assert len(noted(file)) == 1
    assert jobs.get_job(store.admin_dsn, other.id).attempts == 1


def test_a_job_that_exceeds_the_time_limit_of_its_type_is_killed(
    store: Store, file: Path, python: Callable[..., JobRecord]
) -> None:
    job = python(HOLD.format(seconds=600), "test-brief", max_attempts=1)
    assert work(store.admin_dsn) == {"failed": 1}
    assert jobs.get_job(store.admin_dsn, job.id).error == "it ran longer than 1 s, and was ended"
    assert is_gone(int(noted(file)[0]))


def test_a_cancelled_job_that_ignores_the_request_is_killed(
    store: Store, file: Path, python: Callable[..., JobRecord]
) -> None:
    job = python(HOLD.format(seconds=600))
    with working(store.admin_dsn):
        until(lambda: noted(file))
        jobs.cancel_job(store.admin_dsn, job.id)
        until(is_in(store.admin_dsn, job.id, "cancelled"))
        assert is_gone(int(noted(file)[0]))


def test_the_jobs_of_a_killed_worker_end_with_it(store: Store, file: Path, python: Callable[..., JobRecord]) -> None:
    python(HOLD.format(seconds=600))
    with process(store.admin_dsn) as worker:
        until(lambda: noted(file))
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        until(lambda: is_gone(int(noted(file)[0])))


@pytest.mark.parametrize(
    ("settings", "processes"), [({}, 1), ({"process_jobs": 1}, 3), ({"process_memory": 1}, 3), ({"process_jobs": 2}, 2)]
)
def test_a_job_process_is_replaced_after_its_job_or_memory_limit(
    store: Store, file: Path, python: Callable[..., JobRecord], settings: dict[str, int], processes: int
) -> None:
    for number in range(3):
        python(str(number))
    assert work(store.admin_dsn, **settings) == {"succeeded": 3}
    assert len(set(noted(file))) == processes


def is_gone(pid: int) -> bool:
    """Whether a process has ended."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False
