"""A private PostgreSQL server for a laptop and for tests: create, start, find and stop it.

A server belongs to a *home*, a directory that holds

  server.json   the places of the data and the socket, the port, the version
  server.log    PostgreSQL's log
  secrets/      a password for each role, in files that only the calling user can read
  data/, run/   PostgreSQL's data directory and its socket, unless they have to be elsewhere
  lock          held while the server is started or stopped

Clients reach it over a unix socket in a private directory and over 127.0.0.1, always with a password (SCRAM). If root
runs it, PostgreSQL itself runs as another account. If that account cannot reach the home, data and socket are in a
separate directory in root's shared place (see `datastore.embedded.accounts`), which server.json names.

Elsewhere: the files of a home (`datastore.embedded.home`), the schema (`up` is given a function that migrates), the
reading of the environment, the command line.
"""

import contextlib
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, LiteralString
from urllib.parse import quote

import psycopg
from psycopg import sql

from datastore.closing import CLOSE_LARGE_OBJECTS
from datastore.embedded import accounts, machine, processes
from datastore.embedded.accounts import Account
from datastore.embedded.binaries import Binaries, find_binaries
from datastore.embedded.errors import EmbeddedServerError, StartFailedError
from datastore.embedded.home import ADMIN_ROLE, SERVICE_ROLE, SUPERUSER, Home, State
from datastore.embedded.processes import Postmaster
from datastore.names import APP

DATABASE = "mds"
START_SECONDS = 60.0
_log = logging.getLogger(__name__)


class NotRunningError(EmbeddedServerError):
    """The operation needs a running server, and it is not running."""


@dataclass(frozen=True)
class Status:
    """The state of a home's server; fields are None while nothing is known."""

    running: bool
    home: str
    pid: int | None
    version: str | None
    data_directory: str | None
    socket_directory: str | None
    port: int | None
    started_at: str | None  # ISO 8601, UTC

    def as_dict(self) -> dict[str, str | int | bool | None]:
        """Return the status as a dict, ready for JSON."""
        return asdict(self)


