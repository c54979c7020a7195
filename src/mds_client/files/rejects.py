"""The file of rejects: invalid lines, each with its number and the reason."""

import contextlib
import io
import json
import threading
from pathlib import Path

from mds_client.files.source import SourceError, split


class RejectFile:
    """A file for invalid lines: NDJSON with the line's number, the reason and the line itself.

    It is created at the first reject. An existing file of an earlier run is replaced, or removed at the end of a
    complete run without rejects, because it is out of date. Several threads can write.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self._file: io.TextIOWrapper | None = None
        self._lock = threading.Lock()

    def write(self, line: int, why: str, text: str) -> None:
        """Write one invalid line. Raises SourceError if it cannot be written."""
        told = json.dumps({"line": line, "reason": why, "row": text}, ensure_ascii=False)
        with self._lock:
            try:
                if self._file is None:
                    self._file = self.path.open("w", encoding="utf-8")
                self._file.write(told + "\n")
                self._file.flush()
            except OSError as error:
                raise SourceError(f"{self.path}: rejects cannot be written: {error.strerror}") from error
            self.count += 1

    def close(self, *, complete: bool) -> None:
        """Close the file. After a `complete` run without rejects, remove the file of an earlier run."""
        with self._lock:
            if self._file is not None:
                # Every line was flushed, so an error here has been reported before.
                with contextlib.suppress(OSError):
                    self._file.close()
            elif complete and self.path.is_file() and not self.path.is_symlink():
                # Never remove a device or link: rejects can be sent to /dev/null or /dev/stderr.
                with contextlib.suppress(OSError):
                    self.path.unlink()


def rejects_path(path: str) -> Path:
    """Return the default path for the rejects of an input."""
    file, member = split(path)
    name = "stdin" if path == "-" else file if member is None else f"{file}.{member.replace('/', '.')}"
    return Path(f"{name}.rejects.ndjson")
