"""Ingestion of NDJSON through an `AMDS`.

`mds_client.transfer.ndjson` reads the lines. `mds_client.utils` is generated from this module by `tools/sync.py`.
"""

from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

from mds_client.abatch import AsyncBatchProcessor, BatchConfig
from mds_client.aclient import AMDS
from mds_client.batching.rejects import about_content
from mds_client.columns.blocks import LONGEST_LINE, Checked, coerce
from mds_client.errors import MDSError
from mds_client.files import RejectFile, Source, SourceError, rejects_path
from mds_client.mapping import Extra
from mds_client.protocol.pauses import aahead
from mds_client.schema import OnConflict
from mds_client.transfer.ndjson import Ingest, Ingesting, areading

__all__ = [
    "LONGEST_LINE",
    "AsyncIngestion",
    "Ingest",
    "RejectFile",
    "Source",
    "SourceError",
    "aingest_ndjson",
    "coerce",
    "rejects_path",
]


class AsyncIngestion(Ingesting):
    """The ingestion of one NDJSON input through an `AMDS`.

    Args:
        client: The client that writes.
        kind: The kind's name.
        source: The input.
        rejects: The file for invalid lines.
        batch: How many rows and bytes are written at once. The default is blocks of 8 MiB.
        on_conflict: What happens to a stored row with the same key; see `AMDS.upsert`.
        strict: Whether the first invalid line ends the ingestion.
        extra: What to do with fields that the kind does not have; see `AMDS.upsert`.
    """

    def __init__(
        self,
        client: AMDS,
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
        self._processor: AsyncBatchProcessor = AsyncBatchProcessor(
            client, batch, on_conflict=on_conflict, on_reject=self._reject_row
        )

    async def run(self, progress: Callable[[], None] = lambda: None) -> Ingest:
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
        with self._running():
            async with self._processor:
                if self._source.size is None:
                    await self._run_lines(progress)
                else:
                    async with aclosing(aahead(self._checked())) as blocks:
                        async for found in blocks:
                            await self._write(found)
                            progress()
        return self.report()

    async def _run_lines(self, progress: Callable[[], None]) -> None:
        async with aclosing(areading(self._source)) as lines:
            async for number, line in lines:
                if (row := self._row(number, line)) is not None:
                    await self._processor.add(row, origin=number)
                if self._lines % 1000 == 0:
                    progress()

    async def _write(self, found: Checked) -> None:
        try:
            if (writing := self._writing(found)) is not None:
                self._written += await self._client.run(writing)
        except MDSError as error:
            if not about_content(error):
                raise
            for row, number in self._one_by_one(found):
                await self._processor.add(row, origin=number)
            await self._processor.flush()
        self._told(found)


async def aingest_ndjson(client: AMDS, kind: str, path: str, *, rejects: Path | None = None, **options: Any) -> Ingest:
    """Write an NDJSON file of one kind.

    Args:
        client: The client that writes.
        kind: The kind's name.
        path: The file, or `-` for standard input.
        rejects: The file for invalid lines. The default is `<path>.rejects.ndjson`.
        options: Other arguments of `AsyncIngestion`.

    Returns:
        The result.

    Raises:
        SourceError: The file cannot be read.
        MDSError: See `AsyncIngestion.run`.
    """
    with Source(path) as source:
        return await AsyncIngestion(client, kind, source, rejects or rejects_path(path), **options).run()
