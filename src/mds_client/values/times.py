"""Parse times: one syntax for models, files, commands and the HTTP API.

A time is text in ISO 8601, also in the basic format (`20240102T153000Z`) or with a blank instead of the T. The name of
a time zone can follow it. A bare number is not a time, because its unit (seconds, days, nanoseconds) is unknown.
"""

import re
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

UNIX: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""The time at which counts begin."""

EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
"""The time from which PostgreSQL counts, and from which intervals of a fixed width are laid."""

PER_SECOND: Final = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
"""The number of each unit in a second."""

FIRST: Final = datetime(1700, 1, 1, tzinfo=UTC)
END: Final = datetime(2262, 1, 1, tzinfo=UTC)
"""Rows have times from FIRST on and before END. Other times come from a wrong unit."""

_NUMBER: Final = re.compile(r"[-+]?\d[\d_]*([.,]\d*)?([eE][-+]?\d+)?")
_ZONED: Final = re.compile(r"(?P<local>.*\d)\s+(?P<zone>[A-Za-z_]+(/[\w+-]+)+|UTC|GMT)")
_BETWEEN: Final = ("T", " ", "")
_OFFSET: Final = re.compile(r"\s+(?=[-+]\d\d(:?\d\d)?$)")
_FORM: Final = re.compile(r"(\d{4}-\d\d-\d\d|\d{8})([Tt ]\d\d.*)?")

NO_NUMBER: Final = (
    "a bare number is not a time: write it as text, like 2024-01-31T14:30:00Z, or state the unit that it counts"
    " (time_unit)"
)


def floor(time: datetime, width: timedelta) -> datetime:
    """Return the start of the interval of this width that a time is in."""
    return EPOCH + (time - EPOCH) // width * width


def ceiling(time: datetime, width: timedelta) -> datetime:
    """Return the time itself if an interval of this width starts there, otherwise the start of the next interval."""
    return EPOCH - (EPOCH - time) // width * width


def instant(value: Any) -> Any:
    """Convert a row's time to UTC.

    Args:
        value: A datetime or date, or text in ISO 8601. Without a zone it is UTC.

    Raises:
        ValueError: The value is not a time, or is outside the years 1700 to 2261.
    """
    if isinstance(value, str):
        value = parsed(value)
    elif not isinstance(value, datetime):
        if not isinstance(value, date):
            raise ValueError("a time is needed" if value is None else NO_NUMBER)  # noqa: TRY004 - what pydantic reports
        value = datetime(value.year, value.month, value.day, tzinfo=UTC)
    value = in_utc(value)
    if not FIRST <= value < END:
        raise ValueError(f"the year {value.year} is outside of 1700 to 2261")
    return value


def day(value: Any) -> Any:
    """Convert a row's date: a date, or ISO 8601 text; a time must be midnight. Raises ValueError, like `instant`."""
    if isinstance(value, str):
        value = parsed(value)
    if isinstance(value, datetime):
        if (value.hour, value.minute, value.second, value.microsecond) != (0, 0, 0, 0):
            raise ValueError("a date is needed, and this has a time of day")
        value = value.date()
    if not isinstance(value, date):
        raise ValueError("a date is needed" if value is None else NO_NUMBER)  # noqa: TRY004 - what pydantic reports
    if not FIRST.year <= value.year < END.year:
        raise ValueError(f"the year {value.year} is outside of 1700 to 2261")
    return value


def in_utc(value: datetime) -> datetime:
    """Convert a datetime to UTC. Without a zone it is UTC already. Raises ValueError outside the years 1 to 9999."""
    zone = value.tzinfo
    if zone is UTC:
        return value
    if zone is None:
        return value.replace(tzinfo=UTC)
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("the time is outside the years 1 to 9999 in UTC") from None


def parsed(text: str) -> datetime:
    """Parse text as a datetime, with the zone that it names, or without a zone.

    Raises:
        ValueError: The text is not a time, or names a local time that does not exist or exists twice.
    """
    if text[4:5] == "-" and text[10:11] in _BETWEEN:
        # Most texts have the extended format. This takes a fifth of the time of the full parser.
        try:
            return datetime.fromisoformat(text)
        except ValueError:
            return _looked_at(text.strip())
    return _looked_at(text.strip())


def _looked_at(text: str) -> datetime:
    if (text.isdigit() and len(text) != 8) or (_NUMBER.fullmatch(text) and not text.isdigit()):
        raise ValueError(NO_NUMBER)
    named_zone: tzinfo | None = None
    if text[-1:].isalpha() and (named := _ZONED.fullmatch(text)):
        text, named_zone = named["local"], zone(named["zone"])
    if not _FORM.fullmatch(text):
        raise ValueError("a time is ISO 8601 text, like 2024-01-31T14:30:00Z")
    try:
        value = datetime.fromisoformat(_OFFSET.sub("", text).upper())
    except ValueError as error:
        raise ValueError(f"not a time: {error}") from None
    if named_zone is None:
        return value
    if value.tzinfo is not None:
        raise ValueError("the time has both an offset and the name of a zone")
    return _local(value, named_zone)


def local(value: datetime, name: str) -> datetime:
    """Interpret a datetime without a zone as local time of a named zone. Raises ValueError, like `parsed`."""
    return _local(value, zone(name))


def zone(name: str) -> tzinfo:
    """Return the time zone of that name. Raises ValueError if there is none."""
    if name in ("UTC", "GMT"):
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"there is no time zone {name}") from None


def _local(value: datetime, zone: tzinfo) -> datetime:
    first, second = value.replace(tzinfo=zone, fold=0), value.replace(tzinfo=zone, fold=1)
    if first.utcoffset() != second.utcoffset():
        is_twice = (first.utcoffset() or timedelta()) > (second.utcoffset() or timedelta())
        said = "exists twice" if is_twice else "does not exist"
        raise ValueError(f"{value.isoformat()} {said} in {zone}: write the offset from UTC, like -05:00")
    return first
