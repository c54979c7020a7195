"""Check Arrow columns by the rules of the row model, and convert them for the table."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from typing import Annotated, Any, Final, cast
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from mds_client.columns.narrow import BLOCK, DAY, EPOCH, MICROSECOND, NUMPY_TYPES, ColumnValues
from mds_client.errors import InvalidRow
from mds_client.layout import numbers_text
from mds_client.mapping import map_texts
from mds_client.schema import TENANT_COLUMN, Kind, SqlType
from mds_client.values.fields import is_uuid, own_id
from mds_client.values.spelling import Spelled, as_given
from mds_client.values.times import PER_SECOND

FIRST_TIME: Final = (datetime.min.replace(tzinfo=UTC) - EPOCH) // MICROSECOND
LAST_TIME: Final = (datetime.max.replace(tzinfo=UTC) - EPOCH) // MICROSECOND


@dataclass(frozen=True)
class Field:
    """A field of a kind's model: the validator for a list of values, and whether it can be missing or NULL."""

    name: str
    type: SqlType
    required: bool
    nullable: bool
    validate: Callable[[list[Any]], list[Any]] = field(repr=False)


@cache
def fields_of(kind: Kind) -> dict[str, Field]:
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
        fields[name] = Field(name, type_, info.is_required(), nullable, validate)
    return fields


def own_ids(table: "pa.Table", name: str, otherwise: str, first: int) -> "pa.Table":
    """Move ids that are not uuids to the `otherwise` column, as text. Given values of that column stay."""
    column = plain(table.column(name))
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
    given = plain(table.column(otherwise)).cast(pa.string())
    at = table.column_names.index(otherwise)
    return table.set_column(at, otherwise, pc.coalesce(given, pa.array(own, pa.string())))


def checked(field: Field, column: "pa.ChunkedArray", first: int) -> ColumnValues:
    column = plain(column)
    if column.null_count and not field.nullable and field.required:
        at = pc.index(column.is_null(), value=True).as_py()
        raise InvalidRow(
            f"row {first + at}: {field.name}: a value is needed" + and_more(column.null_count), index=first + at
        )
    fast = _fast(field, column)
    if fast is not None:
        return fast
    return _through_model(field, column, first)


_KNOWN: Final = ("arrow.uuid", "arrow.json", "pandas.period")


def check_extension(field: "pa.Field") -> None:
    """Raise InvalidRow for an unknown extension type, whose stored values can differ from their meaning."""
    name = field.type.extension_name if isinstance(field.type, pa.BaseExtensionType) else None
    if name is None and field.metadata:
        name = field.metadata.get(b"ARROW:extension:name", b"").decode() or None
        if name == "pandas.period":
            raise InvalidRow(f"{field.name}: a pandas Period cannot be read without pandas: convert it to timestamps")
    if name is not None and name not in _KNOWN:
        raise InvalidRow(f"{field.name}: values of the extension type {name} cannot be read: convert the column")


def plain(column: "pa.ChunkedArray") -> "pa.ChunkedArray":
    """Decode encodings and extension types of a column, except dictionaries of text."""
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


