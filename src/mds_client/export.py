"""Export rows into files: NDJSON, CSV or Parquet, with filters; NDJSON and CSV also compressed.

You can ingest an NDJSON file again, for this tenant or another, and get the same rows. A file gets its name when it is
complete; an interrupted export leaves nothing.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, BinaryIO, Final, Protocol

from mds_client import compression
from mds_client.output.sheets import Writer, records, sheet_of_kind, write_csv, write_ndjson, write_parquet
from mds_client.output.targets import Dump as Dump
from mds_client.output.targets import TargetError as TargetError
from mds_client.output.targets import target_file
from mds_client.schema import KINDS

BATCH_ROWS: Final = 10_000


class Readable(Protocol):
    """A source of rows: an `MDS`, or an object with the same method."""

    @property
    def iter_rows(self) -> Callable[..., Iterator[list[Any]]]:
        """Yields the rows of a kind in batches; see `mds_client.reading.reads.iter_rows`."""


def dump_ndjson(client: Readable, kind: str, path: str, **filters: Any) -> Dump:
    """Write rows as NDJSON, one object a line, without the tenant and without fields that are None.

    `path` is a file (.gz and .zst are compressed), or `-` for standard output. `filters` are those of `iter_rows`:
    `start`, `end`, `vendor`, `symbols`, `timeframe`. Raises TargetError if the file cannot be written.
    """
    return _dump(client, kind, path, write_ndjson, filters)


def dump_csv(client: Readable, kind: str, path: str, **filters: Any) -> Dump:
    """Write rows as CSV with a header, without the tenant; None is an empty field. Otherwise like `dump_ndjson`."""
    return _dump(client, kind, path, write_csv, filters)


def dump_parquet(client: Readable, kind: str, path: str, **filters: Any) -> Dump:
    """Write rows as a zstd-compressed Parquet file, times as timestamp[us, UTC]. Otherwise like `dump_ndjson`.

    With an `MDS` this calls `MDS.export`, which also accepts `columns` and `connections`. Raises ConfigurationError if
    pyarrow is not installed.
    """
    from mds_client.client import MDS  # slow to import, and other formats do not need it

    if isinstance(client, MDS):
        return client.export(kind, path, **filters)
    return _dump(client, kind, path, write_parquet, filters)


def _dump(client: Readable, kind: str, path: str, write: Writer, filters: dict[str, Any]) -> Dump:
    declared = KINDS.of(kind)
    began = time.monotonic()
    start: datetime | None = filters.pop("start", None)
    end: datetime | None = filters.pop("end", None)
    batches = client.iter_rows(declared, start, end, batch_rows=BATCH_ROWS, **filters)
    with written(path) as target:
        rows = write(sheet_of_kind(declared), records(batches), target)
    return Dump(declared.name, "standard output" if path == "-" else path, rows, time.monotonic() - began)


@contextmanager
def written(path: str) -> Iterator[BinaryIO]:
    """Open a file, or standard output for `-`, to write to, compressed by the suffix of the name.

    The file gets its name when it is complete. Raises TargetError if it cannot be written.
    """
    with target_file(path) as raw, compression.writer(raw, path) as target:
        yield target
