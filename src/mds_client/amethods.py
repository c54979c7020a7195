"""The methods of `AMDS` and of its transactions.

Each method builds an operation (`mds_client.reading.reads`, `mds_client.writing.upserts`, `mds_client.jobs`) and runs
it. The operation checks the arguments before anything is sent. `mds_client.methods` is generated from this module by
`tools/sync.py`.

A time without a zone is UTC. A window includes its start and excludes its end. The number of rows is not limited unless
you ask for it.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from mds_client import jobs
from mds_client.columns.rows import Input
from mds_client.jobs import Priority
from mds_client.mapping import Extra
from mds_client.mapping import Mapping as ColumnMapping
from mds_client.models import AnyKind, Bar, Coverage, Fundamentals, Job, LatestPrice, News, OptionSnap, Row, Series
from mds_client.protocol import operations
from mds_client.protocol.operations import Health, Operation, Stream
from mds_client.reading import listings, reads, rollups
from mds_client.reading.answers import As, Columns, Index, StreamAs
from mds_client.reading.arguments import Symbols, Time
from mds_client.reading.missing import Missing
from mds_client.schema import Kind, OnConflict
from mds_client.writing import deletes, upserts
from mds_client.writing.deletes import STEP_ROWS, Deleted
from mds_client.writing.upserts import CHUNK_ROWS

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow

T = TypeVar("T")
R = TypeVar("R", bound=Row)


class AsyncMethods(ABC):
    """The client's methods, each on one connection."""

    @abstractmethod
    async def run(self, operation: Operation[T]) -> T:
        """Run an operation and return its result."""

    @abstractmethod
    def stream(self, stream: Stream[T]) -> AsyncIterator[T]:
        """Run an operation that returns its result in parts, and yield each part as it arrives."""

    async def health(self) -> Health:
        """Check the connection to the server.

        Returns:
            The engine, the versions and the tenant. The result is equal to True.

        Raises:
            ServerUnreachable: The server does not answer.
        """
        return await self.run(operations.health())

    async def schema_version(self) -> str | None:
        """Return the version of the database's schema, such as "0007", or None if it is not migrated."""
        return await self.run(operations.schema_version())

    # Writing ------------------------------------------------------------------------------------------------------

    async def upsert(
        self,
        kind: AnyKind,
        rows: Input,
        *,
        on_conflict: OnConflict = "replace",
        chunk_rows: int = CHUNK_ROWS,
        extra: Extra = "error",
        mapping: ColumnMapping | str | None = None,
    ) -> int:
        """Write rows of any kind: all of them or none. Writing the same rows again changes nothing.

        Args:
            kind: The kind's name (`"bars"`), its model (`Bar`) or its declaration.
            rows: Models or mappings of that kind, or a frame: anything that supports the Arrow stream protocol, such as
                a PyArrow table, a polars or pandas data frame, or a DuckDB relation. The columns of a frame are the
                fields of the kind. Values mean the same as in a model: a time without a zone is UTC, and times are
                truncated to microseconds. NaN is refused, except from pandas, which has no other NULL. A pandas index
                with a name is a column. A polars LazyFrame is collected. If a key occurs twice, the last row wins, with
                a DataQualityWarning if the values differ. Rows that are None are skipped, and a row without any value
                does not replace one that has values; both give a DataQualityWarning.
            on_conflict: What happens to a stored row with the same key. `replace` overwrites every value, `keep`
                leaves the stored row, `fill` overwrites only where the new value is not None.
            chunk_rows: Rows for each transaction if `rows` has no length (an iterator, a generator, a
                RecordBatchReader). Such input is written as it arrives, in bounded memory. After an error, the
                transactions before it stay written. Input with a length is one transaction.
            extra: What to do with columns that are not fields of the kind: `error` refuses the rows, `ignore` skips the
                columns.
            mapping: Maps columns to fields and describes how values are written; or the name of a vendor's profile.
                Settings of the file itself, such as a delimiter, are not used. Nothing is detected.

        Returns:
            The number of rows that were accepted.

        Raises:
            InvalidRow: A row does not fit the kind. Nothing of its transaction was sent.
            RLSDenied: A row names another tenant, or the server refuses this tenant.
            ConfigurationError: An argument is wrong.
            MDSOperationalError: The server refused. Nothing of the transaction is written.
        """
        return await self.run(
            upserts.upsert(kind, rows, on_conflict=on_conflict, chunk_rows=chunk_rows, extra=extra, mapping=mapping)
        )

    async def upsert_bars(
        self,
        rows: Input,
        *,
        on_conflict: OnConflict = "replace",
        chunk_rows: int = CHUNK_ROWS,
        extra: Extra = "error",
        mapping: ColumnMapping | str | None = None,
    ) -> int:
        """Write bars: all of them or none. Writing the same bars again changes nothing and leaves no dead rows.

        Args:
            rows: `Bar`s, mappings with the fields of `Bar`, or a frame with them as columns; see `upsert`.
            on_conflict: What happens to a stored bar of the same series and time: `replace` overwrites every value,
                `keep` leaves it, `fill` overwrites only where the new value is not None.
            chunk_rows: Rows for each transaction if `rows` has no length, such as a generator.
            extra: `ignore` skips columns that are not fields of `Bar`; `error` refuses the rows.
            mapping: A column mapping, or the name of a vendor's profile; see `upsert`.

        Returns:
            The number of rows that were accepted.

        Raises:
            InvalidRow: A row is not a bar. Nothing was sent.
            RLSDenied: A row names another tenant. Nothing was sent.
            MDSOperationalError: The server refused. Nothing is written.
        """
        return await self.run(
            upserts.upsert_bars(rows, on_conflict=on_conflict, chunk_rows=chunk_rows, extra=extra, mapping=mapping)
        )

    async def upsert_fundamentals(
        self,
        rows: Input,
        *,
        on_conflict: OnConflict = "replace",
        chunk_rows: int = CHUNK_ROWS,
        extra: Extra = "error",
        mapping: ColumnMapping | str | None = None,
    ) -> int:
        """Write fundamentals, as `upsert_bars` does. The key is vendor, symbol and as-of date."""
        return await self.run(
            upserts.upsert_fundamentals(
                rows, on_conflict=on_conflict, chunk_rows=chunk_rows, extra=extra, mapping=mapping
            )
        )

    async def upsert_news(
        self,
        rows: Input,
        *,
        on_conflict: OnConflict = "replace",
        chunk_rows: int = CHUNK_ROWS,
        extra: Extra = "error",
        mapping: ColumnMapping | str | None = None,
    ) -> int:
        """Write news, as `upsert_bars` does. The key is vendor, time and id.

        An item without an id gets one from its content.
        """
        return await self.run(
            upserts.upsert_news(rows, on_conflict=on_conflict, chunk_rows=chunk_rows, extra=extra, mapping=mapping)
        )

    async def upsert_options(
        self,
        rows: Input,
        *,
        on_conflict: OnConflict = "replace",
        chunk_rows: int = CHUNK_ROWS,
        extra: Extra = "error",
        mapping: ColumnMapping | str | None = None,
    ) -> int:
        """Write option snapshots, as `upsert_bars` does. The key is vendor, symbol, time and contract."""
        return await self.run(
            upserts.upsert_options(rows, on_conflict=on_conflict, chunk_rows=chunk_rows, extra=extra, mapping=mapping)
        )

    async def delete(
        self,
        kind: AnyKind,
        *,
        vendor: str,
        symbol: Symbols | None = None,
        timeframe: str | None = None,
        start: Time | None = None,
        end: Time | None = None,
        dry_run: bool = False,
        step_rows: int = STEP_ROWS,
    ) -> Deleted:
        """Delete rows permanently, for example rows with wrong times, a wrong unit or a mistyped symbol.

        Rows are deleted in steps, each in its own transaction. After an error the completed steps stay, and the same
        call continues. The newest values of the series are determined again. A series without rows is deleted, too. If
        rollups are stored, a worker's job refreshes them for the days concerned.

        Args:
            kind: The kind's name, its model or its declaration.
            vendor: The vendor.
            symbol: Only series of this symbol, or of these symbols.
            timeframe: Only series of this timeframe.
            start: Only rows from this time on.
            end: Only rows before this time.
            dry_run: Delete nothing, and return what would be deleted.
            step_rows: The maximum number of rows in a step. Rows of the same time are deleted together.

        Returns:
            The number of rows in total and for each series.

        Raises:
            UnknownSeries: There is no such series.
            ConfigurationError: No tenant is set, or an argument is wrong.
        """
        return await self.run(
            deletes.delete(
                kind,
                vendor=vendor,
                symbol=symbol,
                timeframe=timeframe,
                start=start,
                end=end,
                dry_run=dry_run,
                step_rows=step_rows,
            )
        )

    # Reading ------------------------------------------------------------------------------------------------------

    @overload
    async def bars_window(
        self,
        symbol: Symbols,
        timeframe: str,
        start: Time,
        end: Time,
        vendor: str,
        *,
        as_: Literal["models"] = "models",
        missing: Missing = "warn",
    ) -> list[Bar]: ...
    @overload
    async def bars_window(
        self,
        symbol: Symbols,
        timeframe: str,
        start: Time,
        end: Time,
        vendor: str,
        *,
        as_: Literal["arrow"],
        columns: Columns | None = None,
        wide: str | None = None,
        missing: Missing = "warn",
    ) -> "pyarrow.Table": ...
    @overload
    async def bars_window(
        self,
        symbol: Symbols,
        timeframe: str,
        start: Time,
        end: Time,
        vendor: str,
        *,
        as_: Literal["pandas"],
        columns: Columns | None = None,
        index: Index | None = None,
        wide: str | None = None,
        missing: Missing = "warn",
    ) -> "pandas.DataFrame": ...
    @overload
    async def bars_window(
        self,
        symbol: Symbols,
        timeframe: str,
        start: Time,
        end: Time,
        vendor: str,
        *,
        as_: Literal["polars"],
        columns: Columns | None = None,
        wide: str | None = None,
        missing: Missing = "warn",
    ) -> "polars.DataFrame": ...
    async def bars_window(
        self,
        symbol: Symbols,
        timeframe: str,
        start: Time,
        end: Time,
        vendor: str,
        *,
        as_: As = "models",
        columns: Columns | None = None,
        index: Index | None = None,
        wide: str | None = None,
        missing: Missing = "warn",
    ) -> Any:
        """Return the bars with `start <= ts < end`, oldest first.

        Args:
            symbol: One symbol, or several: then their bars follow one another, ordered by symbol.
            timeframe: The timeframe, such as `"1m"` or `"1d"`; `"1min"` and `"1D"` are the same.
            start: The first time of the window.
            end: The end of the window, which is not part of it.
            vendor: The vendor.
            as_: `"models"` for a list of `Bar`, or `"arrow"`, `"pandas"` or `"polars"` for a frame with a column for
                each field, in display order: symbol, time and values first, ids last. The tenant is left out.
            columns: The columns of the frame, in this order; others are not fetched. `"tenant_id"` is possible, too.
            index: The index of a pandas frame: the name of a column, such as `"ts"`, or several names.
            wide: One value, such as `"close_price"`: the frame has a row for each time, ordered, and a column for each
                of the symbols, in their order. A symbol without a row at a time has no value there. In pandas the time
                is the index; otherwise it is the first column. Not together with `columns`.
            missing: What to do if a series does not exist, or no tenant is set: `"warn"` with a DataQualityWarning that
                suggests similar series, `"raise"` UnknownSeries, or `"ignore"`.

        Returns:
            All bars of the window, without a limit (`iter_bars_window` yields them in batches).

        Raises:
            ConfigurationError: `start` is after `end`; a column does not exist; `columns`, `index` or `wide` is used
                with models; `index` is used with a frame other than pandas; or the frame's package is not installed.
            UnknownSeries: `missing` is `"raise"`, and a series does not exist.
        """
        return await self.run(
            reads.bars_window(
                symbol, timeframe, start, end, vendor, as_=as_, columns=columns, index=index, wide=wide, missing=missing
            )
        )

    @overload
    async def fundamentals_window(
        self,
        symbol: Symbols,
        start: Time,
        end: Time,
        vendor: str,
        *,
        as_: Literal["models"] = "models",
        missing: Missing = "warn",
    ) -> list[Fundamentals]: ...
    @overload
    async def fundamentals_window(
        self,
        symbol: Symbols,
        start: Time,
        end: Time,
        vendor: str,
        *,
        as_: Literal["arrow"],
        columns: Columns | None = None,
        wide: str | None = None,
        missing: Missing = "warn",
    ) -> "pyarrow.Table": ...
    @overload
    async def fundamentals_window(
        self,
        symbol: Symbols,
        start: Time,
        end: Time,
        vendor: str,
        *,
        as_: Literal["pandas"],
        columns: Columns | None = None,
        index: Index | None = None,
        wide: str | None = None,
        missing: Missing = "warn",
    ) -> "pandas.DataFrame": ...
    @overload
    async def fundamentals_window(
        self,
        symbol: Symbols,
        start: Time,
        end: Time,
        vendor: str,
        *,
        as_: Literal["polars"],
        columns: Columns | None = None,
        wide: str | None = None,
        missing: Missing = "warn",
    ) -> "polars.DataFrame": ...
    async def fundamentals_window(
        self,
        symbol: Symbols,
        start: Time,
        end: Time,
        vendor: str,
        *,
        as_: As = "models",
        columns: Columns | None = None,
        index: Index | None = None,
        wide: str | None = None,
        missing: Missing = "warn",
    ) -> Any:
        """Return the fundamentals with `start <= asof < end`, oldest first.

        Args:
            symbol: One symbol, or several: then their rows follow one another, ordered by symbol.
            start: The first time of the window.
            end: The end of the window, which is not part of it.
            vendor: The vendor.
            as_: A list of `Fundamentals`, or a frame; see `bars_window`.
            columns: The columns of the frame; see `bars_window`.
            index: The index of a pandas frame; see `bars_window`.
            wide: One value, with a column for each symbol; see `bars_window`.
            missing: What to do if a series does not exist; see `bars_window`.
        """
        return await self.run(
            reads.fundamentals_window(
                symbol, start, end, vendor, as_=as_, columns=columns, index=index, wide=wide, missing=missing
            )
        )

    @overload
    async def news_window(
        self,
        start: Time,
        end: Time,
        *,
        symbol: Symbols | None = None,
        vendor: str | None = None,
        text: str | None = None,
        as_: Literal["models"] = "models",
    ) -> list[News]: ...
    @overload
    async def news_window(
        self,
        start: Time,
        end: Time,
        *,
        symbol: Symbols | None = None,
        vendor: str | None = None,
        text: str | None = None,
        as_: Literal["arrow"],
        columns: Columns | None = None,
    ) -> "pyarrow.Table": ...
    @overload
    async def news_window(
        self,
        start: Time,
        end: Time,
        *,
        symbol: Symbols | None = None,
        vendor: str | None = None,
        text: str | None = None,
        as_: Literal["pandas"],
        columns: Columns | None = None,
    ) -> "pandas.DataFrame": ...
    @overload
    async def news_window(
        self,
        start: Time,
        end: Time,
        *,
        symbol: Symbols | None = None,
        vendor: str | None = None,
        text: str | None = None,
        as_: Literal["polars"],
        columns: Columns | None = None,
    ) -> "polars.DataFrame": ...
    async def news_window(
        self,
        start: Time,
        end: Time,
        *,
        symbol: Symbols | None = None,
        vendor: str | None = None,
        text: str | None = None,
        as_: As = "models",
        columns: Columns | None = None,
    ) -> Any:
        """Return the news with `start <= published_at < end`, oldest first.

        Args:
            start: The first time of the window.
            end: The end of the window, which is not part of it.
            symbol: Only news about this symbol, or these symbols.
            vendor: Only news from this vendor.
            text: Only news with this text in the title. Case is ignored.
            as_: A list of `News`, or a frame; see `bars_window`.
            columns: The columns of the frame; see `bars_window`.
        """
        return await self.run(
            reads.news_window(start, end, symbol=symbol, vendor=vendor, text=text, as_=as_, columns=columns)
        )

    @overload
    async def option_chain(
        self,
        symbol: Symbols,
        at: Time,
        vendor: str,
        *,
        within: timedelta = timedelta(days=7),
        as_: Literal["models"] = "models",
        missing: Missing = "warn",
    ) -> list[OptionSnap]: ...
    @overload
    async def option_chain(
        self,
        symbol: Symbols,
        at: Time,
        vendor: str,
        *,
        within: timedelta = timedelta(days=7),
        as_: Literal["arrow"],
        columns: Columns | None = None,
        missing: Missing = "warn",
    ) -> "pyarrow.Table": ...
    @overload
    async def option_chain(
        self,
        symbol: Symbols,
        at: Time,
        vendor: str,
        *,
        within: timedelta = timedelta(days=7),
        as_: Literal["pandas"],
        columns: Columns | None = None,
        index: Index | None = None,
        missing: Missing = "warn",
    ) -> "pandas.DataFrame": ...
    @overload
    async def option_chain(
        self,
        symbol: Symbols,
        at: Time,
        vendor: str,
        *,
        within: timedelta = timedelta(days=7),
        as_: Literal["polars"],
        columns: Columns | None = None,
        missing: Missing = "warn",
    ) -> "polars.DataFrame": ...
    async def option_chain(
        self,
        symbol: Symbols,
        at: Time,
        vendor: str,
        *,
        within: timedelta = timedelta(days=7),
        as_: As = "models",
        columns: Columns | None = None,
        index: Index | None = None,
        missing: Missing = "warn",
    ) -> Any:
        """Return the option chain of a symbol as known at a time: the newest snapshot of each contract.

        Args:
            symbol: The underlying symbol, or several: then their chains follow one another, ordered by symbol.
            at: The time. Contracts that had expired on its day (UTC) are left out.
            vendor: The vendor.
            within: The maximum age of a snapshot at that time.
            as_: A list of `OptionSnap`, or a frame; see `bars_window`.
            columns: The columns of the frame; see `bars_window`.
            index: The index of a pandas frame; see `bars_window`.
            missing: What to do if there are no options of the symbol; see `bars_window`.

        Returns:
            One snapshot for each contract, ordered by contract.

        Raises:
            ConfigurationError: `within` is not more than zero.
        """
        return await self.run(
            reads.option_chain(
                symbol, at, vendor, within=within, as_=as_, columns=columns, index=index, missing=missing
            )
        )

    @overload
    async def rollup(
        self,
        symbol: Symbols,
        timeframe: str,
        start: Time,
        end: Time,
        vendor: str,
        *,
        as_: Literal["models"] = "models",
        missing: Missing = "warn",
    ) -> list[Bar]: ...
    @overload
    async def rollup(
        self,
        symbol: Symbols,
        timeframe: str,
        start: Time,
        end: Time,
        vendor: str,
        *,
        as_: Literal["arrow"],
        columns: Columns | None = None,
        wide: str | None = None,
        missing: Missing = "warn",
    ) -> "pyarrow.Table": ...
    @overload
    async def rollup(
        self,
        symbol: Symbols,
        timeframe: str,
        start: Time,
        end: Time,
        vendor: str,
        *,
        as_: Literal["pandas"],
        columns: Columns | None = None,
        index: Index | None = None,
        wide: str | None = None,
        missing: Missing = "warn",
    ) -> "pandas.DataFrame": ...
    @overload
    async def rollup(
        self,
        symbol: Symbols,
        timeframe: str,
        start: Time,
        end: Time,
        vendor: str,
        *,
        as_: Literal["polars"],
        columns: Columns | None = None,
        wide: str | None = None,
        missing: Missing = "warn",
    ) -> "polars.DataFrame": ...
    async def rollup(
        self,
        symbol: Symbols,
        timeframe: str,
        start: Time,
        end: Time,
        vendor: str,
        *,
        as_: As = "models",
        columns: Columns | None = None,
        index: Index | None = None,
        wide: str | None = None,
        missing: Missing = "warn",
    ) -> Any:
        """Return bars of a longer timeframe, computed from 1m bars, with `start <= ts < end`, oldest first.

        Open is the first value of the interval, high the highest, low the lowest, close the last; volume is the sum.
        Intervals are aligned to midnight UTC. An interval without a 1m bar is left out.

        Args:
            symbol: One symbol, or several: then their bars follow one another, ordered by symbol.
            timeframe: A declared rollup, such as `"5m"`; a multiple of 1m that divides a day, such as `"30m"` or
                `"4h"`; or `"1w"`, `"1mo"`, `"1q"` or `"1y"` by the calendar (UTC; a week begins on Monday). Other
                timeframes than declared rollups are computed from the largest rollup that divides them.
            start: The first time of the window.
            end: The end of the window, which is not part of it.
            vendor: The vendor.
            as_: A list of `Bar`, or a frame; see `bars_window`.
            columns: The columns of the frame; see `bars_window`.
            index: The index of a pandas frame; see `bars_window`.
            wide: One value, with a column for each symbol; see `bars_window`.
            missing: What to do if a symbol has no 1m bars; see `bars_window`.

        Raises:
            ConfigurationError: The timeframe cannot be computed.
            UnknownSeries: `missing` is `"raise"`, and a symbol has no 1m bars.
        """
        return await self.run(
            rollups.rollup(
                symbol, timeframe, start, end, vendor, as_=as_, columns=columns, index=index, wide=wide, missing=missing
            )
        )

    @overload
    async def latest_prices(
        self, symbols: Sequence[str], vendor: str, *, as_: Literal["models"] = "models", missing: Missing = "warn"
    ) -> list[LatestPrice]: ...
    @overload
    async def latest_prices(
        self,
        symbols: Sequence[str],
        vendor: str,
        *,
        as_: Literal["arrow"],
        columns: Columns | None = None,
        missing: Missing = "warn",
    ) -> "pyarrow.Table": ...
    @overload
    async def latest_prices(
        self,
        symbols: Sequence[str],
        vendor: str,
        *,
        as_: Literal["pandas"],
        columns: Columns | None = None,
        missing: Missing = "warn",
    ) -> "pandas.DataFrame": ...
    @overload
    async def latest_prices(
        self,
        symbols: Sequence[str],
        vendor: str,
        *,
        as_: Literal["polars"],
        columns: Columns | None = None,
        missing: Missing = "warn",
    ) -> "polars.DataFrame": ...
    async def latest_prices(
        self,
        symbols: Sequence[str],
        vendor: str,
        *,
        as_: As = "models",
        columns: Columns | None = None,
        missing: Missing = "warn",
    ) -> Any:
        """Return the newest close of each of these symbols, over all timeframes, ordered by symbol.

        The price is stored with the series, so the cost does not depend on the number of bars.

        Args:
            symbols: The symbols. Those without a close are left out.
            vendor: The vendor.
            as_: A list of `LatestPrice`, or a frame; see `bars_window`.
            columns: The columns of the frame; see `bars_window`.
            missing: What to do about symbols that do not exist. `"warn"` warns only if the result is empty; see
                `bars_window`.

        Raises:
            UnknownSeries: `missing` is `"raise"`, and the vendor has no bars of a symbol.
        """
        return await self.run(reads.latest_prices(symbols, vendor, as_=as_, columns=columns, missing=missing))

    @overload
    async def series(
        self,
        kind: AnyKind = "bars",
        *,
        vendor: str | None = None,
        symbol: Symbols | None = None,
        timeframe: str | None = None,
        as_: Literal["models"] = "models",
    ) -> list[Series]: ...
    @overload
    async def series(
        self,
        kind: AnyKind = "bars",
        *,
        vendor: str | None = None,
        symbol: Symbols | None = None,
        timeframe: str | None = None,
        as_: Literal["arrow"],
    ) -> "pyarrow.Table": ...
    @overload
    async def series(
        self,
        kind: AnyKind = "bars",
        *,
        vendor: str | None = None,
        symbol: Symbols | None = None,
        timeframe: str | None = None,
        as_: Literal["pandas"],
    ) -> "pandas.DataFrame": ...
    @overload
    async def series(
        self,
        kind: AnyKind = "bars",
        *,
        vendor: str | None = None,
        symbol: Symbols | None = None,
        timeframe: str | None = None,
        as_: Literal["polars"],
    ) -> "polars.DataFrame": ...
    async def series(
        self,
        kind: AnyKind = "bars",
        *,
        vendor: str | None = None,
        symbol: Symbols | None = None,
        timeframe: str | None = None,
        as_: As = "models",
    ) -> Any:
        """Return the series of a kind, ordered by vendor, symbol and timeframe.

        Args:
            kind: The kind's name, model or declaration.
            vendor: Only series of this vendor.
            symbol: Only series of this symbol, or of these symbols.
            timeframe: Only series of this timeframe.
            as_: A list of `Series`, which a notebook shows as a table, or a frame; see `bars_window`.

        Raises:
            ConfigurationError: The kind has no symbol or no timeframe, or an argument is wrong.
        """
        return await self.run(listings.series(kind, vendor=vendor, symbol=symbol, timeframe=timeframe, as_=as_))

    async def symbols(self, kind: AnyKind = "bars", *, vendor: str | None = None) -> list[str]:
        """Return the distinct symbols of a kind, in order.

        Args:
            kind: The kind's name, model or declaration.
            vendor: Only symbols of this vendor.
        """
        return await self.run(listings.symbols(kind, vendor=vendor))

    @overload
    async def coverage(
        self,
        kind: AnyKind = "bars",
        *,
        vendor: str | None = None,
        symbol: Symbols | None = None,
        timeframe: str | None = None,
        start: Time | None = None,
        end: Time | None = None,
        as_: Literal["models"] = "models",
    ) -> list[Coverage]: ...
    @overload
    async def coverage(
        self,
        kind: AnyKind = "bars",
        *,
        vendor: str | None = None,
        symbol: Symbols | None = None,
        timeframe: str | None = None,
        start: Time | None = None,
        end: Time | None = None,
        as_: Literal["arrow"],
    ) -> "pyarrow.Table": ...
    @overload
    async def coverage(
        self,
        kind: AnyKind = "bars",
        *,
        vendor: str | None = None,
        symbol: Symbols | None = None,
        timeframe: str | None = None,
        start: Time | None = None,
        end: Time | None = None,
        as_: Literal["pandas"],
    ) -> "pandas.DataFrame": ...
    @overload
    async def coverage(
        self,
        kind: AnyKind = "bars",
        *,
        vendor: str | None = None,
        symbol: Symbols | None = None,
        timeframe: str | None = None,
        start: Time | None = None,
        end: Time | None = None,
        as_: Literal["polars"],
    ) -> "polars.DataFrame": ...
    async def coverage(
        self,
        kind: AnyKind = "bars",
        *,
        vendor: str | None = None,
        symbol: Symbols | None = None,
        timeframe: str | None = None,
        start: Time | None = None,
        end: Time | None = None,
        as_: As = "models",
    ) -> Any:
        """Return the first time, the last time and the number of rows of each series of a kind that has rows.

        This reads every row of these series in that time, and takes as long.

        Args:
            kind: The kind's name, model or declaration.
            vendor: Only series of this vendor.
            symbol: Only series of this symbol, or of these symbols.
            timeframe: Only series of this timeframe.
            start: Only rows from this time on.
            end: Only rows before this time.
            as_: A list of `Coverage`, which a notebook shows as a table, or a frame; see `bars_window`.

        Returns:
            One entry for each series, ordered by vendor, symbol and timeframe.

        Raises:
            ConfigurationError: The kind has no symbol or no timeframe, or an argument is wrong.
        """
        return await self.run(
            listings.coverage(kind, vendor=vendor, symbol=symbol, timeframe=timeframe, start=start, end=end, as_=as_)
        )

    @overload
    def iter_bars_window(
        self,
        symbol: Symbols,
        timeframe: str,
        start: Time,
        end: Time,
        vendor: str,
        *,
        batch_rows: int = 10_000,
        as_: Literal["models"] = "models",
        missing: Missing = "warn",
    ) -> AsyncIterator[list[Bar]]: ...
    @overload
    def iter_bars_window(
        self,
        symbol: Symbols,
        timeframe: str,
        start: Time,
        end: Time,
        vendor: str,
        *,
        batch_rows: int = 10_000,
        as_: Literal["arrow"],
        columns: Columns | None = None,
        missing: Missing = "warn",
    ) -> AsyncIterator["pyarrow.RecordBatch"]: ...
    def iter_bars_window(
        self,
        symbol: Symbols,
        timeframe: str,
        start: Time,
        end: Time,
        vendor: str,
        *,
        batch_rows: int = 10_000,
        as_: StreamAs = "models",
        columns: Columns | None = None,
        missing: Missing = "warn",
    ) -> AsyncIterator[Any]:
        """Yield the bars of `bars_window` in batches, for windows that do not fit into memory.

        Args:
            symbol: One symbol, or several.
            timeframe: The timeframe of the stored bars.
            start: The first time of the window.
            end: The end of the window, which is not part of it.
            vendor: The vendor.
            batch_rows: The most rows of a list.
            as_: `"models"` for lists of `Bar`, or `"arrow"` for PyArrow record batches of some thousand rows.
            columns: The columns of the batches, in this order; see `bars_window`.
            missing: What to do if a series does not exist; see `bars_window`.

        Yields:
            Bars by series, in the order in which the store first saw the series, and oldest first within a series.
        """
        return self.stream(
            reads.iter_bars_window(
                symbol, timeframe, start, end, vendor, batch_rows=batch_rows, as_=as_, columns=columns, missing=missing
            )
        )

    @overload
    def iter_rollup(
        self,
        symbol: Symbols,
        timeframe: str,
        start: Time,
        end: Time,
        vendor: str,
        *,
        batch_rows: int = 10_000,
        as_: Literal["models"] = "models",
        missing: Missing = "warn",
    ) -> AsyncIterator[list[Bar]]: ...
    @overload
    def iter_rollup(
        self,
        symbol: Symbols,
        timeframe: str,
        start: Time,
        end: Time,
        vendor: str,
        *,
        batch_rows: int = 10_000,
        as_: Literal["arrow"],
        columns: Columns | None = None,
        missing: Missing = "warn",
    ) -> AsyncIterator["pyarrow.RecordBatch"]: ...
    def iter_rollup(
        self,
        symbol: Symbols,
        timeframe: str,
        start: Time,
        end: Time,
        vendor: str,
        *,
        batch_rows: int = 10_000,
        as_: StreamAs = "models",
        columns: Columns | None = None,
        missing: Missing = "warn",
    ) -> AsyncIterator[Any]:
        """Yield the bars of `rollup` in batches, for windows that do not fit into memory.

        Args:
            symbol: One symbol, or several.
            timeframe: The timeframe of the bars; see `rollup`.
            start: The first time of the window.
            end: The end of the window, which is not part of it.
            vendor: The vendor.
            batch_rows: The most rows of a list.
            as_: `"models"` for lists of `Bar`, or `"arrow"` for PyArrow record batches of some thousand rows.
            columns: The columns of the batches, in this order; see `bars_window`.
            missing: What to do if a series does not exist; see `bars_window`.

        Yields:
            Bars by series, in the order in which the store first saw the series, and oldest first within a series.
        """
        return self.stream(
            rollups.iter_rollup(
                symbol, timeframe, start, end, vendor, batch_rows=batch_rows, as_=as_, columns=columns, missing=missing
            )
        )

    @overload
    def iter_fundamentals_window(
        self,
        symbol: Symbols,
        start: Time,
        end: Time,
        vendor: str,
        *,
        batch_rows: int = 10_000,
        as_: Literal["models"] = "models",
        missing: Missing = "warn",
    ) -> AsyncIterator[list[Fundamentals]]: ...
    @overload
    def iter_fundamentals_window(
        self,
        symbol: Symbols,
        start: Time,
        end: Time,
        vendor: str,
        *,
        batch_rows: int = 10_000,
        as_: Literal["arrow"],
        columns: Columns | None = None,
        missing: Missing = "warn",
    ) -> AsyncIterator["pyarrow.RecordBatch"]: ...
    def iter_fundamentals_window(
        self,
        symbol: Symbols,
        start: Time,
        end: Time,
        vendor: str,
        *,
        batch_rows: int = 10_000,
        as_: StreamAs = "models",
        columns: Columns | None = None,
        missing: Missing = "warn",
    ) -> AsyncIterator[Any]:
        """Yield the rows of `fundamentals_window` in batches, as `iter_bars_window` does."""
        return self.stream(
            reads.iter_fundamentals_window(
                symbol, start, end, vendor, batch_rows=batch_rows, as_=as_, columns=columns, missing=missing
            )
        )

    @overload
    def iter_rows(
        self,
        kind: type[R],
        start: Time | None = None,
        end: Time | None = None,
        *,
        vendor: str | None = None,
        symbols: Sequence[str] | None = None,
        timeframe: str | None = None,
        batch_rows: int = 10_000,
        as_: Literal["models"] = "models",
    ) -> AsyncIterator[list[R]]: ...
    @overload
    def iter_rows(
        self,
        kind: str | Kind,
        start: Time | None = None,
        end: Time | None = None,
        *,
        vendor: str | None = None,
        symbols: Sequence[str] | None = None,
        timeframe: str | None = None,
        batch_rows: int = 10_000,
        as_: Literal["models"] = "models",
    ) -> AsyncIterator[list[Any]]: ...
    @overload
    def iter_rows(
        self,
        kind: AnyKind,
        start: Time | None = None,
        end: Time | None = None,
        *,
        vendor: str | None = None,
        symbols: Sequence[str] | None = None,
        timeframe: str | None = None,
        batch_rows: int = 10_000,
        as_: Literal["arrow"],
        columns: Columns | None = None,
    ) -> AsyncIterator["pyarrow.RecordBatch"]: ...
    def iter_rows(
        self,
        kind: AnyKind,
        start: Time | None = None,
        end: Time | None = None,
        *,
        vendor: str | None = None,
        symbols: Sequence[str] | None = None,
        timeframe: str | None = None,
        batch_rows: int = 10_000,
        as_: StreamAs = "models",
        columns: Columns | None = None,
    ) -> AsyncIterator[Any]:
        """Yield every row of a kind in batches, as `iter_bars_window` does: by series, and then by key.

        Args:
            kind: The kind's name, model or declaration.
            start: Only rows from this time on.
            end: Only rows before this time.
            vendor: Only rows of this vendor.
            symbols: Only rows of these symbols.
            timeframe: Only rows of this timeframe.
            batch_rows: The most rows of a list.
            as_: `"models"` for lists of models, or `"arrow"` for PyArrow record batches.
            columns: The columns of the batches, in this order; see `bars_window`.

        Raises:
            ConfigurationError: The kind has no symbol or no timeframe, or an argument is wrong.
        """
        return self.stream(
            reads.iter_rows(
                kind,
                start,
                end,
                vendor=vendor,
                symbols=symbols,
                timeframe=timeframe,
                batch_rows=batch_rows,
                as_=as_,
                columns=columns,
            )
        )

    # The job outbox -----------------------------------------------------------------------------------------------

    async def enqueue_job(
        self, idempotency_key: str, job_type: str, payload: Any = None, priority: Priority | int = "normal"
    ) -> Job:
        """Enqueue a job, or return the existing job with this key.

        Args:
            idempotency_key: Identifies the job within the tenant: enqueueing the same key again creates no second job.
            job_type: The name of a job type that the workers know.
            payload: Any value that JSON can represent. The default is an empty object.
            priority: `low`, `normal` (or `medium`), `high`, or a number from 0 to 100. Larger numbers run first.

        Returns:
            The job in its current state.

        Raises:
            ConfigurationError: The key or type is empty, the priority is unknown, or the payload is not valid JSON.
            IdempotencyConflict: The key belongs to a job with another type or payload.
        """
        return await self.run(jobs.enqueue_job(idempotency_key, job_type, payload, priority))
