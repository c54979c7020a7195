"""Compressed files, told by content when read and by name when written: gzip and zstd, and zip when read.

One place knows the formats; the rest of the library sees plain bytes.
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
"""Bytes that tell what a stream is compressed with."""

DAMAGED: Final = (EOFError, gzip.BadGzipFile, zlib.error, zstd.ZstdError, zipfile.BadZipFile)
"""What a reader raises where the compressed bytes are damaged or end early."""


MOST_TIMES: Final = 500
"""How many times as large as its compressed form an input may be. Text of rows has 5 to 100 times the size."""

UNBOUNDED: Final = 64 << 20
"""Bytes that an input may have whatever its compressed size is."""


class TooLarge(OSError):
    """A compressed input unpacks to far more than rows would: a zip bomb."""


class Bounded(io.RawIOBase):
    """Plain bytes of a compressed stream, of which there may not be too many.

    Args:
        plain: The decompressing stream.
        consumed: Gives how many compressed bytes were read.
    """

    def __init__(self, plain: BinaryIO, consumed: Callable[[], int]) -> None:
        self._plain = plain
        self._consumed = consumed
        self._given = 0

    def readable(self) -> bool:
        return True

    def read1(self, size: int, /) -> bytes:
        """Up to so many bytes. Raises TooLarge."""
        data = cast("io.BufferedReader", self._plain).read1(size)
        self._given += len(data)
        if self._given > UNBOUNDED and self._given > MOST_TIMES * max(1, self._consumed()):
            raise TooLarge(
                f"it unpacks to more than {MOST_TIMES} times its size, which no file of rows does; if it is right,"
                " unpack it first"
            )
        return data


def members(path: str) -> list[str]:
    """The files in a zip archive, by name; none if it is no archive, or a damaged one: who opens that finds out.

    Raises OSError.
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
    """The plain bytes of a file in a zip archive, and a count of the compressed bytes that were read.

    Raises:
        OSError: There is no such file, there are several and none is named, or it is encrypted.
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
    """The plain bytes of a stream that begins with `head`, which it still holds; None if it is not compressed."""
    if head.startswith(GZIP):
        return cast("BinaryIO", gzip.GzipFile(fileobj=raw))
    if head.startswith(ZSTD):
        return cast("BinaryIO", zstd.ZstdFile(raw))
    return None


def writer(raw: BinaryIO, name: str) -> BinaryIO:
    """A stream whose bytes reach `raw` compressed as the name ends: .gz, .zst, or else plain.

    Closing it ends the compression and leaves `raw` open. gzip's header has no time and no name, so that the same rows
    make the same file.
    """
    if name.endswith(".gz"):
        return cast("BinaryIO", gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=6, mtime=0))
    if name.endswith(".zst"):
        return cast("BinaryIO", zstd.ZstdFile(raw, "wb"))
    return cast("BinaryIO", _Open(raw))


class _Open(io.BufferedIOBase):
    """Passes bytes on, and leaves the stream behind it open when it is closed, as the compressing ones do."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw

    def write(self, data: object, /) -> int:
        return self._raw.write(cast("bytes", data))

    def writable(self) -> bool:
        return True
