"""`mds plot`: candles and lines in a terminal."""

import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from mds_client import MDS, Bar
from mds_client.cli import main
from mds_client.commands.plots import Canvas, candles, plot_candles, plot_lines
from tests.clients.test_cli import Run, runs, two_tenants, use
from tests.conftest import Store
from tests.engines.databases import Running

DAY = datetime(2024, 1, 2, tzinfo=UTC)


def bar(symbol: str, day: int, **more: float) -> Bar:
    price = 100 + day
    prices = {"open_price": price, "high_price": price + 2, "low_price": price - 1, "close_price": price + 1}
    given = {**prices, "volume": 1_000_000 + day, **more}
    return Bar(vendor="v", symbol=symbol, timeframe="1d", ts=DAY + timedelta(days=day), **given)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def store(running: Running) -> Iterator[Store]:
    """A store with two symbols that have bars of days, and one that has bars of hours, too."""
    with two_tenants(running) as made:
        with MDS(dsn=made.dsn, tenant_id=made.tenant_a) as client:
            client.upsert_bars([bar(symbol, day) for symbol in ("AAPL", "MSFT", "BOTH") for day in range(60)])
            client.upsert_bars([Bar(vendor="v", symbol="BOTH", timeframe="1h", ts=DAY, close_price=1)])
        yield made


@pytest.fixture
def mds(store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """`mds …` in a terminal of 70 columns, which output does not go to."""
    use(monkeypatch, MDS_DSN=store.dsn, MDS_TENANT_ID=store.tenant_a)
    monkeypatch.setenv("COLUMNS", "70")
    monkeypatch.setenv("LINES", "30")
    return runs(main, capsys, monkeypatch)


def test_one_symbol_is_drawn_as_candles_with_volume_in_the_terminal_width(
    mds: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = mds("plot", "aapl")
    lines = done.out.splitlines()
    assert (done.code, done.err, 20 < len(lines) < 30) == (0, "", True)
    assert max(map(len, lines)) == 70
    assert "AAPL 1d from v, 4 bars in each candle" in lines[0]
    assert any("2024-01-02" in line for line in lines)
    assert any("4.0M" in line or "1.0M" in line for line in lines[-8:])
    assert "\x1b" not in done.out
    monkeypatch.setenv("COLUMNS", "100")
    assert max(map(len, mds("plot", "aapl").out.splitlines())) == 100


def test_several_symbols_are_drawn_as_lines_of_relative_change(mds: Run) -> None:
    done = mds("plot", "AAPL,MSFT", "--start", "2024-01-10", "--end", "2024-01-20")
    assert (done.code, done.err) == (0, "")
    assert "AAPL, MSFT 1d from v, change since the first bar in %" in done.out
    assert {"AAPL", "MSFT"} <= set(done.out.replace("│", " ").split())


def test_a_plot_on_a_terminal_has_colour() -> None:
    text = plot_candles([bar("A", day) for day in range(9)], "A", Canvas(60, 20, colour=True))
    assert "\x1b[" in text


def test_neighbouring_bars_are_merged_into_one_candle_if_space_is_short() -> None:
    bars = [bar("A", day) for day in range(5)] + [Bar(vendor="v", symbol="A", timeframe="1d", ts=DAY)]
    first, second = candles(bars, 2)
    assert (first.ts, first.open, first.high, first.low, first.close, first.volume) == (
        DAY,
        100,
        104,
        99,
        103,
        3_000_003,
    )
    assert (second.open, second.close) == (103, 105)
    assert len(candles(bars, 100)) == 5


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("NOPE",), "there are no bars of NOPE; mds series lists what there is"),
        (
            ("BOTH",),
            "there are several series of BOTH: choose one of --vendor v --timeframe 1d; --vendor v --timeframe 1h",
        ),
        (
            ("AAPL", "--end", "2020-01-01"),
            "no bars with a close in this time; the newest is of 2024-03-01T00:00:00+00:00",
        ),
    ],
)
def test_a_plot_that_cannot_be_drawn_says_why(mds: Run, arguments: tuple[str, ...], said: str) -> None:
    done = mds("plot", *arguments)
    assert (done.code, done.out, done.err) == (1, "", f"error: {said}\n")


def test_without_plotext_the_error_names_the_extra(mds: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "plotext", None)
    done = mds("plot", "AAPL")
    assert (done.code, done.out) == (1, "")
    assert done.err == "error: plots need plotext, which is not installed: install the extra plot\n"


def test_a_line_begins_at_the_first_close_that_is_not_zero() -> None:
    def line(symbol: str, *closes: float) -> list[Bar]:
        return [bar(symbol, at, close_price=close) for at, close in enumerate(closes)]

    drawn = plot_lines({"A": line("A", 0, 2, 3), "B": line("B", 1, 1, 1)}, "t", Canvas(60, 20, colour=False))
    # From 2 to 3, and not from nothing.
    labels = [float(found) for found in re.findall(r"^ *(-?\d+\.\d+) *┤", drawn, re.MULTILINE)]
    assert max(labels) == 50
    assert plot_lines({"A": line("A", 0, 0), "B": line("B", 1, 2)}, "t", Canvas(60, 20, colour=False))
