"""Streams of server-sent events for open pages. Each event has the current content of a part of the page.

A stream reads the database once a second. If nothing has changed, it sends a heartbeat every few seconds. It ends with
its session, when the service stops, and after a minute in any case. The browser then requests another stream, which is
checked like every request. A browser that gets no stream requests the part of the page every few seconds
(`static/live.js`).
"""

import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Final

import anyio
from fastapi.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from datastore import tenants
from datastore.connections import sharing
from datastore.console.guard import COOKIE, EVENTS
from datastore.console.rendering import HEADERS
from datastore.console.sessions import BrowserSession, Sessions
from datastore.service.lines import Paced
from datastore.service.problems import RETRY_AFTER_S, Refusal, refusal_of
from datastore.service.state import Service
from datastore.service.tokens import Token

TICK_S: float = 1.0
"""Seconds between two reads of a stream."""

BEAT_S: float = 10.0
"""Seconds without a change after which a heartbeat is sent. A page that misses two heartbeats closes the stream."""

LIVES_S: float = 60.0
"""Seconds after which a stream ends; the browser then requests another one."""

IN_ALL: Final = 24
"""The maximum of streams. Each reads the database every second."""

EACH: Final = 3
"""The maximum of streams of a session: a browser has six connections to a host for all its tabs."""


@dataclass(frozen=True, slots=True)
class Part:
    """The current content of a part of a page, as text. After the last one, nothing changes any more."""

    text: str
    last: bool = False


class Streams:
    """Counts the streams, in all and of each session. For one event loop."""

    def __init__(self, in_all: int = IN_ALL, each: int = EACH) -> None:
        self._in_all = in_all
        self._each = each
        self._held: Counter[bytes] = Counter()

    def take(self, session: BrowserSession) -> None:
        """Count one more stream of a session. Raises Refusal at the maximum."""
        if self._held.total() >= self._in_all or self._held[session.key] >= self._each:
            again = {"Retry-After": str(RETRY_AFTER_S)}
            raise Refusal("unavailable", "too many pages are being followed at the moment", headers=again)
        self._held[session.key] += 1

    def leave(self, session: BrowserSession) -> None:
        """Count one less."""
        self._held -= Counter((session.key,))


class Events(Paced):
    """A response that is a stream of events. It counts as a stream of its session until its end."""

    def __init__(self, request: Request, read: Callable[[], Part]) -> None:
        self._session: BrowserSession = request.state.session
        self._streams: Streams = request.app.state.streams
        # Without it, a proxy that buffers responses would keep the events back until the end.
        more = {"X-Accel-Buffering": "no"}
        super().__init__(_events(request, _looked(request, read), read), media_type=EVENTS, headers={**HEADERS, **more})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._streams.take(self._session)
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._streams.leave(self._session)


def follow(request: Request, read: Callable[[], Part]) -> Events:
    """Return a stream of what `read` returns. Call it in a thread.

    Args:
        request: The request of the stream.
        read: Returns the current content. It is called in threads, one call at a time, the first time here.

    Raises:
        Exception: `read` failed the first time. A later failure ends the stream.
    """
    return Events(request, read)


async def _events(request: Request, part: Part, read: Callable[[], Part]) -> AsyncIterator[bytes]:
    ending = request.state.ending = anyio.Event()
    until = time.monotonic() + LIVES_S
    yield b"retry: 2000\n\n" + _event("part", part.text)
    sent, at = part.text, time.monotonic()
    while not part.last and time.monotonic() < until:
        with anyio.move_on_after(TICK_S):
            await ending.wait()
        if ending.is_set() or not _lasts(request):
            return
        try:
            part = await run_in_threadpool(_looked, request, read)
        except Exception as error:
            if refusal_of(error) is None:
                raise
            return
        if part.text != sent:
            yield _event("part", part.text)
            sent, at = part.text, time.monotonic()
        elif time.monotonic() - at >= BEAT_S:
            yield _event("beat", "")
            at = time.monotonic()
    if part.last:
        yield _event("end", "")


def _looked(request: Request, read: Callable[[], Part]) -> Part:
    """Return the current content. Raises Refusal if the token's tenant was disabled meanwhile."""
    token: Token = request.state.token
    here: Service = request.app.state.service
    with sharing(here.dsn):
        if token.tenant is not None and tenants.get_tenant(here.dsn, token.tenant).disabled_at is not None:
            raise Refusal("forbidden", "the token's tenant is disabled")
        return read()


def _lasts(request: Request) -> bool:
    """Whether the session still exists. A stream does not keep it alive."""
    sessions: Sessions = request.app.state.sessions
    return sessions.find(request.cookies.get(COOKIE, ""), active=False) is not None


def _event(name: str, text: str) -> bytes:
    lines: Any = (f"data: {line}\n" for line in text.split("\n"))
    return f"event: {name}\n{''.join(lines)}\n".encode()
