"""The journal of imports: the files that a run of `mds import` has written completely, until all its files are.

A run that is stopped is continued by the same command, which skips these files. The journal only saves time: every
write is idempotent. It is an SQLite file in the user's state folder. Entries of a run are removed when all files are
imported, so that the same command then imports them again.
"""

import contextlib
import hashlib
import json
import os
import sqlite3
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Self

from mds_client._version import __version__
from mds_client.client import MDS
from mds_client.config import state_folder
from mds_client.errors import MDSError
from mds_client.files import split
from mds_client.protocol import server

KEPT: Final = timedelta(days=7)
"""How long the files of a stopped run are remembered."""

_TABLE: Final = """
CREATE TABLE IF NOT EXISTS imported (
    run TEXT NOT NULL, file TEXT NOT NULL, fingerprint TEXT NOT NULL, rejected INTEGER NOT NULL, at REAL NOT NULL,
    PRIMARY KEY (run, file)
)
"""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What identifies the content of a file. `stat` tells whether it was changed while it was read."""

    content: str
    stat: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Imported:
    """A file that a stopped run has imported. `rejected` is the number of its rejected rows."""

    fingerprint: str
    rejected: int
    at: datetime


def fingerprint(path: str) -> Fingerprint | None:
    """Return the fingerprint of a file, which can be in a zip archive. None if it is no regular file or unreadable."""
    try:
        file, member = split(path)
        if path == "-" or not Path(file).is_file():
            return None
        stat = _stat(file)
        if member is not None:
            with zipfile.ZipFile(file) as archive:
                info = archive.getinfo(member)
            # The archive's checksum of the file. Reading the whole archive for each of its files would take too long.
            return Fingerprint(f"zip {info.CRC} {info.file_size} of {stat}", stat)
        with Path(file).open("rb") as opened:
            return Fingerprint(hashlib.file_digest(opened, "blake2b").hexdigest(), stat)
    except (OSError, KeyError, zipfile.BadZipFile, NotImplementedError):
        # The import reports what is wrong with the file.
        return None


def is_same(path: str, before: Fingerprint | None) -> bool:
    """Whether a file has not been changed since its fingerprint was taken."""
    with contextlib.suppress(OSError):
        return before is not None and _stat(split(path)[0]) == before.stat
    return False


def _stat(file: str) -> tuple[int, int, int]:
    found = Path(file).stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


class Journal:
    """The entries of one run: of one database, tenant and way to read the files.

    Errors of the journal's file never stop an import: `trouble` then says what is wrong, and nothing is skipped.

    Args:
        path: The SQLite file.
        run: The identity of the run.
    """

    def __init__(self, path: Path, run: str) -> None:
        self._path = path
        self._run = run
        self._database: sqlite3.Connection | None = None
        self.trouble: str | None = None
        self._known: dict[str, Imported] = {}
        if path.exists():
            self._read()

    @classmethod
    def of(cls, client: MDS, how: Mapping[str, Any]) -> Self | None:
        """Open the journal of a run.

        Args:
            client: The client that writes. Its database and tenant are asked for.
            how: How the files are read and written.

        Returns:
            The journal, or None if the server does not say which database it is.
        """
        try:
            database = client.run(server.identity())
        except MDSError:
            # The import itself reports a server that is away. Some services do not tell their identity.
            return None
        told = json.dumps([__version__, database, how], sort_keys=True, default=_in_order)
        return cls(state_folder() / "imports.sqlite", hashlib.sha256(told.encode()).hexdigest())

    def known(self, path: str) -> Imported | None:
        """Return the entry of a file if it has not been changed since."""
        if (entry := self._known.get(_absolute(path))) is None:
            return None
        found = fingerprint(path)
        return entry if found is not None and found.content == entry.fingerprint else None

    def add(self, path: str, content: str, rejected: int) -> None:
        """Add a file, all of whose rows are committed."""
        now = datetime.now(UTC).timestamp()
        entry = (self._run, _absolute(path), content, rejected, now)
        self._execute("INSERT OR REPLACE INTO imported VALUES (?, ?, ?, ?, ?)", [entry])

    def forget(self, paths: Iterable[str]) -> None:
        """Remove the entries of these files, because all files of the run are imported."""
        if self._known or self._database is not None:
            entries = [(self._run, _absolute(path)) for path in paths]
            self._execute("DELETE FROM imported WHERE run = ? AND file = ?", entries)

    def close(self) -> None:
        """Close the file."""
        if self._database is not None:
            self._database.close()

    def _read(self) -> None:
        oldest = (datetime.now(UTC) - KEPT).timestamp()
        self._execute("DELETE FROM imported WHERE at < ?", [(oldest,)])
        if self._database is None:
            return
        try:
            rows = self._database.execute(
                "SELECT file, fingerprint, rejected, at FROM imported WHERE run = ?", (self._run,)
            ).fetchall()
        except sqlite3.Error as error:
            self._fail(error)
            return
        self._known = {
            file: Imported(content, rejected, datetime.fromtimestamp(at, UTC)) for file, content, rejected, at in rows
        }

    def _execute(self, statement: str, rows: list[tuple[Any, ...]]) -> None:
        if self.trouble is not None:
            return
        try:
            if self._database is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._database = sqlite3.connect(self._path, timeout=10)
                self._database.execute("PRAGMA journal_mode = WAL")
                self._database.execute("PRAGMA synchronous = NORMAL")
                self._database.execute(_TABLE)
            with self._database:
                self._database.executemany(statement, rows)
        except (sqlite3.Error, OSError) as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        self._known = {}
        self.trouble = f"{self._path}: the journal of imports cannot be used, so that no file is skipped: {error}"


def _absolute(path: str) -> str:
    return os.path.realpath(path)


def _in_order(value: Any) -> Any:
    """Convert a set for JSON. Its order differs between processes."""
    return sorted(value) if isinstance(value, set | frozenset) else str(value)
