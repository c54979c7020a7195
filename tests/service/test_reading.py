"""Rows over HTTP for programs in any language: the same as the client reads, in the format that is asked for."""

import csv
import io
import json
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from secrets import token_hex
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from datastore.service import bars, formats
from datastore.service.bars import Asked
from datastore.service.formats import FORMATS, accepted
from datastore.service.state import STREAMS_OF_A_TENANT
from mds_client import KINDS, MDS
from mds_client.layout import numbers_of
from tests.clients.faults import until
from tests.clients.test_kinds import FULL
from tests.conftest import Store
from tests.service.conftest import Api, problem
from tests.service.test_endpoints import START, WINDOW, lines, minutes, upload
from tests.service.test_places import Connection

# Nothing of it is another on another engine.
pytestmark = pytest.mark.engines("postgres")

ARROW = FORMATS["arrow"].media_type
TYPES = {each.media_type: each.name for each in FORMATS.values()}


def unpacked(answer: httpx.Response) -> list[dict[str, Any]]:
    """The rows of an answer, whatever its format, as plain values."""
    assert answer.status_code == 200, answer.text
    name = TYPES[answer.headers["content-type"].partition(";")[0]]
    if name == "json":
        found = answer.json()
        return [*(found["items"] if isinstance(found, dict) else found)]
    if name == "ndjson":
        return [json.loads(line) for line in answer.text.splitlines()]
    if name == "csv":
        return [*csv.DictReader(io.StringIO(answer.text))]
    return [*table(answer).to_pylist()]


def table(answer: httpx.Response) -> Any:
    """The table of a binary answer."""
    if answer.headers["content-type"] == ARROW:
        return pa.ipc.open_stream(answer.content).read_all()
    return pq.read_table(io.BytesIO(answer.content))


def instant(value: Any) -> datetime:
    return value if isinstance(value, datetime) else datetime.fromisoformat(value)


@pytest.fixture
def client(api: Api, admin: httpx.Client) -> Any:
    """A client of a tenant that has two symbols."""
    body = lines(*minutes(6), *minutes(3, symbol="MSFT", volume=0.5))
    assert upload(admin, api.store.tenant_a, body).json()["written"] == 9
    with MDS(dsn=api.store.dsn, tenant_id=api.store.tenant_a) as made:
        yield made


@pytest.mark.parametrize("format_", FORMATS)
def test_every_format_has_the_same_bars(api: Api, admin: httpx.Client, client: MDS, format_: str) -> None:
    path = f"/tenants/{api.store.tenant_a}/bars"
    several = WINDOW | {"symbol": ["MSFT", "AAPL"]} if format_ != "json" else WINDOW
    by_parameter = admin.get(path, params={**several, "format": format_}, headers={"Accept": "text/nonsense"})
    by_header = admin.get(path, params=several, headers={"Accept": FORMATS[format_].media_type})
    assert by_header.content == by_parameter.content
    assert by_header.headers["content-type"].partition(";")[0] == FORMATS[format_].media_type
    start, end = (datetime.fromisoformat(WINDOW[name]).replace(tzinfo=UTC) for name in ("start", "end"))
    expected = client.bars_window(several["symbol"], "1m", start, end, "acme")
    found = [
        (row["symbol"], instant(row["ts"]), float(row["close_price"]), float(row["volume"]))
        for row in unpacked(by_header)
    ]
    assert found == [(bar.symbol, bar.ts, bar.close_price, bar.volume) for bar in expected]


def test_arrow_and_parquet_responses_equal_the_frame_of_the_client(api: Api, admin: httpx.Client, client: MDS) -> None:
    asked = {**WINDOW, "symbol": ["AAPL", "MSFT"]}
    for more, frame in (
        ({}, client.bars_window(["AAPL", "MSFT"], "1m", "2024-01-02", "2024-01-03", "acme", as_="arrow")),
        (
            {"timeframe": "5m", "rollup": "true"},
            client.rollup(["AAPL", "MSFT"], "5m", "2024-01-02", "2024-01-03", "acme", as_="arrow"),
        ),
    ):
        for format_ in ("arrow", "parquet"):
            params = {**asked, **more, "format": format_}
            found = table(admin.get(f"/tenants/{api.store.tenant_a}/bars", params=params))
            assert found.schema == frame.schema
            assert found.equals(frame)
            assert polars.from_arrow(found).shape == frame.shape


