"""Onboarding of a customer: a tenant, a login of its own that can be nobody else, a first file, and a check.

    datastore up && eval "$(datastore env)"
    mds dump-ndjson bars first.ndjson                     # or any other file of bars
    python examples/onboarding.py acme --bars first.ndjson

Takes DATABASE_URL (of a role that may create roles: in Docker mds_admin may not) and MDS_DSN (for the address of the
database). Running it again changes nothing but the login's password, which is printed once and kept nowhere.
"""

import json
import os
import secrets
import shlex
from pathlib import Path

import click
import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier, Literal

from datastore import tenants
from mds_client import MDS, RLSDenied


def make_login(dsn: str, role: str, password: str) -> None:
    """A login without any right; `bind_role` gives it those of one tenant."""
    with psycopg.connect(dsn) as connection:
        there = connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (role,)).rowcount
        verb = SQL("ALTER" if there else "CREATE")
        # As the server keeps it: so it is in no log.
        verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
        connection.execute(SQL("{} ROLE {} LOGIN PASSWORD {}").format(verb, Identifier(role), Literal(verifier)))


def is_isolated(dsn: str, own: str, others: list[str]) -> bool:
    """Whether the login can be its own tenant, and none of the others."""
    with MDS(dsn=dsn, tenant_id=own) as mds:
        mds.symbols()
        for other in others:
            try:
                mds.for_tenant(other).symbols()
            except RLSDenied:
                continue
            return False
    return True


@click.command()
@click.argument("name")
@click.option("--bars", type=click.Path(exists=True), help="A file of bars (NDJSON) to begin with.")
def main(name: str, bars: str | None) -> None:
    """Set up a tenant called NAME."""
    admin, application = os.environ["DATABASE_URL"], os.environ["MDS_DSN"]
    tenant = tenants.create_tenant(admin, name, if_absent=True)
    role, password = f"{name}_login", secrets.token_urlsafe(24)
    make_login(admin, role, password)
    tenants.bind_role(admin, name, role)
    dsn = make_conninfo(application, user=role, password=password)

    if bars:
        with MDS(dsn=dsn, tenant_id=str(tenant.id)) as mds, Path(bars).open(encoding="utf-8") as lines:
            click.echo(f"{mds.upsert_bars(map(json.loads, lines))} bars written")

    others = [str(other.id) for other in tenants.list_tenants(admin) if other.id != tenant.id]
    if not is_isolated(dsn, str(tenant.id), others):
        raise click.ClickException(f"{role} can be another tenant")
    click.echo(f"tenant {tenant.id}: {role} is this one, and was refused as any other ({len(others)} tried)")
    click.echo(f"export MDS_DSN={shlex.quote(dsn)}")


if __name__ == "__main__":
    main()
