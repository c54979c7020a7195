"""`rename`: give a tenant's series another name."""

from typing import Any

import click

from datastore.commands.options import database_option, tenant_id
from mds_client import MDS
from mds_client.commands.renaming import confirmed_rename, rename_options
from mds_client.console import json_option


@click.command()
@click.option("--tenant", required=True, help="The tenant, by name or UUID.")
@rename_options
@database_option
@json_option
def rename(tenant: str, dsn: str, as_json: bool, **asked: Any) -> None:
    """Give series of a tenant another name. Prints what it renames, and asks first.

    No row is changed. A program that writes under the old name begins a new series of that name.

    Example: datastore rename --tenant demo --vendor ibkr --symbol FB --to-symbol META --dry-run
    """
    owner = str(tenant_id(dsn, tenant))
    with MDS(dsn=dsn, tenant_id=owner, app_name="datastore rename", pool_min=1, pool_max=1) as client:
        confirmed_rename(client, as_json=as_json, **asked)
