"""Rows to write: checked batches, and narrow rows for the table.

Rows come as models or mappings (`Rows`), or in columns (`mds_client.columns.frames`). `mds_client.writing.upserts`
writes them.
"""

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sized
from datetime import datetime
from itertools import chain, islice
from operator import ge, is_, itemgetter
from typing import Any, Final, Protocol, TypeAlias, cast, runtime_checkable

from psycopg.types.json import Jsonb
from pydantic import ValidationError

from mds_client import sql
from mds_client.errors import ConfigurationError, InvalidRow, reason
from mds_client.mapping import PLAIN, more_choices
from mds_client.mapping import Mapping as ColumnMapping
from mds_client.models import DataQualityWarning, Row
from mds_client.protocol.operations import CopyIn, Latest, SeriesName, Values
from mds_client.schema import SYMBOLS, Kind, stored
from mds_client.values.apart import NOTHING_HELD, Held, key_of, stored_apart
from mds_client.values.quality import warn_of_empty, warn_of_replaced
from mds_client.values.spelling import Spelling, keeps_spelling

HEAVY_ROWS: Final = 1_000
"""The number of rows from which preparing them takes too long for an event loop."""


@runtime_checkable
class ArrowStream(Protocol):
    """Anything that supports the Arrow stream protocol."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...


Input: TypeAlias = Iterable[Row | Mapping[str, Any]] | ArrowStream


class Narrow(Protocol):
    """Narrow rows: series ids instead of names, each key once (the last one wins), sorted by key."""

    @property
    def latest(self) -> "Mapping[int, Latest]":
        """A summary of the batch for each series, by id, which updates the series' last values."""

    def rows(self) -> list[Values]:
        """Return the rows as tuples, in the order of `sql.stored_columns`."""

    def copied(self, statement: sql.Statement) -> CopyIn:
        """Return the step that copies the rows."""

    def in_table(self) -> "Narrow":
        """Return the rows with the columns of the table itself, where an amount has two columns."""


class Batch(Protocol):
    """Checked rows that are written in one transaction."""

    @property
    def names(self) -> Iterable[SeriesName]:
        """The distinct names of their series."""

    replaced: int | None
    """The number of rows that later rows with the same key and other values replace. None until `narrow` has counted
    them and warned; if it is set before, `narrow` neither counts nor warns."""

    def __len__(self) -> int: ...

    def claimed(self) -> Mapping[str, int]:
        """Return each tenant that rows name, with the position of the first such row in the input."""

    def spelled(self, spelling: Spelling) -> "Batch":
        """Return the batch with the symbols as they are stored. Must come before `names` and `narrow` are used."""

    def span(self) -> tuple[datetime, datetime]:
        """Return the oldest and the newest time of the rows, of which there is at least one."""

    def narrow(self, ids: Mapping[SeriesName, int], held: "Held" = NOTHING_HELD) -> Narrow:
        """Convert the rows to narrow rows. `ids` are the series' ids; `held` are the rows that are already stored under
        values that rows can share."""


def batches(kind: Kind, rows: Input, chunk_rows: int, mapping: ColumnMapping = PLAIN) -> Iterator[Batch]:
    """Yield rows as checked batches that are not empty: one if the input has a length, otherwise several.

    Raises:
        InvalidRow: A row is invalid, or the input is one row, or nothing that holds rows.
    """
    if hasattr(rows, "collect_schema") and callable(collect := getattr(rows, "collect", None)):
        # A polars LazyFrame.
        rows = cast("ArrowStream", collect())
    given: object = rows
    if isinstance(given, Row | Mapping | str | bytes) or not isinstance(given, Iterable | ArrowStream):
        model = kind.model.__name__
        said = f"several rows are needed, a list of {model} or a frame, not one {type(given).__name__}"
        raise InvalidRow(f"{said}: pass [row]" if isinstance(given, Row | Mapping) else said)
    if isinstance(rows, ArrowStream):
        from mds_client.columns import arrow, frames  # noqa: F401 - the packages they need are optional

        if isinstance(rows, Sized):
            yield from frames.whole(kind, rows, mapping)
        else:
            yield from frames.chunks(kind, rows, chunk_rows, mapping)
    elif isinstance(rows, Sized):
        if len(batch := batch_of(kind, rows, mapping=mapping)):
            yield batch
    else:
        first, rest = 0, iter(rows)
        while some := list(islice(rest, chunk_rows)):
            if len(batch := batch_of(kind, some, first, mapping)):
                yield batch
            first += len(some)


