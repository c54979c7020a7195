"""Read rows lazily: `MDS.scan` as a polars LazyFrame, a PyArrow reader or a DuckDB relation.

A LazyFrame pushes down columns, conditions on the names of the series, which polars evaluates on the list of series,
and conditions on the time. polars applies all conditions to the rows again, so a condition that is not understood here
only costs time.

Needs PyArrow: import this module only for a scan.
"""

import importlib.util
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO
from itertools import accumulate
from typing import Any, Final, Literal, TypeAlias, get_args

from mds_client.cold import files, merging
from mds_client.cold.places import FileMissing, polars_options, whole
from mds_client.columns.arrow import ARROW_TYPES as ARROW_TYPES  # says first which package is missing
from mds_client.columns.arrow import SERIES_ID
from mds_client.errors import ConfigurationError
from mds_client.protocol.operations import SeriesName
from mds_client.reading.packed import INSTANT
from mds_client.reading.parts import of_series, owned
from mds_client.reading.scans import FileRows, Selection, within

import numpy as np  # isort: skip
import pyarrow as pa  # isort: skip
from numpy.typing import NDArray  # isort: skip

ScanAs: TypeAlias = Literal["polars", "arrow", "duckdb"]

Read: TypeAlias = Callable[[Selection], Iterator[Any]]
"""A function that reads a selection: batches, and for polars also files. Nothing is read before the first request."""

TOGETHER: Final = 64
"""The most row groups of a file that are read at once: four million rows, some hundred MB with all columns."""

ALWAYS: Final = (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))


def check(as_: str) -> None:
    """Raise ConfigurationError if a scan cannot have this form, or the package is not installed."""
    if as_ not in get_args(ScanAs):
        raise ConfigurationError(f"as_ of a scan is {', '.join(get_args(ScanAs))}; not {as_!r}")
    if as_ != "arrow":
        try:
            importlib.import_module(as_)
        except ImportError as error:
            raise ConfigurationError(f"{as_} is not installed: pip install {as_}") from error


def by_polars(as_: str) -> bool:
    """Whether polars reads the files of a scan: several times faster than PyArrow, but not in the order of series."""
    return as_ == "polars" or (as_ == "duckdb" and importlib.util.find_spec("polars") is not None)


def scanned(read: Read, selection: Selection, as_: ScanAs) -> Any:
    """Return an object that reads a selection later."""
    check(as_)
    if as_ == "polars":
        return _lazy_frame(read, selection)
    if as_ == "arrow":
        return pa.RecordBatchReader.from_batches(selection.schema, read(selection))
    return importlib.import_module("duckdb").from_arrow(_Source(read, selection))


class _Source:
    """A source for DuckDB that reads again for each query: a reader would be empty at the second query."""

    def __init__(self, read: Read, selection: Selection) -> None:
        self._read = read
        self._selection = selection

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        # Texts are views, as in polars: to copy them takes as long as to read them.
        fields = [one.with_type(pa.string_view()) if one.type == pa.string() else one for one in self._selection.schema]
        schema = pa.schema(fields)
        return pa.RecordBatchReader.from_batches(schema, self._batches(schema)).__arrow_c_stream__(requested_schema)

    def _batches(self, schema: "pa.Schema") -> Iterator[Any]:
        for found in self._read(self._selection):
            if not isinstance(found, FileRows):
                yield found.cast(schema)
                continue
            newest = importlib.import_module("polars").CompatLevel.newest()
            for frame in _frames_of(found, self._selection, None):
                yield from frame.to_arrow(compat_level=newest).cast(schema).to_batches()


def _lazy_frame(read: Read, selection: Selection) -> Any:
    polars = importlib.import_module("polars")
    plugins = importlib.import_module("polars.io.plugins")
    schema = polars.from_arrow(selection.schema.empty_table()).schema

    def source(columns: list[str] | None, predicate: Any, rows: int | None, _batch_rows: int | None) -> Iterator[Any]:
        wanted = selection.fields if columns is None else tuple(columns)
        needed = set(wanted) if predicate is None else {*wanted, *predicate.meta.root_names()}
        # Read at least one column, because a frame without columns has no rows.
        fields = tuple(name for name in selection.fields if name in needed) or (selection.kind.time,)
        asked = replace(selection, fields=fields)
        # polars counts rows before it applies the predicate: `head(5).filter(…)` filters five rows.
        for frame in _frames(read, asked, predicate if rows is None else None):
            if rows is not None:
                frame = frame.head(rows)
                rows -= len(frame)
                if predicate is not None:
                    frame = frame.filter(predicate)
            yield frame.select(wanted) if wanted else frame
            if rows == 0:
                return

    return plugins.register_io_source(source, schema=schema, explain_name=f"mds {selection.kind.name}")


