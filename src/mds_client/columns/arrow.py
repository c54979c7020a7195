"""Frames that are read: a query's rows as PyArrow, pandas or polars, from a binary COPY that
`mds_client.columns.decoding` decodes.

`frame` and `batches` are operations for a `Query`; `as_frame` converts a table to the requested library. The kind
determines the columns. Nothing here does I/O. Frames to write are in `mds_client.columns.frames`.

Needs NumPy and PyArrow, which are optional: import this module only where frames are used.
"""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias, get_args
from uuid import UUID

from pydantic import BaseModel

from mds_client.columns.decoding import ARROW_TYPES as ARROW_TYPES  # says first which package is missing
from mds_client.columns.decoding import arrays_of
from mds_client.errors import ConfigurationError
from mds_client.protocol.operations import (
    CopyOut,
    Emit,
    Group,
    More,
    Operation,
    SeriesName,
    Session,
    Stream,
    Talk,
)
from mds_client.schema import TENANT_COLUMN, Column, Kind
from mds_client.sql import Statement

import numpy as np  # isort: skip
import pyarrow as pa  # isort: skip
import pyarrow.compute as compute  # isort: skip
from numpy.typing import NDArray  # isort: skip

FrameAs: TypeAlias = Literal["arrow", "pandas", "polars"]

NAMES: Final = pa.dictionary(pa.int32(), pa.string())
"""The type of columns that name a tenant or a series: few names, many rows."""

SERIES_ID: Final = Column("series_id", "bigint", nullable=False)


@dataclass(frozen=True, slots=True)
class Query:
    """Rows of a kind to read as a frame.

    `select` is a query that returns `columns` in their order, uuids as text; None means all columns of the kind, in the
    order of `Kind.columns`. `series` is one name if all rows belong to one series; or names by series id, and then
    `select` returns the `series_id` before the columns. `fields` are the columns of the frame, from the tenant, the
    series and `columns`, in any order; None means `Kind.shown`.
    """

    kind: Kind
    select: Statement
    parameters: Sequence[Any]
    series: SeriesName | Mapping[int, SeriesName]
    columns: tuple[Column, ...] | None = None
    fields: tuple[str, ...] | None = None

    @property
    def stored(self) -> tuple[Column, ...]:
        """The columns that the query returns after the series."""
        return self.kind.columns if self.columns is None else self.columns

    @property
    def schema(self) -> "pa.Schema":
        """The schema of the frame: tenant and series are dictionaries; times are in UTC, in microseconds."""
        there = {name: pa.field(name, NAMES, nullable=False) for name in (TENANT_COLUMN, *self.kind.series)}
        for column in self.stored:
            there[column.name] = pa.field(column.name, ARROW_TYPES[column.type], column.nullable)
        fields = self.kind.shown([column.name for column in self.stored]) if self.fields is None else self.fields
        return pa.schema([there[name] for name in fields])


def rows_schema(kind: Kind, stored: Sequence[str]) -> "pa.Schema":
    """Return the default schema of a frame of rows with these stored columns."""
    return Query(kind, b"", (), (), tuple(kind.column(name) for name in stored)).schema


def schema_of(kind: Kind) -> "pa.Schema":
    """Return the schema of a kind's rows, in the order of its model, without the tenant."""
    fields = []
    for name in kind.model.model_fields:
        if name in kind.series:
            fields.append(pa.field(name, pa.string(), nullable=False))
        elif name != TENANT_COLUMN:
            column = kind.column(name)
            fields.append(pa.field(name, ARROW_TYPES[column.type], column.nullable))
    return pa.schema(fields)


def frame(name: str, query: Query, as_: FrameAs = "arrow") -> Operation[Any]:
    """Read a query as one frame, in memory. Raises ConfigurationError if the frame's package is not installed."""
    check(as_)
    return Operation(name, lambda session: reading(session, query, as_), heavy=True)


def batches(name: str, query: Query) -> "Stream[pa.RecordBatch]":
    """Read a query as record batches of some thousand rows each, one after the other, in bounded memory."""
    return Stream(Operation(name, lambda session: emitting(session, query), heavy=True))


def reading(session: Session, query: Query, as_: FrameAs = "arrow") -> Talk[Any]:
    """Read a query as one frame, as part of an operation that has prepared the query."""
    reader = _Reader(query, session)
    parts = []
    (taken,) = yield Group((_copy_out(query),))
    while taken:
        parts.append(reader.batch(*taken[0]))
        (taken,) = yield Group((More(),))
    return as_frame(pa.Table.from_batches(parts, query.schema), as_)


def emitting(session: Session, query: Query) -> Talk[None]:
    """Emit a query as record batches, as part of an operation."""
    reader = _Reader(query, session)
    (taken,) = yield Group((_copy_out(query),))
    while taken:
        part = reader.batch(*taken[0])
        if part.num_rows:
            yield Emit(part)
        (taken,) = yield Group((More(),))


def as_frame(table: "pa.Table", as_: FrameAs) -> Any:
    """Convert a table to `arrow` (unchanged), `pandas` or `polars`.

    In pandas, whole numbers have the nullable type Int64 and missing floats are NaN; names of tenants and series are
    categorical in both. Raises ConfigurationError if the package is not installed.
    """
    check(as_)
    if as_ == "arrow":
        return table
    if as_ == "polars":
        return importlib.import_module("polars").from_arrow(table)
    pandas = importlib.import_module("pandas")
    return table.to_pandas(types_mapper={pa.int64(): pandas.Int64Dtype()}.get)


_PYTHON_TYPES: Final[dict[type, Any]] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    datetime: pa.timestamp("us", "UTC"),
    UUID: pa.string(),
}


