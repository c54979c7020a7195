"""Drawings that the server makes: lines and points over an axis of numbers or times, or bars of categories, as SVG.

They have axes with units and a legend, need no script, and take their colours from the stylesheet.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import ceil, floor, log10
from typing import Final

from datastore.console.formats import short, time

WIDTH: Final = 760
HEIGHT: Final = 300
LEFT: Final = 64
RIGHT: Final = 16
TOP: Final = 14
BOTTOM: Final = 46

MOMENTS: Final = 4
"""Times on an axis: there is room for no more of them in full. The first and the last are within the drawing."""

POINTS: Final = 1_000
"""Points of a line that are drawn."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line: its name, and its points by x; both numbers (a time is seconds since 1970)."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on an axis: where it is drawn, and what it says."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Dot:
    """A point as it is drawn, with what it says on hover."""

    x: float
    y: float
    text: str


@dataclass(frozen=True, slots=True)
class Drawn:
    """A line as it is drawn: its name, its dots, and the path through them."""

    name: str
    dots: list[Dot]
    path: str


@dataclass(frozen=True, slots=True)
class Plot:
    """A drawing, for `templates/plot.html`.

    `mark` is where a vertical line is, if there is one; with `moments` the x axis has times.
    """

    title: str
    x_label: str
    y_label: str
    lines: list[Drawn]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    mark: Tick | None
    moments: bool
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


def plot(
    title: str,
    lines: Sequence[Line],
    *,
    x_label: str,
    y_label: str,
    x_text: Callable[[float], str] | None = None,
    y_text: Callable[[float], str] | None = None,
    mark: tuple[float, str] | None = None,
) -> Plot | None:
    """A drawing of lines; None if no line has a point.

    Args:
        title: What it shows, for those who cannot see it.
        lines: The lines.
        x_label: What the x axis shows, with its unit.
        y_label: The same for the y axis.
        x_text: How a value of the x axis is written.
        y_text: How a value of the y axis is written.
        mark: A value of the x axis that is marked, and what it is.
    """
    xs = [x for line in lines for x, _ in line.points]
    ys = [y for line in lines for _, y in line.points]
    if not xs:
        return None
    of_x, of_y = x_text or number, y_text or number
    x_ticks, x_low, x_high = _scale(min(xs), max(xs), 8)
    y_ticks, y_low, y_high = _scale(min(ys), max(ys), 5)
    if x_text is moment:
        x_low, x_high = min(xs), max(xs) if max(xs) > min(xs) else min(xs) + 1
        x_ticks = [x_low + (x_high - x_low) * part / (MOMENTS - 1) for part in range(MOMENTS)]

    def x_at(x: float) -> float:
        return round(LEFT + (x - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT), 1)

    def y_at(y: float) -> float:
        return round(HEIGHT - BOTTOM - (y - y_low) / (y_high - y_low) * (HEIGHT - BOTTOM - TOP), 1)

    drawn = []
    for line in lines:
        dots = [Dot(x_at(x), y_at(y), f"{line.name}: {of_x(x)}, {of_y(y)}") for x, y in _thinned(line.points)]
        path = " ".join(f"{'L' if at else 'M'}{dot.x} {dot.y}" for at, dot in enumerate(dots))
        drawn.append(Drawn(line.name, dots, path))
    marked = None if mark is None or not x_low <= mark[0] <= x_high else Tick(x_at(mark[0]), mark[1])
    return Plot(
        title,
        x_label,
        y_label,
        drawn,
        [Tick(x_at(each), of_x(each)) for each in x_ticks],
        [Tick(y_at(each), of_y(each)) for each in y_ticks],
        marked,
        x_text is moment,
    )


def number(value: float) -> str:
    """A number on an axis."""
    return short(value) if abs(value) >= 1e4 else f"{value:.6g}"


def moment(value: float) -> str:
    """A time on an axis, from seconds since 1970."""
    return time(datetime.fromtimestamp(value, UTC))


def _thinned(points: Sequence[tuple[float, float]]) -> Sequence[tuple[float, float]]:
    step = ceil(len(points) / POINTS)
    return points[:: max(1, step)]


def _scale(low: float, high: float, about: int) -> tuple[list[float], float, float]:
    """Round values between two numbers, and the ends of an axis that has both in it."""
    if low == high:
        low, high = low - (abs(low) / 10 or 1), high + (abs(high) / 10 or 1)
    rough = (high - low) / about
    unit = 10.0 ** floor(log10(rough))
    step = next(unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor >= rough * 0.999)
    first, last = floor(low / step + 1e-9), ceil(high / step - 1e-9)
    return [number_ * step for number_ in range(first, last + 1)], first * step, last * step
