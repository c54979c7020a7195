"""Access to the console: the session of a request, and a check that a change comes from one of the console's own pages.

What a token may see and do is decided by `datastore.service.security`, as for the API: `guard` puts the session's token
where those dependencies look for it.
"""

from typing import Final
from urllib.parse import quote, urlsplit

from starlette.requests import Request

from datastore.console.sessions import BrowserSession, Sessions, same
from datastore.service.problems import Refusal

PREFIX: Final = "/console"
COOKIE: Final = "mds_console"
CSRF_FIELD: Final = "csrf"
CSRF_HEADER: Final = "X-CSRF-Token"
UNATTENDED: Final = "X-Unattended"
"""The header of requests that a page makes by itself, and that do not keep a session from becoming idle."""

EVENTS: Final = "text/event-stream"
"""The Accept header of a stream of events. Such a request is not a use of the console, and has no header of ours."""

SAFE: Final = frozenset({"GET", "HEAD"})
OPEN: Final = (f"{PREFIX}/sign-in", f"{PREFIX}/static/")
"""The paths that need no session."""


class SignInNeeded(Exception):
    """A page was asked for without a session. `back` is where to go after signing in."""

    def __init__(self, back: str) -> None:
        super().__init__("sign in")
        self.back = back


async def guard(request: Request) -> None:
    """Let a request pass that has a session and, if it changes something, was sent by one of the console's pages.

    Raises:
        SignInNeeded: There is no session.
        Refusal: The request comes from another site, or lacks the session's CSRF token.
    """
    changes = request.method not in SAFE
    if changes:
        refuse_other_sites(request)
    if request.url.path.startswith(OPEN):
        return
    sessions: Sessions = request.app.state.sessions
    by_itself = UNATTENDED in request.headers or request.headers.get("accept") == EVENTS
    found = sessions.find(request.cookies.get(COOKIE, ""), active=not by_itself)
    if found is None:
        raise SignInNeeded("" if changes else _path(request))
    session, request.state.token = found
    request.state.session = session
    if changes:
        await _check_csrf(request, session)


def refuse_other_sites(request: Request) -> None:
    """Raise Refusal for a request that a page of another site has made, as far as the browser says so."""
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    if site is not None:
        foreign = site not in ("same-origin", "none")
    else:
        foreign = origin is not None and urlsplit(origin).netloc != request.headers.get("host")
    if foreign:
        raise Refusal("forbidden", "the request comes from another site")


async def _check_csrf(request: Request, session: BrowserSession) -> None:
    given = request.headers.get(CSRF_HEADER)
    if given is None:
        value = (await request.form()).get(CSRF_FIELD)
        given = value if isinstance(value, str) else ""
    if not same(session.csrf, given):
        raise Refusal("forbidden", "the form is of another session: go back, load the page again, and repeat")


def _path(request: Request) -> str:
    """The request's path and query, as where to go back to."""
    query = request.url.query
    return quote(request.url.path, safe="/:") + (f"?{query}" if query else "")


def inside(path: str) -> str:
    """The path, if it is one of the console's; else the console's first page: no sign-in leads to another site."""
    safe = path.startswith(f"{PREFIX}/") and "\\" not in path and not any(ord(char) < 33 for char in path)
    return path if safe and not path.startswith(f"{PREFIX}/sign-") else f"{PREFIX}/"
