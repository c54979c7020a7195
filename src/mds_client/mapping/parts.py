"""The parts of a mapping, as users write them in TOML or Python, and how they are validated.

`mds_client.mapping.model` reads records and tables by them.
"""

import codecs
import re
from collections.abc import Iterable
from datetime import date
from functools import cached_property
from typing import Any, Final, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from mds_client.errors import InvalidRow
from mds_client.mapping.places import Place, pattern_of
from mds_client.mapping.times import Stamped, TimeUnit
from mds_client.mapping.wide import Level
from mds_client.values import times

Extra: TypeAlias = Literal["error", "ignore", "items"]
"""What to do with columns that do not belong to a field: refuse the rows, leave the columns out, or keep their numbers
as items if the kind has them."""

OPTIONS: Final = {
    "columns": "--map",
    "constants": "--set",
    "null_values": "--null-value",
}
"""The command-line options that are named differently from their part of the mapping."""


def option(name: str) -> str:
    """Return the command-line option for a part of the mapping."""
    return OPTIONS.get(name, f"--{name.replace('_', '-')}")


class MappingParts(BaseModel):
    """The parts of a mapping. A part that is not given has its default."""

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
        description="What to do with columns that belong to no field: error rejects the row, ignore leaves them out,"
        " items keeps their numbers as items of a kind that has them.",
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

    def but(self, **changes: Any) -> Self:
        """Return a copy with changes, which is validated again. None changes nothing, and dictionaries are merged.

        Raises:
            ValueError: The parts do not fit together.
        """
        given = {name: getattr(self, name) for name in self.model_fields_set}
        for name, value in changes.items():
            if value is not None:
                given[name] = {**given.get(name, {}), **value} if isinstance(value, dict) else value
        return type(self)(**given)

    def named(self, name: str) -> Self:
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
