"""Pages from templates: the environment, what every page has, and the headers of the console's answers."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from importlib import resources
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from datastore.console import formats
from datastore.console.guard import CSRF_FIELD, CSRF_HEADER, PREFIX, UNATTENDED
from datastore.service.tokens import Scope, Token
from mds_client import __version__

HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
    " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    # Not no-referrer, as the API: with it browsers send no origin along with a form.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
"""Headers of every answer of the console; the service adds those that they have in common."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A page in the navigation. `store_wide` pages are not for tokens of one tenant."""

    path: str
    title: str
    store_wide: bool = False

    def is_for(self, token: Token) -> bool:
        """Whether a token may see it."""
        return not self.store_wide or token.tenant is None


def digest(name: str) -> str:
    """The beginning of the hash of a file of `static`, which is part of its address: a new release has new files."""
    return _DIGESTS[name]


def _digests() -> dict[str, str]:
    found = {}
    for folder in ("", "vendor/"):
        for file in (resources.files("datastore.console") / "static" / folder).iterdir():
            if file.is_file():
                found[folder + file.name] = sha256(file.read_bytes()).hexdigest()[:12]
    return found


_DIGESTS: Final = _digests()


def _asset(name: str) -> str:
    return f"{PREFIX}/static/{digest(name)}/{name}"


def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("datastore.console", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(formats.FILTERS)
    made.globals.update(
        asset=_asset, prefix=PREFIX, csrf_field=CSRF_FIELD, csrf_header=CSRF_HEADER, unattended=UNATTENDED,
        version=__version__,
    )  # fmt: skip
    return made


_ENVIRONMENT: Final = _environment()


def page(request: Request, template: str, *, status: int = 200, **context: Any) -> Response:
    """A page from a template, with what every page has.

    Args:
        request: The request, whose session says who looks.
        template: The template's path below this package.
        status: The answer's status.
        context: What the template shows. Everything is escaped.
    """
    return HTMLResponse(text(request, template, **context), status, HEADERS)


def text(request: Request, template: str, **context: Any) -> str:
    """The text of a page or of a part of one; arguments as for `page`."""
    token: Token | None = getattr(request.state, "token", None)
    session = getattr(request.state, "session", None)
    entries: list[Entry] = request.app.state.entries
    rendered: str = _ENVIRONMENT.get_template(template).render(
        **context,
        token=token,
        csrf="" if session is None else session.csrf,
        now=datetime.now(UTC),
        here=request.url.path,
        entries=[] if token is None else [entry for entry in entries if entry.is_for(token)],
        can_operate=token is not None and token.scope >= Scope.operate,
        can_admin=token is not None and token.scope >= Scope.admin,
        store_wide=token is not None and token.tenant is None,
    )
    return rendered


def is_fragment(request: Request) -> bool:
    """Whether a page asks for a part of itself."""
    return "hx-request" in request.headers


def go(request: Request, path: str, headers: Mapping[str, str] | None = None) -> Response:
    """Send the browser to another page, after a form or within one."""
    if is_fragment(request):
        return Response(status_code=204, headers={**HEADERS, **(headers or {}), "HX-Redirect": path})
    return RedirectResponse(path, 303, {**HEADERS, **(headers or {})})
