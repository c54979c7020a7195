"""The source `files`: NDJSON, CSV and Parquet, by a pattern below a folder of the operator."""

import glob
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import reduce
from importlib.util import find_spec
from itertools import groupby
from operator import or_
from pathlib import Path, PurePosixPath
from typing import Any, Final, Literal, cast

from pydantic import PrivateAttr, field_validator

from datastore.config import Settings
from datastore.sources.base import (
    BARS,
    SAMPLE,
    Batch,
    Malformed,
    Other,
    Others,
    Reading,
    SourceUnavailable,
    Span,
    expand,
    span_of,
)
from mds_client import Bar
from mds_client.errors import MDSError
from mds_client.files import Columns as Part
from mds_client.files import Input, format_of_name, opened, parquet
from mds_client.files import Mapping as Columns
from mds_client.values.times import in_utc

ROOT: Final = "DATASTORE_SOURCE_ROOT"

PYARROW: Final = "the package pyarrow (the extra arrow)"

ROWS: Final = 10_000
"""The number of rows of a batch."""


class Files(Reading):
    """Bars in files.

    `path` is a pattern (`*`, `**`, `?`) below DATASTORE_SOURCE_ROOT. With {symbol} in it, only a series' own files are
    read for it, and their rows have that symbol unless they say otherwise; without it, every file is read for each
    chunk. A file whose name has the symbol in another case (aapl for AAPL) is read if none matches exactly. The ending
    of the name gives the format: .ndjson, .jsonl, .json, .csv, .parquet and others; text may be compressed. `mapping`,
    or a vendor's `profile`, says which column each field of a bar is in and how it is written; `columns` and
    `time_unit` are short for its parts. Vendor and timeframe are those of the backfill if no column has them.
    """

    type: Literal["files"] = "files"
    path: str

    _root: Path = PrivateAttr()

    def model_post_init(self, context: Any) -> None:
        """Read the operator's setting of the folder."""
        if not isinstance(context, Settings) or context.source_root is None:
            raise ValueError("files cannot be read: DATASTORE_SOURCE_ROOT is not set")
        self._root = context.source_root.resolve()

    @field_validator("path")
    @classmethod
    def _below(cls, path: str) -> str:
        _pattern(path, SAMPLE)
        if format_of_name(path) is None:
            raise ValueError(
                "the format cannot be told from the end of the name; use .ndjson, .jsonl, .json, .csv, .parquet"
            )
        return path

    def needs(self) -> Sequence[str]:
        """Name the folder, which another worker may not have, and for Parquet its package."""
        return [ROOT, PYARROW] if format_of_name(self.path) == "parquet" else [ROOT]

    @classmethod
    def offers(cls, settings: Settings) -> Sequence[str]:
        """Name the folder if it exists, and the package if it is installed."""
        there = settings.source_root is not None and settings.source_root.is_dir()
        return [*([ROOT] if there else []), *([PYARROW] if find_spec("pyarrow") else [])]

    def fetch(self, spans: Sequence[Span]) -> Iterator[Batch]:
        """Yield the bars of the files; spans that share files are read together."""
        by_pattern = sorted(spans, key=lambda span: _pattern(self.path, span))
        read: list[tuple[Path, list[Span]]] = []
        others, gave = Others(case_sensitive=any(span.case_sensitive for span in spans)), False
        for pattern, group in groupby(by_pattern, key=lambda span: _pattern(self.path, span)):
            of_it = list(group)
            for path in self._files(pattern) or self._files(_pattern(self.path, of_it[0], any_case=_any_case(of_it))):
                read.append((path, of_it))
                for batch in self._read(path, of_it, others):
                    gave = gave or not isinstance(batch, list) or any(isinstance(one, Bar) for one in batch)
                    yield batch
        if not read:
            tried = sorted({expand(self.path, span) for span in spans})
            more = f" and {len(tried) - 3:,} more" if len(tried) > 3 else ""
            of_case = ", also not with the symbol in other letters" if "{symbol}" in self.path else ""
            raise SourceUnavailable(f"no file matches {', '.join(map(repr, tried[:3]))}{more}{of_case}")
        if gave:
            return
        # Look at the other bars of the files only if no bar matched.
        for path, of_it in read:
            for one in self._others(path, of_it):
                others.add(one)
                yield []
        yield others.found()

    def _files(self, pattern: str) -> list[Path]:
        if not self._root.is_dir():
            raise SourceUnavailable("the folder in DATASTORE_SOURCE_ROOT does not exist")
        try:
            files = [path for path in sorted(self._root.glob(pattern)) if path.is_file()]
        except (OSError, ValueError) as error:
            raise SourceUnavailable(f"{pattern}: {error}") from error
        for path in files:
            # A link may lead out of the folder.
            if not path.resolve().is_relative_to(self._root):
                raise SourceUnavailable(f"{path.relative_to(self._root)} is outside of DATASTORE_SOURCE_ROOT")
        return files

    def _columns(self, spans: Sequence[Span]) -> Columns:
        """Return the mapping of columns to fields, with the values for missing ones."""
        given = {"vendor": spans[0].vendor, "timeframe": spans[0].timeframe}
        if "{symbol}" in self.path:
            given["symbol"] = spans[0].symbol
        return self.how(given)

    def _read(self, path: Path, spans: Sequence[Span], others: Others) -> Iterator[Batch]:
        where = str(path.relative_to(self._root))
        wanted = {span.symbol: span for span in spans}
        form = format_of_name(path.name)
        try:
            columns = self._columns(spans).named(path.name)
            if form == "parquet":
                yield from self._parquet(path, where, columns, wanted, others)
                return
            if form not in ("csv", "ndjson"):
                yield from _bars(opened(BARS, str(path), form, columns), wanted, others, where)
                return
            # Use the relative name, because the tenant reads it in the job and must not learn where the folder is.
            with path.open("rb") as stream:
                yield from _bars(opened(BARS, where, form, columns, stream=stream), wanted, others)
        except (MDSError, OSError) as error:
            raise SourceUnavailable(_relative(error, path, where)) from error

    def _parquet(
        self, path: Path, where: str, columns: Columns, wanted: Mapping[str, Span], others: Others
    ) -> Iterator[Batch]:
        import pyarrow as pa

        try:
            there, types = _there(path, columns)
            given = columns.constants
            if not columns.only_renames or not _is_frame(types, given):
                # The file does not hold bars as they are: read it record by record, which reports what is wrong.
                yield from _bars(parquet(BARS, str(path), columns, None), wanted, others, where)
                return
            time = types["ts"]
            names = {name: _named(name, there, given, upper=_any_case(wanted.values())) for name in _NAMES}
            for part in parquet(BARS, str(path), columns, _within(wanted, names, there["ts"], time)).parts(ROWS, _none):
                if (frame := cast("Part", part).mapped()).num_rows:
                    yield frame
            # Rows without a time or name are read one by one, so that each is reported as malformed.
            yield from _bars(parquet(BARS, str(path), columns, _nobodys(there, types, given)), wanted, others, where)
        except pa.ArrowException as error:
            raise SourceUnavailable(f"{where}: {_relative(error, path, where)}") from error

    def _others(self, path: Path, spans: Sequence[Span]) -> Iterator[Other]:
        """Yield the series of a Parquet file. `_parquet` reads only the wanted rows, so it cannot count the others."""
        if format_of_name(path.name) != "parquet":
            return
        import pyarrow as pa
        import pyarrow.compute as pc
        from pyarrow import dataset

        columns = self._columns(spans)
        there, types = _there(path, columns)
        if not columns.only_renames or not _is_frame(types, columns.constants):
            return
        shown = {name: _named(name, there, columns.constants, upper=_any_case(spans)) for name in _NAMES}
        shown["ts"] = pc.field(there["ts"]).cast(pa.timestamp("us", types["ts"].tz), safe=False)
        for batch in dataset.dataset(path, format="parquet").to_batches(columns=shown):
            grouped = pa.Table.from_batches([batch]).group_by(list(_NAMES))
            for row in grouped.aggregate([("ts", "min"), ("ts", "max"), ("ts", "count")]).to_pylist():
                if row["ts_count"] and all(row[name] for name in _NAMES):
                    first, last = (in_utc(row[moment]) for moment in ("ts_min", "ts_max"))
                    yield Other(row["vendor"], row["symbol"], row["timeframe"], first, last, row["ts_count"])


