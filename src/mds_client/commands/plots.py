"""Plot bars in a terminal with plotext: candles with volume of one symbol, or lines of several.

Needs the extra `plot`. The command is in `mds_client.commands.plot`.
"""

import importlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import dropwhile
from typing import Any, Final

from mds_client.errors import ConfigurationError
from mds_client.models import Bar

AXIS: Final = 12
"""The maximum width of a plot's axis in columns."""

MARKERS: Final = "*o+x#@"
"""The markers of lines if there is no colour."""


@dataclass(frozen=True, slots=True)
class Canvas:
    """The drawing area: columns and rows of a terminal, with or without colour."""

    width: int
    height: int
    colour: bool


@dataclass(frozen=True, slots=True)
class Candle:
    """The bars that one column of the plot shows, the first of which begins at `ts`."""

    ts: datetime
    open: float
    high: float
    low: float
    close: float
    volume: float


def candles(bars: Sequence[Bar], most: int) -> list[Candle]:
    """Convert bars to at most `most` candles by joining neighbouring bars. Bars without a close are left out."""
    priced = [bar for bar in bars if bar.close_price is not None]
    each = max(1, -(-len(priced) // max(1, most)))
    return [_joined(priced[at : at + each]) for at in range(0, len(priced), each)]


def _joined(bars: Sequence[Bar]) -> Candle:
    first, last = bars[0], bars[-1]
    opening = _known([first.open_price, first.close_price])[0]
    closing = _known([last.close_price])[0]
    prices = _known(price for bar in bars for price in (bar.open_price, bar.high_price, bar.low_price, bar.close_price))
    return Candle(first.ts, opening, max(prices), min(prices), closing, sum(_known(bar.volume for bar in bars)))


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def plot_candles(bars: Sequence[Bar], title: str, canvas: Canvas) -> str:
    """Plot one symbol's bars, oldest first, as candles with the volume below.

    Raises ConfigurationError if plotext is not installed.
    """
    figure = _figure()
    # Without colour, the ticks of open and close show whether a price rose, and need space.
    shown = candles(bars, (canvas.width - AXIS) // (1 if canvas.colour else 3))
    below = max(5, canvas.height // 4)
    figure.subplots(2, 1)
    prices, volumes = figure.subplot(1, 1), figure.subplot(2, 1)
    prices.plot_size(canvas.width, canvas.height - below)
    volumes.plot_size(canvas.width, below)
    at = list(range(1, len(shown) + 1))
    names = ("open", "high", "low", "close")
    data = {"date": at, **{name: [getattr(candle, name) for candle in shown] for name in names}}
    prices.draw(prices.candlestick(data, style="candle" if canvas.colour else "ohlc", tick=1))
    joined = -(-len(bars) // max(1, len(shown)))
    prices.title(title if joined == 1 else f"{title}, {joined} bars in each candle")
    volumes.draw(volumes.bar(at, [candle.volume for candle in shown]))
    bottom, top = min(data["low"]), max(data["high"])
    highest = max(candle.volume for candle in shown)
    marks = [bottom + (top - bottom) * part / 4 for part in range(5)]
    labels = [f"{mark:,.{_digits(top - bottom)}f}" for mark in marks]
    short = _short(highest)
    wide = max(len(short), *map(len, labels))
    prices.ruler("y").ticks(marks, [label.rjust(wide) for label in labels])
    volumes.ruler("y").ticks([0, highest or 1], ["0".rjust(wide), short.rjust(wide)])
    for part in (prices, volumes):
        part.theme("simple")
        part.ruler("x").lim(0, len(shown) + 1)
    volumes.ruler("x").ticks([], [])
    prices.ruler("x").ticks(*_times([candle.ts for candle in shown], canvas))
    return _text(figure, canvas)


def plot_lines(bars: Mapping[str, Sequence[Bar]], title: str, canvas: Canvas) -> str:
    """Plot the closes of several symbols as lines: the change in percent since the first close that is not zero.

    Raises ConfigurationError if plotext is not installed.
    """
    figure = _figure()
    figure.plot_size(canvas.width, canvas.height)
    moments = sorted({bar.ts for rows in bars.values() for bar in rows})
    place = {moment: at for at, moment in enumerate(moments, 1)}
    for number, (symbol, rows) in enumerate(bars.items()):
        closes = [(place[bar.ts], bar.close_price) for bar in rows if bar.close_price is not None]
        # A change from zero has no percentage, so the line begins at the first close that is not zero.
        closes = list(dropwhile(lambda point: point[1] == 0, closes))
        if not closes:
            continue
        base = closes[0][1]
        # Without colour, markers distinguish the lines.
        marker = {} if canvas.colour else {"marker": MARKERS[number % len(MARKERS)]}
        line = figure.signal([at for at, _ in closes], [(close / base - 1) * 100 for _, close in closes], **marker)
        figure.draw(line.lines().label(symbol))
    figure.title(f"{title}, change since the first bar in %")
    figure.ruler("x").ticks(*_times(moments, canvas))
    return _text(figure, canvas)


def _figure() -> Any:
    try:
        figure = importlib.import_module("plotext").figure
    except ImportError as error:
        raise ConfigurationError("plots need plotext, which is not installed: install the extra plot") from error
    figure.clear.all()
    # This theme has no background colour, so it fits dark and light terminals.
    figure.theme("simple")
    return figure


def _text(figure: Any, canvas: Canvas) -> str:
    text = str(figure.build().string(colorless=not canvas.colour))
    return "\n".join(line.rstrip() for line in text.splitlines())


def _times(moments: Sequence[datetime], canvas: Canvas) -> tuple[list[int], list[str]]:
    """Return the positions and labels of the time axis: days, or minutes if the plot spans only some days."""
    short = (moments[-1] - moments[0]).days < 4 and len({moment.time() for moment in moments}) > 1
    form = "%m-%d %H:%M" if short else "%Y-%m-%d"
    many = max(1, (canvas.width - AXIS) // 18)
    step = max(1, len(moments) // many)
    at = list(range(0, len(moments), step))
    return [place + 1 for place in at], [moments[place].strftime(form) for place in at]


def _digits(span: float) -> int:
    return 0 if span >= 100 else 2 if span >= 0.5 else 5


def _short(number: float) -> str:
    for size, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.1f}{name}"
    return f"{number:g}"
