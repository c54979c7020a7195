"""Read the rows of a file for some series and a span of time.

A file has the names of series, not their ids, and is sorted by name and time. Row groups whose statistics exclude the
requested rows are not read.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from mds_client.cold.places import FileMissing, place
from mds_client.columns.arrow import SERIES_ID
from mds_client.protocol.operations import SeriesName
from mds_client.schema import Kind

import numpy as np  # isort: skip
import pyarrow as pa  # isort: skip
from pyarrow import parquet  # isort: skip
from numpy.typing import NDArray  # isort: skip

KEPT: Final = 256
"""The number of files whose metadata are cached in memory."""


@lru_cache(KEPT)
def metadata(url: str, path: str) -> Any:
    """Return the metadata of a file, which never change. Raises FileMissing."""
    with place(url).open(path) as source:
        return _read(path, lambda: parquet.read_metadata(source))


def _read(path: str, work: Any) -> Any:
    try:
        return work()
    except (pa.ArrowException, OSError) as error:
        raise FileMissing(f"{path} cannot be read: {error}") from error


def rows_of(
    url: str,
    path: str,
    kind: Kind,
    series: Mapping[int, SeriesName],
    span: tuple[datetime, datetime],
    columns: Sequence[str],
) -> "pa.Table":
    """Read the rows of these series in a span of time, in the file's order. The series id is the first column.

    Raises FileMissing.
    """
    return _rows_of(url, path, kind, series, span, columns)[0]


def numbered_rows_of(
    url: str,
    path: str,
    kind: Kind,
    series: Mapping[int, SeriesName],
    span: tuple[datetime, datetime],
    columns: Sequence[str],
) -> "tuple[pa.Table, NDArray[np.int64]]":
    """Read rows as `rows_of` does, and return the number of each row in the file, from 0, beside them."""
    rows, groups, wanted = _rows_of(url, path, kind, series, span, columns)
    about = metadata(url, path)
    sizes = [about.row_group(number).num_rows for number in range(about.num_row_groups)]
    begins = np.cumsum([0, *sizes])
    numbers = [np.arange(begins[group], begins[group + 1]) for group in groups]
    return rows, np.concatenate([np.empty(0, np.int64), *numbers])[wanted]


def _rows_of(
    url: str,
    path: str,
    kind: Kind,
    series: Mapping[int, SeriesName],
    span: tuple[datetime, datetime],
    columns: Sequence[str],
) -> "tuple[pa.Table, list[int], NDArray[np.bool_]]":
    """Return the rows, the row groups that were read, and which of their rows were requested."""
    about = metadata(url, path)
    groups = groups_of(about, kind, series, span)
    names = [*kind.series, *columns]
    where = place(url)
    with where.open(path) as source:

        def read() -> Any:
            dictionaries = list(kind.series)
            file = parquet.ParquetFile(source, metadata=about, read_dictionary=dictionaries, pre_buffer=where.far)
            return file.read_row_groups(groups, names, use_threads=len(groups) == 1)

        table = _read(path, read).unify_dictionaries()
    ids = _ids(table, kind, series)
    times = table[kind.time].cast(pa.int64()).to_numpy()
    wanted = (ids >= 0) & (times >= micros(span[0])) & (times < micros(span[1]))
    kept = table.select(list(columns)).filter(pa.array(wanted))
    return kept.add_column(0, SERIES_ID.name, pa.array(ids[wanted])), groups, wanted


def micros(moment: datetime) -> int:
    """Convert a time to microseconds since 1970, exactly."""
    since = moment - datetime(1970, 1, 1, tzinfo=moment.tzinfo) if moment.tzinfo is None else moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


_EPOCH: Final = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


def range_of(about: Any, column: str) -> tuple[Any, Any] | None:
    """Return the least and the greatest value of a column by the statistics, or None if these do not say it."""
    at = next(at for at in range(about.num_columns) if about.schema.column(at).name == column)
    found = [about.row_group(number).column(at).statistics for number in range(about.num_row_groups)]
    if not found or any(one is None or not one.has_min_max for one in found):
        return None
    return min(one.min for one in found), max(one.max for one in found)


def groups_of(about: Any, kind: Kind, series: Mapping[int, SeriesName], span: tuple[datetime, datetime]) -> list[int]:
    """Return the row groups that may have requested rows."""
    asked = [sorted({name[at] or "" for name in series.values()}) for at in range(len(kind.series))]
    where = {about.schema.column(at).name: at for at in range(about.num_columns)}
    found = []
    for number in range(about.num_row_groups):
        group = about.row_group(number)
        times = group.column(where[kind.time]).statistics
        if times is not None and times.has_min_max and (times.max < span[0] or times.min >= span[1]):
            continue
        for part, words in zip(kind.series, asked, strict=True):
            said = group.column(where[part]).statistics
            if said is not None and said.has_min_max:
                at = bisect_left(words, said.min)
                if at == len(words) or words[at] > said.max:
                    break
        else:
            found.append(number)
    return found


def _ids(table: "pa.Table", kind: Kind, series: Mapping[int, SeriesName]) -> NDArray[np.int64]:
    """Return the series id of each row, or -1 for other series."""
    if not table.num_rows:
        return np.empty(0, np.int64)
    by_name = {name: id_ for id_, name in series.items()}
    combined = np.zeros(table.num_rows, np.int64)
    words: list[list[str]] = []
    for part in kind.series:
        column = table[part].combine_chunks()
        words.append(column.dictionary.to_pylist())
        combined = combined * len(words[-1]) + column.indices.to_numpy()
    there, at = np.unique(combined, return_inverse=True)
    ids = np.full(len(there), -1, np.int64)
    for place_, code in enumerate(there.tolist()):
        name: list[str] = []
        for some in reversed(words):
            code, one = divmod(code, len(some))
            name.append(some[one])
        ids[place_] = by_name.get(tuple(reversed(name)), -1)
    return ids[at]
