"""The console put together: a sub-application of the service, under `/console`, to which `/` leads."""

import logging
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

from fastapi import APIRouter, Depends, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from datastore.config import Settings
from datastore.connections import sharing
from datastore.console import signing, static
from datastore.console.guard import PREFIX, SignInNeeded, guard
from datastore.console.live import Streams
from datastore.console.pages import PAGES, sql
from datastore.console.pages.overview.rates import Rates
from datastore.console.rendering import go, is_fragment, page
from datastore.console.sessions import LONGEST_S, Links, Sessions
from datastore.service import app as api
from datastore.service import problems, tokens
from datastore.service.problems import SORTS, Refusal

logger = logging.getLogger("datastore.service")


EVERY: Final = APIRouter(dependencies=[Depends(guard)])
"""All routes of the console, which are prepared once in a process (see `datastore.service.app`)."""

EVERY.include_router(static.router)
EVERY.include_router(signing.router)
for _router, _entry in PAGES:
    EVERY.include_router(_router, prefix=_entry.path.removesuffix("/"))


def create_app(settings: Settings) -> FastAPI:
    """The service with the console.

    Args:
        settings: The control plane's settings.

    Raises:
        SettingsError: No database is named, or there is no token.
    """
    app = api.create_app(settings, unguarded=("/", PREFIX, f"{PREFIX}/"))
    for path in ("/", PREFIX):
        app.router.routes.append(Route(path, _to_console))
    app.state.links = Links()
    app.mount(PREFIX, _console(app))
    return app


def with_sign_in_link(settings: Settings) -> tuple[FastAPI, str]:
    """The service with the console, and the path of a link that signs one browser in as an administrator, once.

    Args:
        settings: The control plane's settings. They need no token: the link has one of its own, which nobody is told.

    Raises:
        SettingsError: No database is named.
    """
    made = tokens.create("sign-in-link", tokens.Scope.admin, expires_in=timedelta(seconds=LONGEST_S))
    app = create_app(replace(settings, tokens=f"{settings.tokens}\n{made.line}"))
    known: tokens.Tokens = app.state.tokens
    token = known.find(made.token)
    assert token is not None
    return app, signing.once(app.state.links.make(token))


async def _to_console(_: Request) -> RedirectResponse:
    return RedirectResponse(f"{PREFIX}/", 307)


def _console(service: FastAPI) -> FastAPI:
    console = FastAPI(
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        middleware=[Middleware(Errors), Middleware(Blanks), Middleware(OneConnection, service.state.service.dsn)],
    )
    for name in ("service", "tokens", "failures"):
        setattr(console.state, name, getattr(service.state, name))
    console.state.sessions = Sessions(service.state.tokens)
    console.state.streams = Streams()
    console.state.rates = Rates()
    console.state.queries = sql.places()
    console.state.links = service.state.links
    console.state.entries = [entry for _, entry in PAGES]
    console.router.routes.extend(EVERY.routes)
    for kind in (RequestValidationError, HTTPException, SignInNeeded):
        console.add_exception_handler(kind, _told)
    return console


def _told(request: Request, error: Exception) -> Response:
    """The page that tells an error."""
    if isinstance(error, SignInNeeded):
        return go(request, signing.address(error.back))
    refusal = problems.refusal_of(error)
    if refusal is None:
        request_id = request.state.request_id
        logger.error("request %s failed", request_id, exc_info=error)
        refusal = Refusal("internal", f"the service's log has more, under the request {request_id}")
    return _page(request, refusal)


def _page(request: Request, refusal: Refusal) -> Response:
    sort = SORTS[refusal.sort]
    context: dict[str, Any] = {"title": sort.title, "detail": refusal.detail}
    if not is_fragment(request):
        answer = page(request, "templates/error.html", status=sort.status, **context)
        answer.headers.update(refusal.headers or {})
        return answer
    answer = page(request, "templates/flash.html", status=sort.status, **context)
    answer.headers.update({"HX-Retarget": "#flash", "HX-Reswap": "innerHTML"})
    return answer


class Blanks:
    """Leaves out what forms have as empty fields: a browser sends every field, and an empty one asks for nothing."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and b"=" in scope["query_string"]:
            given = parse_qsl(scope["query_string"].decode("latin-1"), errors="replace")
            scope = {**scope, "query_string": urlencode(given).encode()}
        await self._app(scope, receive, send)


class OneConnection:
    """Lets the reads of a page share a connection of the control plane, until its answer begins.

    An answer that streams can last, and its reads open connections of their own.
    """

    def __init__(self, app: ASGIApp, dsn: str) -> None:
        self._app = app
        self._dsn = dsn

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with sharing(self._dsn) as end:

            async def sending(message: Message) -> None:
                end()
                await send(message)

            await self._app(scope, receive, sending)


class Errors:
    """Answers with a page what goes wrong in one, as long as nothing of it is sent."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def sending(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except Exception as error:
            if begun:
                raise
            await _told(Request(scope), error)(scope, receive, send)