class EmbeddedServer:
    """The PostgreSQL server of one home.

    `port` is for a server that has to be started: None takes the last one used, else 54330, else any free one; 0 takes
    any free one; another number takes that port or fails. `settings` are PostgreSQL settings for this start; those that
    keep the server private (addresses, sockets, password encryption) cannot be set. A running server is used as it is.
    Every method raises EmbeddedServerError, or a subclass, if it fails.
    """

    def __init__(self, home: Path, *, port: int | None = None, settings: Mapping[str, str] = {}) -> None:
        if sys.platform == "win32":
            raise EmbeddedServerError(
                "the embedded server needs Linux or macOS: use WSL, or the DSN of a server that you have"
            )
        self._home = Home(home)
        self.home = self._home.path
        self._port = port
        self._settings = dict(settings)

    # What people call -----------------------------------------------------------------------------

    def start(self) -> Status:
        """Start the server if it is not running, without our roles and database; create its data if needed."""
        with self._home.locked():
            try:
                if not self._find_running():
                    self._start_anew()
            except (OSError, subprocess.SubprocessError) as error:
                raise StartFailedError(f"the server of {self.home} cannot be started: {error}") from error
            return self.status()

    def up(self, migrate: Callable[[str], object]) -> Status:
        """Start the server, and create our logins, the database and the schema. You can repeat it, also at the same
        time.

        `migrate` gets the DSN of the role that owns the database (CREATEROLE, no superuser) and must create the role
        `mds_app`, which is then granted to the service role. Its exceptions pass through.
        """
        with self._home.locked():
            self.start()
            with self._superuser() as connection:
                self._ensure_login(connection, ADMIN_ROLE, "CREATEROLE")
                self._ensure_login(connection, SERVICE_ROLE, "NOCREATEROLE")
                query = "SELECT 1 FROM pg_database WHERE datname = %s"
                if not connection.execute(query, [DATABASE]).fetchone():
                    create, owner = sql.SQL("CREATE DATABASE {} OWNER {}"), sql.Identifier(ADMIN_ROLE)
                    connection.execute(create.format(sql.Identifier(DATABASE), owner))
            migrate(self.dsn(ADMIN_ROLE))
            with self._superuser(DATABASE) as connection:
                grant = sql.SQL("GRANT {} TO {}")
                connection.execute(grant.format(sql.Identifier(APP), sql.Identifier(SERVICE_ROLE)))
                # Lets the control plane limit the logins of tenants.
                limit = sql.SQL("GRANT SET ON PARAMETER temp_file_limit TO {}")
                connection.execute(limit.format(sql.Identifier(ADMIN_ROLE)))
                connection.execute(CLOSE_LARGE_OBJECTS)
            return self.status()

    def down(self, *, mode: Literal["smart", "fast", "immediate"] = "fast") -> bool:
        """Stop the server and keep its data. Returns True if it was running.

        The modes are PostgreSQL's: smart waits for clients, fast disconnects them, immediate leaves recovery to the
        next start.
        """
        if self._home.state() is None:
            return False
        with self._home.locked():
            state, postmaster = self._home.state(), self._postmaster()
            if state is None or postmaster is None:
                return False
            processes.stop(postmaster.pid, mode)
            if state.socket_directory.parent != state.place:  # a temporary one; the next start makes another
                processes.take_over(state.data, state.socket_directory)
                with contextlib.suppress(OSError):
                    state.socket_directory.rmdir()
            return True

    def discard(self) -> None:
        """Stop the server and delete its data and all its files, in the home and elsewhere. For tests."""
        if not self.home.exists():
            return
        with self._home.locked():
            self.down(mode="immediate")
            if (state := self._home.state()) and state.place != self.home:
                shutil.rmtree(state.place)
            for path in (self.home / "data", self.home / "run", self._home.secrets, *self.home.glob("data.new-*")):
                shutil.rmtree(path, ignore_errors=True)
            for name in ("server.json", "server.log", "server.log.old", "lock"):
                (self.home / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.home.rmdir()  # only if it is empty

    def status(self) -> Status:
        """Return the current state. Starts, changes and waits for nothing."""
        state, postmaster = self._home.state(), self._postmaster()
        directory = (postmaster and postmaster.socket_directory) or (state and state.socket_directory)
        return Status(
            running=postmaster is not None,
            home=str(self.home),
            pid=postmaster.pid if postmaster else None,
            version=state.version if state else None,
            data_directory=str(state.data) if state else None,
            socket_directory=str(directory) if directory else None,
            port=postmaster.port if postmaster else state.port if state else None,
            started_at=postmaster.started_at.isoformat() if postmaster else None,
        )

    def env(self) -> dict[str, str]:
        """Return the variables that programs need: MDS_DSN for the service role, DATABASE_URL for the control plane."""
        return {"MDS_DSN": self.dsn(SERVICE_ROLE), "DATABASE_URL": self.dsn(ADMIN_ROLE)}

    def dsn(self, role: str, dbname: str = DATABASE) -> str:
        """Return a URL for one of our roles over 127.0.0.1, with its password."""
        postmaster = self._postmaster_or_raise()
        login = f"{quote(role, safe='')}:{quote(self._home.secret(role), safe='')}"
        return f"postgresql://{login}@127.0.0.1:{postmaster.port}/{quote(dbname, safe='')}"

    def superuser_dsn(self, dbname: str = "postgres") -> str:
        """Return a URL for the superuser over the private socket. For setup and tests, not for clients."""
        postmaster = self._postmaster_or_raise()
        directory = postmaster.socket_directory
        if directory is None or not (directory / f".s.PGSQL.{postmaster.port}").exists():
            return self.dsn(SUPERUSER, dbname)  # the temporary directory was cleaned while the server ran
        login = f"{SUPERUSER}:{quote(self._home.secret(SUPERUSER), safe='')}"
        where = f"host={quote(str(directory), safe='')}&port={postmaster.port}"
        return f"postgresql://{login}@/{quote(dbname, safe='')}?{where}"

    # Finding the server ---------------------------------------------------------------------------

    def _postmaster(self) -> Postmaster | None:
        state = self._home.state()
        return processes.live_postmaster(state.data) if state else None

    def _postmaster_or_raise(self) -> Postmaster:
        if (postmaster := self._postmaster()) is None:
            raise NotRunningError(f"the server of {self.home} is not running: start it with `datastore up`")
        return postmaster

    def _find_running(self) -> bool:
        """Whether the server runs and accepts us; waits for one that is starting, recovering or stopping."""
        postmaster = None
        for _ in processes.until(START_SECONDS):
            postmaster = self._postmaster()
            if postmaster is None:
                return False
            if postmaster.phase == "ready":
                try:
                    with self._superuser():
                        return True
                except EmbeddedServerError:
                    if self._postmaster() is not None:
                        raise
                    # The server ended while we were connecting.
        assert postmaster
        raise StartFailedError(
            f"the server of {self.home} (process {postmaster.pid}) has been {postmaster.phase or 'starting'} "
            f"for {START_SECONDS:.0f} s; the end of {self._home.log_path}:\n{machine.log_tail(self._home.log_path, 0)}"
        )

    @contextlib.contextmanager
    def _superuser(self, dbname: str = "postgres") -> Iterator[psycopg.Connection[tuple[object, ...]]]:
        try:
            with psycopg.connect(self.superuser_dsn(dbname), autocommit=True, connect_timeout=10) as connection:
                yield connection
        except psycopg.Error as error:
            raise EmbeddedServerError(
                f"the server of {self.home} refused a connection or a statement: {error}"
            ) from error

    # Making and starting it -----------------------------------------------------------------------

    def _start_anew(self) -> None:
        state = self._home.state()
        place = state.place if state else None
        if place is None and (self.home / "data" / "PG_VERSION").exists():
            place = self.home  # server.json was lost, but not the data
        major, existing = None, None
        if place and (place / "data" / "PG_VERSION").exists():
            existing = place / "data"
            major = int((existing / "PG_VERSION").read_text().split(".")[0])
        account = accounts.choose_account(existing)
        binaries = find_binaries(account, major)
        place = place or self._choose_place(account)
        data = place / "data"
        if existing is None:
            self._make_data(binaries, account, data)
        elif not self._home.secret_path(SUPERUSER).exists():
            raise EmbeddedServerError(
                f"{data} exists, but {self._home.secret_path(SUPERUSER)} is missing: restore it, or move the data away"
            )
        directory, port = machine.choose_socket_directory(place, account), state.port if state else 0
        self._launch(binaries, account, State(place, directory, port, binaries.version))

    def _choose_place(self, account: Account | None) -> Path:
        if account is None:
            return self.home
        probe = Path(tempfile.mkdtemp(prefix="probe-", dir=self.home))
        try:
            os.chown(probe, account.uid, account.gid)
            if accounts.can_use(account, probe):
                return self.home
        finally:
            probe.rmdir()
        shared = accounts.shared_directory()
        for mark in shared.glob("home-*/home"):
            # A home of this path was deleted without its data, and its server may still run. The home may also be on a
            # disk that is not mounted now, so rename the data instead of deleting it.
            if mark.read_bytes() == os.fsencode(self.home):
                if postmaster := processes.live_postmaster(mark.parent / "data"):
                    processes.stop(postmaster.pid, "fast")
                lost = mark.parent.with_name(mark.parent.name.replace("home-", "lost-", 1))
                mark.parent.rename(lost)
                _log.warning("%s was deleted, its data was not: that is now in %s", self.home, lost)
        place = Path(tempfile.mkdtemp(prefix="home-", dir=shared))
        place.chmod(0o711)
        (place / "home").write_bytes(os.fsencode(self.home))
        # Store this before the place has any content, so that the next start finds it if this one is killed here.
        self._home.write_state(State(place, place / "run", 0, ""))
        return place

    def _make_data(self, binaries: Binaries, account: Account | None, data: Path) -> None:
        """Run initdb under a temporary name until the data is complete, so that partial data is never used."""
        for leftover in data.parent.glob("data.new-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        password = self._home.secret(SUPERUSER, create=True)
        # From 17 on PostgreSQL has its own C.UTF-8; before that only Linux has one.
        old = "--locale=C.UTF-8" if sys.platform == "linux" else "--locale=C"
        new = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
        work = Path(tempfile.mkdtemp(prefix="data.new-", dir=data.parent))
        try:
            (work / "password").touch(mode=0o600, exist_ok=False)
            (work / "password").write_text(password)
            if account:
                os.chown(work / "password", account.uid, account.gid)
                os.chown(work, account.uid, account.gid)
            command: list[str | Path] = [binaries.program("initdb"), "-D", work / "data", "-U", SUPERUSER]
            command += [f"--pwfile={work / 'password'}", "--auth=scram-sha-256", "--data-checksums"]
            command += ["--encoding=UTF8", *(new if binaries.major >= 17 else [old])]
            command += ["--no-sync"] if self._settings.get("fsync") == "off" else []
            made = accounts.run_as(account, command)
            if made.returncode:
                raise StartFailedError(f"PostgreSQL's initdb failed:\n{machine.last_lines(made.stdout)}")
            (work / "data").rename(data)
            machine.sync_directory(data.parent)
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _launch(self, binaries: Binaries, account: Account | None, state: State) -> None:
        processes.take_over(state.data, state.socket_directory)
        deadline = time.monotonic() + START_SECONDS
        ports = machine.ports_to_try(self._port, state.port)
        port = next(ports)
        while True:
            offset = machine.prepare_log(self._home.log_path)
            self._home.write_state(State(state.place, state.socket_directory, port, binaries.version))
            process = self._spawn(binaries, account, state, port)
            if self._await_ready(state.data, process, deadline):
                return
            said = machine.log_tail(self._home.log_path, offset)
            if "could not bind" in said:  # another program took the port after we had checked it
                port = next(ports)
            elif "is still in use" not in said or time.monotonic() > deadline:
                # (In use: by the last processes of a killed server, which will end soon.)
                raise StartFailedError(f"PostgreSQL did not start; the end of {self._home.log_path}:\n{said}")
            else:
                time.sleep(processes.POLL_SECONDS)

    def _spawn(self, binaries: Binaries, account: Account | None, state: State, port: int) -> int:
        settings = {"timezone": "UTC", "log_timezone": "UTC"} | self._settings
        settings |= {
            "listen_addresses": "127.0.0.1",
            "port": str(port),
            "unix_socket_directories": str(state.socket_directory),
            "unix_socket_permissions": "0700",
            "password_encryption": "scram-sha-256",
            "log_destination": "stderr",
            "logging_collector": "off",
        }
        command = [binaries.program("postgres"), "-D", str(state.data)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        # A new session that inherits only the log, from a parent that ends at once: the server outlives us, our
        # terminal and readers of our output, and is not our child. (pg_ctl would do that too, but it builds a shell
        # command in which not every path works.)
        log = os.open(self._home.log_path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW)
        try:
            shell = ["/bin/sh", "-c", '"$@" >&2 & echo $!', "sh"]
            return int(accounts.run_as(account, [*shell, *command], stderr=log, new_session=True).stdout)
        finally:
            os.close(log)

    def _await_ready(self, data: Path, process: int, deadline: float) -> bool:
        """Return True when the server accepts connections, False when it has ended."""
        for _ in processes.until(deadline - time.monotonic()):
            postmaster = processes.live_postmaster(data)
            if postmaster and postmaster.pid == process and postmaster.phase == "ready":
                with self._superuser():
                    return True
            if not processes.is_alive(process):
                return False
        # Do not stop it: it may be recovering, and would have to start over. The next start waits for it.
        raise StartFailedError(
            f"PostgreSQL (process {process}) is not ready after {START_SECONDS:.0f} s; "
            f"the end of {self._home.log_path}:\n{machine.log_tail(self._home.log_path, 0)}"
        )

    def _ensure_login(
        self, connection: psycopg.Connection[tuple[object, ...]], role: str, extra: LiteralString
    ) -> None:
        # The server only sees, and could log, the SCRAM verifier, not the password.
        password = self._home.secret(role, create=True).encode()
        verifier = connection.pgconn.encrypt_password(password, role.encode(), b"scram-sha-256").decode()
        exists = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone()
        verb = sql.SQL("ALTER" if exists else "CREATE")
        attributes = sql.SQL("LOGIN NOSUPERUSER NOCREATEDB NOREPLICATION NOBYPASSRLS " + extra)
        statement = sql.SQL("{} ROLE {} {} PASSWORD {}")
        connection.execute(statement.format(verb, sql.Identifier(role), attributes, sql.Literal(verifier)))
