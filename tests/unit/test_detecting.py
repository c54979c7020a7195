"""How a file is written, where nobody says it: what is found, what is asked for, and what a damaged file comes to."""

import gzip
import io
import json
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest

from mds_client import KINDS, InvalidRow
from mds_client.files import Mapping, SourceError, detected, opened

BARS: Final = KINDS["bars"]
SERIES: Final = {"vendor": "v", "symbol": "S", "timeframe": "1m"}
NAMED: Final = Mapping(columns={"ts": "Time", "close_price": "Close"}, constants=SERIES, extra="ignore")


def read(path: Path, told: Mapping = NAMED) -> tuple[list[Any], list[tuple[int, str]], list[str]]:
    """The rows, the rejects, and what was found."""
    found = detected(BARS, str(path), None, told)
    rejects: list[tuple[int, str]] = []

    def reject(number: int, why: str, _: str) -> None:
        rejects.append((number, why))

    source = found.open()
    try:
        rows = [row for part in source.parts(1_000, reject) for row in part.sifted(reject).rows]
    finally:
        source.close()
    return rows, rejects, found.notes


def of_times(path: Path, *times: str) -> Path:
    path.write_text("Time;Close\n" + "".join(f"{time};1.5\n" for time in times))
    return path


BETWEEN: Final = "values stand between ';'"
NOON: Final = datetime(2024, 12, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("written", "more", "note"),
    [
        ("1735646400", {}, "times count s since 1970"),
        ("1735646400000", {}, "times count ms since 1970"),
        ("1735646400000000", {}, "times count us since 1970"),
        ("1735646400000000000", {}, "times count ns since 1970"),
        ("31/12/2024 12:00", {"time_zone": "UTC"}, "times are written as %d/%m/%Y %H:%M"),
        ("12/31/2024 12:00:00 PM", {"time_zone": "UTC"}, "times are written as %m/%d/%Y %I:%M:%S %p"),
        ("2024.12.31 12:00", {"time_zone": "UTC"}, "times are written as %Y.%m.%d %H:%M"),
        ("20241231120000", {"time_zone": "UTC"}, "times are written as %Y%m%d%H%M%S"),
        ("31-Dec-2024 12:00:00", {"time_zone": "UTC"}, "times are written as %d-%b-%Y %H:%M:%S"),
        ("2024-12-31 07:00:00", {"time_zone": "America/New_York"}, "times without a zone are of America/New_York"),
        ("2024-12-31T12:01:00+00:00", {"stamped": "end"}, "values stand between ';'"),
    ],
)
def test_time_formats_are_detected_and_reported(tmp_path: Path, written: str, more: dict[str, Any], note: str) -> None:
    rows, rejects, notes = read(of_times(tmp_path / "a.csv", written), NAMED.but(**more))
    assert ([row.ts for row in rows], rejects) == ([NOON], [])
    assert any(note in one for one in notes), notes


@pytest.mark.parametrize(
    ("times", "said"),
    [
        (("01/02/2024", "03/04/2024"), r"may have the day first or the month.*--time-format '%d/%m/%Y'"),
        (("13/02/2024", "02/13/2024"), "some have the day first and some the month"),
        (("01/02/24",), "the year in '01/02/24' has two digits.*--time-format"),
        (("2024-01-02 09:30",), "name no zone: name it with --time-zone"),
        (("2024-01-02T09:30Z", "2024-01-02 09:31"), "some times name a zone and some do not.*--time-zone"),
        (("12345",), "the times count something.*--time-unit"),
        (("1735646400", "1735646400000"), "count in several units.*--time-unit"),
        (("noon",), "'noon' cannot be read as a time.*--time-format"),
    ],
)
def test_ambiguous_time_formats_are_rejected_with_the_option_to_set(
    tmp_path: Path, times: tuple[str, ...], said: str
) -> None:
    with pytest.raises(InvalidRow, match=rf"a\.csv: ts: .*{said}"):
        read(of_times(tmp_path / "a.csv", *times))


def test_a_time_without_a_zone_is_rejected_if_earlier_times_have_one(tmp_path: Path) -> None:
    times = [f"2024-01-02T{hour:02}:{minute:02}:00Z" for hour in range(20) for minute in range(60)]
    path = of_times(tmp_path / "a.csv", *times, "2024-01-02T23:00:00")
    rows, rejects, _ = read(path)
    assert len(rows) == 1_200
    assert [(number, "names no zone" in why) for number, why in rejects] == [(1_202, True)]


