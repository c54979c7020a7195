"""`vendors`: which vendors' symbols are case-sensitive."""

import click

from datastore import vendors as declarations
from datastore.commands.options import database_option
from mds_client.console import json_option, show_fields, show_json, show_rows


@click.group()
def vendors() -> None:
    """Declare vendors whose symbols are case-sensitive, for all tenants."""


@vendors.command("list")
@database_option
@json_option
def list_vendors(dsn: str, as_json: bool) -> None:
    """Print the vendors whose symbols are case-sensitive, and the number of their series."""
    show_rows(declarations.declared(dsn), as_json, empty="no vendor is declared: all symbols are in upper case")


@vendors.command("set")
@click.argument("vendor")
@click.option("--case-sensitive", is_flag=True, required=True, help="AMpB and AMPB are two instruments.")
@database_option
@json_option
def set_vendor(vendor: str, case_sensitive: bool, dsn: str, as_json: bool) -> None:  # noqa: ARG001 - the only choice
    """Declare the symbols of VENDOR case-sensitive, for all tenants and clients.

    Series that exist stay as they are, in upper case. Declare a vendor before you write its rows.

    Example: datastore vendors set acme --case-sensitive
    """
    found = declarations.declare(dsn, vendor)
    show_fields(found, as_json)
    if found.series and not as_json:
        click.echo(
            f"{found.vendor} has {found.series:,} series. Those that existed before are in upper case, and stay so.",
            err=True,
        )


@vendors.command("unset")
@click.argument("vendor")
@database_option
@json_option
def unset_vendor(vendor: str, dsn: str, as_json: bool) -> None:
    """Take the declaration of VENDOR back. Refused while it has symbols that are not in upper case."""
    taken = declarations.withdraw(dsn, vendor)
    if as_json:
        show_json({"unset": taken})
    else:
        click.echo("unset" if taken else "nothing was set there")
