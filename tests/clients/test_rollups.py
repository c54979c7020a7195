"""Rollups: bars of longer timeframes give the same answers on every engine, and those of the rows that are there."""

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import psycopg
import pytest

from datastore import aggregates
from datastore.engines import CHUNKS_AT_ONCE
from datastore.errors import ControlError
from mds_client import KINDS, Bar, ConfigurationError
from mds_client.sql import USE_TENANT
from tests.conftest import Client, Store, nothing_there, odd_rows

pytestmark = pytest.mark.every_engine

BARS: Final = KINDS["bars"]
TIMEFRAMES: Final = tuple(rollup.timeframe for rollup in BARS.rollups)
ALWAYS: Final = (datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC))
NEW_YORK: Final = ZoneInfo("America/New_York")
COLUMNS: Final = ("open_price", "high_price", "low_price", "close_price", "volume")


def bar(ts: datetime, close: float | None, symbol: str = "AAPL", **fields: Any) -> Bar:
    settled = {"vendor": "v", "symbol": symbol, "timeframe": "1m", "ts": ts, **fields}
    return Bar(close_price=close, **settled)


def minutes(start: datetime, count: int, symbol: str = "AAPL", level: float = 100.0) -> list[Bar]:
    """Full bars, minute after minute, whose extremes fall anywhere but on an interval's edge."""
    return [
        bar(
            start + timedelta(minutes=minute),
            level + math.sin(minute) * 5,
            symbol,
            open_price=level + math.cos(minute) * 5,
            high_price=level + 10 + minute * 7 % 11,
            low_price=level - 10 - minute * 5 % 13,
            volume=minute * 31 % 1000,
        )
        for minute in range(count)
    ]


def awkward() -> list[Bar]:
    """Bars on which a wrong bucket, a wrong order or a NULL that counts would show."""
    friday = datetime(2024, 3, 8, 23, 51, tzinfo=UTC)
    spring_forward = datetime(2024, 3, 10, 1, 30, tzinfo=NEW_YORK).astimezone(UTC)
    fall_back = datetime(2024, 11, 3, 0, 30, tzinfo=NEW_YORK).astimezone(UTC)
    return [
        # over midnight, with a gap of whole intervals, and an interval that has one minute
        *minutes(friday, 30),
        *minutes(friday + timedelta(hours=5, minutes=2), 3),
        bar(friday + timedelta(hours=9), 101.0, volume=7),
        # the two days of a year on which New York's clocks jump: 23 and 25 hours of its day, 24 of ours
        *minutes(spring_forward, 100),
        *minutes(fall_back, 200, level=50.0),
        # ends of month and year, a leap day
        *minutes(datetime(2023, 12, 31, 23, 58, tzinfo=UTC), 4, level=3.0),
        *minutes(datetime(2024, 2, 28, 23, 59, tzinfo=UTC), 2, level=4.0),
        *minutes(datetime(2024, 2, 29, 23, 59, tzinfo=UTC), 2, level=5.0),
        # without a value at the beginning, in the middle, at the end, and altogether
        bar(datetime(2024, 5, 1, 10, 0, tzinfo=UTC), None, volume=5),
        bar(datetime(2024, 5, 1, 10, 1, tzinfo=UTC), 2.0, open_price=1.0),
        bar(datetime(2024, 5, 1, 10, 2, tzinfo=UTC), None, high_price=9.0),
        bar(datetime(2024, 5, 1, 10, 3, tzinfo=UTC), -1.5, low_price=-3.0, volume=0),
        bar(datetime(2024, 5, 1, 10, 4, tzinfo=UTC), None),
        bar(datetime(2024, 5, 1, 11, 7, tzinfo=UTC), None),
        # the first and the last moment of an interval, and one between two minutes
        bar(datetime(2024, 5, 2, 0, 0, tzinfo=UTC), 1.0, volume=2**61),
        bar(datetime(2024, 5, 2, 23, 59, 59, 999999, tzinfo=UTC), 2.0, volume=2**61),
        # before the origin that intervals are counted from
        *minutes(datetime(1969, 12, 31, 23, 57, tzinfo=UTC), 6, level=-20.0),
        # another symbol, another vendor
        *minutes(friday, 20, "MSFT", level=400.0),
        *minutes(spring_forward, 20, "BRK.B", level=0.5),
    ]


