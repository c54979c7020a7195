"""Whatever is put in ends in a clear error, which says what is wrong and where, or in a right result."""

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from datastore.embedded import EmbeddedServer
from mds_client import KINDS, MDS, Bar, ConfigurationError, InvalidRow, MDSError, RLSDenied, SchemaMismatch
from mds_client.writing.upserts import CHUNK_ROWS, upsert
from tests.conftest import Client, Store, before_the_server, nothing_there, odd_rows

NOON = datetime(2024, 1, 2, 12, tzinfo=UTC)
MODES = ("executemany", "values", "copy")
GOOD: dict[str, Any] = {"vendor": "v", "symbol": "AAPL", "timeframe": "1m", "ts": NOON, "close_price": 1.0}
ALWAYS = (datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC))


# Rows -----------------------------------------------------------------------------------------------------------------

NO_ROW: tuple[tuple[dict[str, Any], str], ...] = (
    ({"vendor": ""}, "vendor: .*at least 1 character"),
    ({"vendor": " \t"}, "vendor: .*at least 1 character"),
    ({"vendor": None}, "vendor: .*string"),
    ({"vendor": "v" * 256}, "vendor: .*at most 255"),
    ({"symbol": ""}, "symbol: .*at least 1 character"),
    ({"symbol": "x" * 300}, "symbol: .*at most 255"),
    ({"symbol": "A\0B"}, "symbol: .*NUL"),
    ({"symbol": "\ud800"}, "symbol: "),
    ({"symbol": 7}, "symbol: .*string"),
    ({"timeframe": ""}, "timeframe: a timeframe is a count and a unit"),
    ({"timeframe": "0m"}, "timeframe: .*'0m'"),
    ({"timeframe": "1M"}, "timeframe: 1M may mean minutes or months"),
    ({"timeframe": "1m\n1m"}, "timeframe: "),
    ({"ts": None}, "ts: a time is needed"),
    ({"ts": "yesterday"}, "ts: .*'yesterday'"),
    ({"ts": "2024-02-30T00:00:00Z"}, "ts: .*'2024-02-30T00:00:00Z'"),
    ({"ts": datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1)))}, "ts: .*years 1 to 9999"),
    ({"ts": datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-2)))}, "ts: .*years 1 to 9999"),
    ({"close_price": True}, "close_price: a truth value is not a number"),
    ({"close_price": math.nan}, "close_price: .*finite"),
    ({"close_price": math.inf}, "close_price: .*finite"),
    ({"close_price": "-Infinity"}, "close_price: .*finite"),
    ({"close_price": "1e400"}, "close_price: .*finite"),
    ({"close_price": 10**400}, "close_price: "),
    ({"close_price": Decimal("NaN")}, "close_price: .*finite"),
    ({"close_price": "12,50"}, "close_price: .*'12,50'"),
    ({"close_price": ""}, "close_price: .*number"),
    ({"close_price": [1.0]}, "close_price: .*number"),
    ({"volume": False}, "volume: a truth value is not a number"),
    ({"volume": -1}, "volume: -1 is no count; .*null_values"),
    ({"volume": -2}, "volume: .*greater than or equal to 0"),
    ({"volume": 2**63}, "volume: .*cannot be stored exactly"),
    ({"volume": 10**40}, "volume: "),
    ({"trade_count": 2**63}, "trade_count: .*less than or equal to 9223372036854775807"),
    ({"trade_count": 1.5}, "trade_count: .*integer"),
    ({"volume": math.inf}, "volume: "),
    ({"id": "no uuid"}, "id: 'no uuid' is not a uuid"),
    ({"tenant_id": "no uuid"}, "tenant_id: 'no uuid' is not a uuid"),
    ({"close": 1.0}, "close: Extra inputs are not permitted"),
)


@pytest.mark.parametrize(("fields", "message"), NO_ROW, ids=[f"{fields}"[:60] for fields, _ in NO_ROW])
def test_an_invalid_row_is_rejected_with_its_position_field_and_reason(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRow, match=rf"^row 2: {message}") as caught:
        upsert("bars", [GOOD, Bar(**GOOD), {**GOOD, **fields}])
    assert caught.value.index == 2


@before_the_server
@pytest.mark.parametrize("field", ["vendor", "symbol", "timeframe", "ts"])
def test_a_row_without_a_required_field_is_rejected(client: Client, store: Store, field: str) -> None:
    with pytest.raises(InvalidRow, match=f"row 1: {field}: Field required"):
        client.upsert_bars([GOOD, {key: value for key, value in GOOD.items() if key != field}])
    assert store.rows("SELECT FROM store.series") == []


