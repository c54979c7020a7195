"""Frames that are written: columns from anything that speaks the Arrow stream protocol, checked and sorted.

Every value is checked by what the row model says, column by column (`Frame`). `mds_client.narrow` encodes the columns
for a binary COPY. Which columns there are follows from the kind. `mds_client.upserts` sends them. Frames that are read
are in `mds_client.arrow`, which raises the error about missing packages; import it first.
"""

import contextlib
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Annotated, Any, Final, cast
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from mds_client.errors import InvalidRow
from mds_client.mapping import PLAIN
from mds_client.mapping import Mapping as Mapping_
from mds_client.models import (
    DataQualityWarning,
    is_uuid,
    out_of_order,
    own_id,
    warn_of_empty,
    warn_of_replaced,
)
from mds_client.narrow import BLOCK, DAY, EPOCH, MICROSECOND, NUMPY_TYPES, ColumnValues, NarrowFrame
from mds_client.operations import SeriesName
from mds_client.schema import DEFAULTS, TENANT_COLUMN, Column, Kind, SqlType
from mds_client.times import PER_SECOND

FIRST_TIME: Final = (datetime.min.replace(tzinfo=UTC) - EPOCH) // MICROSECOND
LAST_TIME: Final = (datetime.max.replace(tzinfo=UTC) - EPOCH) // MICROSECOND


@dataclass(frozen=True)
class _Field:
    """A field of a kind's model: what validates a list of its values, and whether it may be missing or NULL."""

    name: str
    type: SqlType
    required: bool
    nullable: bool
    validate: Callable[[list[Any]], list[Any]] = field(repr=False)


@cache
def _fields(kind: Kind) -> dict[str, _Field]:
    stored: dict[str, SqlType] = {column.name: column.type for column in kind.columns}
    fields = {}
    for name, info in kind.model.model_fields.items():
        annotation: Any = Annotated[info.annotation, *info.metadata] if info.metadata else info.annotation
        validate = TypeAdapter(list[annotation]).validate_python
        try:
            nullable = validate([None]) == [None]
        except ValidationError:
            nullable = False
        type_ = stored.get(name, "uuid" if name == TENANT_COLUMN else "text")
        fields[name] = _Field(name, type_, info.is_required(), nullable, validate)
    return fields


