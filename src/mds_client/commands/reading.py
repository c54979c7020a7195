"""Commands of `mds` that read: the rows of each kind, rollups, option chains, series and coverage.

The command of a kind is derived from its declaration. The options are in `mds_client.commands.printing`.
"""

import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import click

from mds_client.client import MDS
from mds_client.commands.options import connection_options
from mds_client.commands.printing import Printer, filter_options, filters_of, limit_option, output_options
from mds_client.console import Instant, fail
from mds_client.models import Coverage, DataQualityWarning, Series
from mds_client.output.sheets import records, sheet_of_kind, sheet_of_model
from mds_client.reading import listings
from mds_client.reading.arguments import time_span
from mds_client.reading.missing import NO_TENANT
from mds_client.schema import KINDS, Kind

EVER = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


def reader(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of every reading command, which receives a client and a printer."""
    return connection_options(limit_option(output_options(command)))


def read_command(kind: Kind) -> click.Command:
    """Make `mds <kind>`, which prints the rows of a kind, with the filters that apply to it."""

    @filter_options(*filters_of(kind))
    @reader
    def read(client: MDS, printer: Printer, **filters: Any) -> None:
        why_empty = _explanation(client, kind, filters)
        batches = _streamed(client.iter_rows(cast("Any", kind.model), **filters))
        printer.show(sheet_of_kind(kind), records(batches), why_empty)

    example = f"mds {kind.name} --vendor ibkr --start 2024-01-01 --output {kind.name}.csv"
    return click.Command(
        kind.name,
        callback=read,
        params=read.__click_params__,  # type: ignore[attr-defined]
        help=f"""Print the rows of {kind.name}, by series, and oldest first within a series.

        Without filters: every row of the tenant. A series that does not exist is an error, with the names that may have
        been meant.

        Example: {example}""",
    )


@click.command()
@filter_options(required=("vendor", "symbols", "timeframe"))
@reader
def rollup(
    client: MDS,
    printer: Printer,
    vendor: str,
    symbols: list[str],
    timeframe: str,
    start: datetime | None,
    end: datetime | None,
) -> None:
    """Print bars of a longer timeframe, computed from the 1m bars of symbols.

    The timeframe is a declared rollup (5m, 1h), a multiple of 1m that a day consists of (30m, 4h), or 1w, 1mo, 1q or 1y
    by the calendar.

    Example: mds rollup --vendor ibkr --symbol AAPL,MSFT --timeframe 1h --start 2024-01-02
    """
    kind = KINDS["bars"]
    asked = {"vendor": vendor, "symbols": symbols, "timeframe": kind.base}
    batches = client.iter_rollup(symbols, timeframe, start or EVER[0], end or EVER[1], vendor, missing="ignore")
    why_empty = _explanation(client, kind, {**asked, "start": start, "end": end})
    printer.show(sheet_of_kind(kind), records(batches), why_empty)


@click.command("option-chain")
@filter_options("vendor", "symbols", required=("vendor", "symbols"))
@click.option("--at", type=Instant(), help="As it was known at this time, ISO; without a zone UTC. [default: now]")
@click.option(
    "--within-days", type=click.FloatRange(0, min_open=True), default=7, show_default=True,
    help="How old a snapshot may be at that time, in days.",
)  # fmt: skip
@reader
def option_chain(
    client: MDS, printer: Printer, vendor: str, symbols: list[str], at: datetime | None, within_days: float
) -> None:
    """Print the option chain of symbols: the newest snapshot of each contract that has not expired.

    Example: mds option-chain --vendor ibkr --symbol AAPL --at 2024-01-02T21:00Z --format csv
    """
    kind = KINDS["options"]
    at, within = at or datetime.now(UTC), timedelta(days=within_days)
    asked = {"vendor": vendor, "symbols": symbols, "start": at - within, "end": at}
    why_empty = _explanation(client, kind, asked)
    chains = (client.option_chain(symbol, at, vendor, within=within, missing="ignore") for symbol in sorted(symbols))
    printer.show(sheet_of_kind(kind), records(chains), why_empty)


def _kind(_context: click.Context, _parameter: click.Parameter, name: str) -> Kind:
    if name not in KINDS:
        raise click.BadParameter(KINDS.unknown(name))
    return KINDS[name]


kind_argument = click.argument("kind", metavar="[KIND]", default="bars", callback=_kind)


@click.command()
@kind_argument
@filter_options("vendor", "symbols", "timeframe")
@reader
def series(client: MDS, printer: Printer, kind: Kind, **filters: Any) -> None:
    """Print the series of a kind, by default bars: with their newest time and, if the kind has one, newest price.

    Example: mds series bars --vendor ibkr --symbol AAPL,MSFT
    """
    why_empty = _explanation(client, kind, filters)
    found = client.series(kind, **_by_series(filters))
    printer.show(sheet_of_model("series", Series), records(iter([found])), why_empty)


@click.command()
@kind_argument
@filter_options()
@reader
def coverage(client: MDS, printer: Printer, kind: Kind, **filters: Any) -> None:
    """Print the first time, the last time and the number of rows of each series of a kind, by default bars.

    It reads all rows of these series in that time.

    Example: mds coverage bars --vendor ibkr --start 2024-01-01
    """
    why_empty = _explanation(client, kind, filters)
    found = client.coverage(kind, **_by_series(filters), start=filters["start"], end=filters["end"])
    printer.show(sheet_of_model("coverage", Coverage), records(iter([found])), why_empty)


READ_COMMANDS = (rollup, option_chain, series, coverage)


def _by_series(filters: dict[str, Any]) -> dict[str, Any]:
    """Return the filters that name series, with the argument names of the client's methods."""
    return {"vendor": filters["vendor"], "symbol": filters.get("symbols"), "timeframe": filters.get("timeframe")}


def _explanation(client: MDS, kind: Kind, filters: dict[str, Any]) -> Callable[[], str]:
    """Return a function that explains an empty result. Fails if no series matches; warns if some do not exist."""
    time_span(filters.get("start") or EVER[0], filters.get("end") or EVER[1])
    there = client.run(listings.known(kind, **_by_series(filters)))
    named = any(value is not None for value in _by_series(filters).values())
    if not there.series and (named or there.said == NO_TENANT):
        fail(there.said or f"there are no {kind.name}")
    if there.series and there.said is not None:
        click.echo(f"warning: {there.said}", err=True)

    def why_empty() -> str:
        if not there.series and there.said is not None:
            return there.said
        newest = "" if there.newest is None else f"; the newest is of {there.newest.isoformat()}"
        spanned = filters.get("start") is not None or filters.get("end") is not None
        return f"no {kind.name}{' in this time' if spanned else ''}{newest}"

    return why_empty


def _streamed(batches: Iterator[list[Any]]) -> Iterator[list[Any]]:
    """Yield the batches without the warning about an empty result, which `_explanation` gives."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataQualityWarning)
        yield from batches