def of_models(model: type[BaseModel], rows: Sequence[BaseModel], as_: FrameAs, names: Sequence[str]) -> Any:
    """Convert models that are not rows of a kind, such as latest prices, to a frame with these fields.

    The columns exist even without rows.
    """
    schema = schema_of_model(model, names)
    columns = {name: [_plain(row.__dict__[name]) for row in rows] for name in names}
    return as_frame(pa.table(columns, schema=schema), as_)


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, UUID) else value


def schema_of_oids(names: Sequence[str], oids: Sequence[int]) -> "pa.Schema":
    """Return the schema of a user's own query, by the types in PostgreSQL. A `numeric` is float64."""
    return pa.schema([(name, _BY_OID.get(oid, pa.string())) for name, oid in zip(names, oids, strict=True)])


_BY_OID: Final[dict[int, Any]] = {
    16: pa.bool_(),
    20: pa.int64(),
    21: pa.int64(),
    23: pa.int64(),
    26: pa.int64(),
    700: pa.float64(),
    701: pa.float64(),
    1082: pa.date32(),
    1114: pa.timestamp("us"),
    1184: pa.timestamp("us", "UTC"),
    1700: pa.float64(),
}


def schema_of_model(model: type[BaseModel], names: Sequence[str]) -> "pa.Schema":
    """Return the schema for these fields of a model that is not a row of a kind."""
    fields = []
    for name in names:
        info = model.model_fields[name]
        options = set(get_args(info.annotation)) or {info.annotation}
        (python,) = options - {type(None)}
        fields.append(pa.field(name, _PYTHON_TYPES[python], type(None) in options))
    return pa.schema(fields)


def widened(table: "pa.Table", time: str, value: str, symbols: Sequence[str]) -> "pa.Table":
    """Pivot rows of many symbols to a column of values for each symbol, ordered by time.

    A symbol without a row at a time is NULL there. Raises ConfigurationError if a symbol has two rows at a time.
    """
    rows = table.num_rows
    moments, at = np.unique(table[time].cast(pa.int64()).to_numpy(), return_inverse=True)
    named = table["symbol"].cast(pa.string())
    own = compute.index_in(named, pa.array(symbols, pa.string())).to_numpy()
    taken = np.full((len(symbols), len(moments)), -1, np.int64)
    taken[own, at] = np.arange(rows)
    if int((taken >= 0).sum()) < rows:
        raise ConfigurationError("a symbol has several rows of the same time, and cannot be one column")
    values = table[value].combine_chunks()
    columns = {time: pa.array(moments, table.schema.field(time).type)}
    for symbol, places in zip(symbols, taken, strict=True):
        columns[symbol] = values.take(pa.array(places, mask=places < 0))
    return pa.table(columns)


def sorted_by(table: "pa.Table", name: str) -> "pa.Table":
    """Sort a table by a column. Rows with the same value keep their order."""
    column = table[name]
    if pa.types.is_dictionary(column.type):
        # PyArrow does not sort dictionaries.
        column = column.cast(pa.string())
    else:
        only = column.cast(pa.int64()).to_numpy()
        if (only[:-1] <= only[1:]).all():
            return table
    return table.take(compute.sort_indices(column))


def check(as_: str) -> None:
    """Raise ConfigurationError if a type of frame is unknown, or its package is not installed."""
    if as_ not in get_args(FrameAs):
        raise ConfigurationError(f"a frame is {', '.join(get_args(FrameAs))}; not {as_!r}")
    if as_ != "arrow":
        try:
            importlib.import_module(as_)
        except ImportError as error:
            raise ConfigurationError(f"{as_} is not installed: pip install {as_}") from error


def _copy_out(query: Query) -> CopyOut:
    return CopyOut(b"COPY (" + query.select + b") TO STDOUT (FORMAT binary)", query.parameters)


class _Reader:
    """Decodes the portions of one query to record batches."""

    def __init__(self, query: Query, session: Session) -> None:
        self._session = session
        self._schema = query.schema
        self._first = True
        self._by_id = isinstance(query.series, Mapping)
        self._columns = (SERIES_ID, *query.stored) if self._by_id else query.stored
        if isinstance(query.series, Mapping):
            self._ids = np.array(sorted(query.series), np.int64)
            names = [query.series[id_] for id_ in self._ids.tolist()]
        else:
            names = [query.series]
        # For each part of the name: its distinct words, and the index of each series' word.
        self._words: dict[str, tuple[Any, NDArray[Any]]] = {}
        for at, part in enumerate(query.kind.series):
            words = pa.array([name[at] for name in names], pa.string()).dictionary_encode()
            self._words[part] = (words.dictionary, words.indices.to_numpy())

    def batch(self, taken: bytearray, lengths: Any) -> "pa.RecordBatch":
        """Decode one portion."""
        arrays = arrays_of(self._columns, taken, lengths, first=self._first)
        self._first = False
        size = len(arrays[0])
        at = np.searchsorted(self._ids, arrays[0].to_numpy()) if self._by_id else np.zeros(size, np.int64)
        there = {column.name: array for column, array in zip(self._columns, arrays, strict=True)}

        def column(name: str) -> Any:
            if name in there:
                return there[name]
            if name in self._words:
                words, codes = self._words[name]
                return pa.DictionaryArray.from_arrays(codes[at].astype(np.int32), words)
            return pa.DictionaryArray.from_arrays(np.zeros(size, np.int32), pa.array([self._session.tenant_id]))

        return pa.record_batch([column(name) for name in self._schema.names], schema=self._schema)
