"""How long work is answered: 202, where to follow its job, and what of a job its tenant sees."""

from dataclasses import replace
from typing import Any, Final

from fastapi import Response

from datastore.jobs import JobRecord
from datastore.service.models import model_of
from datastore.service.openapi import problem
from datastore.service.tokens import Token

Job: Final = model_of(JobRecord)


def accepts() -> dict[str, Any]:
    """The decorator's arguments for an endpoint that enqueues a job."""
    location = {"description": "the job", "schema": {"type": "string"}}
    return {
        "status_code": 202,
        "response_model": Job,
        "response_description": "It is a job now: follow it until it has succeeded, failed or was cancelled",
        "responses": {202: {"headers": {"Location": location}}, 409: problem(409)},
    }


def accepted(response: Response, token: Token, job: JobRecord) -> JobRecord:
    """The job as the answer's body, with where it is."""
    response.headers["Location"] = f"/jobs/{job.id}"
    return shown(token, job)


def shown(token: Token, job: JobRecord) -> JobRecord:
    """The job as the client may see it: which host and process has it is the operator's business, not a tenant's."""
    return job if token.tenant is None else replace(job, worker=None)
