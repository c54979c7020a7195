"""The console in a real browser: what a person does, what the browser complains of, and who is left out."""

import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Route, ViewportSize, expect, sync_playwright

from datastore import search
from datastore.console.pages.chart import data
from datastore.gaps import calendars
from datastore.service.tokens import MadeToken
from mds_client import MDS, Fundamentals, News
from tests.conftest import Store
from tests.console import samples
from tests.console.conftest import READS, Desk
from tests.control.job_types import until, work
from tests.engines import chromium
from tests.service.processes import Process

pytestmark = [pytest.mark.chromium, pytest.mark.many_sessions, pytest.mark.engines("postgres")]

PHONE = ViewportSize(width=390, height=844)
SCREEN = ViewportSize(width=1360, height=860)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    # Where other tests use the cores, too, a page can take longer than Playwright's five seconds.
    expect.set_options(timeout=20_000)
    with sync_playwright() as playwright:
        arguments: dict[str, Any] = {"args": list(chromium.ARGUMENTS), "env": chromium.environment()}
        started = playwright.chromium.launch(executable_path=str(chromium.prepare()), **arguments)
        yield started
        started.close()


@pytest.fixture(autouse=True)
def short_streams() -> None:
    """Streams are as long as they are for users."""


@pytest.fixture
def market(desk: Desk) -> Desk:
    """A console over a few weeks of minutes, with holes."""
    with desk.client(desk.store.tenant_a) as client:
        samples.write(client, days=20, symbols=("AAPL", "IBM"))
    calendars.assign(desk.store.admin_dsn, desk.store.tenant_a, "XNYS", vendor=samples.VENDOR)
    return desk


