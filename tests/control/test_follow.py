"""Watching long work: how far it is, how it ends, and that somebody is at work on it."""

import json
import os
import pty
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from datastore import jobs
from datastore.cli import main
from datastore.commands import follow
from datastore.commands.follow import Step
from mds_client import KINDS
from tests import warm
from tests.clients.test_cli import Run, runs, use
from tests.conftest import Store
from tests.control.job_types import Note, is_in, noted, process, put, until, work, working

# Nothing of it is another on another engine.
pytestmark = pytest.mark.engines("postgres")


@pytest.fixture
def run(store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    use(monkeypatch, DATABASE_URL=store.admin_dsn)
    monkeypatch.setattr(follow, "LOOK", 0.02)
    return runs(main, capsys, monkeypatch)


class Terminal:
    """A command whose standard error is a terminal, and what it has written there so far."""

    def __init__(self, dsn: str, *arguments: object) -> None:
        self._ours, theirs = pty.openpty()
        self._written = bytearray()
        environment = {**os.environ, "DATABASE_URL": dsn, "TERM": "xterm", "COLUMNS": "120"}
        command = [str(warm.folder() / "datastore"), *map(str, arguments)]
        self._command = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=theirs)
        os.close(theirs)
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def _read(self) -> None:
        # The last one who writes there being gone is an error of the device.
        with suppress(OSError):
            while part := os.read(self._ours, 4096):
                self._written += part

    @property
    def text(self) -> str:
        return self._written.decode("utf-8", "replace")

    def ended(self) -> str:
        assert self._command.wait(60) == 0
        self._reading.join(60)
        return self.text

    def close(self) -> None:
        self._command.kill()
        self._command.wait()
        self._reading.join(60)
        os.close(self._ours)


@pytest.mark.many_sessions
def test_following_a_job_waits_for_its_end_and_prints_its_record(store: Store, run: Run, tmp_path: Path) -> None:
    job = put(store.admin_dsn, "test-note", Note(file=tmp_path / "n", text="x"), tenant=store.tenant_a, key="k")
    with working(store.admin_dsn):
        done = run("jobs", "follow", job.id, "--json")
    assert (done.code, done.err) == (0, "")
    assert (done.json["id"], done.json["state"], done.json["result"]) == (job.id, "succeeded", {"noted": "x"})
    assert "succeeded" in run("jobs", "follow", job.id).out
    assert run("jobs", "follow", job.id, "--tenant", store.tenant_b).err == f"error: there is no job {job.id}\n"


@pytest.mark.many_sessions
@pytest.mark.parametrize("state", ["failed", "cancelled"])
def test_following_a_failed_or_cancelled_job_exits_with_1(store: Store, run: Run, tmp_path: Path, state: str) -> None:
    job = put(store.admin_dsn, "test-give-up", Note(file=tmp_path / "n"), tenant=None, key="k")
    if state == "cancelled":
        jobs.cancel_job(store.admin_dsn, job.id)
    else:
        work(store.admin_dsn)
    done = run("jobs", "follow", job.id, "--json")
    assert (done.code, done.json["state"]) == (1, state)


