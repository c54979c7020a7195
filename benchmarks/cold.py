"""`python -m benchmarks.cold`: rows that are kept in files, in one run with the table and with ArcticDB.

Writes bars of two tenants. One tenant's months are moved into files, but for the newest month. Then everything is
measured round by round: scans, sums, a day of one series, windows that are in the table, and a dump of the tenant that
has no files. ArcticDB holds the same bars, a symbol a series, and reads them in the same rounds. Both read everything
twice in a row, and the second time counts: what the first one takes longer, the kernel takes for new memory. Every
answer is compared with what was written. Prints a table with medians and the targets of each row; a row that misses its
target is marked.
"""

import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from itertools import chain
from pathlib import Path
from statistics import median
from typing import Any, Final, TypeAlias, TypeVar
from uuid import UUID

import click
import polars as pl
import pyarrow as pa
import pyarrow.parquet as parquet

from benchmarks.case import expect
from benchmarks.competitors import ARCTICDB, has_arcticdb
from benchmarks.data import DAY, VENDOR, symbol, table, trading_minute
from benchmarks.servers import databases
from datastore import cold, tenants
from datastore.cold import exporting
from mds_client import MDS
from tests.engines.databases import Place

BLOCK: Final = 1_000_000
"""The bars that are written at once."""

T = TypeVar("T")

CALLS: Final = 20
"""The calls of each round for what is measured in milliseconds."""

SPAN: Final = timedelta(days=1)

VALUES: Final = ("open_price", "high_price", "low_price", "close_price", "volume")
"""What ArcticDB has of a bar, beside its symbol and its time."""


Medians: TypeAlias = Mapping[str, float]

APPEND: Final = "append a frame, one writer, M rows/s"
MOVE: Final = "move months into files, and delete them from the table, M rows/s"
BYTES: Final = "a bar in a file, bytes"
FIRST: Final = "scan into polars, all columns, into new memory, M rows/s"
SCAN: Final = "scan into polars, all columns, again, M rows/s"
ALIKE: Final = "scan into polars, ArcticDB's columns, again, M rows/s"
SOME: Final = "scan into polars, four columns, M rows/s"
ARCTIC: Final = "ArcticDB reads all, again, M rows/s"
SUM: Final = "sum of a column, polars, M rows/s"
GROUPS: Final = "means and sums of each symbol, polars, M rows/s"
DUCKDB: Final = "sum of a column, DuckDB, M rows/s"
DAY_IN_FILES: Final = "a day of one series from files, ms"
ARCTIC_DAY: Final = "ArcticDB reads a day of one series, ms"
WITHOUT: Final = "a day in the table, tenant without files, ms"
WITH: Final = "a day in the table, tenant with files, ms"
DUMP: Final = "dump of the tenant without files into Parquet, M rows/s"

TARGETS: Final[dict[str, tuple[str, Callable[[Medians], bool]]]] = {
    MOVE: ("half of an append", lambda found: found[MOVE] >= found[APPEND] / 2),
    BYTES: ("10", lambda found: found[BYTES] <= 10),
    SCAN: ("20", lambda found: found[SCAN] >= 20),
    ALIKE: ("ArcticDB's", lambda found: found[ALIKE] >= found.get(ARCTIC, 0)),
    SUM: ("50", lambda found: found[SUM] >= 50),
    DAY_IN_FILES: ("15", lambda found: found[DAY_IN_FILES] <= 15),
    WITH: ("1.1 times the tenant without", lambda found: found[WITH] <= 1.1 * found[WITHOUT]),
    DUMP: ("1", lambda found: found[DUMP] >= 1),
}
"""What some of the figures should be, and whether the medians are so."""

ORDER: Final = (
    *(APPEND, MOVE, BYTES, FIRST, SCAN, ALIKE, SOME, ARCTIC, SUM, GROUPS, DUCKDB),
    *(DAY_IN_FILES, ARCTIC_DAY, WITHOUT, WITH, DUMP),
)


