"""The command `mds`: health, writing a row, reading, and NDJSON ingest, from a shell.

The commands of a kind are derived from its declaration. Output is a table, or JSON with `--json`; an error is one line
on standard error and an exit code: 1 for a failure, 2 for wrong usage, 3 for an ingest with rejects. The ingest
commands are in `mds_client.commands.ingest`.
"""

import copy
import json
import sys
import time
from collections.abc import Callable
from typing import Any, TypeAlias, cast

import click
from pydantic import ValidationError

from mds_client._version import __version__
from mds_client.client import MDS
from mds_client.commands.fetch import fetch
from mds_client.commands.importing import import_files
from mds_client.commands.ingest import ingest_ndjson, ingest_ndjson_async
from mds_client.commands.options import connection_options
from mds_client.commands.plot import plot
from mds_client.commands.printing import comma_separated, filter_options
from mds_client.commands.reading import READ_COMMANDS, read_command
from mds_client.commands.renaming import rename
from mds_client.commands.sql import run_sql
from mds_client.commands.stream import stream
from mds_client.console import (
    FAILED,
    FileName,
    confirmed_delete,
    counted,
    fail,
    guarded,
    json_option,
    plain,
    show_fields,
    show_json,
    show_rows,
    summarised,
)
from mds_client.errors import InvalidRow, reason
from mds_client.export import Dump, dump_csv, dump_ndjson, dump_parquet
from mds_client.jobs import PRIORITIES, Priority
from mds_client.models import Row
from mds_client.schema import KINDS, TENANT_COLUMN, Kind, SqlType


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="mds")
def mds() -> None:
    """Write and read market data, as one tenant.

    Every command takes --dsn and --tenant-id, or MDS_DSN and MDS_TENANT_ID from the environment; the client's other
    settings come from MDS_<KEY> (MDS_WRITE_MODE, MDS_STATEMENT_TIMEOUT_MS, …).
    """


@mds.command()
@connection_options
@json_option
def ping(client: MDS, as_json: bool) -> None:
    """Show the connection: server, engine, schema version, role, tenant, and how long an answer takes.

    Example: mds ping --dsn postgresql://app@localhost/mds
    """
    client.health()
    began = time.perf_counter()
    health = client.health()
    elapsed = (time.perf_counter() - began) * 1000
    fields = {name: getattr(health, name) for name in health.__dataclass_fields__}
    show_fields({"ok": True, **fields, "milliseconds": round(elapsed, 2)}, as_json)


@mds.command("schema-version")
@connection_options
@json_option
def schema_version(client: MDS, as_json: bool) -> None:
    """Print the schema version of the database. Fails if it is not migrated.

    Example: mds schema-version
    """
    version = client.schema_version()
    if version is None and not as_json:
        fail("the database is not migrated: run datastore migrate")
    show_json({"schema_version": version}) if as_json else click.echo(version)
    if version is None:
        sys.exit(FAILED)


@mds.command("latest-prices")
@filter_options("vendor", "symbols", required=("vendor", "symbols"))
@connection_options
@json_option
def latest_prices(client: MDS, vendor: str, symbols: list[str], as_json: bool) -> None:
    """Print the newest close of each symbol, over all its timeframes.

    Example: mds latest-prices --vendor ibkr --symbols AAPL,MSFT
    """
    prices = client.latest_prices(symbols, vendor)
    show_rows(prices, as_json, ("vendor", "symbol", "price", "price_timestamp"), empty="no prices")


