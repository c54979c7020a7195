"""Divide rows into those that count as they are in files, and all others.

Other processes can then read the files by themselves, without a connection to the server: they leave out the replaced
rows of each file, and get the other rows from the client (`mds_client.reading.parts`).
"""

from collections import defaultdict
from collections.abc import Container, Mapping, Sequence
from datetime import datetime
from typing import Final, TypeAlias

from mds_client.cold import files, merging
from mds_client.cold.files import micros
from mds_client.cold.places import FileMissing, whole
from mds_client.cold.reading import ColdFiles
from mds_client.columns.arrow import SERIES_ID
from mds_client.protocol.operations import SeriesName, Values
from mds_client.schema import Kind

import numpy as np  # isort: skip
import pyarrow as pa  # isort: skip
from numpy.typing import NDArray  # isort: skip


class Apart:
    """Merges rows of the table and late rows, and finds the rows of files that these replace or delete."""

    listed: Final = ()
    """No file is read as a whole, so that the pieces of a read need not be larger (`mds_client.reading.packed`)."""

    def __init__(self, cold: ColdFiles) -> None:
        self._cold = cold
        self.series: dict[int, SeriesName] = {}
        """The series that were read."""
        self._replaced: dict[str, list[NDArray[np.int64]]] = {path: [] for path, *_ in cold.listed}

    def files(self) -> list[tuple[datetime, datetime, str, "pa.Array"]]:
        """Return the files in the order of their periods: begin, end, whole name, and the numbers of replaced rows."""
        found = []
        for path, begin, end, *_ in self._cold.listed:
            numbers = np.unique(np.concatenate([np.empty(0, np.int64), *self._replaced[path]]))
            found.append((begin, end, whole(self._cold.url, path), pa.array(numbers, pa.uint32())))
        return found

    def merged(
        self,
        series: Mapping[int, SeriesName],
        span: tuple[datetime, datetime],
        columns: Sequence[str],
        hot: "pa.Table",
        late: Sequence[Values],
    ) -> "pa.Table":
        """Merge the rows that are not in files, or are otherwise than there, and note the rows that they replace.

        Raises FileMissing if a file with replaced rows cannot be read.
        """
        self.series.update(series)
        kind = self._cold.kind
        below = self._below(series, span, columns, late) if late else []
        return merging.merged(kind, list(series), columns, [*below, hot], late)

    def _below(
        self,
        series: Mapping[int, SeriesName],
        span: tuple[datetime, datetime],
        columns: Sequence[str],
        late: Sequence[Values],
    ) -> "list[pa.Table]":
        """Note the replaced rows of the files, and return those that are needed to apply the late rows."""
        kind = self._cold.kind
        changes, deletions = merging.log(kind, late)
        changed, deleted = defaultdict[int, list[Span]](list), defaultdict[int, list[Span]](list)
        for id_, moment, *_ in changes:
            changed[id_].append((micros(moment), micros(moment) + 1))
        for id_, since, until in deletions:
            deleted[id_].append((micros(since), micros(until)))
        touched = {id_: series[id_] for id_ in changed.keys() | deleted.keys()}
        dependent = any(merging.depends(kind, *some[0]) for some in changes.values())
        found = []
        for path, begin, end, *_ in self._cold.listed:
            if begin >= span[1] or end <= span[0]:
                continue
            inside = max(begin, span[0]), min(end, span[1])
            try:
                rows, numbers = files.numbered_rows_of(
                    self._cold.url, path, kind, touched, inside, columns if dependent else kind.key
                )
            except FileMissing:
                files.metadata.cache_clear()
                raise
            replaced = _within(kind, rows, deleted) | _of_keys(kind, rows, _within(kind, rows, changed), changes)
            self._replaced[path].append(numbers[replaced])
            if dependent:
                found.append(rows.filter(pa.array(replaced)))
        return found


Span: TypeAlias = tuple[int, int]
"""A span of time without its end, in microseconds since 1970."""


def _of_keys(kind: Kind, rows: "pa.Table", near: NDArray[np.bool_], keys: Container[merging.Key]) -> NDArray[np.bool_]:
    """Return which of the rows that are `near` have one of the keys. Rows of one time can have other keys."""
    found = np.zeros(len(near), np.bool_)
    places = np.flatnonzero(near)
    some = rows.select([SERIES_ID.name, *kind.key]).take(pa.array(places)).to_pydict()
    found[places] = [key in keys for key in zip(*some.values(), strict=True)]
    return found


def _within(kind: Kind, rows: "pa.Table", spans: Mapping[int, Sequence[Span]]) -> NDArray[np.bool_]:
    """Return which rows are in one of the spans of their series. The rows of a series are together, by time."""
    ids = rows[SERIES_ID.name].to_numpy()
    order = np.argsort(ids, kind="stable")
    ids, times = ids[order], rows[kind.time].cast(pa.int64()).to_numpy()[order]
    found = np.zeros(len(ids), np.bool_)
    for id_, some in spans.items():
        first, last = np.searchsorted(ids, (id_, id_ + 1))
        begins, ends = first + np.searchsorted(times[first:last], np.array(some, np.int64)).T
        for begin, end in zip(begins[begins < ends], ends[begins < ends], strict=True):
            found[order[begin:end]] = True
    return found
