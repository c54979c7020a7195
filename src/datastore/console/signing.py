"""Signing in with a token of the API, and out again."""

import logging
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Query
from starlette.requests import Request
from starlette.responses import Response

from datastore.console.guard import COOKIE, PREFIX, inside
from datastore.console.rendering import go, page
from datastore.console.sessions import Sessions
from datastore.service.security import Failures
from datastore.service.tokens import Tokens

logger = logging.getLogger("datastore.service")

router = APIRouter()


def address(back: str) -> str:
    """Where to sign in, to go on to a page of the console."""
    return f"{PREFIX}/sign-in" + (f"?{urlencode({'back': back})}" if back and inside(back) == back else "")


@router.get("/sign-in")
def form(request: Request, back: Annotated[str, Query()] = "") -> Response:
    """The form that asks for a token."""
    return _form(request, back)


@router.post("/sign-in")
def sign_in(request: Request, token: Annotated[str, Form()] = "", back: Annotated[str, Form()] = "") -> Response:
    """Begin a session with a token. An address that has failed too often waits, as for the API."""
    failures: Failures = request.app.state.failures
    tokens: Tokens = request.app.state.tokens
    client = str(request.client.host if request.client else "local")
    if wait := failures.wait(client):
        answer = _form(request, back, status=429, problem=f"Too many failed attempts. Try again in {wait} s.")
        answer.headers["Retry-After"] = str(wait)
        return answer
    found = tokens.find(token.strip())
    if found is None or (found.expires is not None and found.expires <= datetime.now(UTC)):
        failures.failed(client)
        why = "unknown token" if found is None else f"token {found.name} has expired"
        logger.warning("request %s from %s: %s", request.state.request_id, client, why)
        said = "This token is unknown." if found is None else "This token has expired."
        return _form(request, back, status=401, problem=said)
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


def _form(request: Request, back: str, *, status: int = 200, **context: Any) -> Response:
    return page(request, "templates/sign-in.html", status=status, back=inside(back), problem=context.get("problem"))
