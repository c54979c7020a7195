"""Fuzzed lines of bars through NDJSON, CSV and HTTP: each is written as it was meant, or rejected with a reason.

Every line has a time of its own. Some are damaged: a value of another sort, a field too many or too few, bytes of
anything, half a line. What a door has not rejected has to be in the store, as a model reads the line, and nothing else
is. Run many lines by hand with

    python -m tests.clients.fuzz --lines 1000000 --seed 1
"""

import csv
import io
import json
import random
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import click
import httpx
from pydantic import ValidationError

from datastore.config import Settings
from mds_client import KINDS, MDS, Bar, DataQualityWarning
from mds_client.files import opened
from mds_client.transfer.imports import Importing
from mds_client.utils import ingest_ndjson
from tests.clients.new_store import new_store
from tests.service.conftest import Keys, serving
from tests.service.processes import NO_TLS

START: Final = datetime(2024, 1, 2, tzinfo=UTC)
FIELDS: Final = ("symbol", "timeframe", "ts", "open_price", "high_price", "low_price", "close_price", "volume")
NUMBERS: Final = FIELDS[3:]
ODD: Final[tuple[Any, ...]] = (
    *(None, True, False, "", " ", "abc", "NaN", "nan", "inf", "-Infinity", "1,5", "1.5", " 7 ", "1e3", "0x10", "١٢"),
    *(0, -1, -0.0, 0.1, 1e-320, 1e308, 2**53 + 1, 2**63, 10**400, [], [1], {}, {"a": 1}, "\0", "\u2028", "\ud800"),
    *("1m", "1min", "1M", "60m", "2024-01-02", "20240102", 20240102, "2611-01-01", "1600-01-01", "x" * 300),
)
UPLOAD: Final = 200
"""Lines of one upload: of more than a hundred rejects, only a number is told."""


@dataclass(frozen=True)
class Outcome:
    """What a door has done with lines: how many were rejected, and how many rows it has written."""

    rejected: int
    rows: int


Values = dict[str, Any]


def values(number: int, chance: random.Random) -> Values:
    """The bar of a line, which nothing is wrong with."""
    opened_at = chance.randint(100, 50_000)
    closed = opened_at + chance.randint(-20, 20)
    return {
        "symbol": f"S{number % 40}",
        "timeframe": "1s",
        "ts": (START + timedelta(seconds=number)).isoformat(),
        "open_price": opened_at / 100,
        "high_price": max(opened_at, closed) / 100,
        "low_price": min(opened_at, closed) / 100,
        "close_price": closed / 100,
        "volume": chance.choice((chance.randint(0, 10**6), chance.random())),
    }


def damaged(row: Values, chance: random.Random) -> Values:
    """The same with something done to it that a line can still say."""
    name = chance.choice(FIELDS)
    how = chance.randrange(4)
    if how == 0:
        return {key: value for key, value in row.items() if key != name}
    if how == 1:
        return {**row, chance.choice(("extra", "Close", "", "id", "tenant_id")): chance.choice(ODD)}
    return {**row, name: chance.choice(ODD)}


def torn(line: bytes, chance: random.Random) -> bytes:
    """A line with bytes lost, or replaced by any."""
    at = chance.randrange(len(line))
    line = line[:at] if chance.random() < 0.5 else line[:at] + chance.randbytes(chance.randint(1, 3)) + line[at + 2 :]
    return line.replace(b"\n", b" ").replace(b"\r", b" ")


def ndjson_lines(vendor: str, count: int, seed: int, *, share: float = 0.25) -> Iterator[bytes]:
    """Lines of JSON; a part of them is damaged."""
    chance = random.Random(seed)
    for number in range(count):
        row, wrong = values(number, chance), chance.random() < share
        line = json.dumps({"vendor": vendor, **(damaged(row, chance) if wrong else row)}).encode()
        yield torn(line, chance) if wrong and chance.random() < 0.3 else line


