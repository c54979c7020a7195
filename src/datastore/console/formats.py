"""Format values for pages: grouped numbers, sizes in bytes, times in UTC, ages in words."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from math import floor, log10
from typing import Any, Final
from urllib.parse import urlsplit

NONE: Final = "\u2013"
"""A dash, for what is not there."""


def count(value: float | None) -> str:
    """A whole number with separators."""
    return NONE if value is None else f"{value:,.0f}"


def short(value: float | None) -> str:
    """A large number in three digits: 1.23 M."""
    if value is None:
        return NONE
    for size, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            # 12,345 is 12.3 k, not 12 k.
            scaled = value / (size if unit != "k" else 1e3)
            return f"{scaled:.{max(0, 2 - floor(log10(abs(scaled))))}f} {unit}"
    return f"{value:,.0f}"


def size(value: float | None) -> str:
    """Bytes in binary units."""
    if value is None:
        return NONE
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(value) < 1024 or unit == "TiB":
            return f"{value:,.0f} {unit}" if unit == "B" else f"{value:,.1f} {unit}"
        value /= 1024
    raise AssertionError


def price(value: float | None) -> str:
    """A price as it is stored, in at most 15 digits."""
    return NONE if value is None else f"{value:,.15g}" if abs(value) < 1e15 else f"{value:.15g}"


def time(value: datetime | None) -> str:
    """A time in UTC, to the second; without its time of day at midnight."""
    if value is None:
        return NONE
    value = value.astimezone(UTC)
    at_midnight = (value.hour, value.minute, value.second, value.microsecond) == (0, 0, 0, 0)
    return value.strftime("%Y-%m-%d" if at_midnight else "%Y-%m-%d %H:%M:%S")


def iso(value: datetime) -> str:
    """A time in UTC for machines."""
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def age(value: timedelta | None) -> str:
    """A span of time in its two largest units."""
    if value is None:
        return NONE
    seconds = value.total_seconds()
    if seconds < 0:
        return f"in {age(-value)}"
    days, rest = divmod(round(seconds), 86_400)
    years, days = divmod(days, 365)
    hours, rest = divmod(rest, 3_600)
    minutes, seconds = divmod(rest, 60)
    parts = [(years, "y"), (days, "d"), (hours, "h"), (minutes, "min"), (seconds, "s")]
    at = next((at for at, (number, _) in enumerate(parts) if number), len(parts) - 1)
    return " ".join(f"{number:.0f} {unit}" for number, unit in parts[at : at + 2] if number) or "0 s"


def since(value: datetime | None) -> str:
    """Return how long ago a time was."""
    return NONE if value is None else age(datetime.now(UTC) - value)


def percent(value: float) -> str:
    """A ratio in percent; what is not all is never shown as 100 %."""
    return "100 %" if value >= 1 else f"{min(value * 100, 99.99):.4g} %"


def cell(value: Any) -> str:
    """Any value of a row, as text."""
    if value is None:
        return NONE
    if isinstance(value, datetime):
        return time(value)
    if isinstance(value, float):
        return price(value)
    if isinstance(value, dict):
        return ", ".join(f"{name} {cell(inner)}" for name, inner in value.items())
    return str(value)


def column(values: Sequence[Any]) -> list[str]:
    """The values of a column as text. Numbers have as many decimals as one of them needs, so that they are aligned."""
    texts = [f"{value:,}" if isinstance(value, int) and is_number(value) else cell(value) for value in values]
    if any(value is not None and not is_number(value) for value in values) or any("e" in text for text in texts):
        return texts
    decimals = max((len(text.partition(".")[2]) for text in texts), default=0)
    if not decimals:
        return texts
    # Zeros are appended to the text: the number itself may not have so many exact digits.
    parts = ((text, *text.partition(".")[::2]) for text in texts)
    return [text if text == NONE else f"{whole}.{part:0<{decimals}}" for text, whole, part in parts]


def is_number(value: Any) -> bool:
    """Whether a value is shown aligned to the right."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def site(url: str | None) -> str | None:
    """The host of an address that a page may link to: one of http or https. None for any other text.

    Addresses are other people's text, and one of another scheme, such as javascript, could run code. A backslash is a
    slash to a browser, which would then go to another host than the one that is returned here.
    """
    if url is None or any(each.isspace() or each == "\\" or not each.isprintable() for each in url):
        return None
    try:
        parts = urlsplit(url)
        return parts.hostname if parts.scheme in ("http", "https") else None
    except ValueError:
        return None


FILTERS: Final[dict[str, Callable[..., Any]]] = {
    each.__name__: each for each in (count, short, size, price, time, iso, age, since, percent, site)
}
"""The filters by the names that templates use."""