def batch_of(
    kind: Kind, rows: Iterable[Row | Mapping[str, Any]], first: int = 0, mapping: ColumnMapping = PLAIN
) -> Batch:
    """Check rows and return them as a batch. Raises InvalidRow with the position and the reason for an invalid row.

    `first` is the number of the first row in the input.
    """
    listed = rows if isinstance(rows, list) else list(rows)
    if mapping.is_wide:
        listed = [part for row in listed for part in _parts(kind, row, mapping)]
        mapping = mapping.narrowed()
    if mapping != PLAIN:
        listed = [
            mapping.values(kind, row, at) if isinstance(row, Mapping) and not isinstance(row, Row) else row
            for at, row in enumerate(listed, start=first)
        ]
    return _frame_of(kind, listed, first) or Rows(kind, listed, first)


def _parts(kind: Kind, row: Row | Mapping[str, Any], mapping: ColumnMapping) -> list[Any]:
    """Split a wide row into one for each of its symbols."""
    return mapping.parted(kind, row) if isinstance(row, Mapping) and not isinstance(row, Row) else [row]


def _frame_of(kind: Kind, rows: list[Row | Mapping[str, Any]], first: int) -> Batch | None:
    """Convert many rows to columns, or return None if they are not plain or packages are missing."""
    # Columns do not help for text that differs in every row.
    if len(rows) < HEAVY_ROWS or any(kind.column(name).type == "text" for name in kind.values):
        return None
    try:
        from mds_client.columns import arrow, frames, tables  # noqa: F401 - the packages they need are optional
    except ConfigurationError:
        return None
    table = tables.of_rows(kind, rows)
    if table is None:
        return None
    try:
        # Models have already warned about suspicious values when they were made.
        return frames.Frame(kind, table, first, look=isinstance(rows[0], Mapping))
    except InvalidRow:
        # Reading row by row gives the model's error message for the invalid row.
        return None


