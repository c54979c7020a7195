"""`mds rename`, and what it shares with `datastore rename`."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from mds_client.client import MDS
from mds_client.commands.options import connection_options
from mds_client.console import counted, fail, json_option, show_json, show_rows
from mds_client.schema import KINDS

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--vendor", required=True, help="Vendor of the series."),
    click.option("--symbol", "symbols", multiple=True, help="Only this symbol. Repeatable. [default: all symbols]"),
    click.option("--timeframe", help="Only this timeframe."),
    click.option("--kind", type=click.Choice(list(KINDS)), help="Only series of this kind. [default: all that fit]"),
    click.option("--to-symbol", help="The new symbol."),
    click.option("--to-vendor", help="The new vendor."),
    click.option("--to-timeframe", help="The new timeframe."),
    click.option("--dry-run", is_flag=True, help="Rename nothing; print what would be renamed."),
    click.option("--yes", is_flag=True, help="Do not ask."),
)


def rename_options(command: F) -> F:
    """Add the options that say which series are renamed, and to what."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def confirmed_rename(
    client: MDS, *, symbols: tuple[str, ...], dry_run: bool, yes: bool, as_json: bool, **asked: Any
) -> None:
    """Print the series that would be renamed. Rename them with `yes`, or if the user confirms."""
    if as_json and not (dry_run or yes):
        raise click.UsageError("with --json nobody is asked: add --yes, or --dry-run")
    found = client.rename(**asked, symbol=list(symbols) or None, dry_run=True)
    if not dry_run:
        if not yes:
            show_rows(found.series, False, empty="no series")
            if not click.confirm(f"Rename {counted(len(found.series), 'series')}?", err=True):
                fail("nothing is renamed")
        found = client.rename(**asked, symbol=list(symbols) or None)
    if as_json:
        show_json(found)
        return
    show_rows(found.series, False, empty="no series")
    click.echo(f"{counted(len(found.series), 'series')} {'would be renamed' if dry_run else 'renamed'}")


@click.command()
@rename_options
@connection_options
@json_option
def rename(client: MDS, as_json: bool, **asked: Any) -> None:
    """Give series another name. Prints what it renames, and asks first.

    No row is changed. A program that writes under the old name begins a new series of that name.

    Example: mds rename --vendor ibkr --symbol FB --to-symbol META --dry-run
    """
    confirmed_rename(client, as_json=as_json, **asked)
