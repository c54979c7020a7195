"""Processes that move or publish rows and are killed at a named step, or at any moment, under writers and readers.

The tests kill once at each step. As a program it kills more often, on a server of its own:
`python -m tests.control.cold_faults 20 200` kills twenty times at each step, and two hundred times at random;
`python -m tests.control.cold_faults 20 200 options` does it with options instead of bars.
"""

import importlib
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from mds_client import MDS, Bar, OptionSnap, RetryableError
from mds_client.models import Row
from tests import fork_server

EXPORT: Final = ("fenced", "read", "written", "named", "verified", "deleted", "committed")
FOLD: Final = EXPORT[1:]
COMPACT: Final = EXPORT[1:]
RESTORE: Final = ("deleted", "committed")
PUBLISH: Final = ("made", "prepared", "published")
EVERY: Final = [
    *(("export", step) for step in EXPORT),
    *(("fold", step) for step in FOLD),
    *(("compact", step) for step in COMPACT),
    *(("restore", step) for step in RESTORE),
    *(("publish", step) for step in PUBLISH),
]
MODULES: Final = {
    "export": "datastore.cold.exporting",
    "fold": "datastore.cold.folding",
    "compact": "datastore.cold.compacting",
    "restore": "datastore.cold.folding",
    "publish": "datastore.cold.publishing",
}
BEFORE: Final = {"export": ("restore",), "compact": ("restore",), "publish": ("export", "fold")}
"""What is done before, so that there is something to do; otherwise an export."""
AGE: Final = timedelta(days=30)
NOW: Final = datetime(2024, 6, 15, tzinfo=UTC)
BEGIN: Final = datetime(2024, 3, 1, tzinfo=UTC)
LATER: Final = datetime(2025, 2, 15, tzinfo=UTC)
"""When the whole year may move."""
END: Final = datetime(2024, 6, 1, tzinfo=UTC)


def work(dsn: str, url: str, tenant: str, what: str, stop_at: str | None, kind: str = "bars") -> None:
    """Move or publish rows; at a step, kill this process."""
    from datastore import cold

    def reached(step: str) -> None:
        if step == stop_at:
            os.kill(os.getpid(), signal.SIGKILL)

    cold.set_age(dsn, UUID(tenant), kind, None if what == "restore" else AGE)
    module = importlib.import_module(MODULES[what])
    if what == "export":
        list(module.run(dsn, url, now=NOW, reached=reached))
    elif what == "fold":
        list(module.fold(dsn, url, reached=reached))
    elif what == "compact":
        from datastore.cold import exporting

        list(exporting.run(dsn, url, now=LATER))
        list(module.compact(dsn, url, reached=reached))
    elif what == "publish":
        list(module.publish(dsn, url, reached=reached))
    else:
        list(module.restore(dsn, url, tenant=UUID(tenant), kind=kind, since=BEGIN, reached=reached))


_CONTEXT: Final = multiprocessing.get_context("forkserver")


def _begun(begins: Any, *arguments: Any) -> None:
    """Work, after what takes long to import is imported and somebody was told."""
    importlib.import_module(MODULES[arguments[3]])
    begins.send(None)
    work(*arguments)


def worked(*arguments: Any, killed_after: float | None = None) -> int | None:
    """Have a process work, and give how it ended. `killed_after`: how long after it has begun it is killed."""
    fork_server.start()
    heard, begins = _CONTEXT.Pipe(duplex=False)
    process = _CONTEXT.Process(target=_begun, args=(begins, *arguments))
    process.start()
    begins.close()
    if killed_after is not None:
        heard.recv()
        process.join(killed_after)
        process.kill()
    process.join()
    heard.close()
    return process.exitcode


