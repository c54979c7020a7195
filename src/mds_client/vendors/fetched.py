"""The bars of one symbol out of a vendor's API, as an input: `mds_client.transfer.imports` writes it like a file."""

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
    """The bars of a symbol that are over, from `start` on and before `end`.

    A running bar is left out: its prices are not final. Rows have the names of the series that are asked for; what the
    vendor's answer says of them goes before only where it has several, as of the publishers of one symbol.

    `size` and `position` are seconds of the time that is asked for. `running` counts the bars that were left out.

    Args:
        vendor: Where they come from.
        wanted: Which bars.
        stored_as: The vendor of the rows. The default is what the vendor says.
        now: The time, to tell which bars are over.
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
        """The bars of each page, in parts of at most so many.

        Raises:
            NoBars: There is none.
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
        """An answer by the vendor's profile, and how many records it has. Invalid records are rejected."""
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
        """Nothing is open between two pages."""


def seconds(wanted: Wanted) -> int:
    """How long the time is of which bars are wanted: what progress counts."""
    return max(1, int((wanted.end - wanted.start).total_seconds()))


def rows_of(vendor: Vendor, records: Sequence[Any], wanted: Wanted, stored_as: str, reject: RejectRow) -> list[Bar]:
    """Bars out of an answer, whatever time they are of."""
    given, _ = Fetched(vendor, wanted, stored_as).read(list(records), 1, reject)
    return cast("list[Bar]", given.rows)
