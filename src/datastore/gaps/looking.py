"""The statements that count bars, and that find missing and repeated ones."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any, Final

import psycopg
from psycopg.sql import SQL, Composable, Identifier

from datastore.connections import connect
from datastore.gaps.timeframes import GapError, Window
from datastore.names import STORE
from datastore.tenants import Tenant
from mds_client import KINDS
from mds_client.values.times import EPOCH

_CHUNKS_AT_ONCE: Final = 4


@dataclass(frozen=True, slots=True)
class Piece:
    """Missing intervals within one window."""

    window: int
    start: datetime
    end: datetime
    missing: int


# Count the bars of each series and window, and those that stand at the beginning of an interval. If these are as many
# as expected, nothing is missing, because a key exists once. For a day or longer only one bar is expected, anywhere in
# the window, and windows with more are reported, too. The bounds of the whole range are repeated as constants, so that
# the planner excludes chunks.
_COUNT: Final = """
SELECT s.id, w.no, c.present
FROM unnest(%(ids)s::bigint[]) AS s(id)
CROSS JOIN unnest(%(numbers)s::int[], %(starts)s::timestamptz[], %(ends)s::timestamptz[], %(expected)s::bigint[])
  AS w(no, start, over, expected)
CROSS JOIN LATERAL (
  SELECT count(*) AS present,
         count(*) FILTER (WHERE %(step)s::interval IS NULL OR date_bin(%(step)s, b.ts, %(epoch)s) = b.ts) AS aligned
  FROM {bars} AS b
  WHERE b.series_id = s.id AND b.ts >= w.start AND b.ts < w.over AND b.ts >= %(first)s AND b.ts < %(last)s
) AS c
WHERE c.aligned < w.expected OR (%(step)s::interval IS NULL AND c.present > w.expected)
"""

# Find the gaps in each series and window that is not empty: from the end of each present interval to the beginning of
# the next. The window's ends count as present.
_LOCATE: Final = """
SELECT w.id, w.no, g.after, g.next
FROM unnest(%(ids)s::bigint[], %(numbers)s::int[], %(starts)s::timestamptz[], %(ends)s::timestamptz[])
  AS w(id, no, start, over)
