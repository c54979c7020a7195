"""`python -m benchmarks.console`: how long the server takes for each page of the console on a store with many series.

Fills a store with series by the server itself, starts the service, signs in, and asks for every page that needs no
further names. Prints a line for each page, p50 and the slowest.
"""

import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import click
import httpx
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
"""A page that takes longer is marked."""


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
        with serving(where.admin_dsn) as client:
            for path in paths(where.admin_dsn):
                taken = []
                # The first one loads modules and calendars.
                for _ in range(times + 1):
                    began = time.perf_counter()
                    client.get(path).raise_for_status()
                    taken.append((time.perf_counter() - began) * 1000)
                middle = statistics.median(taken[1:])
                mark = "  over" if middle > LIMIT_MS else ""
                click.echo(f"{path:<24} p50 {middle:7.1f} ms, slowest {max(taken[1:]):7.1f} ms, of {times}{mark}")


if __name__ == "__main__":
    main()
