"""`python -m benchmarks.beyond --bars 50_000_000`: bars are moved into files, scanned, computed on Ray, and drawn.

The demonstration of the guide on many bars: writes bars, moves all months but the newest into files,
corrects some, and computes bars of an hour and ranks of momentum with polars on a scan, with polars on the parts of
the scan, and on a local Ray cluster. The results must be equal. Prints a line for each step, and draws the market's
mean of each day. `--s3` keeps the files in an object store: moto's server on this machine.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar
from unittest.mock import patch

import click
import polars as pl

from benchmarks.case import expect
from benchmarks.data import DAY, VENDOR, symbol, table, trading_minute
from benchmarks.servers import databases
from datastore import cold, tenants
from datastore.cold import exporting
from mds_client import MDS, Bar, Part
from tests.objects import BUCKET, REGION, ObjectStore

BLOCK: Final = 1_000_000
"""The bars of all series that are written at once."""

WRITERS: Final = 2
"""The threads that write, with a connection and a part of the series each."""

T = TypeVar("T")


def hourly(bars: pl.LazyFrame) -> pl.LazyFrame:
    """Bars of an hour."""
    return bars.group_by("symbol", pl.col("ts").dt.truncate("1h")).agg(
        pl.col("open_price").sort_by("ts").first(),
        pl.col("high_price").max(),
        pl.col("low_price").min(),
        pl.col("close_price").sort_by("ts").last(),
        pl.col("volume").sum().cast(pl.Int64),
    )


def ranks(bars: pl.LazyFrame) -> pl.LazyFrame:
    """The sum of each symbol's ranks by momentum, which are computed for each minute among all symbols."""
    before = pl.col("close_price").shift(30).over("symbol", pl.col("ts").dt.date(), order_by="ts")
    momentum = bars.with_columns(momentum=pl.col("close_price") / before - 1).drop_nulls("momentum")
    ranked = momentum.with_columns(rank=pl.col("momentum").rank("min").over("ts").cast(pl.Int64))
    return ranked.group_by("symbol").agg(pl.col("rank").sum(), pl.len().cast(pl.Int64).alias("volume"))


Compute: TypeAlias = Callable[[pl.LazyFrame], pl.LazyFrame]

COMPUTED: Final[Mapping[str, Compute]] = {"bars of an hour": hourly, "ranks of momentum a minute": ranks}


def in_turn(parts: list[Part], compute: Compute) -> pl.DataFrame:
    """Compute in this process, one part after the other."""
    return pl.concat([compute(part.scan()).collect() for part in parts])


def sums(frame: pl.DataFrame) -> tuple[int, ...]:
    """What two results have to agree on, as integers."""
    return tuple(int(frame[name].sum()) for name in ("volume", "rank") if name in frame.columns)


def timed(name: str, rows: int, call: Callable[[], T]) -> T:
    """Call, and print how long it takes and how many rows a second that is."""
    began = time.perf_counter()
    found = call()
    took = time.perf_counter() - began
    click.echo(f"{name:<60} {took:9.1f} s {rows / took / 1e6:9.2f} M rows/s")
    return found