def model(bars: list[Bar], width: timedelta) -> list[tuple[Any, ...]]:
    """What a rollup of one series is, in plain Python: time, open, high, low, close, volume."""
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    buckets: dict[datetime, list[Bar]] = {}
    for row in sorted(bars, key=lambda row: row.ts):
        buckets.setdefault(epoch + (row.ts - epoch) // width * width, []).append(row)

    def values(rows: list[Bar], name: str) -> list[Any]:
        return [value for row in rows if (value := getattr(row, name)) is not None]

    def answer(rows: list[Bar]) -> tuple[Any, ...]:
        opens, highs, lows, closes, volumes = (values(rows, name) for name in COLUMNS)
        return (
            opens[0] if opens else None,
            max(highs, default=None),
            min(lows, default=None),
            closes[-1] if closes else None,
            sum(volumes) if volumes else None,
        )

    return [(ts, *answer(rows)) for ts, rows in sorted(buckets.items())]


def told(bars: list[Bar]) -> list[tuple[Any, ...]]:
    return [(row.ts, *(getattr(row, name) for name in COLUMNS)) for row in bars]


def asked(store: Store, tenant: str, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
    """What an application that is a tenant gets for its own SQL."""
    with psycopg.connect(store.dsn) as connection:
        connection.execute(USE_TENANT, (tenant,))
        connection.execute("SET LOCAL TimeZone TO 'UTC'")
        return connection.execute(statement.encode(), parameters or None).fetchall()


def stored(store: Store, timeframe: str) -> list[tuple[Any, ...]]:
    """What is materialised of a rollup, whatever reading it would compute; for engines that store it."""
    ((schema, table),) = store.rows(
        "SELECT materialization_hypertable_schema, materialization_hypertable_name"
        " FROM timescaledb_information.continuous_aggregates WHERE view_name = %s",
        f"bars_{timeframe}",
    )
    return store.rows(f'SELECT ts, close_price, volume FROM "{schema}"."{table}" ORDER BY series_id, ts')


def series_of(bars: list[Bar]) -> dict[str, list[Bar]]:
    return {symbol: [row for row in bars if row.symbol == symbol] for symbol in sorted({row.symbol for row in bars})}


@pytest.mark.every_case
@pytest.mark.parametrize("timeframe", TIMEFRAMES)
@pytest.mark.parametrize("refreshed", [False, True], ids=["computed", "refreshed"])
@odd_rows
def test_a_rollup_aggregates_exactly_its_minute_bars(
    client: Client, store: Store, timeframe: str, refreshed: bool
) -> None:
    bars = awkward()
    client.upsert_bars(bars)
    # Bars of other timeframes are no part of it, nor are another vendor's.
    client.upsert_bars(
        [bar(row.ts, 1e6, timeframe="5m", volume=10**6) for row in bars[:40]]
        + [bar(row.ts, 1e7, timeframe="1d") for row in bars[:10]]
        + [bar(row.ts, 1e8, vendor="other") for row in bars[:10]]
    )
    if refreshed:
        aggregates.refresh(store.admin_dsn)
    width = BARS.rollup(timeframe).width
    for symbol, rows in series_of(bars).items():
        expected = model(rows, width)
        found = client.rollup(symbol.lower(), timeframe, *ALWAYS, "v")
        assert told(found) == expected
        assert {(row.tenant_id, row.vendor, row.symbol, row.timeframe, row.id) for row in found} == {
            (store.tenant_a, "v", symbol, timeframe, None)
        }
        public = asked(
            store,
            store.tenant_a,
            f"SELECT ts, open_price, high_price, low_price, close_price, volume FROM public.bars_{timeframe}"
            " WHERE vendor = 'v' AND symbol = %s ORDER BY ts",
            symbol,
        )
        assert public == expected


def test_rollups_have_the_same_columns_on_every_engine(store: Store) -> None:
    columns = (
        "SELECT column_name, data_type FROM information_schema.columns WHERE table_schema = %s AND table_name = %s"
        " ORDER BY ordinal_position"
    )
    prices = [(name, "double precision") for name in COLUMNS[:-1]]
    for timeframe in TIMEFRAMES:
        assert store.rows(columns, "public", f"bars_{timeframe}") == [
            ("ts", "timestamp with time zone"),
            ("tenant_id", "uuid"),
            ("vendor", "text"),
            ("symbol", "text"),
            ("timeframe", "text"),
            *prices,
            ("volume", "double precision"),
            ("trade_count", "bigint"),
            ("vwap", "double precision"),
        ]
        assert store.rows(columns, "mds", f"bars_{timeframe}") == [
            ("series_id", "bigint"),
            ("ts", "timestamp with time zone"),
            *prices,
            ("volume", "bigint"),
            ("trade_count", "bigint"),
            ("vwap", "double precision"),
            ("volume_fraction", "double precision"),
            ("vwap_weight", "double precision"),
        ]


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Kolkata"])
def test_days_begin_at_midnight_utc_in_every_session_time_zone(client: Client, store: Store, zone: str) -> None:
    bars = minutes(datetime(2024, 3, 9, 23, 55, tzinfo=UTC), 10)
    client.upsert_bars(bars)
    aggregates.refresh(store.admin_dsn)
    with psycopg.connect(store.dsn) as connection:
        connection.execute(USE_TENANT, (store.tenant_a,))
        connection.execute("SELECT set_config('TimeZone', %s, true)", (zone,))
        found = connection.execute("SELECT ts, volume FROM public.bars_1d ORDER BY ts").fetchall()
    assert found == [(row[0], row[-1]) for row in model(bars, timedelta(days=1))]


def test_a_rollup_window_includes_its_start_and_excludes_its_end(client: Client) -> None:
    start = datetime(2024, 1, 2, tzinfo=UTC)
    client.upsert_bars(minutes(start, 60))
    found = client.rollup("AAPL", "15m", start + timedelta(minutes=15), start + timedelta(minutes=45), "v")
    assert [row.ts.minute for row in found] == [15, 30]
    # An interval that begins before the start is left out, with all its minutes.
    assert [row.ts.minute for row in client.rollup("AAPL", "15m", start + timedelta(minutes=1), *ALWAYS[1:], "v")] == [
        15,
        30,
        45,
    ]


@nothing_there
def test_a_rollup_of_an_unknown_symbol_is_empty_and_an_unknown_timeframe_is_rejected(client: Client) -> None:
    assert client.rollup("NOPE", "1h", *ALWAYS, "v") == []
    with pytest.raises(ConfigurationError, match=r"no rollup '7h': it is one of 5m, 15m, 1h, 1d"):
        client.rollup("AAPL", "7h", *ALWAYS, "v")


@pytest.mark.every_case
@pytest.mark.parametrize("timeframe", TIMEFRAMES)
def test_two_tenants_with_equal_series_names_have_separate_rollups(
    client: Client, store: Store, timeframe: str
) -> None:
    start = datetime(2024, 1, 2, tzinfo=UTC)
    mine, theirs = minutes(start, 90), minutes(start + timedelta(minutes=30), 90, level=900.0)
    other = client.for_tenant(store.tenant_b)
    client.upsert_bars(mine)
    other.upsert_bars(theirs)
    aggregates.refresh(store.admin_dsn, start, start + timedelta(minutes=60))
    width = BARS.rollup(timeframe).width
    assert told(client.rollup("AAPL", timeframe, *ALWAYS, "v")) == model(mine, width)
    assert told(other.rollup("AAPL", timeframe, *ALWAYS, "v")) == model(theirs, width)
    for tenant in (store.tenant_a, store.tenant_b):
        whose = f"SELECT DISTINCT tenant_id::text FROM public.bars_{timeframe}"
        assert asked(store, tenant, whose) == [(tenant,)]
        ids = f"SELECT DISTINCT series_id >> 40 FROM mds.bars_{timeframe}"
        ((no,),) = store.rows("SELECT no FROM store.tenants WHERE id = %s", tenant)
        assert asked(store, tenant, ids) == [(no,)]
    with psycopg.connect(store.dsn) as nobody:
        assert nobody.execute(f"SELECT count(*) FROM public.bars_{timeframe}".encode()).fetchone() == (0,)
        assert nobody.execute(f"SELECT count(*) FROM mds.bars_{timeframe}".encode()).fetchone() == (0,)


@pytest.mark.every_case
@pytest.mark.parametrize("timeframe", TIMEFRAMES)
def test_applications_cannot_access_the_internals_of_a_rollup(
    connect: Callable[..., Client], store: Store, timeframe: str
) -> None:
    connect(dsn=store.dsn, tenant_id=store.tenant_b).upsert_bars(minutes(datetime(2024, 1, 2, tzinfo=UTC), 3))
    aggregates.refresh(store.admin_dsn)
    relations = ["store.bars"]
    if store.engine == "timescale":
        ((number, materialized),) = store.rows(
            "SELECT mat_hypertable_id, format('%%I.%%I', materialization_hypertable_schema,"
            " materialization_hypertable_name) FROM timescaledb_information.continuous_aggregates"
            " JOIN _timescaledb_catalog.continuous_agg ON (user_view_name = view_name) WHERE view_name = %s",
            f"bars_{timeframe}",
        )
        parts = [f"_timescaledb_internal._{what}_view_{number}" for what in ("partial", "direct")]
        relations += [f"store.bars_{timeframe}", materialized, *parts]
        relations += [chunk for (chunk,) in store.rows("SELECT show_chunks(%s::regclass)::text", materialized)]
        assert len(relations) == 6
    for relation in relations:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            asked(store, store.tenant_a, f"SELECT * FROM {relation}")
    for schema in ("mds", "public"):
        # An aggregate cannot be written through by anybody; where it is stored it is a right that is missing.
        with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.ObjectNotInPrerequisiteState)):
            asked(store, store.tenant_a, f"DELETE FROM {schema}.bars_{timeframe}")


