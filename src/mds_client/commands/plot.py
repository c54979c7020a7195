"""The command `mds plot`: draws bars as candles or lines in the terminal."""

import os
import shutil
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from mds_client.client import MDS
from mds_client.commands.options import connection_options
from mds_client.commands.plots import Canvas, plot_candles, plot_lines
from mds_client.commands.printing import comma_separated, filter_options
from mds_client.console import fail, json_option, show_json
from mds_client.models import Bar, Series
from mds_client.reading.rollups import stored_columns
from mds_client.schema import KINDS
from mds_client.values import timeframes

SPANNED = 300
"""The number of intervals to plot if no start is given."""


@click.command("plot")
@click.argument("symbols", metavar="SYMBOL[,SYMBOL]", callback=comma_separated)
@filter_options("vendor", "timeframe", "start", "end")
@connection_options
@json_option
def plot(
    client: MDS,
    symbols: list[str],
    vendor: str | None,
    timeframe: str | None,
    start: datetime | None,
    end: datetime | None,
    as_json: bool,
) -> None:
    """Draw bars in the terminal: candles with the volume of one symbol, or a line for each of several.

    Vendor and timeframe may be left out where there is only one. Without a start, the plot shows 300 intervals before
    the newest bar. Lines are the change in percent since the first bar. There is colour on a terminal only, and not
    where NO_COLOR is set. The plot is as large as the terminal; in a pipe, as COLUMNS and LINES say. Needs the extra
    `plot`.

    Example: mds plot AAPL,MSFT,NVDA --timeframe 1d
    """
    if not symbols:
        raise click.UsageError("name a symbol, or several separated by commas")
    found = client.series("bars", vendor=vendor, symbol=symbols, timeframe=timeframe)
    one = _chosen(found, symbols)
    newest = max((series.last_ts for series in found if series.last_ts is not None), default=None)
    if newest is None:
        fail(f"there are no bars of {', '.join(symbols)} yet")
    until = end or datetime.max.replace(tzinfo=UTC)
    since = start or _before(min(newest, until), one.timeframe or "1d")
    bars = client.bars_window(symbols, one.timeframe or "", since, until, one.vendor, missing="warn")
    by_symbol: dict[str, list[Bar]] = {}
    for bar in bars:
        if bar.close_price is not None:
            by_symbol.setdefault(bar.symbol, []).append(bar)
    if as_json:
        show_json({symbol: [_point(bar) for bar in rows] for symbol, rows in by_symbol.items()})
        return
    if not by_symbol:
        fail(f"no bars with a close in this time; the newest is of {newest.isoformat()}")
    size = shutil.get_terminal_size((80, 24))
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    canvas = Canvas(max(40, size.columns), max(15, size.lines - 1), colour)
    title = f"{', '.join(by_symbol)} {one.timeframe} from {one.vendor}"
    if len(by_symbol) == 1:
        (rows,) = by_symbol.values()
        click.echo(plot_candles(rows, title, canvas))
    else:
        click.echo(plot_lines(by_symbol, title, canvas))


def _chosen(found: list[Series], symbols: list[str]) -> Series:
    """Return a series with the vendor and timeframe to plot. Fails if there are several, or none."""
    kinds = sorted({(series.vendor, series.timeframe or "") for series in found})
    if not kinds:
        fail(f"there are no bars of {', '.join(symbols)}; mds series lists what there is")
    if len(kinds) > 1:
        there = "; ".join(f"--vendor {vendor} --timeframe {timeframe}" for vendor, timeframe in kinds)
        fail(f"there are several series of {', '.join(symbols)}: choose one of {there}")
    return found[0]


def _before(newest: datetime, timeframe: str) -> datetime:
    """Return the time some intervals before a time, or the beginning of time."""
    try:
        return newest - SPANNED * (timeframes.width(timeframe) or timedelta(days=31))
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC)


def _point(bar: Bar) -> dict[str, Any]:
    return {name: getattr(bar, name) for name in stored_columns(KINDS["bars"])}
