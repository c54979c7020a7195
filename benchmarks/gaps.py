"""`python -m benchmarks.gaps`: how long finding gaps takes, beside other ways to ask for the same.

Starts a server of its own and fills it with minutes of New York sessions, about 110 bytes a bar on disk: 1,000 series
of 365 days are 98 million bars and 11 GB. A few holes are cut, and have to be found by each way.
"""

import json
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import click
import psycopg

from datastore import gaps, migration, tenants
from datastore.embedded import EmbeddedServer
from datastore.gaps import calendars

# What production has, except for what only waits for the disk while it is filled.
SETTINGS: Final = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_wal_size": "4GB",
    "shared_buffers": "1GB",
    "maintenance_work_mem": "1GB",
    "autovacuum": "off",
}
START: Final = datetime(2024, 1, 1, tzinfo=UTC)

# The ways that were not taken, on some series. Each finds the holes, or the sessions that have some.
OTHERS: Final = {
    "group by day": """
        SELECT series_id, date_bin('1 day', ts, '2000-01-01 00:00Z'), count(*) FROM store.bars
        WHERE series_id = ANY(%(ids)s) AND ts >= %(first)s AND ts < %(last)s GROUP BY 1, 2""",
    "group by width_bucket of the sessions": """
        SELECT series_id, width_bucket(ts, %(bounds)s::timestamptz[]), count(*) FROM store.bars
        WHERE series_id = ANY(%(ids)s) AND ts >= %(first)s AND ts < %(last)s GROUP BY 1, 2""",
    "lag over every row": """
        SELECT * FROM (
          SELECT series_id, ts, lag(ts) OVER (PARTITION BY series_id ORDER BY ts) AS before FROM store.bars
          WHERE series_id = ANY(%(ids)s) AND ts >= %(first)s AND ts < %(last)s) AS l
        WHERE ts - before <> '1 minute'""",
    "anti-join with every expected minute": """
        SELECT i, t FROM unnest(%(ids)s::bigint[]) AS i
        CROSS JOIN unnest(%(opens)s::timestamptz[], %(closes)s::timestamptz[]) AS w(opens, closes)
        CROSS JOIN generate_series(opens, closes - interval '1 minute', interval '1 minute') AS t
        WHERE NOT EXISTS (SELECT FROM store.bars AS b WHERE b.series_id = i AND b.ts = t)""",
}


@dataclass(frozen=True)
class Result:
    """One way to find gaps: the rows that it read, its median time in seconds, and its time per row in nanoseconds."""

    case: str
    rows: int
    seconds: float
    nanoseconds_a_row: float
    load: float


