"""Read Parquet and Arrow files, Arrow streams, workbooks and DBN as tables of a given size."""

import sys
from collections.abc import Iterable, Iterator, Sized
from datetime import timedelta
from importlib import import_module
from typing import Any

import pyarrow as pa

from mds_client.columns import arrow  # noqa: F401 - says which package is missing
from mds_client.columns.frames import regrouped
from mds_client.columns.rows import ArrowStream
from mds_client.errors import ConfigurationError
from mds_client.files.parts import TABLE_BYTES, Columns, Part, RejectRow
from mds_client.files.source import Source, SourceError
from mds_client.mapping import PLAIN, Mapping
from mds_client.schema import Kind
from mds_client.values.times import UNIX


class ArrowInput:
    """An input of record batches."""

    unit = "row"

    def __init__(
        self, kind: Kind, name: str, batches: Iterable[Any], schema: Any, size: int | None, mapping: Mapping = PLAIN
    ) -> None:
        self.name = name
        self.size = size
        self.position = 0
        self._kind = kind
        self._mapping = mapping
        self._batches = batches
        self._schema = schema

    def parts(self, rows: int, _: RejectRow) -> Iterator[Part]:
        first = 0
        for table in regrouped(self._batches, self._schema, rows, TABLE_BYTES):
            yield Columns.of(self._kind, table, self._mapping, first, lambda number: number + 1, is_text=False)
            first += table.num_rows
            self.position = first

    def close(self) -> None:
        """Do nothing, because nothing is open."""


def of_stream(kind: Kind, rows: ArrowStream, mapping: Mapping) -> ArrowInput:
    """Open anything that supports the Arrow stream protocol."""
    reader = pa.RecordBatchReader.from_stream(rows)
    return ArrowInput(kind, "stream", reader, reader.schema, len(rows) if isinstance(rows, Sized) else None, mapping)


def of_parquet(kind: Kind, path: str, mapping: Mapping, where: Any = None) -> ArrowInput:
    """Open a Parquet file. `where` is an expression on its columns; row groups without matching rows are not read."""
    from pyarrow import dataset, parquet

    if path == "-":
        raise SourceError("Parquet cannot be read from a pipe: its index is at the end")
    if where is None:
        file = parquet.ParquetFile(path)
        if coded := _coded(kind, mapping, file.schema_arrow):
            file.close()
            file = parquet.ParquetFile(path, read_dictionary=coded)
        return ArrowInput(kind, path, file.iter_batches(), file.schema_arrow, file.metadata.num_rows, mapping)
    data = dataset.dataset(path, format="parquet")
    return ArrowInput(kind, path, data.to_batches(filter=where), data.schema, None, mapping)


def _coded(kind: Kind, mapping: Mapping, schema: Any) -> list[str]:
    """Return the columns with the parts of the series' names, which a file stores as codes of few distinct texts.

    Reading the codes saves making a text for each row, and finding the distinct ones again.
    """
    if mapping.is_wide:
        return []
    places = mapping.places(tuple(schema.names))
    found = {at for part in kind.series for at in places.get(part, ())}
    return [name for name in schema.names if name in found and schema.names.count(name) == 1 and _is_text(schema, name)]


def _is_text(schema: Any, name: str) -> bool:
    kind = schema.field(name).type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def of_arrow(kind: Kind, path: str, mapping: Mapping) -> ArrowInput:
    """Open an Arrow file or stream."""
    if path == "-":
        stream = pa.ipc.open_stream(sys.stdin.buffer)
        return ArrowInput(kind, "standard input", stream, stream.schema, None, mapping)
    mapped = pa.memory_map(path)
    if mapped.read(6) != b"ARROW1":
        mapped.seek(0)
        stream = pa.ipc.open_stream(mapped)
        return ArrowInput(kind, path, stream, stream.schema, None, mapping)
    file = pa.ipc.open_file(mapped)
    batches = (file.get_batch(at) for at in range(file.num_record_batches))
    return ArrowInput(kind, path, batches, file.schema, None, mapping)


