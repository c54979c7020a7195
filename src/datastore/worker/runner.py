"""The program of a job process: it runs job functions one after the other and reports to its worker.

A worker starts these processes (`datastore.worker.processes`), so that a job that blocks the interpreter, crashes or
uses all memory harms no other job. Messages go through a pipe. Progress and the end of the lease are in shared memory.
This process has no database connection of its own: the worker stores everything about a job.
"""

import contextlib
import ctypes
import faulthandler
import json
import logging
import operator
import os
import re
import signal
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from logging.handlers import QueueHandler
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final, Literal

from pydantic_core import to_jsonable_python

from datastore import jobs
from datastore.jobs import Cancelled, JobContext, JobError, JobFailed, JobRecord, JobType
from mds_client.console import one_line

_log = logging.getLogger(__name__)

Ending = Literal["cancelled", "lost", "stopping", "timeout"]
"""Why a job has to end before its function returns."""

_LONGEST_ERROR: Final = 2000
_LARGEST_RESULT: Final = 1 << 20
_SECRET: Final = re.compile(
    r"(://[^\s/@:]+:)[^\s@]+(?=@)"
    r"|((?:password|passwd|secret|token|api_?key|authorization)[\"']?\s*[=:]\s*[\"']?(?:bearer\s+)?)[^\s\"',;&]+",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Setup:
    """The settings that a job process gets when it starts.

    Attributes:
        modules: The modules to import for job types, in addition to the built-in ones and those of entry points.
        dsn: The control plane's DSN, for the functions.
        environment: The worker's environment variables.
        levels: The worker's log levels by logger name.
        most_jobs: The number of jobs after which the process is replaced.
        most_memory: A process that uses more memory than this after a job is replaced, in bytes.
    """

    modules: tuple[str, ...]
    dsn: str
    environment: Mapping[str, str]
    levels: Mapping[str, int]
    most_jobs: int
    most_memory: int


@dataclass(frozen=True, slots=True)
class Start:
    """Message to a job process: run this job."""

    job: JobRecord


@dataclass(frozen=True, slots=True)
class End:
    """Message to a job process: end the job. The function learns of it when it reports or checks."""

    why: Ending


@dataclass(frozen=True, slots=True)
class Ready:
    """Message from a job process: it has loaded the job types."""


@dataclass(frozen=True, slots=True)
class Unusable:
    """Message from a job process: it cannot load the job types."""

    error: str


@dataclass(frozen=True, slots=True)
class Ended:
    """How a job ended.

    Attributes:
        how: `returned`; `failed` (another attempt would not help); `raised`; `ended` because it had to, see `why`;
            `crashed`: its process died; `unstarted`: no process could be started for it.
        text: The result as JSON text, or the error.
        why: Why it had to end.
        done: Its progress.
        total: The total that it was working towards.
        replace: Whether the process must be replaced, because it has run many jobs or uses much memory.
    """

    how: Literal["returned", "failed", "raised", "ended", "crashed", "unstarted"]
    text: str | None = None
    why: Ending | None = None
    done: int | None = None
    total: int | None = None
    replace: bool = False


_HELD_UNTIL, _DONE, _TOTAL = range(3)
_NOTHING: Final = -1


class Board:
    """Three numbers in memory that a worker shares with one of its job processes.

    They are not sent as messages, because a function that blocks the interpreter does not read any.
    """

    TYPE: Final = ctypes.c_longlong
    WORDS: Final = 3

    def __init__(self, words: Any) -> None:
        self.words = words

    def clear(self) -> None:
        """Reset the progress for the next job."""
        self.words[_DONE] = self.words[_TOTAL] = _NOTHING

    def hold(self, until: float) -> None:
        """Set the end of the lease, by `time.monotonic`, which is the same in all processes."""
        self.words[_HELD_UNTIL] = int(until * 1e9)

    @property
    def is_held(self) -> bool:
        """Whether the worker still holds the job."""
        return time.monotonic_ns() <= int(self.words[_HELD_UNTIL])

    def report(self, done: int, total: int | None) -> None:
        """Store the progress; without a total, the previous total stays."""
        if total is not None:
            self.words[_TOTAL] = total
        self.words[_DONE] = done

    @property
    def progress(self) -> tuple[int | None, int | None]:
        """The progress: units done, and their total."""
        done, total = int(self.words[_DONE]), int(self.words[_TOTAL])
        return (None if done == _NOTHING else done), (None if total == _NOTHING else total)


def main(pipe: "Connection[Any, Any]", lifeline: "Connection[Any, Any]", words: Any, setup: Setup) -> None:
    """Run jobs until the worker closes its end of the pipe. This is the entry point of a job process."""
    _end_with_worker(lifeline)
    _leave_signals_to_worker()
    os.environ.clear()
    os.environ.update(setup.environment)
    if sys.__stderr__ is not None:
        faulthandler.enable(sys.__stderr__)
    JobRunner(pipe, Board(words), setup).run()


def _end_with_worker(lifeline: "Connection[Any, Any]") -> None:
    """Ask the system to end this process when the worker is gone and its end of the pipe closes.

    The system does this even while a function blocks the interpreter and no Python code can run. Where that is not
    available (`F_SETSIG` is Linux only), the process ends as soon as the function releases the interpreter.
    """
    if sys.platform == "linux":
        import fcntl

        fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    if lifeline.poll():
        os._exit(1)


def _leave_signals_to_worker() -> None:
    """Survive the signals that a terminal or a service manager sends to all processes of the worker.

    The worker decides what they mean for the jobs. They are caught, not ignored, because a program that a function
    starts would inherit the ignored signals.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)


class _Task:
    """The running job, as its function's context sees it."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self.ending: Ending | None = None

    def report(self, done: int | None, total: int | None) -> None:
        """Store progress, and check whether the job has to end. The function's context calls this.

        Raises:
            Cancelled: The function has to end.
            ValueError: A number is negative or too large.
            TypeError: A number is not an integer.
        """
        if done is not None:
            self.board.report(_counted(done), None if total is None else _counted(total))
        if self.ending is None and not self.board.is_held:
            # The lease has expired without a renewal, so another worker may have the job by now.
            self.ending = "lost"
        if self.ending is not None:
            raise Cancelled(self.ending)


class JobRunner:
    """Runs jobs in the main thread of a job process, while another thread receives messages."""

    def __init__(self, pipe: "Connection[Any, Any]", board: Board, setup: Setup) -> None:
        self._pipe = pipe
        self._board = board
        self._setup = setup
        self._task: _Task | None = None
        self._starts: SimpleQueue[Start | None] = SimpleQueue()
        self._sending = threading.Lock()

    def run(self) -> None:
        """Run jobs until the worker closes the pipe."""
        self._log_to_worker()
        threading.Thread(target=self._receive, name="messages", daemon=True).start()
        try:
            types = jobs.load(*self._setup.modules)
        except JobError as error:
            self._send(Unusable(str(error)))
            return
        self._send(Ready())
        count = 0
        while (start := self._starts.get()) is not None:
            assert self._task is not None
            ended = _ended(types[start.job.job_type], start.job, self._setup.dsn, self._task)
            self._task = None
            count += 1
            done, total = self._board.progress
            replace = count >= self._setup.most_jobs or _memory() > self._setup.most_memory
            # If the worker is gone, the next message is the end of the pipe.
            with contextlib.suppress(OSError):
                self._send(Ended(ended.how, ended.text, ended.why, done, total, replace))

    def _receive(self) -> None:
        try:
            while True:
                match self._pipe.recv():
                    case Start() as start:
                        self._task = _Task(self._board)
                        self._starts.put(start)
                    case End(why=why) if (task := self._task) is not None:
                        task.ending = task.ending or why
        except (EOFError, OSError):
            if self._task is not None:
                # The worker is gone, so nobody can record how the job ends.
                os._exit(1)
            self._starts.put(None)

    def _send(self, message: object) -> None:
        with self._sending:
            self._pipe.send(message)

    def _log_to_worker(self) -> None:
        """Send log records to the worker, which has the handlers."""
        for name, level in self._setup.levels.items():
            logging.getLogger(name).setLevel(level)
        logging.getLogger().handlers[:] = [_ToWorker(self._send)]


class _ToWorker(QueueHandler):
    """Logging handler that sends records to the worker."""

    def __init__(self, send: Any) -> None:
        super().__init__(None)  # type: ignore[arg-type]
        self._send_record = send

    def enqueue(self, record: logging.LogRecord) -> None:
        # The worker may have closed the pipe already.
        with contextlib.suppress(OSError):
            self._send_record(record)


def _ended(kind: JobType, job: JobRecord, dsn: str, task: _Task) -> Ended:
    """Run a job's function."""
    try:
        payload = jobs.accepted(kind, job)
        return Ended("returned", _stored(kind.function(JobContext(job, dsn, task.report), payload)))
    except Cancelled:
        return Ended("ended", why=task.ending)
    except JobFailed as error:
        return Ended("failed", presentable(str(error)))
    except BaseException as error:  # noqa: BLE001 - recorded, whatever it is, and not the end of this process
        _log.debug("job %d %s", job.id, job.job_type, exc_info=True)
        return Ended("raised", presentable(_described(error, kind)))


def _counted(number: int) -> int:
    """Return a count as an integer. Raises TypeError or ValueError if the outbox cannot store it."""
    whole = operator.index(number)
    if not 0 <= whole < 2**63:
        raise ValueError(f"progress must be a number from 0 to {2**63 - 1}, not {whole}")
    return whole


def _stored(result: Any) -> str | None:
    """Return a function's result as JSON text. Raises JobFailed if it is not JSON or is too large."""
    if result is None:
        return None
    try:
        text = json.dumps(to_jsonable_python(result), allow_nan=False)
    except (ValueError, RecursionError) as error:
        raise JobFailed(f"the result of the function cannot be stored: {error}") from error
    if len(text) > _LARGEST_RESULT:
        raise JobFailed(
            f"the result of the function cannot be stored: {len(text)} characters of at most {_LARGEST_RESULT}"
        )
    return text


def _described(error: BaseException, kind: JobType) -> str:
    """Return the error and its place: the innermost line in the function's own module, or else the innermost line."""
    places = [(frame.f_globals.get("__name__"), line) for frame, line in traceback.walk_tb(error.__traceback__)]
    own = [place for place in places if place[0] == kind.function.__module__]
    module, line = (own or places)[-1]
    # The last line of the traceback, which exists for every exception.
    text = one_line("".join(traceback.format_exception_only(error)))
    return f"{text} (at {module}:{line})"


def presentable(text: str) -> str:
    """Return an error's text for the tenant: without secrets, storable in PostgreSQL, and of limited length."""
    plain = text.encode("utf-8", "replace").decode().replace("\0", "")
    return _SECRET.sub(lambda found: f"{found[1] or found[2]}***", plain)[:_LONGEST_ERROR]


def _memory() -> int:
    """Return the memory that this process uses, in bytes; its peak where the system does not tell the current use."""
    with contextlib.suppress(FileNotFoundError):
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    if sys.platform == "win32":
        return 0
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