def csv_lines(vendor: str, count: int, seed: int, *, share: float = 0.25) -> Iterator[bytes]:
    """Lines of CSV behind the header; a part of them is damaged."""
    chance = random.Random(seed)
    for number in range(count):
        row, wrong = values(number, chance), chance.random() < share
        if wrong:
            changed = damaged(row, chance)
            cells = [vendor, *(changed.get(name) for name in FIELDS)]
            if chance.random() < 0.2:
                cells = cells[: chance.randrange(1, len(cells))] if chance.random() < 0.5 else [*cells, "more"]
        else:
            cells = [vendor, *row.values()]
        texts = ["" if cell is None else str(cell) for cell in cells]
        # A quote of one line that ends in another makes one record of many: what is lost then is not a line.
        text = ",".join(cell.replace('"', "").replace(",", ";").replace("\n", " ") for cell in texts)
        yield text.encode("utf-8", "surrogatepass")


def meant_by_json(line: bytes) -> Bar | None:
    """What a line of JSON says; None where it is not a bar."""
    try:
        return Bar.model_validate(json.loads(line))
    except (ValueError, RecursionError):
        return None


def meant_by_csv(line: bytes) -> Bar | None:
    """What a line of CSV says; None where it is not a bar."""
    try:
        (cells,) = csv.reader(io.StringIO(line.decode(), newline=""))
        if len(cells) != 1 + len(FIELDS):
            return None
        return Bar.model_validate({name: cell for name, cell in zip(("vendor", *FIELDS), cells, strict=True) if cell})
    except (ValueError, ValidationError, csv.Error):
        return None


def expected(lines: list[bytes], rejected: set[int], meant: Callable[[bytes], Bar | None]) -> dict[Any, Bar]:
    """The rows that lines have to leave behind. Raises AssertionError for one that is no bar and was not rejected."""
    rows: dict[Any, Bar] = {}
    for number, line in enumerate(lines, start=1):
        # Blank lines and comments are no rows.
        if number in rejected or not line.strip() or line.strip().startswith(b"#"):
            continue
        bar = meant(line)
        assert bar is not None, f"line {number} was neither rejected nor is it a bar: {line[:300]!r}"
        key = (bar.vendor, bar.symbol, bar.timeframe, bar.ts)
        if any(getattr(bar, name) is not None for name in NUMBERS) or key not in rows:
            rows[key] = bar
    return rows


def compare(client: MDS, vendor: str, rows: dict[Any, Bar]) -> None:
    """Raise AssertionError where the store holds other rows than these: of a vendor, and of those that lines name."""
    there = {
        (bar.vendor, bar.symbol, bar.timeframe, bar.ts): bar
        for name in {vendor, *(bar.vendor for bar in rows.values())}
        for batch in client.iter_rows("bars", vendor=name)
        for bar in batch
    }
    for key in rows.keys() | there.keys():
        wanted, found = rows.get(key), there.get(key)
        same = wanted and found and all(getattr(wanted, name) == getattr(found, name) for name in NUMBERS)
        assert same, f"{key}: the line says {wanted!r}, and the store has {found!r}"


def through_ndjson(client: MDS, folder: Path, lines: list[bytes], vendor: str) -> Outcome:
    """Through `ingest-ndjson`."""
    path, rejects = folder / f"{vendor}.ndjson", folder / f"{vendor}.rejects"
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    done = ingest_ndjson(client, "bars", str(path), rejects=rejects)
    assert done.complete
    return _compared(client, vendor, lines, _rejected(rejects), meant_by_json, done.rejected)


def through_csv(client: MDS, folder: Path, lines: list[bytes], vendor: str) -> Outcome:
    """Through `import`."""
    path, rejects = folder / f"{vendor}.csv", folder / f"{vendor}.rejects"
    path.write_bytes(",".join(("vendor", *FIELDS)).encode() + b"\n" + b"".join(line + b"\n" for line in lines))
    source = opened(KINDS["bars"], str(path), "csv")
    try:
        done = Importing(client, source, KINDS["bars"], rejects, part_rows=20_000).run()
    finally:
        source.close()
    # Of the file, the header is the first line.
    rejected = {line - 1 for line in _rejected(rejects)}
    return _compared(client, vendor, lines, rejected, meant_by_csv, done.rejected)


