"""The processes in which a worker runs its jobs: started when needed, used for many jobs, killed and replaced.

Only the thread of `JobProcesses` touches the processes and their pipes. It starts a process if none is free, hands over
the job, receives how it ended, and kills the process if the job has to end and does not. A process that crashes costs
its own job one attempt and affects no other job. The code that runs inside a process is in `datastore.worker.runner`;
the worker, which talks to the database, is in `datastore.worker`.
"""

import contextlib
import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.connection import wait
from multiprocessing.context import BaseContext
from typing import Any, Final, Protocol, Self

from datastore.jobs import JobError, own_modules
from datastore.worker import runner as job_runner
from datastore.worker.runner import Board, End, Ended, Ending, Ready, Setup, Start, Unusable
from datastore.worker.running import LAST_CALL, Running

_log = logging.getLogger(__name__)

IDLE: Final = 60.0
"""Seconds after which an idle process is ended, to free its memory."""

_UNKNOWN: Final = 255
"""The exit code of a process if the fork server, which alone learns the real one, was ended."""


class Listener(Protocol):
    """Receives the outcomes of jobs, in the thread of the processes."""

    def job_ended(self, running: Running, ended: Ended) -> None:
        """A job has ended, and none of its code runs any more."""

    def broken(self, error: BaseException) -> None:
        """No job can run any more."""


class _Process:
    """One process, as its worker sees it."""

    def __init__(self, context: BaseContext, setup: Setup) -> None:
        self.pipe, theirs = context.Pipe()
        lifeline, self.lifeline = context.Pipe(duplex=False)
        words = context.RawArray(Board.TYPE, Board.WORDS)
        self.board = Board(words)
        self.ready = False
        self.running: Running | None = None
        self.idle_since = time.monotonic()
        self.leave_by: float | None = None
        self.watched = True
        arguments = (theirs, lifeline, words, setup)
        self._process: Any = context.Process(target=job_runner.main, args=arguments, name="jobs")  # type: ignore[attr-defined]
        try:
            self._process.start()
        except BaseException:
            self.pipe.close()
            self.lifeline.close()
            raise
        finally:
            theirs.close()
            lifeline.close()

    @property
    def sentinel(self) -> int:
        """A handle that becomes ready when the process has ended."""
        sentinel: int = self._process.sentinel
        return sentinel

    @property
    def files(self) -> Iterator[Any]:
        """The files to wait for."""
        if not self.pipe.closed:
            yield self.pipe
        if self.watched:
            yield self.sentinel

    def send(self, message: object) -> None:
        # If the process is gone, the next read notices it.
        with contextlib.suppress(OSError):
            self.pipe.send(message)

    def run(self, running: Running) -> None:
        running.start(time.monotonic())
        self.send(Start(running.job))

    def kill(self) -> None:
        if sys.platform == "linux":
            # Not `Process.kill`, which does nothing once the fork server is gone.
            if self._process.exitcode is None or not self.watched:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._process.pid, signal.SIGKILL)
        else:
            self._process.kill()

    def is_over(self) -> bool:
        """Return whether the process has ended. Stops watching it if only the fork server has ended."""
        code = self._process.exitcode
        if code == _UNKNOWN and not self.pipe.closed:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, 0)
                self.watched = False
                return False
        return code is not None

    def end(self) -> str:
        """Wait a moment for the process to end, then kill it. Returns a description of how it ended."""
        self._process.join(LAST_CALL)
        code: int | None = self._process.exitcode
        if code is None:
            self.kill()
            self._process.join(LAST_CALL)
        self.pipe.close()
        self.lifeline.close()
        if self._process.exitcode is not None:
            self._process.close()
        if code is None:
            return "its process closed its connection to the worker"
        return _described(code) if self.watched else "its process has ended"


def _described(code: int) -> str:
    if code >= 0:
        return f"its process ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        return f"its process was killed by signal {-code}"
    hint = "; the system does that when memory runs out" if name == "SIGKILL" else ""
    return f"its process was killed by signal {-code} ({name}{hint})"


