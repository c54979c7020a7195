"""Gaps: found where they are and nowhere else, whatever the timeframe, the calendar and the engine."""

from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.conninfo import make_conninfo

from datastore import gaps
from datastore.errors import ControlError
from datastore.gaps import CalendarError, Check, Counted, Gap, GapError, calendars, paging
from mds_client import MDS, Bar
from tests.conftest import Store
from tests.control.job_types import is_in, process, put, until, work

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def times(start: str, end: str, step: timedelta = MINUTE) -> list[datetime]:
    return [at(start) + number * step for number in range((at(end) - at(start)) // step)]


def write(store: Store, symbol: str, stamps: Iterable[datetime], timeframe: str = "1m", tenant: str = "") -> None:
    with MDS(dsn=store.dsn, tenant_id=tenant or store.tenant_a, pool_max=1) as client:
        client.upsert_bars(
            [Bar(vendor="v", symbol=symbol, timeframe=timeframe, ts=ts, close_price=1.0) for ts in stamps]
        )


def check(store: Store, start: str, end: str, calendar: str | None = "XNYS", **options: object) -> Check:
    asked: dict[str, object] = {"tenant": "a", "vendor": "v", "timeframe": "1m", "calendar": calendar, **options}
    return gaps.check(store.admin_dsn, start=at(start), end=at(end), **asked)  # type: ignore[arg-type]


def found(
    store: Store, start: str, end: str, calendar: str | None = "XNYS", **options: object
) -> list[tuple[object, ...]]:
    return [
        (gap.symbol, f"{gap.start:%m-%dT%H:%M}", f"{gap.end:%m-%dT%H:%M}", gap.missing)
        for gap in check(store, start, end, calendar, **options).gaps
    ]


FRIDAY = ("2024-03-08T14:30", "2024-03-08T21:00")
MONDAY = ("2024-03-11T13:30", "2024-03-11T20:00")  # New York's clocks have changed over the weekend


def test_a_series_with_every_minute_of_its_sessions_has_no_gap(store: Store) -> None:
    write(store, "S", [*times(*FRIDAY), *times(*MONDAY)])
    done = check(store, "2024-03-08", "2024-03-12")
    assert (done.series, done.expected, done.missing, done.gaps) == (1, 780, 0, [])
    assert [(day.day, day.expected, day.missing) for day in done.days] == [
        (date(2024, 3, 8), 390, 0),
        (date(2024, 3, 11), 390, 0),
    ]


def test_gaps_are_found_at_edges_and_inside_and_joined_across_closing_hours(store: Store) -> None:
    stamps = [*times("2024-03-08T14:32", "2024-03-08T16:00"), *times("2024-03-08T16:01", "2024-03-08T20:55"),
              *times("2024-03-11T13:40", "2024-03-11T20:00")]  # fmt: skip
    write(store, "S", stamps)
    assert found(store, "2024-03-08", "2024-03-12") == [
        ("S", "03-08T14:30", "03-08T14:32", 2),
        ("S", "03-08T16:00", "03-08T16:01", 1),
        ("S", "03-08T20:55", "03-11T13:40", 15),
    ]


def test_bars_outside_of_sessions_neither_count_as_missing_nor_fill_gaps(store: Store) -> None:
    early, late = times("2024-03-08T10:00", "2024-03-08T14:30"), times("2024-03-08T21:00", "2024-03-08T22:00")
    write(store, "S", [*early, *times(*FRIDAY)[:-1], *late])
    assert found(store, "2024-03-08", "2024-03-11") == [("S", "03-08T20:59", "03-08T21:00", 1)]


def test_two_bars_in_one_minute_do_not_fill_a_missing_minute(store: Store) -> None:
    write(store, "S", [*times(*FRIDAY)[:-2], at("2024-03-08T20:57:30"), at("2024-03-08T20:57:45")])
    assert found(store, "2024-03-08", "2024-03-11") == [("S", "03-08T20:58", "03-08T21:00", 2)]


SEVERAL: dict[str, tuple[str, str, list[str], list[tuple[str, int]]]] = {
    "midnight in UTC and in New York": (
        "1d",
        "XNYS",
        ["01-09T00:00", "01-09T05:00", "01-10T00:00", "01-11T05:00", "01-11T14:30", "01-11T00:00", "01-12T05:00"],
        [("2024-01-09", 2), ("2024-01-11", 3)],
    ),
    "midnight in UTC and in Tokyo": ("1d", "XTKS", ["01-09T15:00", "01-10T00:00", "01-11T00:00"], [("2024-01-10", 2)]),
    "the evening before": ("1d", "FX", ["01-08T22:00", "01-09T00:00", "01-10T00:00"], [("2024-01-09", 2)]),
    "a day without a session": ("1d", "XNYS", ["01-13T00:00", "01-13T05:00", "01-12T00:00"], []),
    "weeks": ("1w", "XNYS", ["01-08T00:00", "01-12T00:00", "01-15T00:00"], [("2024-01-08", 2)]),
    "months": ("1mo", "XNYS", ["01-01T00:00", "01-31T00:00"], [("2024-01-01", 2)]),
    "minutes": ("1m", "XNYS", ["01-09T14:30:00", "01-09T14:30:30"], []),
}


@pytest.mark.parametrize("what", SEVERAL)
def test_a_session_with_several_daily_weekly_or_monthly_bars_is_found(store: Store, what: str) -> None:
    timeframe, calendar, stamps, several = SEVERAL[what]
    write(store, "S", [at(f"2024-{stamp}") for stamp in stamps], timeframe)
    write(store, "T", [at("2024-01-09T05:00")], timeframe)
    done = check(store, "2024-01-01", "2024-02-01", calendar, timeframe=timeframe)
    assert [(repeat.symbol, repeat.day.isoformat(), repeat.bars) for repeat in done.repeats] == [
        ("S", day, bars) for day, bars in several
    ]
    assert done.repeated == len(several)
    for repeat in done.repeats:
        its = [at(f"2024-{stamp}") for stamp in stamps if repeat.start <= at(f"2024-{stamp}") < repeat.end]
        assert len(its) == repeat.bars


def test_repeats_are_listed_up_to_a_limit_and_all_are_counted(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datastore.gaps.finding.REPEATS", 3)
    for symbol in ("S", "T"):
        write(store, symbol, times("2024-01-08", "2024-01-13", 12 * HOUR), "1d")
    done = check(store, "2024-01-08", "2024-01-13", timeframe="1d")
    assert (done.repeated, done.missing) == (10, 0)
    assert [repeat.symbol for repeat in done.repeats] == ["S"] * 3
    calendars.assign(store.admin_dsn, "a", "XNYS")
    (counted,) = gaps.count_all(store.admin_dsn, now=at("2024-01-13"), within=timedelta(days=5))
    assert counted.repeated == 10


def test_missing_days_are_joined_to_one_gap_across_holidays_and_weekends(store: Store) -> None:
    write(store, "S", times("2024-01-10T14:30", "2024-01-10T21:00"))
    # 11 and 12, a weekend, Martin Luther King's day, 16.
    assert found(store, "2024-01-10", "2024-01-17") == [("S", "01-11T14:30", "01-16T21:00", 3 * 390)]


def test_an_early_close_ends_the_day(store: Store) -> None:
    write(store, "S", times("2024-11-29T14:30", "2024-11-29T18:00"))
    done = check(store, "2024-11-28", "2024-12-01")
    assert (done.expected, done.gaps) == (210, [])


def test_a_lunch_break_is_not_a_gap(store: Store) -> None:
    write(
        store, "7203", [*times("2024-01-10T00:00", "2024-01-10T02:30"), *times("2024-01-10T03:31", "2024-01-10T06:00")]
    )
    assert found(store, "2024-01-10", "2024-01-11", "XTKS") == [("7203", "01-10T03:30", "01-10T03:31", 1)]


def test_foreign_exchange_opens_an_hour_earlier_after_the_clocks_have_changed(store: Store) -> None:
    write(store, "EURUSD", times("2024-03-10T22:00", "2024-03-11T21:00"))
    assert found(store, "2024-03-08T22:00", "2024-03-11T21:00", "FX") == [("EURUSD", "03-10T21:00", "03-10T22:00", 60)]


def test_crypto_has_no_weekend(store: Store) -> None:
    write(store, "BTCUSD", times("2024-03-08", "2024-03-09"))
    assert found(store, "2024-03-08", "2024-03-11", "24/7") == [("BTCUSD", "03-09T00:00", "03-11T00:00", 2 * 1440)]


@pytest.mark.parametrize(
    ("timeframe", "stamps", "expected"),
    [
        ("5m", times(*FRIDAY, 5 * MINUTE)[1:], [("S", "03-08T14:30", "03-08T14:35", 1)]),
        ("15m", times(*FRIDAY, 15 * MINUTE)[:-1], [("S", "03-08T20:45", "03-08T21:00", 1)]),
        # By the hour, as rollups are; and by the session, as some vendors do it.
        ("1h", times("2024-03-08T14:00", "2024-03-08T21:00", HOUR)[:-1], [("S", "03-08T20:00", "03-08T21:00", 1)]),
        ("1h", times("2024-03-08T14:30", "2024-03-08T21:30", HOUR)[1:], [("S", "03-08T14:00", "03-08T15:00", 1)]),
        ("30s", times(*FRIDAY, MINUTE / 2)[:-1], [("S", "03-08T20:59", "03-08T21:00", 1)]),
        ("7m", [], [("S", "03-08T14:26", "03-08T21:05", 57)]),
        ("1d", [], [("S", "03-08T00:00", "03-09T00:00", 1)]),
        ("1d", [at("2024-03-08T05:00")], []),
    ],
)
def test_every_timeframe_is_checked_by_its_own_intervals(
    store: Store, timeframe: str, stamps: list[datetime], expected: list[tuple[object, ...]]
) -> None:
    write(store, "S", [*stamps, at("2024-03-01T15:00")], timeframe)
    assert found(store, "2024-03-08", "2024-03-09", timeframe=timeframe) == expected


@pytest.mark.every_engine
def test_days_weeks_and_months_count_if_they_contain_a_session(store: Store) -> None:
    write(store, "D", [at("2024-03-25"), at("2024-03-28")], "1d")
    write(store, "W", [at("2024-03-18")], "1w")
    write(store, "M", [at("2024-01-01"), at("2024-03-01")], "1mo")
    # Good Friday is the 29th.
    assert found(store, "2024-03-25", "2024-04-01", timeframe="1d") == [("D", "03-26T00:00", "03-28T00:00", 2)]
    assert found(store, "2024-03-18", "2024-04-01", timeframe="1w") == [("W", "03-25T00:00", "04-01T00:00", 1)]
    assert found(store, "2024-01-01", "2024-04-01", timeframe="1mo") == [("M", "02-01T00:00", "03-01T00:00", 1)]


MARKETS = {
    "XPAR": ("Europe/Paris", 0),
    "XTKS": ("Asia/Tokyo", 0),
    "XASX": ("Australia/Sydney", 0),
    "XNYS": ("America/New_York", 0),
    # Their days begin the evening before.
    "FX": ("America/New_York", -7),
    "CMES": ("America/Chicago", -7),
}


@pytest.mark.parametrize("stamped", ["where the exchange is", "in UTC"])
@pytest.mark.parametrize("market", MARKETS)
def test_a_daily_bar_counts_for_its_session_with_local_or_utc_timestamps(
    store: Store, market: str, stamped: str
) -> None:
    zone, shift = MARKETS[market]
    due = [session.day for session in calendars.sessions(market, at("2024-01-09"), at("2024-01-20"))]
    days = [day for day in due if date(2024, 1, 9) <= day <= date(2024, 1, 19)]
    assert 8 <= len(days) <= 9
    begin = ZoneInfo(zone) if stamped == "where the exchange is" else UTC
    hours = timedelta(hours=shift if stamped == "where the exchange is" else 0)
    stamps = [(datetime.combine(day, time(), begin) + hours).astimezone(UTC) for day in days]
    left_out = stamps[4]
    write(store, "S", [stamp for stamp in stamps if stamp != left_out], timeframe="1d")
    (gap,) = check(store, "2024-01-09", "2024-01-20", market, timeframe="1d").gaps
    assert gap.missing == 1
    assert gap.start <= left_out < gap.end


def test_an_unfinished_interval_is_not_a_gap(store: Store) -> None:
    write(store, "S", times("2024-03-08T14:30", "2024-03-08T15:00"))
    write(store, "D", [at("2024-03-07")], "1d")
    now = at("2024-03-08T15:02:30")
    assert found(store, "2024-03-08", "2030-01-01", now=now) == [("S", "03-08T15:00", "03-08T15:02", 2)]
    assert found(store, "2024-03-07", "2030-01-01", timeframe="1d", now=now) == []
    done = check(store, "2024-03-09", "2030-01-01", now=now)
    assert (done.expected, done.days) == (0, [])


def test_the_range_limits_the_start_of_intervals(store: Store) -> None:
    write(store, "S", [at("2024-03-01T15:00")])
    assert found(store, "2024-03-08T15:00:30", "2024-03-08T15:02:30") == [("S", "03-08T15:01", "03-08T15:03", 2)]
    assert found(store, "2024-03-09", "2024-03-11") == []


def test_with_new_set_an_unknown_symbol_lacks_every_bar(store: Store) -> None:
    assert found(store, "2024-03-08", "2024-03-09", symbols=["new"], new=True) == [
        ("NEW", "03-08T14:30", "03-08T21:00", 390)
    ]


def test_each_series_is_compared_with_its_own_calendar(store: Store) -> None:
    for symbol, calendar in (("AAPL", "XNYS"), ("BTCUSD", "24/7"), ("EURUSD", "FX")):
        write(store, symbol, [at("2024-03-07T15:00")])
        calendars.assign(store.admin_dsn, "a", calendar, vendor="v", symbol=symbol)
    done = check(store, "2024-03-08", "2024-03-09", calendar=None)
    assert [(gap.symbol, gap.missing) for gap in done.gaps] == [("AAPL", 390), ("BTCUSD", 1440), ("EURUSD", 1320)]
    assert [(day.expected, day.missing) for day in done.days] == [(390 + 1440 + 1320, 390 + 1440 + 1320)]
    assert done.calendars == {"AAPL": "XNYS", "BTCUSD": "24/7", "EURUSD": "FX"}


def test_tenants_with_equal_series_names_have_separate_gaps(store: Store) -> None:
    write(store, "S", times(*FRIDAY)[1:], tenant=store.tenant_a)
    write(store, "S", times(*FRIDAY)[:-1], tenant=store.tenant_b)
    assert found(store, "2024-03-08", "2024-03-09") == [("S", "03-08T14:30", "03-08T14:31", 1)]
    assert found(store, "2024-03-08", "2024-03-09", tenant=UUID(store.tenant_b)) == [
        ("S", "03-08T20:59", "03-08T21:00", 1)
    ]


@pytest.mark.engines("timescale")
def test_gaps_are_found_in_compressed_chunks(store: Store) -> None:
    stamps = [*times(*FRIDAY), *times(*MONDAY)]
    write(store, "S", [ts for ts in stamps if ts != at("2024-03-08T15:00")])
    write(store, "T", times(*FRIDAY))
    expected = [("S", "03-08T15:00", "03-08T15:01", 1), ("T", "03-11T13:30", "03-11T20:00", 390)]
    assert found(store, "2024-03-08", "2024-03-12") == expected
    compressed = store.rows("SELECT compress_chunk(c) FROM show_chunks('store.bars') AS c")
    assert compressed
    assert found(store, "2024-03-08", "2024-03-12") == expected


def test_more_series_than_one_statement_takes_are_all_checked(store: Store) -> None:
    many = 2 * gaps.SERIES_AT_ONCE + 1
    with MDS(dsn=store.dsn, tenant_id=store.tenant_a, pool_max=1) as client:
        client.upsert_bars(
            [
                Bar(vendor="v", symbol=f"S{number:03}", timeframe="1h", ts=ts, close_price=1.0)
                for number in range(many)
                for ts in times("2024-03-08T14:00", "2024-03-08T21:00", HOUR)
                if ts.hour != 14 + number % 7
            ]
        )
    done = check(store, "2024-03-08", "2024-03-09", timeframe="1h")
    assert [(gap.symbol, gap.start.hour) for gap in done.gaps] == [(f"S{n:03}", 14 + n % 7) for n in range(many)]


# What is kept of it ---------------------------------------------------------------------------------------------------


def count(store: Store, now: str = "2024-03-09", days: int = 1) -> list[Counted]:
    return gaps.count_all(store.admin_dsn, within=timedelta(days=days), now=at(now))


def test_the_last_count_is_stored_and_ad_hoc_checks_do_not_change_it(store: Store) -> None:
    write(store, "S", times(*FRIDAY)[1:-1])
    write(store, "T", times(*FRIDAY))
    check(store, "2024-03-08", "2024-03-09")
    assert gaps.last_counts(store.admin_dsn) == []
    calendars.assign(store.admin_dsn, "a", "XNYS")
    count(store, days=2)
    count(store)
    (kept,) = gaps.last_counts(store.admin_dsn, "a")
    assert (kept.vendor, kept.timeframe, kept.series, kept.expected, kept.missing, kept.gaps) == (
        "v",
        "1m",
        2,
        780,
        2,
        2,
    )
    assert (kept.start, kept.end) == (at("2024-03-08"), at("2024-03-09"))
    # As whoever may read may ask: of a minute, or by another calendar.
    check(store, "2024-03-08T15:00", "2024-03-08T15:01")
    check(store, "2024-03-08", "2024-03-12", calendar="24/7", at_least=5)
    assert gaps.last_counts(store.admin_dsn) == [kept]
    assert gaps.last_counts(store.admin_dsn, "b") == []


def test_all_series_with_a_calendar_are_counted_and_the_others_are_named(store: Store) -> None:
    write(store, "S", times(*FRIDAY)[1:])
    write(store, "T", [at("2024-03-08T14:00")], "1h")
    write(store, "S", times(*FRIDAY), tenant=store.tenant_b)
    calendars.assign(store.admin_dsn, "a", "XNYS")
    done = count(store)
    assert sorted((str(one.tenant), one.timeframe, one.missing, one.gaps) for one in done) == sorted(
        [(store.tenant_a, "1m", 1, 1), (store.tenant_a, "1h", 6, 1), (store.tenant_b, "1m", None, None)]
    )
    (problem,) = (one.problem for one in done if one.problem)
    assert problem.startswith("v S: no calendar is set")
    assert len(gaps.last_counts(store.admin_dsn)) == 2


def test_counts_of_series_that_can_no_longer_be_counted_are_removed(store: Store) -> None:
    write(store, "S", times(*FRIDAY)[1:])
    write(store, "T", [at("2024-03-08T14:00")], "1h")
    write(store, "S", times(*FRIDAY)[1:], tenant=store.tenant_b)
    for tenant in ("a", "b"):
        calendars.assign(store.admin_dsn, tenant, "XNYS")
    count(store)
    assert len(gaps.last_counts(store.admin_dsn)) == 3
    # One has no series any more, another has no calendar.
    for table in ("bars", "series"):
        store.execute(
            f"DELETE FROM store.{table} WHERE series_id IN (SELECT series_id FROM store.series WHERE symbol = 'T')"
        )
    calendars.unassign(store.admin_dsn, "b")
    count(store)
    (left,) = gaps.last_counts(store.admin_dsn)
    assert (str(left.tenant), left.timeframe) == (store.tenant_a, "1m")


@pytest.mark.many_sessions
def test_the_maintenance_job_counts_gaps_of_the_last_month(store: Store) -> None:
    write(store, "BTCUSD", [datetime.now(UTC) - timedelta(days=2)], "1d")
    calendars.assign(store.admin_dsn, "a", "24/7")
    put(store.admin_dsn, "maintain-gaps", {}, tenant=None, key="k")
    assert work(store.admin_dsn) == {"succeeded": 1}
    (kept,) = gaps.last_counts(store.admin_dsn)
    assert (kept.vendor, kept.timeframe, kept.expected - kept.missing, kept.gaps) == ("v", "1d", 1, 2)


@pytest.mark.many_sessions
def test_a_stopping_worker_does_not_wait_for_the_statements_of_its_gap_count(store: Store, tmp_path: Path) -> None:
    """Otherwise two of them do the same for as long as that takes."""
    write(store, "S", [datetime.now(UTC) - timedelta(days=2)], "1d")
    calendars.assign(store.admin_dsn, "a", "24/7")
    job = put(store.admin_dsn, "maintain-gaps", {}, tenant=None, key="k")
    waits = "SELECT FROM pg_locks WHERE relation = 'store.bars'::regclass AND NOT granted"
    with psycopg.connect(store.superuser_dsn) as other, process(store.admin_dsn, "--grace", 1) as worker:
        other.execute("LOCK TABLE store.bars IN ACCESS EXCLUSIVE MODE")
        until(lambda: store.rows(waits))
        worker.terminate()
        worker.wait(timeout=10)
        assert is_in(store.admin_dsn, job.id, "queued")()


@pytest.mark.many_sessions
def test_an_error_in_one_part_of_a_check_is_raised(store: Store) -> None:
    write(store, "S", times(*FRIDAY))
    dsn = make_conninfo(store.admin_dsn, options="-c lock_timeout=100")
    with psycopg.connect(store.superuser_dsn) as other:
        other.execute("LOCK TABLE store.bars IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            gaps.check(dsn, tenant="a", vendor="v", timeframe="1m", start=at("2024-03-08"), end=at("2024-03-09"),
                       calendar="XNYS")  # fmt: skip


def test_at_least_lists_only_long_gaps_and_counts_all(store: Store) -> None:
    write(store, "S", [ts for ts in times(*FRIDAY) if ts.minute != 0 and ts.hour != 18])
    done = check(store, "2024-03-08", "2024-03-09", at_least=2)
    assert [gap.missing for gap in done.gaps] == [61]
    assert done.missing == 61 + 4


# What cannot be asked -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"tenant": "nobody"}, ControlError, "no tenant 'nobody'"),
        ({"vendor": "w"}, GapError, "there are no 1m bars of w"),
        ({"timeframe": "5m"}, GapError, "there are no 5m bars of v"),
        ({"timeframe": "1x"}, GapError, "'1x': a timeframe is a count and a unit"),
        ({"symbols": ["S", "NONE"]}, GapError, "v has no 1m bars of NONE"),
        ({"symbols": [""]}, GapError, "symbols: "),
        ({"calendar": "XNIS"}, CalendarError, "no calendar 'XNIS'; near it"),
        ({"calendar": None}, CalendarError, "v S: no calendar is set"),
        ({"start": at("2024-03-09"), "end": at("2024-03-08")}, GapError, "the range is empty"),
        ({"start": datetime(2024, 3, 1)}, GapError, "needs a time zone"),  # noqa: DTZ001
        ({"start": at("1800-01-01")}, CalendarError, "XNYS is known from 1900-01-01"),
    ],
)
def test_an_impossible_check_raises_an_error_with_the_reason(
    store: Store, options: dict[str, object], error: type[Exception], message: str
) -> None:
    write(store, "S", [at("2024-03-08T15:00")])
    asked = {"tenant": "a", "vendor": "v", "timeframe": "1m", "start": at("2024-03-08"), "end": at("2024-03-09"),
             "calendar": "XNYS", **options}  # fmt: skip
    with pytest.raises(error, match=message):
        gaps.check(store.admin_dsn, **asked)  # type: ignore[arg-type]


# Against the simplest thing that could work ---------------------------------------------------------------------------


def by_hand(
    present: set[datetime], calendar: str, step: timedelta, start: datetime, end: datetime, now: datetime
) -> set[datetime]:
    """Every interval that is expected and has no bar, one by one."""
    lacking = set()
    epoch = datetime(2000, 1, 1, tzinfo=UTC)
    begin = epoch + (start - epoch) // step * step
    open_ = [span for session in calendars.sessions(calendar, start - step, end + step) for span in session.spans]
    while begin < end:
        over = begin + step
        due = start <= begin and over <= now
        trading = any(opens < over and closes > begin for opens, closes in open_)
        if due and trading and not any(begin <= ts < over for ts in present):
            lacking.add(begin)
        begin = over
    return lacking


@given(
    calendar=st.sampled_from(["XNYS", "XTKS", "FX", "24/7"]),
    minutes=st.sampled_from([1, 5, 13, 15, 60, 240]),
    bounds=st.tuples(st.integers(0, 3000), st.integers(1, 2000)),
    due=st.integers(0, 6000),
    blocks=st.lists(st.tuples(st.integers(0, 5000), st.integers(1, 900)), max_size=6),
    odd=st.lists(st.tuples(st.integers(0, 5000), st.integers(1, 59)), max_size=4),
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.every_engine
def test_gaps_match_a_search_through_every_interval(
    store: Store,
    calendar: str,
    minutes: int,
    bounds: tuple[int, int],
    due: int,
    blocks: list[tuple[int, int]],
    odd: list[tuple[int, int]],
) -> None:
    origin, step, timeframe = at("2024-03-08"), minutes * MINUTE, f"{minutes}m"
    present = {origin + number * MINUTE for first, count in blocks for number in range(first, first + count, minutes)}
    present |= {origin + minute * MINUTE + timedelta(seconds=second) for minute, second in odd}
    start = origin + bounds[0] * MINUTE
    end, now = start + bounds[1] * MINUTE, origin + due * MINUTE
    store.execute("DELETE FROM store.bars")
    write(store, "S", {*present, at("2020-01-01")}, timeframe)
    done = gaps.check(store.admin_dsn, tenant="a", vendor="v", timeframe=timeframe, start=start, end=end,
                      calendar=calendar, now=now)  # fmt: skip
    lacking = by_hand(present, calendar, step, start, end, now)
    assert done.missing == len(lacking) == sum(day.missing for day in done.days)
    covered: Callable[[Gap], set[datetime]] = lambda gap: {ts for ts in lacking if gap.start <= ts < gap.end}  # noqa: E731
    assert [gap.missing for gap in done.gaps] == [len(covered(gap)) for gap in done.gaps]
    assert lacking == {ts for gap in done.gaps for ts in covered(gap)}
    assert all(gap.start in lacking and gap.end - step in lacking for gap in done.gaps)


def test_pages_of_gaps_add_up_and_check_only_the_series_they_need(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    hour = times("2024-01-02 00:00", "2024-01-02 01:00")
    for number in range(6):
        # Every third minute is there: twenty gaps of each series, one of which has none.
        write(store, f"S{number}", hour if number == 3 else hour[::3])
    looked: list[str] = []

    def looking(*more: Any, symbols: list[str], **options: Any) -> Check:
        looked.extend(symbols)
        return gaps.check(*more, symbols=symbols, **options)

    monkeypatch.setattr(paging, "check", looking)
    whole = check(store, "2024-01-02 00:00", "2024-01-02 01:00", "24/7")
    assert len(whole.gaps) == 100
    for limit, symbols in ((1000, None), (30, None), (20, None), (7, ["S5", "S1", "S3"])):
        found: list[Check] = []
        after = None
        while after is not None or not found:
            looked.clear()
            page, after = gaps.check_page(
                store.admin_dsn, tenant="a", vendor="v", timeframe="1m", start=at("2024-01-02 00:00"),
                end=at("2024-01-02 01:00"), calendar="24/7", limit=limit, after=after, symbols=symbols,
            )  # fmt: skip
            found.append(page)
            assert len(page.gaps) <= limit
            # Twice as many at a time as before, until there are enough.
            assert len(looked) <= 2 * limit / 20 + 3
        expected = whole if symbols is None else check(
            store, "2024-01-02 00:00", "2024-01-02 01:00", "24/7", symbols=symbols
        )  # fmt: skip
        assert [gap for page in found for gap in page.gaps] == expected.gaps
        for name in ("series", "expected", "missing"):
            assert sum(getattr(page, name) for page in found) == getattr(expected, name)
    with pytest.raises(GapError, match="no 1m bars of NONE"):
        gaps.check_page(
            store.admin_dsn, tenant="a", vendor="v", timeframe="1m", start=at("2024-01-02 00:00"),
            end=at("2024-01-02 01:00"), calendar="24/7", limit=1, symbols=["S1", "NONE"],
        )  # fmt: skip
