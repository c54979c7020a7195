"""Sockets, ports, private files and the log of a server."""

import contextlib
import os
import re
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from datastore.embedded.accounts import Account, can_use
from datastore.embedded.errors import PortTakenError, StartFailedError

DEFAULT_PORT: Final = 54330
_LOG_BYTES: Final = 10_000_000  # at a start, a longer log is renamed to server.log.old


def choose_socket_directory(place: Path, account: Account | None) -> Path:
    """Return a private directory of PostgreSQL's account for its socket: beside the data, or a temporary one.

    A socket's path can have about a hundred bytes, a comma or a quote would need quoting in every setting and DSN, and
    not every file system supports sockets. So it is tried.
    """

    def own(directory: Path) -> bool:
        if account:
            os.chown(directory, account.uid, account.gid)
        return _holds_socket(directory) and can_use(account, directory)

    near = place / "run"
    with contextlib.suppress(FileExistsError):
        near.mkdir(mode=0o700)
    found = near.lstat()
    if stat.S_ISDIR(found.st_mode) and not found.st_mode & 0o077 and own(near):
        return near
    with contextlib.suppress(OSError):
        near.rmdir()
    for base in dict.fromkeys([tempfile.gettempdir(), "/tmp"]):  # noqa: S108 - a random name, private from the start
        directory = Path(tempfile.mkdtemp(prefix="mds-", dir=base))
        if own(directory):
            return directory
        directory.rmdir()
    raise StartFailedError(f"there is no directory for a unix socket: tried {near}, {tempfile.gettempdir()}, /tmp")


def _holds_socket(directory: Path) -> bool:
    if not re.fullmatch(r"[\w./+-]+", str(directory), re.ASCII):
        return False
    path = directory / ".s.PGSQL.65535"
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.bind(str(path))
        except OSError:
            return False
        path.unlink()
        return True


def write_private(path: Path, text: str) -> None:
    """Write a file completely or not at all, readable only by the caller from the start."""
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)  # made with mode 0600
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def sync_directory(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as PostgreSQL does
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def last_lines(text: str) -> str:
    return "\n".join(text.splitlines()[-15:]) or "(nothing)"


def ports_to_try(wanted: int | None, last: int) -> Iterator[int]:
    """Yield ports of 127.0.0.1 that were free when checked. Raises PortTakenError when there are no more."""
    if wanted:
        if is_free(wanted):
            yield wanted
        raise PortTakenError(f"port {wanted} of 127.0.0.1 is in use by another program: choose another port")
    if wanted is None:
        yield from filter(is_free, dict.fromkeys([last or DEFAULT_PORT, DEFAULT_PORT]))
    for _ in range(20):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        yield port
    raise PortTakenError("no port of 127.0.0.1 stayed free for long enough")


def prepare_log(path: Path) -> int:
    """Make sure that the log exists, is private and not too long. Returns its length."""
    if path.exists() and path.stat().st_size > _LOG_BYTES:
        path.replace(path.with_suffix(".log.old"))
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        return os.fstat(log).st_size
    finally:
        os.close(log)


def log_tail(path: Path, offset: int) -> str:
    """Return the last lines written after `offset`."""
    with path.open("rb") as log:
        log.seek(max(offset, log.seek(0, os.SEEK_END) - 20_000))
        return last_lines(log.read().decode(errors="replace"))
