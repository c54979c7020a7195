"""`/series`, `/freshness`, and a tenant's rows: what is there, how old it is, reading and uploading it."""

import io
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Final, cast
from uuid import UUID

import anyio
from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import StreamingResponse
from pydantic_core import to_jsonable_python

from datastore import reads, writes
from datastore.reads import Freshness, SeriesRecord
from datastore.service import bars
from datastore.service.bars import Asked
from datastore.service.models import (
    LARGEST_ID,
    After,
    Instant,
    Kind,
    Limit,
    Name,
    Page,
    list_of,
    model_of,
    page,
    page_of,
)
from datastore.service.openapi import problem
from datastore.service.problems import FieldError, Refusal
from datastore.service.security import OperateTenant, Reader, ReadTenant, known_tenant, tenant_of
from datastore.service.state import Here
from datastore.writes import Upload
from mds_client import KINDS, Bar
from mds_client.compression import GZIP, ZSTD
from mds_client.models import Timeframe
from mds_client.schema import OnConflict

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

router = APIRouter(tags=["series"])

NDJSON: Final = "application/x-ndjson"
LINES: Final = frozenset({NDJSON, "application/ndjson", "application/jsonl"})
"""What an upload's body may call itself."""


@router.get("/series", response_model=page_of(SeriesRecord))
def list_series(
    here: Here,
    token: Reader,
    tenant: UUID | None = None,
    kind: Kind | None = None,
    vendor: Name | None = None,
    after: After = None,
    limit: Limit = 100,
) -> Any:
    """The series that there are, by tenant and then by when each was first seen."""
    if tenant is not None:
        known_tenant(here.dsn, token, tenant)
    found = reads.list_series(
        here.dsn, tenant=tenant_of(token, tenant), kind=kind, vendor=vendor, after=after, limit=limit + 1
    )
    return page(found, limit, lambda series: series.id)


@router.get("/series/{id:id}", response_model=model_of(SeriesRecord))
def get_series(
    here: Here,
    token: Reader,
    id: Annotated[int, Path(ge=1, le=LARGEST_ID, description="the series")],  # noqa: A002
) -> Any:
    """One series."""
    found = reads.list_series(here.dsn, tenant=token.tenant, after=id - 1, limit=1)
    if not found or found[0].id != id:
        raise Refusal("not-found", f"there is no series {id}")
    return found[0]


@router.get("/freshness", response_model=list_of(Freshness))
def freshness(here: Here, token: Reader, tenant: UUID | None = None, vendor: Name | None = None) -> Any:
    """How old the data is, per kind, vendor and timeframe."""
    if tenant is not None:
        known_tenant(here.dsn, token, tenant)
    return reads.freshness(here.dsn, tenant=tenant_of(token, tenant), vendor=vendor)


@router.get(
    "/tenants/{tenant}/bars",
    response_model=Page[Bar],
    responses={
        200: {"content": {NDJSON: {"schema": {"type": "string"}}}, "description": "A page, or every bar"},
        409: problem(409),
    },
)
def read_bars(
    request: Request,
    here: Here,
    tenant: ReadTenant,
    vendor: Annotated[Name, Query(examples=["acme"])],
    symbol: Annotated[Name, Query(examples=["AAPL"])],
    timeframe: Annotated[Timeframe, Query(examples=["1m"])],
    start: Annotated[Instant, Query(examples=["2024-01-02T14:30:00Z"])],
    end: Annotated[Instant, Query(examples=["2024-01-02T21:00:00Z"])],
    rollup: Annotated[bool, Query(description="those that the series' 1m bars make, in place of stored ones")] = False,
    limit: Annotated[int, Query(ge=1, le=10_000, description="how many a page has at the most")] = 1000,
) -> Any:
    """The bars of a series with `start <= ts < end`, oldest first.

    As `application/x-ndjson`, where `Accept` says so, all of them, a line each, however many. Else a page; `next` is
    the `start` of the one that follows.
    """
    if start > end:
        raise Refusal("invalid", "start is not after end")
    if rollup and timeframe not in bars.timeframes():
        raise Refusal("invalid", f"there is no rollup {timeframe}; there are: {', '.join(bars.timeframes())}")
    client = here.client(tenant.id)
    asked = Asked(vendor, symbol, timeframe, start, end, rollup)
    if NDJSON in request.headers.get("accept", ""):
        # The first part is waited for: what is wrong shows there, and can still be told as a problem.
        coming = bars.batches(client, asked)
        first = list(_first(coming))
        return StreamingResponse(_lines(first, coming), media_type=NDJSON)
    found = bars.page(client, asked, limit + 1)
    return {"items": found[:limit], "next": to_jsonable_python(found[limit].ts) if len(found) > limit else None}


