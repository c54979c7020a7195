"""`tenants`: make them, list them, bind roles to them."""

from uuid import UUID

import click

from datastore import control
from datastore.commands.options import database_option
from mds_client.console import json_option, show_fields, show_rows


@click.group()
def tenants() -> None:
    """Make tenants, list them, and bind login roles to them."""


@tenants.command("create")
@click.argument("name")
@click.option("--id", "id_", type=click.UUID, help="Its uuid. [default: a random one]")
@click.option("--if-absent", is_flag=True, help="If it is there already, that is fine.")
@database_option
@json_option
def create_tenant(name: str, id_: UUID | None, if_absent: bool, dsn: str, as_json: bool) -> None:
    """Make a tenant and print it."""
    show_fields(control.create_tenant(dsn, name, id=id_, if_absent=if_absent), as_json)


@tenants.command("list")
@database_option
@json_option
def list_tenants(dsn: str, as_json: bool) -> None:
    """Print every tenant."""
    show_rows(control.list_tenants(dsn), as_json, empty="no tenants")


@tenants.command("bind-role")
@click.argument("tenant")
@click.argument("role")
@database_option
@json_option
def bind_role(tenant: str, role: str, dsn: str, as_json: bool) -> None:
    """Bind a login ROLE to a TENANT, by name or uuid: every session of that role is that tenant, whatever it sets."""
    show_fields(control.bind_role(dsn, tenant, role), as_json)
