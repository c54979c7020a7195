"""Middleware of every request: an id, headers, a limit of its size, a line in the log.

Plain ASGI, so that bodies and answers stream through. Who asks is found out in `datastore.service.security`.
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
"""How long a statement of a request may take, in seconds; what takes longer is a job."""

REQUEST_ID: Final = "X-Request-ID"

_ID: Final = re.compile(r"[A-Za-z0-9._-]{8,64}")

HEADERS: Final = {
    # Nothing here is for a browser to run, frame, guess at or keep.
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Strict-Transport-Security": "max-age=31536000",
}
"""Security headers of every answer. (RFC 6797: the last one counts over TLS only.)"""


class Requests:
    """Gives each request an id, its caller's own if that is a decent one; adds headers to the answer; logs a line.

    The line is JSON: a path may hold anything. It has no query and no header, where someone may have put a secret.
    What no endpoint expected is logged with its traceback, and answered as a problem without.
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
            # Some errors are known, and arise where no handler is around: while an answer streams, in a middleware.
            refusal = problems.refusal_of(error)
            if refusal is None:
                logger.exception("request %s failed", request_id)
                refusal = Refusal("internal", "the service's log has more, under the request's id")
            if status is not None:
                # Half an answer is out: breaking off is all that is left to tell that it is not whole.
                raise
            await problems.response(request_id, refusal)(scope, receive, sending)
        finally:
            self._ended(scope, status, time.monotonic() - began)

    def _ended(self, scope: Scope, status: int | None, seconds: float) -> None:
        """Count a request, and log its line. Its status is None where nothing was answered."""
        route = getattr(scope.get("route"), "path_format", None)
        if route is not None:
            # Of what is mounted, the route's own path begins where it is mounted.
            route = scope.get("root_path", "") + route
        # Where nothing was answered, the client has gone.
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
    """Refuses bodies that are larger than they may be, by what is announced or by what has come.

    `upload` is for paths that match `uploads`, `body` for all others; both in bytes.
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
        refusal = Refusal("too-large", f"a body may have {limit} bytes here", headers={"Connection": "close"})
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
