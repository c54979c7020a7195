"""Sources: what they give, from every format and way of paging, what they are allowed, and what they say is wrong."""

import gzip
import json
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from datastore import sources
from datastore.config import Settings
from datastore.sources import Malformed, Other, SourceError, SourceUnavailable, Span
from mds_client import Bar
from tests.control.http_source import Service, at, minutes, serving

START, END = "2024-03-08T14:30", "2024-03-08T14:40"
STAMPS = minutes(START, END)


def span(symbol: str = "S", start: str = START, end: str = END) -> Span:
    return Span("v", symbol, "1m", at(start), at(end))


def fetched(spec: dict[str, Any], settings: Settings, *spans: Span) -> tuple[list[Bar], list[Malformed]]:
    """All that a source gives, frames as rows."""
    bars: list[Bar] = []
    malformed: list[Malformed] = []
    for batch in sources.make(spec, settings).fetch(spans or [span()]):
        rows: Sequence[Any] = batch if isinstance(batch, Sequence) else pa.table(batch).to_pylist()
        for row in rows:
            if isinstance(row, Malformed):
                malformed.append(row)
            elif not isinstance(row, Other):
                bars.append(row if isinstance(row, Bar) else Bar.model_validate(row))
    return bars, malformed


# Files ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


def records(symbol: str = "S") -> list[dict[str, Any]]:
    return [
        {"vendor": "v", "symbol": symbol, "timeframe": "1m", "ts": ts.isoformat(), "close_price": 1.5, "volume": number}
        for number, ts in enumerate([*STAMPS, at("2024-03-08T15:00")])
    ]


def ndjson(*symbols: str) -> bytes:
    return "".join(json.dumps(record) + "\n" for symbol in symbols for record in records(symbol)).encode()


def csv(*symbols: str) -> bytes:
    names = list(records()[0])
    lines = [",".join(names), *(",".join(str(r[n]) for n in names) for symbol in symbols for r in records(symbol))]
    return "\n".join(lines).encode()


def write_parquet(path: Path, *symbols: str, ts: pa.DataType | None = None) -> None:
    rows = [record for symbol in symbols for record in records(symbol)]
    table = pa.Table.from_pylist(rows)
    if ts is not None:
        stamps = pa.array([at(row["ts"].removesuffix("+00:00")) for row in rows], pa.timestamp("us", "UTC"))
        table = table.set_column(table.schema.get_field_index("ts"), "ts", stamps.cast(ts))
    pq.write_table(table, path)


@pytest.mark.parametrize(
    "name",
    [
        "b.ndjson",
        "b.jsonl",
        "b.ndjson.gz",
        "b.ndjson.zst",
        "b.csv",
        "b.csv.gz",
        "b.parquet",
        "text.parquet",
        "ns.parquet",
    ],
)
def test_every_file_format_yields_only_the_requested_bars(root: Path, name: str) -> None:
    path = root / name
    if name.endswith(".parquet"):
        types = {"b.parquet": pa.timestamp("us", "UTC"), "ns.parquet": pa.timestamp("ns"), "text.parquet": None}
        write_parquet(path, "S", "T", "U", ts=types[name])
    else:
        text = csv("S", "T", "U") if "csv" in name else ndjson("S", "T", "U")
        pack: dict[str, Callable[[bytes], bytes]] = {
            ".gz": gzip.compress,
            ".zst": partial(pa.compress, codec="zstd", asbytes=True),
        }
        path.write_bytes(pack[path.suffix](text) if path.suffix in pack else text)
    spec = {"type": "files", "path": f"*.{name.split('.', 1)[1]}"}
    bars, malformed = fetched(spec, Settings(source_root=root), span("S"), span("T", end="2024-03-08T14:32"))
    assert malformed == []
    assert [(bar.symbol, bar.ts) for bar in bars] == [("S", ts) for ts in STAMPS] + [("T", ts) for ts in STAMPS[:2]]
    assert [bar.volume for bar in bars] == [*range(10), 0, 1]


