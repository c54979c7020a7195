"""Folders with files of rows."""

import os
import posixpath
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from mds_client.cold.places.base import PART, FileMissing, Found, PlaceUnavailable, whole
from mds_client.columns.arrow import ARROW_TYPES as ARROW_TYPES  # says first which package is missing

from pyarrow import fs  # isort: skip


class Folder:
    """A folder, and its files by their names below it."""

    far: Final = False

    def __init__(self, url: str) -> None:
        self.url: Final = url
        self._root = whole(url, "").rstrip("/")
        self._files = fs.LocalFileSystem()

    def whole(self, path: str) -> str:
        return whole(self.url, path)

    def open(self, path: str) -> Any:
        try:
            return self._files.open_input_file(self.whole(path))
        except OSError as error:
            raise FileMissing(f"{path} cannot be read at {self.url}: {error}") from error

    @contextmanager
    def writing(self, path: str) -> Iterator[Any]:
        with self._failing(path), self._named(Path(self.whole(path))) as raw:
            yield raw

    def create(self, path: str, content: bytes) -> bytes:
        final = Path(self.whole(path))
        with self._failing(path):
            with suppress(FileExistsError), self._named(final) as raw:
                raw.write(content)
            return final.read_bytes()

    def remove(self, path: str) -> None:
        with self._failing(path), suppress(FileNotFoundError):
            self._files.delete_file(self.whole(path))

    def every(self) -> Iterator[Found]:
        with self._failing(""):
            there = self._files.get_file_info(fs.FileSelector(self._root, recursive=True, allow_not_found=True))
        for one in there:
            if one.type == fs.FileType.File:
                yield Found(posixpath.relpath(one.path, self._root), one.size, one.mtime)

    @contextmanager
    def _named(self, final: Path) -> Iterator[Any]:
        """Write a file that has its name, on the disk, when the block ends; a block that fails leaves none."""
        folder = final.parent
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / f".{final.name}.{uuid.uuid4().hex}{PART}"
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

    @contextmanager
    def _failing(self, path: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise PlaceUnavailable(f"{self.whole(path)}: {error.strerror or error}") from error
