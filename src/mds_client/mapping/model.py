"""The column mapping: maps the columns of a file, or the keys of a record, to the fields of a kind.

The same mapping reads records (JSON objects and lists) and tables (CSV, Parquet, Arrow).
"""

import codecs
import re
from collections.abc import Container, Iterable, Sequence
from collections.abc import Mapping as AnyMapping
from datetime import date
from functools import cached_property, partial
from typing import Any, Final, Literal, Self, TypeAlias, cast, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from mds_client.errors import ConfigurationError, InvalidRow, reason
from mds_client.mapping import columns as mapped_columns
from mds_client.mapping.columns import number, scaled
from mds_client.mapping.places import Place, one_of, pattern_of, several, together, value_at
from mds_client.mapping.times import Stamped, Times, TimeUnit
from mds_client.mapping.wide import SYMBOL, Level, groups, long
from mds_client.models import Row
from mds_client.schema import Kind
from mds_client.values import times

Extra: TypeAlias = Literal["error", "ignore"]
"""What to do with columns that do not belong to a field."""

OPTIONS: Final = {
    "columns": "--map",
    "constants": "--set",
    "null_values": "--null-value",
}
"""The command-line options that are named differently from their part of the mapping."""


def option(name: str) -> str:
    """Return the command-line option for a part of the mapping."""
    return OPTIONS.get(name, f"--{name.replace('_', '-')}")


