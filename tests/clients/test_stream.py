"""`mds stream`: live bars of ccxt.pro, against Kraken's WebSocket and REST API on loopback, with cut connections."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from datastore import migration, tenants
from datastore.embedded import DATABASE, EmbeddedServer
from mds_client import AMDS, MDS, Bar, BatchConfig, vendors
from mds_client.abatch import AsyncBatchProcessor
from mds_client.cli import main
from mds_client.transfer.streams import GRACE, Streamed, Streaming
from tests.clients.test_cli import Run, runs, two_tenants, use
from tests.clients.vendor_apis import Apis, Candle, minutes, serving
from tests.conftest import SETTINGS, Store
from tests.engines.databases import Running
from tests.relay import Relay

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
]

NOON = datetime(2024, 1, 2, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.fixture(scope="module")
def serving_apis() -> Iterator[Apis]:
    # It takes seconds to import, which no test waits for.
    vendors.make("ccxt", {"exchange": "kraken"}).library("ccxt.pro")
    with serving() as apis:
        yield apis


@pytest.fixture
def apis(serving_apis: Apis, monkeypatch: pytest.MonkeyPatch) -> Apis:
    made = serving_apis
    made.symbol, made.bars, made.fault, made.page = "BTC/USD", minutes(NOON, 60), None, 700
    made.snapshot = list
    made.sockets.clear()
    made.asked.clear()
    while not made.subscribed.empty():
        made.subscribed.get()
    monkeypatch.setenv("MDS_CCXT_URL", made.url)
    return made


@pytest.fixture
def store(running: Running) -> Iterator[Store]:
    with two_tenants(running) as made:
        yield made


def stored(store: Store) -> list[tuple[Any, ...]]:
    return store.rows(
        "SELECT r.ts, r.open_price, r.high_price, r.low_price, r.close_price,"
        " r.volume + coalesce(r.volume_fraction, 0) FROM store.bars AS r ORDER BY 1"
    )


@dataclass
class Streamer:
    """A stream that runs in a thread: what it said, what it did, and the time that it believes."""

    store: Store
    dsn: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    now: datetime = NOON
    said: list[str] = field(default_factory=list)
    done: Streamed = field(default_factory=Streamed)
    failure: Exception | None = None
    loop: asyncio.AbstractEventLoop | None = None
    stop: asyncio.Event | None = None
    processor: AsyncBatchProcessor | None = None
    thread: threading.Thread | None = None

    def start(self, **options: Any) -> None:
        self.thread = threading.Thread(target=lambda: asyncio.run(self._work(options)))
        self.thread.start()

    async def _work(self, options: dict[str, Any]) -> None:
        self.loop, self.stop = asyncio.get_running_loop(), asyncio.Event()
        vendor = vendors.make("ccxt", {"exchange": "kraken", "rate_limit": 1, "attempts": 1})
        try:
            async with (
                AMDS(dsn=self.dsn or self.store.dsn, tenant_id=self.store.tenant_a, **self.settings) as client,
                AsyncBatchProcessor(client, BatchConfig(max_ms=10)) as self.processor,
            ):
                streaming = Streaming(
                    client, self.processor, vendor, ["BTC/USD"], "1m", say=self.said.append, now=lambda: self.now,
                    **options,
                )  # fmt: skip
                self.done = streaming.done
                await streaming.run(self.stop)
        except Exception as error:  # noqa: BLE001 - the test looks at it
            self.failure = error

    def end(self) -> Streamed:
        """Stop as Ctrl-C does, and wait."""
        assert self.thread is not None
        if self.loop is not None and self.stop is not None and self.thread.is_alive():
            self.loop.call_soon_threadsafe(self.stop.set)
        self.thread.join(20)
        assert not self.thread.is_alive()
        return self.done


@pytest.fixture
def streamer(store: Store, apis: Apis) -> Iterator[Streamer]:
    made = Streamer(store)
    yield made
    if made.thread is not None:
        made.end()


def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds that another process or thread does."""
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end, "it never held"
        time.sleep(0.01)


def test_only_completed_bars_are_written(streamer: Streamer, apis: Apis, store: Store) -> None:
    streamer.start()
    apis.subscribed.get(timeout=20)
    first, second, third = apis.bars[:3]
    apis.send((first[0], 10.0, 10.5, 10.0, 10.2, 1.0))
    apis.send(first)
    apis.send(second)
    until(lambda: streamer.done.bars == 1)
    apis.send(third)
    until(lambda: streamer.done.bars == 2)
    done = streamer.end()
    # The first as it was at its end; the third is running.
    assert stored(store) == [first, second]
    assert (streamer.failure, done.breaks, done.fetched, done.missed) == (None, 0, 0, [])


