"""Middleware of every request: an id, headers, a limit of its size, a line in the log.

This is plain ASGI, so that bodies and answers stream through. `datastore.service.security` authenticates.
"""

import json
import logging
import re
import time
from typing import Final
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from datastore.connections import limited
from datastore.metrics import ServiceMetrics
from datastore.service import problems
from datastore.service.problems import Refusal

access = logging.getLogger("datastore.service.access")
logger = logging.getLogger("datastore.service")

STATEMENT_S: Final = 60.0
"""The longest time of a statement of a request, in seconds; longer work must be a job."""

REQUEST_ID: Final = "X-Request-ID"

_ID: Final = re.compile(r"[A-Za-z0-9._-]{8,64}")

HEADERS: Final = {
    # No browser should run, frame, guess the type of, or store an answer.
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Strict-Transport-Security": "max-age=31536000",
}
"""Security headers of every answer. (RFC 6797: the last one takes effect only over TLS.)"""


class Requests:
    """Give each request an id (the caller's own if it is valid), add headers to the answer, and log a line.

    The line is JSON, because a path may hold any character. It has no query and no headers, which may contain secrets.
    An unexpected error is logged with its traceback, and answered as a problem without it.
    """

    def __init__(self, app: ASGIApp, metrics: ServiceMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(REQUEST_ID, "")
        request_id = given if _ID.fullmatch(given) else uuid4().hex
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        began = time.monotonic()
        self._metrics.request_began()
        status: int | None = None

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers[REQUEST_ID] = request_id
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            with limited(STATEMENT_S):
                await self._app(scope, receive, sending)
        except ClientDisconnect as gone:
            logger.info("request %s: %s", request_id, str(gone) or "its client has gone")
        except Exception as error:
            # Some known errors arise outside the handlers: while an answer streams, or in a middleware.
            refusal = problems.refusal_of(error)
            if refusal is None:
                logger.exception("request %s failed", request_id)
                refusal = Refusal("internal", "find the cause in the service's log under the request's id")
            if status is not None:
                # Part of the answer is sent: only a broken connection can tell the client that it is incomplete.
                raise
            await problems.response(request_id, refusal)(scope, receive, sending)
        finally:
            self._ended(scope, status, time.monotonic() - began)

    def _ended(self, scope: Scope, status: int | None, seconds: float) -> None:
        """Count a request, and log its line. The status is None if nothing was answered."""
        route = getattr(scope.get("route"), "path_format", None)
        if route is not None:
            # The route's own path of a mounted application begins at its mount point.
            route = scope.get("root_path", "") + route
        # Without an answer, the client has gone.
        self._metrics.request_ended(route, scope["method"], status or 499, seconds)
        state = scope["state"]
        line = {
            "request": state["request_id"],
            "method": scope["method"],
            "path": scope["path"],
            "status": status,
            "seconds": round(seconds, 4),
            "token": getattr(state.get("token"), "name", None),
            "client": (scope.get("client") or [None])[0],
        }
        access.info("%s", json.dumps(line))


class BodyLimit:
    """Refuse bodies that are too large, by the announced or the received size.

    `upload` is the limit for paths that match `uploads`, `body` for all others; both in bytes.
    """

    def __init__(self, app: ASGIApp, body: int, upload: int, uploads: re.Pattern[str]) -> None:
        self._app = app
        self._body = body
        self._upload = upload
        self._uploads = uploads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._upload if self._uploads.fullmatch(scope["path"]) else self._body
        refusal = Refusal("too-large", f"the body may have at most {limit} bytes", headers={"Connection": "close"})
        announced = Headers(scope=scope).get("content-length", "0")
        if not announced.isdecimal() or int(announced) > limit:
            raise refusal
        come = 0

        async def receiving() -> Message:
            nonlocal come
            message = await receive()
            come += len(message.get("body", b""))
            if come > limit:
                raise refusal
            return message

        await self._app(scope, receiving, send)
