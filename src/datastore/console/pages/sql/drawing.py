"""The chart of a result: its columns of numbers over its first column of times or numbers."""

from collections.abc import Callable
from datetime import UTC, datetime
from math import isfinite
from typing import Final

from datastore.console import plots
from datastore.console.plots import Line, Plot
from datastore.querying import Result

NUMBERS: Final = frozenset({"bigint", "integer", "smallint", "double precision", "real", "numeric"})
"""Types whose values are numbers."""

_TIMES: Final = frozenset({"timestamp with time zone", "timestamp without time zone", "date"})

LINES: Final = 5
"""Columns that are drawn."""


def drawn(result: Result) -> Plot | None:
    """A result as lines; None where there are no two of them, or no column of numbers over one of times or numbers."""
    types = [type_ for _, type_ in result.columns]
    over = next((at for at, type_ in enumerate(types) if type_ in _TIMES), None)
    if over is None:
        over = next((at for at, type_ in enumerate(types) if type_ in NUMBERS), None)
    if over is None or len(result.rows) < 2:
        return None
    is_time = types[over] in _TIMES
    read = _moment if is_time else _number
    lines = []
    for at, (name, type_) in enumerate(result.columns):
        if at == over or type_ not in NUMBERS:
            continue
        points = [(x, y) for row in result.rows for x, y in [(_value(read, row[over]), _value(_number, row[at]))]
                  if x is not None and y is not None]  # fmt: skip
        lines.append(Line(name, sorted(points)))
    if len({x for line in lines for x, _ in line.points}) < 2:
        return None
    return plots.plot(
        f"The result over {result.columns[over][0]}",
        lines[:LINES],
        x_label=f"{result.columns[over][0]}{' (UTC)' if is_time else ''}",
        y_label=", ".join(line.name for line in lines[:2]) + (" …" if len(lines) > 2 else ""),
        x_text=plots.moment if is_time else None,
    )


def _value(read: Callable[[str], float], text: str | None) -> float | None:
    """A value of a result as a number; None for what a drawing has no place for, such as NULL and infinity."""
    if text is None:
        return None
    try:
        value = read(text)
    except (ValueError, OverflowError):
        return None
    return value if isfinite(value) and abs(value) < 1e300 else None


def _number(text: str) -> float:
    return float(text)


def _moment(text: str) -> float:
    found = datetime.fromisoformat(text)
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
