"""Read the first rows of an input, for the detection of its format."""

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from mds_client.errors import InvalidRow
from mds_client.files import documents
from mds_client.files.readers import Format, opened
from mds_client.files.source import Source
from mds_client.mapping import Mapping
from mds_client.schema import KINDS, Kind

SIZE: Final = 256 << 10
"""The size of a sample of text in bytes."""

ROWS: Final = 1_000
"""The number of rows in a sample."""

DELIMITERS: Final = ",;\t|"


@dataclass(frozen=True, slots=True)
class Sample:
    """The first rows of an input.

    `names` are the names of the columns, or empty; `rows` are mappings by name, or lists. `document` is a JSON document
    that contains the rows.
    """

    form: Format
    names: list[str]
    rows: list[Any]
    document: Any = None


@dataclass(frozen=True, slots=True)
class Dialect:
    """The dialect of a CSV: the delimiter, the lines above the header, and whether the first row is a header."""

    delimiter: str
    skip_lines: int
    has_header: bool


def dialect(text: str, told: Mapping) -> Dialect:
    """Detect the dialect of a CSV from its first lines. Parts that are set in `told` are not detected."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")][:200]
    marks = [told.delimiter] if "delimiter" in told.model_fields_set else DELIMITERS
    best, delimiter, width = 0.0, told.delimiter, 1
    for mark in marks:
        widths = Counter(len(cells) for cells in _cells(lines, mark, told.quote))
        most, count = max(widths.items(), key=lambda item: (item[1], item[0]), default=(1, 0))
        share = count / max(1, len(lines))
        if most > 1 and share > best:
            best, delimiter, width = share, mark, most
    skipped = told.skip_lines
    if "skip_lines" not in told.model_fields_set and told.header_lines == 1 and best >= 0.5:
        skipped = next((at for at, one in enumerate(_cells(lines, delimiter, told.quote)) if len(one) == width), 0)
        # The number counts lines of the file, so it is only valid if no line above was skipped.
        skipped = skipped if lines[:skipped] == text.splitlines()[:skipped] else 0
    first = next(islice(_cells(lines, delimiter, told.quote), skipped, None), [])
    return Dialect(delimiter, skipped, any(any(letter.isalpha() for letter in cell) for cell in first[:1] + first[2:]))


def _cells(lines: Sequence[str], delimiter: str, quote: str) -> Iterator[list[str]]:
    return csv.reader(lines, delimiter=delimiter, quotechar=quote)


def of_text(source: Source, form: Format, mapping: Mapping) -> Sample:
    """Sample CSV, NDJSON or JSON without consuming the input. Raises SourceError if it cannot be read."""
    if form == "csv":
        return _of_csv(source.sample(SIZE).decode(errors="replace"), mapping)
    head = source.sample(SIZE)
    if head.lstrip()[:1] == b"{" and (mapping.rows or not _is_line(head, mapping)):
        document = documents.parsed(head if len(head) < SIZE else source.sample(1 << 28), source.name)
        found = [
            {**record, **given} if isinstance(record, dict) else record for given, record in _inner(document, mapping)
        ]
        return Sample("json", list(found[0]) if found and isinstance(found[0], dict) else [], found, document)
    rows = _of_array(head) if head.lstrip()[:1] == b"[" else _of_lines(head)
    names = list(dict.fromkeys(name for row in rows if isinstance(row, dict) for name in row))
    return Sample("ndjson", names, rows)


def _inner(document: Any, mapping: Mapping) -> Iterator[tuple[dict[str, str], Any]]:
    if mapping.rows:
        yield from islice(documents.records(document, mapping.rows), ROWS)


def _is_line(head: bytes, mapping: Mapping) -> bool:
    """Whether the first line is a JSON object of plain values and of numbers by name, so a row and not a document."""
    try:
        row = json.loads(head.lstrip().splitlines()[0])
    except ValueError:
        return False
    maps = {name for name in row for kind in KINDS.values() if mapping.reads_maps(kind, (name,))}
    return not any(isinstance(value, dict | list) for name, value in row.items() if name not in maps)


def _of_lines(head: bytes) -> list[Any]:
    rows = []
    for line in head.splitlines()[:ROWS]:
        try:
            rows.append(json.loads(line))
        except ValueError:
            # The last line may be cut off. An invalid line is reported when it is read.
            continue
    return rows


def _of_array(head: bytes) -> list[Any]:
    decoder = json.JSONDecoder()
    text = head.decode(errors="replace").lstrip()[1:].lstrip()
    rows: list[Any] = []
    while text[:1] in ("{", "[") and len(rows) < ROWS:
        try:
            row, end = decoder.raw_decode(text)
        except ValueError:
            break
        rows.append(row)
        text = text[end:].lstrip().removeprefix(",").lstrip()
    return rows


def _of_csv(text: str, mapping: Mapping) -> Sample:
    from mds_client.files.delimited import names_of

    if not text.endswith("\n") and len(text) > SIZE // 2:
        text = text[: text.rfind("\n") + 1]
    lines = io.StringIO(text).readlines()[mapping.skip_lines :]
    kept = (line for line in lines if line.strip() and not line.startswith("#"))
    cells = csv.reader(kept, delimiter=mapping.delimiter, quotechar=mapping.quote)
    try:
        if mapping.header:
            rows = list(islice(cells, ROWS))
            names = list(mapping.header)
            if rows and [name.strip().casefold() for name in rows[0]] == [name.casefold() for name in names]:
                del rows[0]
        else:
            names = names_of([[name.strip() for name in line] for line in islice(cells, mapping.header_lines)] or [[]])
            rows = list(islice(cells, ROWS))
    except csv.Error as error:
        raise InvalidRow(f"the CSV cannot be read: {error}") from error
    if rows and all(len(row) != len(names) for row in rows):
        raise InvalidRow(f"its rows have {len(rows[0])} values, and the header {len(names)}: {', '.join(names)[:200]}")
    return Sample("csv", names, [dict(zip(names, row, strict=True)) for row in rows if len(row) == len(names)])


def of_table(kind: Kind, path: str, form: Format, mapping: Mapping) -> Sample:
    """Sample a Parquet or Arrow file, a workbook or DBN, with times as Python objects."""
    from mds_client.files.parts import Columns

    whole = Mapping(header=mapping.header, skip_lines=mapping.skip_lines, sheet=mapping.sheet)
    source = opened(kind, path, form, whole)
    try:
        part = next(iter(source.parts(ROWS, lambda *_: None)), None)
    finally:
        source.close()
    if not isinstance(part, Columns):
        return Sample(form, [], [])
    return Sample(form, part.table.column_names, part.records())
