"""Object stores with the interface of S3, through obstore, which has the same core as polars and deltalake.

Credentials, the region, the endpoint and encryption come from the environment, under the names that AWS gives
(`AWS_ACCESS_KEY_ID`, `AWS_REGION`, `AWS_ENDPOINT_URL`, …), from a web identity, or from the machine's role. They are
never part of a URL, a message or the database. A request has to be answered in 30 seconds, or in `AWS_TIMEOUT`.
"""

import posixpath
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from io import SEEK_CUR, SEEK_END, SEEK_SET, RawIOBase
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from mds_client.cold.places.base import FileMissing, Found, PlaceUnavailable, whole
from mds_client.errors import ConfigurationError

try:
    import obstore
    from obstore.exceptions import AlreadyExistsError, BaseError
    from obstore.store import S3Store
except ImportError as error:
    raise ConfigurationError("obstore is not installed: install the extra cold (see Installing)") from error

if TYPE_CHECKING:
    from obstore.store import RetryConfig

RETRIES: "Final[RetryConfig]" = {"max_retries": 4, "retry_timeout": timedelta(seconds=60)}
"""How often a request is sent again that was answered with a 5xx or not at all, with growing pauses from 0.1 s on."""

ONE_REQUEST: Final = 32 << 20
"""A file of up to this many bytes is written by one request, which fails if the name is taken."""

TAIL: Final = 64 << 10
"""The bytes at the end of a file that are read first: the metadata of most files fit."""

AHEAD: Final = 8 << 20
"""The bytes that are read at once when a file is read from one end to the other."""


class Objects:
    """A prefix in a bucket, and the objects below it."""

    far: Final = True

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.url: Final = url
        self._prefix = parts.path.strip("/")
        with _failing(url, ConfigurationError):
            self._store = S3Store(parts.netloc, retry_config=RETRIES)

    def whole(self, path: str) -> str:
        return whole(self.url, path)

    def open(self, path: str) -> "Object":
        return Object(self._store, self._key(path), f"{path} cannot be read at {self.url}")

    @contextmanager
    def writing(self, path: str) -> Iterator[Any]:
        with tempfile.SpooledTemporaryFile(ONE_REQUEST) as raw:
            try:
                yield raw
            except OSError as error:
                raise PlaceUnavailable(f"{path} cannot be written here before it is sent: {error}") from error
            with _failing(self.whole(path), PlaceUnavailable):
                self._send(path, raw)

    def create(self, path: str, content: bytes) -> bytes:
        with _failing(self.whole(path), PlaceUnavailable):
            return self._create(path, content)

    def remove(self, path: str) -> None:
        with _failing(self.whole(path), PlaceUnavailable):
            try:
                obstore.delete(self._store, self._key(path))
            except FileNotFoundError:
                return

    def every(self) -> Iterator[Found]:
        # A prefix with a slash, or `data` would list `database`, too.
        prefix = f"{self._prefix}/" if self._prefix else None
        with _failing(self.url, PlaceUnavailable):
            for some in obstore.list(self._store, prefix, chunk_size=1000):
                for one in some:
                    yield Found(posixpath.relpath(one["path"], self._prefix or "."), one["size"], one["last_modified"])

    def _key(self, path: str) -> str:
        return posixpath.join(self._prefix, path)

    def _send(self, path: str, raw: Any) -> None:
        size = raw.tell()
        raw.seek(0)
        if size > ONE_REQUEST:
            # An upload in parts does not fail if the name is taken, but names have 128 random bits.
            obstore.put(self._store, self._key(path), raw, chunk_size=AHEAD)
            return
        content = raw.read()
        if self._create(path, content) != content:
            raise FileExistsError("another object has this name")

    def _create(self, path: str, content: bytes) -> bytes:
        """Write an object unless there is one, and return what it has.

        If an attempt was stored but its answer was lost, the next attempt finds the object of the first.
        """
        try:
            obstore.put(self._store, self._key(path), content, mode="create", use_multipart=False)
        except AlreadyExistsError:
            return bytes(obstore.get(self._store, self._key(path)).bytes())
        return content


class Object(RawIOBase):
    """An object, as a file that is read by ranges. Opening it sends no request."""

    def __init__(self, store: Any, key: str, problem: str) -> None:
        self._store, self._key, self._problem = store, key, problem
        self._size: int | None = None
        self._at = 0
        self._block = memoryview(b"")
        self._begin = 0
        self._behind = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = SEEK_SET, /) -> int:
        base = {SEEK_SET: 0, SEEK_CUR: self._at, SEEK_END: self._length() if whence == SEEK_END else 0}[whence]
        self._at = base + offset
        return self._at

    def readall(self) -> bytes:
        return self.read(self._length() - self._at)

    def read(self, size: int = -1, /) -> bytes:
        end = self._length() if size < 0 else min(self._at + size, self._length())
        if end <= self._at:
            return b""
        if not self._begin <= self._at <= end <= self._begin + len(self._block):
            # Who goes on where the last read ended will probably go on.
            until = min(max(end, self._at + AHEAD), self._length()) if self._at == self._behind else end
            with _failing(self._problem, FileMissing):
                found = obstore.get_range(self._store, self._key, start=self._at, end=until)
            self._block, self._begin = memoryview(found), self._at
        block = bytes(self._block[self._at - self._begin : end - self._begin])
        self._at = self._behind = end
        return block

    def readinto(self, buffer: Any, /) -> int:
        block = self.read(len(buffer))
        buffer[: len(block)] = block
        return len(block)

    def _length(self) -> int:
        """Return the size. The first request for it also reads the end of the file, where Parquet's metadata are."""
        if self._size is None:
            with _failing(self._problem, FileMissing):
                found = obstore.get(self._store, self._key, options={"range": {"suffix": TAIL}})
                block = memoryview(found.bytes())
            self._size = int(found.meta["size"])
            self._block, self._begin = block, self._size - len(block)
        return self._size


@contextmanager
def _failing(where: str, kind: type[Exception]) -> Iterator[None]:
    """Raise errors of the object store as errors of this package, with the reason in one line."""
    try:
        yield
    except (BaseError, OSError, ValueError) as error:
        said = str(error).partition("\n\nDebug source")[0]
        # The answer's body follows in XML. Its code says in a word what is wrong.
        reason, _, body = said.partition("<")
        code = re.search(r"Code>(\w+)<", body)
        raise kind(f"{where}: {reason.strip(' :')}{f' ({code[1]})' if code else ''}") from error
