"""Import several files at once for `mds import`, each in one of several processes.

Processes, because reading and checking rows keeps the interpreter busy, which threads of one process share. The results
come in the order of the files. What is stored is what an import of one file after the other stores: if two files that
were imported at the same time may have rows with the same key, the later one is imported again, and all others after it
one at a time.
"""

import contextlib
import os
import pickle
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

from mds_client.commands.import_worker import READY, unpacked
from mds_client.commands.imported import How
from mds_client.commands.reports import Done, Watch
from mds_client.config import Config
from mds_client.files import SourceError
from mds_client.transfer.touched import ANY

FILE_BYTES: Final = 4 << 20
"""The bytes of files for which another process is worth its start, if the number of processes is not given."""

PATIENCE_S: Final = 20.0
"""The seconds in which an interrupted process must end."""

WORKER: Final = "mds_client.commands.import_worker"


def number_of(files: Sequence[str], size: int, pool_max: int) -> int:
    """Return how many files to import at once: by the processors, the connections, and what there is to do."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(processors, pool_max, len(files), size // FILE_BYTES))


class _Worker:
    """A process that imports files. Its messages go to a queue, with the worker in front; None is the last one."""

    def __init__(self, settings: tuple[Any, ...], messages: "queue.SimpleQueue[tuple[_Worker, Any]]") -> None:
        self.number = -1
        self._messages = messages
        # With the modules of this process. `-m` would also import those in the current folder, which can have any.
        program = f"import sys; sys.path[:] = {sys.path!r}; from {WORKER} import main; main()"
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Ctrl-C is for the command, which then ends its processes.
            start_new_session=True,
        )
        self._send(settings)
        threading.Thread(target=self._read, name="mds-messages", daemon=True).start()

    def start(self, number: int, path: str) -> None:
        """Start to import a file, with its number in the list."""
        self.number = number
        self._send(path)

    def stop(self) -> None:
        """End the process, and interrupt the file that it imports."""
        with contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()

    def wait(self, seconds: float) -> int:
        """Wait for the end of the process, and kill it after some seconds. Returns its exit code."""
        try:
            return self._process.wait(max(0.1, seconds))
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def _send(self, message: Any) -> None:
        # If the process has ended, its messages end, too, which is then reported.
        with contextlib.suppress(OSError):
            assert self._process.stdin is not None
            pickle.dump(message, self._process.stdin)
            self._process.stdin.flush()

    def _read(self) -> None:
        assert self._process.stdout is not None
        try:
            with self._process.stdout as source, contextlib.suppress(EOFError, pickle.UnpicklingError, OSError):
                # Start-up files of Python can print something before.
                while source.readline() not in (READY, b""):
                    pass
                while True:
                    self._messages.put((self, pickle.load(source)))  # noqa: S301 - from our own process
        finally:
            self._messages.put((self, None))


class Crew:
    """Imports files in several processes.

    Args:
        config: The settings of each process's client.
        how: How the files are read.
        size: The number of processes.
        watch: The progress bar.
        with_fingerprint: Whether the results have the fingerprints of their files.
    """

    def __init__(
        self,
        config: Config,
        how: How,
        size: int,
        watch: Watch,
        *,
        with_fingerprint: bool,
    ) -> None:
        # A process needs one connection.
        self._settings = (config.model_copy(update={"pool_min": 0, "pool_max": 1}), how, with_fingerprint)
        self._size = size
        self._watch = watch
        self._messages: queue.SimpleQueue[tuple[_Worker, Any]] = queue.SimpleQueue()
        self._workers: list[_Worker] = []
        self._ended: dict[int, Done] = {}
        # For each file, those in front of it that were being imported when it began.
        self._beside: dict[int, set[int]] = {}
        self._void: set[int] = set()
        self._next = 0
        self._is_stopping = self._is_interrupted = False

    def run(self, files: Sequence[str]) -> Iterator[Done]:
        """Yield the results in the order of the files. After an error that concerns all files, no other one begins."""
        settled = 0
        try:
            while settled < len(files):
                try:
                    self._dispatch(files)
                    if settled not in self._ended:
                        if not self._is_stopping or self._running():
                            self._receive(files)
                            continue
                        if self._is_interrupted:
                            # Also if all files that had begun were complete.
                            yield Done(files[settled], None, KeyboardInterrupt())
                        return
                except KeyboardInterrupt:
                    # Those that are running say how far they came.
                    self._is_interrupted = True
                    self._stop()
                    continue
                done, other = self._ended[settled], self._met(settled)
                if other is not None and not self._is_stopping:
                    self._one_at_a_time(files, settled, other)
                    continue
                # If the row of the other file may be the stored one, the next run has to import this one again.
                yield done if other is None else replace(done, fingerprint=None)
                settled += 1
                self._forget(settled)
        finally:
            self._end()

    def _running(self) -> set[int]:
        return {worker.number for worker in self._workers if worker.number >= 0}

    def _dispatch(self, files: Sequence[str]) -> None:
        """Begin files as long as fewer are running than may be."""
        while not self._is_stopping and self._next < len(files) and len(running := self._running()) < self._size:
            path = files[self._next]
            idle = next((one for one in self._workers if one.number < 0), None)
            if idle is None:
                idle = _Worker(self._settings, self._messages)
                self._workers.append(idle)
            self._beside[self._next] = running
            self._watch.begin(path)
            idle.start(self._next, path)
            self._next += 1

    def _receive(self, files: Sequence[str]) -> None:
        """Wait for a message of a worker."""
        try:
            worker, message = self._messages.get(timeout=PATIENCE_S if self._is_stopping else None)
        except queue.Empty:
            # They do not end by themselves.
            self._stop()
            return
        if message is None:
            self._workers.remove(worker)
            code = worker.wait(PATIENCE_S)
            if worker.number >= 0:
                path = files[worker.number]
                how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
                lost = SourceError(f"{path}: the process that imported it was ended {how}")
                self._take(worker, Done(path, None, KeyboardInterrupt() if self._is_stopping else lost, touched=ANY))
            return
        match message:
            case ("note", text):
                self._watch.say(text, err=True)
            case ("moved", share, rows):
                self._watch.begin(files[worker.number])(share, rows)
            case ("done", parts):
                self._take(worker, unpacked(parts))

    def _take(self, worker: _Worker, done: Done) -> None:
        """Take the result of the file that a worker has ended."""
        number, worker.number = worker.number, -1
        self._watch.end(done.path)
        if number in self._void:
            # It will be imported again.
            self._void.remove(number)
            return
        self._ended[number] = done
        if done.error is not None and not done.is_of_file and not self._is_stopping:
            self._stop()

    def _met(self, number: int) -> Done | None:
        """Return a file that was imported beside this one and may have rows with the same keys."""
        done = self._ended[number]
        if done.report is None and done.error is not None:
            # It was not imported, so there is no order to keep. Nobody knows what a killed process has written.
            return None
        for other in sorted(self._beside.get(number, ())):
            before = self._ended[other]
            if done.touched is not None and before.touched is not None and before.touched.meets(done.touched):
                return before
        return None

    def _one_at_a_time(self, files: Sequence[str], number: int, other: Done) -> None:
        """Import this file again, and it and all files behind it one at a time."""
        self._watch.say(
            f"{files[number]}: may have rows with the same keys as {other.path}. From here on files are imported one at"
            " a time, so that the row of the later file stays",
            err=True,
        )
        self._void = {one for one in self._running() if one >= number}
        self._ended = {one: done for one, done in self._ended.items() if one < number}
        self._size, self._next = 1, number

    def _forget(self, settled: int) -> None:
        """Forget the results that nothing is compared with any more."""
        needed = set().union(*(beside for one, beside in self._beside.items() if one >= settled))
        self._ended = {one: done for one, done in self._ended.items() if one >= settled or one in needed}
        self._beside = {one: beside for one, beside in self._beside.items() if one >= settled}

    def _stop(self) -> None:
        """Interrupt the files that are being imported. A second time, kill the processes."""
        for worker in self._workers:
            if self._is_stopping:
                worker.kill()
            else:
                worker.stop()
        self._is_stopping = True

    def _end(self) -> None:
        """End all processes."""
        try:
            for worker in self._workers:
                worker.stop()
            deadline = time.monotonic() + PATIENCE_S
            for worker in self._workers:
                worker.wait(deadline - time.monotonic())
        except KeyboardInterrupt:
            for worker in self._workers:
                worker.kill()
            raise