@pytest.mark.parametrize(
    ("text", "close", "notes"),
    [
        (
            "Time;Close\n2024-01-02;1.187,50\n2024-01-03;-\n",
            [1187.5, None],
            [BETWEEN, "no value is written as -", "numbers have a comma before the fraction, such as 1.187,50"],
        ),
        (
            "Time;Close\n2024-01-02;1,234,567.5\n",
            [1234567.5],
            [BETWEEN, "numbers have commas between the thousands, such as 1,234,567.5"],
        ),
        ("Exported by Acme\nall rights\nTime,Close\n2024-01-02,1.5\n", [1.5], ["the first 2 lines are no rows"]),
    ],
)
def test_csv_dialect_and_number_format_are_detected_and_reported(
    tmp_path: Path, text: str, close: list[float | None], notes: list[str]
) -> None:
    (tmp_path / "a.csv").write_text(text)
    rows, rejects, said = read(tmp_path / "a.csv")
    assert ([row.close_price for row in rows], rejects) == (close, [])
    assert said[:-1] == notes


def test_an_ambiguous_decimal_comma_is_rejected_with_the_option_to_set(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("Time;Close\n2024-01-02;1,234\n")
    with pytest.raises(InvalidRow, match=r"may stand before the fraction or between thousands.*--decimal"):
        read(tmp_path / "a.csv")
    rows, _, _ = read(tmp_path / "a.csv", NAMED.but(decimal=","))
    assert rows[0].close_price == 1.234


def test_a_table_with_one_column_per_symbol_can_be_read_in_every_format(tmp_path: Path) -> None:
    wide = Mapping(columns={"ts": "Time"}, wide="close_price", constants={"vendor": "v", "timeframe": "1d"})
    (tmp_path / "a.csv").write_text("Time,AAPL,MSFT\n2024-01-02,1,2\n2024-01-03,,3\n2024-01-04,x,4\n")
    rows, rejects, _ = read(tmp_path / "a.csv", wide)
    expected = {("AAPL", 2): 1, ("MSFT", 2): 2, ("MSFT", 3): 3, ("MSFT", 4): 4}
    assert {(row.symbol, row.ts.day): row.close_price for row in rows} == expected
    assert [number for number, _ in rejects] == [4]
    lines = [{"Time": "2024-01-02", "AAPL": 1, "MSFT": 2}, {"Time": "2024-01-03", "AAPL": None, "MSFT": 3}]
    (tmp_path / "a.ndjson").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    rows, _, _ = read(tmp_path / "a.ndjson", wide)
    assert [(row.symbol, row.ts.day, row.close_price) for row in rows] == [
        ("AAPL", 2, 1),
        ("MSFT", 2, 2),
        ("MSFT", 3, 3),
    ]


def test_a_mapping_can_use_patterns_positions_and_the_file_name(tmp_path: Path) -> None:
    path = tmp_path / "brk.b_5min.csv"
    path.write_text("'2024-01-02 09:30';'1.5'\n")
    how = Mapping(
        header=("t", "c"), quote="'", delimiter=";", time_zone="UTC", constants={"vendor": "v"},
        columns={"ts": 0, "close_price": "/c|close/"}, file_name=r"(?P<symbol>.+)_(?P<timeframe>.+)[.]csv",
        spelling={"symbol": {r"(.+)[.](.)": r"\1-\2"}},
    )  # fmt: skip
    rows, _, _ = read(path, how)
    assert [(row.symbol, row.timeframe, row.close_price) for row in rows] == [("BRK-B", "5m", 1.5)]


def test_a_repeated_header_is_rejected_and_a_changed_header_stops_the_file(tmp_path: Path) -> None:
    text = "Time,Close,Open\n2024-01-02,1,2\nTime,Close,Open\n2024-01-03,1,2\n"
    (tmp_path / "a.csv").write_text(text)
    rows, rejects, _ = read(tmp_path / "a.csv")
    assert (len(rows), [number for number, _ in rejects]) == (2, [3])
    (tmp_path / "b.csv").write_text(f"{text}Time,Open,Close\n2024-01-04,1,2\n")
    with pytest.raises(SourceError, match=r"b\.csv: line 5: another header: the columns change here"):
        read(tmp_path / "b.csv")


def zipped(path: Path, **files: str) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(f"{name}.csv", text)
    return path


def test_files_in_a_zip_archive_can_be_read(tmp_path: Path) -> None:
    text = "Time,Close\n2024-01-02,1.5\n"
    assert len(read(zipped(tmp_path / "one.zip", a=text))[0]) == 1
    two = zipped(tmp_path / "two.zip", a=text, b=text + "2024-01-03,2\n")
    assert len(read(two / "b.csv")[0]) == 2
    with pytest.raises(SourceError, match=r"two\.zip: the archive has 2 files, name one of them.*a\.csv, b\.csv"):
        read(two)


def test_a_zip_bomb_and_a_truncated_gzip_file_are_rejected(tmp_path: Path) -> None:
    bomb = zipped(tmp_path / "bomb.zip", a="Time,Close\n2024-01-02,1.5\n" + ("2" * 65_535 + "\n") * 1_200)
    with pytest.raises(SourceError, match=r"bomb\.zip: .*it unpacks to more than 500 times its size"):
        read(bomb)
    line = "2024-01-02,1.5\n"
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(b"Time,Close\n" + line.encode() * 9)[:-12])
    with pytest.raises(SourceError, match=r"cut\.csv\.gz: damaged"):
        read(tmp_path / "cut.csv.gz")


