"""The APIs of all vendors on one port of loopback, each in the shape that its vendor documents, with their faults.

One list of bars is behind all of them. Kraken also sends bars over a WebSocket, and can cut the connection.
"""

import asyncio
import io
import json
import queue
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import databento_dbn as dbn
from aiohttp import WSMsgType, web

from tests.listening import stop_accepting

Candle = tuple[datetime, float, float, float, float, float]

Fault = tuple[int, dict[str, str]]
"""A status and headers, in place of an answer."""


@dataclass
class Apis:
    """What the vendors have, what they were asked, and what they do wrong.

    `fault` is the answer of the next `faults` requests; `silent` requests are never answered; `spoil` makes the second
    price of Alpaca no number.
    """

    url: str = ""
    symbol: str = "AAPL"
    bars: list[Candle] = field(default_factory=list)
    page: int = 10_000
    fault: Fault | None = None
    faults: int = 1_000
    spoil: bool = False
    asked: list[tuple[str, dict[str, str], dict[str, str]]] = field(default_factory=list)
    silent: bool = False
    zone: str = "America/New_York"
    sockets: list[web.WebSocketResponse] = field(default_factory=list)
    subscribed: "queue.Queue[str]" = field(default_factory=queue.Queue)
    loop: asyncio.AbstractEventLoop | None = None
    snapshot: Callable[[], list[Candle]] = list

    def between(self, start: float, end: float, unit: float = 1.0) -> list[Candle]:
        """The bars of a time, as counts of a unit since 1970, the end included."""
        return [bar for bar in self.bars if start <= bar[0].timestamp() * unit <= end]

    def paths(self, part: str) -> list[dict[str, str]]:
        """What was asked of the paths with that in them."""
        return [query for path, query, _ in self.asked if part in path]

    # The WebSocket, from the test's thread ---------------------------------------------------------------------------

    def send(self, *bars: Candle) -> None:
        """Send bars to all that are connected."""
        self._run(self._send(json.dumps(ohlc(self.symbol, list(bars), "update"))))

    def send_trades(self, *trades: tuple[datetime, float, float]) -> None:
        """Send trades: a time, a price and an amount each."""
        data = [
            {
                "symbol": self.symbol, "side": "buy", "price": price, "qty": amount, "ord_type": "market",
                "trade_id": round(ts.timestamp() * 1000), "timestamp": ts.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            }
            for ts, price, amount in trades
        ]  # fmt: skip
        self._run(self._send(json.dumps({"channel": "trade", "type": "update", "data": data})))

    def drop(self) -> None:
        """Cut all connections, without a word."""
        self._run(self._drop())

    async def _send(self, text: str) -> None:
        for socket in [one for one in self.sockets if not one.closed]:
            await socket.send_str(text)

    async def _drop(self) -> None:
        for socket in self.sockets:
            transport = socket._req.transport if socket._req is not None else None
            if transport is not None:
                transport.abort()
        self.sockets.clear()

    def _run(self, work: Any) -> None:
        assert self.loop is not None
        asyncio.run_coroutine_threadsafe(work, self.loop).result(10)


def ohlc(symbol: str, bars: list[Candle], kind: str) -> dict[str, Any]:
    """A message of Kraken's channel ohlc. Bars are newest first, as ccxt reads them."""
    data = [
        {
            "symbol": symbol, "open": o, "high": h, "low": low, "close": c, "trades": 3, "volume": v, "vwap": c,
            "interval_begin": ts.strftime("%Y-%m-%dT%H:%M:%S.000000000Z"), "interval": 1,
            "timestamp": (ts + timedelta(minutes=1)).strftime("%Y-%m-%dT%H:%M:%S.000000Z"),
        }
        for ts, o, h, low, c, v in reversed(bars)
    ]  # fmt: skip
    return {"channel": "ohlc", "type": kind, "timestamp": "2024-01-02T00:00:00Z", "data": data}


