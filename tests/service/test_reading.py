"""Rows over HTTP for programs in any language: the same as the client reads, in the format that is asked for."""

import csv
import io
import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import httpx
import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from datastore.service import formats
from datastore.service.formats import FORMATS, accepted
from datastore.service.state import STREAMS_OF_A_TENANT
from mds_client import KINDS, MDS
from tests.clients.faults import until
from tests.clients.test_kinds import FULL
from tests.conftest import Store
from tests.service.conftest import Api, problem
from tests.service.test_endpoints import WINDOW, lines, minutes, upload
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


def test_arrow_and_parquet_are_the_clients_own_frame(api: Api, admin: httpx.Client, client: MDS) -> None:
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
            assert polars.from_arrow(found).shape == frame.shape  # type: ignore[union-attr]


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_every_kind_are_there_in_every_format(
    api: Api, admin: httpx.Client, client: MDS, kind: str, format_: str
) -> None:
    model: Any = KINDS[kind].model
    client.upsert(kind, [model(**FULL[kind])])
    path = f"/tenants/{api.store.tenant_a}/rows/{kind}"
    vendor = FULL[kind]["vendor"]
    (row,) = unpacked(admin.get(path, params={"vendor": vendor, "format": format_}))
    (expected,) = next(client.iter_rows(kind, vendor=vendor))
    for name, value in expected.model_dump().items():
        if name == "tenant_id":
            continue
        if isinstance(value, datetime):
            assert instant(row[name]) == value
        elif isinstance(value, float | int):
            assert float(row[name]) == value
        else:
            assert str(row[name]) == str(value)
    # Without rows there are the same columns.
    nothing = admin.get(path, params={"vendor": "nobody", "format": format_})
    assert unpacked(nothing) == []
    if FORMATS[format_].frames:
        full = admin.get(path, params={"vendor": vendor, "format": format_})
        assert table(nothing).schema == table(full).schema
    elif format_ == "csv":
        assert nothing.text.startswith(",".join(name for name in model.model_fields if name != "tenant_id"))


@pytest.mark.parametrize("format_", FORMATS)
def test_latest_prices_series_and_coverage_come_in_every_format(
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


def test_an_option_chain_is_the_clients(api: Api, admin: httpx.Client, client: MDS) -> None:
    model: Any = KINDS["options"].model
    client.upsert("options", [model(**FULL["options"])])
    (row,) = next(client.iter_rows("options"))
    asked = {"vendor": row.vendor, "symbol": row.symbol, "at": row.ts.isoformat(), "format": "arrow"}
    found = table(admin.get(f"/tenants/{api.store.tenant_a}/option-chain", params=asked))
    assert found.equals(client.option_chain([row.symbol], row.ts, row.vendor, as_="arrow"))


def test_a_named_series_that_does_not_exist_is_404_or_left_out(api: Api, admin: httpx.Client, client: MDS) -> None:
    for path, more in (("bars", WINDOW), ("latest-prices", {"vendor": "acme"})):
        params = {**more, "symbol": ["AAPL", "NONE"], "format": "arrow"}
        there = f"/tenants/{api.store.tenant_a}/{path}"
        assert "NONE" in problem(admin.get(there, params=params), 404)["detail"]
        assert {row["symbol"] for row in unpacked(admin.get(there, params=params | {"missing": "ignore"}))} == {"AAPL"}


def test_a_format_that_is_not_there_is_406_and_says_which_are(api: Api, admin: httpx.Client, client: MDS) -> None:
    path = f"/tenants/{api.store.tenant_a}/rows/bars"
    assert ARROW in problem(admin.get(path, headers={"Accept": "image/png"}), 406)["detail"]
    problem(admin.get(path, params={"format": "xlsx"}), 422)
    several = admin.get(f"/tenants/{api.store.tenant_a}/bars", params=WINDOW | {"symbol": ["AAPL", "MSFT"]})
    assert "a page of JSON is of one symbol" in problem(several, 422)["detail"]


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
def test_accept_is_read_as_the_standard_says(header: str, name: str | None) -> None:
    found = accepted(header)
    assert (None if found is None else found.name) == name


def test_an_answer_that_has_not_changed_is_not_sent_again(api: Api, admin: httpx.Client, client: MDS) -> None:
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


def test_a_parquet_file_has_row_groups_of_some_size(
    api: Api, admin: httpx.Client, client: MDS, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "_GROUP_ROWS", 4)
    answer = admin.get(f"/tenants/{api.store.tenant_a}/rows/bars", params={"format": "parquet"})
    file = pq.ParquetFile(io.BytesIO(answer.content))
    assert (file.metadata.num_rows, file.metadata.num_row_groups) == (9, 3)


MANY = 40_000


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.many_sessions
def test_a_client_that_goes_away_gives_its_connection_back(
    api: Api, admin: httpx.Client, store: Store, tenant_keys: dict[str, Any], format_: str
) -> None:
    with MDS(dsn=store.dsn, tenant_id=store.tenant_a) as client:
        client.upsert("bars", minutes(MANY))
    before = store.rows("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'datastore-service'")
    asked = urlencode({"format": format_})
    for _ in range(2):
        slow = [
            Connection(
                api.url, tenant_keys["a"], "GET", f"/tenants/{store.tenant_a}/rows/bars?{asked}", Connection="close"
            )
            for _ in range(STREAMS_OF_A_TENANT)
        ]
        assert {each.status() for each in slow} == {200}
        for each in slow:
            each.close()
    busy = (
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
        " AND application_name = 'datastore-service' AND state <> 'idle'"
    )
    until(lambda: not store.rows(busy))
    assert before == [(0,)]
    assert len(unpacked(admin.get(f"/tenants/{store.tenant_a}/rows/bars", params={"format": format_}))) == MANY


@pytest.mark.many_sessions
def test_a_stream_of_frames_may_take_longer_than_a_statement(
    api: Api, store: Store, tenant_keys: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is one statement for as long as it is taken, and it is its client that is slow."""
    with MDS(dsn=store.dsn, tenant_id=store.tenant_a) as client:
        client.upsert("bars", minutes(MANY))
    path = f"/tenants/{store.tenant_a}/rows/bars?format=arrow"
    slow = Connection(api.url, tenant_keys["a"], "GET", path, room=1 << 18, Connection="close")
    assert slow.status() == 200
    assert slow.rest(pause=0.3).endswith(b"0\r\n\r\n")


def rows_read(store: Store) -> int:
    """Rows of bars that the server's sessions have fetched, once they have reported it."""
    store.rows("SELECT pg_stat_force_next_flush()")
    ((read,),) = store.rows(
        "SELECT coalesce(sum(idx_tup_fetch + seq_tup_read), 0)::bigint FROM pg_stat_user_tables"
        " WHERE schemaname = 'store' AND relname = 'bars'"
    )
    return int(read)
