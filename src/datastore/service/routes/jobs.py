"""`/jobs`: list, show, retry and cancel jobs."""

from typing import Annotated, Any, Literal, get_args

from fastapi import APIRouter, Path, Query

from datastore import jobs
from datastore.jobs import JobRecord
from datastore.service.jobs import Job, shown
from datastore.service.models import LARGEST_ID, After, Limit, Name, page_of, page_with
from datastore.service.openapi import problem
from datastore.service.security import AskedTenant, Operator, Reader
from datastore.service.state import Here

router = APIRouter(prefix="/jobs", tags=["jobs"])

State = Literal["queued", "running", "succeeded", "failed", "cancelled"]
assert get_args(State) == jobs.STATES

JobId = Annotated[int, Path(ge=1, le=LARGEST_ID, description="the job")]


@router.get("", response_model=page_of(JobRecord))
def list_jobs(
    here: Here,
    token: Reader,
    tenant: AskedTenant,
    state: State | None = None,
    job_type: Annotated[Name | None, Query(examples=["backfill-chunk"])] = None,
    after: After = None,
    limit: Limit = 100,
) -> Any:
    """List jobs, newest first, optionally of one tenant, state or type. A page is shorter than its limit if jobs are
    large. A tenant's token does not see which worker runs a job."""
    found = jobs.list_jobs(here.dsn, tenant=tenant, state=state, job_type=job_type, after=after, limit=limit)
    return page_with([shown(token, job) for job in found.items], found.more, lambda job: job.id)


@router.get("/{id:id}", response_model=Job)
def get_job(here: Here, token: Reader, id: JobId) -> Any:  # noqa: A002
    """Show one job with its state, progress and result."""
    return shown(token, jobs.get_job(here.dsn, id, tenant=token.tenant))


@router.post("/{id:id}/retry", response_model=Job, responses={409: problem(409)})
def retry_job(here: Here, token: Operator, id: JobId) -> Any:  # noqa: A002
    """Requeue a failed or cancelled job, or make a queued one due now."""
    return shown(token, jobs.retry_job(here.dsn, id, tenant=token.tenant))


@router.post("/{id:id}/cancel", response_model=Job, responses={409: problem(409)})
def cancel_job(here: Here, token: Operator, id: JobId) -> Any:  # noqa: A002
    """Cancel a job: a queued one at once, a running one as soon as its function checks."""
    return shown(token, jobs.cancel_job(here.dsn, id, tenant=token.tenant))