def days(start: str, count: int, hour: int = 0) -> list[Candle]:
    """Bars of days, one after the other."""
    first = datetime.fromisoformat(start).replace(tzinfo=UTC, hour=hour)
    return [(first + timedelta(days=n), 10.0 + n, 12.0 + n, 9.0 + n, 11.5 + n, 1000.0 + n) for n in range(count)]


def minutes(first: datetime, count: int) -> list[Candle]:
    """Bars of minutes, one after the other."""
    return [(first + timedelta(minutes=n), 10.0 + n, 12.0 + n, 9.0 + n, 11.5 + n, 1000.0 + n) for n in range(count)]


def _yahoo(apis: Apis, request: web.Request) -> web.Response:
    query = request.query
    known = request.match_info["symbol"] == apis.symbol
    if not known:
        error = {"code": "Not Found", "description": "No data found, symbol may be delisted"}
        return web.json_response({"chart": {"result": None, "error": error}}, status=404)
    bars = [] if "range" in query else apis.between(float(query["period1"]), float(query["period2"]) - 1)
    session = {"timezone": "EST", "start": 0, "end": 4_000_000_000, "gmtoffset": -18000}
    meta = {
        "currency": "USD", "symbol": apis.symbol, "exchangeName": "NMS", "instrumentType": "EQUITY",
        "exchangeTimezoneName": apis.zone, "gmtoffset": -18000, "timezone": "EST", "priceHint": 2,
        "dataGranularity": query["interval"], "range": query.get("range", ""), "validRanges": ["1d", "max"],
        "regularMarketPrice": 1.0, "regularMarketTime": 0, "firstTradeDate": 0,
        "currentTradingPeriod": {"pre": session, "regular": session, "post": session},
    }  # fmt: skip
    if query["interval"].endswith(("m", "h")):
        opening = [int(bar[0].timestamp()) for bar in bars[:1]]
        meta["tradingPeriods"] = [[{**session, "start": at, "end": at + 86400}] for at in opening]
    quote = {name: [bar[at] for bar in bars] for at, name in enumerate(("open", "high", "low", "close", "volume"), 1)}
    result: dict[str, Any] = {"meta": meta, "indicators": {"quote": [quote if bars else {}]}}
    if bars:
        result["timestamp"] = [int(bar[0].timestamp()) for bar in bars]
        if not query["interval"].endswith(("m", "h")):
            result["indicators"]["adjclose"] = [{"adjclose": [bar[4] / 2 for bar in bars]}]
    return web.json_response({"chart": {"result": [result], "error": None}})


def _alpaca(apis: Apis, request: web.Request) -> web.Response:
    query = request.query
    symbol = query["symbols"]
    if symbol != apis.symbol:
        return web.json_response({"message": f"invalid symbol: {symbol}"}, status=400)
    start, end = (datetime.fromisoformat(query[name]).timestamp() for name in ("start", "end"))
    bars = apis.between(start, end)
    at = int(query.get("page_token") or 0)
    some = bars[at : at + apis.page]
    following = str(at + apis.page) if at + apis.page < len(bars) else None
    made = [
        {"t": ts.strftime("%Y-%m-%dT%H:%M:%SZ"), "o": o, "h": h, "l": low, "c": c, "v": v, "n": 3, "vw": c}
        for ts, o, h, low, c, v in some
    ]
    if apis.spoil:
        made[1]["c"] = "n/a"
    return web.json_response({"bars": {symbol: made} if made else {}, "next_page_token": following})


