"""Files of rows: what each format gives, and which lines are rejected with which number."""

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet
from pydantic import ValidationError

from mds_client import KINDS, Bar
from mds_client.columns import frames
from mds_client.columns.blocks import Block, checked
from mds_client.errors import InvalidRow
from mds_client.files import PLAIN, Format, Mapping, Source, SourceError, opened

BARS = KINDS["bars"]
HEADER = b"vendor,symbol,timeframe,ts,close_price\n"
BAR = {"vendor": "v", "symbol": "S", "timeframe": "1m", "ts": "2024-03-08T14:30:00Z", "close_price": 1.5}


def read(
    path: Path, mapping: Mapping = PLAIN, form: Format | None = None, rows: int = 1000
) -> tuple[list[Any], list[tuple[int, str]], list[int]]:
    """The rows, the rejects (number and reason), and the line of each row."""
    rejects: list[tuple[int, str]] = []
    found: list[Any] = []
    lines: list[int] = []
    source = opened(BARS, str(path), form, mapping)
    try:
        for part in source.parts(rows, lambda number, why, _: rejects.append((number, why))):
            models = part.sifted(lambda number, why, _: rejects.append((number, why)))
            found += models.rows
            lines += models.lines
    finally:
        source.close()
    return found, rejects, lines


def csv(path: Path, *lines: bytes) -> Path:
    path.write_bytes(b"".join(lines))
    return path


def line(number: int, close: str = "1") -> bytes:
    return f"v,S,1m,2024-03-08T14:{number:02}:00Z,{close}\n".encode()


def test_line_numbers_are_right_after_comments_blank_lines_and_multi_line_values(tmp_path: Path) -> None:
    path = csv(
        tmp_path / "b.csv",
        b"\xef\xbb\xbf# exported yesterday\n\n",
        HEADER,
        line(1),
        b"\r\n",
        b"# a comment\n",
        line(2, "wrong"),
        b'v,"S\n# no comment",1m,2024-03-08T14:03:00Z,1\n',
        b"v,S,1m\n",
        line(4),
        line(5, "wrong"),
    )
    rows, rejects, lines = read(path)
    assert [row.ts.minute for row in rows] == [1, 3, 4]
    assert rows[1].symbol == "S\n# NO COMMENT"
    assert lines == [4, 8, 11]
    assert sorted(number for number, _ in rejects) == [7, 10, 12]
    assert dict(rejects)[10] == "3 values, not 5"


def test_numbers_of_lines_are_right_in_every_block_of_a_large_csv(tmp_path: Path) -> None:
    written = [HEADER]
    expected = []
    for number in range(60_000):
        if number % 10_000 == 7:
            written += [b"# comment\n", line(1, "wrong")]
            expected.append(len(written))
        written.append(line(number % 60, f"{number}.25"))
    rows, rejects, _ = read(csv(tmp_path / "b.csv", *written), rows=7_000)
    assert len(rows) == 60_000
    assert [number for number, _ in rejects] == expected


def test_damaged_rows_at_the_end_of_a_csv_are_always_rejected(tmp_path: Path) -> None:
    path = csv(tmp_path / "b.csv", HEADER, line(1), b"# a comment\n", b"v,S,1m\n", b"v,S,1m,2024-03-08,1,2")
    # PyArrow's thread is sometimes the faster one, and sometimes the slower one.
    for _ in range(100):
        rows, rejects, _lines = read(path, rows=1)
        assert (len(rows), [number for number, _ in rejects]) == (1, [4, 5])


@pytest.mark.parametrize("name", ["b.csv", "b.ndjson"])
def test_a_whole_number_that_a_float_cannot_represent_is_rejected(tmp_path: Path, name: str) -> None:
    values = ("1.5", str(2**53 + 1))
    text = (
        b"".join((b"vendor,symbol,timeframe,ts,volume\n", *(line(at, value) for at, value in enumerate(values, 1))))
        if name.endswith("csv")
        else "".join(
            json.dumps({**BAR, "ts": f"2024-03-0{at}", "volume": 0}).replace('"volume": 0', f'"volume": {value}') + "\n"
            for at, value in enumerate(values, 1)
        ).encode()
    )
    rows, ((number, reason),), _ = read(csv(tmp_path / name, text))
    assert ([row.volume for row in rows], number) == ([1.5], 3 if name.endswith("csv") else 2)
    assert "above 2**53" in reason