CROSS JOIN LATERAL (
  SELECT lag(i.start + %(step)s::interval, 1, w.start) OVER (ORDER BY i.start) AS after, i.start AS next
  FROM (
    SELECT date_bin(%(step)s, b.ts, %(epoch)s) AS start FROM {bars} AS b
    WHERE b.series_id = w.id AND b.ts >= w.start AND b.ts < w.over AND b.ts >= %(first)s AND b.ts < %(last)s
    UNION ALL
    SELECT w.over
  ) AS i
) AS g
WHERE g.after < g.next
ORDER BY w.id, w.no, g.next
"""


# The times of bars that are kept in files, for the same statements.
_COLD_TIMES: Final = """
CREATE TEMPORARY TABLE IF NOT EXISTS mds_cold_times (
  series_id bigint, ts timestamptz, PRIMARY KEY (series_id, ts)
) ON COMMIT DROP
"""


@dataclass(frozen=True, slots=True)
class InFiles:
    """The bars of a vendor and timeframe that a tenant may keep in files, in this place."""

    url: str | None
    tenant: Tenant
    vendor: str
    timeframe: str

    def fence(self, connection: psycopg.Connection[Any], start: datetime) -> datetime | None:
        """Return the time before which bars are in files, if that is after `start`; None otherwise.

        Raises GapError if the place of the files is not known, because these bars would look missing.
        """
        found = connection.execute(
            "SELECT cold_before FROM store.cold_fences WHERE tenant_no = %s AND kind = 'bars' AND cold_before > %s",
            (self.tenant.no, start),
        ).fetchone()
        if found is not None and self.url is None:
            raise GapError(
                f"bars of {self.tenant.name} from before {found[0].isoformat()} are kept in files: set"
                " DATASTORE_COLD_URL to their place, or begin the range at that time"
            )
        return None if found is None else found[0]

    def times(
        self, connection: psycopg.Connection[Any], symbols: Mapping[int, str], span: tuple[datetime, datetime]
    ) -> Composable:
        """Write the times of all bars in a span, from files and the table, into a temporary table, and return it."""
        from datastore.tenants import files  # slow to import, and tenants without files do not need it

        assert self.url is not None
        series = {id_: (self.vendor, symbol, self.timeframe) for id_, symbol in symbols.items()}
        bars = KINDS["bars"]
        found = files.rows(connection, self.url, self.tenant, bars, series, span, (bars.time,))
        connection.execute(_COLD_TIMES)
        connection.execute("TRUNCATE pg_temp.mds_cold_times")
        with connection.cursor().copy("COPY pg_temp.mds_cold_times FROM STDIN (FORMAT binary)") as copying:
            copying.set_types(["bigint", "timestamptz"])
            for batch in files.tuples(found, 10_000):
                for row in batch:
                    copying.write_row(row)
        return Identifier("pg_temp", "mds_cold_times")


@dataclass(frozen=True, slots=True)
class Looked:
    """The result for one series: missing pieces in order, and the windows with repeats with their number of bars."""

    pieces: list[Piece] = field(default_factory=list)
    repeats: list[tuple[int, int]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Portion:
    """Some series of one calendar, as ids by symbol, and the windows that are due for each."""

    step: timedelta | None
    windows: list[Window]
    series: dict[str, int | None]
    in_files: InFiles

    def look(self, dsn: str) -> dict[str, Looked]:
        """Return the missing and repeated bars of each series."""
        found = {symbol: Looked() for symbol in self.series}
        symbols = {id_: symbol for symbol, id_ in self.series.items() if id_ is not None}
        for symbol, id_ in self.series.items():
            if id_ is None:
                found[symbol].pieces.extend(self._whole(number) for number in range(len(self.windows)))
        # Never prepared: a generic plan would read every chunk.
        with connect(dsn, prepare_threshold=None) as connection:
            # A move between two statements would hide bars from both.
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            # Only for this transaction, because a pooler may share the session. Compiling would take longer than
            # counting.
            connection.execute("SELECT set_config('jit', 'off', true)")
            fence = self.in_files.fence(connection, self.windows[0].start) if self.windows else None
            for numbers in self._slices():
                for id_, looked in self._look(connection, symbols, numbers, fence).items():
                    found[symbols[id_]].pieces.extend(sorted(looked.pieces, key=lambda piece: piece.start))
                    found[symbols[id_]].repeats.extend(sorted(looked.repeats))
        return found

    def _slices(self) -> Iterator[list[int]]:
        """Yield the numbers of the windows, in groups that lie in a few chunks."""
        storage = KINDS["bars"].storage
        assert storage is not None
        width = _CHUNKS_AT_ONCE * storage.chunk
        for _, numbers in groupby(range(len(self.windows)), lambda no: (self.windows[no].start - EPOCH) // width):
            yield list(numbers)

    def _look(
        self,
        connection: psycopg.Connection[Any],
        symbols: dict[int, str],
        numbers: list[int],
        fence: datetime | None,
    ) -> dict[int, Looked]:
        due = [self.windows[number] for number in numbers]
        bars: Composable = Identifier(STORE, "bars")
        if fence is not None and due[0].start < fence:
            bars = self.in_files.times(connection, symbols, (due[0].start, max(window.end for window in due)))
        common = {"step": self.step, "epoch": EPOCH, "first": due[0].start, "last": due[-1].end}
        short = connection.execute(
            SQL(_COUNT).format(bars=bars),
            {
                **common,
                "ids": list(symbols),
                "numbers": numbers,
                "starts": [window.start for window in due],
                "ends": [window.end for window in due],
                "expected": [window.expected for window in due],
            },
        ).fetchall()
        found: dict[int, Looked] = defaultdict(Looked)
        in_part = []
        for id_, number, present in short:
            if not present:
                found[id_].pieces.append(self._whole(number))
            elif self.step is None:
                found[id_].repeats.append((number, present))
            else:
                in_part.append((id_, number))
        if in_part and self.step is not None:
            located = connection.execute(
                SQL(_LOCATE).format(bars=bars),
                {
                    **common,
                    "ids": [id_ for id_, _ in in_part],
                    "numbers": [number for _, number in in_part],
                    "starts": [self.windows[number].start for _, number in in_part],
                    "ends": [self.windows[number].end for _, number in in_part],
                },
            ).fetchall()
            for id_, number, start, end in located:
                start, end = start.astimezone(UTC), end.astimezone(UTC)
                found[id_].pieces.append(Piece(number, start, end, (end - start) // self.step))
        return found

    def _whole(self, number: int) -> Piece:
        window = self.windows[number]
        return Piece(number, window.start, window.end, window.expected)