def test_columns_with_other_names_and_time_units_are_mapped(root: Path) -> None:
    (root / "S").mkdir()
    (root / "S" / "day.csv").write_text("when,last,note\n1709908200000,2.5,x\n1709908260000,,y\n")
    spec = {"type": "files", "path": "{symbol}/*.csv", "columns": {"ts": "when", "close_price": "last"},
            "time_unit": "ms"}  # fmt: skip
    bars, malformed = fetched(spec, Settings(source_root=root), span("S"), span("T"))
    assert malformed == []
    assert [(bar.vendor, bar.symbol, bar.timeframe, bar.ts, bar.close_price) for bar in bars] == [
        ("v", "S", "1m", at("2024-03-08T14:30"), 2.5),
        ("v", "S", "1m", at("2024-03-08T14:31"), None),
    ]


def test_invalid_records_of_a_file_are_reported_with_their_line_and_others_are_read(root: Path) -> None:
    good = json.dumps(records()[0])
    lines = [good, "{broken", '{"vendor": "v"}', "[1]", good.replace("1.5", '"dear"'), json.dumps(records()[1])]
    (root / "b.ndjson").write_text("\n".join(lines))
    bars, malformed = fetched({"type": "files", "path": "b.ndjson"}, Settings(source_root=root))
    assert [bar.ts for bar in bars] == STAMPS[:2]
    assert [one.where for one in malformed] == [f"b.ndjson, line {number}" for number in (2, 3, 4, 5)]
    assert "invalid JSON" in malformed[0].why
    assert "symbol" in malformed[1].why
    assert "close_price" in malformed[3].why


@pytest.mark.parametrize("name", ["b.*", "{symbol}.*"])
def test_parquet_and_ndjson_yield_the_same_bars_and_rejects(root: Path, name: str) -> None:
    """What is not quite as it is stored is either taken or named, and never left out without a word."""
    changes: list[dict[str, Any]] = [
        {}, {"vendor": " v\t"}, {"symbol": " s"}, {"timeframe": "1m "}, {"vendor": None}, {"timeframe": ""},
        {"symbol": None}, {"symbol": "  "}, {"vendor": " "}, {"ts": None}, {"ts": None, "symbol": "T"},
        {"vendor": "w"}, {"symbol": "T"},
    ]  # fmt: skip
    rows = [
        {**records()[0], "ts": at(START) + timedelta(minutes=number), **change} for number, change in enumerate(changes)
    ]
    read = {}
    for suffix in ("ndjson", "parquet"):
        for path in root.iterdir():
            path.unlink()
        path = root / f"{'S' if 'symbol' in name else 'b'}.{suffix}"
        if suffix == "parquet":
            pq.write_table(pa.Table.from_pylist(rows), path)
        else:
            path.write_text("\n".join(json.dumps(row, default=str) for row in rows))
        wide = span("S", end="2024-03-08T15:30")
        bars, malformed = fetched(
            {"type": "files", "path": name.replace("*", suffix)}, Settings(source_root=root), wide
        )
        assert {one.whole for one in malformed} == {path.name}
        read[suffix] = ([bar.model_dump() for bar in bars], sorted(one.why for one in malformed))
    assert read["parquet"] == read["ndjson"]
    bars_of, why = read["parquet"]
    assert (len(bars_of), len(why)) == ((7, 4) if "symbol" in name else (6, 5))


def test_file_errors_show_only_the_path_relative_to_the_source_folder(root: Path) -> None:
    (root / "x").mkdir()
    (root / "x" / "a.ndjson.gz").write_bytes(gzip.compress(ndjson("S"))[:-20])
    (root / "x" / "b ü%20#?.parquet").write_bytes(b"PAR1 and no more")
    for path in ("x/*.ndjson.gz", "x/*.parquet"):
        with pytest.raises(SourceUnavailable) as failed:
            fetched({"type": "files", "path": path}, Settings(source_root=root))
        assert "x/" in str(failed.value)
        assert str(root) not in str(failed.value)