class Traffic:
    """Somebody who corrects rows all the time, and somebody who reads them; what they saw that was wrong."""

    def __init__(self, dsn: str, tenant: str, url: str, kind: str = "bars") -> None:
        self._settings: dict[str, Any] = {"dsn": dsn, "tenant_id": tenant, "cold_url": url, "max_attempts": 12}
        self._kind = kind
        self.still = [(self._time(n), float(n)) for n in range(360)]
        self.acknowledged = {self._time(n): 1.0 for n in range(360)}
        self.wrong: list[str] = []
        self.looks = self.writes = self.refused = 0
        self._end = threading.Event()

    @staticmethod
    def _time(n: int) -> datetime:
        return BEGIN + timedelta(hours=6 * n)

    def _row(self, symbol: str, ts: datetime, value: float) -> Row:
        if self._kind == "bars":
            return Bar(vendor="v", symbol=symbol, timeframe="1m", ts=ts, close_price=value)
        return OptionSnap(
            vendor="v", symbol=symbol, ts=ts, expiry=date(2030, 1, 1), option_type="C", strike=1, iv=value
        )

    def _read(self, client: MDS, symbol: str) -> list[tuple[datetime, float | None]]:
        """The times and values of a symbol's rows."""
        if self._kind == "bars":
            return [(row.ts, row.close_price) for row in client.bars_window(symbol, "1m", BEGIN, END, "v")]
        found = client.iter_rows("options", BEGIN, END, vendor="v", symbols=[symbol])
        return [(row.ts, row.iv) for batch in found for row in batch]

    def begin(self) -> None:
        """Write all rows."""
        with MDS(self._settings) as client:
            rows = [("STILL", self.still), ("MOVES", self.acknowledged.items())]
            client.upsert(self._kind, [self._row(symbol, *one) for symbol, some in rows for one in some])

    @contextmanager
    def running(self) -> Iterator[None]:
        """Both are at work in the block."""
        threads = [threading.Thread(target=self._guarded, args=(one,)) for one in (self._write, self._look)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._end.set()
            for thread in threads:
                thread.join()

    def _guarded(self, one: Any) -> None:
        try:
            with MDS(self._settings) as client:
                # The processes that are looked at need the cores, too.
                while not self._end.wait(0.01):
                    one(client)
        except Exception as error:  # noqa: BLE001 - what went wrong is what is looked for
            self.wrong.append(f"{one.__name__}: {type(error).__name__}: {error}")

    def _write(self, client: MDS) -> None:
        times = [self._time(n) for n in random.sample(range(360), 5)]
        value = float(self.writes + 2)
        try:
            client.upsert(self._kind, [self._row("MOVES", ts, value) for ts in times])
        except RetryableError:
            # Rows are being brought back, and who did that was killed: nothing was written.
            self.refused += 1
            return
        self.acknowledged |= dict.fromkeys(times, value)
        self.writes += 1

    def _look(self, client: MDS) -> None:
        before = dict(self.acknowledged)
        still, found = self._read(client, "STILL"), self._read(client, "MOVES")
        self.looks += 1
        if still != self.still:
            self.wrong.append(f"{len(still)} rows that nobody writes")
        moving = dict(found)
        if len(moving) != len(found) or moving.keys() != before.keys():
            self.wrong.append(f"{len(found)} rows that are corrected")
        if old := [ts for ts, value in before.items() if (moving.get(ts) or 0) < value]:
            self.wrong.append(f"{len(old)} corrections that were acknowledged are not there")

    def check(self) -> None:
        """At the end: every row is what was acknowledged last."""
        with MDS(self._settings) as client:
            found = self._read(client, "MOVES")
            assert dict(found) == self.acknowledged
            assert len(found) == len(self.acknowledged)
            assert self._read(client, "STILL") == self.still
        assert not self.wrong, self.wrong[:3]

    def check_published(self, dsn: str, url: str, tenant: str) -> None:
        """At the end: after a fold, the published table has what is in files, each row once."""
        from datastore.cold import publishing
        from datastore.cold.records import fence
        from datastore.connections import as_owner
        from datastore.tenants import get_tenant
        from mds_client import KINDS
        from mds_client.cold.places import place

        for what in ("export", "fold", "publish"):
            assert worked(dsn, url, tenant, what, None, self._kind) == 0, what
        whose, kind = get_tenant(dsn, UUID(tenant)), KINDS[self._kind]
        with as_owner(dsn) as (_, driver), publishing.Tables(dsn, place(url)) as tables:
            until = fence(driver, whose, kind)
            rows = tables.table(driver, whose, kind).scan().to_arrow().to_pylist()
        assert until is not None
        value = "close_price" if self._kind == "bars" else "iv"
        there = sorted((row["symbol"], row["ts"], row[value]) for row in rows)
        expected = [("STILL", *one) for one in self.still] + [("MOVES", *one) for one in self.acknowledged.items()]
        assert there == sorted(row for row in expected if row[1] < until)


def _say(where: str, traffic: Traffic) -> None:
    """Print how far a run has come, and what was seen so far."""
    print(f"{where}: writes {traffic.writes}, looks {traffic.looks}, wrong {traffic.wrong}", flush=True)


def main(times: int, at_random: int, kind: str = "bars") -> None:
    """Kill, and print what was seen."""
    from datastore import migration, tenants
    from datastore.cold import keeping
    from datastore.embedded import ADMIN_ROLE, SERVICE_ROLE, EmbeddedServer

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory() as home:
        server = EmbeddedServer(Path(home) / "server")
        server.up(migration.migrate)
        try:
            dsn, url = server.dsn(ADMIN_ROLE), str(Path(home) / "cold")
            tenant = str(tenants.create_tenant(dsn, "storm").id)
            traffic = Traffic(server.dsn(SERVICE_ROLE), tenant, url, kind)
            traffic.begin()
            killed = dict.fromkeys(EVERY, 0)
            ended = dict.fromkeys(MODULES, 0)
            began = time.monotonic()
            with traffic.running():
                for turn in range(times):
                    _say(f"turn {turn} of {times}, {time.monotonic() - began:.0f} s", traffic)
                    for what, step in EVERY:
                        for one in BEFORE.get(what, ("export",)):
                            worked(dsn, url, tenant, one, None, kind)
                        killed[what, step] += worked(dsn, url, tenant, what, step, kind) == -signal.SIGKILL
                        worked(dsn, url, tenant, what, None, kind)
                for turn in range(at_random):
                    if turn % 50 == 0:
                        _say(f"random {turn} of {at_random}, {time.monotonic() - began:.0f} s", traffic)
                    what = random.choice(list(ended))
                    after = random.uniform(0, 0.5)
                    ended[what] += worked(dsn, url, tenant, what, None, kind, killed_after=after) == -signal.SIGKILL
            traffic.check()
            traffic.check_published(dsn, url, tenant)
            swept = keeping.sweep(dsn, url, older_than=timedelta(0))
            problems = [one.problem for one in keeping.verify(dsn, url) if one.problem]
            traffic.check()
            traffic.check_published(dsn, url, tenant)
            print(f"killed at a step: {killed}")
            print(f"killed at random: {ended} of {at_random}; {time.monotonic() - began:.0f} s")
            print(f"writes {traffic.writes}, refused {traffic.refused}, looks {traffic.looks}")
            print(f"wrong {traffic.wrong}, problems {problems}")
            print(f"files removed: {len(swept)}, of which on no list: {sum(one.why != 'replaced' for one in swept)}")
        finally:
            server.discard()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