def test_late_bars_appear_in_a_rollup_after_a_refresh(client: Client, store: Store) -> None:
    start = datetime(2024, 1, 2, tzinfo=UTC)
    bars = minutes(start, 120)
    client.upsert_bars(bars[::2])
    aggregates.refresh(store.admin_dsn)
    client.upsert_bars(bars[1::2])
    corrected = [bar(start, 7.0, open_price=6.0), bar(start + timedelta(minutes=119), 8.0, high_price=1e9)]
    client.upsert_bars(corrected)
    aggregates.refresh(store.admin_dsn, start, start + timedelta(minutes=120))
    now = {row.ts: row for row in (*bars, *corrected)}
    for rollup in BARS.rollups:
        found = client.rollup("AAPL", rollup.timeframe, *ALWAYS, "v")
        assert told(found) == model(list(now.values()), rollup.width)


def test_newer_bars_appear_in_a_rollup_without_a_refresh(client: Client, store: Store) -> None:
    start = datetime(2024, 1, 2, tzinfo=UTC)
    old, new = minutes(start, 60), minutes(start + timedelta(days=3), 60, level=500.0)
    client.upsert_bars(old)
    aggregates.refresh(store.admin_dsn, start, start + timedelta(days=1))
    client.upsert_bars(new)
    for rollup in BARS.rollups:
        assert told(client.rollup("AAPL", rollup.timeframe, *ALWAYS, "v")) == model([*old, *new], rollup.width)


