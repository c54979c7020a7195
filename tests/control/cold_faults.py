"""Processes that move rows and are killed at a named step, or at any moment, under writers and readers.

The tests kill once at each step. As a program it kills more often, on a server of its own:
`python -m tests.control.cold_faults 20 200` kills twenty times at each step, and two hundred times at random.
"""

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
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from mds_client import MDS, Bar, RetryableError

EXPORT: Final = ("fenced", "read", "written", "named", "verified", "deleted", "committed")
FOLD: Final = EXPORT[1:]
COMPACT: Final = EXPORT[1:]
RESTORE: Final = ("deleted", "committed")
EVERY: Final = [
    *(("export", step) for step in EXPORT),
    *(("fold", step) for step in FOLD),
    *(("compact", step) for step in COMPACT),
    *(("restore", step) for step in RESTORE),
]
AGE: Final = timedelta(days=30)
NOW: Final = datetime(2024, 6, 15, tzinfo=UTC)
BEGIN: Final = datetime(2024, 3, 1, tzinfo=UTC)
LATER: Final = datetime(2025, 2, 15, tzinfo=UTC)
"""When the whole year may move."""
END: Final = datetime(2024, 6, 1, tzinfo=UTC)


def work(dsn: str, url: str, tenant: str, what: str, stop_at: str | None) -> None:
    """Move rows; at a step, kill this process."""
    from datastore import cold
    from datastore.cold import compacting, exporting, folding

    def reached(step: str) -> None:
        if step == stop_at:
            os.kill(os.getpid(), signal.SIGKILL)

    cold.set_age(dsn, UUID(tenant), "bars", None if what == "restore" else AGE)
    if what == "export":
        list(exporting.run(dsn, url, now=NOW, reached=reached))
    elif what == "fold":
        list(folding.fold(dsn, url, reached=reached))
    elif what == "compact":
        list(exporting.run(dsn, url, now=LATER))
        list(compacting.compact(dsn, url, reached=reached))
    else:
        list(folding.restore(dsn, url, tenant=UUID(tenant), kind="bars", since=BEGIN, reached=reached))


_CONTEXT: Final = multiprocessing.get_context("forkserver")


def worked(*arguments: Any, killed_after: float | None = None) -> int | None:
    """Have a process work, and give how it ended."""
    process = _CONTEXT.Process(target=work, args=arguments)
    process.start()
    if killed_after is not None:
        process.join(killed_after)
        process.kill()
    process.join()
    return process.exitcode


class Traffic:
    """Somebody who corrects rows all the time, and somebody who reads them; what they saw that was wrong."""

    def __init__(self, dsn: str, tenant: str, url: str) -> None:
        self._settings: dict[str, Any] = {"dsn": dsn, "tenant_id": tenant, "cold_url": url, "max_attempts": 12}
        self.still = [self._bar("STILL", n, float(n)) for n in range(360)]
        self.acknowledged = {self._bar("MOVES", n, 1.0).ts: 1.0 for n in range(360)}
        self.wrong: list[str] = []
        self.looks = self.writes = self.refused = 0
        self._end = threading.Event()

    @staticmethod
    def _bar(symbol: str, n: int, price: float) -> Bar:
        return Bar(vendor="v", symbol=symbol, timeframe="1m", ts=BEGIN + timedelta(hours=6 * n), close_price=price)

    def begin(self) -> None:
        """Write all rows."""
        with MDS(self._settings) as client:
            client.upsert_bars([*self.still, *(self._bar("MOVES", n, 1.0) for n in range(360))])

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
                while not self._end.is_set():
                    one(client)
        except Exception as error:  # noqa: BLE001 - what went wrong is what is looked for
            self.wrong.append(f"{one.__name__}: {type(error).__name__}: {error}")

    def _write(self, client: MDS) -> None:
        numbers = random.sample(range(360), 5)
        price = float(self.writes + 2)
        rows = [self._bar("MOVES", n, price) for n in numbers]
        try:
            client.upsert_bars(rows)
        except RetryableError:
            # Rows are being brought back, and who did that was killed: nothing was written.
            self.refused += 1
            return
        self.acknowledged |= {row.ts: price for row in rows}
        self.writes += 1

    def _look(self, client: MDS) -> None:
        before = dict(self.acknowledged)
        found = client.bars_window(["MOVES", "STILL"], "1m", BEGIN, END, "v")
        self.looks += 1
        still = [(row.ts, row.close_price) for row in found if row.symbol == "STILL"]
        if still != [(row.ts, row.close_price) for row in self.still]:
            self.wrong.append(f"{len(still)} rows that nobody writes")
        moving = {row.ts: row.close_price for row in found if row.symbol == "MOVES"}
        if len(moving) != len(found) - len(still) or moving.keys() != before.keys():
            self.wrong.append(f"{len(found) - len(still)} rows that are corrected")
        if old := [ts for ts, price in before.items() if (moving.get(ts) or 0) < price]:
            self.wrong.append(f"{len(old)} corrections that were acknowledged are not there")

    def check(self) -> None:
        """At the end: every row is what was acknowledged last."""
        with MDS(self._settings) as client:
            found = client.bars_window("MOVES", "1m", BEGIN, END, "v")
            assert {row.ts: row.close_price for row in found} == self.acknowledged
            assert len(found) == len(self.acknowledged)
            assert [row.close_price for row in client.bars_window("STILL", "1m", BEGIN, END, "v")] == [
                row.close_price for row in self.still
            ]
        assert not self.wrong, self.wrong[:3]


def main(times: int, at_random: int) -> None:
    """Kill, and print what was seen."""
    from datastore import migration, tenants
    from datastore.cold import keeping
    from datastore.embedded import ADMIN_ROLE, SERVICE_ROLE, EmbeddedServer

    with tempfile.TemporaryDirectory() as home:
        server = EmbeddedServer(Path(home) / "server")
        server.up(migration.migrate)
        try:
            dsn, url = server.dsn(ADMIN_ROLE), str(Path(home) / "cold")
            tenant = str(tenants.create_tenant(dsn, "storm").id)
            traffic = Traffic(server.dsn(SERVICE_ROLE), tenant, url)
            traffic.begin()
            killed = dict.fromkeys(EVERY, 0)
            began = time.monotonic()
            with traffic.running():
                for _ in range(times):
                    for what, step in EVERY:
                        # So that there is something to do.
                        worked(dsn, url, tenant, "restore" if what in ("export", "compact") else "export", None)
                        killed[what, step] += worked(dsn, url, tenant, what, step) == -signal.SIGKILL
                        worked(dsn, url, tenant, what, None)
                for _ in range(at_random):
                    what = random.choice(("export", "fold", "compact", "restore"))
                    worked(dsn, url, tenant, what, None, killed_after=random.uniform(0.02, 0.6))
            traffic.check()
            swept = keeping.sweep(dsn, url, older_than=timedelta(0))
            problems = [one.problem for one in keeping.verify(dsn, url) if one.problem]
            traffic.check()
            print(f"killed at a step: {killed}; at random: {at_random}; {time.monotonic() - began:.0f} s")
            print(f"writes {traffic.writes}, refused {traffic.refused}, looks {traffic.looks}")
            print(f"wrong {traffic.wrong}, problems {problems}")
            print(f"files removed: {len(swept)}, of which on no list: {sum(one.why != 'replaced' for one in swept)}")
        finally:
            server.down(mode="immediate")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
