"""Options of the commands that use a vendor's API: the vendor, its options, and the series."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from mds_client.console import show_rows
from mds_client.errors import ConfigurationError
from mds_client.values import timeframes
from mds_client.vendors import Vendor, make, vendors


def _list_vendors(context: click.Context, _parameter: click.Parameter, asked: bool) -> None:
    """Show the vendors and exit."""
    if not asked or context.resilient_parsing:
        return
    show_rows(
        [
            {
                "vendor": name,
                "asks": one.title,
                "installed": one.installed(),
                "credentials": ", ".join(names.replace("|", " or ") for names in one.variables),
                "timeframes": ", ".join(one.intervals),
            }
            for name, one in vendors().items()
        ],
        as_json=bool(context.params.get("as_json")),
    )
    context.exit()


def _names(_context: click.Context, _parameter: click.Parameter, begin: str) -> list[str]:
    """Return the names of vendors, for shell completion."""
    return [name for name in vendors() if name.startswith(begin)]


def _timeframe(_context: click.Context, _parameter: click.Parameter, text: str) -> str:
    """Return a timeframe in the store's spelling."""
    try:
        return str(timeframes.canonical(text))
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def vendor_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of both commands for the vendor, the symbols and the timeframe."""
    for option in reversed(_VENDOR_OPTIONS):
        command = option(command)
    return command


_VENDOR_OPTIONS: tuple[Callable[..., Any], ...] = (
    click.argument("name", metavar="VENDOR", shell_complete=_names),
    click.argument("symbols", metavar="SYMBOL...", nargs=-1, required=True),
    click.option(
        "--timeframe", required=True, callback=_timeframe, help="Timeframe of the bars, such as 1d, 1h or 1m."
    ),
    click.option(
        "--option",
        "options",
        metavar="NAME=VALUE",
        multiple=True,
        help="An option of the vendor, such as exchange=binance. Repeatable.",
    ),
    click.option("--vendor", "stored_as", help="Vendor of the stored bars. [default: as the vendor's files have it]"),
    click.option(
        "--list-vendors", is_flag=True, is_eager=True, callback=_list_vendors, expose_value=False,
        help="List the vendors, and end.",
    ),
)  # fmt: skip


def vendor_of(name: str, options: tuple[str, ...]) -> Vendor:
    """Make the vendor with its options. Raises UsageError if an option is wrong."""
    given = {}
    for text in options:
        key, mark, value = text.partition("=")
        if not mark or not key:
            raise click.UsageError(f"--option: {text!r} is not NAME=VALUE")
        given[key] = value
    try:
        return make(name, given)
    except ConfigurationError as error:
        raise click.UsageError(str(error)) from None


def rejects_of(symbol: str) -> Path:
    """Return the file for invalid rows of a symbol, in the current folder."""
    return Path(f"{''.join(one if one.isalnum() or one in '._-' else '_' for one in symbol)}.rejects.ndjson")