def fill(mds: MDS, series: int, minutes: int) -> int:
    """Write the bars, with writers that have a part of the series each, and return their number.

    The server does nine tenths of the work of an append, in the process of its connection. So one writer uses one core.
    """
    size = max(1, BLOCK // series)
    share = -(-series // WRITERS)

    def written(first_series: int) -> int:
        count = min(share, series - first_series)
        return sum(
            mds.upsert_bars(
                table(
                    count,
                    min(size, minutes - first),
                    first_minute=first,
                    first_series=first_series,
                    seed=first * series + first_series,
                )
            )
            for first in range(0, minutes, size)
        )

    with ThreadPoolExecutor(WRITERS) as pool:
        return sum(pool.map(written, range(0, series, share)))


@contextmanager
def place(folder: str, *, s3: bool) -> Iterator[str]:
    """The place of the files: a folder, or a prefix of an object store on this machine."""
    if not s3:
        yield str(Path(folder) / "cold")
        return
    with ObjectStore() as objects:
        user = objects.operator()
        given = {
            "AWS_ACCESS_KEY_ID": user.key, "AWS_SECRET_ACCESS_KEY": user.secret, "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL": objects.endpoint, "AWS_ALLOW_HTTP": "true",
        }  # fmt: skip
        with patch.dict(os.environ, given):
            yield f"s3://{BUCKET}/cold"


def on_ray(parts: list[Part], rows: int, folder: str) -> list[pl.DataFrame]:
    """Compute on two workers of a cluster on this machine."""
    # Ray reads the second one when it is imported: it keeps Ray on 127.0.0.1.
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    import ray

    def start() -> Any:
        return ray.init(num_cpus=2, include_dashboard=False, _temp_dir=folder, log_to_driver=False)

    timed("Ray starts", 0, start)
    work: Any = ray.remote(lambda compute, part: compute(part.scan()).collect())

    def run(compute: Compute) -> pl.DataFrame:
        found: list[pl.DataFrame] = ray.get([work.remote(compute, part) for part in parts])
        return pl.concat(found)

    try:
        return [timed(f"{name}, Ray, two workers", rows, partial(run, compute)) for name, compute in COMPUTED.items()]
    finally:
        ray.shutdown()


def draw(hours: pl.DataFrame, target: Path) -> None:
    """Draw the mean of all symbols' last prices of each day."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    day = pl.col("ts").dt.date().alias("day")
    days = hours.sort("ts").group_by(day).agg(pl.col("close_price").mean()).sort("day")
    figure, axes = pyplot.subplots(figsize=(9, 3))
    axes.plot(days["day"].to_list(), days["close_price"].to_list())
    axes.set_ylabel("mean close")
    figure.savefig(target, bbox_inches="tight")
    pyplot.close(figure)


@click.command()
@click.option("--bars", default=5_000_000, show_default=True, type=lambda text: int(str(text).replace("_", "")))
@click.option("--series", default=500, show_default=True)
@click.option("--s3", is_flag=True, help="Keep the files in an object store on this machine.")
@click.option("--picture", default="beyond.png", show_default=True, type=click.Path(path_type=Path))
def main(bars: int, series: int, s3: bool, picture: Path) -> None:
    """Write, move, compute, compare and draw."""
    minutes = max(1, bars // series)
    newest = trading_minute(minutes - 1)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="mds-", dir="/tmp"))
        where = stack.enter_context(stack.enter_context(databases("postgres")).migrated())
        url = stack.enter_context(place(folder, s3=s3))
        tenant = tenants.create_tenant(where.admin_dsn, "beyond").id
        mds = stack.enter_context(MDS(dsn=where.dsn, tenant_id=str(tenant), cold_url=url))
        rows = timed(
            "bars are written, frames over two connections", minutes * series, lambda: fill(mds, series, minutes)
        )
        cold.set_age(where.admin_dsn, tenant, "bars", timedelta(days=1))
        moved = timed(
            "months are moved into files and deleted from the table",
            rows,
            lambda: list(exporting.run(where.admin_dsn, url, now=newest.replace(day=2) + timedelta(days=1))),
        )
        click.echo(f"{sum(one.rows for one in moved):,} of {rows:,} bars are in {len(moved)} files")
        corrected = [trading_minute(n) for n in range(0, minutes, DAY)]
        mds.upsert_bars(
            Bar(vendor=VENDOR, symbol=symbol(7), timeframe="1m", ts=ts, close_price=9, volume=1) for ts in corrected
        )
        scanned = mds.scan("bars", vendor=VENDOR, timeframe="1m")
        total = timed("sum of a scan", rows, lambda: scanned.select(pl.col("volume").sum()).collect().item())
        parts = timed(
            "the scan is divided into parts", rows, lambda: mds.scan_parts("bars", vendor=VENDOR, timeframe="1m")
        )
        each = [part.scan().select(pl.col("volume").sum()) for part in parts]
        found = timed("sum of the parts, polars", rows, lambda: sum(one.collect().item() for one in each))
        expect("the volume of all parts", int(found), int(total))
        here = [
            timed(f"{name}, polars, part after part", rows, partial(in_turn, parts, compute))
            for name, compute in COMPUTED.items()
        ]
        there = on_ray(parts, rows, f"{folder}/r")
        for mine, others in zip(here, there, strict=True):
            expect("rows and sums on Ray", (len(others), sums(others)), (len(mine), sums(mine)))
        timed("a plot", len(here[0]), lambda: draw(here[0], picture))
        click.echo(f"{datetime.now(UTC):%F}: results agree; {picture}")


if __name__ == "__main__":
    main()
