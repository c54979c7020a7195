"""`python -m benchmarks.jobs`: a thousand jobs put down and done by two workers, processes of their own.

Starts a server of its own. The clock runs from before the first job is put down until the last one has ended; the
workers are there already and wait. Prints the seconds, and what claiming costs with a long queue behind it.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import click
import psycopg

from benchmarks.__main__ import running
from datastore import tenants
from datastore.jobs import JobContext, job_type
from datastore.worker import leases
from mds_client import MDS


@job_type("bench-nothing")
def nothing(_context: JobContext, payload: dict[str, int]) -> int:
    """A job function that does nothing."""
    return payload["number"]


@contextmanager
def worker(dsn: str, concurrency: int) -> Iterator[None]:
    command = [
        sys.executable,
        "-m",
        "datastore.entry",
        "worker",
        "--import",
        __name__.replace("__main__", "benchmarks.jobs"),
    ]
    command += ["--no-upkeep", "--concurrency", str(concurrency)]
    environment = {**os.environ, "DATABASE_URL": dsn}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


def until(connection: psycopg.Connection[tuple[int]], statement: str, wanted: int) -> None:
    while (row := connection.execute(statement.encode()).fetchone()) is None or row[0] != wanted:
        time.sleep(0.01)


@click.command()
@click.option("--jobs", "count", type=click.IntRange(1), default=1000, show_default=True, help="Jobs in a round.")
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="How often.")
@click.option("--concurrency", type=click.IntRange(1), default=4, show_default=True, help="Jobs at once, a worker.")
@click.option("--queue", type=click.IntRange(0), default=100_000, show_default=True, help="Jobs that wait for claims.")
def main(count: int, rounds: int, concurrency: int, queue: int) -> None:
    """Measure and print."""
    with running() as server:
        admin = server.dsn("mds_admin")
        tenant = tenants.create_tenant(admin, "bench")
        client = MDS(dsn=server.dsn("mds_service"), tenant_id=str(tenant.id), pool_max=1)
        seconds, putting = [], []
        with client, psycopg.connect(admin, autocommit=True) as connection:
            with worker(admin, concurrency), worker(admin, concurrency):
                until(
                    connection, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'datastore worker'", 4
                )
                for round_ in range(rounds):
                    began = time.perf_counter()
                    for number in range(count):
                        client.enqueue_job(f"{round_}-{number}", "bench-nothing", {"number": number})
                    putting.append(time.perf_counter() - began)
                    until(connection, "SELECT count(*) FROM store.jobs WHERE state <> 'succeeded'", 0)
                    seconds.append(time.perf_counter() - began)
            connection.execute(
                "INSERT INTO store.jobs (tenant_no, idempotency_key, job_type, payload, priority)"
                " SELECT %s, 'q' || n, 'bench-nothing', '{\"number\": 1}', 25 * (n %% 4)"
                " FROM generate_series(1, %s) AS n",
                (tenant.no, queue),
            )
            connection.execute("VACUUM (ANALYZE) store.jobs")
            claims = []
            for _ in range(200):
                began = time.perf_counter()
                leases.claim(connection, "bench", concurrency, timedelta(minutes=1))
                claims.append((time.perf_counter() - began) * 1000)
    click.echo(f"{count} jobs put down one by one and done by two workers, {concurrency} at once each:")
    click.echo(f"  {statistics.median(seconds):.2f} s, of which putting down {statistics.median(putting):.2f} s")
    click.echo(f"  rounds: {', '.join(f'{taken:.2f}' for taken in seconds)} s")
    click.echo(f"claiming {concurrency} of {queue} that wait: {statistics.median(claims):.2f} ms")


if __name__ == "__main__":
    main()
