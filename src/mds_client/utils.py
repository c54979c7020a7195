# Generated from autils.py by tools/sync.py: edit that module, and run `make generate`.
"""Ingestion of NDJSON through an `MDS`.

`mds_client.transfer.ndjson` reads the lines.
"""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from mds_client.autils import AsyncIngestion as AsyncIngestion
from mds_client.autils import aingest_ndjson as aingest_ndjson
from mds_client.batch import BatchConfig, BatchProcessor
from mds_client.batching.rejects import about_content
from mds_client.client import MDS
from mds_client.columns.blocks import LONGEST_LINE, Checked, coerce
from mds_client.errors import MDSError
from mds_client.files import RejectFile, Source, SourceError, rejects_path
from mds_client.mapping import Extra
from mds_client.protocol.pauses import ahead
from mds_client.schema import OnConflict
from mds_client.transfer.ndjson import Ingest, Ingesting, reading

__all__ = [
    "LONGEST_LINE",
    "Ingest",
    "Ingestion",
    "RejectFile",
    "Source",
    "SourceError",
    "coerce",
    "ingest_ndjson",
    "rejects_path",
]


class Ingestion(Ingesting):
    """The ingestion of one NDJSON input through an `MDS`.

    Args:
        client: The client that writes.
        kind: The kind's name.
        source: The input.
        rejects: The file for invalid lines.
        batch: How many rows and bytes are written at once. The default is blocks of 8 MiB.
        on_conflict: What happens to a stored row with the same key; see `MDS.upsert`.
        strict: Whether the first invalid line ends the ingestion.
        extra: What to do with fields that the kind does not have; see `MDS.upsert`.
    """

    def __init__(
        self,
        client: MDS,
        kind: str,
        source: Source,
        rejects: Path,
        *,
        batch: BatchConfig | None = None,
        on_conflict: OnConflict = "replace",
        strict: bool = False,
        extra: Extra = "error",
    ) -> None:
        super().__init__(kind, source, rejects, batch=batch, on_conflict=on_conflict, strict=strict, extra=extra)
        self._client = client
        self._processor: BatchProcessor = BatchProcessor(
            client, batch, on_conflict=on_conflict, on_reject=self._reject_row
        )

    def run(self, progress: Callable[[], None] = lambda: None) -> Ingest:
        """Read the input to its end and write its rows.

        A file is read and written in blocks. The next block is checked while one is written. A pipe is read line by
        line, and its rows wait no longer than `max_ms` of the batch.

        Args:
            progress: A function that is called from time to time.

        Returns:
            The result. Invalid lines are written to the file of rejects and do not stop the ingestion.

        Raises:
            InvalidRow: `strict` is set, and a line is invalid. The rows before it are committed.
            SourceError: The input cannot be read to its end.
            MDSError: The server refused, or cannot be reached. All rows in `report().written` are committed.
        """
        with self._running(), self._processor:
            if self._source.size is None:
                self._run_lines(progress)
            else:
                with closing(ahead(self._checked())) as blocks:
                    for found in blocks:
                        self._write(found)
                        progress()
        return self.report()

    def _run_lines(self, progress: Callable[[], None]) -> None:
        with closing(reading(self._source)) as lines:
            for number, line in lines:
                if (row := self._row(number, line)) is not None:
                    self._processor.add(row, origin=number)
                if self._lines % 1000 == 0:
                    progress()

    def _write(self, found: Checked) -> None:
        try:
            if (writing := self._writing(found)) is not None:
                self._written += self._client.run(writing)
        except MDSError as error:
            if not about_content(error):
                raise
            for row, number in self._one_by_one(found):
                self._processor.add(row, origin=number)
            self._processor.flush()
        self._told(found)


def ingest_ndjson(client: MDS, kind: str, path: str, *, rejects: Path | None = None, **options: Any) -> Ingest:
    """Write an NDJSON file of one kind.

    Args:
        client: The client that writes.
        kind: The kind's name.
        path: The file, or `-` for standard input.
        rejects: The file for invalid lines. The default is `<path>.rejects.ndjson`.
        options: Other arguments of `Ingestion`.

    Returns:
        The result.

    Raises:
        SourceError: The file cannot be read.
        MDSError: See `Ingestion.run`.
    """
    with Source(path) as source:
        return Ingestion(client, kind, source, rejects or rejects_path(path), **options).run()
