"""`make bench`: how fast, as a share of what the server itself needs.

Starts a server of its own. Every case is run in turn, several times, and the medians are compared. Prints a Markdown
table; `--json FILE` writes the figures as well.
"""

import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import psycopg

from benchmarks.data import bars
from datastore import control
from datastore.embedded import EmbeddedServer
from mds_client import MDS, Bar

# What production has, except for what only waits for the disk: these machines' disks are shared and say nothing.
SETTINGS = {"synchronous_commit": "off", "max_wal_size": "4GB", "shared_buffers": "512MB", "autovacuum": "off"}

TYPES = ("bigint", "timestamptz", *("double precision",) * 4, "bigint")


@dataclass(frozen=True)
class Result:
    """A case: rows a second, or milliseconds a call, and its share of the floor."""

    case: str
    median: float
    unit: str
    of_merge_floor: float | None


class Bench:
    """A database to measure in, and the figures so far."""

    def __init__(self, server: EmbeddedServer, rows: int, rounds: int) -> None:
        self.owner = psycopg.connect(server.dsn("mds_admin"), autocommit=True)
        self.tenant = control.create_tenant(server.dsn("mds_admin"), "bench")
        self.dsn = server.dsn("mds_service")
        self.rounds = rounds
        self.rows: list[Bar] = list(bars(1000, max(1, rows // 1000)))
        self.figures: dict[str, list[float]] = {}
        with self.client() as mds:
            # The series are there before anything is measured, as they are on any day but the first.
            mds.upsert_bars(self.rows[:1000])
        names = self.owner.execute("SELECT symbol, series_id FROM store.series").fetchall()
        ids: dict[str, int] = dict(names)
        self.narrow = sorted(
            (ids[row.symbol], row.ts, row.open_price, row.high_price, row.low_price, row.close_price, row.volume)
            for row in self.rows
        )

    def client(self, **settings: Any) -> MDS:
        return MDS(dsn=self.dsn, tenant_id=str(self.tenant.id), pool_min=1, pool_max=2, **settings)

    def empty(self) -> None:
        """The bars table as it was at the beginning; series stay."""
        self.owner.execute("TRUNCATE store.bars")
        self.owner.execute("UPDATE store.series SET last_ts = NULL, last_price = NULL, last_price_ts = NULL")
        self.owner.execute("VACUUM (ANALYZE) store.series")

    def timed(self, name: str, work: Callable[[], object], rows: int) -> None:
        began = time.perf_counter()
        work()
        self.figures.setdefault(name, []).append(rows / (time.perf_counter() - began))

    def copy_narrow(self, table: str) -> None:
        columns = "series_id, ts, open_price, high_price, low_price, close_price, volume"
        statement = f"COPY {table} ({columns}) FROM STDIN (FORMAT binary)"
        with self.owner.cursor().copy(statement.encode()) as copying:
            copying.set_types(TYPES)
            for row in self.narrow:
                copying.write_row(row)

    def floors(self) -> None:
        """What the server needs: a raw COPY into the bare table, and the bare merge from a table that is loaded."""
        self.empty()
        self.timed("floor: raw COPY into the bare table", lambda: self.copy_narrow("store.bars"), len(self.narrow))
        self.empty()
        self.owner.execute("DROP TABLE IF EXISTS stage; CREATE TEMP TABLE stage (LIKE store.bars)")
        self.copy_narrow("stage")
        values = ("open_price", "high_price", "low_price", "close_price", "volume", "id")
        merge = (
            "INSERT INTO store.bars AS t SELECT * FROM stage ON CONFLICT (series_id, ts) DO UPDATE SET "
            + ", ".join(f"{name} = excluded.{name}" for name in values)
            + f" WHERE ({', '.join(f't.{name}' for name in values)}) IS DISTINCT FROM"
            + f" ({', '.join(f'excluded.{name}' for name in values)})"
        )
        self.timed("floor: bare merge by the owner", lambda: self.owner.execute(merge.encode()), len(self.narrow))

    def writes(self) -> None:
        """Ours: the same bars, end to end, fresh and replayed; and what a user would otherwise do."""
        for mode, share in (("copy", 1), ("values", 10), ("executemany", 20)):
            rows = self.rows[: len(self.rows) // share]
            with self.client(write_mode=mode) as mds:
                mds.latest_prices([rows[0].symbol], "bench")
                self.empty()
                self.timed(f"models, {mode}, fresh", lambda m=mds, r=rows: m.upsert_bars(r), len(rows))  # type: ignore[misc]
                self.timed(f"models, {mode}, replayed", lambda m=mds, r=rows: m.upsert_bars(r), len(rows))  # type: ignore[misc]

    def latencies(self) -> None:
        """What a live feed feels: one call at a time."""
        with self.client() as mds:
            live = self.rows[-500:]
            self.called("one row", lambda n: mds.upsert_bars([live[0].model_copy(update={"volume": n})]), 200)
            self.called(
                "500 rows, one of each series",
                lambda n: mds.upsert_bars([row.model_copy(update={"volume": n}) for row in live]),
                40,
            )
            first, last = self.rows[0].ts, self.rows[-1].ts
            self.called("window of one series", lambda _: mds.bars_window("S00000", "1m", first, last, "bench"), 100)
            symbols = [f"S{number:05d}" for number in range(500)]
            self.called("latest prices of 500 symbols", lambda _: mds.latest_prices(symbols, "bench"), 100)

    def called(self, name: str, call: Callable[[int], object], times: int) -> None:
        taken = []
        for number in range(times):
            began = time.perf_counter()
            call(number)
            taken.append((time.perf_counter() - began) * 1000)
        self.figures.setdefault(f"{name}, p50", []).append(statistics.median(taken))

    def results(self) -> Iterator[Result]:
        floor = statistics.median(self.figures["floor: bare merge by the owner"])
        for name, found in self.figures.items():
            median = statistics.median(found)
            rate = not name.endswith("p50")
            yield Result(name, median, "rows/s" if rate else "ms", median / floor if rate else None)


@contextmanager
def running() -> Iterator[EmbeddedServer]:
    """A server for the run, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="mds-bench-") as folder:
        server = EmbeddedServer(Path(folder) / "home", settings=SETTINGS)
        server.up(control.migrate)
        try:
            yield server
        finally:
            server.discard()


@click.command()
@click.option("--rows", type=click.IntRange(20_000), default=200_000, show_default=True, help="Bars in a batch.")
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="How often each case is run.")
@click.option("--json", "target", type=click.Path(path_type=Path), help="Write the figures to a file, too.")
def main(rows: int, rounds: int, target: Path | None) -> None:
    """Measure, and print a table."""
    with running() as server:
        bench = Bench(server, rows, rounds)
        for number in range(rounds):
            click.echo(f"round {number + 1} of {rounds}", err=True)
            bench.floors()
            bench.writes()
            bench.latencies()
        results = list(bench.results())
    click.echo("| case | median | of the merge floor |\n| --- | ---: | ---: |")
    for result in results:
        share = "" if result.of_merge_floor is None else f"{result.of_merge_floor:.2f}"
        shown = f"{result.median:,.0f}" if result.unit == "rows/s" else f"{result.median:.2f}"
        click.echo(f"| {result.case} | {shown} {result.unit} | {share} |")
    if target is not None:
        target.write_text(json.dumps([asdict(result) for result in results], indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