class Results:
    """The samples of each row of the table."""

    def __init__(self) -> None:
        self._samples: dict[str, list[float]] = {}

    def add(self, name: str, sample: float) -> None:
        """Add a sample to a row."""
        self._samples.setdefault(name, []).append(sample)

    def rate(self, name: str, rows: int, call: Callable[[], T]) -> T:
        """Call once, add how many million rows a second that is, and return the answer."""
        began = time.perf_counter()
        answer = call()
        self.add(name, rows / (time.perf_counter() - began) / 1e6)
        return answer

    def call(self, name: str, call: Callable[[], object]) -> None:
        """Call once, and add the milliseconds."""
        began = time.perf_counter()
        call()
        self.add(name, (time.perf_counter() - began) * 1000)

    def print(self) -> None:
        """Print the table."""
        medians = {name: median(samples) for name, samples in self._samples.items()}
        click.echo("| what | median | least | most | target |\n| --- | ---: | ---: | ---: | --- |")
        for name in ORDER:
            if name in medians:
                text, reached = TARGETS.get(name, ("", lambda _: True))
                figures = (medians[name], min(self._samples[name]), max(self._samples[name]))
                told = " | ".join(f"{value:.2f}" for value in figures)
                click.echo(f"| {name} | {told} | {text}{'' if reached(medians) else ' **missed**'} |")


