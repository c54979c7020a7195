"""Our ways to write a batch, end to end: from what the user has until it is committed."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from time import perf_counter
from typing import Any

import pyarrow as pa

from benchmarks.case import Timed, Told, Work, case, expect
from benchmarks.data import Checksum, by_series
from benchmarks.world import World
from datastore.load import load
from mds_client import AMDS, MDS, AsyncBatchProcessor, BatchConfig, BatchProcessor
from mds_client.commands.crew import Crew
from mds_client.commands.imported import How, import_one
from mds_client.commands.reports import Watch
from mds_client.files import PLAIN
from mds_client.utils import ingest_ndjson

GROUP = "ours"
BATCH = BatchConfig(max_rows=10_000)


@contextmanager
def client(world: World) -> Iterator[MDS]:
    """A client whose connection is open."""
    with world.writes.client() as mds:
        mds.health()
        yield mds


def fresh(world: World, rows: "pa.Table", work: Callable[[MDS], object], *, newer: bool = False) -> Iterator[Work]:
    """Work on an empty table, which holds these rows afterwards."""
    database = world.writes
    database.emptied(newer=newer)
    with client(world) as mds:
        yield Timed(lambda: work(mds), rows.num_rows)
    expect("the table", database.checksum(), Checksum.of(rows))


@case(GROUP, "Arrow, merged")
def arrow_merged(world: World) -> Iterator[Work]:
    """An Arrow table where rows may exist already (none does): COPY to a staging table, one merge."""
    rows = world.data.table
    return fresh(world, rows, lambda mds: mds.upsert_bars(rows), newer=True)


@case(GROUP, "Arrow, appended")
def arrow_appended(world: World) -> Iterator[Work]:
    """An Arrow table whose rows are all newer than their series' newest."""
    rows = world.data.table
    return fresh(world, rows, lambda mds: mds.upsert_bars(rows))


@case(GROUP, "polars, appended", package="polars")
def polars_appended(world: World) -> Iterator[Work]:
    """The same from a polars frame."""
    frame = world.data.polars
    return fresh(world, world.data.table, lambda mds: mds.upsert_bars(frame))


@case(GROUP, "Arrow, appended by two writers")
def two_writers(world: World) -> Iterator[Work]:
    """Two threads with a connection each, a half of the series each."""
    parts = by_series(world.data.table, world.size.series, 2)

    def both(mds: MDS) -> None:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(mds.upsert_bars, parts))

    return fresh(world, world.data.table, both)


@case(GROUP, "Arrow, replayed")
def arrow_replayed(world: World) -> Iterator[Work]:
    """The same table again: no row version is written."""
    database, rows = world.writes, world.data.table
    database.emptied()
    with client(world) as mds:
        mds.upsert_bars(rows)
        before = database.versions()
        yield Timed(lambda: mds.upsert_bars(rows), rows.num_rows)
    expect("the row versions", database.versions(), before)
    expect("the table", database.checksum(), Checksum.of(rows))


@case(GROUP, "Arrow, changed")
def arrow_changed(world: World) -> Iterator[Work]:
    """A table that changes every row which is there."""
    database = world.writes
    database.emptied()
    with database.owner() as owner, client(world) as mds:
        mds.upsert_bars(world.data.table)
        owner.execute("VACUUM (ANALYZE) store.bars")
        yield Timed(lambda: mds.upsert_bars(world.data.changed), world.size.rows)
    expect("the table", database.checksum(), Checksum.of(world.data.changed))


@case(GROUP, "datastore load, Arrow")
def load_arrow(world: World) -> Iterator[Work]:
    """The control plane's bulk load of an Arrow table: checked, sorted, copied straight into the table."""
    database, rows = world.writes, world.data.table
    return fresh(
        world,
        rows,
        lambda _: load(database.admin_dsn, str(database.tenant), "bars", rows, rejects=world.folder / "rejects"),
    )


@case(GROUP, "datastore load, Parquet")
def load_parquet(world: World) -> Iterator[Work]:
    """The same from a Parquet file."""
    database, path = world.writes, str(world.data.files(world.folder).parquet)
    return fresh(
        world,
        world.data.table,
        lambda _: load(database.admin_dsn, str(database.tenant), "bars", path, rejects=world.folder / "rejects"),
    )


@case(GROUP, "Arrow, a day")
def arrow_day(world: World) -> Iterator[Work]:
    """A fifth of the batch, for comparison with what takes rows one by one."""
    rows = world.data.day
    return fresh(world, rows, lambda mds: mds.upsert_bars(rows))


@case(GROUP, "models, a day")
def models(world: World) -> Iterator[Work]:
    """A list of `Bar`."""
    rows = world.data.models
    return fresh(world, world.data.day, lambda mds: mds.upsert_bars(rows))


