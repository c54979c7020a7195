"""Trading calendars: real sessions of real exchanges, our own two, and which one a series has."""

import itertools
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import exchange_calendars
import psycopg
import pytest

from datastore import tenants
from datastore.errors import ControlError
from datastore.gaps import CalendarError, TradingSession, calendars
from tests.conftest import Store


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def sessions(name: str, start: str, end: str) -> dict[date, tuple[tuple[datetime, datetime], ...]]:
    return {session.day: session.spans for session in calendars.sessions(name, at(start), at(end))}


def test_new_york_is_closed_on_its_holidays_and_weekends() -> None:
    found = sessions("XNYS", "2024-01-01", "2024-01-23")
    assert sorted(found) == [date(2024, 1, day) for day in (2, 3, 4, 5, 8, 9, 10, 11, 12, 16, 17, 18, 19, 22)]
    # New Year, Martin Luther King's day; and in the past: Good Friday, and the days after the attacks of 2001.
    assert date(2024, 3, 29) not in sessions("XNYS", "2024-03-25", "2024-04-02")
    assert sorted(sessions("XNYS", "2001-09-08", "2001-09-18")) == [date(2001, 9, 10), date(2001, 9, 17)]


def test_new_york_opens_at_its_local_time_in_summer_and_winter() -> None:
    found = sessions("XNYS", "2024-03-08", "2024-03-12")
    assert found[date(2024, 3, 8)] == ((at("2024-03-08T14:30"), at("2024-03-08T21:00")),)
    assert found[date(2024, 3, 11)] == ((at("2024-03-11T13:30"), at("2024-03-11T20:00")),)


def test_half_days_close_early() -> None:
    found = sessions("XNYS", "2024-11-25", "2024-12-26")
    assert found[date(2024, 11, 29)] == ((at("2024-11-29T14:30"), at("2024-11-29T18:00")),)
    assert found[date(2024, 12, 24)] == ((at("2024-12-24T14:30"), at("2024-12-24T18:00")),)
    assert date(2024, 11, 28) not in found
    assert date(2024, 12, 25) not in found


def test_tokyo_has_a_lunch_break_and_closes_later_since_november_2024() -> None:
    found = sessions("XTKS", "2024-11-01", "2024-11-06")
    assert found[date(2024, 11, 1)] == (
        (at("2024-11-01T00:00"), at("2024-11-01T02:30")),
        (at("2024-11-01T03:30"), at("2024-11-01T06:00")),
    )
    assert date(2024, 11, 4) not in found
    assert found[date(2024, 11, 5)][1] == (at("2024-11-05T03:30"), at("2024-11-05T06:30"))


def test_a_session_east_of_greenwich_keeps_its_local_date() -> None:
    (sydney,) = calendars.sessions("XASX", at("2024-01-14T22:00"), at("2024-01-15T01:00"))
    assert sydney == TradingSession(date(2024, 1, 15), ((at("2024-01-14T23:00"), at("2024-01-15T05:00")),))


def test_a_range_over_new_year_needs_two_years_and_finds_each_session_once() -> None:
    found = calendars.sessions("XLON", at("2023-12-20"), at("2024-01-10"))
    days = [session.day for session in found]
    assert days == sorted(set(days))
    assert date(2023, 12, 29) in days
    assert date(2024, 1, 2) in days


def test_crypto_never_closes() -> None:
    found = calendars.sessions("24/7", at("2024-02-28T12:00"), at("2024-03-01T12:00"))
    assert [session.day for session in found] == [date(2024, 2, 28), date(2024, 2, 29), date(2024, 3, 1)]
    assert all(session.end - session.start == timedelta(days=1) and session.start.hour == 0 for session in found)


def test_the_week_of_foreign_exchange_is_from_sunday_to_friday_at_five_in_new_york() -> None:
    winter = calendars.sessions("FX", at("2024-01-06"), at("2024-01-13"))
    assert [session.day.isoweekday() for session in winter] == [1, 2, 3, 4, 5]
    assert (winter[0].start, winter[-1].end) == (at("2024-01-07T22:00"), at("2024-01-12T22:00"))
    assert all(before.end == after.start for before, after in itertools.pairwise(winter))


def test_the_forex_week_follows_daylight_saving_time_in_new_york() -> None:
    # The clocks change on 2024-03-10 and 2024-11-03, both Sundays, before the week begins.
    spring = calendars.sessions("FX", at("2024-03-07T23:00"), at("2024-03-11T23:00"))
    assert [(session.start, session.end) for session in spring] == [
        (at("2024-03-07T22:00"), at("2024-03-08T22:00")),
        (at("2024-03-10T21:00"), at("2024-03-11T21:00")),
        (at("2024-03-11T21:00"), at("2024-03-12T21:00")),
    ]
    autumn = calendars.sessions("FX", at("2024-11-01T12:00"), at("2024-11-04T12:00"))
    assert [(session.start, session.end) for session in autumn] == [
        (at("2024-10-31T21:00"), at("2024-11-01T21:00")),
        (at("2024-11-03T22:00"), at("2024-11-04T22:00")),
    ]