def test_vendor_files_are_read_by_a_profile_with_a_symbol_in_either_case(root: Path) -> None:
    settings = Settings(source_root=root)
    minutes_ = "03/08/2024,09:30,1,2,1,1.5,7\n03/08/2024,09:31,1,2,1,1.5,8\n"
    (root / "s_1m.csv").write_text(minutes_)
    spec = {"type": "files", "path": "{symbol}_{timeframe}.csv", "profile": "kibot-intraday"}
    bars, malformed = fetched(spec, settings)
    # Half past nine in New York.
    assert [(bar.vendor, bar.symbol, bar.ts, bar.volume) for bar in bars] == [
        ("v", "S", at("2024-03-08T14:30"), 7),
        ("v", "S", at("2024-03-08T14:31"), 8),
    ]
    assert malformed == []
    (root / "S_1m.csv").write_text(minutes_.splitlines(keepends=True)[0])
    assert len(fetched(spec, settings)[0]) == 1
    with pytest.raises(SourceUnavailable, match=r"no file matches 'T_1m\.csv', also not with the symbol in other"):
        fetched(spec, settings, span("T"))


def test_a_source_mapping_can_read_a_table_with_one_column_per_symbol(root: Path) -> None:
    times = pa.array(["2024-03-08 09:30", "2024-03-08 09:31"])
    pq.write_table(pa.table({"Time": times, "S": [1.0, 2.0], "T": [3.0, None]}), root / "b.parquet")
    mapping = {"columns": {"ts": "Time"}, "wide": "close_price", "time_zone": "America/New_York"}
    spec = {"type": "files", "path": "b.parquet", "mapping": mapping}
    bars, malformed = fetched(spec, Settings(source_root=root), span("S"), span("T"))
    assert sorted((bar.symbol, bar.close_price) for bar in bars) == [("S", 1.0), ("S", 2.0), ("T", 3.0)]
    assert malformed == []
    for pattern in ({"mapping": {**mapping, "file_name": "(a+)+b"}}, {"columns": {"ts": "/(a+)+b/"}}):
        with pytest.raises(SourceError, match="regular expressions are not allowed here"):
            sources.make({**spec, **pattern}, Settings(source_root=root))
    with pytest.raises(SourceError, match=r"profile: there is no profile '/etc/x.toml'"):
        sources.make({**spec, "profile": "/etc/x.toml"}, Settings(source_root=root))


