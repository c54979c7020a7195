"""A FastAPI application that answers latest prices and windows of bars, each request as its caller's tenant.

    pip install '.[service]'      # in a clone
    export KEYS='{"a-long-random-key": "'$MDS_TENANT_ID'"}'     # key: tenant
    uvicorn --app-dir examples latest_prices_app:app &
    curl --header 'X-Api-Key: a-long-random-key' 'http://127.0.0.1:8000/prices?vendor=acme&symbol=AAPL&symbol=MSFT'

With the variables and rows of the quick start it answers two prices. MDS_DSN names the database. One pool serves all
tenants (`for_tenant`); which one a request is, its key says.
"""

import hmac
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated

from fastapi import Depends, FastAPI, Header, HTTPException, Query, Request
from fastapi.responses import JSONResponse

from mds_client import AMDS, Bar, LatestPrice, MDSError, RetryableError


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """The pool lives as long as the application."""
    app.state.keys = json.loads(os.environ["KEYS"])
    async with AMDS(app_name="latest-prices", statement_timeout_ms=2_000) as app.state.amds:
        yield


app = FastAPI(title="Latest prices", lifespan=lifespan)


def tenant(request: Request, x_api_key: Annotated[str, Header()]) -> AMDS:
    """The store as the caller's tenant."""
    for key, tenant_id in request.app.state.keys.items():
        if hmac.compare_digest(key.encode(), x_api_key.encode()):
            found: AMDS = request.app.state.amds.for_tenant(tenant_id)
            return found
    raise HTTPException(401, "no such key")


Tenant = Annotated[AMDS, Depends(tenant)]


@app.exception_handler(MDSError)
async def failed(_: Request, error: MDSError) -> JSONResponse:
    """A passing fault is worth another try; anything else is not the caller's to know."""
    passing = isinstance(error, RetryableError)
    return JSONResponse({"detail": "try again" if passing else type(error).__name__}, 503 if passing else 500)


@app.get("/prices")
async def prices(mds: Tenant, vendor: str, symbol: Annotated[list[str], Query(max_length=500)]) -> list[LatestPrice]:
    """The newest close of each symbol that has one."""
    found: list[LatestPrice] = await mds.latest_prices(symbol, vendor)
    return found


@app.get("/bars/{symbol}")
async def bars(mds: Tenant, symbol: str, vendor: str, timeframe: str, start: datetime, end: datetime) -> list[Bar]:
    """A window, oldest first; a time without a zone is UTC."""
    found: list[Bar] = await mds.bars_window(symbol, timeframe, start, end, vendor)
    return found