def of_excel(kind: Kind, path: str, mapping: Mapping) -> ArrowInput:
    """Open a sheet of a workbook. Raises ConfigurationError if the package for it is not installed."""
    fastexcel = package("fastexcel", "excel")
    if path == "-":
        raise SourceError("a workbook cannot be read from a pipe: its index is at the end")
    try:
        book = fastexcel.read_excel(path)
        if mapping.header:
            made = book.load_sheet(
                mapping.sheet, header_row=None, skip_rows=mapping.skip_lines, column_names=list(mapping.header)
            )
        else:
            made = book.load_sheet(mapping.sheet, header_row=mapping.skip_lines)
        batch = made.to_arrow()
    except fastexcel.FastExcelError as error:
        raise SourceError(f"{path}: {str(error).splitlines()[0]}") from error
    return ArrowInput(kind, path, [batch], batch.schema, batch.num_rows, mapping)


_DBN_ROWS = 100_000
"""The number of records in a batch."""


def of_dbn(kind: Kind, path: str, mapping: Mapping) -> ArrowInput:
    """Open a Databento Binary Encoding (DBN) file, plain or compressed, with the columns of its CSV and decimal
    prices."""
    dbn = package("databento_dbn", "dbn")
    source = Source(path)
    decoder = dbn.DBNDecoder(has_metadata=True)
    symbols: dict[int, list[tuple[Any, Any, str]]] = {}
    schema = pa.schema([
        ("ts_event", pa.timestamp("ns", "UTC")), ("rtype", pa.int64()), ("publisher_id", pa.int64()),
        ("instrument_id", pa.int64()), ("open", pa.float64()), ("high", pa.float64()), ("low", pa.float64()),
        ("close", pa.float64()), ("volume", pa.int64()), ("symbol", pa.string()),
    ])  # fmt: skip

    def batches() -> Iterator[Any]:
        rows: list[tuple[Any, ...]] = []
        try:
            while data := source.read1(1 << 20):
                decoder.write(data)
                for record in decoder.decode():
                    if isinstance(record, dbn.Metadata):
                        symbols.update(_symbols(record))
                    elif isinstance(record, dbn.OHLCVMsg):
                        rows.append(_ohlcv(record, symbols))
                    else:
                        name = type(record).__name__
                        raise SourceError(f"{path}: it holds {name}: only the schemas ohlcv-… are bars")
                    if len(rows) == _DBN_ROWS:
                        yield _batch(rows, schema)
                        rows = []
            if decoder.buffer():
                raise SourceError(f"{path}: the DBN ends in the middle of a record")
        except (dbn.DBNError, ValueError) as error:
            raise SourceError(f"{path}: the DBN is damaged: {error}") from error
        finally:
            source.close()
        if rows:
            yield _batch(rows, schema)

    return ArrowInput(kind, path, batches(), schema, None, mapping)


def _batch(rows: list[tuple[Any, ...]], schema: Any) -> Any:
    columns = zip(*rows, strict=True)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _symbols(metadata: Any) -> dict[int, list[tuple[Any, Any, str]]]:
    """Return the symbols of each instrument id, each with its first day and the day after its last."""
    found: dict[int, list[tuple[Any, Any, str]]] = {}
    for symbol, intervals in metadata.mappings.items():
        for interval in intervals:
            if str(interval["symbol"]).isdecimal():
                found.setdefault(int(interval["symbol"]), []).append(
                    (interval["start_date"], interval["end_date"], symbol)
                )
    return found


def _ohlcv(record: Any, symbols: dict[int, list[tuple[Any, Any, str]]]) -> tuple[Any, ...]:
    day = (UNIX + timedelta(seconds=record.ts_event // 1_000_000_000)).date()
    known = symbols.get(record.instrument_id, [])
    symbol = next((symbol for start, end, symbol in known if start <= day < end), None)
    prices = (record.pretty_open, record.pretty_high, record.pretty_low, record.pretty_close)
    ids = (int(record.rtype), record.publisher_id, record.instrument_id)
    return (record.ts_event, *ids, *prices, record.volume, symbol)


def package(name: str, extra: str) -> Any:
    """Import an optional package. Raises ConfigurationError, which names the extra, if it is not installed."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"such files need {name}, which is not installed: install the extra {extra} (see Installing)"
        ) from error