def _fast(field: Field, column: "pa.ChunkedArray") -> ColumnValues | None:
    """Convert a column of numbers, or return None if the model must check every value.

    The model only limits the range of numbers, so the smallest and the largest are checked for all.
    """
    kind, types = column.type, pa.types
    if types.is_null(kind):
        return nothing(field.type, len(column))
    valid = None if not column.null_count else column.is_valid().to_numpy()
    if column.null_count == len(column):
        return nothing(field.type, len(column))
    made: NDArray[Any] | None = None
    if field.type == "timestamptz" and types.is_timestamp(kind):
        made = _microseconds(column)
    elif field.type == "timestamptz" and (types.is_string(kind) or types.is_large_string(kind)):
        made = _iso_times(column)
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
    # The limit is beyond the years 1 to 9999, and small enough to be multiplied.
    if not len(values) or abs(int(values.min())) > 3e11 * per_second or abs(int(values.max())) > 3e11 * per_second:
        return None
    # Truncate to microseconds, as for text.
    made = values * (1_000_000 // per_second) if per_second <= 1_000_000 else values // (per_second // 1_000_000)
    return made if int(made.min()) >= FIRST_TIME and int(made.max()) <= LAST_TIME else None


def _iso_times(column: "pa.ChunkedArray") -> NDArray[Any] | None:
    """Convert texts to microseconds if all are ISO 8601 as PyArrow reads it: a part of what the model reads.

    None if some have a zone and others do not, too.
    """
    for zone in ("UTC", None):
        with contextlib.suppress(pa.ArrowInvalid):
            return _microseconds(column.cast(pa.timestamp("us", zone)))
    return None


def _number(type_: SqlType, values: NDArray[Any]) -> NDArray[Any] | None:
    if type_ == "double precision":
        if values.dtype.kind in "iu" and len(values) and values.max() > 2**53:
            # A float cannot represent every such number, so the model checks each.
            return None
        made = values.astype(np.float64, copy=False)
        return made if np.isfinite(made).all() else None
    if values.dtype.kind == "f":
        whole = np.isfinite(values).all() and (values == np.rint(values)).all() and (np.abs(values) < 2.0**63).all()
        return values.astype(np.int64) if whole else None
    return values.astype(np.int64) if values.dtype != np.uint64 or values.max() < 1 << 63 else None


def nothing(type_: SqlType, size: int) -> ColumnValues:
    words: list[Any] | None = None if type_ in NUMPY_TYPES else []
    return ColumnValues(type_, np.zeros(size, NUMPY_TYPES.get(type_, "i8")), np.zeros(size, np.bool_), words)


def _through_model(field: Field, column: "pa.ChunkedArray", first: int) -> ColumnValues:
    """Convert a column with the model, which sees each distinct value once."""
    if field.type == "jsonb":
        column = map_texts(column)
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
    # A slice of a table still has the whole dictionary, so use only the values that occur.
    used = np.flatnonzero(np.bincount(codes[codes >= 0], minlength=len(given)))
    made, wrong = _validated(field, [given[at] for at in used.tolist()])
    if wrong:
        bad = np.zeros(len(given) + 1, np.bool_)
        bad[used[list(wrong)]] = True
        rows = np.flatnonzero(bad[codes])
        at = int(rows[0])
        message = wrong[int(np.searchsorted(used, codes[at]))]
        raise InvalidRow(
            f"row {first + at}: {field.name}: {message} (got {str(given[codes[at]])[:60]!r})" + and_more(len(rows)),
            index=first + at,
        )

    def column_of(values: list[Any]) -> ColumnValues:
        # Different inputs can be converted to the same value.
        made_codes, words = coded(values)
        back = np.full(len(given) + 1, -1, np.int64)
        back[used] = made_codes
        return as_words(field.type, back[codes], words)

    if field.type == "jsonb":
        made = [None if value is None else numbers_text(value) for value in made]
    if not any(type(value) is Spelled for value in made):
        return column_of(made)
    plain = [str(value) if type(value) is Spelled else value for value in made]
    return replace(column_of(plain), given=column_of(list(map(as_given, made))))


def _validated(field: Field, values: list[Any]) -> tuple[list[Any], dict[int, str]]:
    """Convert values with the model. Also returns the errors by position."""
    made: list[Any] = []
    wrong: dict[int, str] = {}
    # Validate in parts, because no other thread runs during each.
    for start in range(0, len(values), BLOCK):
        try:
            made += field.validate(values[start : start + BLOCK])
        except ValidationError as error:
            for problem in error.errors(include_url=False, include_context=False):
                at = start + cast("int", problem["loc"][0])
                name = "".join(f"{part}: " for part in problem["loc"][1:])
                wrong.setdefault(at, name + problem["msg"].removeprefix("Value error, "))
    return made, wrong


def coded(values: list[Any]) -> tuple[NDArray[Any], list[Any]]:
    """Encode values as numbers of distinct values; None is -1."""
    numbers: dict[Any, int] = {}
    codes = [-1 if value is None else numbers.setdefault(value, len(numbers)) for value in values]
    return np.array(codes, np.int64), list(numbers)


def as_words(type_: SqlType, codes: NDArray[Any], words: list[Any]) -> ColumnValues:
    """Convert codes and their values to the representation of the type."""
    missing = codes < 0
    valid = ~missing if missing.any() else None
    if not words:
        return nothing(type_, len(codes))
    codes = np.where(missing, 0, codes)
    if type_ not in NUMPY_TYPES:
        return ColumnValues(type_, codes, valid, words)
    if type_ == "timestamptz":
        words = [(word - EPOCH) // MICROSECOND for word in words]
    elif type_ == "date":
        words = [(word - DAY).days for word in words]
    return ColumnValues(type_, np.array(words, NUMPY_TYPES[type_])[codes], valid)


def and_more(rows: int) -> str:
    return f"; {rows} rows in all" if rows > 1 else ""
