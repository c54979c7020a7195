"""Read Databento Binary Encoding (DBN) as tables: bars, and definitions of instruments.

The columns are those of Databento's CSV, with decimal prices.
"""

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import date, timedelta
from math import isnan
from typing import Any, Final, TypeAlias

import pyarrow as pa

from mds_client.files.source import Source, SourceError
from mds_client.files.tables import ArrowInput, package
from mds_client.mapping import Mapping
from mds_client.schema import Kind
from mds_client.values.times import UNIX

BATCH_ROWS: Final = 100_000
"""The number of records in a batch."""

Symbols: TypeAlias = dict[int, list[tuple[date, date, str]]]
"""The symbols of each instrument id, each with its first day and the day after its last."""

_TIME: Final = pa.timestamp("ns", "UTC")

_NO_TIME: Final = 2**64 - 1
"""What DBN has where there is no time."""


@dataclass(frozen=True, slots=True)
class _Records:
    """The records of a schema of Databento: what they are called in DBN, their columns, and their values."""

    name: str
    columns: pa.Schema
    values: Callable[[Any, Symbols], tuple[Any, ...]]


def _bar(record: Any, symbols: Symbols) -> tuple[Any, ...]:
    day = (UNIX + timedelta(seconds=record.ts_event // 1_000_000_000)).date()
    known = symbols.get(record.instrument_id, [])
    symbol = next((symbol for start, end, symbol in known if start <= day < end), None)
    prices = (record.pretty_open, record.pretty_high, record.pretty_low, record.pretty_close)
    ids = (int(record.rtype), record.publisher_id, record.instrument_id)
    return (record.ts_event, *ids, *prices, record.volume, symbol)


def _number(value: float) -> float | None:
    # DBN has no NULL: a price that is not defined is not a number.
    return None if isnan(value) else value


def _definition(record: Any, _: Symbols) -> tuple[Any, ...]:
    return (
        record.ts_recv,
        record.instrument_id,
        record.raw_symbol,
        str(record.instrument_class),
        _number(record.pretty_min_price_increment),
        None if record.expiration == _NO_TIME else record.expiration,
        _number(record.pretty_unit_of_measure_qty),
        record.currency,
        record.exchange,
        record.underlying,
        _number(record.pretty_strike_price),
    )


_BARS: Final = _Records(
    "OHLCVMsg",
    pa.schema([
        ("ts_event", _TIME), ("rtype", pa.int64()), ("publisher_id", pa.int64()), ("instrument_id", pa.int64()),
        ("open", pa.float64()), ("high", pa.float64()), ("low", pa.float64()), ("close", pa.float64()),
        ("volume", pa.int64()), ("symbol", pa.string()),
    ]),
    _bar,
)  # fmt: skip

_DEFINITIONS: Final = _Records(
    "InstrumentDefMsg",
    pa.schema([
        ("ts_recv", _TIME), ("instrument_id", pa.int64()), ("raw_symbol", pa.string()),
        ("instrument_class", pa.string()), ("min_price_increment", pa.float64()), ("expiration", _TIME),
        ("unit_of_measure_qty", pa.float64()), ("currency", pa.string()), ("exchange", pa.string()),
        ("underlying", pa.string()), ("strike_price", pa.float64()),
    ]),
    _definition,
)  # fmt: skip


def of_dbn(kind: Kind, path: str, mapping: Mapping) -> ArrowInput:
    """Open a DBN file, plain or compressed.

    Raises:
        SourceError: The file is damaged, or has records of another schema than `ohlcv-…` and `definition`.
        ConfigurationError: The package for it is not installed.
    """
    dbn = package("databento_dbn", "dbn")
    source = Source(path)
    decoder = dbn.DBNDecoder(has_metadata=True)

    def decoded() -> Generator[Any]:
        """Yield the metadata, then all records."""
        try:
            while data := source.read1(1 << 20):
                decoder.write(data)
                yield from decoder.decode()
            if decoder.buffer():
                raise SourceError(f"{path}: the DBN ends in the middle of a record")
        except (dbn.DBNError, ValueError) as error:
            raise SourceError(f"{path}: the DBN is damaged: {error}") from error
        finally:
            source.close()

    there = decoded()
    # The decoder passes on no record before the metadata.
    metadata = next(there, None)
    if metadata is None:
        raise SourceError(f"{path} is empty")
    symbols = _symbols(metadata)
    wanted = _DEFINITIONS if str(metadata.schema) == "definition" else _BARS

    def batches() -> Iterator[pa.RecordBatch]:
        rows: list[tuple[Any, ...]] = []
        with closing(there):
            for record in there:
                if (name := type(record).__name__) != wanted.name:
                    raise SourceError(
                        f"{path}: it holds {name}: only files of one of the schemas ohlcv-… and definition can be read"
                    )
                rows.append(wanted.values(record, symbols))
                if len(rows) == BATCH_ROWS:
                    yield _batch(rows, wanted.columns)
                    rows = []
        if rows:
            yield _batch(rows, wanted.columns)

    return ArrowInput(kind, path, batches(), wanted.columns, None, mapping)


def _batch(rows: list[tuple[Any, ...]], schema: Any) -> Any:
    columns = zip(*rows, strict=True)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _symbols(metadata: Any) -> Symbols:
    found: Symbols = {}
    for symbol, intervals in metadata.mappings.items():
        for interval in intervals:
            if str(interval["symbol"]).isdecimal():
                found.setdefault(int(interval["symbol"]), []).append(
                    (interval["start_date"], interval["end_date"], symbol)
                )
    return found
