"""`/docs`: the API's documentation for people, from files of this package, without requests to other hosts."""

import gzip
from functools import cache
from importlib import resources
from typing import Final

from fastapi import APIRouter, Request, Response

router = APIRouter(include_in_schema=False)

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The page's Content-Security-Policy: scripts and requests of this host only, and no inline script."""

FILES: Final = {
    "/docs": ("index.html", "text/html"),
    "/docs/start.js": ("start.js", "text/javascript"),
    "/docs/swagger-ui-bundle.js": ("swagger-ui-bundle.js.gz", "text/javascript"),
    "/docs/swagger-ui.css": ("swagger-ui.css.gz", "text/css"),
}
"""The files of the page by path; they need no token."""


@cache
def _content(name: str) -> bytes:
    return resources.files("datastore.service").joinpath("swagger", name).read_bytes()


def show(request: Request) -> Response:
    """Send a file of the page. Compressed files are sent as they are to clients that accept gzip."""
    name, media_type = FILES[request.url.path]
    content = _content(name)
    headers = {"Content-Security-Policy": POLICY, "Cache-Control": "no-cache"}
    if name.endswith(".gz"):
        headers["Vary"] = "Accept-Encoding"
        if "gzip" in request.headers.get("accept-encoding", ""):
            headers["Content-Encoding"] = "gzip"
        else:
            content = gzip.decompress(content)
    return Response(content, media_type=media_type, headers=headers)


for path in FILES:
    router.get(path)(show)
