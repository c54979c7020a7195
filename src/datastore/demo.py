"""`make demo`: real daily stock prices in, isolated, and back, on an embedded server; and the console to look at them.

Every step is a command that you could type; the demo runs, shows and times it. Running it again changes no row. The
prices are those of the package bokeh-sampledata: daily bars of five stocks, 2000 to 2013.
"""

import gzip
import importlib
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import psycopg

from datastore import config
from datastore.connections import connect
from datastore.embedded import EmbeddedServer

VENDOR = "bokeh"
SYMBOLS = ("AAPL", "FB", "GOOG", "IBM", "MSFT")


@click.command()
@click.option("--no-browser", is_flag=True, help="End without serving the console, as where there is no terminal.")
def main(no_browser: bool) -> None:
    """Write real stock prices into an embedded server, read them back, and serve the console until Ctrl-C.

    The exit code is 1 if a step failed or the isolation did not hold.
    """
    home = config.load().home
    began = time.perf_counter()
    _step("a server of our own, its schema at head", "datastore", "up", "--home", str(home))
    os.environ.update(EmbeddedServer(home).env())
    tenants = [_tenant(name) for name in ("alpha", "beta")]

    file = home / "stocks.ndjson.gz"
    converted = _convert(file)
    click.echo(f"\n{converted:,} daily bars of {', '.join(SYMBOLS)} in {file}")

    before = _transaction()
    for tenant, keep in zip(tenants, (SYMBOLS, SYMBOLS[:2]), strict=True):
        path = file if keep == SYMBOLS else _only(file, keep)
        _step(
            f"ingest for tenant {tenant['name']}",
            *("mds", "ingest-ndjson", "bars", str(path), "--tenant-id", tenant["id"]),
        )
    changed = _row_versions_since(before)
    click.echo(f"row versions written by this run: {changed:,}" + ("" if changed else " (all of it was there already)"))

    if not _read_back(tenants):
        click.echo("isolation did not hold", err=True)
        sys.exit(1)

    click.echo(f"\nall of it took {time.perf_counter() - began:.1f} s; the server goes on running. Try next:\n")
    _say_what_next(home, tenants[0])
    if not no_browser and sys.stdout.isatty():
        _console()


def _read_back(tenants: Sequence[Mapping[str, Any]]) -> bool:
    """Show each tenant's latest prices and a window of bars. Returns whether isolation held."""
    for tenant in tenants:
        _step(
            f"latest prices, as tenant {tenant['name']}",
            *("mds", "latest-prices", "--vendor", VENDOR, "--symbols", ",".join(SYMBOLS), "--tenant-id", tenant["id"]),
        )
    window = ("--timeframe", "1d", "--start", "2013-02-20", "--end", "2013-03-02", "--tenant-id")
    _step(
        "a window of bars, as tenant alpha",
        *("mds", "bars", "--vendor", VENDOR, "--symbol", "GOOG", *window, tenants[0]["id"]),
    )
    hidden = _step(
        "the same window as tenant beta, which has no GOOG",
        *("mds", "bars", "--vendor", VENDOR, "--symbol", "GOOG", *window, tenants[1]["id"]),
        code=1,
    )
    return hidden.strip() == f"error: {VENDOR} has no bars of GOOG" and _isolated(tenants[1]["id"])


def _say_what_next(home: Path, tenant: Mapping[str, Any]) -> None:
    """Print commands to try on the server that goes on running."""
    mds = shlex.quote(_program("mds"))
    control = f"{shlex.quote(_program('datastore'))} {{}} --home {shlex.quote(str(home))}"
    click.echo(f'  eval "$({control.format("env")})"')
    click.echo(f"  export MDS_TENANT_ID={tenant['id']}")
    click.echo(f"  {mds} ping")
    click.echo(f"  {mds} bars --vendor {VENDOR} --symbol IBM --timeframe 1d --start 2013-01-01 --format csv")
    datastore = shlex.quote(_program("datastore"))
    click.echo(f"  {datastore} serve --sign-in-link    # the console: charts, what is missing, jobs")
    click.echo(f"  {control.format('down')}")


def _console() -> None:
    """Serve the console in place of this program, on a free port because another service may already run."""
    click.secho("\nthe console, until Ctrl-C", bold=True)
    sys.stdout.flush()
    program = _program("datastore")
    os.execv(program, [program, "serve", "--port", "0", "--sign-in-link"])  # noqa: S606 - the command that is shown


