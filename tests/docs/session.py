"""A page as a reader works through it: a folder, a shell and a Python, in which its blocks are run in order.

What one block leaves is there for the next: files, variables, exported ones in Python too, processes in the background.
"""

import json
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from shutil import rmtree
from typing import IO, Any, Final

import psycopg

from datastore.embedded import EmbeddedServer, choose_account, find_binaries
from tests import warm
from tests.docs.pages import ROOT, Block, blocks
from tests.engines.base import free_port

DEADLINE_S: Final = 120
"""For one block."""

INTERPRETER: Final = Path(__file__).with_name("interpreter.py")

PORT: Final = "8080"
"""The service's on the pages. In a test it is any that is free: two test processes may be at the same page, and on
somebody's own machine it may be taken."""


class BlockFailed(Exception):
    """A block did not do what the page says; the message is what it printed, or where it differs."""


class Session:
    """A page that is being worked through."""

    def __init__(self, page: str, environment: Mapping[str, str]) -> None:
        self.page = page
        self._printed = ""
        # Not pytest's own: an embedded server that is another account's has to reach it.
        self._top = Path(tempfile.mkdtemp(prefix="mds-docs-", dir="/tmp"))
        self._top.chmod(0o755)
        self._folder = self._top / "reader"
        self._folder.mkdir(mode=0o755)
        # Ray keeps sockets there, whose paths must be short.
        here = {"HOME": str(self._folder), "PWD": str(self._folder), "RAY_TMPDIR": str(self._top)}
        self._environment = _kept() | here | dict(environment)
        self._port = str(free_port())
        self._out = (self._top / "stdout").open("w+b")
        self._err = (self._top / "stderr").open("w+b")
        self._shell: _Talker | None = None
        self._python: _Talker | None = None

    def read(self) -> None:
        """Run every block of the page, one after the other. Raises `BlockFailed` for the first that fails."""
        for block in blocks(self.page):
            if block.is_run and (failure := self._outcome(block)):
                raise failure

    def close(self) -> None:
        """End every process of the page, and remove what it has made."""
        for talker in (self._python, self._shell):
            if talker:
                talker.end()
        self._out.close()
        self._err.close()
        for home in {self._folder / ".mds", Path(self._environment.get("MDS_HOME", self._folder / ".mds"))}:
            if home.exists():
                EmbeddedServer(home).discard()
        rmtree(self._top)

    def _outcome(self, block: Block) -> BlockFailed | None:
        begin = [file.seek(0, os.SEEK_END) for file in (self._out, self._err)]
        try:
            if block.is_output:
                return self._compare(block)
            if block.title:
                return self._write(block, block.title)
            if block.language == "sql":
                self._printed = _query(self._environment, block)
                return None
            failure = self._run_python(block) if block.language == "python" else self._run_shell(block)
        except psycopg.Error as error:
            return BlockFailed(f"{block.id}: {error}")
        self._printed, errors = (
            _from(file, position) for file, position in zip((self._out, self._err), begin, strict=True)
        )
        if failure is None:
            return None
        return BlockFailed(f"{block.id}: {failure}\n--- printed\n{self._printed}\n--- errors\n{errors}")

    def _compare(self, block: Block) -> BlockFailed | None:
        if re.fullmatch(_pattern(block.text), _plain(self._printed)):
            return None
        return BlockFailed(f"{block.id}: the page says\n{block.text}\nand it printed\n{self._printed}")

    def _write(self, block: Block, title: str) -> BlockFailed | None:
        path = self._folder / title
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text, encoding="utf-8")
        return None

    def _run_shell(self, block: Block) -> str | None:
        script, variables = self._top / "block.sh", self._top / "environment"
        script.write_text(block.text.replace(PORT, self._port), encoding="utf-8")
        if self._shell is None:
            self._shell = _Talker(_start_shell, self._folder, self._environment, self._out, self._err)
        if self._shell.ask(f"{script} {variables}") is None:
            return f"the shell has ended with {self._shell.code()}"
        self._environment = _variables(variables)
        return None

    def _run_python(self, block: Block) -> str | None:
        if self._python is None:
            self._python = _Talker(_start_python, self._folder, self._environment, self._out, self._err)
        request = {
            "text": block.text,
            "line": block.line,
            "file": str(ROOT / block.page),
            "environment": self._environment,
            "folder": self._environment["PWD"],
        }
        answer = self._python.ask(json.dumps(request))
        if answer is None:
            return f"Python has ended with {self._python.code()}"
        return None if answer == "null" else json.loads(answer)