class ArcticDB:
    """ArcticDB with the same bars, in a process of its own environment that stays for the run."""

    def __init__(self, bars: Path, folder: Path) -> None:
        program = Path(__file__).with_name("arcticdb_reads_program.py")
        self._process = subprocess.Popen(
            [ARCTICDB, program, bars, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.volume = self.ask(do="wait")["volume"]

    def ask(self, **order: object) -> dict[str, Any]:
        """Let it do something, and return what it says of it."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


@dataclass(frozen=True)
class Stores:
    """The tenant with files, the one without, and what was written."""

    old: MDS
    hot: MDS
    series: int
    minutes: int
    hot_from: int
    volume: int
    volume_in_files: int

    @property
    def rows(self) -> int:
        """The bars of the tenant with files."""
        return self.series * self.minutes

    @property
    def in_files(self) -> int:
        """The number of them that are in files."""
        return self.series * self.hot_from

    def day(self, number: int) -> tuple[str, datetime]:
        """A symbol, and the begin of a day that is in files; another one for each number."""
        first = trading_minute(number * 37 % (self.hot_from // DAY) * DAY)
        return symbol(number * 7 % self.series), first


def blocks(series: int, first: int, last: int) -> Iterator[pa.Table]:
    """The bars of these minutes, in the order in which they would arrive."""
    size = max(1, BLOCK // series)
    for at in range(first, last, size):
        yield table(series, min(size, last - at), first_minute=at, seed=at)


def newest_month(minutes: int) -> int:
    """Return the number of the first minute of the newest month."""
    newest = trading_minute(minutes - 1).replace(day=1)
    return next(n for n in range(0, minutes, DAY) if trading_minute(n) >= newest.replace(hour=0, minute=0))


@contextmanager
def filled(where: Place, url: str, results: Results, series: int, minutes: int, bars: Path) -> Iterator[Stores]:
    """Write the bars, a second time into a Parquet file for ArcticDB, and move the old months into files."""
    hot_from, volume = newest_month(minutes), [0, 0]
    ids = [tenants.create_tenant(where.admin_dsn, name).id for name in ("old", "hot")]
    with ExitStack() as stack:
        old, hot = (
            stack.enter_context(MDS(dsn=where.dsn, tenant_id=str(one), cold_url=url, pool_max=4)) for one in ids
        )
        writer: Any = None
        for block in chain(blocks(series, 0, hot_from), blocks(series, hot_from, minutes)):
            results.rate(APPEND, len(block), partial(old.upsert_bars, block))
            in_files = block["ts"][0].as_py() < trading_minute(hot_from)
            volume[in_files] += int(pl.Series(block["volume"]).sum())
            writer = writer or stack.enter_context(parquet.ParquetWriter(bars, block.schema, compression="zstd"))
            writer.write_table(block)
        writer.close()
        for block in blocks(series, hot_from, minutes):
            hot.upsert_bars(block)
        _moved(where, ids[0], url, results, trading_minute(minutes - 1), hot_from * series)
        yield Stores(old, hot, series, minutes, hot_from, sum(volume), volume[True])


def _moved(where: Place, tenant: UUID, url: str, results: Results, newest: datetime, rows: int) -> None:
    cold.set_age(where.admin_dsn, tenant, "bars", SPAN)
    now = newest.replace(day=1) + SPAN + SPAN
    moved = results.rate(MOVE, rows, lambda: list(exporting.run(where.admin_dsn, url, now=now)))
    expect("rows in files", sum(one.rows for one in moved), rows)
    results.add(BYTES, sum(one.bytes for one in moved) / rows)


def measure(stores: Stores, results: Results, arctic: ArcticDB | None, folder: Path) -> None:
    """Measure everything once."""
    rows = stores.in_files
    asked: Any = {"end": trading_minute(stores.hot_from), "vendor": VENDOR, "timeframe": "1m"}
    bars = stores.old.scan("bars", **asked)
    # The first scan waits for the kernel, which clears the memory that it has got back since the round before.
    for name in (FIRST, SCAN):
        expect("volume", int(results.rate(name, rows, bars.collect)["volume"].sum()), stores.volume_in_files)
    alike = bars.select("symbol", "ts", *VALUES)
    # The first time, memory is new.
    alike.collect()
    found = results.rate(ALIKE, rows, alike.collect)
    expect("volume", int(found["volume"].sum()), stores.volume_in_files)
    chosen = bars.select("symbol", "ts", "close_price", "volume")
    expect("rows", len(results.rate(SOME, rows, chosen.collect)), rows)
    total = results.rate(SUM, rows, bars.select(pl.col("volume").sum()).collect)
    expect("volume", int(total.item()), stores.volume_in_files)
    by_symbol = bars.group_by("symbol").agg(pl.col("close_price").mean(), pl.col("volume").sum())
    expect("symbols", len(results.rate(GROUPS, rows, by_symbol.collect)), stores.series)
    relation = stores.old.scan("bars", as_="duckdb", **asked).sum("volume")
    ((volume,),) = results.rate(DUCKDB, rows, relation.fetchall)
    expect("volume", int(volume), stores.volume_in_files)
    days = [stores.day(number) for number in range(CALLS)]
    if arctic is not None:
        for _ in range(2):
            told = arctic.ask(do="read")
            expect("volume", told["volume"], stores.volume)
        results.add(ARCTIC, stores.rows / told["seconds"] / 1e6)
        told = arctic.ask(do="days", days=[(name, str(first), str(first + SPAN)) for name, first in days])
        expect("rows", told["rows"], [DAY] * CALLS)
        for milliseconds in told["ms"]:
            results.add(ARCTIC_DAY, milliseconds)
    for name, first in days:
        results.call(DAY_IN_FILES, partial(one_day, stores.old, name, first))
    recent = trading_minute(stores.hot_from)
    for name, _ in days:
        # In turns, so that both have the same noise.
        results.call(WITHOUT, partial(one_day, stores.hot, name, recent))
        results.call(WITH, partial(one_day, stores.old, name, recent))
    rows = stores.series * (stores.minutes - stores.hot_from)
    target = str(folder / "dump.parquet")
    expect("rows", results.rate(DUMP, rows, lambda: stores.hot.export("bars", target)).rows, rows)


def one_day(client: MDS, name: str, first: datetime) -> None:
    """Read a day of one series as a frame."""
    expect("rows", len(client.bars_window(name, "1m", first, first + SPAN, VENDOR, as_="polars")), DAY)


@click.command()
@click.option("--bars", default=10_000_000, show_default=True, type=lambda text: int(str(text).replace("_", "")))
@click.option("--series", default=100, show_default=True)
@click.option("--rounds", default=5, show_default=True)
def main(bars: int, series: int, rounds: int) -> None:
    """Write, move, measure and print."""
    minutes = max(1, bars // series)
    results = Results()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mds-")))
        where = stack.enter_context(stack.enter_context(databases("postgres")).migrated())
        copy = folder / "bars.parquet"
        stores = stack.enter_context(filled(where, str(folder / "cold"), results, series, minutes, copy))
        arctic = None
        if has_arcticdb():
            arctic = ArcticDB(copy, folder / "arcticdb")
            stack.callback(arctic.close)
            expect("ArcticDB's volume", arctic.volume, stores.volume)
        else:
            click.echo("ArcticDB is left out: make bench installs it where it can be had")
        for _ in range(rounds):
            measure(stores, results, arctic, folder)
    click.echo(f"{stores.rows:,} bars of {series} series, {stores.in_files:,} of them in files; {rounds} rounds\n")
    results.print()


if __name__ == "__main__":
    main()