@before_the_server
@pytest.mark.parametrize("rows", [[1], [[]], [("vendor", "v")]])
def test_a_value_that_is_neither_a_model_nor_a_mapping_is_rejected(client: Client, rows: Any) -> None:
    with pytest.raises(InvalidRow, match="row 0: a Bar or a mapping is needed, not "):
        client.upsert_bars(rows)


@before_the_server
@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("wrap", [dict, lambda row: row, lambda _: "text", lambda _: None])
def test_one_row_where_several_are_needed_is_rejected_with_what_to_pass(client: Client, kind: str, wrap: Any) -> None:
    model = KINDS[kind].model
    rows = wrap(model.model_construct())
    with pytest.raises(InvalidRow, match=f"several rows are needed, a list of {model.__name__} or a frame, not one "):
        client.upsert(kind, rows)


@before_the_server
def test_an_unknown_value_of_on_conflict_is_rejected(client: Client) -> None:
    with pytest.raises(ConfigurationError, match="on_conflict is replace, keep or fill, not 'ignore'"):
        client.upsert_bars([GOOD], on_conflict="ignore")


@before_the_server
def test_an_unknown_kind_is_rejected_and_the_error_lists_the_known_kinds(client: Client) -> None:
    with pytest.raises(LookupError, match=r"there is no kind 'barz'; there are: bars"):
        client.upsert("barz", [GOOD])


@before_the_server
def test_an_exception_from_the_row_source_propagates_and_nothing_is_written(client: Client, store: Store) -> None:
    def source() -> Any:
        yield GOOD
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        client.upsert_bars(source())
    assert store.rows("SELECT FROM store.series") == []


