"""The pages of news and fundamentals: what they find, in which order, and what they say where there is nothing."""

import html
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest

from datastore import articles, browsing
from datastore.console.formats import NONE
from datastore.console.pages import fundamentals as figures
from datastore.console.pages import news as headlines
from mds_client import Bar, Fundamentals, News
from mds_client.reading import reads
from tests.console.conftest import Desk

pytestmark = [pytest.mark.many_sessions, pytest.mark.engines("postgres")]

TS = datetime(2024, 1, 2, 15, 30, tzinfo=UTC)


def item(title: str, symbol: str | None, hours: float = 0, **more: object) -> News:
    return News.model_validate(
        {"vendor": "wire", "title": title, "symbol": symbol, "published_at": TS - timedelta(hours=hours), **more}
    )


def shown(text: str) -> list[list[str]]:
    """The cells of the page's table, as text."""
    rows = re.findall(r"<tr>(.*?)</tr>", text, re.DOTALL)[1:]
    cells = [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row, re.DOTALL) for row in rows]
    return [[" ".join(re.sub(r"<[^>]+>", " ", cell).split()).replace(" ,", ",") for cell in row] for row in cells]


def test_news_are_listed_newest_first_with_all_symbols_of_an_article(desk: Desk, admin: httpx.Client) -> None:
    shared = "11111111-2222-4333-8444-555555555555"
    with desk.client(desk.store.tenant_a) as client:
        client.upsert_news([item("by the vendor's id", symbol, 1, vendor_id="4711") for symbol in ("BBB", "AAA")])
        client.upsert_news([item("by one id", symbol, 30, id=shared, url="https://n.example/1") for symbol in "YX"])
        client.upsert_news([item("without an id", symbol, 700, sentiment_score=score) for symbol, score in
                            (("AAA", 0.5), ("CCC", -0.25))])  # fmt: skip
        client.upsert_news([item("of no symbol", None), item("too old for the page by itself", "AAA", 24 * 40)])
    assert shown(admin.get("/console/news").text) == [
        ["2024-01-02 15:30:00", "of no symbol", NONE, "wire", NONE],
        ["2024-01-02 14:30:00", "by the vendor's id".replace("'", "&#39;"), "AAA, BBB", "wire", NONE],
        ["2024-01-01 09:30:00", "by one id", "X, Y", "wire n.example", NONE],
        ["2023-12-04 11:30:00", "without an id", "AAA, CCC", "wire", "+0.12"],
    ]
    assert [each[1:3] for each in shown(admin.get("/console/news?symbol=CCC").text)] == [["without an id", "AAA, CCC"]]
    older = admin.get("/console/news?symbol=AAA&start=2023-11-01").text
    assert [each[1][:7] for each in shown(older)] == ["by the ", "without", "too old"]
    assert [each[1] for each in shown(admin.get("/console/news?q=BY ONE").text)] == ["by one id"]
    assert "No news matches" in admin.get("/console/news?vendor=other").text
    assert "No news matches" in admin.get("/console/news?symbol=NOPE").text


def test_an_article_about_many_symbols_shows_some_and_unfolds_the_others(desk: Desk, admin: httpx.Client) -> None:
    with desk.client(desk.store.tenant_a) as client:
        client.upsert_news([item("of the index", f"S{number:02}", vendor_id="4711") for number in range(60)])
    text = admin.get("/console/news").text
    seen, unfolding = re.split("<details>", text)
    assert re.findall(r"symbol=(S\d\d)", seen) == [f"S{number:02}" for number in range(12)]
    assert re.findall(r"symbol=(S\d\d)", unfolding) == [f"S{number:02}" for number in range(12, 60)]
    assert "<summary>48 more</summary>" in unfolding


def test_numbers_of_a_column_of_rows_are_exact_and_aligned(desk: Desk, admin: httpx.Client) -> None:
    prices = (90.5, 90.52, 1234.0, None)
    with desk.client(desk.store.tenant_a) as client:
        client.upsert_bars(
            Bar(vendor="v", symbol="AAA", timeframe="1d", ts=TS + timedelta(days=at), close_price=price,
                open_price=1e-7, volume=12_789 * at, vwap=price and price / 3)
            for at, price in enumerate(prices)
        )  # fmt: skip
    found = shown(admin.get("/console/rows?kind=bars").text)
    assert [each[5] for each in found] == ["90.50", "90.52", "1,234.00", NONE]
    assert [each[6] for each in found] == ["0", "12,789", "25,578", "38,367"]
    assert {each[4] for each in found} == {"1e-07"}, "as it is, where decimals would not show it"
    assert [each[7] for each in found] == ["30.1666666666667", "30.1733333333333", "411.3333333333330", NONE]