def test_a_csv_line_that_is_not_utf_8_is_rejected_and_the_others_are_read(tmp_path: Path) -> None:
    rows, rejects, lines = read(csv(tmp_path / "b.csv", HEADER, line(1), b"v,\xff,1m,2024,1\n", line(2)))
    assert (len(rows), lines) == (2, [2, 4])
    assert rejects == [(3, "not UTF-8 at byte 2")]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", ["b.csv", "b.csv.gz", "b.txt"])
def test_compression_is_detected_from_the_content_rather_than_the_name(tmp_path: Path, name: str, packed: bool) -> None:
    content = HEADER + line(1)
    (tmp_path / name).write_bytes(gzip.compress(content) if packed else content)
    rows, rejects, _ = read(tmp_path / name, form="csv")
    assert (len(rows), rejects) == (1, [])


def test_a_csv_file_with_a_duplicate_column_is_rejected_by_name(tmp_path: Path) -> None:
    with pytest.raises(InvalidRow, match="a column comes twice in the header: ts"):
        read(csv(tmp_path / "b.csv", b"vendor,symbol,ts,ts\n", b"v,S,1,2\n"))


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_another_delimiter_must_be_set_explicitly(tmp_path: Path, delimiter: str) -> None:
    path = csv(tmp_path / "b.csv", (HEADER + line(1) + line(2, '"1"')).replace(b",", delimiter.encode()))
    with pytest.raises(InvalidRow, match=r"the header is one name, 'vendor.*--delimiter"):
        read(path)
    rows, rejects, _ = read(path, Mapping(delimiter=delimiter))
    assert ([row.close_price for row in rows], rejects) == ([1.0, 1.0], [])


def test_a_csv_file_with_only_a_header_has_no_rows_and_an_empty_one_is_an_error(tmp_path: Path) -> None:
    assert read(csv(tmp_path / "b.csv", HEADER)) == ([], [], [])
    with pytest.raises(SourceError, match="the file is empty"):
        read(csv(tmp_path / "c.csv", b"# nothing\n"))


ARRAYS = {
    "on one line": json.dumps([BAR, {**BAR, "close_price": 2}]),
    "pretty": "\n\n" + json.dumps([BAR, {**BAR, "close_price": 2}], indent=2),
    "with a byte order mark": "\ufeff" + json.dumps([BAR, {**BAR, "close_price": 2}]),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_a_json_array_is_read_as_rows(tmp_path: Path, name: str) -> None:
    path = tmp_path / "b.json"
    path.write_text(ARRAYS[name], encoding="utf-8")
    rows, rejects, lines = read(path)
    assert ([row.close_price for row in rows], rejects, lines) == ([1.5, 2.0], [], [1, 2])
    with Source(str(path)) as source:
        (block,) = source.blocks(100)
        assert [number for number, _ in block.lines()] == [1, 2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"a": 1} {"a": 2}]', "damaged after element 1: a comma or ] is missing"),
        ('[{"a": 1}, {"a": ', "damaged after element 1"),
        ('[{"a": 1}] {"a": 2}', "something stands behind the end"),
    ],
)
def test_a_damaged_json_array_is_reported_with_its_element(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "b.json").write_text(text)
    with pytest.raises(SourceError, match=message):
        read(tmp_path / "b.json")
    with Source(str(tmp_path / "b.json")) as source, pytest.raises(SourceError, match=message):
        list(source.blocks(100))


MAPPING = Mapping(
    columns={"ts": "time", "close_price": "Close"},
    constants={"vendor": "acme", "timeframe": "1m"},
    time_unit="ms",
    null_values=frozenset(["", "-"]),
    extra="ignore",
)
RECORDS = [
    {"symbol": "s", "time": 1709908200000, "Close": 1.5, "colour": "red"},
    {"symbol": "t", "time": 1709908260000, "Close": "-", "colour": ""},
    {"symbol": "u", "time": "yesterday", "Close": 1},
    {"symbol": "", "time": 1709908260000, "Close": 1},
]


