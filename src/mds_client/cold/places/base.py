"""What a place of files can do, whatever keeps them."""

import os
import posixpath
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Protocol

from mds_client.errors import RetryableError

PART: Final = ".part"
"""The suffix of an incomplete file's name."""


class FileMissing(RetryableError):
    """A file that the store lists is missing or cannot be read; the message names it and the reason.

    If the file was replaced meanwhile, another attempt reads the new one.
    """


class PlaceUnavailable(RetryableError):
    """The place of the files does not answer, or refuses to list or to write; the message says where and why.

    Nothing is lost: a file that may have been written in part or without an answer is on no list.
    """


def whole(url: str, path: str) -> str:
    """Return the whole name of a file, as other programs open it."""
    return posixpath.join(url.rstrip("/") if "://" in url else str(Path(url).absolute()), path)


def polars_options(name: str) -> dict[str, str] | None:
    """Return the options with which polars opens a file by its whole name.

    By default polars waits forever for an object store that does not answer. Its requests may take as long as ours.
    """
    return {"timeout": os.environ.get("AWS_TIMEOUT", "30s")} if "://" in name else None


@dataclass(frozen=True, slots=True)
class Found:
    """A file: its name relative to the place, its size in bytes, and when it was written."""

    path: str
    size: int
    written: datetime | None


class Place(Protocol):
    """Files by their names below a URL. A file is written once, under a name of its own, and never changed."""

    @property
    def url(self) -> str:
        """The URL or the folder, as it was given."""
        ...

    @property
    def far(self) -> bool:
        """Whether each read of bytes costs a request. Such reads should be few and large."""
        ...

    def whole(self, path: str) -> str:
        """Return a file's whole name, as other programs open it."""
        ...

    def open(self, path: str) -> Any:
        """Open a file to read its bytes, as a context manager with `read`, `seek` and `tell`. Raises FileMissing."""
        ...

    def writing(self, path: str) -> AbstractContextManager[Any]:
        """Write a new file into the file object of the block.

        The file is stored under its name when the block ends. A block that fails leaves none.

        Raises:
            PlaceUnavailable: The file could not be written. At most a file on no list is left.
        """
        ...

    def create(self, path: str, content: bytes) -> bytes:
        """Write a small file unless there is one of that name, and return what it has. Raises PlaceUnavailable."""
        ...

    def remove(self, path: str) -> None:
        """Remove a file. Does nothing if it does not exist. Raises PlaceUnavailable."""
        ...

    def every(self) -> Iterator[Found]:
        """Yield all files, including incomplete ones. Raises PlaceUnavailable."""
        ...
