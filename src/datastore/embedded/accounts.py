"""The account that PostgreSQL runs as, and what it can reach.

PostgreSQL refuses to run as root, so root runs it as another account, which may be unable to reach a private directory.
Permissions of existing directories are never changed.
"""

import contextlib
import os
import stat
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from datastore.embedded.errors import EmbeddedServerError

SHARED_DIRECTORY: Final = Path(
    "/usr/local/var/market-data-store" if sys.platform == "darwin" else "/var/lib/market-data-store"
)
"""Root's own place for files that another account must reach but cannot reach in the home or virtual environment."""


@dataclass(frozen=True)
class Account:
    """Another account of this machine, to run PostgreSQL as."""

    name: str
    uid: int
    gid: int


def run_as(
    account: Account | None,
    command: Sequence[str | Path],
    *,
    stderr: int = subprocess.STDOUT,
    new_session: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, as `account` or as the caller, and return its output.

    The environment is empty, because the caller's `PGPORT` or `LD_LIBRARY_PATH` could refer to another server. Raises
    OSError if the account cannot reach the program or may not be used.
    """
    return subprocess.run(  # noqa: S603 - a list of arguments that no shell reads
        command,
        check=False,
        text=True,
        errors="replace",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr,
        cwd="/",
        env={"PATH": os.defpath, "LC_ALL": "C"},
        umask=0o077,
        start_new_session=new_session,
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
    )


def can_use(account: Account | None, directory: Path) -> bool:
    """Return whether the account can reach, read and write this directory, by trying it."""
    test = 'test -r "$1" && test -w "$1" && test -x "$1"'
    return run_as(account, ["/bin/sh", "-c", test, "sh", directory]).returncode == 0


def choose_account(data: Path | None) -> Account | None:
    """Return the account to run PostgreSQL as; None means the caller, unless that is root.

    For root it is the owner of existing data, else `postgres`, else `nobody`.
    """
    if os.geteuid() != 0:
        return None
    import pwd  # not on Windows, where this module must still be importable

    wanted: list[str | int] = ["postgres", "nobody"] if data is None else [data.stat().st_uid]
    for key in wanted:
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(key) if isinstance(key, str) else pwd.getpwuid(key)
            if entry.pw_uid != 0:
                return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    raise EmbeddedServerError(
        "PostgreSQL does not run as root, and there is no other account to run it as: "
        + (f"{data} belongs to root or to an unknown user" if data else "neither `postgres` nor `nobody` exists")
    )


def shared_directory() -> Path:
    """Return root's place that every account can reach; creates it if needed. Raises if others can write to it."""
    if not SHARED_DIRECTORY.exists():
        SHARED_DIRECTORY.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            SHARED_DIRECTORY.mkdir()
            SHARED_DIRECTORY.chmod(0o755)  # the umask may have removed bits
    found = SHARED_DIRECTORY.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise EmbeddedServerError(f"{SHARED_DIRECTORY} must be a directory that only root can write to")
    return SHARED_DIRECTORY
