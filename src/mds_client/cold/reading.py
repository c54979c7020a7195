"""Operations that read rows of files, rows of the table and late rows.

The list of files is read before and after the rows of the table. If it is unchanged, no row was moved in between. In a
transaction with one snapshot it is always unchanged.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, Final

from mds_client import sql
from mds_client.cold import files, merging
from mds_client.cold.files import micros
from mds_client.cold.places import FileMissing
from mds_client.columns.arrow import NAMES, SERIES_ID
from mds_client.errors import ConfigurationError, RetryableError
from mds_client.protocol.operations import Execute, Group, SeriesName, Session, Talk, Values
from mds_client.schema import TENANT_COLUMN, Kind

import numpy as np  # isort: skip
import pyarrow as pa  # isort: skip

ATTEMPTS: Final = 20
"""The maximum number of reads if rows are moved at the same time."""


def url_of(session: Session, kind: Kind) -> str:
    """Return the place of the files. Raises ConfigurationError if the client has no such setting."""
    if not session.config.cold_url:
        until = session.cold.fences.get(kind.name)
        raise ConfigurationError(
            f"{kind.name} from before {until} are kept in files, and this client was not told where: set MDS_COLD_URL"
            f" (or cold_url) to the operator's DATASTORE_COLD_URL, or read from {until} on"
        )
    return session.config.cold_url


@dataclass(frozen=True)
class ColdFiles:
    """The files in the store's list that may have rows of a span of time."""

    kind: Kind
    url: str
    listed: tuple[Values, ...]

    def rows(
        self, series: Mapping[int, SeriesName], span: tuple[datetime, datetime], columns: Sequence[str]
    ) -> "list[pa.Table]":
        """Read the rows of these series, as one table for each file."""
        found = []
        for path, first, end, *_ in self.listed:
            if first < span[1] and end > span[0] and series:
                try:
                    found.append(files.rows_of(self.url, path, self.kind, series, span, columns))
                except FileMissing:
                    files.metadata.cache_clear()
                    raise
        return found

    def merged(
        self,
        series: Mapping[int, SeriesName],
        span: tuple[datetime, datetime],
        columns: Sequence[str],
        hot: "pa.Table",
        late: Sequence[Values],
    ) -> "pa.Table":
        """Merge rows of files, rows of the table and late rows."""
        return merging.merged(self.kind, list(series), columns, [*self.rows(series, span, columns), hot], late)


def listing(session: Session, kind: Kind, span: tuple[datetime, datetime]) -> Execute:
    """Return the step that lists the files with rows of a span."""
    return Execute(sql.COLD_FILES, (kind.name, *span, session.wanted))


def late_step(session: Session, kind: Kind, ids: Sequence[int], span: tuple[datetime, datetime]) -> Execute:
    """Return the step that reads late rows."""
    return Execute(sql.late_rows(kind), sql.late_since(ids, span, session.wanted))


def late_spans(kind: Kind, late: Sequence[Values]) -> list[tuple[datetime, datetime]]:
    """Return the time of each late row, and the span of each late deletion."""
    at = 1 + kind.column_names.index(kind.time)
    return [(row[at], row[at] + _INSTANT if row[-2] is None else row[-2]) for row in late]


def reading(
    session: Session,
    kind: Kind,
    series: Mapping[int, SeriesName],
    span: tuple[datetime, datetime],
    columns: Sequence[str] | None = None,
) -> "Talk[pa.Table]":
    """Read all rows of these series in a span, ordered by series, in the given order, and key.

    The columns are the id, those of the key, and these columns, or all.

    Raises:
        ConfigurationError: The client has no setting for the place of the files.
        FileMissing: A file cannot be read.
    """
    url = url_of(session, kind)
    names = kind.column_names if columns is None else (*kind.key, *columns)
    stored = tuple(name for name in kind.column_names if name in names)
    ids = list(series)
    parameters = (ids, *span, *sql.hot_since(kind, session.wanted, None))
    for _ in range(ATTEMPTS):
        before, rows, late, after = yield Group(
            (
                listing(session, kind, span),
                Execute(sql.windows(kind, stored), parameters),
                late_step(session, kind, ids, span),
                listing(session, kind, span),
            )
        )
        if before == after:
            there = ColdFiles(kind, url, tuple(before))
            return there.merged(series, span, stored, merging.table_of(kind, stored, rows), late)
    raise RetryableError(f"{kind.name} are being moved to files too fast to be read")


def tuples(table: "pa.Table") -> list[Values]:
    """Return the rows of a table as tuples, as a statement does."""
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))