def test_a_missing_or_damaged_file_raises_source_unavailable_with_its_name(root: Path) -> None:
    settings = Settings(source_root=root)
    with pytest.raises(SourceUnavailable, match=r"no file matches 'x/\*.csv'"):
        fetched({"type": "files", "path": "x/*.csv"}, settings)
    (root / "b.ndjson.gz").write_bytes(gzip.compress(ndjson("S"))[:-20])
    with pytest.raises(SourceUnavailable, match=r"b.ndjson.gz: .*damaged"):
        fetched({"type": "files", "path": "b.ndjson.gz"}, settings)
    (root / "b.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(SourceUnavailable, match=r"b.parquet: "):
        fetched({"type": "files", "path": "b.parquet"}, settings)
    with pytest.raises(SourceUnavailable, match="DATASTORE_SOURCE_ROOT does not exist"):
        fetched({"type": "files", "path": "b.csv"}, Settings(source_root=root / "gone"))


def test_files_outside_the_source_folder_are_not_read(root: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.csv").write_bytes(csv("S"))
    (root / "link.csv").symlink_to(tmp_path / "secret.csv")
    settings = Settings(source_root=root)
    for path in ("../secret.csv", str(tmp_path / "secret.csv"), "a/../../secret.csv", "{vendor}/../../*.csv"):
        with pytest.raises(SourceError, match="must be a relative pattern within the folder"):
            sources.make({"type": "files", "path": path}, settings)
    with pytest.raises(SourceUnavailable, match=r"link.csv is outside of DATASTORE_SOURCE_ROOT"):
        fetched({"type": "files", "path": "*.csv"}, settings)
    with pytest.raises(ValueError, match="must be a relative pattern within the folder"):
        fetched({"type": "files", "path": "{symbol}/secret.csv"}, settings, span(".."))


@pytest.mark.parametrize("suffix", ["ndjson", "csv", "parquet", "text.parquet"])
def test_files_without_requested_bars_report_their_content(root: Path, suffix: str) -> None:
    path = root / f"b.{suffix}"
    if "parquet" in suffix:
        write_parquet(path, "s", "T", ts=None if "text" in suffix else pa.timestamp("ns", "UTC"))
    else:
        path.write_bytes((csv if suffix == "csv" else ndjson)("s", "T"))
    (root / "c.csv").write_bytes(csv("T"))
    source = sources.make({"type": "files", "path": f"*.{suffix}"}, Settings(source_root=root))

    def others(*spans: Span) -> list[Other]:
        return [
            one for batch in source.fetch(spans) if isinstance(batch, list) for one in batch if isinstance(one, Other)
        ]

    rows = len(records())
    last = at("2024-03-08T15:00")
    twice = 2 if suffix == "csv" else 1
    assert others(span("S", "2025-01-01", "2025-02-01")) == [
        Other("v", "S", "1m", STAMPS[0], last, rows),
        Other("v", "T", "1m", STAMPS[0], last, rows * twice),
    ]
    assert others(span("S"), span("U")) == []


# HTTP -----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def service() -> Iterator[Service]:
    with serving(stamps=STAMPS) as running:
        yield running


def allowed(service: Service, *secrets: str) -> Settings:
    return Settings(source_urls=(" ".join((service.root, *secrets)),))


def test_an_http_source_is_requested_once_per_span(service: Service) -> None:
    bars, malformed = fetched(service.spec(), allowed(service), span("S", end="2024-03-08T14:32"), span("BRK/B ?"))
    assert malformed == []
    assert [(bar.symbol, bar.ts, bar.close_price) for bar in bars[:3]] == [
        ("S", STAMPS[0], 1.5),
        ("S", STAMPS[1], 1.5),
        ("BRK/B ?", STAMPS[0], 1.5),
    ]
    assert len(bars) == 12
    assert [path for path, *_ in service.asked] == ["/v1/bars/S", "/v1/bars/BRK%2FB%20%3F"]
    assert service.asked[0][1] == {"from": "2024-03-08T14:30:00Z", "to": "2024-03-08T14:32:00Z"}


@pytest.mark.parametrize(
    ("paging", "requests"),
    [({"by": "link", "at": "next"}, 4), ({"by": "cursor", "at": "mark", "param": "offset"}, 4),
     ({"by": "page", "param": "page"}, 5)],
)  # fmt: skip
def test_every_paging_style_yields_every_bar_once(service: Service, paging: dict[str, str], requests: int) -> None:
    service.page = 3
    bars, _ = fetched(service.spec(paging=paging), allowed(service))
    assert [bar.ts for bar in bars] == STAMPS
    assert len(service.asked) == requests


def test_records_may_be_lists_with_numeric_times(service: Service) -> None:
    service.answer = lambda _symbol, _query: [[1709908200, 1, 3, 0.5, 2, 7], [1709908260]]
    columns = {"ts": 0, "open_price": 1, "high_price": 2, "low_price": 3, "close_price": 4, "volume": -1}
    bars, malformed = fetched(service.spec(rows="", columns=columns, time_unit="s"), allowed(service))
    assert (bars[0].ts, bars[0].high_price, bars[0].volume) == (STAMPS[0], 3.0, 7)
    assert len(bars) + len(malformed) == 2


def test_a_vendor_http_api_is_read_by_its_profile(service: Service) -> None:
    bar = {"t": "2024-03-08T14:30:00Z", "o": 1, "h": 2, "l": 1, "c": 1.5, "v": 7, "n": 3, "vw": 1.4}
    service.answer = lambda *_: {"bars": {"S": [bar]}, "next_page_token": None}
    spec = {"type": "http", "url": f"{service.root}bars", "profile": "alpaca"}
    bars, malformed = fetched(spec, allowed(service))
    assert ([(bar.vendor, bar.symbol, bar.vwap, bar.trade_count) for bar in bars], malformed) == (
        [("v", "S", 1.4, 3)],
        [],
    )
    service.answer = lambda *_: {"message": "forbidden."}
    with pytest.raises(SourceUnavailable, match="the document has no key bars, it is"):
        fetched(spec, allowed(service))


def test_transient_http_errors_are_retried_and_retry_after_is_honoured(service: Service) -> None:
    service.faults = [(500, {}), (429, {"Retry-After": "1"}), (503, {})]
    began = time.monotonic()
    bars, _ = fetched(service.spec(), allowed(service))
    assert [bar.ts for bar in bars] == STAMPS
    assert len(service.asked) == 4
    assert time.monotonic() - began >= 1.0


@pytest.mark.parametrize(
    ("fault", "requests", "message"),
    [
        ((500, {}), 3, "answered 500"),
        ((404, {}), 1, "answered 404"),
        ((429, {"Retry-After": "86400"}), 1, "answered 429"),
        ((302, {"Location": "http://127.0.0.1:1/x?k=1#k"}), 1, "a redirect to http://127.0.0.1:1/x is not followed"),
    ],
)
def test_permanent_http_errors_raise_source_unavailable(
    service: Service, fault: tuple[int, dict[str, str]], requests: int, message: str
) -> None:
    service.faults = [fault] * 5
    with pytest.raises(SourceUnavailable, match=message):
        fetched(service.spec(attempts=3), allowed(service))
    assert len(service.asked) == requests


def test_an_unreachable_http_source_raises_source_unavailable() -> None:
    with serving() as service:
        spec, settings = service.spec(attempts=2), allowed(service)
    with pytest.raises(SourceUnavailable, match="ConnectError"):
        fetched(spec, settings)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"<html>", "the answer is not JSON"),
        (b"[" * 100_000, "the JSON of the answer is nested too deeply"),
        ({"data": {"bars": {"t": 1}}}, "'data.bars' is not a list of rows"),
        ({"error": "no such symbol"}, "S, page 1: the answer has no 'data.bars'"),
        ({"data": {}}, "S, page 1: the answer has no 'data.bars'"),
    ],
)
def test_an_invalid_response_raises_source_unavailable(service: Service, answer: Any, message: str) -> None:
    service.answer = lambda _symbol, _query: answer
    with pytest.raises(SourceUnavailable, match=message):
        fetched(service.spec(), allowed(service))