@pytest.mark.filterwarnings("ignore:row .*no value beside the key")
@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_every_kind_can_be_read_in_every_format(api: Api, admin: httpx.Client, client: MDS, kind: str) -> None:
    client.upsert(kind, FULL[kind])
    vendor = FULL[kind][-1].vendor
    path, asked = f"/tenants/{api.store.tenant_a}/rows/{kind}", {"vendor": vendor}
    (expected,) = client.iter_rows(kind, vendor=vendor)
    columns = [name for name in KINDS[kind].model.model_fields if name != "tenant_id"]
    for format_ in FORMATS.values():
        found = unpacked(admin.get(path, params={**asked, "format": format_.name}))
        for row, model in zip(found, expected, strict=True):
            for name in columns:
                assert alike(row.get(name), getattr(model, name)), (format_.name, name)
        # Without rows the columns are there, too.
        nothing = admin.get(path, params={"vendor": "nobody", "format": format_.name})
        assert unpacked(nothing) == []
        if format_.frames:
            assert table(nothing).schema == table(admin.get(path, params={**asked, "format": format_.name})).schema
        elif format_.name == "csv":
            assert nothing.text == ",".join(columns) + "\n"


def alike(packed: Any, value: Any) -> bool:
    """Whether a value is what it was packed from."""
    if value is None:
        return packed in (None, "")
    if isinstance(value, datetime):
        return instant(packed) == value
    if isinstance(value, float | int):
        return float(packed) == value
    if isinstance(value, dict):
        return (numbers_of(packed) if isinstance(packed, str) else packed) == value
    return str(packed) == str(value)


@pytest.mark.parametrize("format_", FORMATS)
def test_latest_prices_series_and_coverage_can_be_read_in_every_format(
    api: Api, admin: httpx.Client, client: MDS, format_: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(path: str, **params: Any) -> list[dict[str, Any]]:
        return unpacked(admin.get(f"/tenants/{api.store.tenant_a}/{path}", params={**params, "format": format_}))

    named = {"vendor": "acme", "symbol": ["MSFT", "AAPL"]}
    assert [(row["symbol"], float(row["price"])) for row in asked("latest-prices", **named)] == [
        ("AAPL", 105.0),
        ("MSFT", 102.0),
    ]
    assert [int(row["count"]) for row in asked("coverage", **named)] == [6, 3]
    assert [int(row["count"]) for row in asked("coverage", **(named | {"symbol": "MSFT"}))] == [3]
    # More than one page of the control plane's.
    monkeypatch.setattr("datastore.service.routes.reading.BATCH_ROWS", 1)
    assert [(row["symbol"], float(row["last_price"])) for row in asked("series", kind="bars")] == [
        ("AAPL", 105.0),
        ("MSFT", 102.0),
    ]
    assert asked("series", vendor="nobody") == []


@pytest.mark.filterwarnings("ignore:row .*no value beside the key")
def test_an_option_chain_equals_that_of_the_client(api: Api, admin: httpx.Client, client: MDS) -> None:
    client.upsert("options", FULL["options"])
    row = next(client.iter_rows("options"))[0]
    asked = {"vendor": row.vendor, "symbol": row.symbol, "at": row.ts.isoformat(), "format": "arrow"}
    found = table(admin.get(f"/tenants/{api.store.tenant_a}/option-chain", params=asked))
    assert found.equals(client.option_chain([row.symbol], row.ts, row.vendor, as_="arrow"))


def test_a_missing_series_is_404_or_left_out_if_ignored(api: Api, admin: httpx.Client, client: MDS) -> None:
    for path, more in (("bars", WINDOW), ("latest-prices", {"vendor": "acme"})):
        params = {**more, "symbol": ["AAPL", "NONE"], "format": "arrow"}
        there = f"/tenants/{api.store.tenant_a}/{path}"
        assert "NONE" in problem(admin.get(there, params=params), 404)["detail"]
        assert {row["symbol"] for row in unpacked(admin.get(there, params=params | {"missing": "ignore"}))} == {"AAPL"}


def test_an_unsupported_format_is_rejected_with_the_supported_ones(api: Api, admin: httpx.Client, client: MDS) -> None:
    path = f"/tenants/{api.store.tenant_a}/rows/bars"
    assert ARROW in problem(admin.get(path, headers={"Accept": "image/png"}), 406)["detail"]
    problem(admin.get(path, params={"format": "xlsx"}), 422)
    several = admin.get(f"/tenants/{api.store.tenant_a}/bars", params=WINDOW | {"symbol": ["AAPL", "MSFT"]})
    assert "a JSON page has bars of one symbol" in problem(several, 422)["detail"]


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("", "json"),
        ("*/*", "json"),
        ("text/html, */*;q=0.1", "json"),
        ("text/csv, application/json;q=0.9", "csv"),
        ("application/json;q=0.5, application/vnd.apache.arrow.stream", "arrow"),
        ("application/*;q=0.8, application/json;q=0", "ndjson"),
        ("text/*", "csv"),
        ("TEXT/CSV; header=present", "csv"),
        ("application/json;q=none", None),
        ("image/png", None),
    ],
)
def test_the_accept_header_is_parsed_as_the_standard_says(header: str, name: str | None) -> None:
    found = accepted(header)
    assert (None if found is None else found.name) == name