class JobProcesses:
    """The job processes of a worker. Use it as a context manager; all processes are ended when it exits.

    You can call its methods from any thread; they return at once. The thread of the processes calls `listener`.
    """

    def __init__(self, setup: Setup, listener: Listener) -> None:
        self._setup = setup
        self._listener = listener
        self._context = _context()
        self._all: list[_Process] = []
        self._free: list[_Process] = []
        self._orders: deque[Callable[[], None]] = deque()
        self._ears, self._bell = socket.socketpair()
        for end in (self._ears, self._bell):
            end.setblocking(False)
        self._closing = False
        self._thread = threading.Thread(target=self._serve, name="job processes", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing = True
        self._ring()
        self._thread.join()
        self._ears.close()
        self._bell.close()

    def begin(self, running: Running) -> None:
        """Run a job; the listener is told how it ended."""
        self._order(partial(self._begin, running))

    def end(self, running: Running, why: Ending, patience: float = LAST_CALL) -> None:
        """Tell a job to end, and kill its process after `patience` seconds. The first reason counts."""
        self._order(partial(self._end, running, why, patience))

    def _order(self, what: Callable[[], None]) -> None:
        self._orders.append(what)
        self._ring()

    def _ring(self) -> None:
        # The socket is full, so a wake-up is pending already, or it is closed because the thread has ended.
        with contextlib.suppress(OSError):
            self._bell.send(b"!")

    # What the thread does -------------------------------------------------------------------------

    def _serve(self) -> None:
        try:
            while not self._closing:
                self._look()
        except BaseException as error:
            # No job can run without this thread, so the worker ends with this error.
            self._listener.broken(error)
            raise
        finally:
            self._end_all()

    def _look(self) -> None:
        """Wait until something happens, and handle it."""
        owners: dict[Any, _Process] = {file: process for process in self._all for file in process.files}
        ready = wait([self._ears, *owners], self._until_next(time.monotonic()))
        if self._ears in ready:
            with contextlib.suppress(BlockingIOError):
                self._ears.recv(4096)
        while self._orders:
            self._orders.popleft()()
        for process in dict.fromkeys(owners[file] for file in ready if file in owners):
            if process in self._all:
                self._hear(process, ended=process.watched and process.sentinel in ready)
        self._look_at_clock(time.monotonic())

    def _until_next(self, now: float) -> float | None:
        """Return the seconds until the next deadline."""
        times = []
        for process in self._all:
            if process.leave_by is not None:
                times.append(process.leave_by)
            elif process.running is not None:
                times.append(process.running.stop_at(now))
            else:
                times.append(process.idle_since + IDLE)
        return max(0.0, min(times) - now) if times else None

    def _begin(self, running: Running) -> None:
        try:
            process = self._free.pop() if self._free else self._start()
        except OSError as error:
            self._ended(running, Ended("unstarted", f"no process could be started: {error}"))
            return
        process.running = running
        process.board.clear()
        process.board.hold(running.renewed + running.lease)
        running.board = process.board
        if process.ready:
            process.run(running)

    def _start(self) -> _Process:
        process = _Process(self._context, self._setup)
        self._all.append(process)
        return process

    def _end(self, running: Running, why: Ending, patience: float) -> None:
        process = next((each for each in self._all if each.running is running), None)
        if process is None or running.ending is not None:
            return
        running.ending = why
        if process.ready:
            running.kill_at = time.monotonic() + patience
            process.send(End(why))
        else:
            process.kill()

    def _hear(self, process: _Process, *, ended: bool) -> None:
        """Read what a process has sent, or notice that it has ended."""
        over = ended and process.is_over()
        while not process.pipe.closed:
            try:
                if not process.pipe.poll():
                    break
                message = process.pipe.recv()
            except (EOFError, OSError):
                over = True
                break
            except Exception:  # noqa: BLE001 - whatever unpickling raises
                # A function may log an object whose class exists only in its process.
                _log.warning("a message of a job process cannot be read", exc_info=True)
            else:
                self._take(process, message)
        if over:
            self._over(process)

    def _take(self, process: _Process, message: object) -> None:
        match message:
            case logging.LogRecord() as record:
                logger = logging.getLogger(record.name)
                if logger.isEnabledFor(record.levelno):
                    logger.handle(record)
            case Ready():
                process.ready = True
                if process.running is not None:
                    process.run(process.running)
            case Unusable(error=error):
                self._listener.broken(JobError(error))
            case Ended() as ended if process.running is not None:
                running, process.running = process.running, None
                self._ended(running, ended)
                process.idle_since = time.monotonic()
                if ended.replace:
                    self._let_go(process)
                else:
                    self._free.append(process)

    def _ended(self, running: Running, ended: Ended) -> None:
        running.finish(ended)
        self._listener.job_ended(running, ended)

    def _let_go(self, process: _Process) -> None:
        """Tell an idle process to end. It is killed if it does not."""
        process.leave_by = time.monotonic() + LAST_CALL
        process.pipe.close()

    def _over(self, process: _Process) -> None:
        """Remove a process that has ended or cannot be used any more, and report its job."""
        self._all.remove(process)
        if process in self._free:
            self._free.remove(process)
        how = process.end()
        if (running := process.running) is None:
            if process.leave_by is None and process.ready:
                _log.warning("a job process that was waiting for a job is gone: %s", how)
        elif running.ending is not None:
            self._ended(running, Ended("ended", why=running.ending))
        elif process.ready:
            self._ended(running, Ended("crashed", how))
        else:
            self._ended(running, Ended("unstarted", f"no process could be started: {how}"))

    def _look_at_clock(self, now: float) -> None:
        for process in list(self._all):
            if (running := process.running) is not None:
                if running.stop_at(now) <= now:
                    self._stop(process, running, now)
            elif process.leave_by is not None:
                if process.leave_by <= now:
                    process.kill()
                    self._over(process)
            elif process in self._free and process.idle_since + IDLE <= now:
                self._free.remove(process)
                self._let_go(process)

    def _stop(self, process: _Process, running: Running, now: float) -> None:
        """End a job whose timeout, lease or time to end is over."""
        if running.kill_at is None and running.timeout_at is not None and running.timeout_at <= now:
            self._end(running, "timeout", LAST_CALL)
            return
        running.ending = running.ending or "lost"
        process.kill()
        self._over(process)

    def _end_all(self) -> None:
        for process in self._all:
            if process.running is None and process.leave_by is None:
                self._let_go(process)
        by = time.monotonic() + LAST_CALL
        for process in self._all:
            if process.running is None and (left := by - time.monotonic()) > 0:
                wait(list(process.files), left)
            process.kill()
        for process in self._all:
            process.end()
        self._all.clear()
        self._free.clear()


def _context() -> BaseContext:
    """Return the multiprocessing context that starts processes.

    On Linux this is a fork server: a process with one thread that has imported what jobs need. Each job process is a
    copy of it, which takes milliseconds to make and shares its memory. Elsewhere each process starts from scratch.
    """
    if sys.platform == "linux":
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([job_runner.__name__, *own_modules()])
        return context
    return multiprocessing.get_context("spawn")