def test_a_json_document_is_read_from_the_path_in_its_mapping(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"data": {"S": [{"Time": "2024-01-02", "Close": 1.5}]}, "info": {"tz": "Asia/Tokyo"}}))
    with pytest.raises(InvalidRow, match="a JSON document with the keys data, info"):
        read(path, Mapping(constants=SERIES))
    how = NAMED.but(rows=("data", "{symbol}"), document={"time_zone": ("info", "tz")})
    rows, _, _ = read(path, how)
    assert [row.ts for row in rows] == [datetime(2024, 1, 1, 15, tzinfo=UTC)]
    with pytest.raises(InvalidRow, match="the document has no key bars, it is"):
        read(path, how.but(rows=("bars",)))


SHEET: Final = (
    '<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>'
    '<row r="1"><c r="A1" t="inlineStr"><is><t>Time</t></is></c><c r="B1" t="inlineStr"><is><t>Close</t></is></c></row>'
    '<row r="2"><c r="A2" t="inlineStr"><is><t>2024-12-31</t></is></c><c r="B2"><v>1.5</v></c></row>'
    "</sheetData></worksheet>"
)
BOOK: Final = {
    "[Content_Types].xml": '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Override PartName="/xl/workbook.xml"'
    ' ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/></Types>',
    "_rels/.rels": '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
    '<Relationship Id="r1" Target="xl/workbook.xml"'
    ' Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument"/></Relationships>',
    "xl/_rels/workbook.xml.rels": '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
    '<Relationship Id="r1" Target="worksheets/sheet1.xml"'
    ' Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/worksheet"/></Relationships>',
    "xl/workbook.xml": '<workbook xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    ' xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"><sheets>'
    '<sheet name="Prices" sheetId="1" r:id="r1"/></sheets></workbook>',
    "xl/worksheets/sheet1.xml": SHEET,
}
"""The least that a workbook has: of a library that writes them the tests need nothing else."""


def test_a_sheet_of_a_workbook_is_read(tmp_path: Path) -> None:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, text in BOOK.items():
            archive.writestr(name, text)
    (tmp_path / "a.xlsx").write_bytes(data.getvalue())
    rows, rejects, _ = read(tmp_path / "a.xlsx", NAMED.but(sheet="Prices"))
    assert ([(row.ts.day, row.close_price) for row in rows], rejects) == ([(31, 1.5)], [])
    with pytest.raises(SourceError, match=r"a\.xlsx: .*Volumes"):
        read(tmp_path / "a.xlsx", NAMED.but(sheet="Volumes"))
    (tmp_path / "b.xlsx").write_bytes(b"PK\x03\x04 damaged")
    with pytest.raises(SourceError, match=r"b\.xlsx: "):
        read(tmp_path / "b.xlsx")


def test_a_damaged_dbn_file_is_reported(tmp_path: Path) -> None:
    whole = (Path(__file__).resolve().parent.parent / "vendors/databento/aapl.dbn").read_bytes()
    (tmp_path / "a.dbn").write_bytes(whole[:-10])
    with pytest.raises(SourceError, match=r"a\.dbn: the DBN ends in the middle of a record"):
        opened_rows(tmp_path / "a.dbn")
    (tmp_path / "b.dbn").write_bytes(b"")
    with pytest.raises(SourceError, match=r"b\.dbn is empty"):
        opened_rows(tmp_path / "b.dbn")


def test_a_dbn_file_with_records_of_another_schema_is_reported(tmp_path: Path) -> None:
    vendors = Path(__file__).resolve().parent.parent / "vendors"
    bars, definitions = (vendors / name for name in ("databento/aapl.dbn", "databento-definition/day.dbn"))
    size = 8 + int.from_bytes(definitions.read_bytes()[4:8], "little")
    # A definition behind bars: the length of the metadata is in the file's second word.
    (tmp_path / "a.dbn").write_bytes(bars.read_bytes() + definitions.read_bytes()[size:])
    with pytest.raises(SourceError, match=r"it holds InstrumentDefMsg: only files of one of the schemas ohlcv-…"):
        opened_rows(tmp_path / "a.dbn")


def opened_rows(path: Path) -> list[Any]:
    return list(opened(BARS, str(path)).parts(10, lambda *_: None))
