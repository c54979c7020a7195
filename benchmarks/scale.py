"""`python -m benchmarks.scale`: what many tenants and files cost where nothing has to be done.

Makes tenants with rows of the last days, and lists files by the server itself, puts empty files of these names into a
folder, and measures what looks at all of them: the state, the daily run, the metrics, the sweep; and what a tenant
asks. Prints a line for each.
"""

import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import click
import psycopg

from benchmarks.servers import databases
from datastore import cold, tenants
from datastore.cold import compacting, exporting, folding, keeping
from datastore.connections import as_owner
from datastore.metrics.reads import cold_read
from mds_client import MDS
from tests.engines.databases import Place


def fill(where: Place, count: int, files: int, rows: int, folder: Path) -> None:
    """Insert tenants, a series each with rows, and the same number of listed files for each tenant."""
    with psycopg.connect(where.superuser_dsn, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO store.tenants (id, name)"
            " SELECT gen_random_uuid(), 'tenant' || n FROM generate_series(1, %s) AS n",
            (count,),
        )
        connection.execute(
            "INSERT INTO store.series (series_id, kind, vendor, symbol, timeframe, last_ts)"
            " SELECT (no::bigint << 40) + 1, 'bars', 'v', 'S', '1m', now() FROM store.tenants"
        )
        connection.execute(
            "INSERT INTO store.bars (series_id, ts, close_price)"
            " SELECT series_id, date_trunc('minute', now()) - n * interval '1 minute', n"
            " FROM store.series CROSS JOIN generate_series(1, %s) AS n",
            (rows,),
        )
        connection.execute(
            "INSERT INTO store.cold_fences (tenant_no, kind, cold_before, has_own_age, cold_after)"
            " SELECT no, 'bars', date_trunc('month', now() - interval '90 days'), true, interval '90 days'"
            " FROM store.tenants"
        )
        connection.execute(
            "INSERT INTO store.cold_periods (tenant_no, kind, period_start, period_end, path, rows, bytes, sha256)"
            " SELECT no, 'bars', begin, begin + interval '1 month', format('%%s/bars/%%s.%%s.parquet', id,"
            " to_char(begin, 'YYYY-MM'), md5(no::text || begin)), 1000000, 10000000, md5(no::text)"
            " FROM store.tenants CROSS JOIN (SELECT timestamptz '2015-01-01Z' + n * interval '1 month' AS begin"
            " FROM generate_series(1, %s) AS n) AS months",
            (files // count,),
        )
        connection.execute("ANALYZE")
        size = connection.execute("SELECT pg_total_relation_size('store.cold_periods') / %s", (files,)).fetchone()
        click.echo(f"{'the list of files, with its indexes':<60} {size[0] if size else 0:10,} bytes a file")
        for (path,) in connection.execute("SELECT path FROM store.cold_periods"):
            whole = folder / path
            whole.parent.mkdir(parents=True, exist_ok=True)
            whole.touch()


def timed(name: str, call: Callable[[], object]) -> None:
    """Print how long a call takes."""
    began = time.perf_counter()
    call()
    click.echo(f"{name:<60} {(time.perf_counter() - began) * 1000:10,.0f} ms")


@click.command()
@click.option("--tenants", "count", default=10_000, show_default=True)
@click.option("--files", default=100_000, show_default=True)
@click.option("--rows", default=200, show_default=True, help="Rows of each tenant in the table.")
def main(count: int, files: int, rows: int) -> None:
    """Fill a store and a folder, and measure."""
    with databases("postgres") as made, made.migrated() as where, tempfile.TemporaryDirectory() as folder:
        fill(where, count, files, rows, Path(folder))
        one = tenants.list_tenants(where.admin_dsn)[count // 2]
        with MDS({"dsn": where.dsn, "tenant_id": str(one.id), "cold_url": folder}) as mds:
            mds.cold_files()
            timed("a tenant's files, by its client", mds.cold_files)
        timed("the sums of all files", lambda: cold.totals(where.admin_dsn))
        timed("the state of each tenant", lambda: cold.status(where.admin_dsn))
        timed("a run that finds no row to move", lambda: list(exporting.run(where.admin_dsn, folder)))
        timed("a fold that finds no late row", lambda: list(folding.fold(where.admin_dsn, folder)))
        timed("a compaction that finds no small files", lambda: list(compacting.compact(where.admin_dsn, folder)))
        timed("a publication where nothing was published", lambda: list(cold.published_again(where.admin_dsn, folder)))
        with as_owner(where.admin_dsn) as (engine, driver):
            timed("what the metrics ask", lambda: list(cold_read(engine, driver)))
        timed(
            "a sweep that finds no file to remove",
            lambda: keeping.sweep(where.admin_dsn, folder, older_than=timedelta(days=1)),
        )


if __name__ == "__main__":
    main()
