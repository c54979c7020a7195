"""Files to write rows to. A file gets its name when it is complete; an interrupted write leaves nothing."""

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
    """A file cannot be written; the message names it and the reason."""


@dataclass(frozen=True, slots=True)
class Dump:
    """The result of an export: the kind, the target, the number of rows, and the duration in seconds."""

    kind: str
    target: str
    rows: int
    seconds: float


@contextmanager
def target_file(path: str) -> Iterator[BinaryIO]:
    """Open a file that gets its name when it is complete, or standard output for `-`."""
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
        # mkstemp gives access only to the owner, but an exported file should follow the umask.
        umask = os.umask(0)
        os.umask(umask)
        part.chmod(0o666 & ~umask)
        part.replace(final)
    except OSError as error:
        raise TargetError(f"{path}: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)
