"""From a hole to a backfill: the form, its plan, and the start. For operators of the whole store, as in the API."""

import json
from typing import Annotated, Any, Final
from uuid import uuid4

from fastapi import APIRouter, Form, Query
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from datastore import backfill, worker
from datastore.backfill import BackfillSpec
from datastore.console.formats import iso
from datastore.console.guard import PREFIX
from datastore.console.rendering import go, page
from datastore.service.models import Instant, Name
from datastore.service.problems import Refusal
from datastore.service.security import StoreOperator, known_tenant
from datastore.service.state import Here, Service
from datastore.service.tokens import Scope, Token
from datastore.tenants import Tenant
from mds_client.errors import reason

router = APIRouter()

CHUNKS_SHOWN: Final = 50

_EXAMPLE: Final = {"type": "files", "path": "{vendor}/{symbol}/{start_date}.csv"}


def may(token: Token) -> bool:
    """Whether a token may start backfills."""
    return token.tenant is None and token.scope >= Scope.operate


@router.get("/fill")
def form(
    request: Request,
    here: Here,
    _: StoreOperator,
    tenant: Annotated[Name, Query()],
    vendor: Annotated[Name, Query()],
    timeframe: Annotated[Name, Query()],
    start: Annotated[Instant, Query()],
    end: Annotated[Instant, Query()],
    symbol: Annotated[Name | None, Query()] = None,
    calendar: Annotated[Name | None, Query()] = None,
) -> Response:
    """The form of a backfill, filled in from what was clicked on."""
    owner = known_tenant(here.dsn, None, tenant)
    return _form(
        request,
        owner,
        source=_source(here, owner, vendor),
        vendor=vendor,
        timeframe=timeframe,
        symbols=symbol or "",
        start=iso(start),
        end=iso(end),
        calendar=calendar or "",
    )


@router.post("/plan")
def plan(
    request: Request,
    here: Here,
    _: StoreOperator,
    tenant: Annotated[Name, Form()],
    vendor: Annotated[str, Form()] = "",
    timeframe: Annotated[str, Form()] = "",
    symbols: Annotated[str, Form()] = "",
    start: Annotated[str, Form()] = "",
    end: Annotated[str, Form()] = "",
    calendar: Annotated[str, Form()] = "",
    source: Annotated[str, Form()] = "",
) -> Response:
    """Show what the backfill would do. Nothing is stored."""
    owner = known_tenant(here.dsn, None, tenant)
    given = {
        "vendor": vendor, "timeframe": timeframe, "symbols": symbols, "start": start, "end": end,
        "calendar": calendar, "source": source,
    }  # fmt: skip
    spec = _spec(owner, given)
    planned = backfill.plan(here.dsn, spec)
    return _form(
        request,
        owner,
        planned=planned,
        chunks=planned.chunks[:CHUNKS_SHOWN],
        unserved=worker.unserved(here.dsn, spec.source) if planned.missing else None,
        # One start, however often its button is pressed.
        key=uuid4().hex,
        **given,
    )


@router.post("/start")
def start_backfill(
    request: Request,
    here: Here,
    _: StoreOperator,
    tenant: Annotated[Name, Form()],
    key: Annotated[str, Form(pattern="[0-9a-f]{32}")],
    vendor: Annotated[str, Form()] = "",
    timeframe: Annotated[str, Form()] = "",
    symbols: Annotated[str, Form()] = "",
    start: Annotated[str, Form()] = "",
    end: Annotated[str, Form()] = "",
    calendar: Annotated[str, Form()] = "",
    source: Annotated[str, Form()] = "",
) -> Response:
    """Enqueue the backfill, and go to where its progress is."""
    given = {
        "vendor": vendor, "timeframe": timeframe, "symbols": symbols, "start": start, "end": end,
        "calendar": calendar, "source": source,
    }  # fmt: skip
    spec = _spec(known_tenant(here.dsn, None, tenant), given)
    made = backfill.start(here.dsn, spec, idempotency_key=f"console {key}")
    return go(request, f"{PREFIX}/jobs/backfills/{made.id}")


def _form(request: Request, tenant: Tenant, **context: Any) -> Response:
    shown = {"planned": None, "chunks": [], "unserved": None, "key": None, **context}
    return page(request, "pages/completeness/fill.html", tenant=tenant, **shown)


def _source(here: Service, tenant: Tenant, vendor: str) -> str:
    """Return the source of the vendor's newest backfill, or an example."""
    found = backfill.list_backfills(here.dsn, tenant=tenant.id, limit=20).items
    source = next((each.source for each in found if each.vendor == vendor), _EXAMPLE)
    return json.dumps(source, indent=2, ensure_ascii=False)


def _spec(tenant: Tenant, given: dict[str, str]) -> BackfillSpec:
    """The form as what a backfill is asked. Raises Refusal for a field that cannot be read."""
    try:
        source = json.loads(given["source"])
    except (ValueError, RecursionError) as error:
        raise Refusal("invalid", f"source: it is not JSON: {error}") from error
    fields = {name: given[name] for name in ("vendor", "timeframe", "start", "end")}
    symbols = given["symbols"].replace(",", " ").split()
    try:
        return BackfillSpec.model_validate(
            {
                **fields,
                "tenant": str(tenant.id),
                "source": source,
                "symbols": symbols or None,
                "calendar": given["calendar"].strip() or None,
            }
        )
    except ValidationError as error:
        raise Refusal("invalid", reason(error)) from error
