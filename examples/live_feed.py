"""A live feed: simulated ticks become bars of a minute, which are written while they grow.

    datastore up && eval "$(datastore env)" && datastore seed --tenant research
    export MDS_TENANT_ID=...                                  # as the last command has printed it
    python examples/live_feed.py --symbols AAPL,MSFT --seconds 30

Each tick changes the bar of its minute, and the bar is put down again: the last one wins, so what is stored is never
older than `max_ms`. SIGINT and SIGTERM end it as --seconds does: what is pending is written first.
"""

import asyncio
import random
import signal
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import NamedTuple

import click

from mds_client import AMDS, AsyncBatchProcessor, Bar, BatchConfig

VENDOR = "simulated"


class Tick(NamedTuple):
    """A trade: `ts` in UTC, `size` in units of the instrument."""

    symbol: str
    ts: datetime
    price: float
    size: int


async def ticks(symbol: str, per_second: float) -> AsyncIterator[Tick]:
    """A random walk, in place of a vendor's stream."""
    price = random.uniform(50, 500)
    while True:
        await asyncio.sleep(random.expovariate(per_second))
        price *= 1 + random.gauss(0, 0.0005)
        yield Tick(symbol, datetime.now(UTC), round(price, 2), random.randint(1, 500))


def grown(bar: Bar | None, tick: Tick) -> Bar:
    """The bar of the tick's minute with the tick in it: `bar` is the one so far, of this minute or an earlier one."""
    minute = tick.ts.replace(second=0, microsecond=0)
    if bar is None or bar.ts != minute:
        prices = dict.fromkeys(("open_price", "high_price", "low_price", "close_price"), tick.price)
        return Bar(vendor=VENDOR, symbol=tick.symbol, timeframe="1m", ts=minute, volume=tick.size, **prices)
    high, low = max(bar.high_price, tick.price), min(bar.low_price, tick.price)
    changed = {"high_price": high, "low_price": low, "close_price": tick.price, "volume": bar.volume + tick.size}
    return bar.model_copy(update=changed)


async def follow(symbol: str, per_second: float, batches: AsyncBatchProcessor) -> None:
    """Write a symbol's bars for as long as there are ticks."""
    bar = None
    async for tick in ticks(symbol, per_second):
        await batches.add_bar(bar := grown(bar, tick))


async def run(symbols: list[str], seconds: float, per_second: float) -> None:
    """Follow all symbols until the time is up or a signal comes, and say what was written."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with AMDS() as amds:
        async with AsyncBatchProcessor(amds, BatchConfig(max_rows=500, max_ms=500)) as batches:
            feeds = [asyncio.create_task(follow(symbol, per_second, batches)) for symbol in symbols]
            stopped = asyncio.create_task(stop.wait())
            ended, going = await asyncio.wait([*feeds, stopped], timeout=seconds, return_when="FIRST_COMPLETED")
            for task in going:
                task.cancel()
            for task in ended:
                task.result()  # raises why a feed has failed
        print(f"{batches.stats().written} rows written in {batches.stats().batches} batches")
        for price in await amds.latest_prices(symbols, vendor=VENDOR):
            print(f"{price.symbol} {price.price:.2f}")


@click.command()
@click.option("--symbols", default="AAPL,MSFT", show_default=True, help="Separated by commas.")
@click.option("--seconds", default=60.0, show_default=True, help="For how long.")
@click.option("--per-second", default=20.0, show_default=True, help="Ticks of each symbol.")
def main(symbols: str, seconds: float, per_second: float) -> None:
    """Simulate a feed, and write its bars."""
    asyncio.run(run(symbols.split(","), seconds, per_second))


if __name__ == "__main__":
    main()