def test_an_unchanged_response_is_not_sent_again(api: Api, admin: httpx.Client, client: MDS) -> None:
    tenant = api.store.tenant_a
    named = {"vendor": "acme", "symbol": "AAPL"}
    for path, asked in (("bars", WINDOW), ("latest-prices", named), ("coverage", named)):
        for format_ in FORMATS if path != "bars" else ("json",):
            params = {**asked, "format": format_}
            first = admin.get(f"/tenants/{tenant}/{path}", params=params)
            tag = {"If-None-Match": f'"other", W/{first.headers["ETag"]}'}
            again = admin.get(f"/tenants/{tenant}/{path}", params=params, headers=tag)
            assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", first.headers["ETag"])
            assert (again.headers["Cache-Control"], again.headers["Vary"]) == (
                "private, no-cache",
                "Authorization, Accept",
            )
    page = admin.get(f"/tenants/{tenant}/bars", params=WINDOW)
    # An older bar is another, and the newest time and price are as they were.
    upload(admin, tenant, lines({**minutes(1)[0], "close_price": 99.5}))
    changed = admin.get(f"/tenants/{tenant}/bars", params=WINDOW, headers={"If-None-Match": page.headers["ETag"]})
    assert (changed.status_code, changed.json()["items"][0]["close_price"]) == (200, 99.5)
    # A stream has no tag: nothing tells before it is read whether a row has changed.
    assert "ETag" not in admin.get(f"/tenants/{tenant}/bars", params={**WINDOW, "format": "csv"}).headers