@case(GROUP, "NDJSON, a day")
def ndjson(world: World) -> Iterator[Work]:
    """A file of lines, each validated, by `ingest_ndjson` with one connection."""
    path = str(world.data.files(world.folder).ndjson)
    return fresh(
        world,
        world.data.day,
        lambda mds: ingest_ndjson(mds, "bars", path, rejects=world.folder / "rejects"),
    )


HOW = How("bars", None, PLAIN, None)


def imported(mds: MDS, path: str) -> None:
    """Import a file as `mds import` does, with the detection of its format."""
    done = import_one(mds, HOW, path, lambda _: None, lambda *_: None)
    expect("the error of an import", done.error, None)


@case(GROUP, "import, Parquet")
def import_parquet(world: World) -> Iterator[Work]:
    """A Parquet file by `mds import`, in one process and in transactions of 100,000 rows."""
    path = str(world.data.files(world.folder).parquet)
    return fresh(world, world.data.table, lambda mds: imported(mds, path))


@case(GROUP, "import, CSV")
def import_csv(world: World) -> Iterator[Work]:
    """The same of a CSV file."""
    path = str(world.data.files(world.folder).csv)
    return fresh(world, world.data.table, lambda mds: imported(mds, path))


@case(GROUP, "import, CSV, two files at once")
def import_csv_at_once(world: World) -> Iterator[Work]:
    """The same rows in four files, by two processes, whose start is measured, too."""
    paths = [str(path) for path in sorted(world.data.files(world.folder).parts.iterdir())]

    def at_once(mds: MDS) -> None:
        crew = Crew(mds.config, HOW, 2, Watch({}), with_fingerprint=False)
        for done in crew.run(paths):
            expect("the error of an import", done.error, None)

    return fresh(world, world.data.table, at_once)


@case(GROUP, "import, NDJSON, a day")
def import_ndjson(world: World) -> Iterator[Work]:
    """A file of lines by `mds import`."""
    path = str(world.data.files(world.folder).ndjson)
    return fresh(world, world.data.day, lambda mds: imported(mds, path))


@case(GROUP, "BatchProcessor, a day")
def batch_processor(world: World) -> Iterator[Work]:
    """Models one by one, written by its thread in batches of 10,000."""
    rows = world.data.models

    def add(mds: MDS) -> None:
        with BatchProcessor(mds, BATCH) as processor:
            for row in rows:
                processor.add_bar(row)

    return fresh(world, world.data.day, add)


def of_amds(world: World, rows: "pa.Table", work: Callable[[AMDS], Any], **settings: Any) -> Iterator[Work]:
    """Work of an asynchronous client on an empty table, which holds these rows afterwards."""
    database = world.writes
    database.emptied()

    async def opened() -> AMDS:
        amds = database.aclient(**settings)
        await amds.health()
        return amds

    amds = world.loop.run(opened())
    yield Timed(lambda: world.loop.run(work(amds)), rows.num_rows)
    world.loop.run(amds.aclose())
    expect("the table", database.checksum(), Checksum.of(rows))


@case(GROUP, "AsyncBatchProcessor, a day")
def async_batch_processor(world: World) -> Iterator[Work]:
    """The same in an event loop."""
    rows = world.data.models

    async def add(amds: AMDS) -> None:
        async with AsyncBatchProcessor(amds, BATCH) as processor:
            for row in rows:
                await processor.add_bar(row)

    return of_amds(world, world.data.day, add)


@case(GROUP, "AMDS, Arrow, appended")
def amds_one(world: World) -> Iterator[Work]:
    """The asynchronous client, one writer."""
    return of_amds(world, world.data.table, lambda amds: amds.upsert_bars(world.data.table))


@case(GROUP, "AMDS, Arrow, four writers")
def amds_four(world: World) -> Iterator[Work]:
    """Four tasks of one loop with a connection each, a fourth of the series each."""
    parts = by_series(world.data.table, world.size.series, 4)

    async def all_four(amds: AMDS) -> None:
        await asyncio.gather(*map(amds.upsert_bars, parts))

    return of_amds(world, world.data.table, all_four, pool_max=4)


@case(GROUP, "AMDS, longest block of the loop")
def amds_block(world: World) -> Iterator[Work]:
    """How long, while a whole batch is written, a task that wakes up every millisecond had to wait at the worst."""
    database, rows = world.writes, world.data.table
    database.emptied(newer=True)

    async def longest() -> float:
        worst = 0.0
        written = asyncio.Event()

        async def watch() -> None:
            nonlocal worst
            while not written.is_set():
                before = perf_counter()
                await asyncio.sleep(0.001)
                worst = max(worst, perf_counter() - before - 0.001)

        async with database.aclient() as amds:
            await amds.health()
            watching = asyncio.create_task(watch())
            await amds.upsert_bars(rows)
            written.set()
            await watching
        return worst * 1000

    yield Told(lambda: world.loop.run(longest()), "ms")
    expect("the table", database.checksum(), Checksum.of(rows))
