"""The column mapping: which column of a file, or which key of a record, is which field of a kind.

The same mapping reads records (JSON objects and lists) and tables (CSV, Parquet, Arrow).
"""

import codecs
from collections.abc import Mapping as AnyMapping
from datetime import date, datetime, timedelta
from typing import Any, Final, Literal, Self, TypeAlias, cast, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from mds_client import times
from mds_client.errors import ConfigurationError, InvalidRow, reason
from mds_client.models import Row
from mds_client.schema import Kind
from mds_client.times import PER_SECOND, UNIX

TimeUnit: TypeAlias = Literal["iso", "s", "ms", "us", "ns"]
"""How a time is written: ISO 8601 text, or a count of these units since 1970-01-01 (UTC)."""

Extra: TypeAlias = Literal["error", "ignore"]
"""What to do with columns that belong to no field."""


class Mapping(BaseModel):
    """Which column is which field.

    Attributes:
        columns: The column of a field whose column has another name: a name, or a position (from 0) in a list.
        constants: The value of a field where the row has none.
        time_unit: How the kind's time is written.
        time_zone: The zone of times that do not name one, such as `America/New_York`. The default is UTC.
        null_values: Texts that mean "no value", as they are written.
        decimal: What stands before the fraction of a number that is written as text.
        thousands: What stands between the thousands of such a number; empty if nothing does.
        skip: Fields that are not read, even if there is a column of that name.
        delimiter: What stands between the values of a CSV file.
        header: The names of the columns of a CSV file whose first line is a row.
        encoding: The encoding of a text file. The default is UTF-8, or UTF-16 where the file begins with its mark.
        extra: What to do with columns that belong to no field: `error` rejects the row, `ignore` leaves them out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    columns: dict[str, str | int] = {}
    constants: dict[str, str] = {}
    time_unit: TimeUnit = "iso"
    time_zone: str | None = None
    null_values: frozenset[str] = frozenset()
    decimal: Literal[".", ","] = "."
    thousands: Literal["", ",", ".", " ", "'"] = ""
    skip: frozenset[str] = frozenset()
    delimiter: str = Field(default=",", min_length=1, max_length=1)
    header: tuple[str, ...] = ()
    encoding: str | None = None
    extra: Extra = "error"

    @field_validator("encoding")
    @classmethod
    def _is_known(cls, encoding: str | None) -> str | None:
        try:
            return None if encoding is None else codecs.lookup(encoding).name
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
        if self.time_zone is not None and self.time_unit != "iso":
            raise ValueError("a count since 1970 has no time zone")
        return self

    @property
    def has_plain_names(self) -> bool:
        """Whether every column has the name of its field, and values are written as the models take them."""
        return self.model_copy(update={"extra": "error"}) == PLAIN

    def fields(self, kind: Kind) -> list[str]:
        """The fields of a kind that are read."""
        return [name for name in kind.model.model_fields if name not in self.skip]

    def check(self, kind: Kind) -> None:
        """Raise ValueError if the mapping names a field that the kind does not have."""
        known = self.fields(kind)
        if unknown := {*self.columns, *self.constants} - set(known):
            raise ValueError(
                f"{', '.join(sorted(unknown))}: no field of a {kind.singular}; there are: {', '.join(known)}"
            )

    def row(self, kind: Kind, record: Any) -> Row:
        """Read one record.

        Args:
            kind: The kind of row that is wanted.
            record: A JSON object or list, or a row of a table as a mapping.

        Raises:
            InvalidRow: The record is not a row of this kind; the message says which field is wrong and why.
        """
        try:
            return cast("Row", kind.model.model_validate(self._values(kind, record)))
        except ValidationError as error:
            raise InvalidRow(reason(error)) from error
        except RecursionError:
            raise InvalidRow("it is nested too deep") from None

    def values(self, kind: Kind, record: Any, index: int) -> dict[str, Any]:
        """The fields of one record, which are not checked yet. Raises InvalidRow, with the index."""
        try:
            return self._values(kind, record)
        except InvalidRow as error:
            raise InvalidRow(f"row {index}: {error}", index=index) from error

    def _values(self, kind: Kind, record: Any) -> dict[str, Any]:
        values: dict[str, Any] = dict(self.constants)
        read: set[Any] = set()
        for name in self.fields(kind):
            at = self.columns.get(name, name)
            read.add(at)
            value = _value(record, at)
            if value is not None and not self._is_null(value):
                values[name] = self._plain_number(value) if isinstance(value, str) and _is_number(kind, name) else value
        if self.extra == "error" and isinstance(record, AnyMapping) and (unknown := record.keys() - read):
            names = ", ".join(sorted(map(str, unknown)))
            raise InvalidRow(f"{names}: {kind.name} have no such field; extra='ignore' leaves it out")
        if self.time_unit != "iso" and kind.time in values:
            values[kind.time] = _instant(kind.time, values[kind.time], self.time_unit)
        if self.time_zone is not None and kind.time in values:
            values[kind.time] = _local(kind.time, values[kind.time], self.time_zone)
        return values

    def _plain_number(self, text: str) -> str:
        if self.thousands:
            text = text.replace(self.thousands, "")
        return text.replace(",", ".") if self.decimal == "," else text

    def _is_null(self, value: Any) -> bool:
        return bool(self.null_values) and isinstance(value, str | int | float) and str(value) in self.null_values

    def table(self, kind: Kind, table: Any) -> Any:
        """A PyArrow table with the fields of a kind as its columns.

        Raises:
            InvalidRow: A column comes twice, or the times are not counts of the unit; without an index the whole table
                is meant, with one only some of its rows.
        """
        if self == PLAIN:
            return table
        import pyarrow as pa

        names: list[str] = table.column_names
        made: dict[str, Any] = {}
        read: set[int] = set()
        for name in self.fields(kind):
            at = self._place(name, names)
            if at is not None:
                read.add(at)
                made[name] = self._column(kind, name, table.column(at))
            elif name in self.constants:
                made[name] = pa.repeat(pa.scalar(self.constants[name]), table.num_rows)
        if self.time_unit != "iso" and kind.time in made:
            made[kind.time] = _instants(kind.time, made[kind.time], self.time_unit)
        if self.time_zone is not None and kind.time in made:
            made[kind.time] = _locals(kind.time, made[kind.time], self.time_zone)
        if self.extra == "error":
            # They belong to no field: whoever checks the columns says so.
            for at in sorted(set(range(len(names))) - read):
                if names[at] in made:
                    raise InvalidRow(f"the column {names[at]!r} is not read: its field is read from another column")
                made[names[at]] = table.column(at)
        return pa.table(made)

    def _place(self, name: str, names: list[str]) -> int | None:
        at = self.columns.get(name, name)
        if isinstance(at, int):
            return at % len(names) if -len(names) <= at < len(names) else None
        if names.count(at) > 1:
            raise InvalidRow(f"the column {at!r} comes twice")
        return names.index(at) if at in names else None

    def _column(self, kind: Kind, name: str, column: Any) -> Any:
        import pyarrow as pa
        import pyarrow.compute as pc

        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if name in self.constants and not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
            # A name, which a vendor may write as a number.
            column = column.cast(pa.string())
        if (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)) and self.null_values:
            nulls = pa.array(sorted(self.null_values), column.type)
            column = pc.if_else(pc.is_in(column, nulls), pa.scalar(None, column.type), column)
        elif self.null_values and (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
            numbers = pa.array(
                [number for text in self.null_values if (number := _number(text)) is not None], pa.float64()
            )
            column = pc.if_else(
                pc.is_in(column.cast(pa.float64(), safe=False), numbers), pa.scalar(None, column.type), column
            )
        if (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)) and _is_number(kind, name):
            if self.thousands:
                column = pc.replace_substring(column, self.thousands, "")
            if self.decimal == ",":
                column = pc.replace_substring(column, ",", ".")
        return column.fill_null(self.constants[name]) if name in self.constants and column.null_count else column


PLAIN: Final = Mapping()
"""Every column has the name of its field, and no other column is there."""


def extra_mapping(extra: Extra) -> Mapping:
    """The mapping that only says what to do with other columns. Raises ConfigurationError for an unknown word."""
    if extra not in get_args(Extra):
        raise ConfigurationError(f"extra is {' or '.join(get_args(Extra))}, not {extra!r}")
    return PLAIN if extra == "error" else _IGNORING


_IGNORING: Final = Mapping(extra="ignore")


def _value(record: Any, at: str | int) -> Any:
    if isinstance(record, AnyMapping):
        return record.get(at)
    if isinstance(record, list):
        return record[at] if isinstance(at, int) and -len(record) <= at < len(record) else None
    raise InvalidRow(f"an object or a list is needed, not {type(record).__name__}")


def _is_number(kind: Kind, name: str) -> bool:
    return name in kind.column_names and kind.column(name).type in ("double precision", "bigint")


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _instant(name: str, value: Any, unit: TimeUnit) -> datetime:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise InvalidRow(f"{name}: a count of {unit} is needed, not {value!r}")
    try:
        # Whole numbers as such: as a float a count of nanoseconds would lose its last digits.
        count = value if isinstance(value, float) else int(value)
        return UNIX + timedelta(microseconds=count * 1_000_000 // PER_SECOND[unit])
    except ValueError:
        raise InvalidRow(f"{name}: a count of {unit} is needed, not {value!r}") from None
    except OverflowError:
        raise InvalidRow(f"{name}: {value} {unit} since 1970 is no time between the years 1 and 9999") from None


def _local(name: str, value: Any, zone: str) -> Any:
    """A time without a zone as one of this zone; others stay."""
    try:
        value = times.parsed(value) if isinstance(value, str) else value
        if isinstance(value, date) and not isinstance(value, datetime):
            value = datetime(value.year, value.month, value.day)  # noqa: DTZ001 - gets its zone below
        return times.local(value, zone) if isinstance(value, datetime) and value.tzinfo is None else value
    except ValueError as error:
        raise InvalidRow(f"{name}: {error}") from None


def _locals(name: str, column: Any, zone: str) -> Any:
    """A column of times in that zone; InvalidRow, which sends the rows one by one, where one of them is not a time."""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        if pa.types.is_date(column.type):
            column = column.cast(pa.timestamp("us"))
        if pa.types.is_timestamp(column.type):
            return pc.assume_timezone(column, zone) if column.type.tz is None else column
        values = {value: _local(name, value, zone) for value in column.unique().to_pylist()}
        instants = {value: times.instant(found) for value, found in values.items() if found is not None}
    except (InvalidRow, ValueError) as error:
        # Also PyArrow's error about a time that a zone skips, or has twice.
        raise InvalidRow(f"{name}: {error}", index=0) from error
    return pa.chunked_array([pa.array(map(instants.get, column.to_pylist()), pa.timestamp("us", "UTC"))])


def _instants(name: str, column: Any, unit: TimeUnit) -> Any:
    """A column of counts as times; InvalidRow, which sends the rows one by one, where not all of them are counts."""
    import pyarrow as pa

    if pa.types.is_floating(column.type):
        raise InvalidRow(f"{name}: counts of {unit} are needed, not floating-point numbers", index=0)
    try:
        return column.cast(pa.int64()).cast(pa.timestamp(unit, "UTC"))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InvalidRow(f"{name}: counts of {unit} are needed: {error}", index=0) from error
