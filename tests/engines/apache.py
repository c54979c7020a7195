"""TimescaleDB's Apache edition as a native server: Debian 13's PostgreSQL 17 and TimescaleDB (see `debian`)."""

import pwd
import re
import secrets
import shutil
import tempfile
from pathlib import Path

from psycopg.conninfo import make_conninfo

from tests.engines import debian
from tests.engines.base import EngineUnavailable, free_port, last_line, read_version, server_account
from tests.engines.kept import Kept, own, run_once

RECIPE = debian.Recipe(
    name="apache",
    packages=("postgresql-17", "postgresql-client-17", "postgresql-17-timescaledb"),
    programs="usr/lib/postgresql/17/bin/*",
    trial="usr/lib/postgresql/17/bin/postgres",
    # Linked by what is thrown away: the just-in-time compiler (without its LLVM, a query that is worth compiling would
    # fail with 58P01) and PL/Perl.
    unused=re.compile(r"llvm|perl|libz3"),
    leftovers="usr/lib/postgresql/17/lib/llvmjit*",
)

SETTINGS = {
    "shared_preload_libraries": "timescaledb",
    "timescaledb.telemetry_level": "off",
    "listen_addresses": "127.0.0.1",
    "max_connections": "100",
    "max_worker_processes": "32",
    # This edition has no jobs to run, and its schedulers would stand in the way of whoever clones a database.
    "timescaledb.max_background_workers": "0",
    # Whatever a test writes is thrown away: durability would only cost time.
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "jit": "off",
    "lc_messages": "C",
    # Not the machine's: the same tests give the same answers everywhere.
    "timezone": "GMT",
}


def prepare(*, refresh: bool = False) -> Path:
    """The prefix with the server's programs, downloaded if it is not in the cache.

    `refresh` looks for newer packages. Raises `EngineUnavailable`.
    """
    return debian.prepare(RECIPE, refresh=refresh)


def programs(prefix: Path) -> Path:
    """The folder of `postgres`, `initdb`, `psql`, `pg_dump` and the others."""
    return prefix / "usr/lib/postgresql/17/bin"


class ApacheServer:
    """TimescaleDB's Apache edition, native, with real concurrency and as many databases as a test wants."""

    name = "timescale-apache"
    single_session = False

    def __init__(self) -> None:
        self.version = ""
        self._kept: Kept | None = None
        self._where: dict[str, str] = {}
        self._socket_folder: Path | None = None

    @property
    def programs(self) -> Path:
        """The folder of `psql`, `pg_dump` and the others that belong to this server."""
        return programs(prepare())

    @property
    def log(self) -> str:
        """What the server has logged so far."""
        return self._kept.log if self._kept else ""

    def superuser_dsn(self, dbname: str | None = None, *, unix_socket: bool = False) -> str:
        if not self._where:
            raise RuntimeError(f"{self.name} is not started")
        host = {"host": str(self._socket_folder)} if unix_socket else {}
        return make_conninfo(**{**self._where, **host, "dbname": dbname or "postgres"})

    def available(self) -> str:
        """Of the packages. Raises `EngineUnavailable`."""
        found = debian.versions(prepare())
        return f"TimescaleDB {found['postgresql-17-timescaledb']}, PostgreSQL {found['postgresql-17']}"

    def start(self) -> None:
        if self._kept:
            return
        prefix = prepare()
        account = server_account()
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
        for path in (home, home / "password"):
            own(path, account)
        data = home / "data"
        initdb = ["--username=postgres", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"]
        where = [f"--pwfile={home / 'password'}", f"--pgdata={data}"]
        run_once([programs(prefix) / "initdb", *initdb, *where], account, doing="initdb")
        (home / "password").unlink()

        # PostgreSQL cannot be told to take any free port: one that is free now, another if it is taken.
        for attempt in range(5):
            port = free_port()
            settings = {**SETTINGS, "port": str(port), "unix_socket_directories": str(home)}
            options = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
            kept = Kept(home, account=account)
            command = [str(programs(prefix) / "postgres"), "-D", str(data), *options]
            if kept.start(command, ready="ready to accept connections", failed="database system is shut down"):
                break
            if attempt == 4 or "Address already in use" not in kept.log:
                raise EngineUnavailable(f"the server did not start: {last_line(kept.log)}")
        self._kept = kept
        self._socket_folder = home
        self._where = {"host": "127.0.0.1", "port": str(port), "user": "postgres", "password": password}
        self.version = read_version(self.superuser_dsn())

    def stop(self) -> None:
        kept, self._kept = self._kept, None
        self._where = {}
        if kept:
            kept.stop()
