"""`python -m benchmarks.scrape`: what a scrape of `/metrics` costs on a large store.

Fills a store with series and bars by the server itself, then scrapes: the first time, with everything read anew, and
as the collector keeps it. Prints a line each, p50 and the slowest.
"""

import statistics
import time
from collections.abc import Callable

import click
import psycopg

from benchmarks.servers import databases
from datastore import tenants
from datastore.metrics import ServiceMetrics, StoreCollector
from tests.engines.databases import Place


def fill(where: Place, series: int, rows: int) -> None:
    """Insert daily bars of that number of series, so many that they make the rows."""
    tenants.create_tenant(where.admin_dsn, "bench")
    with psycopg.connect(where.superuser_dsn, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO store.series (series_id, kind, vendor, symbol, timeframe, last_ts)"
            " SELECT (1::bigint << 40) + n, 'bars', 'vendor' || n %% 5, 'S' || n,"
            " (ARRAY['1m', '5m', '1d'])[1 + n %% 3], now() FROM generate_series(1, %s) AS n",
            (series,),
        )
        connection.execute(
            "INSERT INTO store.bars (series_id, ts, close_price, volume)"
            " SELECT (1::bigint << 40) + n, TIMESTAMPTZ '2024-01-01Z' + d * INTERVAL '1 day', n, d"
            " FROM generate_series(1, %s) AS d, generate_series(1, %s) AS n",
            (rows // series, series),
        )
        connection.execute("ANALYZE")


def first(where: Place) -> None:
    """Scrape with a new connection, and read everything."""
    exposed = ServiceMetrics(where.admin_dsn)
    exposed.exposition()
    exposed.close()


def timed(name: str, call: Callable[[], object], times: int) -> None:
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        call()
        taken.append((time.perf_counter() - began) * 1000)
    click.echo(f"{name:<40} p50 {statistics.median(taken):7.2f} ms, slowest {max(taken):7.2f} ms, of {times}")


@click.command()
@click.option("--series", default=10_000, show_default=True)
@click.option("--rows", default=5_000_000, show_default=True)
@click.option("--engine", default="postgres", type=click.Choice(["postgres", "timescale-apache"]), show_default=True)
def main(series: int, rows: int, engine: str) -> None:
    """Fill the store and measure."""
    with databases(engine) as source, source.migrated() as where:
        began = time.perf_counter()
        fill(where, series, rows)
        click.echo(f"{engine}: {rows:,} bars of {series:,} series, filled in {time.perf_counter() - began:.0f} s")
        timed("the first of a process", lambda: first(where), 10)
        exposed = ServiceMetrics(where.admin_dsn)
        exposed.exposition()
        timed("as it is kept", exposed.exposition, 100)

        def every_quarter_minute() -> None:
            # As many parts are due as there are for somebody who scrapes every 15 seconds.
            for part in exposed._store._parts:
                part.due -= 15
            exposed.exposition()

        timed("every 15 s", every_quarter_minute, 100)
        StoreCollector.MIN_AGE = StoreCollector.SHARE = 0.0  # type: ignore[misc]
        exposed.close()
        exposed = ServiceMetrics(where.admin_dsn)
        exposed.exposition()
        timed("everything read anew", exposed.exposition, 50)
        for line in exposed.exposition()[0].decode().splitlines():
            if line.startswith("datastore_collect_seconds"):
                click.echo(f"  {line}")
        exposed.close()


if __name__ == "__main__":
    main()