@mds.command()
@click.argument("kind", metavar="KIND")
@filter_options(required=("vendor",))
@click.option("--dry-run", is_flag=True, help="Delete nothing; print what would be deleted.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@connection_options
@json_option
def delete(
    client: MDS, kind: str, symbols: list[str] | None, dry_run: bool, yes: bool, as_json: bool, **filters: Any
) -> None:
    """Delete rows of a kind for good. Prints what it deletes, and asks first.

    Example: mds delete bars --vendor ibkr --symbols AAPL --start 2611-01-01 --dry-run
    """
    _known(kind)
    if symbols is not None:
        filters["symbol"] = symbols
    confirmed_delete(client, kind, filters, dry_run=dry_run, yes=yes, as_json=as_json)


for command in READ_COMMANDS:
    mds.add_command(command)
mds.add_command(rename)
mds.add_command(plot)
mds.add_command(run_sql)
mds.add_command(import_files)
mds.add_command(fetch)
mds.add_command(stream)
mds.add_command(ingest_ndjson)
mds.add_command(ingest_ndjson_async)


@mds.command("enqueue-job")
@click.option("--idempotency-key", required=True, help="The same key is always the same job.")
@click.option("--job-type", required=True, help="The job type.")
@click.option("--payload", default="{}", show_default=True, help="The payload, JSON.")
@click.option(
    "--priority",
    default="normal",
    show_default=True,
    help=f"{', '.join(PRIORITIES)}, or a number from 0 to 100; larger numbers run first.",
)
@connection_options
@json_option
def enqueue_job(client: MDS, idempotency_key: str, job_type: str, payload: str, priority: str, as_json: bool) -> None:
    """Enqueue a job and print it. If the key exists, print that job.

    Example: mds enqueue-job --idempotency-key aapl-2024 --job-type backfill --payload '{"symbol": "AAPL"}'
    """
    try:
        body = json.loads(payload)
    except json.JSONDecodeError as error:
        raise click.BadParameter(f"not JSON: {error}", param_hint="--payload") from error
    rank = int(priority) if priority.isdigit() else cast("Priority", priority)
    job = client.enqueue_job(idempotency_key, job_type, body, rank)
    fields = plain(job)
    show_fields(fields if as_json else {**fields, "payload": json.dumps(job.payload)}, as_json)


Decorator: TypeAlias = Callable[[Callable[..., None]], Callable[..., None]]


def _as_it_is(command: Callable[..., None]) -> Callable[..., None]:
    return command


def _parquet_options(command: Callable[..., None]) -> Callable[..., None]:
    columns = click.option(
        "--columns", help="Only these columns, separated by commas, in this order.", callback=comma_separated
    )
    connections = click.option(
        "--connections",
        type=click.IntRange(1),
        help="Connections to read over; 1 for a server with a single session. [default: 4, or the pool's most]",
    )
    return columns(connections(command))


def _dump_command(
    name: str,
    dump: Callable[..., Dump],
    about: str,
    order: str = "by series and then by time",
    more: Decorator = _as_it_is,
) -> None:
    """Add `mds dump-<format>`, which writes rows of a kind into a file. `more` adds options."""

    @mds.command(f"dump-{name}", help=f"""Write rows of a kind into a {about}, or to standard output for -.

        A file appears when it is whole. Without filters: every row of the tenant, {order}.

        Example: mds dump-{name} bars ./bars.{name} --vendor ibkr --symbols AAPL,MSFT --start 2024-01-01
        """)  # fmt: skip
    @click.argument("kind", metavar="KIND")
    @click.argument("path", metavar="FILE|-", type=FileName())
    @filter_options()
    @more
    @connection_options
    @json_option
    def command(client: MDS, kind: str, path: str, as_json: bool, **filters: Any) -> None:
        _known(kind)
        done = dump(client, kind, path, **{key: value for key, value in filters.items() if value is not None})
        # Standard output may contain the rows, so print the report to standard error then.
        if as_json:
            click.echo(json.dumps(plain(done)), err=path == "-")
        else:
            click.echo(
                f"{done.kind}: {counted(done.rows, 'row')} in {done.target} in {done.seconds:.2f} s", err=path == "-"
            )


_dump_command("ndjson", dump_ndjson, "file of NDJSON (.gz and .zst are compressed), which ingest-ndjson takes again")
_dump_command("csv", dump_csv, "CSV file (.gz and .zst are compressed)")
_dump_command(
    "parquet",
    dump_parquet,
    "Parquet file, over several connections that see the same rows",
    "by vendor, symbol and timeframe, and then by time",
    _parquet_options,
)


def _known(kind: str) -> None:
    if kind not in KINDS:
        raise click.BadParameter(KINDS.unknown(kind), param_hint="KIND")


def write_command(kind: Kind) -> click.Command:
    """Make `mds write-<singular>`, with an option for each field of the kind's model."""
    fields = {name: info for name, info in kind.model.model_fields.items() if name != TENANT_COLUMN}

    @connection_options
    @json_option
    def write(client: MDS, as_json: bool, **values: str | None) -> None:
        given = {name: value for name, value in values.items() if value is not None}
        try:
            row = cast("Row", kind.model.model_validate(given))
        except ValidationError as error:
            raise InvalidRow(reason(error)) from error
        written = client.upsert(kind.name, [row])
        show_json({"written": written}) if as_json else click.echo(f"{written} {kind.singular} written")

    summary = (kind.model.__doc__ or "").strip().split("\n\n")[0].replace("\n", " ")
    return click.Command(
        f"write-{kind.singular}",
        callback=write,
        params=[
            *(
                click.Option(
                    [f"--{name.replace('_', '-')}"],
                    required=info.is_required(),
                    help=_type_name(kind, name),
                    metavar="TEXT",
                )
                for name, info in fields.items()
            ),
            *cast("list[click.Parameter]", write.__click_params__),  # type: ignore[attr-defined]
        ],
        help=f"Write one row of {kind.name}; writing it again changes nothing.\n\n{summary}",
    )


def _type_name(kind: Kind, field: str) -> str:
    if field in kind.series:
        return "text"
    said: dict[SqlType, str] = {
        "timestamptz": "time, ISO; without a zone UTC",
        "jsonb": "numbers by name, as a JSON object",
    }
    return said.get(kind.column(field).type, kind.column(field).type)


def command_line() -> click.Group:
    """Return `mds` with the commands of every declared kind."""
    group = copy.copy(mds)
    derived = (made for kind in KINDS.values() for made in (read_command(kind), write_command(kind)))
    group.commands = {**mds.commands, **{command.name or "": command for command in derived}}
    return summarised(group)


main = guarded(command_line)

if __name__ == "__main__":
    main()
