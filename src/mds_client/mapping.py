"""The column mapping: which column of a file, or which key of a record, is which field of a kind.

The same mapping reads records (JSON objects and lists) and tables (CSV, Parquet, Arrow).
"""

from collections.abc import Mapping as AnyMapping
from datetime import datetime, timedelta
from typing import Any, Final, Literal, TypeAlias, cast, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

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
        null_values: Texts that mean "no value", as they are written.
        skip: Fields that are not read, even if there is a column of that name.
        delimiter: What stands between the values of a CSV file.
        extra: What to do with columns that belong to no field: `error` rejects the row, `ignore` leaves them out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    columns: dict[str, str | int] = {}
    constants: dict[str, str] = {}
    time_unit: TimeUnit = "iso"
    null_values: frozenset[str] = frozenset()
    skip: frozenset[str] = frozenset()
    delimiter: str = Field(default=",", min_length=1, max_length=1)
    extra: Extra = "error"

    @property
    def has_plain_names(self) -> bool:
        """Whether every column has the name of its field, and values are written as the models take them."""
        return not (self.columns or self.constants or self.null_values or self.skip) and self.time_unit == "iso"

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
                values[name] = value
        if self.extra == "error" and isinstance(record, AnyMapping) and (unknown := record.keys() - read):
            names = ", ".join(sorted(map(str, unknown)))
            raise InvalidRow(f"{names}: {kind.name} have no such field; extra='ignore' leaves it out")
        if self.time_unit != "iso" and kind.time in values:
            values[kind.time] = _instant(kind.time, values[kind.time], self.time_unit)
        return values

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
                made[name] = self._column(name, table.column(at))
            elif name in self.constants:
                made[name] = pa.repeat(pa.scalar(self.constants[name]), table.num_rows)
        if self.time_unit != "iso" and kind.time in made:
            made[kind.time] = _instants(kind.time, made[kind.time], self.time_unit)
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

    def _column(self, name: str, column: Any) -> Any:
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


def _instants(name: str, column: Any, unit: TimeUnit) -> Any:
    """A column of counts as times; InvalidRow, which sends the rows one by one, where not all of them are counts."""
    import pyarrow as pa

    if pa.types.is_floating(column.type):
        raise InvalidRow(f"{name}: counts of {unit} are needed, not floating-point numbers", index=0)
    try:
        return column.cast(pa.int64()).cast(pa.timestamp(unit, "UTC"))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InvalidRow(f"{name}: counts of {unit} are needed: {error}", index=0) from error
