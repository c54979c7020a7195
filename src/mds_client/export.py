"""Rows out of the store into files: NDJSON, CSV or Parquet, with filters; NDJSON and CSV also compressed.

What NDJSON holds can be written into a store again, of this tenant or another, and is the same rows. A file gets its
name when it is whole; one that was stopped leaves nothing.
"""

import csv
import importlib
import io
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol

from pydantic import BaseModel

from mds_client import compression
from mds_client.errors import MDSError
from mds_client.models import Row
from mds_client.schema import KINDS, TENANT_COLUMN, Kind

BATCH_ROWS: Final = 10_000


class Readable(Protocol):
    """What rows are read from: an `MDS`, or what answers like it."""

    @property
    def iter_rows(self) -> Callable[..., Iterator[list[Any]]]:
        """The rows of a kind, a batch at a time; see `mds_client.reads.iter_rows`."""


class TargetError(MDSError):
    """A file cannot be written; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Dump:
    """What was written: rows, and how long it took."""

    kind: str
    target: str
    rows: int
    seconds: float


Writer = Callable[[Kind, Iterator[list[Row]], BinaryIO], int]


def dump_ndjson(client: Readable, kind: str, path: str, **filters: Any) -> Dump:
    """Write rows as NDJSON, one object a line, without the tenant and without fields that are None.

    `path` is a file (.gz and .zst are compressed) or `-` for standard output. `filters` are those of `iter_rows`:
    `start`, `end`, `vendor`, `symbols`, `timeframe`. Raises TargetError if the file cannot be written.
    """
    return _dump(client, kind, path, _ndjson, filters)


def dump_csv(client: Readable, kind: str, path: str, **filters: Any) -> Dump:
    """Write rows as CSV with a header, without the tenant; None is an empty field. As `dump_ndjson` otherwise."""
    return _dump(client, kind, path, _csv, filters)


def dump_parquet(client: Readable, kind: str, path: str, **filters: Any) -> Dump:
    """Write rows as a Parquet file (zstd inside), times as timestamp[us, UTC]. As `dump_ndjson` otherwise.

    Raises ConfigurationError if pyarrow is not installed.
    """
    return _dump(client, kind, path, _parquet, filters)


def _dump(client: Readable, kind: str, path: str, write: Writer, filters: dict[str, Any]) -> Dump:
    declared = KINDS.of(kind)
    began = time.monotonic()
    start: datetime | None = filters.pop("start", None)
    end: datetime | None = filters.pop("end", None)
    batches = client.iter_rows(declared, start, end, batch_rows=BATCH_ROWS, **filters)
    with _target(path) as raw, compression.writer(raw, path) as target:
        rows = write(declared, batches, target)
    return Dump(declared.name, "standard output" if path == "-" else path, rows, time.monotonic() - began)


@contextmanager
def _target(path: str) -> Iterator[BinaryIO]:
    """A file that gets its name when it is whole, or standard output."""
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
        # mkstemp lets only the owner read; a file that someone asked for follows the umask like any other.
        umask = os.umask(0)
        os.umask(umask)
        part.chmod(0o666 & ~umask)
        part.replace(final)
    except OSError as error:
        raise TargetError(f"{path}: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)


def _fields(kind: Kind) -> list[str]:
    return [name for name in kind.model.model_fields if name != TENANT_COLUMN]


def _ndjson(_: Kind, batches: Iterator[list[Row]], target: BinaryIO) -> int:
    count = 0
    for rows in batches:
        lines = (row.model_dump_json(exclude={TENANT_COLUMN}, exclude_none=True) for row in rows)
        target.write("".join(f"{line}\n" for line in lines).encode())
        count += len(rows)
    return count


def _csv(kind: Kind, batches: Iterator[list[Row]], target: BinaryIO) -> int:
    count = 0

    def counted() -> Iterator[list[Row]]:
        nonlocal count
        for rows in batches:
            count += len(rows)
            yield rows

    target.writelines(csv_parts(_fields(kind), counted()))
    return count


def csv_parts(fields: Sequence[str], batches: Iterable[Sequence[BaseModel]]) -> Iterator[bytes]:
    """Models as CSV with these columns: a header, then a part for each batch. None is an empty field."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(fields)
    for rows in batches:
        for row in rows:
            values = row.model_dump(mode="json")
            writer.writerow(values[name] for name in fields)
        yield text.getvalue().encode()
        text.seek(0)
        text.truncate()
    yield text.getvalue().encode()


def _parquet(kind: Kind, batches: Iterator[list[Row]], target: BinaryIO) -> int:
    from mds_client import arrow  # needs packages that the library itself does without

    pyarrow = importlib.import_module("pyarrow")
    parquet = importlib.import_module("pyarrow.parquet")
    fields = _fields(kind)
    schema = arrow.schema_of(kind)
    count = 0
    with parquet.ParquetWriter(target, schema, compression="zstd") as writer:
        for rows in batches:
            columns = {name: [row.__dict__[name] for row in rows] for name in fields}
            writer.write_table(pyarrow.table(columns, schema=schema))
            count += len(rows)
    return count
