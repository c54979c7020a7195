"""Folders with the files of rows.

A file is written once, under a unique name, and never changed. It gets its name when it is complete.
"""

import os
import posixpath
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, Final

from mds_client.columns.arrow import ARROW_TYPES as ARROW_TYPES  # says first which package is missing
from mds_client.errors import ConfigurationError, RetryableError

from pyarrow import fs  # isort: skip

PART: Final = ".part"
"""The suffix of an incomplete file's name."""


class FileMissing(RetryableError):
    """A file that the store lists is missing or cannot be read; the message names it and the reason.

    If the file was replaced meanwhile, another attempt reads the new one.
    """


@dataclass(frozen=True, slots=True)
class Found:
    """A file: its name relative to the place, its size in bytes, and when it was written."""

    path: str
    size: int
    written: datetime | None


@cache
def place(url: str) -> "Place":
    """Return the place for a folder. The same text returns the same object.

    Raises:
        ConfigurationError: The text is a URL.
    """
    if "://" in url:
        raise ConfigurationError(f"cold rows: {url!r} is not a folder. Object stores cannot be used yet")
    return Place(url, fs.LocalFileSystem(), str(Path(url).absolute()).rstrip("/"))


@dataclass(frozen=True)
class Place:
    """A folder, and its files by their names below it."""

    url: str
    files: Any
    root: str

    def at(self, path: str) -> str:
        """Return a file's full name in the file system."""
        return posixpath.join(self.root, path)

    def open(self, path: str) -> Any:
        """Open a file to read. Raises FileMissing."""
        try:
            return self.files.open_input_file(self.at(path))
        except OSError as error:
            raise FileMissing(f"{path} cannot be read at {self.url}: {error}") from error

    @contextmanager
    def writing(self, path: str) -> Iterator[Any]:
        """Write a new file. It is on the disk under its name when the block ends; a block that fails leaves none."""
        final = self.at(path)
        folder = Path(final).parent
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / f".{Path(final).name}.{uuid.uuid4().hex}{PART}"
        try:
            with part.open("xb") as raw:
                yield raw
                raw.flush()
                os.fsync(raw.fileno())
            # A link never replaces another file.
            os.link(part, final)
            handle = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
        finally:
            part.unlink(missing_ok=True)

    def remove(self, path: str) -> None:
        """Remove a file. Does nothing if it does not exist."""
        with suppress(FileNotFoundError):
            self.files.delete_file(self.at(path))

    def every(self) -> list[Found]:
        """Return all files, including incomplete ones."""
        there = self.files.get_file_info(fs.FileSelector(self.root, recursive=True, allow_not_found=True))
        return [
            Found(posixpath.relpath(one.path, self.root), one.size, one.mtime)
            for one in there
            if one.type == fs.FileType.File
        ]
