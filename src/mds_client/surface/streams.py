# Generated from astreams.py by tools/sync.py: edit that module, and run `make generate`.
"""The methods that read rows of any number in batches."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from mds_client.models import AnyKind, Bar, Fundamentals, Row
from mds_client.reading import rollups, streams
from mds_client.reading.answers import Columns, StreamAs
from mds_client.reading.arguments import Symbols, Time
from mds_client.reading.missing import Missing
from mds_client.schema import Kind
from mds_client.surface.calls import Calls

if TYPE_CHECKING:
    import pyarrow

R = TypeVar("R", bound=Row)


class Streams(Calls):
    """The methods that stream."""

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
    ) -> Iterator[list[Bar]]: ...
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
    ) -> Iterator["pyarrow.RecordBatch"]: ...
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
    ) -> Iterator[Any]:
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
            streams.iter_bars_window(
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
    ) -> Iterator[list[Bar]]: ...
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
    ) -> Iterator["pyarrow.RecordBatch"]: ...
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
    ) -> Iterator[Any]:
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
    ) -> Iterator[list[Fundamentals]]: ...
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
    ) -> Iterator["pyarrow.RecordBatch"]: ...
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
    ) -> Iterator[Any]:
        """Yield the rows of `fundamentals_window` in batches, as `iter_bars_window` does."""
        return self.stream(
            streams.iter_fundamentals_window(
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
    ) -> Iterator[list[R]]: ...
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
    ) -> Iterator[list[Any]]: ...
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
    ) -> Iterator["pyarrow.RecordBatch"]: ...
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
    ) -> Iterator[Any]:
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
            streams.iter_rows(
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