TIMES = (
    datetime(1700, 1, 1, tzinfo=UTC),
    datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    datetime(1970, 1, 1, tzinfo=UTC),
    datetime(2000, 1, 1, tzinfo=UTC),
    datetime(2024, 2, 29, 1, tzinfo=timezone(timedelta(hours=5, minutes=45))),
    datetime(2100, 2, 28, 12, tzinfo=UTC),
    datetime(2261, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.every_engine
def test_times_from_the_first_to_the_last_supported_year_are_read_back_unchanged(
    connect: Callable[..., Client], store: Store, mode: str
) -> None:
    client = connect(dsn=store.dsn, tenant_id=store.tenant_a, write_mode=mode)
    assert client.upsert_bars([{**GOOD, "ts": ts} for ts in reversed(TIMES)]) == len(TIMES)
    assert [row.ts for row in client.bars_window("AAPL", "1m", *ALWAYS, "v")] == list(TIMES)
    (latest,) = client.latest_prices(["AAPL"], "v")
    assert latest.price_timestamp == TIMES[-1]


@pytest.mark.parametrize("mode", MODES)
@odd_rows
def test_a_row_may_have_none_in_every_optional_field(connect: Callable[..., Client], store: Store, mode: str) -> None:
    client = connect(dsn=store.dsn, tenant_id=store.tenant_a, write_mode=mode)
    row = {name: None for name, field in Bar.model_fields.items() if not field.is_required()}
    assert client.upsert_bars([{**GOOD, **row}]) == 1
    (read,) = client.bars_window("AAPL", "1m", *ALWAYS, "v")
    assert read == Bar(**{**GOOD, **row, "tenant_id": store.tenant_a})
    assert client.latest_prices(["AAPL"], "v") == []


@pytest.mark.parametrize("mode", MODES)
@odd_rows
def test_the_last_row_wins_when_a_batch_repeats_a_key(connect: Callable[..., Client], store: Store, mode: str) -> None:
    client = connect(dsn=store.dsn, tenant_id=store.tenant_a, write_mode=mode)
    spellings = [("AAPL", NOON), (" aapl ", "2024-01-02T13:00:00+01:00"), ("Aapl", NOON.replace(tzinfo=None))]
    rows = [{**GOOD, "symbol": symbol, "ts": ts, "close_price": n} for n, (symbol, ts) in enumerate(spellings)]
    assert client.upsert_bars(rows) == 3
    assert store.rows("SELECT close_price FROM store.bars") == [(2.0,)]


LONG_NAMES = (
    ("AAPL", "x" * 200),
    ("v" * 255, "X" * 255),
    ("🦆" * 255, "\N{GREEK SMALL LETTER IOTA WITH DIALYTIKA AND TONOS}" * 255),
    ("straße", "ß" * 200),
)


@pytest.mark.parametrize(("vendor", "symbol"), LONG_NAMES)
def test_long_names_fit(client: Client, vendor: str, symbol: str) -> None:
    assert client.upsert_bars([{**GOOD, "vendor": vendor, "symbol": symbol}]) == 1
    (read,) = client.bars_window(symbol, "1m", *ALWAYS, vendor)
    assert (read.vendor, read.symbol) == (vendor, symbol.upper())
    assert [price.symbol for price in client.latest_prices([symbol], vendor)] == [symbol.upper()]


@pytest.mark.parametrize("price", [0.0, -0.0, -37.63, 5e-324, 1.7976931348623157e308, 0.1 + 0.2])
def test_a_price_is_read_back_bit_for_bit(client: Client, price: float) -> None:
    client.upsert_bars([{**GOOD, "close_price": price}])
    (read,) = client.bars_window("AAPL", "1m", *ALWAYS, "v")
    assert math.copysign(1, read.close_price) == math.copysign(1, price)
    assert read.close_price == price


@pytest.mark.engines("postgres")  # the client's own work, and seconds of it
def test_a_batch_larger_than_one_statement_writes_each_row_once(store: Store) -> None:
    count, symbols = 3 * CHUNK_ROWS + 1_000, 500
    start = datetime(2020, 1, 1, tzinfo=UTC)
    times = [start + timedelta(minutes=minute) for minute in range(count // symbols)]
    names = [f"S{number}" for number in range(symbols)]
    rows = (
        Bar.model_construct(tenant_id=None, vendor="v", symbol=name, timeframe="1m", ts=ts, close_price=1.0, volume=1)
        for ts in times
        for name in names
    )
    with MDS(dsn=store.dsn, tenant_id=store.tenant_a) as client:
        assert client.upsert_bars(rows) == count
    assert store.rows("SELECT count(*), sum(volume)::bigint, count(DISTINCT series_id) FROM store.bars") == [
        (count, count, symbols)
    ]


def test_a_batch_may_have_one_row(client: Client, store: Store) -> None:
    assert client.upsert_bars(iter([GOOD])) == 1
    assert store.rows("SELECT count(*) FROM store.bars") == [(1,)]


# Questions ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", " ", "x" * 10_000, "%", "🦆"])
@nothing_there
def test_reading_an_unknown_name_returns_nothing(client: Client, name: str) -> None:
    client.upsert_bars([GOOD])
    assert client.bars_window(name, "1m", *ALWAYS, "v") == []
    assert client.bars_window("AAPL", "1m", *ALWAYS, name) == []
    assert client.latest_prices([name], "v") == []
    assert client.latest_prices(["AAPL"], name) == []


@pytest.mark.parametrize("name", ["A\0B", "\ud800"], ids=["NUL", "half a surrogate pair"])
def test_reading_a_name_that_cannot_be_sent_raises_a_library_error(client: Client, name: str) -> None:
    with pytest.raises(MDSError):
        client.bars_window(name, "1m", *ALWAYS, "v")
    with pytest.raises(MDSError):
        client.latest_prices(["AAPL"], name)
    assert client.health()


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))), NOON + timedelta(seconds=1)),
        (NOON, datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-12)))),
        (datetime(1, 1, 1), datetime(9999, 12, 31)),  # noqa: DTZ001 - a time without a zone is UTC
    ],
)
def test_a_window_may_extend_beyond_the_range_of_row_times(client: Client, start: datetime, end: datetime) -> None:
    client.upsert_bars([GOOD])
    assert len(client.bars_window("AAPL", "1m", start, end, "v")) == 1


def test_a_window_whose_start_equals_its_end_is_empty(client: Client) -> None:
    client.upsert_bars([GOOD])
    assert client.bars_window("AAPL", "1m", NOON, NOON, "v") == []


@before_the_server
@pytest.mark.parametrize("when", [None, 7, 1704196800.0])
def test_a_window_needs_times(client: Client, when: Any) -> None:
    with pytest.raises(ConfigurationError, match=rf"a time is needed .*, not {when!r}"):
        client.bars_window("AAPL", "1m", when, NOON, "v")