@pytest.mark.engines("timescale")
def test_a_refresh_over_more_chunks_than_fit_one_transaction_is_complete(
    connect: Callable[..., Client], store: Store
) -> None:
    client = connect(dsn=store.dsn, tenant_id=store.tenant_a)
    weeks = CHUNKS_AT_ONCE + 10
    first = datetime(2020, 1, 1, tzinfo=UTC)
    client.upsert_bars([bar(first + timedelta(weeks=week), 1.0 + week) for week in range(weeks)])
    aggregates.refresh(store.admin_dsn)
    assert all(len(stored(store, rollup.timeframe)) == weeks for rollup in BARS.rollups)


@pytest.mark.engines("timescale")
def test_rollups_of_the_first_days_of_year_one_survive_a_refresh(connect: Callable[..., Client], store: Store) -> None:
    """Their chunk begins before the year 1, which no client can hold. Rows of such times are of an older release."""
    client = connect(dsn=store.dsn, tenant_id=store.tenant_a)
    first = datetime(1, 1, 1, tzinfo=UTC)
    client.upsert_bars(
        [Bar(vendor="v", symbol="OLD", timeframe="1m", ts=datetime(2024, 1, 1, tzinfo=UTC), close_price=1)]
    )
    for at in range(3):
        store.execute(
            "INSERT INTO store.bars (series_id, ts, close_price) SELECT series_id, %s, %s FROM store.series",
            first + timedelta(days=at, minutes=10),
            1.0 + at,
        )
    before = client.rollup("OLD", "5m", first, first + timedelta(days=9), "v")
    assert [row.close_price for row in before] == [1.0, 2.0, 3.0]
    aggregates.refresh(store.admin_dsn)
    assert client.rollup("OLD", "5m", first, first + timedelta(days=9), "v") == before