def _massive(apis: Apis, request: web.Request) -> web.Response:
    of_it = request.match_info
    bars = apis.between(float(of_it["start"]), float(of_it["end"]), 1000) if of_it["symbol"] == apis.symbol else []
    at = int(request.query.get("cursor") or 0)
    some = bars[at : at + apis.page]
    body = {
        "ticker": of_it["symbol"], "queryCount": len(some), "resultsCount": len(some), "status": "OK",
        "adjusted": request.query.get("adjusted") == "true", "request_id": "1", "count": len(some),
        "results": [{"v": v, "vw": c, "o": o, "c": c, "h": h, "l": low, "t": round(ts.timestamp() * 1000), "n": 3}
                    for ts, o, h, low, c, v in some],
    }  # fmt: skip
    if not some:
        del body["results"]
    if at + apis.page < len(bars):
        body["next_url"] = f"https://api.massive.com{request.path}?cursor={at + apis.page}"
    return web.json_response(body)


async def _databento(apis: Apis, request: web.Request) -> web.Response:
    asked = await request.post()
    if asked["symbols"] != apis.symbol:
        detail = {"case": "symbology_invalid_request", "message": "None of the symbols could be resolved", "docs": ""}
        return web.json_response({"detail": detail}, status=422)
    moments = [datetime.fromisoformat(str(asked[name])) for name in ("start", "end")]
    start, end = (int(one.replace(tzinfo=one.tzinfo or UTC).timestamp()) for one in moments)
    day = moments[0].date()
    known = SimpleNamespace(start_date=day, end_date=day + timedelta(days=4000), symbol="7")
    metadata = dbn.Metadata(
        dataset=str(asked["dataset"]), start=start * 10**9, stype_in=dbn.SType("raw_symbol"),
        stype_out=dbn.SType("instrument_id"), schema=dbn.Schema(str(asked["schema"])), symbols=[apis.symbol],
        partial=[], not_found=[], end=end * 10**9, version=dbn.DBN_VERSION,
        mappings=[SimpleNamespace(raw_symbol=apis.symbol, intervals=[known])],
    )  # fmt: skip
    kind = {"ohlcv-1s": 32, "ohlcv-1m": 33, "ohlcv-1h": 34, "ohlcv-1d": 35}[str(asked["schema"])]
    stream = io.BytesIO()
    stream.write(metadata.encode())
    for ts, o, h, low, c, v in apis.between(start, end - 1):
        record = dbn.OHLCVMsg(
            rtype=kind, publisher_id=2, instrument_id=7, ts_event=int(ts.timestamp()) * 10**9,
            open=round(o * 10**9), high=round(h * 10**9), low=round(low * 10**9), close=round(c * 10**9), volume=int(v),
        )  # fmt: skip
        stream.write(bytes(record))
    return web.Response(body=_zstd(stream.getvalue()))


def _zstd(data: bytes) -> bytes:
    import zstandard

    return zstandard.compress(data)


def _kraken(apis: Apis, request: web.Request) -> web.Response:
    base, _, quote = apis.symbol.partition("/")
    if request.path.endswith("/AssetPairs"):
        pair = {
            "altname": f"{base}{quote}", "wsname": apis.symbol, "aclass_base": "currency", "base": base,
            "aclass_quote": "currency", "quote": quote, "pair_decimals": 1, "cost_decimals": 5, "lot_decimals": 8,
            "lot_multiplier": 1, "leverage_buy": [], "leverage_sell": [], "fees": [[0, 0.4]], "fees_maker": [[0, 0.2]],
            "fee_volume_currency": "ZUSD", "ordermin": "0.0001", "costmin": "0.5", "tick_size": "0.1",
            "status": "online",
        }  # fmt: skip
        return web.json_response({"error": [], "result": {f"{base}{quote}": pair}})
    if request.path.endswith("/Assets"):
        asset = {"aclass": "currency", "decimals": 10, "display_decimals": 5, "status": "enabled"}
        return web.json_response({"error": [], "result": {name: {**asset, "altname": name} for name in (base, quote)}})
    since = int(float(request.query.get("since", 0)))
    bars = [bar for bar in apis.bars if bar[0].timestamp() > since][: apis.page]
    rows = [[int(ts.timestamp()), str(o), str(h), str(low), str(c), str(c), str(v), 3] for ts, o, h, low, c, v in bars]
    return web.json_response({"error": [], "result": {f"{base}{quote}": rows, "last": 0}})


