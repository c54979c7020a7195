"""Files that rows are written to. A file gets its name when it is whole; one that was stopped leaves nothing."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from mds_client.errors import MDSError


class TargetError(MDSError):
    """A file cannot be written; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Dump:
    """What was written: rows, and how long it took."""

    kind: str
    target: str
    rows: int
    seconds: float


@contextmanager
def target_file(path: str) -> Iterator[BinaryIO]:
    """A file that gets its name when it is whole, or standard output."""
    if path == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    final = Path(path)
    try:
        handle, name = tempfile.mkstemp(prefix=f".{final.name}.", dir=final.parent)
    except OSError as error:
        raise TargetError(f"{path}: {error.strerror}") from error
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as raw:
            yield raw
        # mkstemp lets only the owner read; a file that someone asked for follows the umask like any other.
        umask = os.umask(0)
        os.umask(umask)
        part.chmod(0o666 & ~umask)
        part.replace(final)
    except OSError as error:
        raise TargetError(f"{path}: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)
