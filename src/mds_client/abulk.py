"""Reads of `AMDS` over several connections at once, for large amounts of data.

`mds_client.reading.scans` divides the work between connections. `mds_client.bulk` is generated from this module by
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
from mds_client.reading.parts import Part, Parts

if TYPE_CHECKING:
    import duckdb
    import polars
    import pyarrow

    from mds_client.reading.lazy import ScanAs

T = TypeVar("T")


class AsyncBulk(Pooled, ABC):
    """The client's methods that use several connections."""

    @abstractmethod
    def stream(self, stream: Stream[T]) -> AsyncIterator[T]:
        """Run an operation that returns its result in parts, and yield each part as it arrives."""

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
        """Write rows into a Parquet file, read over several connections that share one snapshot.

        The rows are ordered by vendor, symbol and timeframe, and oldest first within a series. The file has the fields
        of the kind without the tenant: names are strings, times are timestamp[us, UTC], numbers are as in frames. It
        gets its name when it is complete. Memory is bounded: some hundred thousand rows at a time.

        Args:
            kind: The kind's name, model or declaration.
            path: The file, or `-` for standard output. An existing file is replaced.
            start: Only rows from this time on.
            end: Only rows before this time.
            vendor: Only rows of this vendor.
            symbols: Only rows of these symbols.
            timeframe: Only rows of this timeframe.
            columns: The columns of the file, in this order.
            connections: The number of connections, at most `pool_max`. The default is 4, or `pool_max` if it is less.
                Use 1 on a server with a single session.

        Returns:
            The kind, the file, the number of rows, and the duration in seconds.

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
        """Return the rows lazily: they are read on use, in bounded memory. A function is called, not awaited.

        The columns are those of a file of `export`: names are strings (`polars.String`), not categories. The rows come
        in the same order, with two exceptions. A LazyFrame over rows in files has them file after file, and those of
        the table last: within a series they are oldest first, but the rows of a series are not together. A DuckDB
        relation has them in no particular order. Each time you collect a LazyFrame or query a relation, the rows are
        read again, all from one snapshot.

        A LazyFrame pushes down the columns that are used, conditions on vendor, symbol and timeframe, and comparisons
        of the time with a constant. polars does the rest. A DuckDB relation reads every row of the scan: pass
        conditions as arguments.

        The result is synchronous. If an event loop runs, use it in a thread:
        `await asyncio.to_thread(frame.collect)`. A scan of an `AMDS` opens its own connections with the same settings
        while it reads.

        Args:
            kind: The kind's name, model or declaration.
            start: Only rows from this time on.
            end: Only rows before this time.
            vendor: Only rows of this vendor.
            symbols: Only rows of these symbols.
            timeframe: Only rows of this timeframe.
            columns: The columns, in this order.
            connections: The number of connections; see `export`.
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

        return lazy.scanned(partial(self._scanned, number, lazy.by_polars(as_)), asked, as_)

    async def scan_parts(
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
    ) -> list[Part]:
        """Return the rows of a scan in parts that other processes read, such as the workers of a cluster.

        A part has all rows of a span of time: of a file of old rows, or of a month. All parts together have the rows
        that `scan` would return at this moment, each once: late rows and deletions are applied, although they are not
        in the files yet. The rows of files are not read here. All others, which are those of the table and late rows,
        are held in memory.

        Use the parts within a day: files that a fold replaced are removed later. A part can be pickled. To read one, a
        process needs `cold_url`'s files and their credentials, and no connection to the server.

        Args:
            kind: The kind's name, model or declaration.
            start: Only rows from this time on.
            end: Only rows before this time.
            vendor: Only rows of this vendor.
            symbols: Only rows of these symbols.
            timeframe: Only rows of this timeframe.
            columns: The columns, in this order.
            connections: The number of connections; see `export`.

        Returns:
            The parts in the order of time. `Part.scan` reads one as a polars LazyFrame with the columns of `scan`.

        Raises:
            ConfigurationError: A package is not installed, an argument is wrong, or the client has no setting for where
                the files are.
            RetryableError: A file with rows that were replaced cannot be read.
        """
        parts = Parts(
            scans.selection(
                kind, start, end, vendor=vendor, symbols=symbols, timeframe=timeframe, columns=columns, plain=True
            )
        )
        await self._each(parts.selection, scans.connections_of(connections, self.config.pool_max), parts.add)
        return parts.made()

    def _scanned(self, connections: int, by_time: bool, selection: scans.Selection) -> Iterator[Any]:
        """Yield the rows of a scan, read through a synchronous client. By time, also files that polars has to read."""
        with self._blocking() as client, closing(client._sources(selection, connections, by_time=by_time)) as found:
            yield from found

    async def _each(
        self, selection: scans.Selection, connections: int, take: "Callable[[pyarrow.RecordBatch], None]"
    ) -> None:
        """Pass each batch of rows to `take`, in order."""
        async with aclosing(self._sources(selection, connections, by_time=False)) as batches:
            async for batch in batches:
                await acompute(True, partial(take, batch))

    async def _sources(self, selection: scans.Selection, connections: int, *, by_time: bool) -> AsyncGenerator[Any]:
        """Yield the rows in order, in batches, read over that many connections; by time, also files."""
        work = scans.Work(selection, connections, by_time)
        leading = self._reader(work.leading())
        try:
            while (found := await anext_or_none(leading)) is not None:
                if isinstance(found, scans.FileRows):
                    yield found
                    continue
                async with aclosing(self._batches(work, leading)) as batches:
                    async for batch in batches:
                        yield batch
        finally:
            await leading.aclose()

    async def _batches(self, work: scans.Work, leading: AsyncGenerator[Any]) -> AsyncGenerator["pyarrow.RecordBatch"]:
        """Yield the rows of the current plan in order."""
        plan, connections = work.plan, work.connections
        assert plan is not None
        streams = [leading]
        crew = AsyncCrew(connections)
        try:
            idle = {0}
            while True:
                while idle and (piece := plan.take()) is not None:
                    number = idle.pop()
                    work.pieces[number] = piece
                    crew.start(number, streams[number])
                while (batch := plan.ready()) is not None:
                    yield batch
                if not crew.busy:
                    if not plan.more:
                        break
                    # The pieces that were just passed on filled the window.
                    continue
                number, found = await crew.first()
                plan.settle(work.piece(number), found)
                idle.add(number)
                if len(streams) < connections and plan.more:
                    # Connect only now: a single piece needs no other connection.
                    idle |= set(range(len(streams), connections))
                    streams += [self._reader(work.following(other)) for other in range(len(streams), connections)]
            work.pieces = dict.fromkeys(range(connections))
            for stream in streams[1:]:
                await anext_or_none(stream)
        finally:
            await crew.end()
            for stream in streams[1:]:
                await stream.aclose()

    def _reader(self, stream: Stream[Any]) -> AsyncGenerator[Any]:
        # The declared type of a stream lacks `aclose`, which the generator has.
        return cast(AsyncGenerator[Any], self.stream(stream))
