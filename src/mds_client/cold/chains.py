"""Read option chains whose snapshots are partly kept in files, with the same result as the server."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from itertools import pairwise

from mds_client.cold import merging, reading
from mds_client.columns.arrow import SERIES_ID
from mds_client.protocol.operations import Group, SeriesName, Session, Talk, Values
from mds_client.schema import Kind

import numpy as np  # isort: skip
import pyarrow as pa  # isort: skip
import pyarrow.compute as compute  # isort: skip


def chains(
    session: Session,
    kind: Kind,
    series: Mapping[int, SeriesName],
    span: tuple[datetime, datetime],
    day: date,
    columns: Sequence[str],
) -> "Talk[pa.Table]":
    """Read the newest row of each contract of these series, as `sql.option_chains` does.

    The rows of a file are in memory at once. The result is ordered by series, in the given order, and contract. Its
    columns are the id, those of the key, and these columns.

    Args:
        session: The session.
        kind: The kind of the rows.
        series: The series by id.
        span: The times between which the rows are; the second one is not included.
        day: The day from which on contracts have not expired.
        columns: The columns of the rows.

    Raises:
        ConfigurationError: The client has no setting for the place of the files.
        FileMissing: A file cannot be read.
    """
    found: list[pa.Table] = []
    (listed,) = yield Group((reading.listing(session, kind, span),))
    for part in _parts(listed, span):
        table = yield from reading.reading(session, kind, series, part, columns)
        found.append(table.filter(compute.greater_equal(table["expiry"], pa.scalar(day, pa.date32()))))
        found = [_newest(kind, list(series), pa.concat_tables(found))]
    return found[0]


def _parts(listed: Iterable[Values], span: tuple[datetime, datetime]) -> Iterator[tuple[datetime, datetime]]:
    """Divide a span at the bounds of files."""
    bounds = {moment for _, begin, end, *_ in listed for moment in (begin, end) if span[0] < moment < span[1]}
    return pairwise((span[0], *sorted(bounds), span[1]))


def _newest(kind: Kind, series: Sequence[int], table: "pa.Table") -> "pa.Table":
    contract = [
        merging.places(series, table[SERIES_ID.name].to_numpy()),
        *(merging.ranks(table[name]) for name in kind.key if name != kind.time),
    ]
    order = np.lexsort([merging.ranks(table[kind.time]), *contract[::-1]])
    if len(order):
        order = order[np.append(np.any([np.diff(part[order]) != 0 for part in contract], axis=0), True)]
    return table.take(pa.array(order))
