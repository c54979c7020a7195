"""Timeframes: a count and a unit, in one canonical spelling.

`1min`, `1Min`, `60s` and `1m` are one minute; `1H` and `60m` are one hour. Seconds and minutes are converted to whole
minutes and hours. Days, weeks, months, quarters and years are calendar units and are not converted.
"""

import re
from datetime import timedelta
from functools import lru_cache
from typing import Any, Final

_SPELLINGS: Final = {
    "s": ("s", "sec", "secs", "second", "seconds"),
    "m": ("m", "min", "mins", "minute", "minutes", "t"),
    "h": ("h", "hr", "hrs", "hour", "hours"),
    "d": ("d", "day", "days"),
    "w": ("w", "wk", "wks", "week", "weeks"),
    "mo": ("mo", "mon", "mth", "month", "months"),
    "q": ("q", "qtr", "quarter", "quarters"),
    "y": ("y", "yr", "yrs", "year", "years"),
}
UNITS: Final = tuple(_SPELLINGS)
_UNIT_OF: Final = {spelling: unit for unit, spellings in _SPELLINGS.items() for spelling in spellings}
_FORM: Final = re.compile(r"([1-9][0-9]{0,5}) ?([A-Za-z]+)")
_LARGER: Final = {"s": "m", "m": "h"}

_FIXED: Final = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}

MOST: Final = 9999
"""The largest count."""


def canonical(value: Any) -> Any:
    """Return a timeframe in the store's spelling.

    Args:
        value: Text such as `1m`, `1min`, `4H` or `1mo`.

    Raises:
        ValueError: The value is not a timeframe, or is ambiguous (`1M`).
    """
    return _canonical(value) if isinstance(value, str) else value


@lru_cache(maxsize=4096)
def _canonical(text: str) -> str:
    found = _FORM.fullmatch(text.strip())
    unit = None if found is None else _UNIT_OF.get(found[2].lower())
    if found is None or unit is None:
        raise ValueError(f"a timeframe is a count and a unit ({', '.join(UNITS)}), such as 1m, 4h or 1d")
    count = int(found[1])
    if found[2] == "M":
        raise ValueError(f"{text.strip()} may mean minutes or months: write {count}m for minutes, {count}mo for months")
    while unit in _LARGER and count % 60 == 0:
        unit, count = _LARGER[unit], count // 60
    if count > MOST:
        raise ValueError(f"the count of a timeframe is at most {MOST}")
    return f"{count}{unit}"


def parts(timeframe: str) -> tuple[int, str]:
    """Split a timeframe in the store's spelling into count and unit."""
    found = _FORM.fullmatch(timeframe)
    if found is None:
        raise ValueError(f"{timeframe!r} is not a timeframe")
    return int(found[1]), found[2]


def width(timeframe: str) -> timedelta | None:
    """Return the duration of a timeframe in the store's spelling; None for weeks and longer, which are calendar
    units."""
    count, unit = parts(timeframe)
    return count * _FIXED[unit] if unit in _FIXED else None
