"""The files of metadata of published tables, which pyiceberg reads and writes through a place.

So they are reached with the credentials and the endpoint of the files of rows, and are never replaced either. Needs the
extra `lake`.
"""

from contextlib import closing
from types import TracebackType
from typing import Any, Final, Self

from pyiceberg.io import FileIO, InputFile, OutputFile
from pyiceberg.typedef import EMPTY_DICT, Properties

from mds_client.cold.places import FileMissing, Place, place

PLACE: Final = "market-data-store.place"
"""The property with the URL of the place."""


def location(target: Place, path: str) -> str:
    """Return the location of a file as Iceberg's metadata name it."""
    whole = target.whole(path)
    return whole if "://" in whole else f"file://{whole}"


class PlaceIO(FileIO):
    """Files of a place by their locations."""

    def __init__(self, properties: Properties = EMPTY_DICT) -> None:
        super().__init__(properties)
        self._place = place(str(properties[PLACE]))

    def new_input(self, location: str) -> InputFile:
        return _Input(self._place, self._path(location), location)

    def new_output(self, location: str) -> OutputFile:
        return _Output(self._place, self._path(location), location)

    def delete(self, location: str | InputFile | OutputFile) -> None:
        self._place.remove(self._path(location if isinstance(location, str) else location.location))

    def _path(self, name: str) -> str:
        root = location(self._place, "")
        if not name.startswith(root):
            raise ValueError(f"{name} is not below {root}")
        return name.removeprefix(root)


class _Input(InputFile):
    def __init__(self, where: Place, path: str, name: str) -> None:
        super().__init__(name)
        self._where, self._path = where, path

    def __len__(self) -> int:
        with closing(self.open()) as file:
            return int(file.seek(0, 2))

    def exists(self) -> bool:
        try:
            len(self)
        except FileMissing:
            return False
        return True

    def open(self, seekable: bool = True) -> Any:  # noqa: ARG002 - every file is seekable
        return self._where.open(self._path)


class _Output(OutputFile):
    def __init__(self, where: Place, path: str, name: str) -> None:
        super().__init__(name)
        self._where, self._path = where, path

    def __len__(self) -> int:
        return len(self.to_input_file())

    def exists(self) -> bool:
        return self.to_input_file().exists()

    def to_input_file(self) -> InputFile:
        return _Input(self._where, self._path, self.location)

    def create(self, overwrite: bool = False) -> Any:  # noqa: ARG002 - names are unique, and nothing is replaced
        return _Stream(self._where, self._path)


class _Stream:
    """A new file, which is stored when it is closed."""

    def __init__(self, where: Place, path: str) -> None:
        self._writing = where.writing(path)
        self._file = self._writing.__enter__()
        self._is_open = True

    def write(self, content: bytes) -> int:
        return int(self._file.write(content))

    def tell(self) -> int:
        return int(self._file.tell())

    def close(self) -> None:
        self.__exit__(None, None, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_open:
            self._is_open = False
            self._writing.__exit__(kind, error, trace)
