"""`gaps`: find missing bars, as a list or as a picture."""

import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

import click
from rich.console import Console
from rich.text import Text

from datastore import gaps as missing
from datastore.commands.options import database_option
from datastore.gaps import Day
from mds_client.console import Instant, counted, json_option, plain, show_json, show_rows

# The mark of a day, its colour, its meaning, and the share that must be present; the first match counts.
_MARKS: Final = (
    ("#", "green", "complete", lambda share: share == 1),
    ("+", "yellow", "90 % or more", lambda share: share >= 0.9),
    ("-", "dark_orange", "some", lambda share: share > 0),
    ("0", "red", "nothing", lambda _: True),
)
_CLOSED: Final = "."

_GAP_COLUMNS: Final = ("symbol", "start", "end", "missing")
_REPEAT_COLUMNS: Final = ("symbol", "day", "bars")


def series_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options for series and time, which a gap check and a backfill share."""
    for option in (
        click.option("--calendar", help="Use this trading calendar instead of the ones that are set: XNYS, 24/7, FX …"),
        click.option("--symbol", "symbols", multiple=True, help="Only this symbol. Repeatable. [default: all symbols]"),
        click.option("--end", type=Instant(), help="End of the range, exclusive, ISO. [default: now]"),
        click.option("--start", type=Instant(), required=True, help="Start of the range, inclusive, ISO."),
        click.option("--timeframe", default="1m", show_default=True, help="Timeframe of the bars."),
        click.option("--vendor", required=True, help="Vendor of the bars."),
        click.option("--tenant", required=True, help="The tenant, by name or UUID."),
    ):
        command = option(command)
    return command


@click.command()
@series_options
@click.option("--at-least", type=click.IntRange(1), default=1, show_default=True,
              help="List only gaps of at least this number of bars. The totals count every gap.")  # fmt: skip
@click.option(
    "--limit",
    type=click.IntRange(1),
    default=100,
    show_default=True,
    help="Maximum number of gaps to list, and of intervals with several bars.",
)
@click.option(
    "--picture", "drawn", is_flag=True, help="Draw the days, one line for each month, instead of listing gaps."
)
@database_option
@json_option
def gaps(
    tenant: str,
    vendor: str,
    timeframe: str,
    start: datetime,
    end: datetime | None,
    symbols: tuple[str, ...],
    calendar: str | None,
    at_least: int,
    limit: int,
    drawn: bool,
    dsn: str,
    as_json: bool,
) -> None:
    """Find missing bars by the trading calendar, and days, weeks or months that have several bars.

    Example: datastore gaps --tenant default --vendor acme --start 2024-01-01 --end 2025-01-01 --calendar XNYS --picture
    """
    if as_json and drawn:
        raise click.UsageError("--picture and --json cannot be used together")
    now = datetime.now(UTC)
    found = missing.check(
        dsn,
        tenant=tenant,
        vendor=vendor,
        timeframe=timeframe,
        start=start,
        end=end or now,
        symbols=symbols or None,
        calendar=calendar,
        at_least=at_least,
        now=now,
    )
    listed, more = found.gaps[:limit], max(0, len(found.gaps) - limit)
    if as_json:
        show_json({**plain(replace(found, gaps=listed, repeats=found.repeats[:limit])), "more_gaps": more})
        return
    if drawn:
        draw(found.days)
    elif listed:
        show_rows(listed, as_json=False, columns=_GAP_COLUMNS)
        if more:
            click.echo(f"and {more:,} more gaps", err=True)
    share = found.missing / found.expected if found.expected else 0.0
    click.echo(f"{found.series:,} series: {found.missing:,} of {found.expected:,} bars are missing ({share:.2%})")
    if found.repeated:
        _show_repeats(found, limit, drawn)


def _show_repeats(found: missing.Check, limit: int, drawn: bool) -> None:
    """Print the first days, weeks or months with several bars, and their number."""
    if not drawn:
        show_rows(found.repeats[:limit], as_json=False, columns=_REPEAT_COLUMNS)
    click.echo(f"several bars where one is expected: {counted(found.repeated, 'interval')}")


def draw(days: Iterable[Day]) -> None:
    """Print how complete each day is: a line for each month, a mark for each day, with colours if possible."""
    # There is no terminal width in a pipe.
    console = Console(width=None if sys.stdout.isatty() else 1000, highlight=False)
    console.print(Text("        " + "".join("⋅" if day % 5 else str(day)[-1] for day in range(1, 32))))
    by_month: dict[str, dict[int, Day]] = {}
    for day in days:
        by_month.setdefault(f"{day.day:%Y-%m}", {})[day.day.day] = day
    for month, its in by_month.items():
        line = Text(f"{month} ")
        for number in range(1, 32):
            line.append(*_mark(its.get(number)))
        console.print(line)
    legend = Text("        ")
    for mark, colour, meaning, _ in _MARKS:
        legend.append(mark, colour).append(f" {meaning}  ")
    console.print(legend.append(f"{_CLOSED} closed or not due"))


def _mark(day: Day | None) -> tuple[str, str]:
    if day is None or not day.expected:
        return _CLOSED, "dim"
    share = 1 - day.missing / day.expected
    return next((mark, colour) for mark, colour, _, holds in _MARKS if holds(share))
