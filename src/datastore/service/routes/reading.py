"""A tenant's rows, for programs in any language: bars, rows of every kind, latest prices, option chains, series and
their coverage."""

from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from datastore import reads
from datastore.reads import SeriesRecord
from datastore.service import bars
from datastore.service.answers import BATCH_ROWS, Answer, few, streamed, tagged, whole
from datastore.service.bars import Asked, Missing
from datastore.service.formats import Wanted, described
from datastore.service.models import Instant, Kind, Name, Page, model_of
from datastore.service.openapi import problem
from datastore.service.problems import Refusal
from datastore.service.security import ReadTenant
from datastore.service.state import Here, Service
from mds_client import KINDS, Bar, Coverage, LatestPrice, OptionSnap
from mds_client.models import Timeframe
from mds_client.reading.answers import without_tenant

router = APIRouter(prefix="/tenants/{tenant}", tags=["reading"])


async def _until_answered() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


UntilAnswered = Annotated[AsyncExitStack, Depends(_until_answered)]
"""Resources that an endpoint holds until its answer is sent, or its client has gone."""

VendorName = Annotated[Name, Query(examples=["acme"])]
SymbolNames = Annotated[
    list[Name], Query(alias="symbol", min_length=1, max_length=1000, description="one, or several", examples=[["AAPL"]])
]
SomeSymbols = Annotated[
    list[Name] | None, Query(alias="symbol", min_length=1, max_length=1000, description="only these")
]
MissingSeries = Annotated[
    Missing, Query(description="what is done if a named series does not exist: it is 404, or is left out")
]


def _documented(of_json: Any, *, tagged: bool = False, **more: Any) -> dict[int | str, dict[str, Any]]:
    found: dict[int | str, dict[str, Any]] = {200: described(of_json) | more, 409: problem(409)}
    if tagged:
        tag = {"ETag": {"description": "the answer's tag", "schema": {"type": "string"}}}
        found[200]["headers"] = tag
        found[304] = {"description": "The answer is the one of `If-None-Match`", "headers": tag}
    return found


_ROWS: Final[dict[str, Any]] = {"type": "array", "items": {"type": "object"}}


@router.get(
    "/bars",
    response_model=Page[Bar],
    responses=_documented(None, description="A page as JSON, or every bar"),
)
async def read_bars(
    request: Request,
    here: Here,
    tenant: ReadTenant,
    until_answered: UntilAnswered,
    format_: Wanted,
    vendor: VendorName,
    symbols: SymbolNames,
    timeframe: Annotated[Timeframe, Query(examples=["1m"])],
    start: Annotated[Instant, Query(examples=["2024-01-02T14:30:00Z"])],
    end: Annotated[Instant, Query(examples=["2024-01-02T21:00:00Z"])],
    rollup: Annotated[bool, Query(description="those that the series' 1m bars make, in place of stored ones")] = False,
    missing: MissingSeries = "raise",
    limit: Annotated[int, Query(ge=1, le=10_000, description="how many a page has at the most")] = 1000,
) -> Any:
    """Read the bars of one or several symbols with `start <= ts < end`, by symbol and oldest first.

    JSON gives a page of one symbol, with an `ETag`; `next` is the `start` of the following page. Any other format gives
    all bars, however many, as a stream. A tenant can have a few streams at a time, as with uploads.
    """
    if start > end:
        raise Refusal("invalid", "start must not be after end")
    asked = Asked(vendor, symbols, timeframe, start, end, rollup)
    if format_.name != "json":
        answer = await run_in_threadpool(
            lambda: bars.every(here.client(tenant.id), here.streaming(tenant.id), asked, missing)
        )
        return await streamed(here, tenant.id, answer, format_, until_answered)
    if len(symbols) > 1:
        raise Refusal("invalid", "a JSON page has bars of one symbol: request another format, or rows/bars")
    return await run_in_threadpool(_page, request, here, tenant.id, asked, limit)


def _page(request: Request, here: Service, tenant: UUID, asked: Asked, limit: int) -> Response:
    # Serialise in this thread: it may take long, and the event loop serves others.
    found = bars.page(here.client(tenant), asked, limit + 1)
    following = to_jsonable_python(found[limit].ts) if len(found) > limit else None
    made = Page[Bar](items=found[:limit], next=following)
    return tagged(request, made.model_dump_json().encode(), "application/json")