def _program(name: str) -> str:
    """Return the path of the command beside this interpreter, relative if possible."""
    path = Path(sys.executable).with_name(name)
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _step(what: str, program: str, *arguments: str, code: int = 0) -> str:
    """Show a command, run it, show its output and how long it took, and return the output.

    `code` is the expected exit code; if it is an error's, the output includes the error message.
    """
    click.secho(f"\n{what}", bold=True)
    click.echo(f"$ {shlex.join((program, *arguments))}")
    began = time.perf_counter()
    errors = subprocess.STDOUT if code else None
    command = [_program(program), *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=errors, text=True, check=False)  # noqa: S603
    click.echo(f"{done.stdout}[{time.perf_counter() - began:.2f} s]")
    if done.returncode != code:
        sys.exit(done.returncode or 1)
    return done.stdout


def _tenant(name: str) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(
        _step(f"tenant {name}", "datastore", "tenants", "create", name, "--if-absent", "--json")
    )
    return made


def _bars() -> Iterator[dict[str, Any]]:
    """Yield the package's columns as our rows."""
    stocks = importlib.import_module("bokeh_sampledata.stocks")
    for symbol in SYMBOLS:
        columns = getattr(stocks, symbol)
        names = ("date", "open", "high", "low", "close", "volume")
        for date, open_, high, low, close, volume in zip(*(columns[name] for name in names), strict=True):
            yield {
                "vendor": VENDOR,
                "symbol": symbol,
                "timeframe": "1d",
                "ts": date,
                "open_price": open_,
                "high_price": high,
                "low_price": low,
                "close_price": close,
                "volume": volume,
            }


def _convert(file: Path) -> int:
    with gzip.open(file, "wt", encoding="utf-8") as out:
        count = 0
        for count, row in enumerate(_bars(), start=1):  # noqa: B007 - the number of rows is the answer
            out.write(json.dumps(row) + "\n")
    return count


def _only(file: Path, symbols: tuple[str, ...]) -> Path:
    """Write the part of the file with these symbols, and return its path."""
    part = file.with_name(f"stocks-{'-'.join(symbols).lower()}.ndjson.gz")
    with gzip.open(file, "rt", encoding="utf-8") as lines, gzip.open(part, "wt", encoding="utf-8") as out:
        out.writelines(line for line in lines if json.loads(line)["symbol"] in symbols)
    return part


def _transaction() -> str:
    """Return the current transaction, for `_row_versions_since`."""
    with connect(config.load().dsn()) as connection:
        row = connection.execute("SELECT pg_current_xact_id()::xid::text").fetchone()
    assert row is not None
    return str(row[0])


def _row_versions_since(transaction: str) -> int:
    """Return how many bars a later transaction has written, according to the table itself."""
    with connect(config.load().dsn()) as connection:
        row = connection.execute(
            "SELECT count(*) FROM store.bars WHERE age(xmin) < age(%s::text::xid)", (transaction,)
        ).fetchone()
    assert row is not None
    return int(row[0])


def _isolated(tenant_id: str) -> bool:
    """Check with plain SQL, as the application role and this tenant, that no other tenant's rows are visible."""
    with connect(os.environ["MDS_DSN"]) as connection:
        connection.execute("SELECT mds.use_tenant(%s)", (tenant_id,))
        row = connection.execute(
            "SELECT count(*), count(*) FILTER (WHERE tenant_id <> %s), array_agg(DISTINCT symbol) FROM public.bars",
            (tenant_id,),
        ).fetchone()
        try:
            connection.execute("SELECT 1 FROM store.bars LIMIT 1")
        except psycopg.errors.InsufficientPrivilege as error:
            refused = str(error).strip().splitlines()[0]
        else:
            return False
    assert row is not None
    click.secho("\nthe same in SQL, as tenant beta", bold=True)
    click.echo(f"public.bars: {row[0]:,} rows, {row[1]} of another tenant, symbols {', '.join(row[2])}")
    click.echo(f"store.bars: {refused}")
    return row[1] == 0 and set(row[2]) == set(SYMBOLS[:2])


if __name__ == "__main__":
    main()