@pytest.mark.engines("timescale")
def test_a_backfill_refreshes_exactly_its_own_range(connect: Callable[..., Client], store: Store) -> None:
    client = connect(dsn=store.dsn, tenant_id=store.tenant_a)
    first = datetime(2024, 1, 1, tzinfo=UTC)
    # A minute in each of sixty days, so that every level has rows before, within and after the range.
    client.upsert_bars([bar(first + timedelta(days=day, hours=13), 1.0, volume=1) for day in range(60)])
    aggregates.refresh(store.admin_dsn)
    before = {rollup.timeframe: stored(store, rollup.timeframe) for rollup in BARS.rollups}
    assert all(len(rows) == 60 for rows in before.values())

    # Every day is written anew; ten of them are refreshed.
    client.upsert_bars([bar(first + timedelta(days=day, hours=13), 2.0, volume=2) for day in range(60)])
    start, end = first + timedelta(days=20), first + timedelta(days=30)
    done = aggregates.refresh(store.admin_dsn, start, end)
    assert [(one.rollup, one.start, one.end) for one in done] == [
        (f"bars_{timeframe}", start, end) for timeframe in TIMEFRAMES
    ]
    for rollup in BARS.rollups:
        rows = stored(store, rollup.timeframe)
        assert {ts for ts, close, volume in rows if (close, volume) == (2.0, 2)} == {
            ts for ts, *_ in before[rollup.timeframe] if start <= ts < end
        }
        assert [row for row in rows if not start <= row[0] < end] == [
            row for row in before[rollup.timeframe] if not start <= row[0] < end
        ]


@pytest.mark.engines("timescale")
def test_a_range_within_an_interval_refreshes_the_whole_interval(connect: Callable[..., Client], store: Store) -> None:
    client = connect(dsn=store.dsn, tenant_id=store.tenant_a)
    start = datetime(2024, 1, 2, 9, 31, tzinfo=UTC)
    client.upsert_bars(minutes(start, 3))
    done = aggregates.refresh(store.admin_dsn, start + timedelta(minutes=1), start + timedelta(minutes=2))
    day = start.replace(hour=0, minute=0)
    assert [(one.start, one.end) for one in done] == [
        (start.replace(minute=30), start.replace(minute=35)),
        (start.replace(minute=30), start.replace(minute=45)),
        (start.replace(minute=0), start.replace(hour=10, minute=0)),
        (day, day + timedelta(days=1)),
    ]
    for rollup in BARS.rollups:
        assert [(ts, volume) for ts, _, volume in stored(store, rollup.timeframe)] == [
            (row[0], row[-1]) for row in model(minutes(start, 3), rollup.width)
        ]


@pytest.mark.engines("timescale")
def test_only_the_named_rollups_are_refreshed(connect: Callable[..., Client], store: Store) -> None:
    client = connect(dsn=store.dsn, tenant_id=store.tenant_a)
    client.upsert_bars(minutes(datetime(2024, 1, 2, tzinfo=UTC), 3))
    assert [one.rollup for one in aggregates.refresh(store.admin_dsn, names=["bars_5m"])] == ["bars_5m"]
    assert [len(stored(store, timeframe)) for timeframe in TIMEFRAMES] == [1, 0, 0, 0]


@pytest.mark.engines("postgres", "timescale-apache")
def test_a_refresh_does_nothing_on_engines_that_compute_rollups(store: Store) -> None:
    assert aggregates.refresh(store.admin_dsn) == []
    assert [one.stored for one in aggregates.list_aggregates(store.admin_dsn)] == [False] * 4


def test_refreshing_an_unknown_rollup_is_rejected(store: Store) -> None:
    with pytest.raises(ControlError, match=r"no rollup bars_2h; there are: bars_5m"):
        aggregates.refresh(store.admin_dsn, names=["bars_2h"])
