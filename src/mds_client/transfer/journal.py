"""The journal of imports: the files that a run of `mds import` has written completely, until all its files are.

A run that is stopped is continued by the same command, which skips these files. The journal only saves time: what is
stored is what an import of all files stores. So an entry is also removed if a file in front of it is imported again and
may have rows with the same keys. The journal is an SQLite file in the user's state folder. Entries of a run are removed
when all files are imported, so that the same command then imports them again.
"""

import contextlib
import hashlib
import json
import os
import sqlite3
import zipfile
from collections.abc import Mapping
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
from mds_client.transfer.touched import ANY, Touched

KEPT: Final = timedelta(days=7)
"""How long the files of a stopped run are remembered."""

MOST_SERIES: Final = 20
"""The number of series that are remembered of a file. A file with more may have rows of any series."""

_TABLE: Final = """
CREATE TABLE IF NOT EXISTS imported_files (
    run TEXT NOT NULL, file TEXT NOT NULL, fingerprint TEXT NOT NULL, rejected INTEGER NOT NULL, at REAL NOT NULL,
    touched TEXT NOT NULL, PRIMARY KEY (run, file)
)
"""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What identifies the content of a file. `stat` tells whether it was changed while it was read."""

    content: str
    stat: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Imported:
    """A file that a stopped run has imported: the number of its rejected rows, and the keys of the others."""

    fingerprint: str
    rejected: int
    at: datetime
    touched: Touched


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
        # The entries of files that this run has not come to.
        self._known: dict[str, Imported] = {}
        try:
            is_there = path.exists()
        except OSError as error:
            self._fail(error)
            return
        if is_there:
            self._read()

    @classmethod
    def of(cls, client: MDS, how: Mapping[str, Any]) -> Self | None:
        """Open the journal of a run.

        Args:
            client: The client that writes. Its database and tenant are asked for.
            how: Which files are imported, and how they are read and written.

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
        """Return the entry of a file. The entry of a file that has been changed since is removed."""
        if (entry := self._known.get(_absolute(path))) is None:
            return None
        found = fingerprint(path)
        if found is not None and found.content == entry.fingerprint:
            return entry
        self._remove([_absolute(path)])
        return None

    def skipped(self, path: str) -> None:
        """Note that a file was skipped."""
        self._known.pop(_absolute(path), None)

    def imported(self, path: str, content: str | None, rejected: int, touched: Touched | None) -> None:
        """Add a file that was imported.

        Args:
            path: The file.
            content: Its fingerprint, or None if not all of its rows are committed.
            rejected: The number of its rejected rows.
            touched: The keys of its rows. Files behind it with such keys have to be imported again.
        """
        file = _absolute(path)
        self._known.pop(file, None)
        if touched is not None:
            self._remove([other for other, entry in self._known.items() if entry.touched.meets(touched)])
        if content is not None:
            now = datetime.now(UTC).timestamp()
            keys = _text(ANY if touched is None else touched.rough(MOST_SERIES))
            entry = (self._run, file, content, rejected, now, keys)
            self._execute("INSERT OR REPLACE INTO imported_files VALUES (?, ?, ?, ?, ?, ?)", [entry])

    def forget(self) -> None:
        """Remove the entries of the run, because all its files are imported, or have to be imported again."""
        self._known = {}
        if self._database is not None:
            self._execute("DELETE FROM imported_files WHERE run = ?", [(self._run,)])

    def close(self) -> None:
        """Close the file."""
        if self._database is not None:
            self._database.close()

    def _read(self) -> None:
        oldest = (datetime.now(UTC) - KEPT).timestamp()
        self._execute("DELETE FROM imported_files WHERE at < ?", [(oldest,)])
        if self._database is None:
            return
        try:
            rows = self._database.execute(
                "SELECT file, fingerprint, rejected, at, touched FROM imported_files WHERE run = ?", (self._run,)
            ).fetchall()
            self._known = {
                file: Imported(content, rejected, datetime.fromtimestamp(at, UTC), _touched(keys))
                for file, content, rejected, at, keys in rows
            }
        except (sqlite3.Error, ValueError, OverflowError) as error:
            self._fail(error)

    def _remove(self, files: list[str]) -> None:
        for file in files:
            del self._known[file]
        self._execute("DELETE FROM imported_files WHERE run = ? AND file = ?", [(self._run, file) for file in files])

    def _execute(self, statement: str, rows: list[tuple[Any, ...]]) -> None:
        if self.trouble is not None or not rows:
            return
        try:
            if self._database is None:
                # Names of files can be private.
                self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
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


def _text(touched: Touched) -> str:
    times = [None if time is None else time.isoformat() for time in (touched.first, touched.last)]
    return json.dumps([None if touched.series is None else sorted(touched.series), *times])


def _touched(text: str) -> Touched:
    series, *times = json.loads(text)
    first, last = (None if time is None else datetime.fromisoformat(time) for time in times)
    return Touched(None if series is None else {tuple(name) for name in series}, first, last)


def _in_order(value: Any) -> Any:
    """Convert a set for JSON. Its order differs between processes."""
    return sorted(value) if isinstance(value, set | frozenset) else str(value)