class Frame:
    """A batch in columns: every value is checked, and means what it means in a model.

    Raises InvalidRow, which names the column, the first row in question and how many there are. `first` is the number
    of the frame's first row in the input.
    """

    def __init__(self, kind: Kind, table: "pa.Table", first: int = 0, *, look: bool = True) -> None:
        self.kind = kind
        self._first = first
        self._size: int = table.num_rows
        self.replaced: int | None = None
        fields = _fields(kind)
        table = without_index(table)
        given: list[str] = table.column_names
        if unknown := [name for name in given if name not in fields]:
            named = ", ".join(name or "(a column without a name)" for name in unknown)
            raise InvalidRow(
                f"{kind.name} have no column {named}; there are: {', '.join(fields)}."
                " A mapping says which column is which field (--map FIELD=COLUMN), and extra='ignore' (--extra ignore)"
                " leaves other columns out"
            )
        if twice := sorted({name for name in given if given.count(name) > 1}):
            raise InvalidRow(f"a column comes twice: {', '.join(twice)}")
        if lacking := [name for name, found in fields.items() if found.required and name not in given]:
            raise InvalidRow(f"{kind.name} need a column {', '.join(lacking)}")
        for name in given:
            _check_extension(table.schema.field(name))
        for column in kind.columns:
            if column.otherwise and column.name in given:
                table = _own_ids(table, column.name, column.otherwise, first)
        given = table.column_names
        self._columns = {name: _checked(fields[name], table.column(name), first) for name in fields if name in given}
        for column in kind.columns:
            if column.name not in given:
                self._columns[column.name] = _nothing(column.type, self._size)
            if not column.nullable and not fields[column.name].required:
                self._derive(column)
        self._columns |= {part: self._with_default(part) for part in kind.series if part in DEFAULTS}
        self._codes, self.names = self._series()
        if look:
            self._look()

    def __len__(self) -> int:
        return self._size

    def claimed(self) -> dict[str, int]:
        """Each tenant that rows name, with the first such row."""
        tenants = self._columns.get(TENANT_COLUMN)
        if tenants is None or not tenants.words:
            return {}
        codes = tenants.values if tenants.valid is None else np.where(tenants.valid, tenants.values, -1)
        found, rows = np.unique(codes, return_index=True)
        return {
            tenants.words[code]: self._first + row
            for code, row in zip(found.tolist(), rows.tolist(), strict=True)
            if code >= 0
        }

    def narrow(self, ids: Mapping[SeriesName, int]) -> NarrowFrame:
        """The rows as the table has them, each key once (the last one wins), sorted by key."""
        of_name = np.array([ids[name] for name in self.names], np.int64)
        rank = np.empty(len(of_name), np.uint16 if len(of_name) < 1 << 16 else np.uint32)
        rank[np.argsort(of_name)] = np.arange(len(of_name))
        keys = [rank[self._codes], *(self._columns[name].sortable() for name in self.kind.key)]
        empty = self._empty()
        rows, replaced, by = _sorted(keys, empty)
        self._say(empty, replaced, by)
        columns = {"series_id": ColumnValues("bigint", of_name[self._codes[rows]])}
        columns |= {name: self._columns[name].take(rows) for name in self.kind.column_names}
        return NarrowFrame(self.kind, columns)

    def _empty(self) -> NDArray[np.bool_] | None:
        """Which rows have no value beside their key; None if there are none."""
        empty: NDArray[np.bool_] | None = None
        for name in self.kind.measured:
            valid = self._columns[name].valid
            if valid is None:
                return None
            empty = ~valid if empty is None else empty & ~valid
        return empty if empty is not None and empty.any() else None

    def _say(self, empty: NDArray[np.bool_] | None, replaced: NDArray[Any], by: NDArray[Any]) -> None:
        """Warn once of rows without values, and of rows that later ones with the same key and other values replace."""
        if self.replaced is not None:
            return
        differ = np.zeros(len(replaced), np.bool_)
        for name in self.kind.values:
            column = self._columns[name]
            other = column.values[replaced] != column.values[by]
            if column.valid is not None:
                other &= column.valid[replaced] & column.valid[by]
                other |= column.valid[replaced] != column.valid[by]
            differ |= other
        if empty is not None:
            differ &= ~empty[replaced]
            warn_of_empty(self.kind, int(np.count_nonzero(empty)), self._first + int(np.flatnonzero(empty)[0]))
        self.replaced = int(np.count_nonzero(differ))
        if self.replaced:
            first = np.sort(replaced[differ])[:1]
            values = {name: column.take(first).python()[0] for name, column in self._columns.items()}
            warn_of_replaced(self.kind, self.replaced, self._first + int(first[0]), values)

    def _derive(self, column: Column) -> None:
        """Fill a column that the model fills by itself where it is left out, by making models of those rows."""
        found = self._columns[column.name]
        if found.valid is None:
            return
        rows = np.flatnonzero(~found.valid)
        others = {name: values.take(rows).python() for name, values in self._columns.items() if name != column.name}
        validate = self.kind.model.model_validate
        made = [
            getattr(validate(dict(zip(others, values, strict=True))), column.name)
            for values in zip(*others.values(), strict=True)
        ]
        values = found.python()
        for row, value in zip(rows.tolist(), made, strict=True):
            values[row] = value
        self._columns[column.name] = _as_words(column.type, *_coded(values))

    def _with_default(self, name: str) -> ColumnValues:
        """A part of the series' names, with the default where it has no value."""
        default, found = self._columns[DEFAULTS[name]], self._columns.get(name)
        if found is None or found.absent or found.words is None or default.words is None:
            return default
        if found.valid is None:
            return found
        both = [*found.words, *default.words]
        places = {word: at for at, word in enumerate(dict.fromkeys(both))}
        codes = np.where(found.valid, found.values, default.values + len(found.words))
        return ColumnValues(found.type, np.array([places[word] for word in both], np.int64)[codes], None, list(places))

    def _look(self) -> None:
        """Warn of rows that look wrong: one line, for the first of them."""
        for pair in self.kind.ordered:
            lesser, greater = (self._columns[name] for name in pair)
            wrong = lesser.values > greater.values
            for column in (lesser, greater):
                wrong = wrong if column.valid is None else wrong & column.valid
            if (found := int(np.count_nonzero(wrong))) == 0:
                continue
            first = np.flatnonzero(wrong)[:1]
            values = {name: column.take(first).python()[0] for name, column in self._columns.items()}
            said = f"row {self._first + int(first[0])}: {out_of_order(self.kind, values, pair)}{_and_more(found)}"
            warnings.warn(said, DataQualityWarning, stacklevel=2)

    def _series(self) -> tuple[NDArray[Any], list[SeriesName]]:
        """For each row the number of its series, and the names of the series."""
        codes = np.zeros(self._size, np.int64)
        names: list[SeriesName] = [()]
        for part in self.kind.series:
            column = self._columns[part]
            words = column.words or []
            codes = codes * len(words) + column.values
            possible = len(names) * len(words)
            if possible <= 4 * self._size:
                found = np.flatnonzero(np.bincount(codes, minlength=possible))
                dense = np.empty(possible, np.int64)
                dense[found] = np.arange(len(found))
                codes = dense[codes]
            else:
                found, codes = np.unique(codes, return_inverse=True)
            names = [(*names[at // len(words)], words[at % len(words)]) for at in found.tolist()]
        return codes, names


def _sorted(
    keys: list[NDArray[Any]], empty: NDArray[np.bool_] | None
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """The rows in the order of their keys; of several with one key, the last, or the last with a value.

    Also which rows are left out, and for each of them the next one with its key.
    """
    rows = np.arange(len(keys[0]))
    ordered, same = _compared(keys)
    if not ordered:
        # In most batches the rows of each series are in order, and only have to be brought together. NumPy sorts small
        # numbers by counting.
        rows = np.argsort(keys[0], kind="stable")
        ordered, same = _compared([key[rows] for key in keys])
    if not ordered or (empty is not None and same.any()):
        rows = np.lexsort(keys[::-1] if empty is None else [~empty, *keys[::-1]])
        _, same = _compared([key[rows] for key in keys])
    if not same.any():
        return rows, rows[:0], rows[:0]
    return rows[np.append(~same, True)], rows[:-1][same], rows[1:][same]


def _compared(keys: list[NDArray[Any]]) -> tuple[bool, NDArray[np.bool_]]:
    """Whether rows are sorted by their keys, and for each but the last whether the next one has the same key."""
    same = np.ones(len(keys[0]) - 1, np.bool_)
    for key in keys:
        if (same & (key[:-1] > key[1:])).any():
            return False, same
        same &= key[:-1] == key[1:]
    return True, same


def _own_ids(table: "pa.Table", name: str, otherwise: str, first: int) -> "pa.Table":
    """A table whose ids that are not uuids are in the other column, as text; one that is given stays."""
    column = _plain(table.column(name))
    if pa.types.is_fixed_size_binary(column.type) or pa.types.is_null(column.type):
        return table
    ids: list[Any] = column.to_pylist()
    own = [None if value is None or isinstance(value, UUID) or is_uuid(value) else own_id(value) for value in ids]
    for at, value in enumerate(own):
        if value is not None and not isinstance(value, str):
            message = f"row {first + at}: {name}: {value!r} is neither a uuid nor text nor a whole number"
            raise InvalidRow(message, index=first + at)
    if not any(value is not None for value in own):
        return table
    uuids = [value if other is None else None for value, other in zip(ids, own, strict=True)]
    table = table.set_column(table.column_names.index(name), name, pa.array(uuids, pa.string()))
    if otherwise not in table.column_names:
        return table.append_column(otherwise, pa.array(own, pa.string()))
    given = _plain(table.column(otherwise)).cast(pa.string())
    at = table.column_names.index(otherwise)
    return table.set_column(at, otherwise, pc.coalesce(given, pa.array(own, pa.string())))


def _checked(field: _Field, column: "pa.ChunkedArray", first: int) -> ColumnValues:
    column = _plain(column)
    if column.null_count and not field.nullable and field.required:
        at = pc.index(column.is_null(), value=True).as_py()
        raise InvalidRow(
            f"row {first + at}: {field.name}: a value is needed" + _and_more(column.null_count), index=first + at
        )
    fast = _fast(field, column)
    if fast is not None:
        return fast
    return _as_words(field.type, *_through_model(field, column, first))


_INDEX: Final = re.compile(r"__index_level_\d+__")


def without_index(table: "pa.Table") -> "pa.Table":
    """A table without the columns that PyArrow makes of a pandas index that has no name."""
    unnamed = [name for name in table.column_names if _INDEX.fullmatch(name)]
    return table.drop_columns(unnamed) if unnamed else table


_KNOWN: Final = ("arrow.uuid", "arrow.json", "pandas.period")


def _check_extension(field: "pa.Field") -> None:
    """Raise InvalidRow for a column of an extension type, whose stored values need not be what they mean."""
    name = field.type.extension_name if isinstance(field.type, pa.BaseExtensionType) else None
    if name is None and field.metadata:
        name = field.metadata.get(b"ARROW:extension:name", b"").decode() or None
        if name == "pandas.period":
            raise InvalidRow(f"{field.name}: a pandas Period cannot be read without pandas: convert it to timestamps")
    if name is not None and name not in _KNOWN:
        raise InvalidRow(f"{field.name}: values of the extension type {name} cannot be read: convert the column")


def _plain(column: "pa.ChunkedArray") -> "pa.ChunkedArray":
    """Without what only says how values are kept."""
    if isinstance(column.type, pa.BaseExtensionType):
        if column.type.extension_name == "pandas.period":
            # A period is stored as a number that counts from 1970 in its own unit; it begins at its start.
            return pa.chunked_array([pa.array(column.to_pandas().dt.start_time)])
        column = pa.chunked_array([chunk.storage for chunk in column.chunks], column.type.storage_type)
    if pa.types.is_run_end_encoded(column.type):
        column = pa.chunked_array([pc.run_end_decode(chunk) for chunk in column.chunks], column.type.value_type)
    kind = column.type
    if pa.types.is_dictionary(kind):
        text = pa.types.is_string(kind.value_type) or pa.types.is_large_string(kind.value_type)
        if not text or any(chunk.dictionary.null_count for chunk in column.chunks):
            plain = pa.large_string() if pa.types.is_string_view(kind.value_type) else kind.value_type
            column = pa.chunked_array(
                [chunk.dictionary.cast(plain).take(chunk.indices) for chunk in column.chunks], plain
            )
    return column


def _fast(field: _Field, column: "pa.ChunkedArray") -> ColumnValues | None:
    """A column that is numbers already; None if the model has to look at every value.

    What the model asks of a number is a range: what holds for the smallest and the largest holds for all.
    """
    kind, types = column.type, pa.types
    if types.is_null(kind):
        return _nothing(field.type, len(column))
    valid = None if not column.null_count else column.is_valid().to_numpy()
    if column.null_count == len(column):
        return _nothing(field.type, len(column))
    made: NDArray[Any] | None = None
    if field.type == "timestamptz" and types.is_timestamp(kind):
        made = _microseconds(column)
    elif field.type == "date" and types.is_date32(kind):
        made = _filled(column.cast(pa.int32()))
    elif field.type in ("bigint", "double precision") and (types.is_integer(kind) or types.is_floating(kind)):
        made = _number(field.type, _filled(column))
    if made is None:
        return None
    values = ColumnValues(field.type, made, valid)
    present = made if valid is None else made[valid]
    extremes = ColumnValues(field.type, np.array([present.min(), present.max()], made.dtype)).python()
    try:
        return values if field.validate(extremes) == extremes else None
    except ValidationError:
        return None


def _filled(column: "pa.ChunkedArray") -> NDArray[Any]:
    array = column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)
    return cast("NDArray[Any]", (array.fill_null(0) if array.null_count else array).to_numpy())


def _microseconds(column: "pa.ChunkedArray") -> NDArray[Any] | None:
    per_second = PER_SECOND[column.type.unit]
    values = _filled(column.cast(pa.int64()))
    # Wide of the years 1 to 9999, and narrow enough to be multiplied.
    if not len(values) or abs(int(values.min())) > 3e11 * per_second or abs(int(values.max())) > 3e11 * per_second:
        return None
    # What is finer than a microsecond is cut off, as it is in text.
    made = values * (1_000_000 // per_second) if per_second <= 1_000_000 else values // (per_second // 1_000_000)
    return made if int(made.min()) >= FIRST_TIME and int(made.max()) <= LAST_TIME else None


def _number(type_: SqlType, values: NDArray[Any]) -> NDArray[Any] | None:
    if type_ == "double precision":
        if values.dtype.kind in "iu" and len(values) and values.max() > 2**53:
            # Not every such number is one of these; the model looks at each.
            return None
        made = values.astype(np.float64, copy=False)
        return made if np.isfinite(made).all() else None
    if values.dtype.kind == "f":
        whole = np.isfinite(values).all() and (values == np.rint(values)).all() and (np.abs(values) < 2.0**63).all()
        return values.astype(np.int64) if whole else None
    return values.astype(np.int64) if values.dtype != np.uint64 or values.max() < 1 << 63 else None


def _nothing(type_: SqlType, size: int) -> ColumnValues:
    words: list[Any] | None = None if type_ in NUMPY_TYPES else []
    return ColumnValues(type_, np.zeros(size, NUMPY_TYPES.get(type_, "i8")), np.zeros(size, np.bool_), words)


def _through_model(field: _Field, column: "pa.ChunkedArray", first: int) -> tuple[NDArray[Any], list[Any]]:
    """A column's values as the model makes them: codes (-1 for NULL), and the distinct values that they stand for."""
    try:
        if pa.types.is_timestamp(column.type):
            column = column.cast(pa.timestamp("us", column.type.tz), safe=False)
        encoded = (column if pa.types.is_dictionary(column.type) else column.dictionary_encode()).unify_dictionaries()
        chunks = encoded.chunks
        given = chunks[0].dictionary.to_pylist() if chunks else []
    except (pa.ArrowException, ValueError, OverflowError) as error:
        raise InvalidRow(f"{field.name}: {column.type} cannot be read: {error}") from error
    if field.type == "uuid" and pa.types.is_fixed_size_binary(column.type) and column.type.byte_width == 16:
        given = [UUID(bytes=value) for value in given]
    parts = [chunk.indices.fill_null(-1).to_numpy().astype(np.int64) for chunk in chunks]
    codes = np.concatenate(parts) if parts else np.zeros(0, np.int64)
    # A slice of a table brings the whole dictionary along.
    used = np.flatnonzero(np.bincount(codes[codes >= 0], minlength=len(given)))
    made, wrong = _validated(field, [given[at] for at in used.tolist()])
    if wrong:
        bad = np.zeros(len(given) + 1, np.bool_)
        bad[used[list(wrong)]] = True
        rows = np.flatnonzero(bad[codes])
        at = int(rows[0])
        message = wrong[int(np.searchsorted(used, codes[at]))]
        raise InvalidRow(
            f"row {first + at}: {field.name}: {message} (got {str(given[codes[at]])[:60]!r})" + _and_more(len(rows)),
            index=first + at,
        )
    # Two spellings may be one word.
    made_codes, words = _coded(made)
    back = np.full(len(given) + 1, -1, np.int64)
    back[used] = made_codes
    return back[codes], words


def _validated(field: _Field, values: list[Any]) -> tuple[list[Any], dict[int, str]]:
    """The values as the model makes them; and what is wrong with which."""
    made: list[Any] = []
    wrong: dict[int, str] = {}
    # In parts, because each is a while in which no other thread runs.
    for start in range(0, len(values), BLOCK):
        try:
            made += field.validate(values[start : start + BLOCK])
        except ValidationError as error:
            for problem in error.errors(include_url=False, include_context=False):
                at = start + cast("int", problem["loc"][0])
                wrong.setdefault(at, problem["msg"].removeprefix("Value error, "))
    return made, wrong


def _coded(values: list[Any]) -> tuple[NDArray[Any], list[Any]]:
    """Values as numbers of distinct ones; None is -1."""
    numbers: dict[Any, int] = {}
    codes = [-1 if value is None else numbers.setdefault(value, len(numbers)) for value in values]
    return np.array(codes, np.int64), list(numbers)


def _as_words(type_: SqlType, codes: NDArray[Any], words: list[Any]) -> ColumnValues:
    """Codes and what they stand for, as the type keeps its values."""
    missing = codes < 0
    valid = ~missing if missing.any() else None
    if not words:
        return _nothing(type_, len(codes))
    codes = np.where(missing, 0, codes)
    if type_ not in NUMPY_TYPES:
        return ColumnValues(type_, codes, valid, words)
    if type_ == "timestamptz":
        words = [(word - EPOCH) // MICROSECOND for word in words]
    elif type_ == "date":
        words = [(word - DAY).days for word in words]
    return ColumnValues(type_, np.array(words, NUMPY_TYPES[type_])[codes], valid)


def _and_more(rows: int) -> str:
    return f"; {rows} rows in all" if rows > 1 else ""


def whole(kind: Kind, rows: Any, mapping: Mapping_ = PLAIN) -> Iterator[Frame]:
    """A frame in memory as one batch."""
    with _readable():
        table = pa.table(rows)
    table = mapping.table(kind, table)
    if table.num_rows:
        yield Frame(kind, table)
    else:
        Frame(kind, table)


def chunks(kind: Kind, rows: Any, size: int, mapping: Mapping_ = PLAIN) -> Iterator[Frame]:
    """A stream of record batches as batches of `size` rows."""
    first = 0
    with _readable():
        reader = pa.RecordBatchReader.from_stream(rows)
    with reader:
        for table in regrouped(reader, reader.schema, size):
            frame = Frame(kind, mapping.table(kind, table), first)
            if len(frame):
                yield frame
            first += len(frame)


@contextlib.contextmanager
def _readable() -> Iterator[None]:
    """Raise InvalidRow where a frame cannot be had as Arrow's columns."""
    try:
        yield
    except (pa.ArrowException, ValueError, TypeError, NotImplementedError) as error:
        raise InvalidRow(f"the frame cannot be read: {error}") from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        # polars ends so where it has no Arrow type for a column.
        raise InvalidRow(f"the frame cannot be read: {error}") from error


def regrouped(batches: Iterable[Any], schema: Any, rows: int) -> Iterator[Any]:
    """Record batches of any size as tables of so many rows; one without rows if there is none, for its schema."""
    held: list[Any] = []
    count = 0
    empty = True
    for batch in batches:
        while batch.num_rows:
            part = batch.slice(0, rows - count)
            batch = batch.slice(part.num_rows)
            held.append(part)
            count += part.num_rows
            if count == rows:
                yield pa.Table.from_batches(held)
                held, count, empty = [], 0, False
    if held or empty:
        yield pa.Table.from_batches(held, schema)
