"""Finding series: orders, pages, words, and that a page of one tenant says nothing of another."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import httpx
import pytest

from datastore import browsing
from datastore.errors import ControlError
from datastore.search import Order, search_series, symbols
from mds_client import MDS, Bar, News
from tests.conftest import Store
from tests.console.conftest import Desk

pytestmark = [pytest.mark.many_sessions, pytest.mark.engines("postgres")]

TS = datetime(2024, 1, 2, 15, 30, tzinfo=UTC)


@pytest.fixture
def filled(store: Store) -> Store:
    """Ten series of tenant A, some as old as others, and one of tenant B in the midst of them."""
    for tenant, names in ((store.tenant_a, "ABCDEFGHIJ"), (store.tenant_b, "X")):
        with MDS({"dsn": store.dsn, "tenant_id": tenant}) as client:
            client.upsert_bars(
                [
                    Bar(
                        vendor="Acme_1",
                        symbol=name * 3,
                        timeframe="1m",
                        ts=TS + timedelta(hours=ord(name) % 4),
                        close_price=1.0,
                    )
                    for name in names
                ]
            )
            client.upsert_news([News(vendor="wire%", published_at=TS, title="it")])
    return store


def pages(store: Store, order: Order, **asked: str) -> Iterator[int]:
    after = None
    for _ in range(20):
        found = search_series(store.admin_dsn, order=order, after=after, limit=3, **asked)  # type: ignore[arg-type]
        yield from (each.id for each in found.items)
        if not found.more:
            return
        after = found.items[-1].id
    raise AssertionError("the pages do not end")


@pytest.mark.parametrize("order", ["stale", "fresh", "symbol"])
def test_pages_contain_every_series_once_in_order(filled: Store, order: Order) -> None:
    whole = search_series(filled.admin_dsn, order=order, limit=100)
    assert [each.id for each in whole.items] == list(pages(filled, order))
    assert whole.total == 13
    if order == "symbol":
        assert [each.symbol or "" for each in whole.items] == sorted(each.symbol or "" for each in whole.items)
    else:
        ages = [each.last_ts for each in whole.items if each.last_ts]
        assert ages == sorted(ages, reverse=order == "fresh")


def test_a_page_of_one_tenant_cannot_start_after_a_series_of_another(filled: Store) -> None:
    (other,) = search_series(filled.admin_dsn, "xxx").items
    own = UUID(filled.tenant_a)
    assert search_series(filled.admin_dsn, tenant=own, after=other.id).items == []
    assert {each.tenant for each in search_series(filled.admin_dsn, tenant=own).items} == {own}


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("aaa", 1),
        ("AAA acme", 1),
        ("aaa wire", 0),
        ("acme_1 1M", 11),
        ("a_me", 0),
        ("%", 2),
        ("", 13),
        ("  ", 13),
        ("\\", 0),
    ],
)
def test_every_search_word_must_occur_literally_in_a_name(filled: Store, text: str, count: int) -> None:
    assert len(search_series(filled.admin_dsn, text).items) == count


@pytest.mark.parametrize("word", ["3mo", "3MO", "3m", "3", "o", "O"])
def test_a_part_of_a_timeframe_finds_it_in_any_letters(filled: Store, word: str) -> None:
    with MDS({"dsn": filled.dsn, "tenant_id": filled.tenant_a}) as client:
        client.upsert_bars([Bar(vendor="v", symbol="ZZZ", timeframe="3mo", ts=TS, close_price=1.0)])
    assert [each.symbol for each in search_series(filled.admin_dsn, word).items] == ["ZZZ"]


def test_timeframes_of_a_vendor_have_the_time_of_the_newest_row(filled: Store) -> None:
    own, dsn = UUID(filled.tenant_a), filled.admin_dsn
    with MDS({"dsn": filled.dsn, "tenant_id": filled.tenant_a}) as client:
        client.upsert_bars([Bar(vendor="Acme_1", symbol="AAA", timeframe="1d", ts=TS, close_price=1.0)])
        client.upsert_bars([Bar(vendor="v", symbol="AAA", timeframe="5m", ts=TS, close_price=1.0)])
    found = browsing.timeframes(dsn, tenant=own, vendor="Acme_1")
    assert found == {"1d": TS, "1m": TS + timedelta(hours=3)}
    assert list(found) == ["1d", "1m"]
    assert browsing.timeframes(dsn, tenant=own, vendor="wire%") == {}, "it has no bars"


def test_symbols_of_a_vendor_are_listed_alphabetically(filled: Store) -> None:
    own = UUID(filled.tenant_a)
    assert symbols(filled.admin_dsn, own, "Acme_1", "1m", limit=2) == ["AAA", "BBB"]
    assert symbols(filled.admin_dsn, own, "Acme_1", "1m", after="BBB", limit=2) == ["CCC", "DDD"]
    assert symbols(filled.admin_dsn, own, "Acme_1", "1m", "x") == []


def test_an_unknown_kind_is_rejected(filled: Store) -> None:
    with pytest.raises(ControlError, match="there are"):
        search_series(filled.admin_dsn, kind="trades")


def test_the_first_page_is_shown_before_any_series_is_read(desk: Desk, admin: httpx.Client) -> None:
    """To count them reads all of them, which takes longer than a page may take where there are many."""
    desk.store.execute("ALTER TABLE store.series RENAME TO series_away")
    try:
        assert admin.get("/console/").status_code == 200
        assert admin.get("/console/stored").status_code == 503
    finally:
        desk.store.execute("ALTER TABLE store.series_away RENAME TO series")