class Rows:
    """A batch of models or mappings. Raises InvalidRow with the position and the reason for an invalid row.

    `first` is the number of the first row in the input.
    """

    def __init__(self, kind: Kind, rows: Iterable[Row | Mapping[str, Any]], first: int = 0) -> None:
        self._kind = kind
        self._first = first
        self.replaced: int | None = None
        self._rows = _checked(kind, rows, first)
        name_of = itemgetter(*kind.series)
        # Reading a model's fields from its __dict__ is the fastest way.
        numbers: dict[Any, int] = {}
        self._series = [numbers.setdefault(name_of(vars(row)), len(numbers)) for row in self._rows]
        # As plain text, because the driver takes no list of several types.
        self.names: list[SeriesName] = [tuple(map(str, (name,) if len(kind.series) == 1 else name)) for name in numbers]

    def __len__(self) -> int:
        return len(self._rows)

    def claimed(self) -> dict[str, int]:
        """Return each tenant that rows name, with the position of the first such row."""
        claimed: dict[str, int] = {}
        for tenant_id in {row.tenant_id for row in self._rows} - {None}:
            found = next(at for at, row in enumerate(self._rows) if row.tenant_id == tenant_id)
            claimed[cast("str", tenant_id)] = self._first + found
        return claimed

    def spelled(self, spelling: Spelling) -> "Rows":
        """Return the batch with the symbols as they are stored."""
        kind = self._kind
        if not any(keeps_spelling([vars(row)[name] for row in self._rows]) for name in kind.symbols):
            return self
        rows = [spelled_row(kind, row, spelling) for row in self._rows]
        if all(map(is_, rows, self._rows)):
            return self
        made = Rows(kind, rows, self._first)
        # Rows that had the same key in another spelling may be two in this one.
        made.replaced = 0 if self.replaced == 0 else None
        return made

    def span(self) -> tuple[datetime, datetime]:
        """Return the oldest and the newest time of the rows."""
        times = [getattr(row, self._kind.time) for row in self._rows]
        return min(times), max(times)

    def narrow(self, ids: Mapping[SeriesName, int], held: Held = NOTHING_HELD) -> "NarrowRows":
        """Convert the rows to narrow rows."""
        kind = self._kind
        values_of = itemgetter(*kind.column_names)
        converted = [
            (at, column)
            for at, column in enumerate(kind.columns, start=1)
            if column.type in ("uuid", "jsonb") or column.name in SYMBOLS
        ]
        # Sort each series separately, because no other thread runs during a sort.
        by_series: dict[int, list[Values]] = {id_: [] for id_ in sorted(ids.values())}
        of_number = [ids[name] for name in self.names]
        for number, row in zip(self._series, self._rows, strict=True):
            narrow = (of_number[number], *values_of(vars(row)))
            for at, column in converted:
                if narrow[at] is not None:
                    narrow = (*narrow[:at], stored(narrow[at], column), *narrow[at + 1 :])
            by_series[narrow[0]].append(narrow)
        told_by = key_of(kind)
        replaced: list[Values] = []
        for series_id, rows in by_series.items():
            keys = [told_by(row) for row in rows]
            if any(map(ge, keys, keys[1:])):
                by_key: dict[Any, Values] = {}
                for key, narrow in zip(keys, rows, strict=True):
                    before = by_key.get(key)
                    if before is not None and before != narrow and not self._is_empty(before):
                        if self._is_empty(narrow):
                            continue
                        replaced.append(before)
                    by_key[key] = narrow
                by_series[series_id] = [by_key[key] for key in sorted(by_key)]
        if kind.shared is not None:
            by_series = {series_id: stored_apart(kind, rows, held) for series_id, rows in by_series.items()}
        if self.replaced is None:
            self.replaced = len(replaced)
            self._say(replaced)
        return NarrowRows(kind, by_series)

    def _is_empty(self, row: Values) -> bool:
        """Whether a narrow row has no value beside its key."""
        measured = self._kind.measured
        return bool(measured) and all(row[1 + self._kind.column_names.index(name)] is None for name in measured)

    def _say(self, replaced: list[Values]) -> None:
        """Warn about rows without values, and about rows that later ones with other values replace."""
        kind = self._kind
        if kind.measured:
            nothing = (None,) * len(kind.measured)
            measured_of = itemgetter(*kind.measured) if len(kind.measured) > 1 else lambda row: (row[kind.measured[0]],)
            empty = [at for at, row in enumerate(self._rows) if measured_of(vars(row)) == nothing]
            if empty:
                warn_of_empty(kind, len(empty), self._first + empty[0])
        if replaced:
            wanted = set(map(itemgetter(*range(1, 1 + len(kind.column_names))), replaced))
            values_of = itemgetter(*kind.column_names)
            for at, row in enumerate(self._rows):
                found = tuple(
                    stored(value, column) for value, column in zip(values_of(vars(row)), kind.columns, strict=True)
                )
                if found in wanted:
                    warn_of_replaced(kind, len(replaced), self._first + at, vars(row))
                    return


class NarrowRows:
    """Narrow rows in the form of tuples."""

    def __init__(self, kind: Kind, by_series: dict[int, list[Values]]) -> None:
        self._kind = kind
        self._rows = list(chain.from_iterable(by_series.values()))
        time_at = 1 + kind.column_names.index(kind.time)
        price_at = None if kind.price is None else 1 + kind.column_names.index(kind.price)
        self.latest = {series_id: _latest(rows, time_at, price_at) for series_id, rows in by_series.items()}

    def rows(self) -> list[Values]:
        """Return the rows."""
        return self._rows

    def copied(self, statement: sql.Statement) -> CopyIn:
        """Return the step that copies the rows."""
        types = tuple(column.type for column in sql.stored_columns(self._kind))
        return CopyIn(statement, types, self._rows)

    def in_table(self) -> "TableRows":
        """Return the rows with the columns of the table itself, where an amount has two columns."""
        return TableRows(self._kind, self._rows, self.latest)


