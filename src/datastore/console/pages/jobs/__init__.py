"""The page of jobs and backfills: what runs, how far it is, what failed and why; retry and cancel."""

import json
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from datastore import backfill, jobs
from datastore.console.guard import PREFIX
from datastore.console.rendering import Entry, go, is_fragment, page
from datastore.service.jobs import shown
from datastore.service.models import LARGEST_ID, Name
from datastore.service.routes.backfills import BackfillId
from datastore.service.routes.jobs import JobId, State
from datastore.service.security import AskedTenant, Operator, Reader
from datastore.service.state import Here

ENTRY: Final = Entry("/jobs", "Jobs")

router = APIRouter()

SHOWN: Final = 50
BACKFILLS_SHOWN: Final = 10

After = Annotated[int | None, Query(ge=0, le=LARGEST_ID)]


@router.get("")
def list_jobs(
    request: Request,
    here: Here,
    token: Reader,
    asked: AskedTenant,
    state: Annotated[State | None, Query()] = None,
    job_type: Annotated[Name | None, Query()] = None,
    tenant: Annotated[Name | None, Query()] = None,
    after: After = None,
) -> Response:
    """Jobs, the newest first, and the newest backfills; the lists alone where the page asks for them again."""
    found = jobs.list_jobs(here.dsn, tenant=asked, state=state, job_type=job_type, after=after, limit=SHOWN)
    query = {name: value for name, value in {"state": state, "job_type": job_type, "tenant": tenant}.items() if value}
    following = urlencode({**query, "after": found.items[-1].id}) if found.more else None
    return page(
        request,
        "pages/jobs/lists.html" if is_fragment(request) else "pages/jobs/page.html",
        jobs=[shown(token, job) for job in found.items],
        backfills=backfill.list_backfills(here.dsn, tenant=asked, limit=BACKFILLS_SHOWN).items,
        states=jobs.STATES,
        state=state,
        job_type=job_type,
        following=following,
        again=urlencode({**query, **({} if after is None else {"after": after})}),
    )


@router.get("/{id:id}")
def get_job(request: Request, here: Here, token: Reader, id: JobId) -> Response:  # noqa: A002
    """One job: what it was asked, how far it is, what came of it."""
    job = shown(token, jobs.get_job(here.dsn, id, tenant=token.tenant))
    return page(
        request,
        "pages/jobs/job-facts.html" if is_fragment(request) else "pages/jobs/job.html",
        job=job,
        payload=_json(job.payload),
        result=None if job.result is None else _json(job.result),
        lasts=job.state in ("queued", "running"),
    )


@router.post("/{id:id}/retry")
def retry_job(request: Request, here: Here, token: Operator, id: JobId) -> Response:  # noqa: A002
    """Queue a job again."""
    jobs.retry_job(here.dsn, id, tenant=token.tenant)
    return go(request, f"{PREFIX}/jobs/{id}")


@router.post("/{id:id}/cancel")
def cancel_job(request: Request, here: Here, token: Operator, id: JobId) -> Response:  # noqa: A002
    """Cancel a job."""
    jobs.cancel_job(here.dsn, id, tenant=token.tenant)
    return go(request, f"{PREFIX}/jobs/{id}")


@router.get("/backfills/{id:id}")
def get_backfill(request: Request, here: Here, token: Reader, id: BackfillId) -> Response:  # noqa: A002
    """One backfill: how far it is, when it will be through, and what is still missing at its end."""
    found = backfill.get_backfill(here.dsn, id, tenant=token.tenant)
    return page(
        request,
        "pages/jobs/backfill-facts.html" if is_fragment(request) else "pages/jobs/backfill.html",
        found=found,
        source=_json(found.source),
        lasts=not found.finished,
        states=jobs.STATES,
    )


@router.post("/backfills/{id:id}/cancel")
def cancel_backfill(request: Request, here: Here, token: Operator, id: BackfillId) -> Response:  # noqa: A002
    """Cancel what of a backfill has not ended."""
    backfill.cancel_backfill(here.dsn, id, tenant=token.tenant)
    return go(request, f"{PREFIX}/jobs/backfills/{id}")


@router.post("/backfills/{id:id}/resume")
def resume_backfill(request: Request, here: Here, token: Operator, id: BackfillId) -> Response:  # noqa: A002
    """Queue again what of a backfill has failed or was cancelled."""
    backfill.resume_backfill(here.dsn, id, tenant=token.tenant)
    return go(request, f"{PREFIX}/jobs/backfills/{id}")


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)
