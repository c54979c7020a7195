"""Read large amounts of data: each column of a query as one array, in pieces of limited size.

Copying out single rows costs the client more than the server, because libpq returns each row separately. So the server
packs the rows of a piece into arrays, and the client reads a column at a time. A piece is some series and a span of
time, with about `TARGET` rows. The number of series is estimated from earlier pieces; a piece with more than `MOST`
rows is split, so that neither side ever holds much more.

Needs NumPy and PyArrow, as `mds_client.columns.arrow` does. Nothing here does I/O.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Protocol, cast

from mds_client import sql
from mds_client.columns.arrow import ARROW_TYPES, NAMES, SERIES_ID  # says first which package is missing
from mds_client.columns.decoding import HEADER, WIRE, values_of
from mds_client.protocol.operations import CopyOut, Emit, Execute, Group, More, SeriesName, Session, Talk, Values
from mds_client.reading.arguments import Sought
from mds_client.reading.unpacking import bytes_of, elements_of, strings, uuids
from mds_client.schema import TENANT_COLUMN, Column, Kind

import numpy as np  # isort: skip
import pyarrow as pa  # isort: skip
import pyarrow.compute as compute  # isort: skip
from numpy.typing import NDArray  # isort: skip

TARGET: Final = 65_536
"""The approximate number of rows in a piece."""

MOST: Final = 2 * TARGET
"""The maximum number of rows in a piece; larger pieces are split."""

FIRST_SERIES: Final = 8
"""The number of series in the first pieces, while the number of rows of a series is unknown."""

MOST_SERIES: Final = 4096
"""The maximum number of series in a piece."""

INSTANT: Final = timedelta(microseconds=1)
"""The shortest span of time, which cannot be split."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request: a kind, series by id with their names, a span of time, and the columns of the result.

    `stored` are the columns that the statement returns; `fields` are those of the result: the tenant, parts of the
    series and stored columns. Rows come in the order of `series`, and within a series ordered by key, if the key is
    among the stored columns. `symbols`: only rows with one of these, for a kind whose series have no symbol.
    """

    kind: Kind
    series: Mapping[int, SeriesName]
    span: tuple[datetime, datetime]
    stored: tuple[str, ...]
    fields: tuple[str, ...]
    plain: bool = False
    """Whether names are plain text instead of dictionaries."""
    symbols: Sought | None = None
    cold: "Beside | None" = None
    """The reader of rows that are kept in files, if any."""
    only_hot: bool = True
    """Whether the server refuses to read from before the fence, if there is one."""

    @property
    def schema(self) -> "pa.Schema":
        """The schema of the result."""
        return schema_of(self.kind, self.fields, plain=self.plain)

    @property
    def columns(self) -> tuple[Column, ...]:
        """The stored columns, and the columns of the key, which are needed for sorting."""
        names = (*self.stored, *(name for name in self.kind.key if name not in self.stored))
        return tuple(self.kind.column(name) for name in names)


class Beside(Protocol):
    """A reader of rows of the same kind in another place (`mds_client.cold`)."""

    @property
    def listed(self) -> Sequence[object]:
        """The files that contain them."""

    def merged(
        self,
        series: Mapping[int, SeriesName],
        span: tuple[datetime, datetime],
        columns: Sequence[str],
        hot: "pa.Table",
        late: Sequence[Values],
    ) -> "pa.Table":
        """Merge these rows with those from the server."""


def schema_of(kind: Kind, fields: Sequence[str], *, plain: bool) -> "pa.Schema":
    """Return the schema of a frame with these fields of a kind."""

    def of(name: str) -> Any:
        if name == TENANT_COLUMN or name in kind.series:
            return pa.field(name, pa.string() if plain else NAMES, nullable=False)
        column = SERIES_ID if name == SERIES_ID.name else kind.column(name)
        return pa.field(name, ARROW_TYPES[column.type], column.nullable)

    return pa.schema([of(name) for name in fields])


@dataclass(slots=True, eq=False)
class Piece:
    """Some series and a span of time, and the rows once they are read."""

    ids: list[int]
    span: tuple[datetime, datetime]
    bounded: bool = True
    """Whether the piece is split if it has too many rows. One series and one instant cannot be split."""
    taken: bool = False
    batch: "pa.RecordBatch | None" = None
    empty: frozenset[str] = frozenset()
    """Columns that had no value in earlier pieces. The server only checks that they have none here either."""


@dataclass(slots=True)
class Plan:
    """The pieces of a result, in order. At most `window` of them are being read or wait for earlier ones."""

    asked: Asked
    window: int = 1
    target: int = TARGET
    """The approximate number of rows in a piece."""
    _pieces: deque[Piece] = field(default_factory=deque)
    _left: list[int] = field(init=False)
    _at: int = 0
    _read: tuple[int, int] = (0, 0)
    _empty: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        self._left = list(self.asked.series)

    @property
    def more(self) -> bool:
        """Whether there are pieces that were not taken."""
        return self._at < len(self._left) or any(not piece.taken for piece in self._pieces)

    def take(self) -> Piece | None:
        """Take the next piece to read. Returns None if there is none, or the window is full."""
        for at, piece in enumerate(self._pieces):
            if at >= self.window:
                return None
            if not piece.taken:
                piece.taken, piece.empty = True, self._empty
                return piece
        if len(self._pieces) >= self.window or self._at == len(self._left):
            return None
        ids = self._left[self._at : self._at + self._width()]
        piece = Piece(ids, self.asked.span, taken=True, empty=self._empty)
        self._at += len(piece.ids)
        self._pieces.append(piece)
        return piece

    def settle(self, piece: Piece, found: "pa.RecordBatch | list[Piece]") -> None:
        """Store the rows of a piece, or replace it by smaller pieces."""
        if isinstance(found, list):
            at = self._pieces.index(piece)
            self._pieces.remove(piece)
            for number, part in enumerate(found):
                self._pieces.insert(at + number, part)
            return
        piece.batch = found
        rows, series = self._read
        self._read = rows + found.num_rows, series + len(piece.ids)
        if found.num_rows:
            shown = set(self.asked.stored) & set(found.schema.names)
            nulls = {name for name in shown if found.column(name).null_count == found.num_rows}
            self._empty = frozenset(nulls & self._empty if rows else nulls)

    def ready(self) -> "pa.RecordBatch | None":
        """Return the next batch of rows in order, if it has been read."""
        while self._pieces and (batch := self._pieces[0].batch) is not None:
            self._pieces.popleft()
            if batch.num_rows:
                return batch
        return None

    def _width(self) -> int:
        rows, series = self._read
        if not series:
            return FIRST_SERIES
        return max(1, min(MOST_SERIES, self.target * series // max(rows, 1)))


def cold_target(cold: Beside | None) -> int:
    """Return the approximate rows of a piece: more with more files, because each piece reads a row group of each."""
    return TARGET if cold is None else min(max(TARGET, len(cold.listed) * 2 * TARGET), 32 * TARGET)


def emitting(session: Session, asked: Asked) -> Talk[None]:
    """Read everything on one connection, in batches, as part of an operation."""
    plan = Plan(asked, target=cold_target(asked.cold))
    while (piece := plan.take()) is not None:
        plan.settle(piece, (yield from reading(session, asked, piece)))
        while (batch := plan.ready()) is not None:
            yield Emit(batch)


def reading(session: Session, asked: Asked, piece: Piece) -> "Talk[pa.RecordBatch | list[Piece]]":
    """Read a piece, or return the smaller pieces to read instead."""
    limit = MOST + 1 if piece.bounded else None
    symbols = asked.symbols or ()
    columns = tuple(column for column in asked.columns if column.name not in piece.empty)
    empty = tuple(column for column in asked.columns if column.name in piece.empty)
    statement = sql.packed(asked.kind, columns, counted=empty, by_symbol=len(symbols))
    since = sql.hot_since(asked.kind, session.wanted, _since(asked, piece))
    parameters = (piece.ids, *piece.span, *symbols, *since, limit)
    copied = CopyOut(b"COPY (" + statement + b") TO STDOUT (FORMAT binary)", parameters)
    (taken,) = yield Group((copied,))
    data = bytearray()
    while taken:
        data += taken[0][0]
        (taken,) = yield Group((More(),))
    arrays, rows, counts = _unpacked((SERIES_ID, *columns), data, len(empty))
    if any(counts):
        piece.empty = frozenset()
        return (yield from reading(session, asked, piece))
    arrays |= {column.name: pa.nulls(rows, ARROW_TYPES[column.type]) for column in empty}
    if rows <= MOST or not piece.bounded:
        if asked.cold is not None:
            arrays, rows = yield from _with_cold(session, asked, asked.cold, piece, arrays)
        return _batch(asked, session.tenant_id, piece.ids, arrays, rows)
    if len(piece.ids) > 1:
        parts = 1 + rows // TARGET
        size = -(-len(piece.ids) // parts)
        halves = [piece.ids[at : at + size] for at in range(0, len(piece.ids), size)]
        return [Piece(ids, piece.span) for ids in halves]
    return (yield from _spans(session, asked, piece))


def _since(asked: Asked, piece: Piece) -> datetime | None:
    return piece.span[0] if asked.only_hot and asked.cold is None else None


def _with_cold(
    session: Session, asked: Asked, cold: Beside, piece: Piece, arrays: dict[str, Any]
) -> Talk[tuple[dict[str, Any], int]]:
    """Add the rows that are kept in files to the columns of a piece."""
    (late,) = yield Group((Execute(sql.late_rows(asked.kind), sql.late_since(piece.ids, piece.span, session.wanted)),))
    columns = [column.name for column in asked.columns]
    table = cold.merged(
        {id_: asked.series[id_] for id_ in piece.ids},
        piece.span,
        columns,
        pa.table([arrays[SERIES_ID.name], *(arrays[name] for name in columns)], names=[SERIES_ID.name, *columns]),
        late,
    ).combine_chunks()
    return {name: _whole(table[name]) for name in table.column_names}, table.num_rows


def _whole(column: "pa.ChunkedArray") -> Any:
    return (
        column.chunk(0)
        if column.num_chunks == 1
        else pa.concat_arrays(column.chunks)
        if column.num_chunks
        else (pa.array([], column.type))
    )


def _spans(session: Session, asked: Asked, piece: Piece) -> Talk[list[Piece]]:
    """Split a series with too many rows into spans of time."""
    since = sql.hot_since(asked.kind, session.wanted, _since(asked, piece))
    counted = Execute(sql.count_rows(asked.kind), (piece.ids, *piece.span, *since))
    (((_, first, last, count),),) = yield Group((counted,))
    whole = last - first + INSTANT
    parts = max(2, -(-count // TARGET))
    width = max(whole // parts, INSTANT)
    pieces = []
    begin = first
    while begin <= last:
        end = begin + width if last - begin > width else last + INSTANT
        pieces.append(Piece(piece.ids, (begin, end), bounded=end - begin > INSTANT))
        begin = end
    if asked.cold is not None:
        # The counted rows are those of the table. Others are in files, before and behind them.
        pieces[0].span = piece.span[0], pieces[0].span[1]
        pieces[-1].span = pieces[-1].span[0], piece.span[1]
    return pieces


def _unpacked(columns: Sequence[Column], data: bytearray, counts: int) -> tuple[dict[str, Any], int, list[int]]:
    """Decode one copied row of arrays and counts. Returns the columns, the number of rows and the counts."""
    at = HEADER + 2
    fields: list[tuple[int, int]] = []
    arrays_sent = sum(2 if column.sent == "text" else 1 for column in columns)
    for _ in range(arrays_sent + counts):
        size = int.from_bytes(data[at : at + 4], "big", signed=True)
        fields.append((at + 4, size))
        at += 4 + max(size, 0)
    counted = [int.from_bytes(data[begin : begin + size], "big") for begin, size in fields[arrays_sent:]]
    if fields[0][1] < 0:
        return {column.name: pa.array([], ARROW_TYPES[column.type]) for column in columns}, 0, counted
    rows = int.from_bytes(data[fields[0][0] + 12 : fields[0][0] + 16], "big")
    given = iter(fields)
    arrays = {}
    for column in columns:
        begin, size = next(given)
        wire = {"text": ">i4", "uuid": "V16"}.get(column.sent) or WIRE[column.type][0]
        elements, missing = elements_of(data, begin, size, rows, np.dtype(wire))
        if column.sent == "text":
            arrays[column.name] = strings(elements, bytes_of(data, *next(given)), missing)
        elif missing is not None and missing.all():
            arrays[column.name] = pa.nulls(rows, ARROW_TYPES[column.type])
        elif column.type == "uuid":
            arrays[column.name] = uuids(elements, missing)
        else:
            arrays[column.name] = values_of(column, elements, missing)
    return arrays, rows, counted


def _batch(asked: Asked, tenant: str | None, ids: Sequence[int], arrays: dict[str, Any], rows: int) -> "pa.RecordBatch":
    """Return the rows of a piece with the requested columns, in order."""
    places = np.array(ids, np.int64)
    by_id = np.argsort(places)
    # The position of each row's series within the piece.
    at = by_id[np.searchsorted(places, arrays["series_id"].to_numpy(), sorter=by_id)]
    order = _order(asked.kind, at, arrays)
    if order is not None:
        at = at[order]
    codes = pa.array(at, pa.int32())

    def column(name: str) -> Any:
        if name in arrays:
            return arrays[name] if order is None else arrays[name].take(pa.array(order))
        if name in asked.kind.series:
            part = asked.kind.series.index(name)
            words = pa.array([asked.series[id_][part] for id_ in ids], pa.string())
            if asked.plain:
                return words.take(codes)
            encoded = words.dictionary_encode()
            return pa.DictionaryArray.from_arrays(encoded.indices.take(codes), encoded.dictionary)
        owner = pa.array([tenant] * rows, pa.string())
        return owner if asked.plain else owner.dictionary_encode()

    schema = asked.schema
    return pa.record_batch([column(name) for name in schema.names], schema=schema)


def _order(kind: Kind, at: NDArray[Any], arrays: dict[str, Any]) -> NDArray[Any] | None:
    """Return the order of rows by series and key, or None if they are already in order."""
    times = arrays[kind.time].cast(pa.int64()).to_numpy()
    if len(kind.key) > 1:
        keys = {"at": pa.array(at), **{name: arrays[name] for name in kind.key}}
        order = compute.sort_indices(pa.table(keys), sort_keys=[(name, "ascending") for name in keys])
        return cast("NDArray[Any]", order.to_numpy())
    if _ascending(at, times):
        return None
    # Rows of a series are mostly in the order of their time.
    order = np.argsort(at.astype(np.uint16), kind="stable")
    if not _ascending(at[order], times[order]):
        order = np.lexsort((times, at))
    return order


def _ascending(at: NDArray[Any], times: NDArray[Any]) -> bool:
    steps = np.diff(at)
    return bool(((steps > 0) | ((steps == 0) & (np.diff(times) > 0))).all())
