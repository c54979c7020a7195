"""Rows as text or as a file: table, CSV, NDJSON, JSON and Parquet. Every command that prints rows uses these writers.

A writer takes batches, writes each as it comes, and holds no more than one. Where it writes to is in
`mds_client.export`.
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
"""How rows can be printed or written."""

FORMATS: Final[tuple[Format, ...]] = get_args(Format)

Record: TypeAlias = Mapping[str, Any]
"""One row: a value for each column, and perhaps others, which are not written."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """What rows of one sort look like when they are written.

    `schema` makes the Arrow schema, which only Parquet needs. `rare` are columns that a table shows where a row has a
    value. `sparse`: NDJSON leaves out what is None.
    """

    name: str
    columns: tuple[str, ...]
    schema: Callable[[], Any]
    rare: tuple[str, ...] = ()
    sparse: bool = False


def sheet_of_kind(kind: Kind) -> Sheet:
    """How rows of a kind are written: every field but the tenant. NDJSON can be written into a store again."""
    names = tuple(name for name in kind.model.model_fields if name != TENANT_COLUMN)

    def schema() -> Any:
        from mds_client.columns import arrow  # needs packages that the library itself does without

        return arrow.schema_of(kind)

    # What few vendors have comes behind the id.
    rare = names[names.index("id") :] if "id" in names else ()
    return Sheet(kind.name, names, schema, rare, sparse=True)


def sheet_of_model(name: str, model: type[BaseModel]) -> Sheet:
    """How models are written that are no rows of a kind, such as series."""
    names = tuple(field for field in model.model_fields if field != TENANT_COLUMN)
    rare = tuple(field for field in names if not model.model_fields[field].is_required())

    def schema() -> Any:
        from mds_client.columns import arrow  # needs packages that the library itself does without

        return arrow.schema_of_model(model, names)

    return Sheet(name, names, schema, rare)


def records(batches: Iterable[Sequence[BaseModel]]) -> Iterator[list[Record]]:
    """Batches of models as records."""
    for rows in batches:
        yield [row.__dict__ for row in rows]


Writer: TypeAlias = Callable[[Sheet, Iterator[list[Record]], BinaryIO], int]
"""Writes rows and gives their number."""


def write_ndjson(sheet: Sheet, batches: Iterator[list[Record]], target: BinaryIO) -> int:
    """One JSON object a line. NaN and infinity are null."""
    count = 0
    for rows in batches:
        for row in rows:
            chosen = {name: row[name] for name in sheet.columns}
            target.write(to_json(chosen, exclude_none=sheet.sparse, inf_nan_mode="null") + b"\n")
        count += len(rows)
    return count


def write_csv(sheet: Sheet, batches: Iterator[list[Record]], target: BinaryIO) -> int:
    """CSV with a header; None is an empty field."""
    count = 0

    def counted() -> Iterator[list[Record]]:
        nonlocal count
        for rows in batches:
            count += len(rows)
            yield rows

    target.writelines(csv_parts(sheet.columns, counted()))
    return count


def csv_parts(columns: Sequence[str], batches: Iterable[list[Record]]) -> Iterator[bytes]:
    """CSV with these columns: a header, then a part for each batch."""
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
    """A Parquet file, compressed with zstd; times are timestamp[us, UTC].

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
                    # A numeric that is whole comes as an int, and may be more than a float has exactly.
                    values = [value if value is None else float(value) for value in values]
                arrays.append(pyarrow.array(values, field.type))
            writer.write_table(pyarrow.Table.from_arrays(arrays, schema=schema))
            count += len(rows)
    return count


def write_json(_: Sheet, batches: Iterator[list[Record]], target: BinaryIO) -> int:
    """One JSON array with an object for each row, the tenant included. NaN and infinity are null."""
    count = 0
    for rows in batches:
        for row in rows:
            text = json.dumps(finite(plain(row)), ensure_ascii=False, allow_nan=False, default=to_jsonable_python)
            target.write((",\n" if count else "[\n").encode() + text.encode())
            count += 1
    target.write(b"\n]\n" if count else b"[]\n")
    return count


def write_table(sheet: Sheet, batches: Iterator[list[Record]], target: BinaryIO) -> int:
    """A table for people. Rows that need other columns than those before begin with a header of their own."""
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