def _first(coming: Iterator[list[Bar]]) -> Iterator[list[Bar]]:
    first = next(coming, None)
    if first is not None:
        yield first


def _lines(first: list[list[Bar]], coming: Iterator[list[Bar]]) -> Iterator[bytes]:
    # Whoever leaves early leaves the connection to others.
    with closing(cast("Any", coming)):
        yield from bars.ndjson(chain(first, coming))


class _Body(io.RawIOBase):
    """A request's body as a file, for a thread that reads it while the event loop receives it."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self._left = b""
        self._begun = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        view = memoryview(buffer).cast("B")
        if not self._left:
            self._left = anyio.from_thread.run(anext, self._chunks, b"")
            if not self._begun and self._left.startswith((GZIP, ZSTD)):
                # How large it would become is nobody's to say beforehand.
                raise Refusal("unsupported-media-type", "the body is compressed, and lines are taken as they are")
            self._begun = True
        some = self._left[: len(view)]
        self._left = self._left[len(view) :]
        view[: len(some)] = some
        return len(some)


@router.post(
    "/tenants/{tenant}/rows/{kind}",
    response_model=model_of(Upload),
    responses={409: problem(409)},
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                NDJSON: {
                    "schema": {"type": "string"},
                    "example": '{"vendor": "acme", "symbol": "AAPL", "timeframe": "1m", '
                    '"ts": "2024-01-02T14:30:00Z", "open_price": 187.15, "close_price": 187.2, "volume": 1200}\n',
                }
            },
        }
    },
)
async def upload_rows(
    request: Request,
    here: Here,
    tenant: OperateTenant,
    kind: Annotated[str, Path(description="the kind of all rows", json_schema_extra={"enum": list(KINDS)})],
    on_conflict: Annotated[OnConflict, Query(description="what happens to a row that is there already")] = "replace",
) -> Any:
    """Write rows from NDJSON, a line each; the same again changes nothing.

    A line that is no row of the kind is rejected, with its number, and does not stop the others; where no line could be
    used, that is a problem. Rows are committed in batches while they come: after a failure the same upload again
    completes it.
    """
    if kind not in KINDS:
        raise Refusal("not-found", f"there is no such kind; there are: {', '.join(KINDS)}")
    sort = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if sort not in LINES or request.headers.get("content-encoding", "identity") != "identity":
        raise Refusal("unsupported-media-type", f"rows are uploaded as {NDJSON}, not compressed")
    stream = cast("BinaryIO", io.BufferedReader(_Body(request.stream()), 1 << 16))
    done = await anyio.to_thread.run_sync(
        partial(_write, here, tenant.id, kind, stream, on_conflict), limiter=here.uploads
    )
    if done.rejected and not done.written:
        errors = [FieldError(where=f"body.line {each.line}", message=each.reason) for each in done.rejects]
        raise Refusal("invalid", f"none of the {done.lines} lines is a row of {kind}", errors=errors)
    return done


def _write(here: Any, tenant: UUID, kind: str, stream: BinaryIO, on_conflict: OnConflict) -> Upload:
    return writes.write_ndjson(here.client(tenant), kind, stream, on_conflict=on_conflict)
