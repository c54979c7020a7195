"""Writing of a file of rows, which is synced and read back before it is used."""

import hashlib
import uuid
from collections.abc import Iterable
from datetime import datetime

import pyarrow as pa
from pyarrow import parquet as reader

from datastore.cold.records import NewFile, Step
from datastore.errors import ControlError
from datastore.tenants import Tenant
from mds_client.cold.places import Place, PlaceUnavailable
from mds_client.output import parquet
from mds_client.reading.packed import schema_of
from mds_client.schema import TENANT_COLUMN, Kind


class VerificationError(ControlError):
    """A file or a deletion is not as expected; nothing was changed."""


def fields_of(kind: Kind) -> tuple[str, ...]:
    """Return the columns of a file: the names of the series, and the kind's own columns."""
    return tuple(name for name in kind.model.model_fields if name != TENANT_COLUMN)


class Digest:
    """A hash of rows: of each row group that is added, each column with its values and its NULLs."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self.rows = 0

    def add(self, table: "pa.Table") -> None:
        """Add the next row group."""
        self.rows += table.num_rows
        for name in table.column_names:
            column = table[name].combine_chunks()
            column = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
            self._hash.update(name.encode())
            if pa.types.is_string(column.type):
                column = column.dictionary_encode()
                self._hash.update(repr(column.dictionary.to_pylist()).encode())
                column = column.indices
            elif pa.types.is_timestamp(column.type):
                column = column.cast(pa.int64())
            if column.null_count:
                self._hash.update(column.is_null().to_numpy(zero_copy_only=False).tobytes())
            self._hash.update(column.fill_null(0).to_numpy(zero_copy_only=False).tobytes())

    def value(self) -> str:
        """Return the hash as text."""
        return self._hash.hexdigest()


def write_file(
    place: Place,
    tenant: Tenant,
    kind: Kind,
    period: tuple[datetime, datetime],
    batches: "Iterable[pa.RecordBatch]",
    reached: Step,
) -> NewFile:
    """Write the rows of a period into a new file, and read it back.

    Args:
        place: The place of the file.
        tenant: The owner of the rows.
        kind: Their kind.
        period: The period.
        batches: The rows, by the names of series and by time, with the columns of `fields_of`.
        reached: Called with the name of the last step.

    Raises:
        VerificationError: The rows that were read are not those that were written. The file is on no list.
    """
    written = Digest()

    class Groups(parquet.RowGroups):
        def _write(self, table: "pa.Table") -> None:
            written.add(table)
            super()._write(table)

    path = f"{tenant.id}/{kind.name}/{period[0]:%Y-%m}.{uuid.uuid4().hex}.parquet"
    schema = schema_of(kind, fields_of(kind), plain=True)
    with place.writing(path) as target, parquet.row_groups(target, kind, schema, numbers=True, made=Groups) as groups:
        for batch in batches:
            groups.add(batch)
        reached("written")
    reached("named")
    sha256, size = checksum(place, path)
    found = Digest()
    with place.open(path) as source:
        file = reader.ParquetFile(source)
        for number in range(file.num_row_groups):
            found.add(file.read_row_group(number))
    if (found.rows, found.value()) != (written.rows, written.value()):
        raise VerificationError(f"{path}: the rows that are read are not those that were written")
    reached("verified")
    return NewFile(kind, period, path, written.rows, size, sha256)


def checksum(place: Place, path: str) -> tuple[str, int]:
    """Return the SHA-256 of a file's bytes, and their number. Raises FileMissing."""
    found, size = hashlib.sha256(), 0
    with place.open(path) as source:
        while block := source.read(1 << 20):
            found.update(block)
            size += len(block)
    return found.hexdigest(), size


def removed_on_error(place: Place, file: NewFile, error: Exception) -> None:
    """Remove a file that is not on the list, after the step that should have put it there failed."""
    try:
        place.remove(file.path)
    except PlaceUnavailable as other:
        error.add_note(f"{file.path} is on no list, and could not be removed ({other}): datastore cold sweep")
