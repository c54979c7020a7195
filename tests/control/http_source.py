"""A real HTTP service to fill gaps from, on loopback: bars by symbol and time, paged in three ways, with its faults."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

Fault = tuple[int, dict[str, str]]
"""A status and headers, in place of an answer."""


@dataclass
class Service:
    """What it has, what it was asked, and what it does wrong next; `before` may hold an answer up."""

    url: str = ""
    stamps: list[datetime] = field(default_factory=list)
    page: int = 100_000
    faults: list[Fault] = field(default_factory=list)
    asked: list[tuple[str, dict[str, str], dict[str, str]]] = field(default_factory=list)
    answer: Callable[[str, Mapping[str, str]], Any] | None = None
    before: Callable[[], object] = lambda: None

    @property
    def root(self) -> str:
        return f"{self.url}/v1/"

    def spec(self, **more: Any) -> dict[str, Any]:
        """A source that asks it for everything at once."""
        return {
            "type": "http",
            "url": f"{self.root}bars/{{symbol}}",
            "params": {"from": "{start}", "to": "{end}"},
            "rows": "data.bars",
            "columns": {"ts": "t", "close_price": "c", "volume": "v"},
            **more,
        }

    def bars(self, symbol: str, query: Mapping[str, str]) -> Any:
        """The bars from `from` to `to`, in pages by number, by offset or by link."""
        first, last = (datetime.fromisoformat(query[name]) for name in ("from", "to"))
        wanted = [ts for ts in self.stamps if first <= ts < last]
        offset = int(query.get("offset", 0)) or (int(query.get("page", 1)) - 1) * self.page
        records = [{"t": ts.isoformat(), "c": "1.5", "v": 10, "x": "?"} for ts in wanted[offset : offset + self.page]]
        after = offset + self.page if offset + self.page < len(wanted) else None
        link = f"/v1/bars/{symbol}?from={query['from']}&to={query['to']}&offset={after}" if after else None
        return {"data": {"bars": records}, "next": link, "mark": after}


@contextmanager
def serving(**options: Any) -> Iterator[Service]:
    """A service that runs for as long as the block does."""
    service = Service(**options)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = dict(parse_qsl(parts.query))
            service.asked.append((parts.path, query, {name.lower(): value for name, value in self.headers.items()}))
            service.before()
            if service.faults:
                status, headers = service.faults.pop(0)
                self._say(status, b"{}", headers)
                return
            answer = (service.answer or service.bars)(parts.path.rsplit("/", 1)[-1], query)
            self._say(200, answer if isinstance(answer, bytes) else json.dumps(answer).encode(), {})

        def _say(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """A test's output is not the place."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    service.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def minutes(start: str, end: str) -> list[datetime]:
    """Every minute of a time, UTC."""
    return [at(start) + timedelta(minutes=number) for number in range((at(end) - at(start)) // timedelta(minutes=1))]
