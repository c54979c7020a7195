"""Writing rows for a tenant: NDJSON of one kind, read line by line and written through the client.

What is asked of the rows, and how they are written, is the client's: the same models, batches and views as for every
application.
"""

from dataclasses import dataclass
from typing import BinaryIO, Final

from datastore.errors import ControlError
from mds_client import KINDS, MDS
from mds_client.batch import BatchConfig, BatchProcessor, Reject
from mds_client.errors import InvalidRow
from mds_client.mapping import Extra, extra_mapping
from mds_client.schema import OnConflict
from mds_client.utils import Source, coerce

MOST_TOLD: Final = 100
"""Rejects that are told one by one; further ones are counted."""

LARGEST_ARRAY: Final = 8 << 20
"""Bytes of a JSON array, which is in memory as a whole, as lines are not."""

_BATCH: Final = BatchConfig(max_rows=10_000, max_ms=60_000)


class UnknownKind(ControlError):
    """There is no such kind."""


@dataclass(frozen=True, slots=True)
class RejectedLine:
    """A line that was not written: its number, from 1, and why."""

    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class Upload:
    """How an upload ended: lines that held something, rows written, lines rejected, and the first of these."""

    kind: str
    lines: int
    written: int
    rejected: int
    rejects: list[RejectedLine]


def write_ndjson(
    client: MDS, kind: str, stream: BinaryIO, *, on_conflict: OnConflict = "replace", extra: Extra = "error"
) -> Upload:
    """Write rows of a kind from NDJSON for the client's tenant.

    An invalid line, or of another tenant, is rejected and does not stop the others. A batch of rows is in memory
    at a time, and committed as it is full: after an error the same upload again completes it. Raises UnknownKind,
    `mds_client.utils.SourceError` where the stream cannot be read to its end, and the client's errors.
    """
    if kind not in KINDS:
        raise UnknownKind(KINDS.unknown(kind))
    declared = KINDS.of(kind)
    mapping = extra_mapping(extra)
    rejects: list[RejectedLine] = []
    lines = rejected = 0

    def refuse(line: int, reason: str) -> None:
        nonlocal rejected
        rejected += 1
        if len(rejects) < MOST_TOLD:
            rejects.append(RejectedLine(line, reason))

    def refuse_row(reject: Reject) -> None:
        refuse(int(reject.origin), reject.reason)

    source = Source("the body", stream, largest_array=LARGEST_ARRAY)
    with BatchProcessor(client, _BATCH, on_conflict=on_conflict, on_reject=refuse_row) as processor:
        for line in source.lines():
            lines += 1
            try:
                row = coerce(declared, line, mapping)
            except InvalidRow as error:
                refuse(source.line, str(error))
            else:
                processor.add(row, origin=source.line)
    return Upload(kind, lines, processor.stats().written, rejected, sorted(rejects, key=lambda each: each.line))
