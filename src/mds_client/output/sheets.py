"""Write rows as text or files: table, CSV, NDJSON, JSON and Parquet. All commands that print rows use these writers.

A writer writes each batch as it arrives, and holds only one. `mds_client.export` opens the targets.
"""

import csv
import importlib
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Final, Literal, TypeAlias, get_args

from pydantic import BaseModel
from pydantic_core import to_json, to_jsonable_python

from mds_client.console import finite, plain, table_text
from mds_client.schema import TENANT_COLUMN, Kind

Format: TypeAlias = Literal["table", "csv", "ndjson", "parquet"]
"""A format for printing or writing rows."""

FORMATS: Final[tuple[Format, ...]] = get_args(Format)

Record: TypeAlias = Mapping[str, Any]
"""One row: a value for each column. Other values are not written."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """The layout of rows of one type when they are written.

    `schema` makes the Arrow schema, which only Parquet needs. `rare` are columns that a table shows only if a row has a
    value. `sparse`: NDJSON omits values that are None.
    """

    name: str
    columns: tuple[str, ...]
    schema: Callable[[], Any]
    rare: tuple[str, ...] = ()
    sparse: bool = False


def sheet_of_kind(kind: Kind) -> Sheet:
    """Return the sheet for rows of a kind: every field except the tenant. Its NDJSON can be ingested again."""
    names = tuple(name for name in kind.model.model_fields if name != TENANT_COLUMN)

    def schema() -> Any:
        from mds_client.columns import arrow  # needs packages that the library itself does without

        return arrow.schema_of(kind)

    # The fields after the id are those that only few vendors have.
    rare = names[names.index("id") :] if "id" in names else ()
    return Sheet(kind.name, names, schema, rare, sparse=True)


def sheet_of_model(name: str, model: type[BaseModel]) -> Sheet:
    """Return the sheet for models that are not rows of a kind, such as series."""
    names = tuple(field for field in model.model_fields if field != TENANT_COLUMN)
    rare = tuple(field for field in names if not model.model_fields[field].is_required())

    def schema() -> Any:
        from mds_client.columns import arrow  # needs packages that the library itself does without

        return arrow.schema_of_model(model, names)

    return Sheet(name, names, schema, rare)


def records(batches: Iterable[Sequence[BaseModel]]) -> Iterator[list[Record]]:
    """Convert batches of models to records."""
    for rows in batches:
        yield [row.__dict__ for row in rows]


Writer: TypeAlias = Callable[[Sheet, Iterator[list[Record]], BinaryIO], int]
"""A function that writes rows and returns their number."""


def write_ndjson(sheet: Sheet, batches: Iterator[list[Record]], target: BinaryIO) -> int:
    """Write one JSON object a line. NaN and infinity are null."""
    count = 0
    for rows in batches:
        for row in rows:
            chosen = {name: row[name] for name in sheet.columns if not (sheet.sparse and row[name] is None)}
            target.write(to_json(chosen, inf_nan_mode="null") + b"\n")
        count += len(rows)
    return count


def write_csv(sheet: Sheet, batches: Iterator[list[Record]], target: BinaryIO) -> int:
    """Write CSV with a header. None is an empty field."""
    count = 0

    def counted() -> Iterator[list[Record]]:
        nonlocal count
        for rows in batches:
            count += len(rows)
            yield rows

    target.writelines(csv_parts(sheet.columns, counted()))
    return count


def csv_parts(columns: Sequence[str], batches: Iterable[list[Record]]) -> Iterator[bytes]:
    """Yield CSV with these columns: a header, then a part for each batch."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for rows in batches:
        for row in rows:
            writer.writerow(_field(row[name]) for name in columns)
        yield text.getvalue().encode()
        text.seek(0)
        text.truncate()
    yield text.getvalue().encode()


def _field(value: Any) -> Any:
    if value is None or isinstance(value, str | int | float):
        return value
    value = to_jsonable_python(value)
    return json.dumps(value) if isinstance(value, dict | list) else value


def write_parquet(sheet: Sheet, batches: Iterator[list[Record]], target: BinaryIO) -> int:
    """Write a Parquet file, compressed with zstd. Times are timestamp[us, UTC].

    Raises ConfigurationError if PyArrow is not installed.
    """
    schema = sheet.schema()
    pyarrow = importlib.import_module("pyarrow")
    parquet = importlib.import_module("pyarrow.parquet")
    count = 0
    with parquet.ParquetWriter(target, schema, compression="zstd") as writer:
        for rows in batches:
            arrays = []
            for name, field in zip(sheet.columns, schema, strict=True):
                values = [row[name] for row in rows]
                if field.type == pyarrow.string():
                    values = [value if value is None else str(_field(value)) for value in values]
                elif field.type == pyarrow.float64():
                    # A whole `numeric` is an int, perhaps too large for an exact float.
                    values = [value if value is None else float(value) for value in values]
                arrays.append(pyarrow.array(values, field.type))
            writer.write_table(pyarrow.Table.from_arrays(arrays, schema=schema))
            count += len(rows)
    return count


def write_json(_: Sheet, batches: Iterator[list[Record]], target: BinaryIO) -> int:
    """Write one JSON array with an object for each row, including the tenant. NaN and infinity are null."""
    count = 0
    for rows in batches:
        for row in rows:
            text = json.dumps(finite(plain(row)), ensure_ascii=False, allow_nan=False, default=to_jsonable_python)
            target.write((",\n" if count else "[\n").encode() + text.encode())
            count += 1
    target.write(b"\n]\n" if count else b"[]\n")
    return count


def write_table(sheet: Sheet, batches: Iterator[list[Record]], target: BinaryIO) -> int:
    """Write a table for people. A batch that needs more columns than the ones before begins with a new header."""
    count = 0
    names: list[str] | None = None
    widths: dict[str, int] = {}
    for rows in batches:
        rare = [name for name in sheet.rare if any(row[name] is not None for row in rows)]
        needed = [name for name in sheet.columns if name not in sheet.rare or name in rare]
        header = names is None or not set(needed) <= set(names)
        if names is None or header:
            names = needed
        text, widths = table_text(rows, names, widths, header=header)
        target.write(text.encode())
        count += len(rows)
    return count


WRITERS: Final[dict[Format, Writer]] = {
    "table": write_table,
    "csv": write_csv,
    "ndjson": write_ndjson,
    "parquet": write_parquet,
}