def through_http(client: MDS, api: httpx.Client, tenant: str, lines: list[bytes], vendor: str) -> Outcome:
    """Through uploads to the service."""
    rejected: set[int] = set()
    for first in range(0, len(lines), UPLOAD):
        body = b"".join(line + b"\n" for line in lines[first : first + UPLOAD])
        headers = {"Content-Type": "application/x-ndjson"}
        answer = api.post(f"/tenants/{tenant}/rows/bars", content=body, headers=headers)
        assert answer.status_code == 200, answer.text
        told = answer.json()
        assert len(told["rejects"]) == told["rejected"]
        rejected |= {first + reject["line"] for reject in told["rejects"]}
    return _compared(client, vendor, lines, rejected, meant_by_json, len(rejected))


def _rejected(path: Path) -> set[int]:
    return {json.loads(line)["line"] for line in path.read_bytes().split(b"\n") if line} if path.exists() else set()


def _compared(
    client: MDS,
    vendor: str,
    lines: list[bytes],
    rejected: set[int],
    meant: Callable[[bytes], Bar | None],
    count: int,
) -> Outcome:
    assert len(rejected) == count, f"{count} lines are said to be rejected, and {len(rejected)} are told"
    rows = expected(lines, rejected, meant)
    compare(client, vendor, rows)
    return Outcome(count, len(rows))


def fuzz(client: MDS, api: httpx.Client, tenant: str, folder: Path, lines: int, seed: int) -> dict[str, Outcome]:
    """Send so many lines through each door. Raises AssertionError for a line that was neither written nor rejected."""
    doors: dict[str, Callable[[str], Outcome]] = {
        "ndjson": lambda vendor: through_ndjson(client, folder, list(ndjson_lines(vendor, lines, seed)), vendor),
        "csv": lambda vendor: through_csv(client, folder, list(csv_lines(vendor, lines, seed)), vendor),
        "http": lambda vendor: through_http(client, api, tenant, list(ndjson_lines(vendor, lines, seed)), vendor),
    }
    return {name: door(f"{name}-{seed}-{uuid4().hex[:8]}") for name, door in doors.items()}


@click.command()
@click.option("--lines", default=1_000_000, show_default=True, help="Lines in all, a third through each door.")
@click.option("--seed", default=1, show_default=True)
@click.option("--part", default=50_000, show_default=True, help="Lines that are compared at once.")
def main(lines: int, seed: int, part: int) -> None:
    """Send many lines through every door, and stop at the first one that is neither written nor rejected."""
    warnings.simplefilter("ignore", DataQualityWarning)
    began, left = time.monotonic(), lines // 3
    total: dict[str, Outcome] = {}
    keys = Keys()
    with (
        tempfile.TemporaryDirectory() as folder,
        new_store() as store,
        MDS(dsn=store.dsn, tenant_id=store.tenant_a) as client,
        serving(Settings(database_url=store.admin_dsn, tokens=keys.lines)) as url,
        httpx.Client(
            base_url=url, verify=NO_TLS, headers={"Authorization": f"Bearer {keys.admin.token}"}, timeout=60
        ) as api,
    ):
        while left > 0:
            for name, outcome in fuzz(client, api, store.tenant_a, Path(folder), min(part, left), seed).items():
                before = total.get(name, Outcome(0, 0))
                total[name] = Outcome(before.rejected + outcome.rejected, before.rows + outcome.rows)
            left -= part
            seed += 1
            print(f"{time.monotonic() - began:.0f} s: {total}", flush=True)


if __name__ == "__main__":
    main()
