"""The file of rejects: lines that are no valid rows, each with its number and the reason."""

import contextlib
import io
import json
import threading
from pathlib import Path

from mds_client.files.source import SourceError, split


class RejectFile:
    """Where lines go that are no rows: NDJSON with the line's number, the reason and the line itself.

    Made at the first reject. One that an earlier run left under the same name is replaced, or taken away at the end
    of a complete run without rejects: it would speak of lines that are no longer wrong. Several threads may write.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self._file: io.TextIOWrapper | None = None
        self._lock = threading.Lock()

    def write(self, line: int, why: str, text: str) -> None:
        """Put one line aside. Raises SourceError if it cannot be written."""
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
        """End the file."""
        with self._lock:
            if self._file is not None:
                # Every line is flushed: what is left to fail here has been told.
                with contextlib.suppress(OSError):
                    self._file.close()
            elif complete and self.path.is_file() and not self.path.is_symlink():
                # No device and no link: rejects may be sent to /dev/null or /dev/stderr.
                with contextlib.suppress(OSError):
                    self.path.unlink()


def rejects_path(path: str) -> Path:
    """Where the rejects of an input go if nobody says otherwise."""
    file, member = split(path)
    name = "stdin" if path == "-" else file if member is None else f"{file}.{member.replace('/', '.')}"
    return Path(f"{name}.rejects.ndjson")
