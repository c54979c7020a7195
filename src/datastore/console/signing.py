"""Signing in with a token of the API, and out again."""

import logging
from datetime import UTC, datetime
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Query
from starlette.requests import Request
from starlette.responses import Response

from datastore.console.guard import COOKIE, PREFIX, inside, refuse_other_sites
from datastore.console.rendering import go, page
from datastore.console.sessions import Links, Sessions
from datastore.service.security import Failures
from datastore.service.tokens import Token, Tokens

logger = logging.getLogger("datastore.service")

router = APIRouter()


def address(back: str) -> str:
    """Return the address of the sign-in page, which continues to a page of the console."""
    return f"{PREFIX}/sign-in" + (f"?{urlencode({'back': back})}" if back and inside(back) == back else "")


def once(code: str) -> str:
    """The path of a link that signs in by a code."""
    return f"{PREFIX}/sign-in/once?{urlencode({'code': code})}"


@router.get("/sign-in")
def form(request: Request, back: Annotated[str, Query()] = "") -> Response:
    """The form that asks for a token."""
    return _form(request, back)


@router.post("/sign-in")
def sign_in(request: Request, token: Annotated[str, Form()] = "", back: Annotated[str, Form()] = "") -> Response:
    """Begin a session with a token. An address that has failed too often waits, as for the API."""
    if (refused := _waits(request, back)) is not None:
        return refused
    tokens: Tokens = request.app.state.tokens
    found = tokens.find(token.strip())
    if found is None:
        return _failed(request, back, "This token is unknown.")
    return _begin(request, found, back)


@router.get("/sign-in/once")
def sign_in_once(request: Request, code: Annotated[str, Query()] = "") -> Response:
    """Begin a session by a link that works once. No other site can send a browser here."""
    refuse_other_sites(request)
    if (refused := _waits(request, "")) is not None:
        return refused
    links: Links = request.app.state.links
    found = links.use(code)
    if found is None:
        return _failed(request, "", "This link was used already, or is too old. Sign in with a token.")
    return _begin(request, found, "")


def _waits(request: Request, back: str) -> Response | None:
    """The answer to an address that has failed too often."""
    failures: Failures = request.app.state.failures
    if not (wait := failures.wait(_client(request))):
        return None
    answer = _form(request, back, status=429, problem=f"Too many failed attempts. Try again in {wait} s.")
    answer.headers["Retry-After"] = str(wait)
    return answer


def _failed(request: Request, back: str, problem: str) -> Response:
    failures: Failures = request.app.state.failures
    failures.failed(_client(request))
    logger.warning("request %s from %s: signing in failed", request.state.request_id, _client(request))
    return _form(request, back, status=401, problem=problem)


def _client(request: Request) -> str:
    return str(request.client.host if request.client else "local")


def _begin(request: Request, found: Token, back: str) -> Response:
    if found.expires is not None and found.expires <= datetime.now(UTC):
        return _failed(request, back, "This token has expired.")
    sessions: Sessions = request.app.state.sessions
    # A session that is there already is not gone on with: its cookie may be known to someone.
    sessions.end(request.cookies.get(COOKIE, ""))
    answer = go(request, inside(back))
    answer.set_cookie(
        COOKIE, sessions.begin(found), path=PREFIX, httponly=True, samesite="strict",
        secure=request.url.scheme == "https",
    )  # fmt: skip
    return answer


@router.post("/sign-out")
def sign_out(request: Request) -> Response:
    """End the session."""
    sessions: Sessions = request.app.state.sessions
    sessions.end(request.cookies.get(COOKIE, ""))
    answer = go(request, address(""))
    answer.delete_cookie(COOKIE, path=PREFIX, httponly=True, samesite="strict")
    return answer


def _form(request: Request, back: str, *, status: int = 200, problem: str | None = None) -> Response:
    return page(request, "templates/sign-in.html", status=status, back=inside(back), problem=problem)
