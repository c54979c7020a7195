"""The complete service: `create_app(settings)`, and `app`, which is created from the environment at its first use.

    uvicorn datastore.service.app:app

or `datastore serve`, which explains why it cannot start.
"""

import re
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Any, Final

from fastapi import APIRouter, Depends, FastAPI
from starlette.middleware import Middleware

from datastore import config
from datastore.config import Settings
from datastore.service import documentation, openapi, problems
from datastore.service.middleware import BodyLimit, Requests
from datastore.service.routes import ROUTERS
from datastore.service.security import Authentication, Failures
from datastore.service.state import Service
from datastore.service.tokens import Tokens
from mds_client import __version__

UPLOADS: Final = re.compile(r"/tenants/[^/]+/rows/[^/]+")
"""Paths whose body is an upload of rows."""

PARTS: Final = (*ROUTERS, documentation.router)
"""The routers of all subjects."""

EVERY: Final = APIRouter(dependencies=[Depends(openapi.only_described)])
"""All routes. They are the same in every service of a process: FastAPI takes half a second to prepare them."""

for _router in PARTS:
    EVERY.include_router(_router)


def create_app(settings: Settings, *, unguarded: Collection[str] = ()) -> FastAPI:
    """Create the service as an ASGI application. It opens no connection until one is needed.

    Args:
        settings: The control plane's settings.
        unguarded: Paths whose requests need no bearer token, because the application mounted there authenticates its
            users itself. A path that ends in `/` stands for all paths that begin with it.

    Raises:
        SettingsError: No database is set, or there is no token, because the service is never open to everybody.
    """
    tokens = Tokens(settings)
    failures = Failures(settings.failed_logins)
    service = Service(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        service.close()

    app = FastAPI(
        title="market-data-store",
        version=__version__,
        summary="Administers a multi-tenant store of market data.",
        description=openapi.DESCRIPTION,
        lifespan=lifespan,
        # FastAPI's own pages load scripts from other hosts; `datastore.service.documentation` does not.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        middleware=[
            Middleware(Requests, metrics=service.metrics),
            Middleware(Authentication, tokens=tokens, failures=failures, unguarded=unguarded),
            Middleware(BodyLimit, body=settings.max_body_bytes, upload=settings.max_upload_bytes, uploads=UPLOADS),
        ],
    )
    app.state.service = service
    app.state.tokens = tokens
    app.state.failures = failures
    app.state.routes = [*app.routes, *(route for router in PARTS for route in router.routes)]
    problems.install(app)
    app.router.routes.extend(EVERY.routes)
    openapi.install(app)
    return app


def __getattr__(name: str) -> Any:
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    made = create_app(config.load())
    globals()["app"] = made
    return made
