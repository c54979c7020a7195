"""The page of SQL: one SELECT as a tenant, with a limit of time and of rows."""

from functools import partial
from typing import Annotated, Any, Final

from fastapi import APIRouter, Form
from fastapi.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from datastore import aggregates, querying
from datastore.console.asked import ChosenTenant
from datastore.console.pages.sql.drawing import NUMBERS, drawn
from datastore.console.rendering import Entry, page
from datastore.querying import QueryError
from datastore.service.places import Places
from datastore.service.problems import Refusal
from datastore.service.security import Reader
from datastore.service.state import Here
from datastore.service.tokens import Token
from mds_client import KINDS

ENTRY: Final = Entry("/sql", "SQL")

router = APIRouter()

LONGEST: Final = 20_000
"""Characters of a statement."""

EXAMPLE: Final = "SELECT vendor, symbol, timeframe, last_ts, last_price\nFROM series\nORDER BY last_ts DESC\nLIMIT 20"


def places() -> Places:
    """The maximum of queries at a time. Each has a database session and a thread."""
    return Places("queries", in_all=4, each=2, wait_s=5.0)


@router.get("")
def form(request: Request, _: Reader, choice: ChosenTenant) -> Response:
    """The form, with an example."""
    return _page(request, choice, EXAMPLE)


@router.post("")
async def run(
    request: Request,
    here: Here,
    _: Reader,
    choice: ChosenTenant,
    statement: Annotated[str, Form(max_length=LONGEST)] = "",
) -> Response:
    """Run the statement, and show what it found or why it cannot be run."""
    if choice.chosen is None:
        raise Refusal("invalid", "there is no tenant to run it as")
    waiting: Places = request.app.state.queries
    async with waiting.taken(choice.chosen.id):
        try:
            result = await run_in_threadpool(partial(querying.query, here.dsn, choice.chosen.id, statement))
        except QueryError as error:
            return await run_in_threadpool(_page, request, choice, statement, problem=str(error))
    return await run_in_threadpool(_page, request, choice, statement, result=result)


def _page(request: Request, choice: Any, statement: str, **context: Any) -> Response:
    shown = {"result": None, "problem": None, **context}
    token: Token = request.state.token
    result = shown["result"]
    # By the token's hash, of which its beginning says nothing: another token on this browser has queries of its own.
    owner = f"{token.digest.hex()[:16]} {choice.chosen.id if choice.chosen else ''}"
    return page(
        request,
        "pages/sql/page.html",
        choice=choice,
        statement=statement,
        relations=[*KINDS, *aggregates.names(), "series", "symbols", "latest_prices"],
        seconds=querying.SECONDS,
        rows=querying.ROWS,
        owner=owner,
        drawing=None if result is None else drawn(result),
        numbers=NUMBERS,
        **shown,
    )