@pytest.mark.parametrize("form", ["ndjson", "json", "csv", "parquet", "arrow"])
def test_a_mapping_gives_the_same_rows_in_every_format(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"b.{form}"
    text = [{name: str(record.get(name, "")) for name in RECORDS[0]} for record in RECORDS]
    table = pa.Table.from_pylist(text)
    if form == "ndjson":
        path.write_text("".join(json.dumps(record) + "\n" for record in RECORDS))
    elif form == "json":
        path.write_text(json.dumps(RECORDS))
    elif form == "csv":
        path.write_text("\n".join([",".join(RECORDS[0]), *(",".join(values.values()) for values in text)]))
    elif form == "parquet":
        parquet.write_table(table, path)
    else:
        with pa.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table)
    rows, rejects, _ = read(path, MAPPING)
    expected: list[Any] = [
        Bar(vendor="acme", symbol="S", timeframe="1m", ts=datetime(2024, 3, 8, 14, 30, tzinfo=UTC), close_price=1.5),
        Bar(vendor="acme", symbol="T", timeframe="1m", ts=datetime(2024, 3, 8, 14, 31, tzinfo=UTC)),
    ]
    assert rows == expected
    assert [why.partition(":")[0] for _, why in rejects] == ["ts", "symbol"]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"time": [1.5], "x": [1]}, "floating-point"),
        ({"time": ["a"], "x": [1]}, "counts of ms are needed"),
    ],
)
def test_a_table_whose_times_are_not_integer_counts_is_rejected(columns: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRow, match=message):
        Mapping(columns={"ts": "time"}, time_unit="ms", extra="ignore").table(BARS, pa.table(columns))


def test_an_unknown_column_is_an_error_unless_extra_is_ignore() -> None:
    record = {**BAR, "Close": 1}
    strict = Mapping(constants={"vendor": "x"})
    with pytest.raises(InvalidRow, match="Close: bars have no such field"):
        strict.row(BARS, record)
    table = pa.table({name: [value] for name, value in record.items()})
    with pytest.raises(InvalidRow, match="bars have no column Close"):
        frames.Frame(BARS, strict.table(BARS, table))
    with pytest.raises(InvalidRow, match="the column 'close_price' is not read: its field is read from another"):
        Mapping(columns={"close_price": "Close"}).table(BARS, table)
    assert Mapping(constants={"vendor": "x"}, extra="ignore").row(BARS, record) == Bar.model_validate(BAR)


def test_a_mapping_with_an_unknown_field_is_rejected_with_the_known_fields() -> None:
    with pytest.raises(ValueError, match="price: no field of a bar; there are: vendor, symbol"):
        Mapping(columns={"price": "p"}, skip=frozenset(["tenant_id"])).check(BARS)


GERMAN = "Date;Close;Umsatz\n2024-01-02 09:30;1.187,50;1.000.000,25\n2024-07-02 09:30;188,5;-"
HOW: dict[str, Any] = {
    "columns": {"ts": "Date", "close_price": "Close", "volume": "Umsatz"},
    "constants": {"vendor": "v", "symbol": "AAPL", "timeframe": "1d"},
    "delimiter": ";",
    "decimal": ",",
    "thousands": ".",
    "null_values": frozenset("-"),
    "time_zone": "America/New_York",
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "cp1252"])
def test_numbers_times_and_encodings_are_read_as_the_mapping_specifies(tmp_path: Path, encoding: str) -> None:
    text = GERMAN
    mark = "\ufeff" if encoding == "utf-16-le" else ""
    path = csv(tmp_path / "b.csv", (mark + text + "\n").encode(encoding))
    named: dict[str, Any] = {"encoding": encoding} if encoding == "cp1252" else {}
    rows, rejects, lines = read(path, Mapping(**HOW, **named))
    assert (rejects, lines) == ([], [2, 3])
    assert [(row.close_price, row.volume) for row in rows] == [(1187.5, 1_000_000.25), (188.5, None)]
    # New York is five hours behind UTC in winter, and four in summer.
    assert [row.ts.isoformat() for row in rows] == ["2024-01-02T14:30:00+00:00", "2024-07-02T13:30:00+00:00"]


def test_a_mapping_reads_columns_like_single_records(tmp_path: Path) -> None:
    rows = [{"Date": "2024-01-02 09:30", "Close": "1.187,5", "Umsatz": "-"}]
    mapping = Mapping(**HOW)
    record: Any = mapping.row(BARS, rows[0])
    batch = frames.Frame(BARS, mapping.table(BARS, pa.Table.from_pylist(rows)))
    ((_, ts, *rest),) = batch.narrow({("v", "AAPL", "1d"): 1}).rows()
    assert (ts, rest[3], rest[4]) == (record.ts, record.close_price, record.volume)
    naive = pa.table({"Date": pa.array([datetime(2024, 1, 2, 9, 30)]), "Close": [1187.5]})  # noqa: DTZ001
    assert mapping.table(BARS, naive)["ts"].to_pylist() == [record.ts]


VENDORS: dict[str, Any] = {
    "columns": {"ts": "t", "close_price": "c", "volume": "v"},
    "constants": {"vendor": "v", "timeframe": "1d"},
    "extra": "ignore",
}


