"""`datastore serve`, `datastore worker` and the like as processes of their own, copies of the warm one."""

import json
import os
import queue
import signal
import ssl
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any

from tests import warm

DEADLINE_S = 60

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For clients of plain HTTP: to read the system's certificates, which nothing here has, takes longer than a test."""


class Process:
    """A running `datastore …`, or another program, whose lines of output are read as they come."""

    def __init__(self, *arguments: str, program: Sequence[str] | None = None, **environment: str) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MDS_", "DATASTORE_"))}
        options: Any = {
            "env": kept | environment, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True
        }  # fmt: skip
        self.process: subprocess.Popen[str] = (
            warm.Started("datastore", arguments, **options)
            if program is None
            else subprocess.Popen((*program, *arguments), **options)
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self.said: list[str] = []
        assert self.process.stdout is not None
        self._reader = threading.Thread(target=self._read, args=(self.process.stdout,), daemon=True)
        self._reader.start()

    def _read(self, output: IO[str]) -> None:
        with output:
            for line in output:
                self._lines.put(line)
        self._lines.put("")

    def line(self) -> str:
        """The next line; fails where none comes in time, or the process has ended."""
        line = self._lines.get(timeout=DEADLINE_S)
        self.said.append(line)
        assert line, f"it has ended: {''.join(self.said)}"
        return line

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End it, and return its exit code."""
        self.process.send_signal(how)
        return self.wait()

    def wait(self) -> int:
        """Wait until it has ended; what it said is in `said` then."""
        code = self.process.wait(DEADLINE_S)
        self._reader.join(DEADLINE_S)
        while not self._lines.empty():
            self.said.append(self._lines.get())
        return code

    @property
    def text(self) -> str:
        """All that it has said, as far as it was read."""
        return "".join(self.said)


@contextmanager
def started(*arguments: str, **environment: str) -> Iterator[Process]:
    """A process that is gone at the end, whatever happens."""
    process = Process(*arguments, **environment)
    try:
        yield process
    finally:
        if process.process.poll() is None:
            process.end(signal.SIGKILL)


@contextmanager
def served(dsn: str, tokens: str, *arguments: str, **environment: str) -> Iterator[tuple[str, Process]]:
    """A service, and its URL."""
    given = {"DATABASE_URL": dsn, "DATASTORE_TOKENS": tokens, **environment}
    with started("serve", "--port", "0", "--json", *arguments, **given) as process:
        url = json.loads(process.line())["url"]
        yield url, process
