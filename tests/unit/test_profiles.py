"""Vendors' files: each profile with a sample in the vendor's shape, made by us, and the rows that it means."""

import json
import tomllib
from pathlib import Path
from typing import Any, Final

import pytest

from mds_client import KINDS, Bar, ConfigurationError
from mds_client.columns.rows import Rows
from mds_client.errors import InvalidRow
from mds_client.files import Mapping, detected
from mds_client.profiles import mapping_of, profile, profiles

BARS: Final = KINDS["bars"]
VENDORS: Final = Path(__file__).resolve().parent.parent / "vendors"
SAMPLES: Final = sorted(
    path for path in VENDORS.glob("*/*") if path.suffix != ".toml" and ".expected." not in path.name
)


def told(sample: Path) -> Mapping:
    """What the file does not say, and a user has to."""
    path = sample.parent / "told.toml"
    return Mapping(**tomllib.loads(path.read_text(encoding="utf-8"))) if path.exists() else Mapping()


def read(path: Path, known: Mapping) -> tuple[Any, list[Any]]:
    """How a file is read, and its rows: those that are read in columns have to be those that are read one by one."""
    found = detected(None, str(path), None, known)
    source = found.open()
    rows: list[Any] = []
    rejects: list[Any] = []
    try:
        for part in source.parts(1_000, lambda *reject: rejects.append(reject)):
            models = part.sifted(lambda *reject: rejects.append(reject))
            batch = part.batch()
            ids = {name: number for number, name in enumerate(batch.names)}
            assert batch.narrow(ids).rows() == Rows(models.kind, models.rows).narrow(ids).rows()
            rows += models.rows
    finally:
        source.close()
    assert rejects == []
    return found, rows


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: f"{path.parent.name}-{path.suffix[1:]}")
def test_a_vendors_file_is_recognised_and_read(sample: Path) -> None:
    found, rows = read(sample, told(sample))
    assert found.profile.name == sample.parent.name
    expected = sample.with_name(f"{sample.name}.expected.ndjson").read_text(encoding="utf-8").splitlines()
    assert [row.model_dump(mode="json", exclude_none=True) for row in rows] == [json.loads(line) for line in expected]


def test_every_profile_has_a_sample() -> None:
    assert {path.parent.name for path in SAMPLES} == set(profiles())


@pytest.mark.parametrize("name", profiles())
def test_a_profile_uses_only_fields_of_its_kind_and_is_a_valid_mapping(name: str) -> None:
    made = profile(name)
    made.mapping.check(KINDS[made.kind])
    assert mapping_of(name) == made.mapping
    assert made.documentation.startswith("https://")
    assert made.formats


def test_a_missing_profile_and_an_invalid_mapping_file_are_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="there is no profile 'yahoo'; there are: akshare, alpaca"):
        profile("yahoo")
    (tmp_path / "a.toml").write_text("[columns]\nts = 'Date'\nclos = [")
    with pytest.raises(ConfigurationError, match=r"a\.toml is not TOML"):
        profile(str(tmp_path / "a.toml"))
    (tmp_path / "b.toml").write_text("time_unite = 'ms'")
    with pytest.raises(ConfigurationError, match=r"b\.toml: mapping\.time_unite: Extra inputs"):
        profile(str(tmp_path / "b.toml"))


def test_a_package_can_add_a_profile_by_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = tmp_path / "acme-1.dist-info"
    made.mkdir()
    (made / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1\n")
    (made / "entry_points.txt").write_text("[mds_client.profiles]\nacme = acme_profiles:PATH\n")
    (tmp_path / "acme.toml").write_text("title = 'Acme'\nkind = 'bars'\n[mapping.columns]\nts = 'when'\n")
    (tmp_path / "acme_profiles.py").write_text(f"PATH = {str(tmp_path / 'acme.toml')!r}\n")
    monkeypatch.syspath_prepend(tmp_path)
    profiles.cache_clear()
    try:
        assert profile("acme").mapping.columns == {"ts": "when"}
    finally:
        profiles.cache_clear()


@pytest.mark.parametrize(
    "head",
    [
        "date,open,high,low,close,adj close,volume",
        "DATE,OPEN,HIGH,LOW,CLOSE,ADJ CLOSE,VOLUME",
        "Date;Open;High;Low;Close;Adj Close;Volume",
        '\ufeff"Date","Open","High","Low","Close","Adj Close","Volume"',
        "Date, Open, High, Low, Close, Adj Close, Volume",
    ],
)
def test_a_header_is_recognised_in_any_case_and_dialect(tmp_path: Path, head: str) -> None:
    mark = ";" if ";" in head else ","
    lines = [head, mark.join(("2024-01-02 00:00:00-05:00", "1", "3", "1", "2", "2", "100")), "", ""]
    (tmp_path / "a.csv").write_text("\r\n".join(lines), encoding="utf-8")
    found, (row,) = read(tmp_path / "a.csv", Mapping(constants={"symbol": "A", "timeframe": "1d"}))
    assert found.profile.name == "yfinance"
    assert (row.ts.hour, row.symbol, row.close_price, row.volume) == (5, "A", 2.0, 100)


def test_single_letter_and_field_column_names_are_matched_exactly(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("t,T,Volume\n2024-01-02,AAPL,5\n")
    known = Mapping(
        columns={"ts": "t", "symbol": "T"}, constants={"vendor": "v", "timeframe": "1d"}, extra="ignore"
    )  # fmt: skip
    source = detected(BARS, str(tmp_path / "a.csv"), None, known).open()
    (part,) = source.parts(10, lambda *_: None)
    source.close()
    (row,) = part.sifted(lambda *_: None).rows
    assert isinstance(row, Bar)
    assert (row.symbol, row.volume) == ("AAPL", None)
    assert len(part.batch()) == 1


def test_a_file_of_the_wrong_profile_says_which_column_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "AAPL.csv"
    path.write_text("Date,Open,Close\n2024-01-02,1,2\n")
    with pytest.raises(InvalidRow, match=r"AAPL\.csv: its rows have 3 values, and the header 12: open_time, open"):
        detected(BARS, str(path), None, Mapping(), profile("binance"))
    with pytest.raises(InvalidRow, match=r"AAPL\.csv: bars need a column .*ts.*--map ts=…; there are: Date, Open"):
        detected(BARS, str(path), None, Mapping(), profile("polygon"))
