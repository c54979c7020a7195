"""What reads are given, as the store has it: times, names, symbols. Raises ConfigurationError for what is none."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import TypeAlias

from mds_client.errors import ConfigurationError
from mds_client.values import timeframes, times

Time: TypeAlias = datetime | date | str
"""A time of a read: a datetime, a date (its midnight), or text in ISO 8601. Without a zone it is UTC."""

Symbols: TypeAlias = str | Sequence[str]
"""One symbol, or several."""


def instant(value: Time) -> datetime:
    """A time, with its zone."""
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
    """Where a window begins and ends. Raises ConfigurationError if its start is after its end."""
    start, end = instant(start), instant(end)
    if start > end:
        raise ConfigurationError(f"start ({start.isoformat()}) is after end ({end.isoformat()})")
    return start, end


def stored_name(name: str) -> str:
    """A name as it is stored. Raises ConfigurationError for text that no server can be sent."""
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise ConfigurationError(f"{name!r} cannot be sent: {error.reason}") from error
    return name.strip()


def stored_timeframe(timeframe: str) -> str:
    """A timeframe as it is stored. Raises ConfigurationError for text that is not one."""
    try:
        return str(timeframes.canonical(timeframe))
    except ValueError as error:
        raise ConfigurationError(f"{timeframe!r}: {error}") from error


def stored_symbol(symbol: str) -> str:
    """A symbol as it is stored."""
    return stored_name(symbol).upper()


def stored_symbols(symbols: Sequence[str]) -> list[str]:
    """Several of them."""
    if isinstance(symbols, str):
        raise ConfigurationError(f"symbols is a list of names, not one text: [{symbols!r}]")
    return [stored_symbol(symbol) for symbol in symbols]
