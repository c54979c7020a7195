"""Read the times of a file, given a unit, a format, a zone, and which end of an interval they name.

The same rules read one value of a record and a column of a table. The general syntax of times is in
`mds_client.values.times`.
"""

import re
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any, Final, Literal, TypeAlias

from mds_client.errors import InvalidRow
from mds_client.mapping.columns import is_text
from mds_client.values import timeframes, times
from mds_client.values.times import PER_SECOND, UNIX

TimeUnit: TypeAlias = Literal["iso", "s", "ms", "us", "ns"]
"""The format of a time: ISO 8601 text, or a count of these units since 1970-01-01 (UTC)."""

Stamped: TypeAlias = Literal["begin", "end"]
"""Which end of its interval the time of a row names."""

_ZONED: Final = r"[Tt ]\d\d[\d:.,]*\s*([Zz]|[-+]\d\d(:?\d\d)?(:?\d\d)?|[A-Za-z_]+(/[A-Za-z0-9_+-]+)*)\s*$"
"""Matches text that ends with an offset or the name of a zone."""

_EXACT: Final = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}


@dataclass(frozen=True, slots=True)
class Times:
    """The format of a file's times.

    Counts begin at midnight of `day` in the zone, or in 1970 if `day` is None. With `needs_zone`, a time without a zone
    is refused.
    """

    field: str
    unit: TimeUnit = "iso"
    format: str | None = None
    zone: str | None = None
    day: date | None = None
    stamped: Stamped = "begin"
    needs_zone: bool = False

    @property
    def are_plain(self) -> bool:
        """Whether the models can read the times directly."""
        return self == Times(self.field)

    def read(self, value: Any, timeframe: Any = None) -> Any:
        """Read one value as a time. Raises InvalidRow if it does not have this format."""
        try:
            if self.unit != "iso" and not isinstance(value, date):
                value = self._counted(value)
            elif isinstance(value, str):
                value = self._parsed(value)
            elif self.format is not None and isinstance(value, int) and not isinstance(value, bool):
                value = self._parsed(str(value))
            if isinstance(value, date) and not isinstance(value, datetime):
                value = datetime(value.year, value.month, value.day)  # noqa: DTZ001 - gets its zone below
            if not isinstance(value, datetime):
                # The model reports the error.
                return value
            return self._placed(value, timeframe)
        except ValueError as error:
            raise InvalidRow(f"{self.field}: {error}") from None

    def _placed(self, value: datetime, timeframe: Any) -> datetime:
        """Apply the zone, and move the time to the beginning of its interval."""
        back = self._back(timeframe) if self.stamped == "end" else timedelta()
        # A day ends at the same local time even if the clocks change; an hour always has 60 minutes.
        by_clock = back >= _EXACT["d"] and value.tzinfo is None
        if by_clock:
            value -= back
        if value.tzinfo is None and self.zone is not None:
            value = times.local(value, self.zone)
        return value if by_clock else value - back

    def _back(self, timeframe: Any) -> timedelta:
        if timeframe is None:
            raise ValueError("a row stamped at the end of its interval needs a timeframe")
        count, unit = timeframes.parts(timeframes.canonical(timeframe))
        if unit not in _EXACT:
            raise ValueError(f"the begin of an interval of {timeframe} does not follow from its end")
        return count * _EXACT[unit]

    def _counted(self, value: Any) -> datetime:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError(f"a count of {self.unit} is needed, not {value!r}")  # noqa: TRY004 - told as the others
        try:
            # Keep whole numbers as int: as a float a count of nanoseconds would lose its last digits.
            count = value if isinstance(value, float) else _whole(value)
            since = timedelta(microseconds=count * 1_000_000 // PER_SECOND[self.unit])
            if self.day is None:
                return UNIX + since
            return datetime(self.day.year, self.day.month, self.day.day) + since  # noqa: DTZ001 - gets its zone
        except ValueError:
            raise ValueError(f"a count of {self.unit} is needed, not {value!r}") from None
        except OverflowError:
            raise ValueError(f"{value} {self.unit} since 1970 is no time between the years 1 and 9999") from None

    def _parsed(self, text: str) -> datetime:
        text = text.strip()
        if self.format is not None:
            try:
                return datetime.strptime(text, self.format)  # noqa: DTZ007 - the caller applies the zone
            except ValueError:
                raise ValueError(f"{text!r} is not written as {self.format}") from None
        value = times.parsed(text)
        if self.needs_zone and value.tzinfo is None:
            raise ValueError(
                f"{text!r} names no zone, and other times of the input do: say which is meant with time_zone"
                " (--time-zone)"
            )
        return value

    def column(self, column: Any, timeframe: Any) -> Any:
        """Convert a PyArrow column of values to times.

        Args:
            column: The values.
            timeframe: A column with the timeframe of each row, or None.

        Raises:
            InvalidRow: A value is not a time. It has an index, so that the rows are then read one by one.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        if self.are_plain:
            return column
        kind = column.type
        if pa.types.is_timestamp(kind) and kind.tz is not None and self.stamped == "begin":
            return column
        try:
            if self.unit != "iso" and self.day is None and self.stamped == "begin" and not pa.types.is_timestamp(kind):
                return self._counts(column)
            if pa.types.is_date(kind):
                column = column.cast(pa.timestamp("us"))
            if pa.types.is_timestamp(column.type) and self.stamped == "begin":
                return column if self.zone is None else pc.assume_timezone(column, self.zone)
            if is_text(column) and self.day is None and (fast := self._text(column)) is not None:
                return fast
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            # Includes PyArrow's error for a local time that a zone skips or repeats.
            raise InvalidRow(f"{self.field}: {error}", index=0) from error
        return self._one_by_one(column, timeframe)

    def _one_by_one(self, column: Any, timeframe: Any) -> Any:
        import pyarrow as pa

        frames = [None] * len(column) if timeframe is None else timeframe.to_pylist()
        known: dict[Any, datetime | None] = {}
        made = []
        try:
            for pair in zip(column.to_pylist(), frames, strict=True):
                if pair not in known:
                    value = None if pair[0] is None else self.read(*pair)
                    known[pair] = None if value is None else times.instant(value)
                made.append(known[pair])
        except (InvalidRow, ValueError) as error:
            raise InvalidRow(f"{self.field}: {error}", index=0) from error
        return pa.chunked_array([pa.array(made, pa.timestamp("us", "UTC"))])

    def _text(self, column: Any) -> Any | None:
        """Convert a column of text, or return None if each value must be read separately."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if self.format is not None:
            return self._by_format(column)
        if replace(self, needs_zone=False).are_plain:
            # The models read them.
            return column if pc.all(pc.match_substring_regex(column, _ZONED)).as_py() is not False else None
        if self.stamped != "begin" or self.needs_zone:
            return None
        try:
            return pc.assume_timezone(column.cast(pa.timestamp("us")), self.zone)
        except pa.ArrowInvalid:
            # A time that names its zone, has another format, or does not exist in the zone.
            return None

    def _by_format(self, column: Any) -> Any | None:
        """Convert a column of text by its format, or return None if only Python can, or a value does not match."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if self.stamped != "begin" or self.format is None:
            return None
        if set(re.findall(r"%(.)", self.format)) - set("YmdHMS"):
            return None
        found = pc.strptime(column, format=self.format, unit="us", error_is_null=True)
        # strptime also accepts other text, such as 1-2-24 for %Y, so compare the formatted result with the input.
        seconds = found.cast(pa.timestamp("s"), safe=False) if found.null_count == column.null_count else None
        if seconds is None or not pc.all(pc.equal(pc.strftime(seconds, self.format), column)).as_py():
            return None
        return found if self.zone is None else pc.assume_timezone(found, self.zone)

    def _counts(self, column: Any) -> Any:
        import pyarrow as pa

        if pa.types.is_floating(column.type):
            raise InvalidRow(f"{self.field}: counts of {self.unit} are needed, not floating-point numbers", index=0)
        try:
            return column.cast(pa.int64()).cast(pa.timestamp(self.unit, "UTC"))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise InvalidRow(f"{self.field}: counts of {self.unit} are needed: {error}", index=0) from error


def _whole(value: int | str) -> int:
    """Return a count as int. A spreadsheet may have written it with `.0`."""
    return int(value.strip().removesuffix(".0")) if isinstance(value, str) else value