def test_a_parquet_response_has_row_groups_of_the_target_size(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = pa.record_batch({"value": list(range(10))})
    monkeypatch.setattr(formats, "_GROUP_BYTES", 2 * batch.nbytes)
    parts = [*formats.parquet_file(batch.schema, [batch] * 5)]
    file = pq.ParquetFile(io.BytesIO(b"".join(parts)))
    assert [file.metadata.row_group(at).num_rows for at in range(file.num_row_groups)] == [20, 20, 10]
    # One is out before the next is made.
    assert len(parts) == 3


@pytest.fixture
def long(store: Store) -> int:
    """News that are more than what the systems keep on the way to a client that takes nothing; how many."""
    with MDS(dsn=store.dsn, tenant_id=store.tenant_a) as client:
        return client.upsert(
            "news",
            [
                {"vendor": "acme", "published_at": START + timedelta(minutes=at), "title": token_hex(5_000)}
                for at in range(2_000)
            ],
        )


@pytest.mark.many_sessions
def test_a_disconnected_client_releases_its_database_connection(
    api: Api, admin: httpx.Client, store: Store, tenant_keys: dict[str, Any], long: int
) -> None:
    path = f"/tenants/{store.tenant_a}/rows/news"
    busy = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND usename <> user AND state <> 'idle'"
    for format_ in FORMATS:
        with ExitStack() as there:
            for _ in range(STREAMS_OF_A_TENANT):
                asked = f"{path}?format={format_}"
                slow = Connection(api.url, tenant_keys["a"], "GET", asked, Connection="close")
                assert there.enter_context(closing(slow)).status() == 200
            assert len(store.rows(busy)) == STREAMS_OF_A_TENANT
        until(lambda: not store.rows(busy))
    assert len(unpacked(admin.get(path, params={"format": "arrow"}))) == long


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Statements may not take long."""
    monkeypatch.setenv("MDS_STATEMENT_TIMEOUT_MS", "500")


@pytest.fixture
def year(store: Store) -> int:
    """So many minutes of one symbol that a rollup of them is more than what the systems keep on the way; how many."""
    times = np.datetime64(START.replace(tzinfo=None), "us") + np.arange(400_000).astype("timedelta64[m]")
    names = {name: pa.repeat(text, len(times)) for name, text in (("vendor", "acme"), ("symbol", "A"))}
    closes = {"timeframe": pa.repeat("1m", len(times)), "ts": times, "close_price": np.arange(len(times), dtype=float)}
    with MDS(dsn=store.dsn, tenant_id=store.tenant_a) as client:
        return client.upsert("bars", pa.table({**names, **closes}))


@pytest.mark.many_sessions
def test_a_slowly_read_stream_may_exceed_the_statement_timeout(
    year: int, hasty: None, api: Api, store: Store, tenant_keys: dict[str, Any]
) -> None:
    """A rollup comes by one statement, which lasts as long as its client takes the rows."""
    span = f"start={quote(START.isoformat())}&end={quote((START + timedelta(minutes=year)).isoformat())}"
    path = f"/tenants/{store.tenant_a}/bars?vendor=acme&symbol=A&timeframe=2m&rollup=true&{span}&format=arrow"
    with closing(Connection(api.url, tenant_keys["a"], "GET", path, room=1 << 18, Connection="close")) as slow:
        assert slow.status() == 200
        until(
            lambda: store.rows(
                "SELECT FROM pg_stat_activity WHERE datname = current_database() AND state = 'active'"
                " AND starts_with(query, 'COPY') AND clock_timestamp() - query_start > interval '1 second'"
            )
        )
        assert slow.rest().endswith(b"0\r\n\r\n")


class Recording(MDS):
    """A client that remembers what spans of time it was asked for."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.spans: list[tuple[datetime, datetime]] = []

    def iter_bars_window(self, symbol: Any, timeframe: str, start: Any, end: Any, *more: Any, **options: Any) -> Any:
        self.spans.append((start, end))
        return super().iter_bars_window(symbol, timeframe, start, end, *more, **options)


def test_a_page_queries_only_its_bars(store: Store) -> None:
    rows = [*minutes(500), *minutes(500, first=5_000)]
    with Recording(dsn=store.dsn, tenant_id=store.tenant_a) as client:
        client.upsert("bars", rows)

        def page(first: int, limit: int) -> tuple[list[float], int]:
            """A page from a minute on: its prices, and how many bars are in the spans that were asked for."""
            start = START + timedelta(minutes=first)
            client.spans.clear()
            found = bars.page(client, Asked("acme", ["AAPL"], "1m", start, START + timedelta(400), False), limit)
            ((asked,),) = store.rows(
                "SELECT count(*) FROM unnest(%s::timestamptz[], %s::timestamptz[]) AS span(start, over)"
                " JOIN store.bars ON ts >= start AND ts < over",
                *map(list, zip(*client.spans, strict=True)),
            )
            return [bar.close_price for bar in found if bar.close_price is not None], int(asked)

        prices = [row["close_price"] for row in rows]
        assert page(0, 10) == (prices[:10], 10)
        assert page(100, 200) == (prices[100:300], 200)
        # Over a hole the spans grow: what is read behind it is no longer than the hole is.
        found, asked = page(495, 10)
        assert (found, asked <= 500 + 5) == (prices[495:505], True)
        assert page(5_490, 1_000)[0] == prices[-10:]
        assert len(client.spans) < 12


def test_extra_fields_of_an_upload_become_items_in_every_format(api: Api, admin: httpx.Client, client: MDS) -> None:
    row = {"vendor": "v", "symbol": "A", "asof": "2023-12-31", "items": {"none": None}, "free_cash_flow": 1.5}
    tenant = api.store.tenant_a
    assert "items" in upload(admin, tenant, lines(row), "fundamentals").json()["errors"][0]["message"]
    assert upload(admin, tenant, lines(row), "fundamentals", extra="items").json()["written"] == 1
    refused = upload(admin, tenant, lines(row), "bars", extra="items")
    assert (refused.status_code, "bars have no items" in refused.text) == (422, True)
    for name in FORMATS:
        (found,) = unpacked(admin.get(f"/tenants/{tenant}/rows/fundamentals", params={"format": name}))
        items = found["items"] if isinstance(found["items"], dict) else json.loads(found["items"])
        assert items == {"none": None, "free_cash_flow": 1.5}, name
