"""`serve`, `token create`: the admin HTTP API, the console, and their tokens."""

import logging
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import click
from psycopg.conninfo import make_conninfo

from datastore import config
from datastore.commands.options import Age, cannot_listen, database_option, readable, tenant_id
from datastore.config import SettingsError
from datastore.connections import not_the_operators
from datastore.service import tokens
from datastore.service.tokens import Scope
from mds_client.console import json_option, show_fields


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="The port; 0 is a free one."
)
@click.option(
    "--sign-in-link",
    is_flag=True,
    help="Also print a link that signs one browser in to the console, as an administrator, within ten minutes.",
)
@database_option
@json_option
def serve(host: str, port: int, sign_in_link: bool, dsn: str, as_json: bool) -> None:
    """Serve the admin API and the console until SIGTERM or SIGINT, then finish what is under way.

    Needs a token in DATASTORE_TOKENS or DATASTORE_TOKENS_FILE (datastore token create), or --sign-in-link. Speaks HTTP
    without TLS: put a proxy in front to serve other hosts.
    """
    try:
        from datastore import console
        from datastore.service import server
    except ModuleNotFoundError as error:
        raise SettingsError(f"{error.name} is missing: install the extra service (see Installing)") from error

    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s %(message)s", level=logging.INFO)
    # Do not wait for the database: a service may start before it.
    if (why := not_the_operators(make_conninfo(dsn, connect_timeout=2))) is not None:
        raise SettingsError(why)
    try:
        settings = replace(config.load(), database_url=dsn)
        app, link = console.with_sign_in_link(settings) if sign_in_link else (console.create_app(settings), None)
        server.run(app, settings, host=host, port=port, as_json=as_json, sign_in=link)
    except server.CannotListen as error:
        raise cannot_listen("--port", port, host, error.why) from error


@click.group()
def token() -> None:
    """Create tokens for the admin API."""


@token.command("create")
@click.option("--name", required=True, help="Name of the user, for the log.")
@click.option(
    "--scope",
    type=click.Choice(list(Scope.__members__)),
    required=True,
    help="What the token can do; each scope includes those before it.",
)
@click.option("--expires", type=Age(), help="Lifetime of the token, such as 90d. [default: unlimited]")
@click.option("--tenant", help="Limit the token to this tenant, by name or UUID. [default: the whole store]")
@click.option("--dsn", help="DSN of the database, which is asked for the tenant of a name. [DATABASE_URL]")
@json_option
def create_token(
    name: str, scope: str, expires: timedelta | None, tenant: str | None, dsn: str | None, as_json: bool
) -> None:
    """Create a token, and print it with its line for the configuration.

    The token is shown once and stored nowhere. The line contains its hash. Add it to DATASTORE_TOKENS, or to the file
    that DATASTORE_TOKENS_FILE names. A running service reads the file again when it changes.
    """
    try:
        made = tokens.create(
            name, Scope[scope], expires_in=expires, tenant=None if tenant is None else _only(tenant, dsn)
        )
    except OverflowError:
        raise click.BadParameter("the time is after the year 9999", param_hint="--expires") from None
    show_fields({"token": made.token, "line": made.line}, as_json)


def _only(tenant: str, dsn: str | None) -> UUID:
    """Return the tenant of a token: a UUID as it is, without a database, or that of a name."""
    try:
        return UUID(tenant)
    except ValueError:
        return tenant_id(readable(dsn or config.load().dsn()), tenant)