@pytest.mark.parametrize("answer", [{"data": {"bars": []}}, {"data": {"bars": None}}, {"data": None}])
def test_an_empty_response_yields_no_rows(service: Service, answer: Any) -> None:
    service.answer = lambda _symbol, _query: answer
    assert fetched(service.spec(), allowed(service)) == ([], [])


def test_a_page_that_links_to_itself_ends_the_paging_and_a_cycle_is_an_error(service: Service) -> None:
    rows = {"data": {"bars": [{"t": STAMPS[0].isoformat(), "c": 1}]}}
    spec = service.spec(paging={"by": "link", "at": "next"})
    service.answer = lambda _symbol, _query: rows | {"next": "/v1/bars/S?page=1"}
    bars, _ = fetched(spec, allowed(service))
    assert [bar.ts for bar in bars] == STAMPS[:1] * 2
    assert len(service.asked) == 2
    service.answer = lambda symbol, _query: rows | {"next": f"/v1/bars/{'T' if symbol == 'S' else 'S'}?page=1"}
    with pytest.raises(SourceUnavailable, match="S, page 3: the next page has already been read"):
        fetched(spec, allowed(service))
    assert len(service.asked) == 2 + 3


def test_a_record_that_is_nested_too_deeply_is_rejected(root: Path, service: Service) -> None:
    (root / "b.ndjson").write_text('{"a":' + "[" * 100_000 + "\n")
    _, (malformed,) = fetched({"type": "files", "path": "b.ndjson"}, Settings(source_root=root))
    assert malformed.where == "b.ndjson, line 1"
    assert "invalid JSON: recursion limit exceeded" in malformed.why


