"""Convert the arguments of reads to their stored form: times, names, symbols. Invalid ones raise ConfigurationError."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import TypeAlias

from mds_client.errors import ConfigurationError
from mds_client.values import timeframes, times
from mds_client.values.spelling import UPPER, Spelling, as_given, in_upper_case

Time: TypeAlias = datetime | date | str
"""A time argument: a datetime, a date (its midnight), or text in ISO 8601. Without a zone it is UTC."""

Symbols: TypeAlias = str | Sequence[str]
"""One symbol, or several."""

Sought: TypeAlias = tuple[list[str], ...]
"""The parameters that find rows by symbol: the symbols; or the case-sensitive vendors, the symbols as these spell them,
and the symbols in upper case."""


def instant(value: Time) -> datetime:
    """Convert a time argument to a datetime with a zone."""
    if isinstance(value, str):
        try:
            value = times.parsed(value)
        except ValueError as error:
            raise ConfigurationError(f"{value!r}: {error}") from error
    if not isinstance(value, datetime):
        if not isinstance(value, date):
            raise ConfigurationError(f"a time is needed (a datetime, or text in ISO 8601), not {value!r}")
        value = datetime(value.year, value.month, value.day)  # noqa: DTZ001 - made UTC just below
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value


def time_span(start: Time, end: Time) -> tuple[datetime, datetime]:
    """Return the start and end of a window. Raises ConfigurationError if the start is after the end."""
    start, end = instant(start), instant(end)
    if start > end:
        raise ConfigurationError(f"start ({start.isoformat()}) is after end ({end.isoformat()})")
    return start, end


def stored_name(name: str) -> str:
    """Return a name in its stored form. Raises ConfigurationError for text that cannot be encoded."""
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise ConfigurationError(f"{name!r} cannot be sent: {error.reason}") from error
    return name.strip()


def stored_timeframe(timeframe: str) -> str:
    """Return a timeframe in its stored form. Raises ConfigurationError for an invalid one."""
    try:
        return str(timeframes.canonical(timeframe))
    except ValueError as error:
        raise ConfigurationError(f"{timeframe!r}: {error}") from error


def given_symbols(symbols: Sequence[str]) -> list[str]:
    """Return several symbols as they were given. Raises ConfigurationError for one text."""
    if isinstance(symbols, str):
        raise ConfigurationError(f"symbols is a list of names, not one text: [{symbols!r}]")
    return [stored_name(as_given(symbol)) for symbol in symbols]


def several(symbol: Symbols, vendor: str, spelling: Spelling = UPPER) -> list[str]:
    """Return one symbol of a vendor, or several, in their stored form."""
    given = given_symbols([symbol] if isinstance(symbol, str) else symbol)
    return [spelling.stored(stored_name(vendor), one) for one in given]


def sought(symbol: Symbols, vendor: str | None, spelling: Spelling = UPPER) -> Sought:
    """Return the parameters that find rows of these symbols, of one vendor or of all."""
    if vendor is not None:
        return (several(symbol, vendor, spelling),)
    given = given_symbols([symbol] if isinstance(symbol, str) else symbol)
    upper = list(map(in_upper_case, given))
    return (upper,) if given == upper or not spelling.vendors else (spelling.parameter, given, upper)
