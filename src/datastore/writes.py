"""Writing rows for a tenant: NDJSON of one kind, read line by line and written through the client.

Validation and writing are the client's: the same models, batches and views as for every application.
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
"""The number of rejects that are returned one by one; further ones are only counted."""

LARGEST_ARRAY: Final = 8 << 20
"""The largest size of a JSON array, in bytes. Unlike lines, it is in memory as a whole."""

_BATCH: Final = BatchConfig(max_rows=10_000, max_ms=60_000)


class UnknownKind(ControlError):
    """The kind does not exist."""


@dataclass(frozen=True, slots=True)
class RejectedLine:
    """A line that was not written: its number, from 1, and the reason."""

    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class Upload:
    """The result of an upload: the numbers of non-empty lines, written rows and rejects, and the first rejects."""

    kind: str
    lines: int
    written: int
    rejected: int
    rejects: list[RejectedLine]


def write_ndjson(
    client: MDS, kind: str, stream: BinaryIO, *, on_conflict: OnConflict = "replace", extra: Extra = "error"
) -> Upload:
    """Write rows of a kind from NDJSON for the client's tenant.

    A line that is invalid or of another tenant is rejected and does not stop the others. Rows are committed in batches,
    and only one batch is in memory: after an error, the same upload again completes it. Raises UnknownKind,
    `mds_client.utils.SourceError` if the stream cannot be read to its end, and the client's errors.
    """
    if kind not in KINDS:
        raise UnknownKind(KINDS.unknown(kind))
    declared = KINDS.of(kind)
    mapping = extra_mapping(extra, declared)
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
