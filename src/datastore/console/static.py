"""The console's own files: styles, scripts, and the libraries that it brings along."""

import mimetypes
from importlib import resources
from typing import Final

from fastapi import APIRouter
from starlette.responses import Response

from datastore.console.rendering import HEADERS, digest
from datastore.service.problems import Refusal

router = APIRouter()

_KEEP: Final = {"Cache-Control": "public, max-age=31536000, immutable"}


@router.get("/static/{version}/{name:path}")
def asset(version: str, name: str) -> Response:
    """A file, which browsers keep for as long as they like: another one has another address."""
    try:
        known = digest(name) == version
    except KeyError:
        known = False
    if not known:
        raise Refusal("not-found", "there is nothing under this path")
    content = (resources.files("datastore.console") / "static" / name).read_bytes()
    kind = mimetypes.guess_type(name)[0] or "text/plain"
    return Response(content, media_type=kind, headers={**HEADERS, **_KEEP})
