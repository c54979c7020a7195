"""Job types for tests of the worker, imported by its process too; and how tests start workers.

What a job does it notes in a file, a line at a time, so that tests see what processes that are gone have done.
"""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from pydantic import BaseModel

from datastore import jobs
from datastore.jobs import Cancelled, JobContext, JobFailed, JobRecord, job_type
from datastore.worker import Worker, WorkerSettings
from tests import fork_server, warm

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60.0
SOON = timedelta(milliseconds=20)


class Note(BaseModel):
    """Where to note what is done, and what. `until`: the file whose appearing ends the job."""

    file: Path
    text: str = ""
    until: Path | None = None


def note(file: Path, *words: object) -> None:
    """Append a line, whole, whoever else does."""
    with file.open("a", encoding="utf-8") as lines:
        lines.write(" ".join(map(str, words)) + "\n")


def noted(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").splitlines() if file.exists() else []


@job_type("test-note", backoff=SOON)
def write_note(_context: JobContext, payload: Note) -> dict[str, str]:
    note(payload.file, payload.text)
    return {"noted": payload.text}


@job_type("test-wait", backoff=SOON)
def wait(context: JobContext, payload: Note) -> str:
    """Wait for the file, and look whether to end."""
    assert payload.until is not None
    note(payload.file, "begin", payload.text)
    rounds = 0
    try:
        while not payload.until.exists():
            rounds += 1
            if payload.text == "quiet":
                context.check()
            else:
                context.progress(rounds, 1_000_000)
            time.sleep(0.005)
    except Cancelled as why:
        note(payload.file, "ended", payload.text, why)
        raise
    note(payload.file, "end", payload.text)
    return "waited"


@job_type("test-stubborn", backoff=SOON)
def stubborn(_context: JobContext, payload: Note) -> None:
    """Wait for the file, whatever happens."""
    assert payload.until is not None
    note(payload.file, "begin", payload.text)
    while not payload.until.exists():
        time.sleep(0.005)
    note(payload.file, "end", payload.text)


@job_type("test-fail", backoff=SOON)
def fail(_context: JobContext, payload: Note) -> None:
    note(payload.file, payload.text)
    raise ValueError("no luck with postgresql://someone:s3cret@db/x\x00 and password=s3cret")


@job_type("test-give-up")
def give_up(_context: JobContext, payload: Note) -> None:
    raise JobFailed(f"never: {payload.text}")


@job_type("test-slow-backoff", backoff=timedelta(hours=1) / 8)
def fail_slowly(_context: JobContext, _payload: dict[str, Any]) -> None:
    raise RuntimeError("not now")


@job_type("test-answer")
def answer(_context: JobContext, payload: dict[str, str]) -> object:
    """Return what Python makes of a text."""
    return eval(payload["python"])


@job_type("test-brief", timeout=timedelta(seconds=1))
def brief(_context: JobContext, payload: dict[str, str]) -> object:
    """The same for a job that may take a second."""
    return eval(payload["python"])


@job_type("test-progress")
def progress(context: JobContext, payload: dict[str, str]) -> None:
    """Say how far it is, as Python makes it of a text."""
    context.progress(eval(payload["python"]))


def put(
    dsn: str, kind: str, payload: BaseModel | dict[str, Any], *, tenant: str | None, key: str, **options: Any
) -> JobRecord:
    """Put a job down."""
    with psycopg.connect(dsn) as connection:
        return jobs.enqueue(
            connection, kind, payload, tenant=UUID(tenant) if tenant else None, idempotency_key=key, **options
        )


def until(condition: Callable[[], object]) -> None:
    """Wait for what another process or session does, which sends no event."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.005)


def is_in(dsn: str, id_: int, state: str) -> Callable[[], bool]:
    """Whether a job is in a state by now."""
    return lambda: jobs.get_job(dsn, id_).state == state


def work(dsn: str, **settings: Any) -> dict[str, int]:
    """Do what is due, in this process; how many jobs ended in which state."""
    fork_server.start()
    settings = {"upkeep": False, "until_idle": True, "concurrency": 1, **settings}
    return dict(Worker(dsn, jobs.load(__name__), WorkerSettings(**settings)).run())


@contextmanager
def working(dsn: str, **settings: Any) -> Iterator[Worker]:
    """A worker in a thread of this process, for as long as the block runs."""
    fork_server.start()
    settings = {"upkeep": False, "grace": timedelta(0), **settings}
    worker = Worker(dsn, jobs.load(__name__), WorkerSettings(**settings))
    broken: list[BaseException] = []

    def run() -> None:
        try:
            worker.run()
        except BaseException as error:  # noqa: BLE001 - told by the test
            broken.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield worker
    finally:
        worker.stop()
        thread.join(PATIENCE)
        assert not thread.is_alive()
        assert broken == []


@contextmanager
def process(dsn: str, *options: object, log: Path | None = None, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """`datastore worker` as a process of its own; killed at the end of the block, if it is there still."""
    command = ["worker", "--import", __name__, "--no-upkeep", "--json"]
    environment = {**os.environ, "DATABASE_URL": dsn, "PYTHONPATH": str(ROOT), **environment}
    with (log or Path(os.devnull)).open("a") as stderr:
        started = warm.Started(
            "datastore",
            [*command, *map(str, options)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
        try:
            yield started
        finally:
            if started.poll() is None:
                started.send_signal(signal.SIGKILL)
            started.communicate()
