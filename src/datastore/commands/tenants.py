"""`tenants`, `series`, `freshness`: create and delete tenants, bind roles to them, and show their data."""

from typing import get_args
from uuid import UUID

import click

from datastore import idempotency, reads
from datastore import tenants as registry
from datastore.commands import follow as following
from datastore.commands.follow import follow_option
from datastore.commands.options import database_option, tenant_id, tenant_option
from datastore.jobs import JobRecord
from mds_client import KINDS
from mds_client.console import json_option, show_fields, show_rows


@click.group()
def tenants() -> None:
    """Create, list, disable, export and delete tenants, and bind login roles to them."""


@tenants.command("create")
@click.argument("name")
@click.option("--id", "id_", type=click.UUID, help="The id, a UUID. [default: a random one]")
@click.option("--if-absent", is_flag=True, help="Do nothing if the tenant exists.")
@database_option
@json_option
def create_tenant(name: str, id_: UUID | None, if_absent: bool, dsn: str, as_json: bool) -> None:
    """Create a tenant and print it."""
    show_fields(registry.create_tenant(dsn, name, id=id_, if_absent=if_absent), as_json)


@tenants.command("list")
@database_option
@json_option
def list_tenants(dsn: str, as_json: bool) -> None:
    """Print every tenant."""
    show_rows(registry.list_tenants(dsn), as_json, empty="no tenants")


@tenants.command("bind-role")
@click.argument("tenant")
@click.argument("role")
@click.option("--connections", type=click.IntRange(1),
              help=f"Maximum of connections. [default: {registry.CONNECTIONS}, if the role has no limit]")  # fmt: skip
@database_option
@json_option
def bind_role(tenant: str, role: str, connections: int | None, dsn: str, as_json: bool) -> None:
    """Bind a login ROLE to a TENANT, by name or UUID. Every session of the role acts as that tenant.

    Also limits what the role cannot limit itself: its connections, and the temporary files of a session. Run the
    statements of "to run" as a superuser: the control plane's role has no right to.
    """
    show_fields(registry.bind_role(dsn, tenant, role, connections=connections), as_json)


@tenants.command("unbind-role")
@click.argument("tenant")
@click.argument("role")
@database_option
@json_option
def unbind_role(tenant: str, role: str, dsn: str, as_json: bool) -> None:
    """Remove the binding of a login ROLE to a TENANT, by name or UUID, and its right to use the views.

    End the sessions of the role first.
    """
    show_fields(registry.unbind_role(dsn, tenant, role), as_json)


@tenants.command("disable")
@click.argument("tenant")
@database_option
@json_option
def disable_tenant(tenant: str, dsn: str, as_json: bool) -> None:
    """Disable a TENANT, by name or UUID: nobody can read or write as this tenant. Its data stays."""
    show_fields(registry.disable_tenant(dsn, tenant_id(dsn, tenant)), as_json)


@tenants.command("enable")
@click.argument("tenant")
@database_option
@json_option
def enable_tenant(tenant: str, dsn: str, as_json: bool) -> None:
    """Enable a TENANT again, by name or UUID."""
    show_fields(registry.enable_tenant(dsn, tenant_id(dsn, tenant)), as_json)


@tenants.command("export")
@click.argument("tenant")
@click.option("--key", required=True, help="Idempotency key: the same key is the same job.")
@click.option("--format", "format_", type=click.Choice(get_args(registry.Format)), default="ndjson", show_default=True,
              help="Format of the files.")  # fmt: skip
@click.option("--kind", "kinds", multiple=True, type=click.Choice(list(KINDS)), help="Only this kind. [default: all]")
@follow_option
@database_option
@json_option
def export_tenant(
    tenant: str,
    key: str,
    format_: registry.Format,
    kinds: tuple[str, ...],
    follow: bool,
    dsn: str,
    as_json: bool,
) -> None:
    """Enqueue an export of the rows of a TENANT, by name or UUID, and print the job.

    A worker writes one file for each kind into its DATASTORE_EXPORTS. You can load NDJSON with mds ingest-ndjson.

    Example: datastore tenants export acme --key 2024-06-leaving --format parquet
    """
    if not key.strip():
        raise click.BadParameter("it is empty", param_hint="--key")
    # The same key as over HTTP, so that it is the same job.
    job = registry.export_tenant(
        dsn,
        tenant_id(dsn, tenant),
        idempotency_key=idempotency.job_key(key, registry.EXPORT),
        format=format_,
        kinds=list(kinds) or None,
    )
    _show(job, follow, dsn, as_json)


@tenants.command("delete")
@click.argument("tenant")
@click.option("--dry-run", is_flag=True, help="Only show what would be removed. Counts every row of the tenant.")
@click.option("--yes-delete", "name", metavar="NAME", help="The tenant's name, as a confirmation.")
@follow_option
@database_option
@json_option
def delete_tenant(tenant: str, dry_run: bool, name: str | None, follow: bool, dsn: str, as_json: bool) -> None:
    """Disable a TENANT, by name or UUID, enqueue the removal of all its data, and print the job.

    Its logins lose the right to use the views. Removed data cannot be restored: export it first.

    Example: datastore tenants delete acme --yes-delete acme
    """
    if dry_run:
        show_fields(registry.plan_deletion(dsn, tenant_id(dsn, tenant)), as_json)
        return
    if name is None:
        raise click.UsageError("confirm with the tenant's name: --yes-delete NAME; or use --dry-run")
    _show(registry.delete_tenant(dsn, tenant_id(dsn, tenant), name=name), follow, dsn, as_json)


def _show(job: JobRecord, follow: bool, dsn: str, as_json: bool) -> None:
    found = following.job(dsn, job.id) if follow else job
    show_fields(found, as_json)
    if follow:
        following.end(found)


@click.command("series")
@tenant_option("Only series of this tenant")
@click.option("--kind", type=click.Choice(list(KINDS)), help="Only series of this kind.")
@click.option("--vendor", help="Only this vendor's.")
@click.option("--after", type=int, help="Only series after this id, the last one of the previous page.")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="Maximum number of results.")
@database_option
@json_option
def series(
    tenant: UUID | None, kind: str | None, vendor: str | None, after: int | None, limit: int, dsn: str, as_json: bool
) -> None:
    """Print the series, with the time and price of the newest row of each."""
    found = reads.list_series(dsn, tenant=tenant, kind=kind, vendor=vendor, after=after, limit=limit)
    show_rows(found, as_json, empty="no series")


@click.command()
@tenant_option("Only data of this tenant")
@click.option("--vendor", help="Only this vendor's.")
@database_option
@json_option
def freshness(tenant: UUID | None, vendor: str | None, dsn: str, as_json: bool) -> None:
    """Print the age of the newest data of each kind, vendor and timeframe."""
    show_rows(reads.freshness(dsn, tenant=tenant, vendor=vendor), as_json, empty="no series")
