"""`python -m benchmarks.arrow_http`: bars as Arrow over HTTP, beside the same bars read by the client itself.

Fills a store with bars by the server itself and starts `datastore serve`. In each round it reads all bars by the client
as Arrow, and then over HTTP. Prints both rates and the ratio of each round.
"""

import os
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

import click
import psycopg
import pyarrow as pa

from benchmarks.servers import databases
from datastore import tenants
from datastore.service import tokens
from datastore.service.tokens import Scope
from mds_client import MDS

SERIES = 100
TARGET = 0.7
WINDOW = ("2020-01-01", "2030-01-01")


def fill(dsn: str, rows: int) -> None:
    """Minutes of the series of the first tenant."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO store.series (series_id, kind, vendor, symbol, timeframe, last_ts)"
            " SELECT (1::bigint << 40) + n, 'bars', 'acme', 'S' || n, '1m', now() FROM generate_series(1, %s) AS n",
            (SERIES,),
        )
        connection.execute(
            "INSERT INTO store.bars (series_id, ts, open_price, high_price, low_price, close_price, volume)"
            " SELECT (1::bigint << 40) + n, TIMESTAMPTZ '2024-01-01Z' + d * INTERVAL '1 minute', d, d + 1, d - 1, d, d"
            " FROM generate_series(1, %s) AS n, generate_series(1, %s) AS d",
            (SERIES, rows // SERIES),
        )
        connection.execute("VACUUM (ANALYZE) store.bars")


@contextmanager
def serving(dsn: str, line: str) -> Iterator[str]:
    """The service as a process of its own."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    process = subprocess.Popen(
        [Path(sys.executable).parent / "datastore", "serve", "--port", str(port)],
        env={**os.environ, "DATABASE_URL": dsn, "DATASTORE_TOKENS": line},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"{url}/ready").close()
                break
            except (urllib.error.URLError, ConnectionError):
                if process.poll() is not None or time.monotonic() > until:
                    raise
                time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.wait()


@click.command()
@click.option("--rows", default=1_000_000, show_default=True)
@click.option("--rounds", default=5, show_default=True)
@click.option("--engine", default="postgres", type=click.Choice(["postgres", "timescale-apache"]), show_default=True)
def main(rows: int, rounds: int, engine: str) -> None:
    """Fill, and measure."""
    symbols = [f"S{number}" for number in range(1, SERIES + 1)]
    with databases(engine) as source, source.migrated() as where:
        tenant = tenants.create_tenant(where.admin_dsn, "bench")
        fill(where.superuser_dsn, rows)
        token = tokens.create("bench", Scope.read)
        asked = [("vendor", "acme"), ("timeframe", "1m"), ("start", WINDOW[0]), ("end", WINDOW[1]), ("format", "arrow")]
        query = urlencode([*asked, *(("symbol", symbol) for symbol in symbols)])
        with serving(where.admin_dsn, token.line) as url, MDS(dsn=where.dsn, tenant_id=str(tenant.id)) as mds:
            path = f"{url}/tenants/{tenant.id}/bars?{query}"
            request = urllib.request.Request(path, headers={"Authorization": f"Bearer {token.token}"})

            def by_client() -> int:
                return sum(
                    batch.num_rows
                    for batch in mds.iter_bars_window(symbols, "1m", *WINDOW, "acme", batch_rows=50_000, as_="arrow")
                )

            def by_http() -> int:
                with urllib.request.urlopen(request) as answer, pa.ipc.open_stream(answer) as batches:
                    return sum(batch.num_rows for batch in batches)

            ratios = []
            for number in range(rounds + 1):
                rates = []
                for read in (by_client, by_http):
                    began = time.perf_counter()
                    found = read()
                    rates.append(found / (time.perf_counter() - began))
                    if found != rows:
                        raise click.ClickException(f"{read.__name__} found {found:,} rows of {rows:,}")
                if number:
                    ratios.append(rates[1] / rates[0])
                    click.echo(
                        f"client {rates[0]:12,.0f} rows/s, HTTP {rates[1]:12,.0f} rows/s, ratio {ratios[-1]:.2f}"
                    )
            click.echo(f"median ratio {statistics.median(ratios):.2f}, target {TARGET}")


if __name__ == "__main__":
    main()
