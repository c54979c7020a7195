"""The command `mds stream`: writes a vendor's live bars until it is stopped."""

import asyncio
import signal
import sys
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime

import click

from mds_client.abatch import AsyncBatchProcessor
from mds_client.aclient import AMDS
from mds_client.batching.core import BatchConfig
from mds_client.commands.options import on_conflict_option, settings_options
from mds_client.commands.vendors import rejects_of, vendor_of, vendor_options
from mds_client.config import Config
from mds_client.console import REJECTS, Instant, counted, json_option, one_line, show_json
from mds_client.files import RejectFile
from mds_client.schema import OnConflict
from mds_client.transfer.streams import Streamed, Streaming


@click.command("stream")
@vendor_options
@click.option(
    "--start",
    type=Instant(),
    help="Fetch bars from this time on first, ISO; without a zone UTC. [default: from the newest stored bar on]",
)
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), help="Stop after this number of seconds.")
@click.option("--max-ms", type=click.IntRange(1), default=1_000, show_default=True, help="The longest a bar waits.")
@on_conflict_option
@settings_options
@json_option
def stream(
    config: Config,
    name: str,
    symbols: tuple[str, ...],
    timeframe: str,
    options: tuple[str, ...],
    stored_as: str | None,
    start: datetime | None,
    seconds: float | None,
    max_ms: int,
    on_conflict: OnConflict,
    as_json: bool,
) -> None:
    """Write a vendor's live bars of symbols, until Ctrl-C.

    A bar is written when it is over. If the connection breaks, the command connects again and fetches the bars that it
    missed from the vendor's REST API. It begins with what was missed since the newest stored bar. Ctrl-C writes what is
    pending and prints a summary. The exit code is 3 if bars were invalid, or missed bars could not be fetched.

    Example: mds stream ccxt BTC/USDT ETH/USDT --option exchange=binance --timeframe 1m
    """
    vendor = vendor_of(name, options)
    vendor.interval(timeframe)
    vendor.library()
    rejects = RejectFile(rejects_of(f"{name}-stream"))
    done = Streamed()
    processor: AsyncBatchProcessor | None = None

    async def run() -> None:
        nonlocal done, processor
        async with AMDS(config) as client:
            batch = BatchConfig(max_rows=10_000, max_ms=max_ms)
            async with AsyncBatchProcessor(client, batch, on_conflict=on_conflict) as processor:
                streaming = Streaming(
                    client, processor, vendor, symbols, timeframe,
                    stored_as=stored_as, start=start, reject=rejects.write, say=_say,
                )  # fmt: skip
                done = streaming.done
                await streaming.run(_until(seconds))

    try:
        asyncio.run(run())
    finally:
        rejects.close(complete=True)
        # Also after an error: the summary says what was written before it.
        written = 0 if processor is None else processor.stats().written
        fields = {**asdict(done), "written": written, "rejects": str(rejects.path) if rejects.count else None}
        show_json(fields) if as_json else click.echo(_sentence(done, written))
    if done.rejected or done.missed:
        sys.exit(REJECTS)


def _until(seconds: float | None) -> asyncio.Event:
    """Return an event that is set by Ctrl-C, SIGTERM or after some seconds."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        # Signal handlers do not work on Windows or outside the main thread. There, Ctrl-C cancels the run.
        with suppress(NotImplementedError, RuntimeError, ValueError):
            loop.add_signal_handler(number, stop.set)
    if seconds is not None:
        loop.call_later(seconds, stop.set)
    return stop


def _say(text: str) -> None:
    click.echo(one_line(text), err=True)


def _sentence(done: Streamed, written: int) -> str:
    said = (
        f"{counted(written, 'row')} of bars written: {done.bars:,} live, {done.fetched:,} fetched after"
        f" {counted(done.breaks, 'break')}, {done.rejected:,} rejected"
    )
    return f"{said}; missed: {', '.join(done.missed)}" if done.missed else said