@contextmanager
def visit(
    browser: Browser,
    desk: Desk,
    *,
    size: ViewportSize = SCREEN,
    refused: str = "502",
    token: MadeToken | None = None,
) -> Iterator[Page]:
    """A page that has signed in. At its end nothing may have gone wrong, and nothing been asked of another host.

    `refused`: the status of answers that the test expects to fail. The browser tells each of them as an error.
    `token`: the token to sign in with; an operator's for the whole store if there is none.
    """
    context = browser.new_context(viewport=size, color_scheme="light", locale="en-GB")
    complaints: list[str] = []
    hosts: set[str] = set()
    page = context.new_page()
    page.on(
        "console",
        lambda message: (
            complaints.append(message.text)
            if message.type in ("error", "warning")
            # The second is about how the tests look at what is drawn.
            and not re.search(f"status of {refused}|willReadFrequently", message.text)
            else None
        ),
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    page.goto(desk.url)
    page.get_by_label("Token of the API").fill((token or desk.keys.admin).token)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
    yield page
    context.close()
    assert complaints == []
    assert hosts == {urlsplit(desk.url).netloc}


def test_a_user_signs_in_finds_a_symbol_and_sees_its_candles(browser: Browser, market: Desk) -> None:
    with visit(browser, market) as page:
        page.get_by_role("link", name="Series", exact=True).click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Series")
        page.wait_for_load_state()  # the key is the page's script's
        page.keyboard.press("/")
        page.keyboard.type("aap 1m")
        expect(page.get_by_text("1 series")).to_be_visible()
        assert "q=aap%201m" in page.url
        page.get_by_role("link", name="AAPL").click()
        expect(page.locator("#chart[data-ready=true]")).to_be_visible()
        expect(page.locator("#values")).to_contain_text("2024-03-28")
        expect(page.locator("#note")).to_contain_text("bars of 5m loaded")
        assert drawn(page) > 1000, "candles are drawn"


def drawn(page: Page) -> int:
    """How many pixels of the chart have the colour of a rising candle."""
    return int(
        page.evaluate(
            """() => {
              const hex = getComputedStyle(document.documentElement).getPropertyValue("--good").trim();
              const wanted = [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
              let found = 0;
              for (const canvas of document.querySelectorAll("#chart canvas")) {
                const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
                for (let at = 0; at < data.length; at += 4) {
                  if (wanted.every((value, number) => data[at + number] === value)) found += 1;
                }
              }
              return found;
            }"""
        )
    )


def test_a_chart_loads_minutes_on_zoom_and_earlier_bars_on_pan(browser: Browser, market: Desk) -> None:
    series = search.search_series(market.store.admin_dsn, "AAPL 1m", kind="bars").items[0].id
    with visit(browser, market) as page:
        page.goto(f"{market.url}/console/chart/{series}")
        expect(page.locator("#chart[data-ready=true]")).to_be_visible()
        chart = page.locator("#chart")
        chart.hover()
        for _ in range(12):
            page.mouse.wheel(0, -300)
        expect(page.locator("#note")).to_contain_text("bars of 1m loaded")
        link = page.url
        assert "start=2024-03-2" in link
        box = chart.bounding_box()
        assert box
        x, y = box["x"] + box["width"] / 4, box["y"] + box["height"] / 2
        for _ in range(4):
            page.mouse.move(x, y)
            page.mouse.down()
            page.mouse.move(x + box["width"] / 2, y, steps=10)
            with page.expect_response("**/news?*"):
                page.mouse.up()
        # It is another day.
        day = link.partition("start=")[2][:10]
        expect(page).not_to_have_url(re.compile(f"start={day}"))
        page.get_by_role("button", name="1h", exact=True).click()
        expect(page.locator("#note")).to_contain_text("bars of 1h loaded")
        # The link shows what was seen.
        page.goto(link)
        expect(page.locator("#note")).to_contain_text("bars of 1m loaded")
        with page.expect_download() as download:
            page.get_by_role("link", name="CSV").click()
        text = Path(download.value.path()).read_text()
        assert text.startswith(
            "vendor,symbol,timeframe,ts,open_price,high_price,low_price,close_price,volume,trade_count,vwap\nacme,AAPL,1m,2024-03-2"
        )


def test_quick_drags_past_the_left_edge_keep_the_timeframe_and_fill_the_view(browser: Browser, market: Desk) -> None:
    series = search.search_series(market.store.admin_dsn, "AAPL 1m", kind="bars").items[0].id
    with visit(browser, market) as page:
        page.goto(f"{market.url}/console/chart/{series}")
        expect(page.locator("#chart[data-ready=true]")).to_be_visible()
        expect(page.locator("#note")).to_contain_text("bars of 5m loaded")
        begin = page.url.partition("start=")[2][:10]
        box = page.locator("#chart").bounding_box()
        assert box
        y = box["y"] + box["height"] / 2
        for _ in range(6):
            page.mouse.move(box["x"] + 20, y)
            page.mouse.down()
            page.mouse.move(box["x"] + box["width"] - 120, y, steps=4)
            page.mouse.up()
        page.wait_for_function(FILLED)
        expect(page).not_to_have_url(re.compile(f"start={begin}"))
        expect(page.locator("#note")).to_contain_text("bars of 5m loaded")
        expect(page.locator("#chart[data-state=rests]")).to_be_visible()
        assert page.url.partition("start=")[2][:10] < begin
        # The keys do the same, and zoom. The line above the chart is then of what is in view, not of the mouse.
        page.mouse.move(0, 0)
        before = page.url
        page.locator("#chart").focus()
        page.keyboard.press("Shift+ArrowRight")
        expect(page).not_to_have_url(before)
        assert page.url.partition("start=")[2] > before.partition("start=")[2], "a later time"
        for _ in range(8):
            page.keyboard.press("+")
        expect(page.locator("#note")).to_contain_text("bars of 1m loaded")
        page.keyboard.press("End")
        expect(page.locator("#values")).to_contain_text("2024-03-28 19:59")


def test_a_late_response_for_an_earlier_view_is_ignored(browser: Browser, market: Desk) -> None:
    series = search.search_series(market.store.admin_dsn, "AAPL 1m", kind="bars").items[0].id
    asked: list[Route] = []

    def answer(route: Route) -> None:
        """The first request is answered after the second one."""
        asked.append(route)
        if len(asked) > 1:
            route.fulfill(json={"news": [[1711540800, "of the later view", "wire"]], "more": False})
        if len(asked) == 2:
            asked[0].fulfill(json={"news": [[1711540800, "of the earlier view", "wire"]], "more": False})

    with visit(browser, market) as page:
        page.goto(f"{market.url}/console/chart/{series}")
        expect(page.locator("#chart[data-ready=true][data-state=rests]")).to_be_visible()
        page.route("**/news?*", answer)
        page.locator("#chart").focus()
        for _ in range(2):
            with page.expect_request("**/news?*"):
                page.keyboard.press("ArrowLeft")
        expect(page.locator("#chart[data-state=rests]")).to_be_visible()
        expect(page.locator("#news")).to_contain_text("of the later view")
        # Another answer of the server comes after both of them.
        page.evaluate("(path) => fetch(path).then((answer) => answer.text())", f"/console/chart/{series}/others")
        assert "of the later view" in str(page.locator("#news").text_content())


def test_minute_bars_are_shown_up_to_the_limit_of_a_response(
    browser: Browser, market: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "MOST_BARS", 5_000)
    series = search.search_series(market.store.admin_dsn, "AAPL 1m", kind="bars").items[0].id
    with visit(browser, market, refused="422") as page:
        # These are 3,900 minutes, and with those on either side more than an answer may have.
        page.goto(f"{market.url}/console/chart/{series}?timeframe=1m&start=2024-03-11&end=2024-03-23")
        expect(page.locator("#chart[data-ready=true][data-state=rests]")).to_be_visible()
        expect(page.locator("#note")).to_contain_text("bars of 1m loaded")
        page.goto(f"{market.url}/console/chart/{series}?timeframe=1m&start=2024-01-01&end=2024-03-29")
        expect(page.locator("#note")).to_contain_text(
            "It cannot be loaded: A value is not what it should be: the window has more than 5,000 bars of 1m"
        )


FILLED = """() => {
  const canvas = document.querySelector("#chart canvas");
  const { data, width } = canvas.getContext("2d").getImageData(0, 0, canvas.width / 10, canvas.height);
  const tones = ["good", "bad"].map((name) => {
    const hex = getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
    return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
  });
  let found = 0;
  for (let at = 0; at < data.length; at += 4) {
    if (tones.some((tone) => tone.every((value, number) => data[at + number] === value))) found += 1;
  }
  return found > 50;
}"""
"""Whether the left tenth of the chart has candles."""


def test_queries_are_saved_for_one_token_and_tenant(browser: Browser, market: Desk) -> None:
    statement = "SELECT symbol, last_price FROM series WHERE kind = 'bars' ORDER BY symbol"
    with visit(browser, market) as page:
        page.get_by_role("link", name="SQL", exact=True).click()
        saved = page.locator("#saved")
        expect(saved.get_by_role("status")).to_have_text("None is saved yet.")
        box = page.get_by_label("Statement")
        box.fill(statement)
        page.get_by_label("Name of the query").fill('<img src=x onerror="alert(1)">')
        page.get_by_role("button", name="Save the statement").click()
        expect(saved.get_by_role("listitem")).to_have_count(1)
        box.fill("SELECT 1")
        page.get_by_label("Name of the query").fill("one")
        page.get_by_role("button", name="Save the statement").click()
        expect(saved.get_by_role("status")).to_have_text("Saved as one.")
        # They are there after the statement has run, and on a new load.
        box.press("Control+Enter")
        expect(page.get_by_role("heading", name="Result")).to_be_visible()
        page.reload()
        expect(saved.get_by_role("listitem")).to_have_count(2)
        saved.get_by_role("button", name='<img src=x onerror="alert(1)">', exact=True).click()
        expect(box).to_have_value(statement)
        page.get_by_role("button", name="Run").click()
        expect(page.get_by_role("cell", name="AAPL")).to_be_visible()
        # Saved again under its name, it replaces the earlier one.
        box.fill("SELECT 2")
        page.get_by_label("Name of the query").fill("one")
        page.get_by_role("button", name="Save the statement").click()
        expect(saved.get_by_role("listitem")).to_have_count(2)
        # Another tenant has none of them.
        page.get_by_label("Tenant").select_option("b")
        expect(saved.get_by_role("status")).to_have_text("None is saved yet.")
        page.get_by_label("Tenant").select_option("a")
        saved.get_by_role("button", name="one", exact=True).click()
        expect(box).to_have_value("SELECT 2")
        saved.get_by_role("button", name="Remove the query one").click()
        expect(saved.get_by_role("listitem")).to_have_count(1)
        expect(saved.get_by_role("button", name="Remove the query <img")).to_be_visible()


def test_a_gap_is_found_filled_and_no_longer_shown(
    browser: Browser, market: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATASTORE_SOURCE_ROOT", str(tmp_path))
    lines = ["ts,open_price,high_price,low_price,close_price,volume"]
    lines += [f"2024-03-12T{13 + m // 60:02}:{m % 60:02}:00Z,1,1,1,1,1" for m in range(30, 420)]
    (tmp_path / "IBM.csv").write_text("\n".join(lines))
    with visit(browser, market) as page:
        page.get_by_role("link", name="Completeness").click()
        page.get_by_role("link", name="IBM, 2024-03-12: 390 of 390 missing").click()
        page.get_by_label("Source, as JSON").fill('{"type": "files", "path": "{symbol}.csv"}')
        page.get_by_role("button", name="Plan").click()
        expect(page.get_by_text("390 bars of 1 series, in 1 gaps")).to_be_visible()
        page.get_by_role("button", name="Start the backfill").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("Backfill")
        expect(page.get_by_text("queued").first).to_be_visible()
        work(market.store.admin_dsn)
        # The page follows by itself.
        expect(page.get_by_text("Nothing is missing any more")).to_be_visible(timeout=20_000)
        page.get_by_role("link", name="Look at the calendar").click()
        expect(page.get_by_role("cell", name="IBM, 2024-03-12: all 390 there")).to_be_visible()


def test_every_page_fits_a_phone_and_is_accessible(browser: Browser, market: Desk) -> None:
    """No page is wider than a phone, and axe finds nothing, in light and in dark."""
    store = market.store
    with market.client(store.tenant_a) as client:
        awkward(client)
    found = {each.kind: each.id for each in search.search_series(store.admin_dsn).items}
    query = (
        f"?tenant={store.tenant_a}&vendor={samples.VENDOR}&timeframe=1m&kind=bars"
        "&start=2024-03-12T13:30:00Z&end=2024-03-29T00:00:00Z"
    )
    pages = [
        route.filled(id=found["bars"], tenant=store.tenant_a) + query
        for route in READS
        if not re.search(
            r"/(bars|bars\.\{format_\}|gaps|expiry|deletion|events|news|stored|others|prices|rate)$|/jobs/.+|/rows/",
            route.path,
        )
    ]
    pages.append(f"/console/fundamentals?tenant={store.tenant_a}")
    # What axe says of a row it says of each: a page of an hour's bars has as many as it takes.
    hour = "end=2024-03-12T14:30:00Z"
    pages = [re.sub("end=[^&]*", hour, path) if path.startswith("/console/rows?") else path for path in pages]
    assert len(pages) >= 11
    with visit(browser, market, size=PHONE) as page:
        for path in pages:
            page.goto(market.url + path)
            if "/chart/" in path:
                expect(page.locator("#chart[data-ready=true]")).to_be_visible()
            assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], path
            if page.locator(".side nav [aria-current]").count():
                expect(page.locator(".side nav [aria-current]")).to_be_in_viewport(ratio=1)
            violations = Axe().run(page).response["violations"]
            # Only colours differ in the dark, and axe is in the page already.
            page.emulate_media(color_scheme="dark")
            violations += page.evaluate("() => axe.run({ runOnly: ['color-contrast'] })")["violations"]
            page.emulate_media(color_scheme="light")
            assert [(each["id"], each["nodes"][0]["html"]) for each in violations] == [], path


def awkward(client: MDS) -> None:
    """Write what is wide: an article about many symbols, and more figures than have a column, one with a long name."""
    names = [*(f"ratio_{number}" for number in range(45)), "SELLING_GENERAL_AND_ADMINISTRATIVE_EXPENSES_OF_THE_GROUP"]
    asof = datetime(2024, 3, 27, 12, tzinfo=UTC)
    client.upsert_fundamentals(
        [Fundamentals(vendor="acme", symbol="AAPL", asof=asof, items=dict.fromkeys(names, 12345.678))]
    )
    client.upsert_news(
        News(vendor="wire", vendor_id="60", symbol=f"S{number}", published_at=asof, title="WITHOUTANYSPACE" * 9)
        for number in range(60)
    )


def test_a_user_creates_a_tenant_disables_it_and_signs_out(browser: Browser, market: Desk) -> None:
    with visit(browser, market) as page:
        page.get_by_role("link", name="Tenants").click()
        page.get_by_label("Name of a new tenant").fill("desk-9")
        page.get_by_role("button", name="Create").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("desk-9")
        page.get_by_role("button", name="What would be deleted?").click()
        expect(page.get_by_text("Rows of bars")).to_be_visible()
        page.on("dialog", lambda dialog: dialog.accept())
        page.get_by_role("button", name="Disable").click()
        expect(page.get_by_text("disabled", exact=True)).to_be_visible()
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_label("Token of the API")).to_be_visible()


