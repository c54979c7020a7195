"""The processes of a server: find it, wait for it, stop it, and remove what a killed one left behind."""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from datastore.embedded.accounts import run_as
from datastore.embedded.errors import EmbeddedServerError

STOP_SECONDS: Final = 60.0
POLL_SECONDS: Final = 0.02
_NO_PROCESS: Final = b"2147483647"  # above any system's largest process id


@dataclass(frozen=True)
class Postmaster:
    """The first process of a running server, as described by postmaster.pid."""

    pid: int
    started_at: datetime
    port: int
    socket_directory: Path | None
    phase: str  # starting, ready, stopping; empty before the first of them


def until(seconds: float) -> Iterator[None]:
    """Yield until the time is over, with a short sleep between the rounds."""
    deadline = time.monotonic() + seconds
    yield
    while time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
        yield


def live_postmaster(data: Path) -> Postmaster | None:
    """Return the server that runs on this data directory, if the process in postmaster.pid really is one.

    The file's lines (PostgreSQL's source, `pidfile.h`): process id, data directory, start time, port, socket
    directory, first listen address, shared memory, phase. The later ones are written while the server starts.
    """
    try:
        lines = [line.strip() for line in (data / "postmaster.pid").read_text(errors="replace").split("\n")]
        lines += [""] * (8 - len(lines))
        pid = abs(int(lines[0]))  # negative for PostgreSQL's single-user mode
        started_at = datetime.fromtimestamp(int(lines[2]), UTC)
        port = int(lines[3])
    except (FileNotFoundError, ValueError):
        return None
    except PermissionError as error:
        raise EmbeddedServerError(f"{data} belongs to another user: {error}") from error
    if not _runs_in(pid, data):
        return None
    return Postmaster(pid, started_at, port, Path(lines[4]) if lines[4] else None, lines[7])


def _runs_in(pid: int, data: Path) -> bool:
    """Whether this process is a PostgreSQL server whose working directory is this data directory."""
    if sys.platform == "linux":
        try:
            process = Path("/proc") / str(pid)
            return (process / "comm").read_text() == "postgres\n" and (process / "cwd").samefile(data)
        except OSError:  # gone, a zombie, or another user's process
            return False
    return f"postgres -D {data} " in run_as(None, ["ps", "-o", "command=", "-ww", "-p", str(pid)]).stdout


def is_alive(pid: int) -> bool:
    """Whether this process runs. A zombie does not count, because not every init collects zombies."""
    if sys.platform == "linux":
        try:
            state = (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return False
    else:
        state = run_as(None, ["ps", "-o", "state=", "-p", str(pid)]).stdout.strip()
    return state[:1] not in ("", "Z", "X")


def stop(pid: int, mode: str) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, getattr(signal, {"smart": "SIGTERM", "fast": "SIGINT", "immediate": "SIGQUIT"}[mode]))
    for _ in until(STOP_SECONDS):
        if not is_alive(pid):
            return
    raise EmbeddedServerError(f"the server (process {pid}) has not stopped after {STOP_SECONDS:.0f} s")


def take_over(data: Path, sockets: Path) -> None:
    """Remove what a killed server left behind, so that PostgreSQL will start.

    PostgreSQL refuses if the process id in a lock file is alive, even if another program has it now; we know that no
    server of ours runs. The pid file's other lines stay, because they show whether old server processes use the data.
    """
    for leftover in sockets.glob(".s.PGSQL.*"):
        leftover.unlink(missing_ok=True)
    path = data / "postmaster.pid"
    try:
        handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        return
    with os.fdopen(handle, "r+b") as file:
        first, _, rest = file.read().partition(b"\n")
        if not first.strip().isdigit():
            path.unlink()  # the machine went down during the write; PostgreSQL would not touch it
        else:
            file.seek(0)
            file.truncate()
            file.write(_NO_PROCESS + b"\n" + rest)
