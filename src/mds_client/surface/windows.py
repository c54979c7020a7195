# Generated from awindows.py by tools/sync.py: edit that module, and run `make generate`.
"""The methods that read the rows of a kind in a window of time."""

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, overload

from mds_client.models import Bar, Fundamentals, Instrument, News, OptionSnap
from mds_client.reading import reads
from mds_client.reading.answers import As, Columns, Index
from mds_client.reading.arguments import Symbols, Time
from mds_client.reading.missing import Missing
from mds_client.surface.calls import Calls

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow


class Windows(Calls):
    """The methods that read a window of time."""

    @overload
    def bars_window(
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
    def bars_window(
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
    def bars_window(
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
    def bars_window(
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
    def bars_window(
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
        return self.run(
            reads.bars_window(
                symbol, timeframe, start, end, vendor, as_=as_, columns=columns, index=index, wide=wide, missing=missing
            )
        )

    @overload
    def fundamentals_window(
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
    def fundamentals_window(
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
    def fundamentals_window(
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
    def fundamentals_window(
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
    def fundamentals_window(
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
        return self.run(
            reads.fundamentals_window(
                symbol, start, end, vendor, as_=as_, columns=columns, index=index, wide=wide, missing=missing
            )
        )

    @overload
    def instruments_window(
        self,
        symbol: Symbols,
        start: Time,
        end: Time,
        vendor: str,
        *,
        as_: Literal["models"] = "models",
        missing: Missing = "warn",
    ) -> list[Instrument]: ...
    @overload
    def instruments_window(
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
    def instruments_window(
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
    def instruments_window(
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
    def instruments_window(
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
        """Return the definitions of instruments with `start <= asof < end`, oldest first.

        Args:
            symbol: One symbol, or several: then their rows follow one another, ordered by symbol.
            start: The first time of the window.
            end: The end of the window, which is not part of it.
            vendor: The vendor.
            as_: A list of `Instrument`, or a frame; see `bars_window`.
            columns: The columns of the frame; see `bars_window`.
            index: The index of a pandas frame; see `bars_window`.
            wide: One value, with a column for each symbol; see `bars_window`.
            missing: What to do if a series does not exist; see `bars_window`.
        """
        return self.run(
            reads.instruments_window(
                symbol, start, end, vendor, as_=as_, columns=columns, index=index, wide=wide, missing=missing
            )
        )

    @overload
    def news_window(
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
    def news_window(
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
    def news_window(
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
    def news_window(
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
    def news_window(
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
        return self.run(
            reads.news_window(start, end, symbol=symbol, vendor=vendor, text=text, as_=as_, columns=columns)
        )

    @overload
    def option_chain(
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
    def option_chain(
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
    def option_chain(
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
    def option_chain(
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
    def option_chain(
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
        return self.run(
            reads.option_chain(
                symbol, at, vendor, within=within, as_=as_, columns=columns, index=index, missing=missing
            )
        )