@before_the_server
@pytest.mark.parametrize("when", ["", "yesterday", "2024-13-01", "1704196800", "01/02/2024"])
def test_a_text_that_is_not_iso_8601_is_rejected_as_a_time(client: Client, when: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{when!r}: .*time"):
        client.bars_window("AAPL", "1m", when, NOON, "v")


def test_latest_prices_of_an_empty_symbol_list_are_empty(client: Client) -> None:
    client.upsert_bars([GOOD])
    assert client.latest_prices([], "v") == []


@before_the_server
def test_latest_prices_rejects_a_string_in_place_of_a_list_of_symbols(client: Client) -> None:
    with pytest.raises(ConfigurationError, match=r"symbols is a list of names, not one text: \['AAPL'\]"):
        client.latest_prices("AAPL", "v")


# Tenants and settings -------------------------------------------------------------------------------------------------


def test_an_unknown_tenant_is_refused_by_name(connect: Callable[..., Client], store: Store) -> None:
    unknown = str(uuid4())
    client = connect(dsn=store.dsn, tenant_id=unknown)
    calls: list[Callable[[], object]] = [
        lambda: client.upsert_bars([GOOD]),
        lambda: client.latest_prices(["AAPL"], "v"),
        client.health,
    ]
    for call in calls:
        with pytest.raises(RLSDenied, match=f"tenant {unknown} is unknown or disabled") as caught:
            call()
        assert caught.value.sqlstate == "42501"


def test_writing_without_a_tenant_is_rejected(connect: Callable[..., Client], store: Store) -> None:
    client = connect(dsn=store.dsn)
    with pytest.raises(RLSDenied, match="no tenant is set"):
        client.upsert_bars([GOOD])
    assert client.health().tenant_id is None


@before_the_server
def test_a_row_with_a_tenant_is_refused_by_a_client_without_one(connect: Callable[..., Client], store: Store) -> None:
    with pytest.raises(RLSDenied, match=f"row 1 is of tenant {store.tenant_a}"):
        connect(dsn=store.dsn).upsert_bars([GOOD, {**GOOD, "tenant_id": store.tenant_a}])


@before_the_server
def test_rows_of_two_tenants_in_one_call_are_refused(connect: Callable[..., Client], store: Store) -> None:
    rows = [{**GOOD, "tenant_id": tenant} for tenant in (store.tenant_a, store.tenant_b)]
    with pytest.raises(RLSDenied, match=r"row 0 is of tenant .*rows of one call have one tenant"):
        connect(dsn=store.dsn).upsert_bars(rows)
    with pytest.raises(RLSDenied, match=f"row 1 is of tenant {store.tenant_b}: this client's tenant is"):
        connect(dsn=store.dsn, tenant_id=store.tenant_a).upsert_bars(rows)


@before_the_server
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tenant_id": "a"}, "tenant_id: 'a' is not a uuid"),
        ({"write_mode": "fast"}, "write_mode: .*'auto', 'executemany', 'values' or 'copy'"),
        ({"writemode": "copy"}, "'writemode' is no setting; there are: dsn, tenant_id, .*write_mode"),
        ({"pool_max": 0}, "pool_max: "),
        ({"pool_min": 5, "pool_max": 2}, r"pool_min \(5\) is larger than pool_max \(2\)"),
        ({"connect_timeout": "soon"}, "connect_timeout: .*number"),
        ({"statement_timeout_ms": -1}, "statement_timeout_ms: "),
        ({"max_attempts": 0}, "max_attempts: "),
        ({"values_page_size": 0}, "values_page_size: "),
        ({"dsn": "postgresql://u:hunter2@[bad"}, "the DSN cannot be read"),
    ],
)
def test_an_invalid_setting_is_rejected_by_name_without_showing_secrets(
    connect: Callable[..., Client], store: Store, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        connect(**{"dsn": store.dsn, **settings})
    password = str(conninfo_to_dict(store.dsn)["password"])
    assert password not in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.every_engine
def test_an_unmigrated_database_is_reported_as_a_schema_mismatch(
    connect: Callable[..., Client], server: EmbeddedServer, empty_database: str
) -> None:
    client = connect(dsn=server.dsn("mds_admin", empty_database), tenant_id=str(uuid4()))
    assert client.schema_version() is None
    health = client.health()
    assert (health.schema_version, health.tenant_id, health.database) == (None, None, empty_database)
    calls: list[Callable[[], object]] = [
        lambda: client.upsert_bars([GOOD]),
        lambda: client.latest_prices(["A"], "v"),
    ]
    for call in calls:
        with pytest.raises(SchemaMismatch, match="run datastore migrate") as caught:
            call()
        assert caught.value.sqlstate == "3F000"


def test_a_role_outside_mds_app_is_rejected(
    connect: Callable[..., Client], server: EmbeddedServer, store: Store
) -> None:
    store.execute("DO $$ BEGIN CREATE ROLE outsider LOGIN PASSWORD 'x'; EXCEPTION WHEN duplicate_object THEN END $$")
    client = connect(dsn=make_conninfo(store.dsn, user="outsider", password="x"), tenant_id=store.tenant_a)
    with pytest.raises(RLSDenied, match="permission denied for schema mds"):
        client.upsert_bars([GOOD])
