"""The formats of answers: choose the requested one, and pack rows into it part by part.

Text formats are packed from models, Arrow and Parquet from record batches.
"""

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, TypeAlias

from fastapi import Depends, Query, Request
from pydantic import BaseModel

from datastore.service.lines import NDJSON
from datastore.service.problems import Refusal
from mds_client.output.sheets import csv_parts, records

FormatName: TypeAlias = Literal["json", "ndjson", "csv", "arrow", "parquet"]

_GROUP_BYTES: Final = 1 << 24
"""The size in memory of a row group of Parquet, in bytes: some hundred thousand bars. It is built in memory."""

_BINARY: Final = {"type": "string", "format": "binary"}


@dataclass(frozen=True, slots=True)
class Format:
    """A format. With `frames`, it packs record batches and is given their schema; otherwise models and column names."""

    name: FormatName
    media_type: str
    pack: Callable[[Any, Iterable[Any]], Iterator[bytes]]
    frames: bool = False


def json_rows(_: Sequence[str], batches: Iterable[Sequence[BaseModel]]) -> Iterator[bytes]:
    """Pack rows as a JSON array of objects."""
    before = b"["
    for rows in batches:
        if rows:
            yield before + b",".join(row.__pydantic_serializer__.to_json(row) for row in rows)
            before = b","
    yield b"]" if before == b"," else b"[]"


def ndjson_rows(_: Sequence[str], batches: Iterable[Sequence[BaseModel]]) -> Iterator[bytes]:
    """Pack each row as a line of JSON, without the fields that are None."""
    for rows in batches:
        yield b"".join(row.__pydantic_serializer__.to_json(row, exclude_none=True) + b"\n" for row in rows)


def csv_rows(columns: Sequence[str], batches: Iterable[Sequence[BaseModel]]) -> Iterator[bytes]:
    """Pack rows as CSV: a header, then a line for each row; None is an empty field."""
    return csv_parts(columns, records(batches))


class _Sink(io.RawIOBase):
    """A file whose content is taken out while it is written."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._size

    def write(self, data: Any) -> int:
        part = bytes(data)
        self._parts.append(part)
        self._size += len(part)
        return len(part)

    def taken(self) -> bytes:
        """Return what was written since the last call."""
        parts, self._parts = self._parts, []
        return b"".join(parts)


def arrow_stream(schema: Any, batches: Iterable[Any]) -> Iterator[bytes]:
    """Pack record batches as an Arrow IPC stream. The schema comes first, also without rows."""
    import pyarrow as pa

    sink = _Sink()
    with pa.ipc.new_stream(sink, schema) as writer:
        yield sink.taken()
        for batch in batches:
            writer.write_batch(batch)
            yield sink.taken()
    yield sink.taken()


def parquet_file(schema: Any, batches: Iterable[Any]) -> Iterator[bytes]:
    """Pack record batches as a Parquet file, a row group at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = _Sink()
    group: list[Any] = []
    size = 0
    with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
        for batch in batches:
            group.append(batch)
            size += batch.nbytes
            if size >= _GROUP_BYTES:
                writer.write_table(pa.Table.from_batches(group, schema))
                group, size = [], 0
                yield sink.taken()
        if group:
            writer.write_table(pa.Table.from_batches(group, schema))
    yield sink.taken()


FORMATS: Final[dict[str, Format]] = {
    each.name: each
    for each in (
        Format("json", "application/json", json_rows),
        Format("ndjson", NDJSON, ndjson_rows),
        Format("csv", "text/csv", csv_rows),
        Format("arrow", "application/vnd.apache.arrow.stream", arrow_stream, frames=True),
        Format("parquet", "application/vnd.apache.parquet", parquet_file, frames=True),
    )
}
"""Every format by name. The first is used if a request does not choose one."""


def described(of_json: Any) -> dict[str, Any]:
    """Return the documentation of an answer in every format; `of_json` is the schema of JSON without a model."""
    text: dict[str, Any] = {"schema": {"type": "string"}}
    content = {each.media_type: {"schema": _BINARY} if each.frames else text for each in FORMATS.values()}
    content["application/json"] = {} if of_json is None else {"schema": of_json}
    return {"content": content}


def accepted(header: str) -> Format | None:
    """Return the format that an `Accept` header prefers (RFC 9110); None if it accepts none."""
    ranges = [_range(part) for part in header.split(",") if part.strip()] or [("*/*", 1.0)]
    best, found = 0.0, None
    for each in FORMATS.values():
        # The most specific range wins.
        fitting = [
            (name.count("*"), quality)
            for name, quality in ranges
            if name in (each.media_type, f"{each.media_type.partition('/')[0]}/*", "*/*")
        ]
        quality = min(fitting, key=lambda one: one[0])[1] if fitting else 0.0
        if quality > best:
            best, found = quality, each
    return found


def _range(part: str) -> tuple[str, float]:
    name, *parameters = (each.strip() for each in part.lower().split(";"))
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip() == "q":
            try:
                return name, float(value)
            except ValueError:
                return name, 0.0
    return name, 1.0


def _wanted(
    request: Request,
    format: Annotated[  # noqa: A002
        FormatName | None, Query(description="how the answer is packed; it goes before the header Accept")
    ] = None,
) -> Format:
    found = accepted(",".join(request.headers.getlist("accept"))) if format is None else FORMATS[format]
    if found is None:
        there = ", ".join(each.media_type for each in FORMATS.values())
        raise Refusal("not-acceptable", f"no format in Accept is supported; supported are: {there}")
    return found


Wanted = Annotated[Format, Depends(_wanted)]
"""The requested format: the parameter `format`, or else the header `Accept`; JSON if neither is given."""
