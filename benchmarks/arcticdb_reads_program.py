"""ArcticDB with the bars of a Parquet file, a symbol a series; run by an interpreter that has it.

`python arcticdb_reads_program.py BARS.parquet FOLDER`. Reads orders as JSON, a line each, and answers each with a line:
`wait` for the sum of the volumes once everything is written, `read` for reading all symbols, `days` for one day each of
some symbols. Written as its documentation shows: `write`, `read_batch` and `read` with a `date_range`
(https://docs.arcticdb.io/latest/api/library/).
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import arcticdb
import pandas as pd
import pyarrow.parquet as parquet

COLUMNS = ["open_price", "high_price", "low_price", "close_price", "volume"]


def main() -> None:
    frame = parquet.read_table(sys.argv[1]).to_pandas()
    store = arcticdb.Arctic(f"lmdb://{Path(sys.argv[2]).as_posix()}?map_size=20GB")
    library = store.create_library("bars")
    volume = int(frame["volume"].sum())
    for name, rows in frame.set_index("ts").groupby("symbol", sort=False):
        library.write(name, rows[COLUMNS])
    del frame
    symbols = library.list_symbols()
    library.read_batch(symbols)
    for line in sys.stdin:
        print(json.dumps(answer(library, symbols, volume, json.loads(line))), flush=True)


def answer(library: Any, symbols: list[str], volume: int, order: dict[str, Any]) -> dict[str, Any]:
    if order["do"] == "wait":
        return {"volume": volume}
    if order["do"] == "read":
        began = time.perf_counter()
        read = [item.data for item in library.read_batch(symbols)]
        seconds = time.perf_counter() - began
        return {"seconds": seconds, "volume": int(sum(one["volume"].sum() for one in read))}
    told: dict[str, list[float]] = {"ms": [], "rows": []}
    for symbol, start, end in order["days"]:
        began = time.perf_counter()
        until = pd.Timestamp(end) - pd.Timedelta(1, "us")
        rows = library.read(symbol, date_range=(pd.Timestamp(start), until)).data
        told["ms"].append((time.perf_counter() - began) * 1000)
        told["rows"].append(len(rows))
    return told


if __name__ == "__main__":
    main()