async def _kraken_socket(apis: Apis, request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    apis.sockets.append(socket)
    async for message in socket:
        if message.type != WSMsgType.TEXT:
            break
        asked = json.loads(message.data)
        if asked.get("method") == "ping":
            await socket.send_str(json.dumps({"method": "pong", "req_id": asked.get("req_id")}))
        if asked.get("method") != "subscribe":
            continue
        channel = asked["params"]["channel"]
        told = {"channel": channel, "symbol": apis.symbol, "interval": 1, "snapshot": True}
        await socket.send_str(
            json.dumps({"method": "subscribe", "success": True, "req_id": asked["req_id"], "result": told})
        )
        if bars := apis.snapshot():
            await socket.send_str(json.dumps(ohlc(apis.symbol, bars, "snapshot")))
        apis.subscribed.put(channel)
    return socket


def _app(apis: Apis, ended: asyncio.Event) -> web.Application:
    """The routes of every vendor. A request of silent APIs is answered when they end."""

    def handled(answer: Callable[[Apis, web.Request], Any]) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            headers = {name.lower(): value for name, value in request.headers.items()}
            apis.asked.append((request.path, dict(request.query), headers))
            if apis.silent:
                await ended.wait()
            if apis.fault is not None and apis.faults > 0:
                apis.faults -= 1
                status, extra = apis.fault
                # As some do it: the answer has what it was asked with.
                said = f"fault of {dict(request.headers)}"
                return web.json_response(
                    {"message": said, "detail": said, "error": [said]}, status=status, headers=extra
                )
            made = answer(apis, request)
            response: web.StreamResponse = await made if asyncio.iscoroutine(made) else made
            return response

        return handle

    async def crumb(_request: web.Request) -> web.Response:
        return web.Response(text="crumb")

    async def socket(request: web.Request) -> web.StreamResponse:
        return await _kraken_socket(apis, request)

    app = web.Application()
    app.router.add_get("/v1/test/getcrumb", crumb)
    app.router.add_get("/v8/finance/chart/{symbol}", handled(_yahoo))
    app.router.add_get("/v2/stocks/bars", handled(_alpaca))
    app.router.add_get("/v1beta3/crypto/us/bars", handled(_alpaca))
    app.router.add_get("/v2/aggs/ticker/{symbol}/range/{amount}/{unit}/{start}/{end}", handled(_massive))
    app.router.add_post("/v0/timeseries.get_range", handled(_databento))
    app.router.add_get("/0/public/{what}", handled(_kraken))
    app.router.add_get("/v2", socket)
    return app


async def _end(runner: web.AppRunner, listening: Sequence[Any]) -> None:
    """End the server. A library's thread whose request was given up may just be connecting."""
    await stop_accepting(listening)
    await runner.cleanup()
    # A transport closes its socket in the loop's next round.
    await asyncio.sleep(0)


@contextmanager
def serving(**options: Any) -> Iterator[Apis]:
    """The APIs, for as long as the block runs."""
    apis = Apis(**options)
    started = threading.Event()
    loop = asyncio.new_event_loop()
    ended = asyncio.Event()
    runner: list[web.AppRunner] = []
    listening: list[Any] = []

    async def start() -> None:
        made = web.AppRunner(_app(apis, ended), access_log=None, shutdown_timeout=0.1)
        await made.setup()
        site = web.TCPSite(made, "127.0.0.1", 0)
        await site.start()
        runner.append(made)
        listening.extend(cast("asyncio.Server", site._server).sockets)
        apis.url = f"http://127.0.0.1:{made.addresses[0][1]}"
        started.set()

    def work() -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(start())
        loop.run_forever()

    apis.loop = loop
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    assert started.wait(10)
    try:
        yield apis
    finally:
        loop.call_soon_threadsafe(ended.set)
        asyncio.run_coroutine_threadsafe(_end(runner[0], listening), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
