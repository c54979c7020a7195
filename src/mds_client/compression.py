"""Read and write compressed files: gzip and zstd, and zip only for reading.

The compression is detected by content when reading, and chosen by name when writing. The rest of the library sees plain
bytes.
"""

import gzip
import io
import sys
import zipfile
import zlib
from collections.abc import Callable
from typing import BinaryIO, Final, cast

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

GZIP: Final = b"\x1f\x8b"
ZSTD: Final = b"\x28\xb5\x2f\xfd"

ZIP: Final = b"PK\x03\x04"

HEAD: Final = 4
"""The number of bytes that identify the compression of a stream."""

DAMAGED: Final = (EOFError, gzip.BadGzipFile, zlib.error, zstd.ZstdError, zipfile.BadZipFile)
"""The exceptions of a reader for compressed bytes that are damaged or end early."""


MOST_TIMES: Final = 500
"""The maximum ratio of an input's size to its compressed size. For rows as text it is 5 to 100."""

UNBOUNDED: Final = 64 << 20
"""The size in bytes up to which the ratio is not checked."""


class TooLarge(OSError):
    """A compressed input is probably a zip bomb: it unpacks to far more than rows would."""


class Bounded(io.RawIOBase):
    """The decompressed bytes of a stream, with a limit on their number.

    Args:
        plain: The decompressing stream.
        consumed: Returns how many compressed bytes were read.
    """

    def __init__(self, plain: BinaryIO, consumed: Callable[[], int]) -> None:
        self._plain = plain
        self._consumed = consumed
        self._given = 0

    def readable(self) -> bool:
        return True

    def read1(self, size: int, /) -> bytes:
        """Read up to `size` bytes. Raises TooLarge."""
        data = cast("io.BufferedReader", self._plain).read1(size)
        self._given += len(data)
        if self._given > UNBOUNDED and self._given > MOST_TIMES * max(1, self._consumed()):
            raise TooLarge(
                f"it unpacks to more than {MOST_TIMES} times its size, which no file of rows does; if it is right,"
                " unpack it first"
            )
        return data


def members(path: str) -> list[str]:
    """Return the names of the files in a zip archive, sorted. Empty for other files and damaged archives.

    Opening a damaged archive reports the error. Raises OSError.
    """
    if not zipfile.is_zipfile(path):
        return []
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile:
        return []
    with archive:
        return sorted(info.filename for info in archive.infolist() if _is_file(info))


def _is_file(info: zipfile.ZipInfo) -> bool:
    hidden = any(part.startswith((".", "__MACOSX")) for part in info.filename.split("/"))
    return not info.is_dir() and not hidden


def member(raw: BinaryIO, name: str | None) -> tuple[BinaryIO, Callable[[], int]]:
    """Open a file in a zip archive. Also returns a function that counts the compressed bytes that were read.

    Raises:
        OSError: The file does not exist, there are several and none is named, or it is encrypted.
        zipfile.BadZipFile: The archive is damaged.
    """
    archive = zipfile.ZipFile(raw)
    there = [info for info in archive.infolist() if _is_file(info)]
    found = [info for info in there if name in (None, info.filename)]
    if len(found) != 1:
        names = ", ".join(info.filename for info in there[:10])
        raise OSError(f"the archive has {len(there)} files, name one of them behind the archive and a /: {names}")
    if found[0].flag_bits & 1:
        raise OSError(f"{found[0].filename} is encrypted: unpack it first")
    begin = found[0].header_offset
    return cast("BinaryIO", archive.open(found[0])), lambda: raw.tell() - begin


def decompressed(head: bytes, raw: BinaryIO) -> BinaryIO | None:
    """Open the decompressed bytes of a stream, or return None if it is not compressed.

    `head` are its first bytes, which are still in the stream.
    """
    if head.startswith(GZIP):
        return cast("BinaryIO", gzip.GzipFile(fileobj=raw))
    if head.startswith(ZSTD):
        return cast("BinaryIO", zstd.ZstdFile(raw))
    return None


def writer(raw: BinaryIO, name: str) -> BinaryIO:
    """Return a stream that writes to `raw`, compressed by the suffix of the name: .gz, .zst, or plain.

    Closing it ends the compression and leaves `raw` open. gzip's header has no time and no name, so that the same rows
    always give the same file.
    """
    if name.endswith(".gz"):
        return cast("BinaryIO", gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=6, mtime=0))
    if name.endswith(".zst"):
        return cast("BinaryIO", zstd.ZstdFile(raw, "wb"))
    return cast("BinaryIO", _Open(raw))


class _Open(io.BufferedIOBase):
    """Passes bytes on. Closing it leaves the underlying stream open, like the compressing streams."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw

    def write(self, data: object, /) -> int:
        return self._raw.write(cast("bytes", data))

    def writable(self) -> bool:
        return True