def test_a_number_of_rows_that_the_server_has_not_estimated_is_not_shown_as_none(
    desk: Desk, admin: httpx.Client
) -> None:
    # Another test of this database may have left an estimate.
    desk.store.execute("TRUNCATE store.bars, store.news, store.fundamentals, store.options")
    assert "estimated yet" not in admin.get("/console/stored").text, "nothing is stored"
    with desk.client(desk.store.tenant_a) as client:
        client.upsert_bars([Bar(vendor="v", symbol="AAA", timeframe="1d", ts=TS, close_price=1)])
    assert "not estimated yet" in admin.get("/console/stored").text
    desk.store.execute("ANALYZE store.bars")
    assert '<span title="1, as the server estimates">1</span>' in admin.get("/console/stored").text


def test_news_beyond_the_page_size_are_on_the_next_page(
    desk: Desk, admin: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(headlines, "SHOWN", 2)
    with desk.client(desk.store.tenant_a) as client:
        client.upsert_news([item(f"number {hours}", "AAA", hours) for hours in range(5)])
    assert titles(admin) == [["number 0", "number 1"], ["number 2", "number 3"], ["number 4"]]


def titles(admin: httpx.Client) -> list[list[str]]:
    """The headlines of all pages, from the newest on."""
    seen, path = [], "/console/news"
    while path:
        text = admin.get(path).text
        seen.append([each[1] for each in shown(text)])
        following = re.search(r'href="([^"]+)">Older', text)
        path = html.unescape(following[1]) if following else ""
    return seen


@pytest.mark.parametrize("rows", [3, 5_000])
def test_news_with_equal_times_are_paged_without_gaps_or_duplicates(
    desk: Desk, admin: httpx.Client, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    """Some vendors give news a date and no time of day. Also where one look does not read all of them."""
    monkeypatch.setattr(headlines, "SHOWN", 2)
    monkeypatch.setattr(articles, "ROWS", rows)
    many = [f"{letter} of one moment" for letter in "GFEDCBA"]
    with desk.client(desk.store.tenant_a) as client:
        client.upsert_news([item(title, symbol, 1) for title in many for symbol in ("AAA", "BBB")])
        client.upsert_news([item("new", "AAA"), item("old", "AAA", 2), item("very old", "AAA", 300)])
    pages = titles(admin)
    assert [title for page in pages for title in page] == ["new", *many, "old", "very old"]
    assert [len(page) for page in pages] == [2, 2, 2, 2, 2]


def test_news_are_searched_backwards_only_as_far_as_needed(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[datetime, datetime]] = []
    reading = reads.news_window

    def watched(start: datetime, end: datetime, **how: Any) -> object:
        asked.append((start, end))
        return reading(start, end, **how)

    monkeypatch.setattr(articles, "news_window", watched)
    with desk.client(desk.store.tenant_a) as client:
        client.upsert_news([item("old", "AAA", 24 * 300), item("new", "AAA")])
        since, until = TS - timedelta(days=365), TS + timedelta(seconds=1)
        found, more = articles.newest(client, start=since, end=until, limit=1)
        assert ([each.title for each in found], more) == (["new"], True)
        assert asked[0] == (until - timedelta(hours=6), until)
        assert all(later[0] == earlier[1] for earlier, later in zip(asked[1:], asked, strict=False)), "no time twice"
        asked.clear()
        articles.newest(client, start=since, end=until, limit=2)
        assert (asked[-1][0], asked[0][1]) == (since, until)


def test_fundamentals_are_listed_by_company_and_period_with_their_currency(
    desk: Desk, admin: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[str, int, str, float, dict[str, float | None] | None]] = [
        ("BBB", 2023, "JPY", 1.5e12, None),
        ("AAA", 2022, "USD", -2e9, {"free_cash_flow": 1.5, "<b>": None}),
        ("AAA", 2023, "USD", 3e9, {"free_cash_flow": 2, "ebit": -1e9}),
    ]
    with desk.client(desk.store.tenant_a) as client:
        client.upsert_fundamentals(
            Fundamentals(vendor="acme", symbol=symbol, asof=datetime(year, 12, 31, tzinfo=UTC), period=f"FY{year}",
                         currency=currency, net_income=income, items=items)
            for symbol, year, currency, income, items in given
        )  # fmt: skip
    text = admin.get("/console/fundamentals").text
    names = ["net_income", "free_cash_flow", "ebit"]
    assert re.findall(r'<th class="number" title="([^"]+)">', text) == names, "no columns without figures"
    assert shown(text) == [
        ["AAA", "FY2023", "2023-12-31", "USD", "3,000,000,000", "2.0", "-1,000,000,000", "acme"],
        ["AAA", "FY2022", "2022-12-31", "USD", "-2,000,000,000", "1.5", NONE, "acme"],
        ["BBB", "FY2023", "2023-12-31", "JPY", "1,500,000,000,000", NONE, NONE, "acme"],
    ]
    monkeypatch.setattr(figures, "MOST_ITEMS", 1)
    assert "1 more items are not shown: ebit." in admin.get("/console/fundamentals").text
    assert [each[:2] for each in shown(admin.get("/console/fundamentals?symbol=AAA&end=2023-01-01").text)] == [
        ["AAA", "FY2022"]
    ]
    assert "No fundamentals match" in admin.get("/console/fundamentals?vendor=other").text
    monkeypatch.setattr(figures, "SHOWN", 2)
    assert "The first 2 rows" in admin.get("/console/fundamentals").text
    with desk.client(desk.store.tenant_a) as client:
        client.upsert_fundamentals(
            Fundamentals(vendor=vendor, symbol="AAA", asof=datetime(year, 12, 31, tzinfo=UTC), period=f"FY{year}",
                         net_income=1)
            for vendor in ("acme", "zeta") for year in (2024, 2025)
        )  # fmt: skip
    text = admin.get("/console/fundamentals?symbol=AAA").text
    assert [(each[1], each[-1]) for each in shown(text)] == [("FY2025", "acme"), ("FY2025", "zeta")]
    assert "The newest 2 rows" in text


def test_pages_without_rows_say_how_to_write_some(admin: httpx.Client) -> None:
    assert "mds ingest-ndjson news" in admin.get("/console/news").text
    assert "mds ingest-ndjson fundamentals" in admin.get("/console/fundamentals").text


def test_a_page_of_rows_says_when_there_are_too_many_symbols_to_search(
    desk: Desk, admin: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(browsing, "_SYMBOLS", 2)
    monkeypatch.setattr(browsing, "LOOKED_AT", 4)
    with desk.client(desk.store.tenant_a) as client:
        for symbol, vendor, days in (("A", "v", 40), ("B", "w", 0), ("C", "v", 0), ("D", "v", 0), ("E", "w", 0)):
            client.upsert_bars(
                [Bar(vendor=vendor, symbol=symbol, timeframe="1d", ts=TS - timedelta(days=days), close_price=1)]
            )
    dsn, tenant = desk.store.admin_dsn, UUID(desk.store.tenant_a)
    assert browsing.vendors(dsn, "bars", tenant=tenant) == ["v", "w"]
    assert browsing.vendors(dsn, "bars", tenant=UUID(desk.store.tenant_b)) == []
    assert browsing.newest(dsn, "bars", tenant=tenant, vendor="w") == TS

    def symbols(query: str) -> list[str]:
        return sorted(each[2] for each in shown(admin.get(f"/console/rows?kind=bars{query}").text))

    # A has no row in the page's window, and is not counted.
    assert symbols("") == ["B", "C", "D", "E"]
    assert symbols("&vendor=w") == ["B", "E"]
    assert symbols("&start=2023-01-01") == ["A", "B", "C", "D"]
    assert symbols("&symbol=E") == ["E"]
    assert "The first 4 rows" in admin.get("/console/rows?kind=bars&start=2023-01-01").text
    early = {"kind": "bars", "start": "2022-01-01", "end": "2022-01-02"}
    assert "too many symbols to look at all of them" in admin.get("/console/rows", params=early).text
