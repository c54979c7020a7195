"""`python -m benchmarks.console`: how long the server takes for each page of the console on a store with many series.

Fills a store with series by the server itself, starts the service, signs in, and asks for every page that needs no
further names. Prints a line for each page: the processor time of the service and of PostgreSQL, and the time until the
page is there, p50 and the slowest. Other programs on the machine change the times, but hardly the processor time.
"""

import os
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import click
import httpx
import psycopg
import uvicorn

from benchmarks.scrape import fill
from benchmarks.servers import databases
from datastore import config, console, search
from datastore.console.pages import PAGES
from datastore.gaps import calendars
from datastore.service import tokens
from datastore.service.server import configuration, listen
from datastore.service.tokens import Scope

LIMIT_MS = 200
"""A page that takes longer, in processor time, is marked."""


class Server:
    """The processor time of PostgreSQL: of all its processes that have ended, as the kernel adds it up (Linux only)."""

    def __init__(self, dsn: str) -> None:
        self._postmaster = 0
        if sys.platform == "linux":
            with psycopg.connect(dsn) as connection:
                self._postmaster = int(self._fields(connection.info.backend_pid)[1])

    def used_ms(self) -> float:
        """Return it in milliseconds, or 0 where it is not known. A connection counts once it is closed."""
        if not self._postmaster:
            return 0.0
        user, system = self._fields(self._postmaster)[13:15]
        return 1000 * (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    @staticmethod
    def _fields(pid: int) -> list[str]:
        """The fields of /proc/PID/stat behind the program's name, which can hold spaces."""
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


@contextmanager
def serving(dsn: str) -> Iterator[httpx.Client]:
    """A browser that has signed in as an administrator."""
    token = tokens.create("bench", Scope.admin)
    settings = replace(config.load({}), database_url=dsn, tokens=token.line)
    server = uvicorn.Server(configuration(settings, console.create_app(settings)))
    with listen("127.0.0.1", 0) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{listening.getsockname()[1]}/console", timeout=60) as client:
                assert client.post("/sign-in", data={"token": token.token}).status_code == 303
                yield client
        finally:
            server.should_exit = True
            thread.join()


def paths(dsn: str) -> list[str]:
    """The pages of the navigation, and of a series."""
    (one,) = search.search_series(dsn, kind="bars", limit=1).items
    entries = [entry.path for _, entry in PAGES if entry.path != "/chart"]
    return [*entries, "/stored", "/series?q=S1999", "/series?order=fresh", "/rows?kind=bars", f"/chart/{one.id}"]


@click.command()
@click.option("--series", default=200_000, show_default=True)
@click.option("--times", default=10, show_default=True)
@click.option("--engine", default="postgres", type=click.Choice(["postgres", "timescale-apache"]), show_default=True)
def main(series: int, times: int, engine: str) -> None:
    """Fill, and measure."""
    with databases(engine) as source, source.migrated() as where:
        fill(where, series, series)
        calendars.assign(where.admin_dsn, "bench", "XNYS")
        click.echo(f"{engine}: {series:,} series")
        server = Server(where.superuser_dsn)
        with serving(where.admin_dsn) as client:
            for path in paths(where.admin_dsn):
                # The first one loads modules and calendars.
                client.get(path).raise_for_status()
                click.echo(measured(client, server, path, times))


def measured(client: httpx.Client, server: Server, path: str, times: int) -> str:
    """Ask for a page so many times, and return its line."""
    taken, service = [], []
    before = server.used_ms()
    for _ in range(times):
        began, used = time.perf_counter(), time.process_time()
        client.get(path).raise_for_status()
        taken.append((time.perf_counter() - began) * 1000)
        service.append((time.process_time() - used) * 1000)
    # The last connections are closing.
    time.sleep(0.1)
    postgres = (server.used_ms() - before) / times
    processor = min(service) + postgres
    mark = "  over" if processor > LIMIT_MS else ""
    return (
        f"{path:<24} processor {processor:6.1f} ms (service {min(service):5.1f}, PostgreSQL {postgres:6.1f}),"
        f" p50 {statistics.median(taken):7.1f} ms, slowest {max(taken):7.1f} ms, of {times}{mark}"
    )


if __name__ == "__main__":
    main()
