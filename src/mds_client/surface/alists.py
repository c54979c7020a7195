"""The methods that read rollups, latest prices, and which series there are.

`mds_client.surface.lists` is generated from this module by `tools/sync.py`.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, overload

from mds_client.models import AnyKind, Bar, Coverage, LatestPrice, Series
from mds_client.reading import listings, reads, rollups
from mds_client.reading.answers import As, Columns, Index
from mds_client.reading.arguments import Symbols, Time
from mds_client.reading.missing import Missing
from mds_client.surface.acalls import AsyncCalls

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow


class AsyncLists(AsyncCalls):
    """The methods that read rollups and lists of series."""

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

    async def cold_files(self, kind: AnyKind = "bars", start: Time | None = None, end: Time | None = None) -> list[str]:
        """List the Parquet files with the tenant's old rows of a kind, for other programs such as DuckDB and Spark.

        Rows of the table are not in the files, and neither are late rows before `datastore cold fold`. `scan` reads all
        of them.

        Args:
            kind: The kind's name, model or declaration.
            start: Only files that may have rows from this time on.
            end: Only files that may have rows from before this time.

        Returns:
            The files' paths below `cold_url`, in the order of their months.

        Raises:
            ConfigurationError: The client has no setting for where the files are.
        """
        return await self.run(listings.cold_files(kind, start, end))

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
