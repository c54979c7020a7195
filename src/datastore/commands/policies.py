"""`policies` and `aggregates`: what happens to rows at a certain age, and what is derived from them."""

from datetime import datetime, timedelta
from uuid import UUID

import click

from datastore import aggregates as rollups
from datastore import cold, config, timescale_policies
from datastore.commands.follow import each
from datastore.commands.options import Age, database_option, readable, tenant_option
from datastore.timescale_policies import POLICIES
from mds_client import KINDS
from mds_client.console import Instant, json_option, show_rows


@click.group(invoke_without_command=True)
@click.option("--dsn", help="For apply: where the database is. [DATABASE_URL]")
@json_option
@click.pass_context
def policies(context: click.Context, dsn: str | None, as_json: bool) -> None:
    """Show and set policies: columnstore, retention, and how far back rollups are refreshed.

    Without a command: apply.
    """
    if context.invoked_subcommand is None:
        context.invoke(apply_policies, dsn=readable(dsn or config.load().dsn()), as_json=as_json)
    elif dsn or as_json:
        raise click.UsageError(f"put options after the command: datastore policies {context.invoked_subcommand} ...")


@policies.command("show")
@database_option
@json_option
def show_policies(dsn: str, as_json: bool) -> None:
    """Print every policy: declared value, effective value, who enforces it, and the value of the server's job.

    - means off; for refresh_within it means any age.
    """
    show_rows(timescale_policies.policies(dsn), as_json)


@policies.command("set")
@click.argument("relation")
@click.argument("policy", type=click.Choice(POLICIES))
@click.argument("age", type=Age())
@tenant_option("For cold_after: only of this tenant")
@database_option
@json_option
def set_policy(relation: str, policy: str, age: timedelta | None, tenant: UUID | None, dsn: str, as_json: bool) -> None:
    """Override a policy of a kind or rollup. The override survives migrations.

    Example: datastore policies set bars retention_after 400d
    """
    if tenant is not None:
        _of_a_tenant(policy)
        show_rows(cold.set_age(dsn, tenant, relation, age), as_json)
        return
    show_rows(timescale_policies.set_policy(dsn, relation, policy, age), as_json)


def _of_a_tenant(policy: str) -> None:
    if policy != "cold_after":
        raise click.UsageError(f"{policy} is the same for all tenants: leave --tenant out")


@policies.command("unset")
@click.argument("relation")
@click.argument("policy", type=click.Choice(POLICIES))
@tenant_option("For cold_after: of this tenant, which then has that of all")
@database_option
@json_option
def unset_policy(relation: str, policy: str, tenant: UUID | None, dsn: str, as_json: bool) -> None:
    """Go back to what is declared."""
    if tenant is not None:
        _of_a_tenant(policy)
        show_rows(cold.set_age(dsn, tenant, relation, None, own=False), as_json)
        return
    show_rows(timescale_policies.unset_policy(dsn, relation, policy), as_json)


@policies.command("apply")
@database_option
@json_option
def apply_policies(dsn: str, as_json: bool) -> None:
    """Create the server's background jobs for all policies. `migrate` does this, too."""
    show_rows(timescale_policies.apply_policies(dsn), as_json)


@policies.command("expire")
@click.option("--kind", type=click.Choice(list(KINDS)), help="Only this kind. [default: all kinds with retention]")
@click.option("--dry-run", is_flag=True, help="Only show how many rows would be removed.")
@database_option
@json_option
def expire(kind: str | None, dry_run: bool, dsn: str, as_json: bool) -> None:
    """Remove rows that are older than their retention policy."""
    kinds = [kind] if kind else list(KINDS)
    done = each(kinds, lambda name: timescale_policies.expire(dsn, name, dry_run=dry_run))
    show_rows(done, as_json, empty="no kind has retention")


@click.group()
def aggregates() -> None:
    """List and refresh rollups: bars of longer timeframes, derived from 1m bars."""


@aggregates.command("list")
@database_option
@json_option
def list_aggregates(dsn: str, as_json: bool) -> None:
    """Print every rollup, what it is derived from, and whether it is stored or computed when it is read."""
    show_rows(rollups.list_aggregates(dsn), as_json)


@aggregates.command("refresh")
@click.argument("names", nargs=-1, metavar="[ROLLUP]...")
@click.option("--start", type=Instant(), help="Start of the range, inclusive, ISO. [default: the first row]")
@click.option("--end", type=Instant(), help="End of the range, exclusive, ISO. [default: the last row]")
@database_option
@json_option
def refresh(names: tuple[str, ...], start: datetime | None, end: datetime | None, dsn: str, as_json: bool) -> None:
    """Refresh stored rollups for a time range, for example after loading old data.

    Example: datastore aggregates refresh bars_1h bars_1d --start 2024-01-01 --end 2024-02-01
    """
    done = each(rollups.rollup_names(names or None), lambda name: rollups.refresh(dsn, start, end, [name]))
    show_rows(done, as_json, empty="rollups are computed when they are read here: nothing to refresh")