def _there(path: Path, columns: Columns) -> tuple[dict[str, str], dict[str, Any]]:
    """Return the column and its type of each field in a Parquet file, for the fields that have one."""
    from pyarrow import parquet as pq

    schema = pq.read_schema(path)
    named = columns.places(tuple(schema.names))
    there = {name: named[name][0] for name in columns.fields(BARS) if len(named.get(name, ())) == 1}
    return there, {name: schema.field(column).type for name, column in there.items()}


def _is_frame(types: Mapping[str, Any], given: Mapping[str, str]) -> bool:
    """Whether a file's rows are bars as they are: with a timestamp and a symbol."""
    import pyarrow as pa

    return "ts" in types and pa.types.is_timestamp(types["ts"]) and ("symbol" in types or "symbol" in given)


def _none(_line: int, _why: str, _text: str) -> None:
    """Reject nothing: a table rejects no row before its rows are checked."""


def _bars(rows: Input, wanted: Mapping[str, Span], others: Others, where: str | None = None) -> Iterator[Batch]:
    """Yield the wanted bars of a file, and all its malformed records. Its other bars are counted."""
    file = where or rows.name
    malformed: list[Malformed] = []

    def reject(number: int, why: str, _: str) -> None:
        malformed.append(Malformed(f"{file}, {rows.unit} {number}", why, whole=file))

    for part in rows.parts(ROWS, reject):
        bars = cast("list[Bar]", part.sifted(reject).rows)
        some = []
        for bar in bars:
            if span_of(wanted, bar) is not None:
                some.append(bar)
            else:
                others.add(bar)
        if some or malformed:
            yield [*malformed, *some]
            malformed.clear()
    if malformed:
        yield list(malformed)