@pytest.mark.parametrize(
    ("given", "meant"),
    [("NYSE", "XNYS"), ("xnys", "XNYS"), (" XNYS ", "XNYS"), ("fx", "FX"), ("us_futures", "us_futures")],
)
def test_calendar_names_accept_aliases_and_any_case(given: str, meant: str) -> None:
    assert calendars.resolve(given) == meant


def test_a_listed_calendar_can_be_built_or_names_the_package_that_cannot() -> None:
    """Each fifth of them, because the library takes a moment for each; and two that fail in different ways."""
    cannot = []
    listed = sorted({calendars.resolve(name) for name in calendars.names()} - {"24/7", "FX"})
    for name in {"ASEX", "XTAE", *listed[::5]}:
        try:
            # A month, where the calendar itself asks for all of its years: what fails there fails here.
            made = exchange_calendars.get_calendar(name, start="2024-05-01", end="2024-05-31")
        except (NotImplementedError, TypeError, ValueError):
            cannot.append(name)
        else:
            assert made.sessions.size, name
    assert len(cannot) <= 4, cannot
    for name in cannot:
        with pytest.raises(CalendarError, match="by the exchange-calendars and pandas that are installed: "):
            calendars.sessions(name, at("2024-05-06"), at("2024-05-10"))
    for name in ("24/7", "FX", "XNYS", "us_futures"):
        assert calendars.sessions(name, at("2024-05-06"), at("2024-05-10"))


@pytest.mark.parametrize(
    ("name", "start", "end", "message"),
    [
        ("XNIS", "2024-01-01", "2024-02-01", "no calendar 'XNIS'; near it: .*XNYS"),
        ("", "2024-01-01", "2024-02-01", "no calendar ''; an exchange's is its MIC"),
        ("XTKS", "1990-01-01", "1990-02-01", "XTKS is known from 1997-01-01 to"),
        ("XNYS", "2090-01-01", "2090-02-01", "XNYS is known from 1900-01-01 to"),
        ("XNYS", "2024-02-01", "2024-01-01", "the range is empty"),
        ("24/7", "2024-02-01", "2024-02-01", "the range is empty"),
        ("24/7", "0001-01-01", "0001-01-02", "must be within the years 1 to 9999"),
    ],
)
def test_an_impossible_calendar_query_raises_an_error_with_the_reason(
    name: str, start: str, end: str, message: str
) -> None:
    with pytest.raises(CalendarError, match=message):
        calendars.sessions(name, at(start), at(end))


# Which calendar a series has ------------------------------------------------------------------------------------------


def resolved(store: Store, vendor: str, *symbols: str, tenant: str = "a") -> dict[str, str | None]:
    with psycopg.connect(store.admin_dsn) as connection:
        found = tenants.find_tenant(connection, tenant)
        return calendars.of_series(connection, found.no, vendor, symbols)


def test_the_most_specific_calendar_assignment_wins(store: Store) -> None:
    assert resolved(store, "v", "AAPL") == {"AAPL": None}
    calendars.assign(store.admin_dsn, "a", "24/7")
    calendars.assign(store.admin_dsn, "a", "NYSE", vendor="v")
    calendars.assign(store.admin_dsn, "a", "FX", symbol="eurusd")
    calendars.assign(store.admin_dsn, "a", "XTKS", vendor="v", symbol="7203")
    assert resolved(store, "v", "AAPL", "EURUSD", "7203") == {"AAPL": "XNYS", "EURUSD": "FX", "7203": "XTKS"}
    assert resolved(store, "w", "AAPL", "EURUSD", "7203") == {"AAPL": "24/7", "EURUSD": "FX", "7203": "24/7"}
    assert resolved(store, "v", "AAPL", tenant="b") == {"AAPL": None}


def test_calendar_assignments_can_be_replaced_listed_and_removed(store: Store) -> None:
    assert calendars.assignments(store.admin_dsn) == []
    calendars.assign(store.admin_dsn, store.tenant_a, "XNYS", vendor="v")
    made = calendars.assign(store.admin_dsn, UUID(store.tenant_a), "XLON", vendor=" v ")
    other = calendars.assign(store.admin_dsn, "b", "FX")
    assert calendars.assignments(store.admin_dsn) == [made, other]
    assert calendars.assignments(store.admin_dsn, "a") == [made]
    assert (made.vendor, made.symbol, made.calendar) == ("v", None, "XLON")
    assert not calendars.unassign(store.admin_dsn, "a", vendor="v", symbol="AAPL")
    assert not calendars.unassign(store.admin_dsn, "a")
    assert calendars.unassign(store.admin_dsn, "a", vendor="v")
    assert calendars.assignments(store.admin_dsn) == [other]


def test_assigning_an_unknown_calendar_or_tenant_is_rejected(store: Store) -> None:
    with pytest.raises(CalendarError, match="no calendar 'XNIS'"):
        calendars.assign(store.admin_dsn, "a", "XNIS")
    with pytest.raises(ControlError, match="no tenant 'nobody'"):
        calendars.assign(store.admin_dsn, "nobody", "XNYS")
    assert calendars.assignments(store.admin_dsn) == []
