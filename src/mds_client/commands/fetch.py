"""The command `mds fetch`: writes bars from a vendor's API."""

import sys
from contextlib import closing
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import click

from mds_client.client import MDS
from mds_client.commands.options import Settings, lazy_settings_options, on_conflict_option
from mds_client.commands.reports import Done, Watch, end
from mds_client.commands.vendors import rejects_of, vendor_of, vendor_options
from mds_client.console import FAILED, REJECTS, Instant, counted, fail, json_option, one_line, show_json, show_rows
from mds_client.errors import ConfigurationError, MDSError
from mds_client.models import Row
from mds_client.schema import KINDS, TENANT_COLUMN, OnConflict
from mds_client.transfer.imports import PART_ROWS, Importing
from mds_client.vendors import Fetched, Vendor, Wanted
from mds_client.vendors.fetched import seconds

SHOWN: int = 5
"""The number of bars of a symbol that a dry run shows."""


@click.command("fetch")
@vendor_options
@click.option(
    "--start", required=True, type=Instant(), help="Start of the range, inclusive: ISO, UTC if it names no zone."
)
@click.option(
    "--end", "until", type=Instant(), help="End of the range, exclusive: ISO, UTC if it names no zone. [default: now]"
)
@on_conflict_option
@click.option("--dry-run", is_flag=True, help="Write nothing; show the first bars as stored.")
@lazy_settings_options
@json_option
def fetch(
    settings: Settings,
    name: str,
    symbols: tuple[str, ...],
    timeframe: str,
    options: tuple[str, ...],
    stored_as: str | None,
    start: datetime,
    until: datetime | None,
    on_conflict: OnConflict,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Ask a vendor's API for bars of symbols, and write them.

    The vendor's own library asks. Install the extra with the vendor's name. Credentials come from the environment
    (mds fetch --list-vendors). Prices are raw where the vendor has raw ones. A bar whose time is not over is left out.
    Invalid rows go to SYMBOL.rejects.ndjson. A symbol that the vendor does not know, or has no bars of, does not stop
    the others. Both make the exit code 3. Running the same command again changes nothing, and completes a run that was
    stopped.

    Example: mds fetch yfinance AAPL MSFT --timeframe 1d --start 2024-01-01
    """
    config = None if dry_run else settings()
    vendor = vendor_of(name, options)
    until = until or datetime.now(UTC)
    if until <= start:
        raise click.UsageError("--end is not after --start")
    try:
        vendor.interval(timeframe)
        vendor.library()
    except ConfigurationError as error:
        raise click.UsageError(str(error)) from None
    wanted = [Wanted(symbol, timeframe, start, until) for symbol in dict.fromkeys(symbols)]
    if config is None:
        sys.exit(_dry_run(vendor, wanted, stored_as, as_json))
    reports: list[Done] = []
    stopped: MDSError | KeyboardInterrupt | None = None
    with MDS(config) as client, Watch({one.symbol: seconds(one) for one in wanted}) as watch:
        for one in wanted:
            done = _fetch(client, vendor, one, stored_as, on_conflict, watch)
            watch.end(one.symbol)
            reports.append(done)
            if not as_json and (done.error is None or len(wanted) > 1):
                watch.say(_sentence(done), err=done.error is not None)
            if done.error is not None and not done.is_of_file:
                stopped = done.error
                break
    end(reports, stopped, as_json=as_json, what="symbol", done_to_it="fetched")


def _fetch(
    client: MDS, vendor: Vendor, wanted: Wanted, stored_as: str | None, on_conflict: OnConflict, watch: Watch
) -> Done:
    """Fetch one symbol, up to the first error."""
    source = Fetched(vendor, wanted, stored_as)
    importing = Importing(
        client, source, KINDS["bars"], rejects_of(wanted.symbol), on_conflict=on_conflict, part_rows=PART_ROWS
    )
    moved = watch.begin(wanted.symbol)
    error: MDSError | KeyboardInterrupt | None = None
    try:
        importing.run(lambda done, size: moved(done / size if size else 0.0, importing.report().rows))
    except (MDSError, KeyboardInterrupt) as stop:
        error = stop
    if source.running:
        watch.say(f"{wanted.symbol}: {counted(source.running, 'bar')} left out: not over yet", err=True)
    return Done(wanted.symbol, importing.report(), error)


def _sentence(done: Done) -> str:
    if done.error is None:
        return done.sentence()
    rows = 0 if done.report is None else done.report.rows
    return f"{done.said}{f' ({rows:,} rows are written)' if rows else ''}"


def _dry_run(vendor: Vendor, wanted: list[Wanted], stored_as: str | None, as_json: bool) -> int:
    """Show the first bars of each symbol. Returns the exit code."""
    code = 0
    shown: list[dict[str, Any]] = []
    for one in wanted:
        rows, invalid, failure = _first(Fetched(vendor, one, stored_as))
        if failure is not None and len(wanted) == 1:
            fail(failure, FAILED)
        invalid += [failure] if failure is not None else []
        first = [row.model_dump(mode="json", exclude={TENANT_COLUMN}, exclude_none=True) for row in islice(rows, SHOWN)]
        code = REJECTS if invalid else code
        if as_json:
            shown.append({"symbol": one.symbol, "rows": first, "invalid": invalid[:SHOWN]})
            continue
        click.echo(f"{one.symbol}: the first {counted(len(first), 'row')} as stored; nothing is written")
        show_rows(first, as_json=False)
        for said in invalid[:SHOWN]:
            click.echo(f"invalid: {one_line(said)}", err=True)
    if as_json:
        show_json({"vendor": vendor.name, "symbols": shown})
    return code


def _first(source: Fetched) -> tuple[list[Row], list[str], str | None]:
    """Return the first bars of a symbol, the invalid ones before them, and the error, if any, that ended them."""
    invalid: list[str] = []
    rows: list[Row] = []

    def reject(line: int, why: str, _text: str) -> None:
        invalid.append(f"row {line}: {why}")

    try:
        with closing(source):
            for part in source.parts(1_000, reject):
                rows += part.sifted(reject).rows
                if len(rows) >= SHOWN:
                    break
    except MDSError as error:
        return rows, invalid, one_line(str(error))
    return rows, invalid, None