def test_a_tenant_sees_nothing_of_another_on_any_page(
    browser: Browser, market: Desk, tenant_keys: dict[str, MadeToken]
) -> None:
    store = market.store
    others = search.search_series(store.admin_dsn, "IBM 1m", kind="bars").items[0]
    with market.client(store.tenant_b) as client:
        client.upsert_bars(list(samples.minutes("NVDA", 1)))
    with visit(browser, market, token=tenant_keys["b"], refused="404") as page:
        links = page.locator(".side nav a").evaluate_all("links => links.map(link => link.href)")
        assert len(links) >= 8
        for link in links:
            page.goto(link)
            if not link.endswith(("/jobs", "/series")):
                # These two keep a stream of events open.
                page.wait_for_load_state("networkidle")
            shown = page.content()
            assert "IBM" not in shown, link
            assert store.tenant_a not in shown, link
        page.goto(f"{market.url}/console/series")
        page.get_by_role("searchbox").fill("nvda")
        expect(page.get_by_role("link", name="NVDA")).to_be_visible()
        page.get_by_role("searchbox").fill("ibm")
        expect(page.get_by_text("No series matches")).to_be_visible()
        page.goto(f"{market.url}/console/chart/{others.id}")
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        expect(page.locator("#chart")).to_have_count(0)
        assert "IBM" not in page.content()