class Mapping(BaseModel):
    """Maps columns to fields, and describes how the values are written.

    Write it in TOML with the same names, or create it in Python. A pattern is a regular expression between slashes,
    such as `/adj.?close/`, which must match the whole name; case is ignored.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    columns: dict[str, Place | tuple[Place, ...]] = Field(
        default={},
        description="The column of a field: a name, a pattern between slashes, or a position from 0. Several columns"
        " are joined with a blank, such as a date and a time.",
    )
    constants: dict[str, str] = Field(default={}, description="The value of a field where a row has none.")
    file_name: str | None = Field(
        default=None,
        description="A regular expression that the file's name matches. Its named groups are values of fields, such as"
        " `(?P<symbol>.+)_1min[.]csv`; the group `day` is the day from whose midnight times count.",
    )
    spelling: dict[str, dict[str, str]] = Field(
        default={},
        description="How the vendor writes a name of the series: patterns that match the whole text, and what they"
        " mean, such as `timeframe = {D1 = '1d'}`.",
    )
    time_unit: TimeUnit = Field(
        default="iso", description="What numbers in the time column count since 1970; iso: times are text."
    )
    time_format: str | None = Field(
        default=None, description="How a time is written as text, if not in ISO 8601: a format such as %d.%m.%Y %H:%M."
    )
    time_zone: str | None = Field(
        default=None, description="The zone of times that do not name one, such as America/New_York. None is UTC."
    )
    needs_zone: bool = Field(default=False, description="Reject a time that does not name its zone.")
    stamped: Stamped = Field(default="begin", description="Which end of its interval the time of a row names.")
    day: date | None = Field(default=None, description="The day from whose midnight times count, not 1970.")
    null_values: frozenset[str] = Field(default=frozenset(), description="Texts and numbers that mean no value.")
    field_nulls: dict[str, frozenset[str]] = Field(
        default={}, description="Texts and numbers that mean no value in one field, such as -1 in the volume."
    )
    decimal: Literal[".", ","] = Field(default=".", description="What stands before the fraction of a number.")
    thousands: Literal["", ",", ".", " ", "'"] = Field(
        default="", description="What stands between the thousands of a number; empty if nothing does."
    )
    scale: dict[str, float] = Field(default={}, description="What the numbers of a field are multiplied with.")
    wide: str = Field(
        default="", description="The field that the values are of a table whose other columns have symbols as names."
    )
    levels: tuple[Level, ...] = Field(
        default=(), description="What the two levels of the columns' names are: field and symbol, in their order."
    )
    skip: frozenset[str] = Field(
        default=frozenset(), description="Fields that are not read, even if there is a column of that name."
    )
    delimiter: str = Field(default=",", min_length=1, max_length=1, description="What stands between values of a CSV.")
    quote: str = Field(
        default='"', min_length=1, max_length=1, description="What stands around quoted values of a CSV."
    )
    skip_lines: int = Field(default=0, ge=0, description="Lines of a CSV that stand above its header.")
    header_lines: int = Field(default=1, ge=1, le=3, description="Lines of a CSV that are its header.")
    header: tuple[str, ...] = Field(
        default=(), description="The names of the columns of a CSV whose first line is a row already."
    )
    encoding: str | None = Field(
        default=None, description="The encoding of a text file. None is UTF-8, or UTF-16 where it begins with its mark."
    )
    sheet: Place = Field(default=0, description="The sheet of a workbook: its name, or its position from 0.")
    rows: tuple[str, ...] = Field(
        default=(),
        description="Where the rows are in a JSON document: keys, patterns of keys between slashes, and {field} where"
        " every key is the value of that field.",
    )
    document: dict[str, tuple[str, ...]] = Field(
        default={}, description="Where a JSON document says what holds for all rows: the keys that lead to the value."
    )
    extra: Extra = Field(
        default="error",
        description="What to do with columns that belong to no field: error rejects the row, ignore leaves them out.",
    )

    @field_validator("encoding")
    @classmethod
    def _is_known(cls, encoding: str | None) -> str | None:
        if encoding is None:
            return None
        try:
            # Python also has codecs that are not for text, such as zip.
            "".encode(encoding)
            return codecs.lookup(encoding).name
        except LookupError:
            raise ValueError(f"there is no encoding {encoding!r}") from None

    @field_validator("time_zone")
    @classmethod
    def _is_there(cls, zone: str | None) -> str | None:
        if zone is not None:
            times.zone(zone)
        return zone

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.thousands == self.decimal:
            raise ValueError(f"{self.decimal!r} cannot stand both before fractions and between thousands")
        if self.time_unit != "iso" and self.day is None and "day" not in self.groups:
            if self.time_zone is not None:
                raise ValueError("a count since 1970 has no time zone")
            if self.time_format is not None:
                raise ValueError("a time is a count or text: time_unit and time_format do not go together")
        if self.levels and sorted(self.levels) != ["field", "symbol"]:
            raise ValueError("levels are field and symbol, each once")
        if self.levels and self.wide:
            raise ValueError("columns have a symbol as name (wide), or two levels of names (levels), not both")
        for text in self.patterns():
            try:
                re.compile(text)
            except re.error as error:
                raise ValueError(f"{text!r} is not a regular expression: {error}") from None
        return self

    def patterns(self) -> Iterable[str]:
        """Yield the regular expressions of the mapping."""
        if self.file_name is not None:
            yield self.file_name
        places = [at for given in self.columns.values() for at in (given if isinstance(given, tuple) else (given,))]
        keys = [key for path in (self.rows, *self.document.values()) for key in path]
        for place in (*places, *keys):
            if isinstance(place, str) and (pattern := pattern_of(place)) is not None:
                yield pattern
        for spellings in self.spelling.values():
            yield from spellings

    @cached_property
    def groups(self) -> frozenset[str]:
        """The named groups in the pattern of the file name."""
        return frozenset(re.findall(r"\(\?P<(\w+)>", self.file_name or ""))

    def but(self, **changes: Any) -> "Mapping":
        """Return a copy with changes, which is validated again. None changes nothing, and dictionaries are merged.

        Raises:
            ValueError: The parts do not fit together.
        """
        given = {name: getattr(self, name) for name in self.model_fields_set}
        for name, value in changes.items():
            if value is not None:
                given[name] = {**given.get(name, {}), **value} if isinstance(value, dict) else value
        return Mapping(**given)

    def named(self, name: str) -> "Mapping":
        """Return the mapping for a file of that name: values from the name become constants.

        Raises:
            InvalidRow: The name does not match the pattern, which contains the day of the rows.
        """
        if self.file_name is None:
            return self
        found = re.fullmatch(self.file_name, name, re.IGNORECASE)
        said = {} if found is None else {key: text for key, text in found.groupdict().items() if text}
        if found is None and "day" in self.groups and self.day is None:
            raise InvalidRow(
                f"the file's name {name!r}, which has the day of the rows, does not match {self.file_name!r}"
            )
        day = said.pop("day", None)
        constants = {**{key: self.spelled(key, text) for key, text in said.items()}, **self.constants}
        parsed = None if day is None else times.day(day)
        return self.but(constants=constants, day=parsed)

    def spelled(self, field: str, text: str) -> str:
        """Return a name of the series in the store's spelling."""
        for pattern, meant in self.spelling.get(field, {}).items():
            if (found := re.fullmatch(pattern, text)) is not None:
                return found.expand(meant)
        return text

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
        if self.is_wide or self.header or self.rows or self._has_to_look:
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
            raise InvalidRow(reason(error)) from error
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
        places = self.places(tuple(record)) if self._has_to_look and isinstance(record, AnyMapping) else None
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
            raise InvalidRow(f"{names}: {kind.name} have no such field; extra='ignore' leaves it out")
        if kind.time in values and not (how := self._times(kind)).are_plain:
            values[kind.time] = how.read(values[kind.time], values.get("timeframe"))
        return values

    def raw(self, name: str, record: Any) -> Any:
        """Return the raw value of a field in a record, or None if the record has none."""
        if self.header and isinstance(record, list):
            record = dict(zip(self.header, record, strict=False))
        if isinstance(record, AnyMapping):
            found = self.places(tuple(record)).get(name)
        else:
            found = several(self.columns.get(name, name))
        if found is None:
            return None
        return value_at(record, found[0]) if len(found) == 1 else together(record, found)

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
            if self.thousands:
                value = value.replace(self.thousands, "")
            value = value.replace(",", ".") if self.decimal == "," else value
        if name in self.scale:
            value = mapped_columns.fixed_point(value)
            count = number(value) if isinstance(value, str) else value
            value = scaled(count, self.scale[name]) if isinstance(count, int | float) else value
        return value

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
        return pa.table(made)

    def _at(self, name: str, names: Sequence[str]) -> tuple[int, ...] | None:
        """Return the positions of a field's columns, or None if one of them is missing."""
        found = []
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


def extra_mapping(extra: Extra) -> Mapping:
    """Return the plain mapping with this `extra`. Raises ConfigurationError if `extra` is invalid."""
    if extra not in get_args(Extra):
        raise ConfigurationError(f"extra is {' or '.join(get_args(Extra))}, not {extra!r}")
    return PLAIN if extra == "error" else _IGNORING


_IGNORING: Final = Mapping(extra="ignore")