class Bench:
    """A filled server."""

    def __init__(self, server: EmbeddedServer, series: int, days: int) -> None:
        self.dsn = server.dsn("mds_admin")
        self.series = series
        self.end = START + timedelta(days=days)
        self.sessions = calendars.sessions("XNYS", START, self.end)
        self.opens = [session.start for session in self.sessions]
        self.closes = [session.end for session in self.sessions]
        self.each = sum((c - o) // timedelta(minutes=1) for o, c in zip(self.opens, self.closes, strict=True))
        self.tenant = tenants.create_tenant(self.dsn, "bench")

    def connect(self) -> psycopg.Connection[Any]:
        connection = psycopg.connect(self.dsn, autocommit=True)
        connection.execute("SET ROLE mds_owner")
        return connection

    def fill(self) -> None:
        """Every minute of every session, in the order of the key, and then the holes."""
        with self.connect() as connection:
            connection.execute(
                "INSERT INTO store.series (series_id, kind, vendor, symbol, timeframe)"
                " SELECT (%s::bigint << 40) | n, 'bars', 'bench', 'S' || lpad(n::text, 5, '0'), '1m'"
                " FROM generate_series(1, %s) AS n",
                (self.tenant.no, self.series),
            )
            connection.execute("ALTER TABLE store.bars SET UNLOGGED")
            connection.execute("ALTER TABLE store.bars DROP CONSTRAINT bars_pkey")
        middle = self.series // 2
        threads = [
            threading.Thread(target=self._fill, args=bounds) for bounds in ((1, middle), (middle + 1, self.series))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with self.connect() as connection:
            connection.execute("ALTER TABLE store.bars ADD CONSTRAINT bars_pkey PRIMARY KEY (series_id, ts)")
            for remainder, first, minutes in ((7, 3, 10), (9, 5, 3 * 1440)):
                hole = self.opens[first] + timedelta(minutes=30)
                connection.execute(
                    "DELETE FROM store.bars WHERE (series_id & 1023) %% 100 = %s AND ts >= %s AND ts < %s",
                    (remainder, hole, hole + timedelta(minutes=minutes)),
                )
            # As autovacuum leaves a table that only grows: what is visible to all needs no look at the row.
            connection.execute("VACUUM (ANALYZE) store.bars, store.series")

    def _fill(self, first: int, last: int) -> None:
        with self.connect() as connection:
            connection.execute(
                """
                INSERT INTO store.bars
                SELECT (%s::bigint << 40) | n, t, 100.5, 101, 99.25, 100, 1000 + n
                FROM generate_series(%s::bigint, %s::bigint) AS n,
                     unnest(%s::timestamptz[], %s::timestamptz[]) AS w(opens, closes),
                     generate_series(opens, closes - interval '1 minute', interval '1 minute') AS t
                """,
                (self.tenant.no, first, last, self.opens, self.closes),
            )

    def check(self, connections: int) -> gaps.Check:
        """Call the function that users call."""
        return gaps.check(
            self.dsn,
            tenant="bench",
            vendor="bench",
            timeframe="1m",
            start=START,
            end=self.end,
            calendar="XNYS",
            connections=connections,
        )

    def other(self, statement: str, series: int) -> None:
        """Run another way, on some of the series."""
        with self.connect() as connection:
            connection.execute("SET jit = off")
            connection.execute(
                statement.encode(),
                {
                    "ids": [(self.tenant.no << 40) | number for number in range(1, series + 1)],
                    "first": self.opens[0],
                    "last": self.closes[-1],
                    "opens": self.opens,
                    "closes": self.closes,
                    "bounds": [moment for pair in zip(self.opens, self.closes, strict=True) for moment in pair],
                },
            ).fetchall()


@contextmanager
def running() -> Any:
    """Start a server for the run, and delete it afterwards."""
    with tempfile.TemporaryDirectory(prefix="mds-gaps-") as folder:
        server = EmbeddedServer(Path(folder) / "home", port=0, settings=SETTINGS)
        server.up(migration.migrate)
        try:
            yield server
        finally:
            server.discard()


@click.command()
@click.option("--series", type=click.IntRange(10), default=1000, show_default=True, help="Series of minutes.")
@click.option("--days", type=click.IntRange(14), default=366, show_default=True, help="Days from 2024-01-01 on.")
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True, help="How often each case is run.")
@click.option("--json", "target", type=click.Path(path_type=Path), help="Write the figures to a file, too.")
def main(series: int, days: int, rounds: int, target: Path | None) -> None:
    """Measure, and print a table."""
    with running() as server:
        bench = Bench(server, series, days)
        began = time.perf_counter()
        bench.fill()
        click.echo(f"filled in {time.perf_counter() - began:.0f} s", err=True)
        found = bench.check(2)
        click.echo(f"{found.series} series, {found.expected:,} bars expected, {found.missing:,} missing,"
                   f" {len(found.gaps)} gaps", err=True)  # fmt: skip
        some = min(series, 100)
        cases: dict[str, tuple[int, Callable[[], object]]] = {
            "gaps.check, 1 connection": (series, lambda: bench.check(1)),
            "gaps.check, 2 connections": (series, lambda: bench.check(2)),
        }
        for name, statement in OTHERS.items():
            cases[f"{name} ({some} series)"] = (some, lambda s=statement: bench.other(s, some))  # type: ignore[misc]
        figures: dict[str, list[float]] = {name: [] for name in cases}
        for _ in range(rounds):
            for name, (_, work) in cases.items():
                began = time.perf_counter()
                work()
                figures[name].append(time.perf_counter() - began)
        results = []
        for name, (count, _) in cases.items():
            seconds, rows = statistics.median(figures[name]), count * bench.each
            results.append(Result(name, rows, seconds, seconds / rows * 1e9, os.getloadavg()[0]))
    click.echo("| way | rows | seconds | ns a row |\n| --- | ---: | ---: | ---: |")
    for result in results:
        click.echo(f"| {result.case} | {result.rows:,} | {result.seconds:.2f} | {result.nanoseconds_a_row:.0f} |")
    click.echo(f"load average at the end: {results[-1].load:.1f}", err=True)
    if target is not None:
        target.write_text(json.dumps([asdict(result) for result in results], indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
