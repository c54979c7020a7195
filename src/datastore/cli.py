"""The command `datastore`, put together.

Each command calls one function of the control plane and prints what it returns; they are in `datastore.commands`.
"""

from typing import Any, Final

import click
import psycopg

from datastore import config
from datastore.commands import backfills, jobs, load, policies, schema, server, service, tenants
from datastore.embedded import EmbeddedServerError
from datastore.errors import ControlError, UnsupportedServer
from datastore.timescale_policies import PolicyError
from mds_client import __version__
from mds_client.console import guarded, summarised
from mds_client.errors import mapped

COMMANDS: Final[tuple[click.Command, ...]] = (
    server.up,
    server.down,
    server.status,
    server.env,
    schema.migrate,
    schema.stamp_head,
    schema.seed,
    schema.check,
    schema.revision,
    tenants.tenants,
    tenants.list_series,
    tenants.freshness,
    load.load,
    policies.policies,
    policies.aggregates,
    backfills.gaps,
    backfills.backfill,
    backfills.calendars,
    jobs.worker,
    jobs.jobs,
    service.serve,
    service.token,
)
"""Every command of the first level."""


class _Commands(click.Group):
    """A group in which the driver's errors become the client's, which say what to do."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except psycopg.Error as error:
            raise mapped(error) from error


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="datastore")
def datastore() -> None:
    """Set up and run a market-data store: an embedded server, migrations, tenants."""


for command in COMMANDS:
    datastore.add_command(command)
summarised(datastore)


def command_line() -> click.Group:
    """`datastore`, whose database errors are the client's."""
    return datastore


main = guarded(
    command_line,
    EmbeddedServerError,
    ControlError,
    PolicyError,
    UnsupportedServer,
    config.ConfigurationError,
)

if __name__ == "__main__":
    main()