def test_invalid_rows_of_a_response_are_reported_with_page_and_row(service: Service) -> None:
    good = {"t": STAMPS[0].isoformat(), "c": 1}
    service.answer = lambda _symbol, _query: {"data": {"bars": [good, {"t": "soon"}, 7, {**good, "c": "NaN"}]}}
    bars, malformed = fetched(service.spec(), allowed(service))
    assert [bar.ts for bar in bars] == [STAMPS[0]]
    assert [one.where for one in malformed] == [f"S, page 1, row {number}" for number in (2, 3, 4)]


def test_requests_respect_the_rate_limit(service: Service) -> None:
    service.page = 2
    spec = service.spec(paging={"by": "link", "at": "next"}, requests_per_second=20)
    began = time.monotonic()
    fetched(spec, allowed(service))
    assert len(service.asked) == 5
    assert time.monotonic() - began >= 4 / 20


def test_secrets_come_from_the_environment_and_appear_in_no_setting_or_message(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATASTORE_SECRET_ACME", "Bearer hidden")
    monkeypatch.setenv("DATASTORE_SECRET_KEY", "hidden too")
    spec = service.spec(secret_headers={"Authorization": "DATASTORE_SECRET_ACME"},
                        secret_params={"apikey": "DATASTORE_SECRET_KEY"})  # fmt: skip
    settings = allowed(service, "DATASTORE_SECRET_ACME", "DATASTORE_SECRET_KEY")
    fetched(spec, settings)
    (_, query, headers) = service.asked[0]
    assert (headers["authorization"], query["apikey"]) == ("Bearer hidden", "hidden too")
    source = sources.make(spec, settings)
    # Whoever answers may repeat them, as they are or as in a URL, in any case.
    for fault in ((404, {}), (302, {"Location": "/hidden%20too/?key=hidden+too"}), (302, {"Location": "HIDDEN"})):
        service.faults = [fault]
        with pytest.raises(SourceUnavailable) as failed:
            list(source.fetch([span()]))
        assert "hidden" not in f"{source!r} {failed.value} {failed.value.__cause__}".lower()
    service.answer = lambda _symbol, _query: {"data": {"bars": [{"t": "at hidden too", "c": 1}]}}
    _, (malformed,) = fetched(spec, settings)
    assert "at ***" in malformed.why


def test_retry_logs_contain_no_secret(
    service: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("DATASTORE_SECRET_KEY", "hidden")
    service.faults = [(500, {})]
    fetched(service.spec(secret_params={"apikey": "DATASTORE_SECRET_KEY"}), allowed(service, "DATASTORE_SECRET_KEY"))
    (retried,) = (record for record in caplog.records if record.name == "stamina")
    assert "answered 500" in str(vars(retried))
    assert "hidden" not in str(vars(retried))


def test_a_secret_is_sent_only_to_the_urls_the_operator_allows(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATASTORE_SECRET_ACME", "hidden")
    monkeypatch.setenv("DATASTORE_SECRET_OTHER", "hidden too")
    both = {
        "secret_headers": {"X-Api-Key": "DATASTORE_SECRET_ACME"},
        "secret_params": {"key": "DATASTORE_SECRET_OTHER"},
    }
    for secrets, kept in (
        ((), "DATASTORE_SECRET_ACME, DATASTORE_SECRET_OTHER"),
        (("DATASTORE_SECRET_ACME",), "DATASTORE_SECRET_OTHER"),
    ):
        with pytest.raises(SourceError, match=rf"DATASTORE_SOURCE_URLS does not allow {kept} at {service.root}"):
            sources.make(service.spec(**both), allowed(service, *secrets))
    # Nor does a service lead to another one that is allowed, with the secret that is its own.
    elsewhere = f"{service.url}/v2/more"
    here, there = f"{service.root} DATASTORE_SECRET_ACME", f"{service.url}/v2 DATASTORE_SECRET_OTHER"
    service.answer = lambda _symbol, _query: {"data": {"bars": []}, "next": elsewhere}
    spec = service.spec(paging={"by": "link", "at": "next"}, secret_headers={"X-Api-Key": "DATASTORE_SECRET_ACME"})
    with pytest.raises(SourceUnavailable, match=f"does not allow DATASTORE_SECRET_ACME at {elsewhere}"):
        fetched(spec, Settings(source_urls=(here, there)))
    assert len(service.asked) == 1
    # What is said in several places holds together.
    fetched(service.spec(**both), Settings(source_urls=(here, f"{service.url} DATASTORE_SECRET_OTHER")))
    assert len(service.asked) == 2


def test_an_invalid_secret_name_after_a_url_is_rejected_without_repeating_it(service: Service) -> None:
    with pytest.raises(SourceError, match="a URL is followed only by names of variables that begin with") as refused:
        sources.make(service.spec(), allowed(service, "hunter2"))
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"headers": {"X-Note": "gr\u00fcn"}}, "headers: X-Note: the value cannot be sent in a header"),
        ({"headers": {"X-Note": "a\nX: b"}}, "headers: X-Note: the value cannot be sent in a header"),
        ({"headers": {"X-Note": " a"}}, "headers: X-Note: the value cannot be sent in a header"),
        ({"headers": {"X Note": "a"}}, "headers: 'X Note' is not a valid name of a header"),
        ({"headers": {"": "a"}}, "headers: '' is not a valid name of a header"),
        ({"headers": {"hOST": "other"}}, "headers: hOST: remove this header, because the url names the host"),
        (
            {"secret_headers": {"X-Api-Key": "DATASTORE_SECRET_KEY"}},
            "secret_headers.X-Api-Key: the value cannot be sent",
        ),
    ],
)
def test_a_source_with_an_invalid_header_is_rejected(
    service: Service, monkeypatch: pytest.MonkeyPatch, spec: dict[str, Any], message: str
) -> None:
    monkeypatch.setenv("DATASTORE_SECRET_KEY", "hidden\n")
    with pytest.raises(SourceError, match=message) as refused:
        sources.make(service.spec(**spec), allowed(service, "DATASTORE_SECRET_KEY"))
    assert "hidden" not in str(refused.value)