@pytest.mark.parametrize(
    ("how", "record"),
    [
        ({}, {"t": "2024-01-02T09:30:00Z", "c": 1.5, "v": 7, "symbol": "A", "at": "2024-01-02"}),
        ({"time_zone": "Asia/Tokyo"}, {"t": "2024-01-02 09:30", "c": 1, "symbol": "A", "v": None}),
        ({"time_unit": "ms"}, {"t": 1704187800000, "c": 1.5, "symbol": "A", "note": {"x": [1]}}),
        ({"null_values": frozenset(["-1"])}, {"t": "20240102T093000Z", "c": 1.5, "v": -1, "symbol": "A"}),
        ({"spelling": {"symbol": {"(.+)[.]US": r"\1"}}}, {"t": "2024-01-02", "c": 2, "v": 0.25, "symbol": "A.US"}),
        ({"scale": {"close_price": 0.01}}, {"t": "2024-01-02", "c": 150, "symbol": "A"}),
    ],
    ids=["names", "zone", "unit", "nulls", "spelling", "scale"],
)
def test_mapped_lines_give_the_same_rows_in_columns_as_one_by_one(how: dict[str, Any], record: dict[str, Any]) -> None:
    mapping = Mapping(**VENDORS, **how)
    found = checked(BARS, Block(1, "".join(f"{json.dumps(record)}\n" for _ in range(3)).encode()), mapping)
    assert isinstance(found.batch, frames.Frame)
    one: Any = mapping.row(BARS, record)
    for _, ts, *rest in found.batch.narrow({("v", "A", "1d"): 1}).rows():
        assert (ts, rest[3], rest[4]) == (one.ts, one.close_price, one.volume)


def test_a_text_time_is_rejected_if_the_mapping_sets_a_time_unit() -> None:
    line = json.dumps({"t": "2024-01-02T09:30:00Z", "c": 1, "symbol": "A"}).encode()
    found = checked(BARS, Block(1, line), Mapping(**VENDORS, time_unit="ms"))
    ((number, why, _),) = found.rejects
    assert (number, found.batch, "ts" in why) == (1, None, True)


@pytest.mark.parametrize("time", ["2024-03-10 02:30", "2024-11-03 01:30"])
def test_a_nonexistent_or_ambiguous_local_time_is_rejected_with_its_line(tmp_path: Path, time: str) -> None:
    path = csv(tmp_path / "b.csv", f"Date;Close;Umsatz\n2024-01-02;1;1\n{time};1;1\n".encode())
    rows, rejects, _ = read(path, Mapping(**HOW))
    assert len(rows) == 1
    ((number, why),) = rejects
    assert (number, "exist" in why) == (3, True)


def test_a_file_without_a_header_is_reported_and_can_be_read_with_given_names(tmp_path: Path) -> None:
    path = csv(tmp_path / "b.csv", line(1), line(2, "wrong"), line(3))
    with pytest.raises(InvalidRow, match=r"the first line has no name of a column of bars.*--header"):
        read(path)
    names = ("vendor", "symbol", "timeframe", "ts", "close_price")
    rows, rejects, lines = read(path, Mapping(header=names))
    assert ([row.ts.minute for row in rows], [number for number, _ in rejects], lines) == ([1, 3], [2], [1, 3])


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_json_in_utf_16_is_read(tmp_path: Path, encoding: str) -> None:
    path = csv(tmp_path / "b.ndjson", ("\ufeff" + f"{json.dumps(BAR)}\n" * 2).encode(encoding))
    rows, rejects, _ = read(path)
    assert (len(rows), rejects) == (2, [])


def test_text_in_a_wrong_encoding_is_reported_with_the_file_name(tmp_path: Path) -> None:
    path = csv(tmp_path / "b.csv", b"\xff\xfe" + (HEADER + line(1)).decode().encode("utf-16-le") + b"x")
    with pytest.raises(SourceError, match=r"b\.csv"):
        read(path)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"encoding": "klingon"}, "there is no encoding 'klingon'"),
        ({"encoding": "zlib"}, "there is no encoding 'zlib'"),
        ({"columns": {"ts": "/(/"}}, "is not a regular expression"),
        ({"levels": ("field", "field")}, "levels are field and symbol, each once"),
        ({"levels": ("field", "symbol"), "wide": "close_price"}, "not both"),
        ({"time_unit": "ms", "time_format": "%Y"}, "do not go together"),
        ({"time_zone": "Mars/Phobos"}, "there is no time zone Mars/Phobos"),
        ({"decimal": ",", "thousands": ","}, "cannot stand both"),
        ({"time_unit": "ms", "time_zone": "UTC"}, "has no time zone"),
    ],
)
def test_an_invalid_mapping_is_rejected(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Mapping(**wrong)