def _frames(read: Read, asked: Selection, predicate: Any) -> Iterator[Any]:
    """Yield the rows for which a predicate is true."""
    polars = importlib.import_module("polars")
    for found in read(asked if predicate is None else _narrowed(asked, predicate)):
        if isinstance(found, FileRows):
            yield from _frames_of(found, asked, predicate)
            continue
        frame = polars.from_arrow(found)
        yield frame if predicate is None else frame.filter(predicate)


def _frames_of(file: FileRows, asked: Selection, predicate: Any) -> Iterator[Any]:
    """Read the rows of a file with polars, some row groups at a time; last the rows of series that have late rows.

    Raises FileMissing if the file cannot be read.
    """
    polars = importlib.import_module("polars")
    kind, name = asked.kind, whole(file.url, file.path)
    try:
        about = files.metadata(file.url, file.path)
        names = None
        if not _has_only(about, asked, file):
            names = polars.DataFrame(
                list(file.series.values()), schema=dict.fromkeys(kind.series, polars.String), orient="row"
            )
        merged, apart = _merged(file, asked) if file.late else (None, None)
        for first, count in _stretches(about, files.groups_of(about, kind, file.series, file.span), apart):
            # To choose row groups by their numbers is faster here than to let polars find them for each stretch.
            stored = polars.scan_parquet(
                name, glob=False, hive_partitioning=False, storage_options=polars_options(name)
            )
            stored = owned(stored.slice(first, count), asked.fields, file.tenant)
            if not file.whole:
                begin, end = file.span
                stored = stored.filter(polars.col(kind.time) >= begin, polars.col(kind.time) < end)
            if names is not None:
                stored = of_series(stored, names)
            if predicate is not None:
                stored = stored.filter(predicate)
            yield stored.select(asked.fields).collect()
        if merged is not None:
            yield (merged if predicate is None else merged.filter(predicate)).select(asked.fields)
    except FileMissing:
        files.metadata.cache_clear()
        raise
    except (polars.exceptions.PolarsError, OSError) as error:
        files.metadata.cache_clear()
        raise FileMissing(f"{file.path} cannot be read: {error}") from error


def _has_only(about: Any, asked: Selection, file: FileRows) -> bool:
    """Check whether the arguments of the scan exclude no series of a file, by the file's statistics."""
    listed, kind = asked.listed, asked.kind
    wanted = {"vendor": listed.vendor, "symbol": listed.symbols, "timeframe": listed.timeframe}
    for at, part in enumerate(kind.series):
        if wanted.get(part) is None:
            continue
        there = files.range_of(about, part)
        if there is None or there[0] != there[1] or {name[at] for name in file.series.values()} != {there[0]}:
            return False
    return True


def _merged(file: FileRows, asked: Selection) -> tuple[Any, "NDArray[np.int64]"]:
    """Return all rows of the series that have late rows, by series and time, and the numbers of theirs in the file."""
    polars = importlib.import_module("polars")
    kind = asked.kind
    stored = tuple(name for name in kind.column_names if name in (*kind.key, *asked.fields))
    rows, numbers = files.numbered_rows_of(file.url, file.path, kind, file.touched, file.span, stored)
    frame = polars.from_arrow(merging.merged(kind, list(file.touched), stored, [rows], file.late))
    names = polars.DataFrame(
        [(id_, *name) for id_, name in file.touched.items()],
        schema={SERIES_ID.name: polars.Int64, **dict.fromkeys(kind.series, polars.String)},
        orient="row",
    )
    schema = polars.from_arrow(asked.schema.empty_table()).schema
    named = owned(frame.join(names, on=SERIES_ID.name, how="left", maintain_order="left"), asked.fields, file.tenant)
    return named.cast({name: schema[name] for name in asked.fields}), numbers


