"""Compressed files, told by content when read and by name when written: gzip and zstd.

One place knows the two formats; the rest of the library sees plain bytes.
"""

import gzip
import io
import sys
import zlib
from typing import BinaryIO, Final, cast

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

GZIP: Final = b"\x1f\x8b"
ZSTD: Final = b"\x28\xb5\x2f\xfd"

HEAD: Final = 4
"""Bytes that tell what a stream is compressed with."""

DAMAGED: Final = (EOFError, gzip.BadGzipFile, zlib.error, zstd.ZstdError)
"""What a reader raises where the compressed bytes are damaged or end early."""


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
