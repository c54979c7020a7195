"""The rows of a scan in parts that other processes read: `MDS.scan_parts`.

A part is a span of time: a file of old rows, the numbers of its rows that do not count, and the rows that are not in
the file. It can be pickled, and reading it needs no connection to the server.
"""

import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from math import prod
from typing import TYPE_CHECKING, Any, Final, cast

from mds_client.cold.places import polars_options
from mds_client.reading.scans import Selection
from mds_client.schema import TENANT_COLUMN

if TYPE_CHECKING:
    import polars
    import pyarrow

    from mds_client.cold.apart import Apart
    from mds_client.cold.reading import ColdFiles

NUMBER: Final = "file_row_number"
"""The column with the number of a row in its file while a part is read."""


@dataclass(frozen=True, slots=True, repr=False)
class Part:
    """All rows of a scan in a span of time. The spans of the parts of a scan do not overlap.

    `scan` reads a part with polars. Other programs read `file` without the rows of the numbers `replaced`, keep what is
    in the span and has one of the `names`, and add `rows`.
    """

    kind: str
    """The name of the kind."""
    start: datetime
    end: datetime
    """The span of time, without its end."""
    columns: tuple[str, ...]
    """The columns of the result."""
    file: str | None
    """The Parquet file's path or URL; None if all rows are in `rows`. It is kept for a day after a fold replaced it."""
    replaced: "pyarrow.Array"
    """The numbers of the file's rows that were replaced or deleted, from 0, in order."""
    rows: "pyarrow.Table"
    """The rows that are not in the file, or otherwise than in the file."""
    names: "pyarrow.Table | None"
    """The names of the selected series; None if all series of the file are selected."""
    time: str
    """The name of the column with the time."""
    whole: bool
    """Whether the file has no row outside of the span."""
    tenant: str | None = None
    """The tenant of the rows, whom the file does not name."""

    def scan(self) -> "polars.LazyFrame":
        """Return the rows lazily, in no particular order. Columns and conditions are pushed down into the file.

        A file in an object store is read with the credentials of the environment; see `cold_url`.

        Raises:
            ConfigurationError: polars is not installed.
        """
        from mds_client.reading import lazy

        lazy.check("polars")
        pl = importlib.import_module("polars")
        rows: Any = pl.from_arrow(self.rows).lazy()
        if self.file is None:
            return cast("polars.LazyFrame", rows)
        number = NUMBER if len(self.replaced) else None
        options = polars_options(self.file)
        stored = pl.scan_parquet(
            self.file, row_index_name=number, glob=False, hive_partitioning=False, storage_options=options
        )
        stored = owned(stored, self.columns, self.tenant)
        if number:
            stored = stored.filter(~pl.col(number).is_in(pl.from_arrow(self.replaced).implode()))
        if not self.whole:
            stored = stored.filter(pl.col(self.time) >= self.start, pl.col(self.time) < self.end)
        if self.names is not None:
            stored = of_series(stored, pl.from_arrow(self.names))
        found = stored.select(self.columns)
        return cast("polars.LazyFrame", pl.concat([found, rows]) if self.rows.num_rows else found)

    def __repr__(self) -> str:
        there = f"{self.file!r} without {len(self.replaced)} rows, and " if self.file else ""
        return f"<Part of {self.kind} from {self.start} to {self.end}: {there}{self.rows.num_rows} rows>"


def owned(stored: Any, columns: Sequence[str], tenant: str | None) -> Any:
    """Add the tenant to the rows of a file if its column is among these."""
    if TENANT_COLUMN not in columns:
        return stored
    polars = importlib.import_module("polars")
    return stored.with_columns(polars.lit(tenant, polars.String).alias(TENANT_COLUMN))


def of_series(stored: Any, names: Any) -> Any:
    """Keep the rows of these series. Conditions on each name come first, because they leave out row groups."""
    polars = importlib.import_module("polars")
    each = {name: names[name].unique().sort() for name in names.columns}
    for name, some in each.items():
        if len(some) == 1:
            stored = stored.filter(polars.col(name) == some[0])
        else:
            stored = stored.filter(polars.col(name).is_between(polars.lit(some.min()), polars.lit(some.max())))
            stored = stored.filter(polars.col(name).is_in(some.implode()))
    if len(names) == prod(map(len, each.values())):
        return stored
    return stored.join(names.lazy(), on=names.columns, how="semi", maintain_order="left")


class Parts:
    """The parts of a scan, made of the batches that the client reads."""

    def __init__(self, asked: Selection) -> None:
        self._columns = asked.fields
        time = () if asked.kind.time in asked.fields else (asked.kind.time,)
        self.selection: Final = replace(asked, fields=(*asked.fields, *time), beside=self._beside)
        self._apart: Apart | None = None
        self._tenant: str | None = None
        self._batches: list[pyarrow.RecordBatch] = []

    def add(self, batch: "pyarrow.RecordBatch") -> None:
        """Add the next rows that are not in files."""
        self._batches.append(batch)

    def made(self) -> list[Part]:
        """Return the parts in the order of time."""
        return sorted(self._made(), key=lambda part: part.start)

    def _beside(self, cold: "ColdFiles", tenant: str | None) -> "Apart":
        from mds_client.cold.apart import Apart

        self._apart, self._tenant = Apart(cold), tenant
        return self._apart

    def _made(self) -> Iterator[Part]:
        import numpy as np
        import pyarrow as pa

        from mds_client.cold.files import micros

        kind, span = self.selection.kind, self.selection.span
        rows = pa.Table.from_batches(self._batches, self.selection.schema)
        times = rows[kind.time].cast(pa.int64()).to_numpy()
        left = np.ones(len(times), np.bool_)

        def part(begin: datetime, end: datetime, own: Any, file: str | None, replaced: Any, *, whole: bool) -> Part:
            table = rows.filter(pa.array(own)).select(self._columns).combine_chunks()
            names, owner = self._names(), self._tenant
            return Part(kind.name, begin, end, self._columns, file, replaced, table, names, kind.time, whole, owner)

        for begin, end, file, replaced in self._apart.files() if self._apart is not None else ():
            first, last = max(begin, span[0]), min(end, span[1])
            own = left & (times >= micros(first)) & (times < micros(last))
            left &= ~own
            yield part(first, last, own, file, replaced, whole=(first, last) == (begin, end))
        # Other rows are divided by months, as the files are.
        months = times.view("M8[us]").astype("M8[M]")
        for month in np.unique(months[left]):
            begin, end = (_moment(some, span) for some in (month, month + 1))
            nothing = pa.array([], pa.uint32())
            yield part(begin, end, left & (months == month), None, nothing, whole=True)

    def _names(self) -> "pyarrow.Table | None":
        """Return the names of the series that were read, unless a file can have no others."""
        import pyarrow as pa

        listed, kind = self.selection.listed, self.selection.kind
        if self._apart is None or (listed.vendor, listed.symbols, listed.timeframe) == (None, None, None):
            return None
        columns: Sequence[Any] = list(zip(*self._apart.series.values(), strict=True)) or [()] * len(kind.series)
        return pa.table([pa.array(some, pa.string()) for some in columns], names=list(kind.series))


def _moment(month: Any, span: tuple[datetime, datetime]) -> datetime:
    """Return the begin of a month as a time, but not outside of a span."""
    year, number = divmod(int(month.astype("i8")), 12)
    if 1970 + year > span[1].year:
        return span[1]
    return min(max(datetime(1970 + year, 1 + number, 1, tzinfo=UTC), span[0]), span[1])