@pytest.mark.many_sessions
def test_exports_and_deletions_can_be_followed(
    store: Store, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATASTORE_EXPORTS", str(tmp_path))
    with working(store.admin_dsn):
        done = run("tenants", "export", "a", "--key", "2", "--kind", "bars", "--follow", "--json")
        assert (done.code, done.json["state"], done.json["result"]["files"][0]["kind"]) == (0, "succeeded", "bars")
        done = run("tenants", "delete", store.tenant_a, "--yes-delete", "a", "--follow", "--json")
        assert (done.code, done.json["state"], done.json["result"]["name"]) == (0, "succeeded", "a")


@pytest.mark.many_sessions
def test_a_terminal_shows_the_progress_of_a_job(store: Store, tmp_path: Path) -> None:
    note, end = tmp_path / "note", tmp_path / "end"
    job = put(store.admin_dsn, "test-wait", Note(file=note, until=end), tenant=None, key="k")
    with process(store.admin_dsn), closing(Terminal(store.admin_dsn, "jobs", "follow", job.id)) as command:
        until(lambda: f"job {job.id}" in command.text and "0%" in command.text and "running" in command.text)
        end.touch()
        shown = command.ended()
    assert noted(note) == ["begin ", "end "]
    # The bar is gone, and the cursor there.
    assert shown.endswith("\x1b[?25h\r\x1b[1A\x1b[2K")


@pytest.mark.many_sessions
def test_a_terminal_shows_the_current_rollup_or_kind(store: Store) -> None:
    with closing(Terminal(store.admin_dsn, "aggregates", "refresh", "bars_1h", "bars_5m")) as command:
        shown = command.ended()
    assert shown.index("bars_5m") < shown.index("bars_1h")
    assert "bars_1d" not in shown
    with closing(Terminal(store.admin_dsn, "policies", "expire")) as command:
        assert all(kind in command.ended() for kind in KINDS)


def test_no_progress_bar_is_printed_to_a_pipe(store: Store, run: Run) -> None:
    for command in (("aggregates", "refresh"), ("policies", "expire", "--json")):
        done = run(*command)
        assert done.code == 0
        assert "\x1b" not in done.err + done.out
        assert "%" not in done.err
    unknown = run("aggregates", "refresh", "bars_5m", "bars_7m")
    assert (unknown.code, unknown.out) == (1, "")
    assert unknown.err.startswith("error: there is no rollup bars_7m; there are: ")


def test_a_missing_worker_is_reported_once(capsys: pytest.CaptureFixture[str]) -> None:
    clock = iter(range(1000))
    looks = iter([*[Step(0, None, "queued", "nobody is there")] * 30, Step(1, 2, "running", None), None])

    def watch(steps: Iterator[Any]) -> str:
        follow.followed("it", lambda: next(steps), lambda step: step, clock=lambda: next(clock), sleep=lambda _: None)
        return capsys.readouterr().err

    assert watch(looks) == "nothing has begun for 10 s: nobody is there\n"
    # What waits for its turn, or for its next attempt, is nobody's fault.
    by_turns = [Step(0, None, "queued", "nobody" if number % 5 else None) for number in range(30)]
    assert watch(iter([*by_turns, None])) == ""


@pytest.mark.many_sessions
def test_nobody_works_is_true_until_a_worker_runs_a_job(store: Store, tmp_path: Path) -> None:
    assert follow.nobody_works(store.admin_dsn)
    end = tmp_path / "end"
    job = put(store.admin_dsn, "test-wait", Note(file=tmp_path / "n", until=end), tenant=store.tenant_a, key="k")
    assert follow.nobody_works(store.admin_dsn)
    with working(store.admin_dsn):
        until(is_in(store.admin_dsn, job.id, "running"))
        assert not follow.nobody_works(store.admin_dsn)
        end.touch()
        until(is_in(store.admin_dsn, job.id, "succeeded"))


@pytest.mark.many_sessions
def test_following_without_a_worker_prints_a_hint_and_keeps_waiting(store: Store, tmp_path: Path) -> None:
    job = put(store.admin_dsn, "test-note", Note(file=tmp_path / "n"), tenant=None, key="k")
    command = [str(warm.folder() / "datastore"), "jobs", "follow", str(job.id), "--json"]
    with subprocess.Popen(
        command, env={**os.environ, "DATABASE_URL": store.admin_dsn}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as following:
        assert following.stderr is not None
        assert b"is there a worker that can do it?" in following.stderr.readline()
        work(store.admin_dsn)
        out, err = following.communicate(timeout=60)
    assert (following.returncode, err, json.loads(out)["state"]) == (0, b"", "succeeded")