def framed(
    session: Session, kind: Kind, table: "pa.Table", series: Mapping[int, SeriesName], fields: Sequence[str]
) -> "pa.Table":
    """Replace the series ids of a table by the names of the series, as in frames."""
    known = np.array(list(series), np.int64)
    by_id = np.argsort(known)
    ids = table[SERIES_ID.name].to_numpy()
    at = by_id[np.searchsorted(known, ids, sorter=by_id)] if len(known) else np.zeros(0, np.int64)
    columns: list[Any] = []
    schema = []
    for name in fields:
        if name == TENANT_COLUMN or name in kind.series:
            owner = [session.tenant_id] if len(known) == 0 else [session.tenant_id] * len(known)
            words = owner if name == TENANT_COLUMN else [one[kind.series.index(name)] for one in series.values()]
            coded = pa.array(words, pa.string()).dictionary_encode()
            columns.append(pa.DictionaryArray.from_arrays(coded.indices.take(pa.array(at)), coded.dictionary))
            schema.append(pa.field(name, NAMES, nullable=False))
        else:
            columns.append(table[name])
            schema.append(pa.field(name, table.schema.field(name).type, kind.column(name).nullable))
    return pa.table(columns, schema=pa.schema(schema))


def counted(
    session: Session, kind: Kind, series: Mapping[int, SeriesName], span: tuple[datetime, datetime]
) -> Talk[list[Values]]:
    """Return id, first time, last time and number of rows of each series with rows in a span."""
    table = yield from reading(session, kind, series, span, ())
    found = table.group_by(SERIES_ID.name).aggregate([(kind.time, "min"), (kind.time, "max"), (kind.time, "count")])
    return tuples(found.select([SERIES_ID.name, f"{kind.time}_min", f"{kind.time}_max", f"{kind.time}_count"]))


def parts(session: Session, kind: Kind, fence: datetime) -> Talk[list[tuple[datetime, datetime]]]:
    """Divide the time before the fence at the years of files, for reads that need not have all rows in memory."""
    oldest = datetime.min.replace(tzinfo=UTC)
    (there,) = yield Group((listing(session, kind, (oldest, fence)),))
    years = {begin.astimezone(UTC).replace(month=1) for _, begin, *_ in there}
    return list(pairwise((oldest, *sorted(years), fence)))


def later(before: Values | None, after: Values) -> Values:
    """Return the last values of two parts of a series' rows, as `remaining` yields them."""
    if before is None:
        return after
    # A time, and for a kind with a price another time with its price.
    newest = after[:1] if after[0] is not None else before[:1]
    return newest + (after[1:] if any(value is not None for value in after[1:]) else before[1:])


def remaining(
    kind: Kind, table: "pa.Table", span: tuple[datetime, datetime]
) -> Iterator[tuple[int, tuple[int, datetime, datetime] | None, tuple[object, ...]]]:
    """Divide the rows of each series, which are together, into those in a span and the others.

    Yields the id; number, first time and last time of the rows in the span, or None; and of the other rows the newest
    time, and for a kind with a price the time and the value of the newest price.
    """
    ids = table[SERIES_ID.name].to_numpy()
    times = table[kind.time].cast(pa.int64()).to_numpy()
    inside = (times >= micros(span[0])) & (times < micros(span[1]))
    priced = None if kind.price is None else np.asarray(table[kind.price].combine_chunks().is_valid())

    def moment(place: Any) -> Any:
        return table[kind.time][int(place)].as_py()

    for own in np.split(np.arange(len(ids)), np.flatnonzero(np.diff(ids)) + 1):
        if not len(own):
            continue
        there, others = own[inside[own]], own[~inside[own]]
        rows = (len(there), moment(there[0]), moment(there[-1])) if len(there) else None
        newest: tuple[object, ...] = (moment(others[-1]) if len(others) else None,)
        if priced is not None and kind.price is not None:
            at = others[priced[others]]
            newest += (moment(at[-1]), table[kind.price][int(at[-1])].as_py()) if len(at) else (None, None)
        yield int(ids[own[0]]), rows, newest


def unchanged(
    session: Session, kind: Kind, series: Mapping[int, SeriesName], rows: Sequence[Values], mode: str
) -> Talk[list[merging.Key]]:
    """Return the keys of the rows, with the ids of their series, that would change nothing as late rows.

    The result is empty if the client cannot read the files: the rows can be written without them.

    Args:
        session: The session.
        kind: The kind.
        series: The names of the rows' series.
        rows: The rows: id and every column.
        mode: The conflict mode of the rows.
    """
    if not session.config.cold_url or not rows:
        return []
    at = 1 + kind.column_names.index(kind.time)
    span = min(row[at] for row in rows), max(row[at] for row in rows)
    try:
        table = yield from reading(session, kind, series, (span[0], span[1] + _INSTANT))
    except FileMissing:
        return []
    there: dict[merging.Key, merging.Row] = {}
    for id_, *values in tuples(table):
        row = dict(zip(table.column_names[1:], values, strict=True))
        there[id_, *(row[name] for name in kind.key)] = row
    same: list[merging.Key] = []
    for id_, *values in rows:
        new: dict[str, Any] = dict(zip(kind.column_names, values, strict=True))
        # Convert uuids to text, as they are read.
        new |= {c.name: str(new[c.name]) for c in kind.columns if c.type == "uuid" and new[c.name] is not None}
        key = (id_, *(new[name] for name in kind.key))
        base = there.get(key)
        if base is not None and merging.resolved(kind, base, [(mode, new)]) == base:
            same.append(key)
    return same


_INSTANT: Final = datetime.resolution