@router.get("/rows/{kind}", responses=_documented(_ROWS, description="Every row"))
async def read_rows(
    here: Here,
    tenant: ReadTenant,
    until_answered: UntilAnswered,
    format_: Wanted,
    kind: Annotated[str, Path(description="the kind of the rows", json_schema_extra={"enum": list(KINDS)})],
    vendor: Annotated[Name | None, Query(description="only this vendor's")] = None,
    symbols: SomeSymbols = None,
    timeframe: Annotated[Timeframe | None, Query(description="only this timeframe's")] = None,
    start: Annotated[Instant | None, Query(description="from this time on")] = None,
    end: Annotated[Instant | None, Query(description="before this time")] = None,
) -> Response:
    """Read the rows of a kind, by series and then by time, however many; streamed in every format, also JSON."""
    if kind not in KINDS:
        raise Refusal("not-found", KINDS.unknown(kind))
    declared = KINDS[kind]
    some: dict[str, Any] = {"vendor": vendor, "symbols": symbols, "timeframe": timeframe}
    client, streaming = await run_in_threadpool(lambda: (here.client(tenant.id), here.streaming(tenant.id)))

    def frames() -> tuple[Any, Iterable[Any]]:
        from mds_client.columns import arrow  # needs packages that the library itself does without

        schema = arrow.rows_schema(declared, declared.column_names)
        return schema, streaming.iter_rows(declared, start, end, as_="arrow", **some)

    answer = Answer(
        without_tenant(declared.model),
        lambda: client.iter_rows(declared, start, end, batch_rows=BATCH_ROWS, **some),
        frames,
    )
    return await streamed(here, tenant.id, answer, format_, until_answered)


@router.get("/latest-prices", response_model=list[LatestPrice], responses=_documented(None, tagged=True))
def latest_prices(
    request: Request,
    here: Here,
    tenant: ReadTenant,
    format_: Wanted,
    vendor: VendorName,
    symbols: SymbolNames,
    missing: MissingSeries = "raise",
) -> Any:
    """Read the newest close of each symbol over all timeframes, by symbol. Symbols without a close are left out."""
    client = here.client(tenant.id)
    answer = few(LatestPrice, lambda as_: client.latest_prices(symbols, vendor, as_=as_, missing=missing))
    return whole(request, answer, format_)


@router.get("/option-chain", response_model=list[OptionSnap], responses=_documented(None, tagged=True))
def option_chain(
    request: Request,
    here: Here,
    tenant: ReadTenant,
    format_: Wanted,
    vendor: VendorName,
    symbols: SymbolNames,
    at: Annotated[Instant, Query(examples=["2024-01-02T21:00:00Z"])],
    within: Annotated[float, Query(gt=0, le=366 * 86400, description="how old a snapshot may be, in seconds")] = 604800,
    missing: MissingSeries = "raise",
) -> Any:
    """Read the newest snapshot of each contract of these symbols at a time, without expired contracts."""
    client, span = here.client(tenant.id), timedelta(seconds=within)
    answer = few(
        OptionSnap, lambda as_: client.option_chain(symbols, at, vendor, within=span, as_=as_, missing=missing)
    )
    return whole(request, answer, format_)


@router.get("/coverage", response_model=list[Coverage], responses=_documented(None, tagged=True))
def coverage(
    request: Request,
    here: Here,
    tenant: ReadTenant,
    format_: Wanted,
    vendor: VendorName,
    symbols: SymbolNames,
    kind: Kind = "bars",
    timeframe: Annotated[Timeframe | None, Query(description="only this timeframe's")] = None,
) -> Any:
    """Read the first time, the last time and the number of rows of each series. Reads only the rows of these series."""
    client = here.client(tenant.id)
    some: dict[str, Any] = {"vendor": vendor, "symbol": symbols, "timeframe": timeframe}
    return whole(request, few(Coverage, lambda as_: client.coverage(kind, as_=as_, **some)), format_)


@router.get("/series", responses=_documented(_ROWS, description="Every series"))
async def tenant_series(
    here: Here,
    tenant: ReadTenant,
    until_answered: UntilAnswered,
    format_: Wanted,
    kind: Kind | None = None,
    vendor: Name | None = None,
) -> Response:
    """List a tenant's series with the time and price of the newest row, by when each was first seen."""
    answer = _series(here, tenant.id, kind, vendor)
    return await streamed(here, tenant.id, answer, format_, until_answered)


def _series(here: Service, tenant: UUID, kind: str | None, vendor: str | None) -> Answer:
    def batches() -> Iterator[list[SeriesRecord]]:
        after = None
        while True:
            some = reads.list_series(
                here.dsn, tenant=tenant, kind=kind, vendor=vendor, after=after, limit=BATCH_ROWS
            )  # fmt: skip
            yield some
            if len(some) < BATCH_ROWS:
                return
            after = some[-1].id

    model: type[BaseModel] = model_of(SeriesRecord)
    names = tuple(model.model_fields)

    def models() -> Iterator[list[BaseModel]]:
        return ([model.model_validate(each) for each in some] for some in batches())

    def frames() -> tuple[Any, Iterable[Any]]:
        from mds_client.columns import arrow  # needs packages that the library itself does without

        tables = (arrow.of_models(model, some, "arrow", names) for some in models())
        schema = arrow.of_models(model, [], "arrow", names).schema
        return schema, (batch for table in tables for batch in table.to_batches())

    return Answer(names, models, frames)