# Takes a line with a script and a file; sources the one, writes the variables that are exported by then to the other.
# What the script starts does not get the two descriptors: one that stays in the background would keep them open.
_SHELL: Final = """
while read -r -u "$1" script variables; do
  eval 'source "$script" </dev/null '"$1<&- $2>&-"
  env -0 >"$variables"
  echo done >&"$2"
done
kill $(jobs -p) 2>/dev/null || true
wait
"""


_Start = Callable[..., "subprocess.Popen[Any]"]


def _start_shell(files: tuple[str, ...], **options: Any) -> "subprocess.Popen[Any]":
    return subprocess.Popen(
        ("bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", _SHELL, "bash", *files), **options
    )


def _start_python(files: tuple[str, ...], **options: Any) -> "subprocess.Popen[Any]":
    return warm.Started("python", (str(INTERPRETER), *files), **options)


class _Talker:
    """A process that is asked by a line, and answers with one. What it prints goes to files."""

    def __init__(
        self, start: "_Start", folder: Path, environment: Mapping[str, str], out: IO[bytes], err: IO[bytes]
    ) -> None:
        theirs, self._ask = os.pipe()
        self._answers, answers = os.pipe()
        self._process = start(
            (str(theirs), str(answers)),
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            pass_fds=(theirs, answers),
            start_new_session=True,
        )
        os.close(theirs)
        os.close(answers)

    def ask(self, line: str) -> str | None:
        """The answer; None where the process has ended."""
        try:
            os.write(self._ask, line.encode() + b"\n")
        except BrokenPipeError:
            return None
        answer = b""
        while not answer.endswith(b"\n"):
            ready, _, _ = select.select([self._answers], [], [], DEADLINE_S)
            if not ready:
                raise TimeoutError(f"no end of a block within {DEADLINE_S} s")
            part = os.read(self._answers, 1 << 16)
            if not part:
                return None
            answer += part
        return answer.decode().strip()

    def code(self) -> int:
        """What it has ended with."""
        return self._process.wait(DEADLINE_S)

    def end(self) -> None:
        """End it, and what it has left in the background."""
        os.close(self._ask)
        try:
            self._process.wait(60)
        finally:
            os.close(self._answers)
            with suppress(ProcessLookupError):  # nothing was left
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


def _kept() -> dict[str, str]:
    """The environment without what would change a page: this process' own settings, and a test run's."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MDS_", "DATASTORE_", "DATABASE_", "PG", "PYTEST_", "PYTHON"))
    }
    tools = find_binaries(choose_account(None)).directory
    path = (warm.folder(), Path(sys.executable).parent, kept["PATH"], tools)
    return kept | {"PATH": os.pathsep.join(map(str, path))}


def _variables(file: Path) -> dict[str, str]:
    pairs = (item.split("=", 1) for item in file.read_text(encoding="utf-8").split("\0") if item)
    return {name: value for name, value in pairs if name not in ("SHLVL", "_")}


def _from(file: IO[bytes], position: int) -> str:
    file.seek(position)
    return file.read().decode(errors="replace")


def _query(environment: Mapping[str, str], block: Block) -> str:
    """What SQL answers to an application, as the page's tenant: as psql prints it."""
    lines = []
    with psycopg.connect(environment["MDS_DSN"]) as connection:
        connection.execute("SELECT mds.use_tenant(%s)", (environment["MDS_TENANT_ID"],))
        cursor: Any = connection.execute(block.text.encode())
        while True:
            if cursor.description:
                rows = cursor.fetchall()
                lines.append(" | ".join(column.name for column in cursor.description))
                lines += [" | ".join("" if value is None else str(value) for value in row) for row in rows]
                lines.append(f"({len(rows)} row{'' if len(rows) == 1 else 's'})")
            if not cursor.nextset():
                return "\n".join(lines)


def _plain(text: str) -> str:
    """Text without what layout has put into it: rules, colours, more than one blank."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    lines = (" ".join(line.split()) for line in text.splitlines())
    return "\n".join(line for line in lines if line and not re.fullmatch(r"[-+─━┼ |]+", line))


def _pattern(expected: str) -> re.Pattern[str]:
    return re.compile(".*?".join(re.escape(part) for part in _plain(expected).split("...")), re.DOTALL)
