"""How much memory a stream takes: bars that are made as they are written, through one upsert.

`python -m benchmarks.memory` starts a server of its own; `--dsn` and `--tenant-id` take one that is there.
Prints the rows, the rate and the peak of this process as JSON.
"""

import json
import resource
import time
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path

import click
import numpy as np
import pyarrow as pa

from benchmarks.servers import running
from datastore import tenants
from mds_client import MDS

BEGIN = np.datetime64(datetime(2024, 1, 1, tzinfo=UTC).replace(tzinfo=None), "us")
SERIES = 1000


def batches(rows: int, size: int = 50_000) -> Iterator[pa.RecordBatch]:
    """Bars of a thousand series, minute by minute, a batch at a time."""
    chance = np.random.default_rng(7)
    symbols = pa.array([f"S{number:05d}" for number in range(SERIES)])
    for first in range(0, rows, size):
        numbers = np.arange(first, min(rows, first + size))
        close = 100 + chance.standard_normal(len(numbers)).cumsum() / 100
        yield pa.record_batch(
            {
                "vendor": pa.DictionaryArray.from_arrays(np.zeros(len(numbers), "i4"), pa.array(["bench"])),
                "symbol": pa.DictionaryArray.from_arrays((numbers % SERIES).astype("i4"), symbols),
                "timeframe": pa.DictionaryArray.from_arrays(np.zeros(len(numbers), "i4"), pa.array(["1m"])),
                "ts": pa.array(BEGIN + (numbers // SERIES).astype("timedelta64[m]"), pa.timestamp("us", "UTC")),
                "close_price": pa.array(close),
                "volume": pa.array(numbers),
            }
        )


def peak() -> int:
    """Return the peak memory of this process in bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        # The kernel's count for getrusage begins with that of the process that started this one.
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@click.command()
@click.option("--rows", type=click.IntRange(1), default=10_000_000, show_default=True)
@click.option("--dsn", help="A database that is there.")
@click.option("--tenant-id", help="The tenant there.")
def main(rows: int, dsn: str | None, tenant_id: str | None) -> None:
    """Write a number of bars from a stream, and print time and memory."""
    with nullcontext() if dsn else running() as server:
        if server is not None:
            dsn = server.dsn("mds_service")
            tenant_id = str(tenants.create_tenant(server.dsn("mds_admin"), "bench").id)
        stream = batches(rows)
        first = next(stream)

        def again() -> Iterator[pa.RecordBatch]:
            yield first
            yield from stream

        began = time.perf_counter()
        with MDS(dsn=dsn, tenant_id=tenant_id, statement_timeout_ms=0) as mds:
            written = mds.upsert_bars(pa.RecordBatchReader.from_batches(first.schema, again()))
        seconds = time.perf_counter() - began
    told = {"rows": written, "rows_per_second": round(written / seconds), "peak_megabytes": round(peak() / 1e6)}
    click.echo(json.dumps(told))


if __name__ == "__main__":
    main()