class TableRows:
    """Narrow rows with the columns of the table itself, where an amount has two columns."""

    def __init__(self, kind: Kind, rows: list[Values], latest: Mapping[int, Latest]) -> None:
        self._kind = kind
        places = [1 + kind.column_names.index(amount.name) for amount in kind.amounts]
        narrow = tuple(column.name for column in sql.stored_columns(kind))
        parted = (*narrow, *(amount.fraction for amount in kind.amounts))
        in_order = itemgetter(*(parted.index(name) for name in sql.table_columns(kind)))
        self._rows = [in_order(_parted(row, places)) for row in rows]
        for at in (sql.table_columns(kind).index(name) for name in kind.maps):
            self._rows = [(*row[:at], _json(row[at]), *row[at + 1 :]) for row in self._rows]
        self.latest = latest

    def rows(self) -> list[Values]:
        """Return the rows."""
        return self._rows

    def copied(self, statement: sql.Statement) -> CopyIn:
        """Return the step that copies the rows."""
        return CopyIn(statement, ("bigint", *(column.type for column in self._kind.in_table)), self._rows)

    def in_table(self) -> "TableRows":
        """Return the rows unchanged."""
        return self


def _json(text: str | None) -> Jsonb | None:
    return None if text is None else Jsonb(text, dumps=str)


def _parted(row: Values, places: list[int]) -> Values:
    """Split the amounts of a row: whole parts stay in place, and fractions are appended."""
    parts = list(row)
    for at in places:
        whole = None if row[at] is None else int(row[at])
        parts[at] = whole
        parts.append(None if whole is None or whole == row[at] else row[at] - whole)
    return tuple(parts)


def spelled_row(kind: Kind, row: Row, spelling: Spelling) -> Row:
    """Return a row with its symbols as they are stored."""
    values = vars(row)
    changed = {}
    for name in kind.symbols:
        symbol = values[name]
        if symbol is not None and (stored := spelling.stored(row.vendor, symbol)) != symbol:
            changed[name] = stored
    return row.spelled(changed) if changed else row


def _checked(kind: Kind, rows: Iterable[Row | Mapping[str, Any]], first: int) -> list[Row]:
    """Convert every row to an instance of the kind's model. Rows that are None are skipped with a warning."""
    missing: list[int] = []
    checked: list[Row] = []
    model = cast("type[Row]", kind.model)
    validate = model.model_validate
    for index, row in enumerate(rows, start=first):
        if isinstance(row, model):
            checked.append(row)
        elif isinstance(row, Mapping):
            try:
                checked.append(validate(row))
            except ValidationError as error:
                said = reason(error, more_choices(kind))
                raise InvalidRow(f"row {index}: {said}", index=index) from error
        elif row is None:
            missing.append(index)
        else:
            raise InvalidRow(
                f"row {index}: a {kind.model.__name__} or a mapping is needed, not {type(row).__name__}", index=index
            )
    if missing:
        said = f"rows that are None were skipped: {len(missing)}, the first is row {missing[0]}"
        warnings.warn(said, DataQualityWarning, stacklevel=2)
    return checked


def _latest(rows: list[Values], time_at: int, price_at: int | None) -> Latest:
    """Summarize the rows of one series, which are sorted by time."""
    first_ts, last_ts = rows[0][time_at], rows[-1][time_at]
    if price_at is None:
        return Latest(first_ts, last_ts, None, None, has_unpriced=True)
    has_unpriced = any(row[price_at] is None for row in rows)
    for row in reversed(rows):
        if row[price_at] is not None:
            return Latest(first_ts, last_ts, row[time_at], row[price_at], has_unpriced)
    return Latest(first_ts, last_ts, None, None, has_unpriced)
