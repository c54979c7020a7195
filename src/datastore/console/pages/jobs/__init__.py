"""The page of jobs and backfills: what runs, how far it is, what failed and why; retry and cancel."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import Response

from datastore import backfill, jobs
from datastore.console import rendering
from datastore.console.guard import PREFIX
from datastore.console.live import Part, follow
from datastore.console.rendering import Entry, go, is_fragment, page
from datastore.jobs import JobRecord
from datastore.service.jobs import shown
from datastore.service.models import LARGEST_ID, Name
from datastore.service.routes.backfills import BackfillId
from datastore.service.routes.jobs import JobId, State
from datastore.service.security import AskedTenant, Operator, Reader
from datastore.service.state import Here, Service
from datastore.service.tokens import Token

ENTRY: Final = Entry("/jobs", "Jobs")

router = APIRouter()

SHOWN: Final = 50
BACKFILLS_SHOWN: Final = 10

LISTS: Final = "pages/jobs/lists.html"
JOB: Final = "pages/jobs/job-facts.html"
BACKFILL: Final = "pages/jobs/backfill-facts.html"


@dataclass(frozen=True, slots=True)
class Asked:
    """Which jobs a list shows. `tenant` is as it was asked for, `owner` who that is."""

    token: Reader
    owner: AskedTenant
    state: Annotated[State | None, Query()] = None
    job_type: Annotated[Name | None, Query()] = None
    tenant: Annotated[Name | None, Query()] = None
    after: Annotated[int | None, Query(ge=0, le=LARGEST_ID)] = None

    def query(self, **more: int | None) -> str:
        """Return the filters as a query string, with more parameters."""
        asked = {"state": self.state, "job_type": self.job_type, "tenant": self.tenant, **more}
        return urlencode({name: value for name, value in asked.items() if value is not None})


SomeJobs = Annotated[Asked, Depends()]


@router.get("")
def list_jobs(request: Request, here: Here, asked: SomeJobs) -> Response:
    """Jobs, the newest first, and the newest backfills; the lists alone where the page asks for them again."""
    template = LISTS if is_fragment(request) else "pages/jobs/page.html"
    again = asked.query(after=asked.after)
    return page(request, template, states=jobs.STATES, asked=asked, again=again, **_lists(here, asked))


@router.get("/events")
def follow_jobs(request: Request, here: Here, asked: SomeJobs) -> Response:
    """The lists as they change."""
    return follow(request, lambda: Part(rendering.text(request, LISTS, **_lists(here, asked))))


def _lists(here: Service, asked: Asked) -> dict[str, Any]:
    found = jobs.list_jobs(
        here.dsn, tenant=asked.owner, state=asked.state, job_type=asked.job_type, after=asked.after, limit=SHOWN
    )
    return {
        "jobs": [shown(asked.token, job) for job in found.items],
        "etas": {job.id: _eta(job) for job in found.items},
        "backfills": backfill.list_backfills(here.dsn, tenant=asked.owner, limit=BACKFILLS_SHOWN).items,
        "following": asked.query(after=found.items[-1].id) if found.more else None,
    }


@router.get("/{id:id}")
def get_job(request: Request, here: Here, token: Reader, id: JobId) -> Response:  # noqa: A002
    """Show a job: its payload, its progress and its result."""
    template = JOB if is_fragment(request) else "pages/jobs/job.html"
    return page(request, template, **_job(here, token, id))


@router.get("/{id:id}/events")
def follow_job(request: Request, here: Here, token: Reader, id: JobId) -> Response:  # noqa: A002
    """Stream a job's changes until it ends."""

    def read() -> Part:
        found = _job(here, token, id)
        return Part(rendering.text(request, JOB, **found), last=not found["lasts"])

    return follow(request, read)


def _job(here: Service, token: Token, id_: int) -> dict[str, Any]:
    job = shown(token, jobs.get_job(here.dsn, id_, tenant=token.tenant))
    return {
        "job": job,
        "eta": _eta(job),
        "payload": _json(job.payload),
        "result": None if job.result is None else _json(job.result),
        "lasts": job.state in ("queued", "running"),
    }


def _eta(job: JobRecord) -> timedelta | None:
    """Estimate when a job will end at its pace so far; None if that cannot be estimated."""
    if job.state != "running" or not job.done or not job.total or job.started_at is None:
        return None
    return (datetime.now(UTC) - job.started_at) * (max(0, job.total - job.done) / job.done)


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
    """Show a backfill: its progress, when it will end, and what is still missing at its end."""
    template = BACKFILL if is_fragment(request) else "pages/jobs/backfill.html"
    return page(request, template, **_backfill(here, token, id))


@router.get("/backfills/{id:id}/events")
def follow_backfill(request: Request, here: Here, token: Reader, id: BackfillId) -> Response:  # noqa: A002
    """Stream a backfill's changes until it ends."""

    def read() -> Part:
        found = _backfill(here, token, id)
        return Part(rendering.text(request, BACKFILL, **found), last=not found["lasts"])

    return follow(request, read)


def _backfill(here: Service, token: Token, id_: int) -> dict[str, Any]:
    found = backfill.get_backfill(here.dsn, id_, tenant=token.tenant)
    return {"found": found, "source": _json(found.source), "lasts": not found.finished, "states": jobs.STATES}


@router.post("/backfills/{id:id}/cancel")
def cancel_backfill(request: Request, here: Here, token: Operator, id: BackfillId) -> Response:  # noqa: A002
    """Cancel a backfill's unfinished jobs."""
    backfill.cancel_backfill(here.dsn, id, tenant=token.tenant)
    return go(request, f"{PREFIX}/jobs/backfills/{id}")


@router.post("/backfills/{id:id}/resume")
def resume_backfill(request: Request, here: Here, token: Operator, id: BackfillId) -> Response:  # noqa: A002
    """Queue again what of a backfill has failed or was cancelled."""
    backfill.resume_backfill(here.dsn, id, tenant=token.tenant)
    return go(request, f"{PREFIX}/jobs/backfills/{id}")


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)