def _stretches(
    about: Any, groups: Sequence[int], apart: "NDArray[np.int64] | None" = None
) -> Iterator[tuple[int, int]]:
    """Yield the first row and the number of rows of row groups that follow one another, at most TOGETHER of them.

    Rows whose numbers are `apart` are left out.
    """
    for first, count in _together(about, groups):
        if apart is None:
            yield first, count
            continue
        left_out = apart[(apart >= first) & (apart < first + count)]
        # A row that is left out ends a stretch, and begins the next one.
        edges = np.concatenate([[first - 1], left_out, [first + count]])
        for at in np.flatnonzero(np.diff(edges) > 1).tolist():
            yield int(edges[at]) + 1, int(edges[at + 1] - edges[at]) - 1


def _together(about: Any, groups: Sequence[int]) -> Iterator[tuple[int, int]]:
    sizes = [about.row_group(number).num_rows for number in range(about.num_row_groups)]
    begins = [0, *accumulate(sizes)]
    at = 0
    while at < len(groups):
        end = at + 1
        while end < len(groups) and end - at < TOGETHER and groups[end] == groups[end - 1] + 1:
            end += 1
        first = begins[groups[at]]
        yield first, begins[groups[end - 1] + 1] - first
        at = end


def _narrowed(selection: Selection, predicate: Any) -> Selection:
    """Narrow a selection to the part where a predicate can be true, as far as the predicate is understood."""
    polars = importlib.import_module("polars")
    on_names = []
    for part in _conjuncts(json.loads(predicate.meta.serialize(format="json"))):
        condition = polars.Expr.deserialize(BytesIO(json.dumps(part).encode()), format="json")
        roots = set(condition.meta.root_names())
        if roots and roots <= set(selection.kind.series):
            on_names.append(condition)
        elif roots == {selection.kind.time}:
            selection = within(selection, _span(part, selection.kind.time))
    if not on_names:
        return selection

    def choose(series: dict[int, SeriesName]) -> dict[int, SeriesName]:
        names = polars.DataFrame(
            list(series.values()), schema=dict.fromkeys(selection.kind.series, polars.String), orient="row"
        )
        ids = names.with_columns(polars.Series("series_id", list(series), polars.Int64)).filter(on_names)["series_id"]
        return {id_: series[id_] for id_ in ids.to_list()}

    return replace(selection, choose=choose)


def _conjuncts(expression: Any) -> Iterator[Any]:
    """Yield the conditions that an expression combines with AND, as polars serializes them."""
    match expression:
        case {"BinaryExpr": {"left": left, "op": "And" | "LogicalAnd", "right": right}}:
            yield from _conjuncts(left)
            yield from _conjuncts(right)
        case _:
            yield expression


def _span(condition: Any, time: str) -> tuple[datetime, datetime]:
    """Return the span in which a condition on the time can be true, or all time if it is not understood."""
    match condition:
        case {"BinaryExpr": {"left": {"Column": name}, "op": str(operator), "right": right}} if name == time:
            return _compared(operator, right)
        case {"BinaryExpr": {"left": left, "op": str(operator), "right": {"Column": name}}} if name == time:
            turned = {"Lt": "Gt", "LtEq": "GtEq", "Gt": "Lt", "GtEq": "LtEq"}
            return _compared(turned.get(operator, operator), left)
        case {"Function": {"input": [{"Column": name}, low, high], "function": {"Boolean": {"IsBetween": _}}}} if (
            name == time
        ):
            return _compared("GtEq", low)[0], _compared("LtEq", high)[1]
    return ALWAYS


def _compared(operator: str, expression: Any) -> tuple[datetime, datetime]:
    moment = _moment(expression)
    if moment is None:
        return ALWAYS
    # The time may be finer than a microsecond and is truncated here, so include its whole microsecond.
    behind = ALWAYS[1] if moment > ALWAYS[1] - INSTANT else moment + INSTANT
    match operator:
        case "Eq":
            return moment, behind
        case "Lt" | "LtEq":
            return ALWAYS[0], behind
        case "Gt" | "GtEq":
            return moment, ALWAYS[1]
    return ALWAYS


def _moment(expression: Any) -> datetime | None:
    """Return the time that an expression evaluates to, or None."""
    polars = importlib.import_module("polars")
    found = polars.Expr.deserialize(BytesIO(json.dumps(expression).encode()), format="json")
    if found.meta.root_names():
        return None
    value = polars.select(found).to_series()
    (moment,) = value.to_list() if len(value) == 1 else (None,)
    return moment if isinstance(moment, datetime) and moment.tzinfo is not None else None
