"""`calendars`: say when a market is open."""

from collections.abc import Callable
from typing import Any

import click

from datastore.commands.options import database_option
from datastore.gaps import calendars as trading
from mds_client.console import json_option, show_fields, show_json, show_rows


@click.group()
def calendars() -> None:
    """Manage the trading calendars of series. The most specific assignment wins."""


def _of_what(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--symbol", help="Only series of this symbol."),
        click.option("--vendor", help="Only series of this vendor."),
        click.option("--tenant", required=True, help="The tenant, by name or UUID."),
    ):
        command = option(command)
    return command


@calendars.command("set")
@click.argument("calendar")
@_of_what
@database_option
@json_option
def set_calendar(calendar: str, tenant: str, vendor: str | None, symbol: str | None, dsn: str, as_json: bool) -> None:
    """Set the CALENDAR of series: the MIC of an exchange, 24/7 or FX.

    Example: datastore calendars set XNYS --tenant default --vendor acme
    """
    show_fields(trading.assign(dsn, tenant, calendar, vendor=vendor, symbol=symbol), as_json)


@calendars.command("unset")
@_of_what
@database_option
@json_option
def unset_calendar(tenant: str, vendor: str | None, symbol: str | None, dsn: str, as_json: bool) -> None:
    """Remove the assignment of exactly this tenant, vendor and symbol."""
    taken = trading.unassign(dsn, tenant, vendor=vendor, symbol=symbol)
    if as_json:
        show_json({"unset": taken})
    else:
        click.echo("unset" if taken else "nothing was set there")


@calendars.command("list")
@click.option("--tenant", help="Only this tenant, by name or UUID.")
@database_option
@json_option
def list_calendars(tenant: str | None, dsn: str, as_json: bool) -> None:
    """Print the assignments; - means any."""
    show_rows(trading.assignments(dsn, tenant), as_json, empty="no calendars are set")


@calendars.command("names")
@json_option
def calendar_names(as_json: bool) -> None:
    """Print the names of all calendars, with aliases."""
    found = trading.names()
    show_json(found) if as_json else click.echo("\n".join(found))