FOLLOWS_MS = 60_000
"""A page whose stream has become silent notices it after 25 s, and asks by itself from then on."""


def test_a_chart_and_prices_follow_the_live_feed(browser: Browser, desk: Desk) -> None:
    """Also where a proxy cuts the events."""
    store = desk.store
    with ExitStack() as until_seen:
        feed = Process(
            *("--symbols", "AAPL", "--seconds", "300", "--per-second", "10"),
            program=(sys.executable, "examples/live_feed.py"),
            MDS_DSN=store.dsn,
            MDS_TENANT_ID=store.tenant_a,
        )
        until_seen.callback(feed.end)
        page = until_seen.enter_context(visit(browser, desk))
        until_seen.push(partial(_say_what_was_there, page=page, feed=feed, store=store))
        until(lambda: search.search_series(store.admin_dsn, "AAPL 1m", kind="bars").items)
        found = search.search_series(store.admin_dsn, "AAPL 1m", kind="bars").items
        page.goto(f"{desk.url}/console/")
        expect(page.locator("#stored")).to_contain_text(
            re.compile(r"[1-9][0-9,.k ]*rows/s written"), timeout=FOLLOWS_MS
        )
        page.goto(f"{desk.url}/console/series?kind=bars")
        price = page.locator("[data-price]")
        expect(page.locator("#found")).to_have_attribute("data-state", "follows")
        expect(price).not_to_have_text(str(price.text_content()), timeout=FOLLOWS_MS)
        page.goto(f"{desk.url}/console/chart/{found[0].id}?timeframe=1m")
        expect(page.locator("#live")).to_have_attribute("data-state", "follows")
        values = page.locator("#values")
        expect(values).to_contain_text("Close")
        expect(values).not_to_have_text(str(values.text_content()), timeout=FOLLOWS_MS)
        # Not an error that a page has caused: the browser says of it nothing else.
        page.route("**/prices/events?*", lambda route: route.fulfill(status=502, content_type="text/html", body=""))
        page.goto(f"{desk.url}/console/series?kind=bars")
        expect(page.locator("#found")).to_have_attribute("data-state", "asks")
        expect(price).not_to_have_text(str(price.text_content()), timeout=FOLLOWS_MS)


def _say_what_was_there(
    kind: type[BaseException] | None, error: BaseException | None, _: object, *, page: Page, feed: Process, store: Store
) -> None:
    """If a page does not follow: is it the feed that writes nothing, the stream of events, or the page?"""
    if error is None:
        return
    states = page.locator("[data-state]").evaluate_all("all => all.map(each => `${each.id} ${each.dataset.state}`)")
    stored = store.rows("SELECT last_ts::text, last_price, now()::text FROM store.series")
    seen = page.evaluate("document.visibilityState")
    ended = feed.process.poll()
    feed.end()
    error.add_note(f"page {seen}, {states}; stored {stored}; feed ended {ended}, {feed.text!r}")
