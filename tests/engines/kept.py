"""A server's process that ends with the test run, however that ends, and what it logs.

What is run, from where and with which settings is the servers' own: `apache`, `pgbouncer`.
"""

import os
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from pwd import struct_passwd
from typing import IO, Any

from tests.engines.base import EngineUnavailable, last_line

# It ends with its standard input, so a killed test run leaves neither a process nor its folder behind.
KEEPER = """
"$@" &
read -r _
kill -s "$END" $!
wait $!
rm -rf "$FOLDER"
"""


class Kept:
    """A program that runs until `stop`, which removes `folder` with it. `end` is the signal that it is told by."""

    def __init__(self, folder: Path, *, end: str = "INT", account: struct_passwd | None = None) -> None:
        self._folder = folder
        self._end = end
        self._account = account
        self._process: subprocess.Popen[str] | None = None
        self._drain: threading.Thread | None = None
        self._log: list[str] = []

    @property
    def log(self) -> str:
        """What it has said so far."""
        return "".join(self._log)

    def start(self, command: Sequence[str | Path], *, ready: str, failed: str) -> bool:
        """Whether it said, on its standard error, that it is ready; False where it said that it is not to be."""
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", KEEPER, "sh", *command],
            cwd="/",
            env={**os.environ, "LC_ALL": "C", "FOLDER": str(self._folder), "END": self._end},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,  # a terminal's Ctrl-C is for the test run, which then stops this
            **as_account(self._account),
        )
        stderr = self._process.stderr
        assert stderr
        for line in stderr:
            self._log.append(line)
            if ready in line:
                self._drain = threading.Thread(target=self._log.extend, args=(stderr,), daemon=True)
                self._drain.start()
                return True
            if failed in line:
                break
        self._process.kill()  # the keeper, which would remove the folder
        self._release(stderr)
        return False

    def stop(self) -> None:
        """End it and remove its folder. Does nothing if it is not running."""
        if not self._process:
            return
        assert self._process.stdin
        assert self._process.stderr
        self._process.stdin.close()
        self._process.wait()
        if self._drain:
            self._drain.join()
        self._release(self._process.stderr)

    def _release(self, stderr: IO[str]) -> None:
        assert self._process
        assert self._process.stdin
        self._process.wait()
        self._process.stdin.close()
        stderr.close()
        self._process = self._drain = None


def run_once(command: Sequence[str | Path], account: struct_passwd | None, *, doing: str) -> None:
    """Run a program to its end as an account. Raises `EngineUnavailable` with its complaint."""
    try:
        made = subprocess.run(
            command,
            cwd="/",
            env={**os.environ, "LC_ALL": "C"},
            capture_output=True,
            text=True,
            check=False,
            **as_account(account),
        )
    except PermissionError as error:
        name = account.pw_name if account else "this user"
        reason = f"{name} cannot run {command[0]}: name a folder that it can enter by MDS_TEST_CACHE"
        raise EngineUnavailable(reason) from error
    if made.returncode != 0:
        raise EngineUnavailable(f"{doing}: {last_line(made.stderr)}")


def as_account(account: struct_passwd | None) -> Mapping[str, Any]:
    """The arguments by which a process runs as an account, or as ourselves."""
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []} if account else {}


def own(path: Path, account: struct_passwd | None) -> None:
    """Give a file or folder to an account, or leave it to ourselves."""
    if account:
        os.chown(path, account.pw_uid, account.pw_gid)
