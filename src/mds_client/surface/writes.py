# Generated from awrites.py by tools/sync.py: edit that module, and run `make generate`.
"""The methods that write rows, delete rows, rename series, and enqueue jobs."""

from typing import Any

from mds_client import jobs
from mds_client.columns.rows import Input
from mds_client.jobs import Priority
from mds_client.mapping import Extra
from mds_client.mapping import Mapping as ColumnMapping
from mds_client.models import AnyKind, Job
from mds_client.reading.arguments import Symbols, Time
from mds_client.schema import OnConflict
from mds_client.surface.calls import Calls
from mds_client.writing import deletes, renames, upserts
from mds_client.writing.deletes import STEP_ROWS, Deleted
from mds_client.writing.renames import Renamed
from mds_client.writing.upserts import CHUNK_ROWS


class Writes(Calls):
    """The methods that write."""

    def upsert(
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
                columns, `items` keeps their numbers as items of a kind that has them.
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
        return self.run(
            upserts.upsert(kind, rows, on_conflict=on_conflict, chunk_rows=chunk_rows, extra=extra, mapping=mapping)
        )

    def upsert_bars(
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
        return self.run(
            upserts.upsert("bars", rows, on_conflict=on_conflict, chunk_rows=chunk_rows, extra=extra, mapping=mapping)
        )

    def upsert_fundamentals(
        self,
        rows: Input,
        *,
        on_conflict: OnConflict = "replace",
        chunk_rows: int = CHUNK_ROWS,
        extra: Extra = "error",
        mapping: ColumnMapping | str | None = None,
    ) -> int:
        """Write fundamentals, as `upsert_bars` does. The key is vendor, symbol and as-of date."""
        return self.run(
            upserts.upsert(
                "fundamentals", rows, on_conflict=on_conflict, chunk_rows=chunk_rows, extra=extra, mapping=mapping
            )
        )

    def upsert_instruments(
        self,
        rows: Input,
        *,
        on_conflict: OnConflict = "replace",
        chunk_rows: int = CHUNK_ROWS,
        extra: Extra = "error",
        mapping: ColumnMapping | str | None = None,
    ) -> int:
        """Write definitions of instruments, as `upsert_bars` does. The key is vendor, symbol and `asof`."""
        return self.run(
            upserts.upsert(
                "instruments", rows, on_conflict=on_conflict, chunk_rows=chunk_rows, extra=extra, mapping=mapping
            )
        )

    def upsert_news(
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
        return self.run(
            upserts.upsert("news", rows, on_conflict=on_conflict, chunk_rows=chunk_rows, extra=extra, mapping=mapping)
        )

    def upsert_options(
        self,
        rows: Input,
        *,
        on_conflict: OnConflict = "replace",
        chunk_rows: int = CHUNK_ROWS,
        extra: Extra = "error",
        mapping: ColumnMapping | str | None = None,
    ) -> int:
        """Write option snapshots, as `upsert_bars` does. The key is vendor, symbol, time and contract."""
        return self.run(
            upserts.upsert(
                "options", rows, on_conflict=on_conflict, chunk_rows=chunk_rows, extra=extra, mapping=mapping
            )
        )

    def delete(
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

        Rows that are kept in files are deleted, too: the client reads the files to count them, and no read returns them
        from then on. A series that has lost all its rows stays then.

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
            ConfigurationError: No tenant is set, an argument is wrong, or rows are kept in files and the client has no
                `cold_url`.
        """
        return self.run(
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

    def rename(
        self,
        *,
        vendor: str,
        symbol: Symbols | None = None,
        timeframe: str | None = None,
        kind: AnyKind | None = None,
        to_vendor: str | None = None,
        to_symbol: str | None = None,
        to_timeframe: str | None = None,
        dry_run: bool = False,
    ) -> Renamed:
        """Give series another name, for example after a vendor has renamed a symbol. No row is changed.

        All series that meet the conditions are renamed, or none. From then on, their rows are found under the new name.
        A program that writes rows under the old name begins a new series of that name. Their newest values, rollups and
        calendars stay theirs.

        Args:
            vendor: The vendor of the series.
            symbol: Only series of this symbol, or of these symbols.
            timeframe: Only series of this timeframe.
            kind: Only series of this kind: its name, its model or its declaration. The default is every kind whose
                series have the parts of a name that you give. News have no symbol in the names of their series: rows
                of news keep the symbol that they were written with.
            to_vendor: The new vendor.
            to_symbol: The new symbol.
            to_timeframe: The new timeframe. It is for bars that were written with a wrong one.
            dry_run: Rename nothing, and return what would be renamed.

        Returns:
            The series with their names before and after.

        Raises:
            UnknownSeries: There is no such series.
            SeriesConflict: A series of the new name exists, old rows of the kind are kept in files, or a backfill still
                writes under the old name. Nothing is renamed.
            ConfigurationError: No tenant is set, or an argument is wrong.
        """
        return self.run(
            renames.rename(
                vendor=vendor,
                symbol=symbol,
                timeframe=timeframe,
                kind=kind,
                to_vendor=to_vendor,
                to_symbol=to_symbol,
                to_timeframe=to_timeframe,
                dry_run=dry_run,
            )
        )

    def enqueue_job(
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
        return self.run(jobs.enqueue_job(idempotency_key, job_type, payload, priority))
