"""What the test servers have in common: their interface, the cache folder, a server of the user's own.

How each engine is got and started lives in `apache` and `community`; plain PostgreSQL is
`datastore.embedded`'s.
"""

import os
import pwd
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

PACKAGE = "market-data-store"


class EngineUnavailable(Exception):
    """This machine cannot have the engine; the message says why, in one line."""


class EngineServer(Protocol):
    """A server of one engine, for tests: anything may be done to it."""

    @property
    def name(self) -> str:
        """The engine as the design calls it: `timescale-apache` or `timescale`."""

    @property
    def version(self) -> str:
        """What is running, for people: `TimescaleDB 2.19.3, PostgreSQL 17.12`. Known once started."""

    @property
    def single_session(self) -> bool:
        """True if it serves one connection at a time and has one database: no tests of concurrency."""

    def superuser_dsn(self, dbname: str | None = None) -> str:
        """The DSN of a superuser, to the given database or to the server's own first one. Needs `start`."""

    def available(self) -> str:
        """Get the engine if it is not cached, and give its version, without starting it. Raises
        `EngineUnavailable`.
        """

    def start(self) -> None:
        """Get the engine if it is not cached, and start it. Raises `EngineUnavailable`."""

    def stop(self) -> None:
        """Stop it and remove its data. Does nothing if it is not running."""


class GivenServer:
    """A server that somebody else runs, named by a superuser's DSN in the environment."""

    single_session = False

    def __init__(self, name: str, variable: str, dsn: str, *, timescale: bool = True) -> None:
        self.name = name
        self._timescale = timescale
        self.version = ""
        self._variable = variable
        self._dsn = dsn

    def superuser_dsn(self, dbname: str | None = None) -> str:
        return make_conninfo(self._dsn, dbname=dbname) if dbname else self._dsn

    def available(self) -> str:
        self.start()
        return self.version

    def start(self) -> None:
        """Only ask it for its version. Raises `EngineUnavailable` if it does not answer, or lacks TimescaleDB and is
        to have it.
        """
        try:
            self.version = read_version(self._dsn, timescale=self._timescale)
        except psycopg.Error as error:
            raise EngineUnavailable(f"{self._variable}: {first_line(str(error))}") from error

    def stop(self) -> None:
        """It is not ours to stop."""


def read_version(dsn: str, *, timescale: bool = True) -> str:
    """The version of TimescaleDB that the server offers, where it is to, and its own."""
    with psycopg.connect(dsn, autocommit=True, connect_timeout=30) as connection:
        found = connection.execute(
            "SELECT default_version FROM pg_available_extensions WHERE name = 'timescaledb'"
        ).fetchone()
        server = connection.execute("SHOW server_version").fetchone()
    assert server is not None
    own = f"PostgreSQL {str(server[0]).split()[0]}"
    if not timescale:
        return own
    if found is None:
        raise EngineUnavailable(f"no TimescaleDB on {conninfo_to_dict(dsn).get('host', 'the server')}")
    return f"TimescaleDB {found[0]}, {own}"


def cache_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Where downloads are kept between runs.

    Root's own folders cannot be entered by the account that the server must run as, hence the system's for
    root.
    """
    if given := environment.get("MDS_TEST_CACHE"):
        folder = Path(given)
    elif os.geteuid() == 0:
        folder = Path("/var/cache") / PACKAGE
    elif xdg := environment.get("XDG_CACHE_HOME"):
        folder = Path(xdg) / PACKAGE
    else:
        folder = Path.home() / ".cache" / PACKAGE
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EngineUnavailable(f"no cache folder: {error}") from error
    return folder.absolute()


def run(command: Sequence[str | os.PathLike[str]], *, cwd: Path, doing: str, timeout: float = 300) -> str:
    """Run a tool and return what it printed. Raises `EngineUnavailable` with its complaint."""
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        done = subprocess.run(
            command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=timeout, check=False
        )
    except FileNotFoundError as error:
        raise EngineUnavailable(f"{doing}: {command[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise EngineUnavailable(f"{doing}: no answer in {timeout:.0f} s") from error
    if done.returncode != 0:
        raise EngineUnavailable(f"{doing}: {last_line(done.stderr) or f'exit code {done.returncode}'}")
    return done.stdout


def first_line(text: str) -> str:
    """The first line of a message, which is where libpq says what happened."""
    return text.strip().partition("\n")[0]


def last_line(text: str) -> str:
    """The last line of a tool's complaints, which is where most say what it came to."""
    return text.strip().rpartition("\n")[2]


def server_account() -> pwd.struct_passwd | None:
    """The account that servers run as: this user's, but they refuse to be root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise EngineUnavailable("the servers do not run as root, and there is neither a postgres nor a nobody")


def free_port() -> int:
    """A TCP port of 127.0.0.1 that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
