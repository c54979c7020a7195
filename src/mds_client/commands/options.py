"""Options that several commands share: the server, the client that they receive, and what happens to stored rows."""

import functools
from collections.abc import Callable
from typing import Any, Final, TypeAlias, get_args

import click

from mds_client.client import MDS
from mds_client.config import Config
from mds_client.errors import ConfigurationError
from mds_client.schema import OnConflict

NO_SERVER = (
    "no server is named: pass --dsn or set MDS_DSN "
    '(for a server of your own on this machine: datastore up && eval "$(datastore env)")'
)


Settings: TypeAlias = Callable[[], Config]
"""A function that returns the client's settings. Raises ConfigurationError if they are incomplete or invalid."""


def lazy_settings_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--dsn` and `--tenant-id`. The command receives `Settings` instead, because it may not need a server."""

    @click.option("--dsn", envvar="MDS_DSN", help="DSN of the database, a libpq URL. [MDS_DSN]")
    @click.option("--tenant-id", envvar="MDS_TENANT_ID", help="The tenant, a UUID. [MDS_TENANT_ID]")
    @functools.wraps(command)
    def configured(*arguments: Any, dsn: str | None, tenant_id: str | None, **options: Any) -> Any:
        def settings() -> Config:
            if not dsn:
                raise ConfigurationError(NO_SERVER)
            # One command needs few connections. The environment can override that.
            modest = {"pool_min": 0, "pool_max": 4, "app_name": "mds"}
            return Config.load({"dsn": dsn, "tenant_id": tenant_id}, defaults=modest)

        return command(settings, *arguments, **options)

    return configured


def settings_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--dsn` and `--tenant-id`. The command receives the client's settings instead of them."""

    @lazy_settings_options
    @functools.wraps(command)
    def configured(settings: Settings, *arguments: Any, **options: Any) -> Any:
        return command(settings(), *arguments, **options)

    return configured


def connection_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--dsn` and `--tenant-id`. The command receives an open client, which is closed when it ends."""

    @settings_options
    @functools.wraps(command)
    def connected(config: Config, *arguments: Any, **options: Any) -> Any:
        with MDS(config) as client:
            return command(client, *arguments, **options)

    return connected


on_conflict_option: Final = click.option(
    "--on-conflict",
    type=click.Choice(get_args(OnConflict)),
    default="replace",
    show_default=True,
    help="What happens to a stored row with the same key.",
)
"""Add `--on-conflict`."""
