"""The column mapping: maps the columns of a file, or the keys of a record, to the fields of a kind.

The same mapping reads records (JSON objects and lists) and tables (CSV, Parquet, Arrow).
"""

from collections.abc import Container, Iterable, Iterator, Sequence
from collections.abc import Mapping as AnyMapping
from functools import cached_property, partial
from typing import Any, Final, cast, get_args

from pydantic import ValidationError

from mds_client.errors import ConfigurationError, InvalidRow, reason
from mds_client.mapping import columns as mapped_columns
from mds_client.mapping.columns import number, scaled
from mds_client.mapping.further import (
    figure,
    figures_of,
    is_index,
    items_column,
    more_choices,
    no_items,
    not_a_number,
    with_figures,
)
from mds_client.mapping.parts import Extra, MappingParts
from mds_client.mapping.places import one_of, pattern_of, several, together, value_at
from mds_client.mapping.times import Times
from mds_client.mapping.wide import SYMBOL, groups, long
from mds_client.models import Row
from mds_client.schema import Kind


class Mapping(MappingParts):
    """Maps columns to fields, and describes how the values are written.

    Write it in TOML with the same names, or create it in Python. A pattern is a regular expression between slashes,
    such as `/adj.?close/`, which must match the whole name; case is ignored.
    """

    def _times(self, kind: Kind) -> Times:
        return Times(
            kind.time, self.time_unit, self.time_format, self.time_zone, self.day, self.stamped, self.needs_zone
        )

    @property
    def has_plain_names(self) -> bool:
        """Whether every column has the name of its field, and the models can read the values directly."""
        return self.model_copy(update={"extra": "error"}) == PLAIN

    @property
    def only_renames(self) -> bool:
        """Whether the models can read the values directly, except empty text for a missing value."""
        names: dict[str, Any] = {
            "columns": {},
            "constants": {},
            "skip": frozenset(),
            "file_name": None,
            "extra": "error",
        }
        return self.null_values <= {""} and self.model_copy(update={**names, "null_values": frozenset()}) == PLAIN

    def json_texts(self, kind: Kind, texts: Container[str]) -> set[str] | None:
        """Return the keys whose values are texts in records of one JSON object a line.

        Args:
            kind: The kind of the rows.
            texts: The fields that JSON can only write as text.

        Returns:
            The keys, or None if records of this mapping must be read one by one: their keys are patterns or positions,
            or a record holds several rows.
        """
        if self.is_wide or self.header or self.rows or self._has_to_look or self.extra == "items":
            return None
        found = set[str]()
        for field in self.fields(kind):
            if field in texts and not (field == kind.time and (self.time_unit != "iso" or self.day is not None)):
                found.update(map(str, several(self.columns.get(field, field))))
        return found

    def fields(self, kind: Kind) -> list[str]:
        """Return the fields of a kind that are read."""
        return [name for name in kind.model.model_fields if name not in self.skip]

    def check(self, kind: Kind) -> None:
        """Raise ValueError if the mapping names a field that the kind does not have."""
        known = self.fields(kind)
        if unknown := {*self.columns, *self.constants, *self.scale, *self.field_nulls, *({self.wide} - {""})} - set(
            known
        ):
            raise ValueError(
                f"{', '.join(sorted(unknown))}: no field of a {kind.singular}; there are: {', '.join(known)}"
            )

        if self.extra == "items" and not kind.maps:
            raise ValueError(no_items(kind))

    def row(self, kind: Kind, record: Any) -> Row:
        """Read one record.

        Args:
            kind: The kind of the row.
            record: A JSON object or list, or a row of a table as a mapping.

        Raises:
            InvalidRow: The record is invalid for this kind; the message names the field and the reason.
        """
        try:
            return cast("Row", kind.model.model_validate(self._values(kind, record)))
        except ValidationError as error:
            raise InvalidRow(reason(error, more_choices(kind))) from error
        except RecursionError:
            raise InvalidRow("it is nested too deep") from None

    def values(self, kind: Kind, record: Any, index: int) -> dict[str, Any]:
        """Return the fields of one record, not validated yet. Raises InvalidRow with the index."""
        try:
            return self._values(kind, record)
        except InvalidRow as error:
            raise InvalidRow(f"row {index}: {error}", index=index) from error

    def _values(self, kind: Kind, record: Any) -> dict[str, Any]:
        values: dict[str, Any] = dict(self.constants)
        read: set[Any] = set()
        if self.header and isinstance(record, list):
            record = dict(zip(self.header, record, strict=False))
        places = self.places(tuple(record)) if self.columns and isinstance(record, AnyMapping) else None
        for name in self.fields(kind):
            if places is None:
                found = several(self.columns.get(name, name))
            elif name in places:
                found = places[name]
            else:
                continue
            read.update(found)
            value = value_at(record, found[0]) if len(found) == 1 else together(record, found)
            if value is not None and not self._is_null(name, value):
                values[name] = self._plain(kind, name, value)
        if self.extra == "error" and isinstance(record, AnyMapping) and (unknown := record.keys() - read):
            names = ", ".join(sorted(map(str, unknown)))
            raise InvalidRow(
                f"{names}: {kind.name} have no such field; extra='ignore' leaves it out{more_choices(kind)}"
            )
        if self.extra == "items" and isinstance(record, AnyMapping):
            figures = self._figures({name: record[name] for name in record if name not in read})
            values[kind.maps[0]] = with_figures(kind.maps[0], values.get(kind.maps[0]), figures)
        if kind.time in values and not (how := self._times(kind)).are_plain:
            values[kind.time] = how.read(values[kind.time], values.get("timeframe"))
        return values

    def _figures(self, record: AnyMapping[Any, Any]) -> dict[str, float]:
        """Return the numbers of further columns of a record. Raises InvalidRow if a value is not a number."""
        found = {}
        for name, value in record.items():
            if value is None or name in self.skip or self._is_null(name, value):
                continue
            made = figure(self._pointed(value) if isinstance(value, str) else value)
            if made is None:
                raise InvalidRow(not_a_number(str(name), value))
            found[str(name)] = made
        return found

    def raw(self, name: str, records: Iterable[Any]) -> Iterator[Any]:
        """Yield the raw value of a field in each record, or None if the record has none."""
        last: tuple[Any, ...] | None = None
        found: tuple[Any, ...] | None = None
        for record in records:
            if self.header and isinstance(record, list):
                record = dict(zip(self.header, record, strict=False))
            if not isinstance(record, dict):
                last, found = None, several(self.columns.get(name, name))
            elif (names := tuple(record)) != last:
                # Most records of an input have the same names.
                last, found = names, self.places(names).get(name)
            if found is None:
                yield None
            else:
                yield value_at(record, found[0]) if len(found) == 1 else together(record, found)

    def reads_maps(self, kind: Kind, names: Container[Any]) -> bool:
        """Whether one of these columns is read into a field with numbers by name."""
        return any(at in names for field in kind.maps for at in several(self.columns.get(field, field)))

    def columns_read(self, kind: Kind, names: tuple[str, ...]) -> set[Any]:
        """Return the columns among `names` that are read."""
        fields = self.fields(kind)
        return {at for field, its in self.places(names).items() if field in fields for at in its}

    @staticmethod
    def is_number(kind: Kind, name: str) -> bool:
        """Whether a field is a number."""
        return name in kind.column_names and kind.column(name).type in ("double precision", "bigint")

    @cached_property
    def _has_to_look(self) -> bool:
        """Whether a column is given by position or pattern, so that it depends on the names of the input."""
        return any(
            isinstance(at, int) or pattern_of(at) is not None
            for given in self.columns.values()
            for at in several(given)
        )

    @cached_property
    def _known(self) -> dict[tuple[Any, ...], dict[str, tuple[Any, ...]]]:
        return {}

    def places(self, names: tuple[Any, ...]) -> dict[str, tuple[Any, ...]]:
        """Return the columns of each field among these names. Raises InvalidRow if a pattern matches several."""
        found = self._known.get(names)
        if found is None:
            if len(self._known) > _MOST_SHAPES:
                self._known.clear()
            found = {}
            for field, given in {**{name: name for name in names if name not in self.columns}, **self.columns}.items():
                at = [one_of(place, names) for place in several(given)]
                if None not in at:
                    found[field] = tuple(at)
            self._known[names] = found
        return found

    def _plain(self, kind: Kind, name: str, value: Any) -> Any:
        if name in self.spelling:
            return self.spelled(name, str(value))
        if not self.is_number(kind, name):
            return value
        if isinstance(value, str):
            value = self._pointed(value)
        if name in self.scale:
            value = mapped_columns.fixed_point(value)
            count = number(value) if isinstance(value, str) else value
            value = scaled(count, self.scale[name]) if isinstance(count, int | float) else value
        return value

    def _pointed(self, text: str) -> str:
        """Return a number as text without separators of thousands, and with a decimal point."""
        if self.thousands:
            text = text.replace(self.thousands, "")
        return text.replace(",", ".") if self.decimal == "," else text

    def _is_null(self, name: str, value: Any) -> bool:
        if not self.null_values and name not in self.field_nulls:
            return False
        texts, numbers = self._nulls(name)
        if isinstance(value, str):
            return value in texts
        return isinstance(value, int | float) and value in numbers

    def _nulls(self, name: str) -> tuple[frozenset[str], frozenset[float]]:
        """Return the values that mean a missing value of a field, as texts and as numbers."""
        if name not in self._known_nulls:
            texts = self.null_values | self.field_nulls.get(name, frozenset())
            counts = frozenset(found for text in texts if (found := number(text)) is not None)
            self._known_nulls[name] = texts, counts
        return self._known_nulls[name]

    @cached_property
    def _known_nulls(self) -> dict[str, tuple[frozenset[str], frozenset[float]]]:
        return {}

    @property
    def is_wide(self) -> bool:
        """Whether a row of the input holds rows of several symbols."""
        return bool(self.wide or self.levels)

    def narrowed(self) -> "Mapping":
        """Return the mapping for the long table that `unfolded` makes of a wide one."""
        return self.model_copy(update={"wide": "", "levels": ()})

    def unfolded(self, kind: Kind, table: Any) -> tuple[Any, Any]:
        """Convert a wide table to a long one. Also returns, for each row, its row number in the wide table."""
        return long(table, self._of_all(kind, tuple(table.column_names)), self._wide_column, self.levels)

    def parted(self, kind: Kind, record: AnyMapping[str, Any]) -> list[dict[str, Any]]:
        """Split a wide record into one for each symbol that has a value. Raises InvalidRow if it has no symbol."""
        names = list(record)
        kept = self._of_all(kind, tuple(names))
        symbols = groups(names, kept, self._wide_column, self.levels)
        inner = {at for its in symbols.values() for at in its.values()}
        common = {name: record[name] for at, name in enumerate(names) if at not in inner}
        parts = [
            {**common, SYMBOL: symbol, **{column: record[names[at]] for column, at in its.items()}}
            for symbol, its in symbols.items()
        ]
        return [part for part in parts if any(part[name] is not None for name in symbols[part[SYMBOL]])]

    @property
    def _wide_column(self) -> str:
        given = self.columns.get(self.wide, self.wide)
        return given if isinstance(given, str) else self.wide

    def _of_all(self, kind: Kind, names: tuple[str, ...]) -> set[str]:
        """Return the columns of fields, which belong to all symbols."""
        fields = set(self.fields(kind)) - {self.wide}
        return {at for field, its in self.places(names).items() if field in fields for at in its}

    def table(self, kind: Kind, table: Any) -> Any:
        """Convert a PyArrow table to one with the fields of a kind as its columns.

        Raises:
            InvalidRow: A column is duplicated, or the times are not counts of the unit. Without an index, the error
                concerns the whole table; with one, only some of its rows.
        """
        if self == PLAIN:
            return table
        if self.is_wide:
            table, _ = self.unfolded(kind, table)
        import pyarrow as pa

        names: list[str] = table.column_names
        made: dict[str, Any] = {}
        read: set[int] = set()
        for name in self.fields(kind):
            if (its := self._at(name, names)) is not None:
                read.update(its)
                made[name] = self._column(kind, name, [table.column(one) for one in its])
            elif name in self.constants:
                made[name] = pa.repeat(pa.scalar(self.constants[name]), table.num_rows)
        if kind.time in made:
            made[kind.time] = self._times(kind).column(made[kind.time], made.get("timeframe"))
        if self.extra == "error":
            # Unknown columns are kept, so that the check of the columns reports them.
            for at in sorted(set(range(len(names))) - read):
                if names[at] in made:
                    raise InvalidRow(f"the column {names[at]!r} is not read: its field is read from another column")
                made[names[at]] = table.column(at)
        elif self.extra == "items":
            figures = self._further(table, read)
            if figures:
                field = kind.maps[0]
                made[field] = items_column(field, made.get(field), figures, table.num_rows)
        return pa.table(made)

    def _further(self, table: Any, read: set[int]) -> dict[str, list[float | None]]:
        """Return the numbers of the columns of a table that are not read. Raises InvalidRow if one is not numeric."""
        found: dict[str, list[float | None]] = {}
        for at, name in enumerate(table.column_names):
            if at in read or name in self.skip or is_index(name):
                continue
            if name in found:
                raise InvalidRow(f"the column {name!r} comes twice")
            column = mapped_columns.plain(table.column(at))
            if self.null_values:
                column = mapped_columns.without_nulls(column, self._nulls(name)[0])
            found[name] = figures_of(name, mapped_columns.numbers(column, self.thousands, self.decimal, None))
        return found

    def _at(self, name: str, names: Sequence[str]) -> tuple[int, ...] | None:
        """Return the positions of a field's columns, or None if one of them is missing."""
        found = []
        if name not in self.columns and name not in names:
            return None
        for place in several(self.columns.get(name, name)):
            if isinstance(place, int):
                if not -len(names) <= place < len(names):
                    return None
                found.append(place % len(names))
            elif (one := one_of(place, names)) is None:
                return None
            elif names.count(one) > 1:
                raise InvalidRow(f"the column {one!r} comes twice")
            else:
                found.append(names.index(one))
        return tuple(found)

    def _column(self, kind: Kind, name: str, parts: Sequence[Any]) -> Any:
        column = mapped_columns.joined([mapped_columns.plain(part) for part in parts])
        if self.null_values or name in self.field_nulls:
            column = mapped_columns.without_nulls(column, self._nulls(name)[0])
        if name in self.spelling or name in self.constants:
            spelled = partial(self.spelled, name) if name in self.spelling else None
            column = mapped_columns.names(column, spelled)
        if self.is_number(kind, name):
            column = mapped_columns.numbers(column, self.thousands, self.decimal, self.scale.get(name))
        return column.fill_null(self.constants[name]) if name in self.constants and column.null_count else column


_MOST_SHAPES: Final = 1_000
"""The number of different sets of names for which the columns of the fields are cached."""

PLAIN: Final = Mapping()
"""The default mapping: every column has the name of its field, and there are no other columns."""


def extra_mapping(extra: Extra, kind: Kind) -> Mapping:
    """Return the plain mapping with this `extra`. Raises ConfigurationError if `extra` is invalid for the kind."""
    if extra not in _PLAIN:
        raise ConfigurationError(f"extra is {' or '.join(get_args(Extra))}, not {extra!r}")
    found = _PLAIN[extra]
    try:
        found.check(kind)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
    return found


_PLAIN: Final[dict[Extra, Mapping]] = {
    "error": PLAIN,
    "ignore": Mapping(extra="ignore"),
    "items": Mapping(extra="items"),
}