def test_the_last_bar_is_written_after_its_interval_has_ended(streamer: Streamer, apis: Apis, store: Store) -> None:
    streamer.now = NOON + MINUTE + GRACE - timedelta(milliseconds=200)
    streamer.start()
    apis.subscribed.get(timeout=20)
    apis.send(apis.bars[0])
    until(lambda: streamer.processor is not None)
    assert streamer.done.bars == 0
    streamer.now += timedelta(seconds=1)
    until(lambda: streamer.done.bars == 1)
    streamer.end()
    assert stored(store) == apis.bars[:1]


def test_bars_missed_during_a_lost_connection_are_fetched_after_reconnecting(
    streamer: Streamer, apis: Apis, store: Store
) -> None:
    streamer.start()
    apis.subscribed.get(timeout=20)
    apis.send(apis.bars[0])
    apis.send(apis.bars[1])
    until(lambda: streamer.done.bars == 1)
    apis.drop()
    apis.subscribed.get(timeout=20)
    streamer.now = NOON + 6 * MINUTE
    # Of the second bar only the beginning was seen; the third to the fifth came meanwhile.
    apis.send(apis.bars[5])
    until(lambda: streamer.done.fetched > 0)
    apis.send(apis.bars[6])
    until(lambda: len(stored(store)) == 6)
    done = streamer.end()
    assert stored(store) == apis.bars[:6]
    assert (streamer.failure, done.breaks, done.missed) == (None, 1, [])
    assert any("the connection broke" in text for text in streamer.said)
    assert any("fetched" in text for text in streamer.said)


def test_bars_received_while_the_database_is_silent_are_written_later(
    streamer: Streamer, apis: Apis, store: Store, relay: Relay
) -> None:
    streamer.dsn, streamer.settings = relay.dsn, {"statement_timeout_ms": 100, "connect_timeout": 1.0}
    streamer.start()
    apis.subscribed.get(timeout=20)
    for bar in apis.bars[:2]:
        apis.send(bar)
    until(lambda: stored(store) == apis.bars[:1])
    relay.silence()
    for bar in apis.bars[2:5]:
        apis.send(bar)
    until(lambda: any(text.startswith("the store does not take rows") for text in streamer.said))
    relay.heal()
    apis.send(apis.bars[5])
    until(lambda: stored(store) == apis.bars[:5])
    until(lambda: "the store takes rows again" in streamer.said)
    streamer.end()
    assert streamer.failure is None


def test_bars_received_while_the_database_is_down_are_written_later(
    apis: Apis, tmp_path_factory: pytest.TempPathFactory
) -> None:
    server = EmbeddedServer(tmp_path_factory.mktemp("own"), port=0, settings=SETTINGS)
    stack = ExitStack()
    try:
        server.up(migration.migrate)
        admin = server.dsn("mds_admin")
        tenant = str(tenants.create_tenant(admin, "a").id)
        store = Store(server.dsn("mds_service"), admin, server.superuser_dsn(DATABASE), tenant, tenant)
        streamer = Streamer(store, settings={"connect_timeout": 1.0})
        streamer.start()
        stack.callback(streamer.end)
        apis.subscribed.get(timeout=20)
        for bar in apis.bars[:2]:
            apis.send(bar)
        until(lambda: stored(store) == apis.bars[:1])
        server.down()
        for bar in apis.bars[2:5]:
            apis.send(bar)
        until(lambda: any(text.startswith("the store does not take rows") for text in streamer.said))
        # At the port that it had.
        EmbeddedServer(server.home, settings=SETTINGS).start()
        apis.send(apis.bars[5])
        until(lambda: stored(store) == apis.bars[:5])
        until(lambda: "the store takes rows again" in streamer.said)
        assert (streamer.failure, streamer.end().missed) == (None, [])
    finally:
        stack.close()
        server.discard()


def test_a_stream_first_fetches_bars_missed_since_the_newest_stored_bar(
    streamer: Streamer, apis: Apis, store: Store
) -> None:
    with MDS(dsn=store.dsn, tenant_id=store.tenant_a) as client:
        client.upsert_bars([_bar(apis.bars[0])])
    streamer.now = NOON + 5 * MINUTE
    streamer.start()
    apis.subscribed.get(timeout=20)
    apis.send(apis.bars[4])
    until(lambda: streamer.done.fetched == 3)
    until(lambda: len(stored(store)) == 4)
    streamer.end()
    assert stored(store) == apis.bars[:4]


