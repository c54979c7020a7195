"""The bars of one symbol from a vendor's API, as an input that `mds_client.transfer.imports` writes like a file."""

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, cast

from mds_client import profiles
from mds_client.errors import InvalidRow
from mds_client.files import Columns, Mapping, Models, Part, RejectRow
from mds_client.files.documents import of_document, read, records
from mds_client.models import Bar, Row
from mds_client.schema import KINDS
from mds_client.vendors.base import NoBars, Vendor, Wanted, width

BARS = KINDS["bars"]


def _now() -> datetime:
    return datetime.now(UTC)


class Fetched:
    """An input with the completed bars of a symbol, from `start` on and before `end`.

    A bar that is still running is left out, because its prices are not final. Rows have the requested vendor, symbol
    and timeframe; the response overrides them only if it has several, such as the publishers of one symbol.

    `size` and `position` are seconds of the requested time. `running` counts the bars that were left out.

    Args:
        vendor: The vendor of the bars.
        wanted: The requested bars.
        stored_as: The vendor name of the rows. The default is `Vendor.stored_as`.
        now: Returns the current time, which decides which bars are complete.
    """

    unit = "row"

    def __init__(
        self, vendor: Vendor, wanted: Wanted, stored_as: str | None = None, now: Callable[[], datetime] = _now
    ) -> None:
        self.name = f"{wanted.symbol} of {vendor.name}"
        self.running = 0
        self.size = seconds(wanted)
        self.position = 0
        self._vendor = vendor
        self._wanted = wanted
        self._now = now
        self._names = {"vendor": stored_as or vendor.stored_as, "symbol": wanted.symbol, "timeframe": wanted.timeframe}

    def parts(self, rows: int, reject: RejectRow) -> Iterator[Part]:
        """Yield the bars of each page, in parts of at most `rows`.

        Raises:
            NoBars: There are no bars.
            MDSError: See `Vendor.ask`.
        """
        number, some = 1, False
        step = width(self._wanted.timeframe)
        for page in self._vendor.pages(self._wanted):
            given, length = self.read(page, number, reject)
            number += length
            over = self._now() - step
            kept, lines = [], []
            for line, row in zip(given.lines, given.rows, strict=True):
                bar = cast("Bar", row)
                if not self._wanted.start <= bar.ts < self._wanted.end:
                    continue
                some = True
                if bar.ts > over:
                    self.running += 1
                    continue
                kept.append(row)
                lines.append(line)
            newest = max((cast("Bar", row).ts for row in given.rows), default=self._wanted.start)
            reached = int((newest - self._wanted.start).total_seconds())
            self.position = max(self.position, min(self.size, reached))
            for at in range(0, len(kept), rows):
                yield Models(BARS, lines[at : at + rows], kept[at : at + rows])
        if not some:
            wanted, moment = self._wanted, "%Y-%m-%dT%H:%MZ"
            raise NoBars(
                f"{self._vendor.name}: {wanted.symbol}: no bars of {wanted.timeframe}"
                f" from {wanted.start.strftime(moment)} to {wanted.end.strftime(moment)}"
            )

    def read(self, page: Any, first: int, reject: RejectRow) -> tuple[Models, int]:
        """Read a response with the vendor's profile. Also returns its number of records. Invalid ones are rejected."""
        mapping = profiles.profile(self._vendor.profile).mapping
        if not isinstance(page, list | dict):
            return self._frame(page, mapping, first, reject)
        mapping = of_document(page, mapping).but(constants=self._names)
        lines: list[int] = []
        rows: list[Row] = []
        number = first - 1
        for number, (inner, record) in enumerate(records(page, mapping.rows), first):
            try:
                made = read(BARS, mapping, inner, record)
            except InvalidRow as error:
                reject(number, str(error), json.dumps(record, default=str))
                continue
            lines += [number] * len(made)
            rows += made
        return Models(BARS, lines, rows), number - first + 1

    def _frame(self, frame: Any, mapping: Mapping, first: int, reject: RejectRow) -> tuple[Models, int]:
        import pyarrow as pa

        table = pa.Table.from_pandas(frame.reset_index(), preserve_index=False)
        part = Columns.of(BARS, table, mapping.but(constants=self._names), first, lambda number: number, False)
        return part.sifted(reject), table.num_rows

    def close(self) -> None:
        """Do nothing, because nothing stays open between pages."""


def seconds(wanted: Wanted) -> int:
    """Return the duration of the requested time in seconds, for progress."""
    return max(1, int((wanted.end - wanted.start).total_seconds()))


def rows_of(vendor: Vendor, records: Sequence[Any], wanted: Wanted, stored_as: str, reject: RejectRow) -> list[Bar]:
    """Read the bars of a response, whatever their time."""
    given, _ = Fetched(vendor, wanted, stored_as).read(list(records), 1, reject)
    return cast("list[Bar]", given.rows)