_NAMES: Final = ("vendor", "symbol", "timeframe")


def _relative(error: Exception, path: Path, where: str) -> str:
    """Return an error's text with the file's name relative to the folder of sources."""
    return str(error).replace(str(path), where)


def _any_case(spans: Iterable[Span]) -> bool:
    """Whether symbols in any letters are meant."""
    return not any(span.case_sensitive for span in spans)


def _named(name: str, there: Mapping[str, str], given: Mapping[str, str], *, upper: bool) -> Any:
    """Return an expression for a name as it is stored: trimmed, a symbol in capitals (`upper`), with the given
    default."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if name not in there:
        return pc.scalar(given[name])
    text = pc.field(there[name]).cast(pa.string())
    if name in given:
        text = pc.coalesce(pc.if_else(pc.equal(text, ""), pc.scalar(given[name]), text), pc.scalar(given[name]))
    text = pc.utf8_trim_whitespace(text)
    return pc.utf8_upper(text) if upper and name == "symbol" else text


def _within(wanted: Mapping[str, Span], names: Mapping[str, Any], column: str, time: Any) -> Any:
    """Return a filter for the wanted rows of a file. It also skips row groups without wanted rows."""
    import pyarrow as pa
    import pyarrow.compute as pc

    def moment(value: Any) -> Any:
        return pa.scalar(value if time.tz else value.replace(tzinfo=None), type=time)

    parts = []
    by_range = sorted(wanted.values(), key=lambda span: (span.start, span.end, span.symbol))
    for (start, end), group in groupby(by_range, key=lambda span: (span.start, span.end)):
        of_it = list(group)
        part = (pc.field(column) >= moment(start)) & (pc.field(column) < moment(end))
        part &= names["symbol"].isin([span.symbol for span in of_it])
        part &= (names["vendor"] == of_it[0].vendor) & (names["timeframe"] == of_it[0].timeframe)
        parts.append(part)
    return reduce(or_, parts)


def _nobodys(there: Mapping[str, str], types: Mapping[str, Any], given: Mapping[str, str]) -> Any:
    """Return a filter for rows without a time or a required name. Statistics show that most row groups have none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    without = pc.field(there["ts"]).is_null()
    for name in _NAMES:
        if name not in there:
            continue
        field = pc.field(there[name])
        text = field if pa.types.is_string(types[name]) else field.cast(pa.string())
        # A blank text sorts before "!", the first character that is not blank.
        blank = (text < "!") & (pc.utf8_trim_whitespace(text) == "")
        without |= (blank & (text != "")) if name in given else (blank | field.is_null())
    return without


def _pattern(path: str, span: Span, *, any_case: bool = False) -> str:
    """Return the pattern for a span's files. Raises ValueError if it is invalid or leads out of the folder."""
    symbol = glob.escape(span.symbol)
    if any_case:
        symbol = "".join(f"[{one.lower()}{one.upper()}]" if one.isalpha() else glob.escape(one) for one in span.symbol)
    quoted = Span(glob.escape(span.vendor), symbol, glob.escape(span.timeframe), span.start, span.end)
    pattern = expand(path, quoted)
    if not pattern or pattern.startswith("/") or ".." in PurePosixPath(pattern).parts or "\0" in pattern:
        raise ValueError(f"{pattern!r} must be a relative pattern within the folder of sources")
    return pattern