def test_only_urls_that_the_operator_allows_are_requested(service: Service) -> None:
    settings = allowed(service)
    for url in (
        f"{service.url}/v2/bars",
        f"{service.url}/v1x",
        f"{service.root}../v2",
        f"{service.root}%2e%2e/v2",
        f"{service.url}@127.0.0.1:1/v1/",
        "http://127.0.0.1:1/v1/",
        "file:///etc/passwd",
        "https://{symbol}/v1/",
    ):
        with pytest.raises(
            SourceError, match=r"DATASTORE_SOURCE_URLS does not allow|must not contain|must begin with http"
        ):
            sources.make(service.spec(url=url), settings)
    service.answer = lambda _symbol, _query: {"data": {"bars": []}, "next": "http://127.0.0.1:1/v1/secret"}
    with pytest.raises(SourceUnavailable, match=r"DATASTORE_SOURCE_URLS does not allow http://127.0.0.1:1/v1/secret"):
        fetched(service.spec(paging={"by": "link", "at": "next"}), settings)
    with pytest.raises(SourceUnavailable, match=r"must not contain|DATASTORE_SOURCE_URLS does not allow"):
        fetched(service.spec(), settings, span(".."))


# Settings -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({}, "type: None is unknown; there are: alpaca, ccxt, databento, files, http"),
        ({"type": "file"}, "did you mean files"),
        ({"type": "files"}, "source 'files': path: Field required"),
        ({"type": "files", "path": "b.csv", "colums": {}}, "colums: Extra inputs"),
        ({"type": "files", "path": "b.txt"}, "path: the format cannot be told from the end of the name"),
        ({"type": "files", "path": "{symbols}.csv"}, "path: .*the placeholder 'symbols' is unknown"),
        ({"type": "files", "path": "{symbol.__class__}.csv"}, "path: .*a placeholder is unknown"),
        ({"type": "files", "path": "b.csv", "columns": {"price": "p"}}, "columns: price: no field of a bar"),
        ({"type": "http", "url": "http://x/{no}"}, "'no'"),
        ({"type": "http", "url": "http://x/", "paging": {"by": "magic"}}, "paging: 'by' is none of 'link', 'cursor'"),
        ({"type": "http", "url": "http://x/", "requests_per_second": 0}, "requests_per_second: .*greater than 0"),
        (
            {"type": "http", "url": "http://x/", "headers": {"X-Api-Key": "1"}},
            "put the name of the variable.*secret_headers",
        ),
        (
            {"type": "http", "url": "http://x/", "params": {"apikey": "1"}},
            "put the name of the variable.*secret_params",
        ),
        ({"type": "http", "url": "http://x/?token=1"}, "put the name of the variable.*secret_params"),
        (
            {"type": "http", "url": "http://x/", "secret_headers": {"A": "DATABASE_URL"}},
            "secret_headers.A: name a variable that holds a secret: its name begins with DATASTORE_SECRET_",
        ),
        ({"type": "http", "url": "http://x/", "secret_headers": {"A": "DATASTORE_SECRET_NO"}}, "is not set"),
    ],
)
def test_invalid_source_settings_are_rejected_with_field_and_reason(
    root: Path, spec: dict[str, Any], message: str
) -> None:
    with pytest.raises(SourceError, match=message):
        sources.make(spec, Settings(source_root=root, source_urls=("http://x",)))


