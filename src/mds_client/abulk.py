"""What `AMDS` does over several connections at once: much data out of the store.

Which connection does what is in `mds_client.reading.scans`. `mds_client.bulk` is generated from this module by
`tools/sync.py`.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing, closing
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast, overload

from mds_client.models import AnyKind
from mds_client.output.targets import Dump, target_file
from mds_client.protocol.operations import Stream
from mds_client.protocol.pauses import AsyncCrew, acompute, anext_or_none
from mds_client.protocol.pooled import Pooled
from mds_client.reading import scans
from mds_client.reading.answers import Columns
from mds_client.reading.arguments import Time

if TYPE_CHECKING:
    import duckdb
    import polars
    import pyarrow

    from mds_client.reading.lazy import ScanAs

T = TypeVar("T")


class AsyncBulk(Pooled, ABC):
    """What you can ask of the store that takes more than one connection."""

    @abstractmethod
    def stream(self, stream: Stream[T]) -> AsyncIterator[T]:
        """Run an operation that answers in parts, and yield each part as it arrives."""

    async def export(
        self,
        kind: AnyKind,
        path: str,
        *,
        start: Time | None = None,
        end: Time | None = None,
        vendor: str | None = None,
        symbols: Sequence[str] | None = None,
        timeframe: str | None = None,
        columns: Columns | None = None,
        connections: int | None = None,
    ) -> Dump:
        """Write rows into a Parquet file, over several connections that all see the same rows.

        The rows come by vendor, symbol and timeframe, and oldest first within a series. The file has the fields of the
        kind without the tenant: names are strings, times are timestamp[us, UTC], numbers are as in frames. It appears
        under its name when it is whole. Memory is bounded: some hundred thousand rows at a time.

        Args:
            kind: The kind's name, model or declaration.
            path: The file, or `-` for standard output. A file that is there is replaced.
            start: Only rows from this time on.
            end: Only rows before this time.
            vendor: Only rows of this vendor.
            symbols: Only rows of these symbols.
            timeframe: Only rows of this timeframe.
            columns: The columns of the file, in this order.
            connections: Connections to read over, at most `pool_max`. The default is 4, or `pool_max` if it is less.
                Use 1 on a server with a single session.

        Returns:
            The kind, the file, the number of rows, and the seconds that it took.

        Raises:
            ConfigurationError: PyArrow is not installed, or an argument is wrong.
            TargetError: The file cannot be written.
        """
        began = time.monotonic()
        asked = scans.selection(kind, start, end, vendor=vendor, symbols=symbols, timeframe=timeframe, columns=columns)
        number = scans.connections_of(connections, self.config.pool_max)

        from mds_client.output import parquet

        with target_file(path) as target, parquet.row_groups(target, asked.kind, asked.schema) as groups:
            await self._each(asked, number, groups.add)
        target_name = "standard output" if path == "-" else path
        return Dump(asked.kind.name, target_name, groups.rows, time.monotonic() - began)

    @overload
    def scan(
        self,
        kind: AnyKind,
        start: Time | None = None,
        end: Time | None = None,
        *,
        vendor: str | None = None,
        symbols: Sequence[str] | None = None,
        timeframe: str | None = None,
        columns: Columns | None = None,
        connections: int | None = None,
        as_: Literal["polars"] = "polars",
    ) -> "polars.LazyFrame": ...
    @overload
    def scan(
        self,
        kind: AnyKind,
        start: Time | None = None,
        end: Time | None = None,
        *,
        vendor: str | None = None,
        symbols: Sequence[str] | None = None,
        timeframe: str | None = None,
        columns: Columns | None = None,
        connections: int | None = None,
        as_: Literal["arrow"],
    ) -> "pyarrow.RecordBatchReader": ...
    @overload
    def scan(
        self,
        kind: AnyKind,
        start: Time | None = None,
        end: Time | None = None,
        *,
        vendor: str | None = None,
        symbols: Sequence[str] | None = None,
        timeframe: str | None = None,
        columns: Columns | None = None,
        connections: int | None = None,
        as_: Literal["duckdb"],
    ) -> "duckdb.DuckDBPyRelation": ...
    def scan(
        self,
        kind: AnyKind,
        start: Time | None = None,
        end: Time | None = None,
        *,
        vendor: str | None = None,
        symbols: Sequence[str] | None = None,
        timeframe: str | None = None,
        columns: Columns | None = None,
        connections: int | None = None,
        as_: "ScanAs" = "polars",
    ) -> Any:
        """Rows of any number, which are read when they are used, in bounded memory. A function is called, not awaited.

        The columns are those of a file of `export`: names are strings (`polars.String`), not categories. The rows come
        in the same order. Each time that a LazyFrame is collected, or a relation is queried, the rows are read anew,
        and all at one moment.

        A LazyFrame pushes down the columns that are used, conditions on the names of the series (vendor, symbol,
        timeframe), and comparisons of the time with a constant. polars does the rest. A DuckDB relation reads every row
        of the scan: pass what you need of it as arguments.

        They are used synchronously. Do that in a thread if an event loop runs, as in
        `await asyncio.to_thread(frame.collect)`. A scan of an `AMDS` connects with the same settings by itself, for as
        long as it reads.

        Args:
            kind: The kind's name, model or declaration.
            start: Only rows from this time on.
            end: Only rows before this time.
            vendor: Only rows of this vendor.
            symbols: Only rows of these symbols.
            timeframe: Only rows of this timeframe.
            columns: The columns, in this order.
            connections: Connections to read over; see `export`.
            as_: `"polars"` for a LazyFrame, `"arrow"` for a PyArrow RecordBatchReader, which can be read once, or
                `"duckdb"` for a relation.

        Raises:
            ConfigurationError: A package is not installed, or an argument is wrong.
        """
        asked = scans.selection(
            kind, start, end, vendor=vendor, symbols=symbols, timeframe=timeframe, columns=columns, plain=True
        )
        number = scans.connections_of(connections, self.config.pool_max)

        from mds_client.reading import lazy

        return lazy.scanned(partial(self._scanned, number), asked, as_)

    def _scanned(self, connections: int, selection: scans.Selection) -> Iterator["pyarrow.RecordBatch"]:
        """The rows of a scan, read through a synchronous client."""
        with self._blocking() as client, closing(client._batches(selection, connections)) as batches:
            yield from batches

    async def _each(
        self, selection: scans.Selection, connections: int, take: "Callable[[pyarrow.RecordBatch], None]"
    ) -> None:
        """Have each batch of rows taken, in their order."""
        async with aclosing(self._batches(selection, connections)) as batches:
            async for batch in batches:
                await acompute(True, partial(take, batch))

    async def _batches(self, selection: scans.Selection, connections: int) -> AsyncGenerator["pyarrow.RecordBatch"]:
        """Yield the rows in their order, read over so many connections."""
        work = scans.Work(selection, connections)
        streams = [self._reader(work.leading())]
        crew = AsyncCrew(connections)
        try:
            await anext_or_none(streams[0])
            plan = work.plan
            assert plan is not None
            idle = {0}
            while True:
                while idle and (piece := plan.take()) is not None:
                    number = idle.pop()
                    work.pieces[number] = piece
                    crew.start(number, streams[number])
                while (batch := plan.ready()) is not None:
                    yield batch
                if not crew.busy:
                    break
                number, found = await crew.first()
                plan.settle(work.piece(number), found)
                idle.add(number)
                if len(streams) < connections and plan.more:
                    # Only now: what is read in one piece needs no other connection.
                    idle |= set(range(len(streams), connections))
                    streams += [self._reader(work.following(other)) for other in range(len(streams), connections)]
            for number, stream in enumerate(streams):
                work.pieces[number] = None
                await anext_or_none(stream)
        finally:
            await crew.end()
            for stream in streams:
                await stream.aclose()

    def _reader(self, stream: Stream[Any]) -> AsyncGenerator[Any]:
        # It can be closed before its end, as a stream's type does not say.
        return cast(AsyncGenerator[Any], self.stream(stream))
