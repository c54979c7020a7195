"""ArcticDB's bulk write of a Parquet file of bars, timed; run by an interpreter that has it, prints JSON.

`python arcticdb_program.py BARS.parquet FOLDER`. Written as its documentation shows: a symbol a series, `write_batch`
(https://docs.arcticdb.io/latest/api/library/): from the one frame in arrival order, as everybody else gets it, and from
frames that were split by series beforehand. And all of it as a single symbol, which no series can be read from alone.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import arcticdb
import pyarrow.parquet as parquet
from arcticdb import WritePayload

COLUMNS = ["open_price", "high_price", "low_price", "close_price", "volume"]


def split(frame: Any) -> list[WritePayload]:
    """A frame in arrival order as one payload a series."""
    indexed = frame.set_index("ts")
    return [WritePayload(name, rows[COLUMNS]) for name, rows in indexed.groupby("symbol", sort=False)]


def timed(library: Any, frame: Any, payloads: list[WritePayload] | None) -> float:
    """Rows a second."""
    began = time.perf_counter()
    library.write_batch(split(frame) if payloads is None else payloads)
    return len(frame) / (time.perf_counter() - began)


def main() -> None:
    frame = parquet.read_table(sys.argv[1]).to_pandas()
    store = arcticdb.Arctic(f"lmdb://{Path(sys.argv[2]).as_posix()}?map_size=8GB")
    told = {}
    for name, payloads in (("frame", None), ("split", split(frame))):
        library = store.create_library(name)
        told[name] = timed(library, frame, payloads)
        read = [item.data for item in library.read_batch(library.list_symbols())]
        told[f"{name} rows"] = sum(map(len, read))
        told[f"{name} volume"] = int(sum(one["volume"].sum() for one in read))
    library = store.create_library("one")
    indexed = frame.set_index("ts")
    began = time.perf_counter()
    library.write("bars", indexed)
    told["one"] = len(frame) / (time.perf_counter() - began)
    told["one rows"] = len(library.read("bars").data)
    told["one volume"] = int(library.read("bars").data["volume"].sum())
    print(json.dumps(told))


if __name__ == "__main__":
    main()