@pytest.mark.parametrize(
    ("spec", "where"),
    [
        ({"headers": {"X-Api-Key": "hunter2"}}, "headers: X-Api-Key"),
        ({"headers": "X-Api-Key: hunter2"}, "headers"),
        ({"params": {"apikey": "hunter2"}}, "params: apikey"),
        ({"params": {"auth": '{"key": "hunter2"}'}}, "params: a placeholder is unknown"),
        ({"params": {"user": ["hunter2"]}}, "params.user"),
        ({"url": "http://x/?api_key=hunter2"}, "url: api_key"),
        ({"url": "http://me:hunter2/"}, "url: the url is invalid"),
        (
            {"url": "http://me:hunter2@x/"},
            "the url must begin with http:// or https://, with a host and without a user",
        ),
        ({"url": "http://y/?k=hunter2"}, "DATASTORE_SOURCE_URLS does not allow http://y/"),
        ({"secret_headers": {"X-Api-Key": "hunter2"}}, "secret_headers.X-Api-Key: name a variable that holds a secret"),
        ({"paging": {"by": "hunter2"}}, "paging: 'by' is none of"),
        ({"timeout": "hunter2"}, "timeout"),
        ({"type": {"key": "hunter2"}}, "type: the given value is unknown"),
    ],
)
def test_errors_about_source_settings_do_not_repeat_their_values(spec: dict[str, Any], where: str) -> None:
    with pytest.raises(SourceError) as refused:
        sources.make({"type": "http", "url": "http://x/", **spec}, Settings(source_urls=("http://x",)))
    assert where in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_no_source_is_allowed_by_default() -> None:
    with pytest.raises(SourceError, match="files cannot be read: DATASTORE_SOURCE_ROOT is not set"):
        sources.make({"type": "files", "path": "b.csv"}, Settings())
    with pytest.raises(SourceError, match="requests over HTTP are not allowed: DATASTORE_SOURCE_URLS is not set"):
        sources.make({"type": "http", "url": "http://x/"}, Settings())


def test_a_template_supports_every_time_placeholder() -> None:
    text = "{start} {start_date} {start_s} {start_ms} {start_us} {start_ns} {end}"
    assert sources.expand(text, span()) == (
        "2024-03-08T14:30:00Z 2024-03-08 1709908200 1709908200000 1709908200000000 1709908200000000000"
        " 2024-03-08T14:40:00Z"
    )
    assert at(END) - at(START) == timedelta(minutes=10)