def _bar(candle: Candle) -> Bar:
    ts, o, h, low, c, v = candle
    return Bar(
        vendor="kraken", symbol="BTC/USD", timeframe="1m", ts=ts, open_price=o, high_price=h, low_price=low,
        close_price=c, volume=v,
    )  # fmt: skip


def test_a_failed_fetch_of_missed_bars_is_retried_until_it_succeeds(
    streamer: Streamer, apis: Apis, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mds_client.transfer.streams.LONGEST_PAUSE", 0.01)
    streamer.now = NOON + 5 * MINUTE
    streamer.start(start=NOON)
    apis.subscribed.get(timeout=20)
    apis.fault = (503, {})
    apis.send(apis.bars[4])
    until(lambda: sum("cannot be fetched yet" in text for text in streamer.said) > 1)
    apis.fault = None
    until(lambda: streamer.done.fetched == 4)
    done = streamer.end()
    assert (stored(store), done.missed) == (apis.bars[:4], [])


def test_bars_still_missing_at_the_end_are_reported(streamer: Streamer, apis: Apis, store: Store) -> None:
    streamer.now = NOON + 5 * MINUTE
    streamer.start(start=NOON)
    apis.subscribed.get(timeout=20)
    apis.fault = (503, {})
    apis.send(apis.bars[4])
    until(lambda: any("cannot be fetched yet" in text for text in streamer.said))
    assert streamer.end().missed == ["BTC/USD from 2024-01-02T12:00Z to 2024-01-02T12:04Z"]


def test_bars_are_built_from_trades_if_the_exchange_sends_only_trades(
    streamer: Streamer, apis: Apis, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mds_client.vendors.exchanges import LiveBars

    monkeypatch.setattr(LiveBars, "_sends_bars", staticmethod(lambda _exchange: False))
    streamer.now = NOON + 2 * MINUTE
    streamer.start()
    assert apis.subscribed.get(timeout=20) == "trade"
    # The minute in which it connects lacks the trades before: the REST API has it.
    apis.send_trades((NOON + timedelta(seconds=50), 99.0, 1.0))
    apis.send_trades((NOON + MINUTE, 11.0, 2.0), (NOON + MINUTE + timedelta(seconds=1), 14.0, 1.5))
    apis.send_trades((NOON + MINUTE + timedelta(seconds=2), 10.0, 1.0), (NOON + MINUTE * 2, 12.0, 1.0))
    until(lambda: len(stored(store)) == 2)
    streamer.end()
    assert stored(store) == [apis.bars[0], (NOON + MINUTE, 11.0, 14.0, 10.0, 10.0, 4.5)]


def test_a_symbol_unknown_to_the_exchange_ends_the_stream(
    apis: Apis, store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    use(monkeypatch, MDS_DSN=store.dsn, MDS_TENANT_ID=store.tenant_a, MDS_CCXT_URL=apis.url)
    monkeypatch.chdir(tmp_path)
    mds: Run = runs(main, capsys, monkeypatch)
    options = ("--option", "exchange=kraken", "--option", "rate_limit=1")
    done = mds("stream", "ccxt", "NOPE/USD", "--timeframe", "1m", *options)
    assert (done.code, "does not know this symbol" in done.err) == (1, True)
    done = mds("stream", "yfinance", "AAPL", "--timeframe", "1m")
    assert (done.code, "yfinance has no live bars" in done.err) == (1, True)


def test_ctrl_c_writes_pending_bars_and_prints_a_summary(apis: Apis, store: Store, tmp_path: Path) -> None:
    this = datetime.now(UTC).replace(second=0, microsecond=0)
    environment = {**os.environ, "MDS_DSN": store.dsn, "MDS_TENANT_ID": store.tenant_a, "MDS_CCXT_URL": apis.url}
    bars = minutes(this - 3 * MINUTE, 3)
    apis.bars = bars
    command = [
        *(sys.executable, "-m", "mds_client.cli", "stream", "ccxt", "BTC/USD", "--timeframe", "1m"),
        *("--option", "exchange=kraken", "--option", "rate_limit=1", "--max-ms", "600000"),
        *("--start", bars[0][0].isoformat()),
    ]
    with subprocess.Popen(
        command, env=environment, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        apis.subscribed.get(timeout=60)
        apis.send((this, 1.0, 1.0, 1.0, 1.0, 1.0))
        assert process.stderr is not None
        # Then the rows are pending, for ten minutes.
        assert any("fetched 3 missed" in line for line in iter(process.stderr.readline, ""))
        assert stored(store) == []
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")
    assert "3 rows of bars written: 0 live, 3 fetched after 0 breaks, 0 rejected" in out
    assert stored(store) == bars
