"""Answers of long work: status 202, the location of the job, and the fields of the job that a tenant may see."""

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
    """Return the job as the answer's body, and set its location."""
    response.headers["Location"] = f"/jobs/{job.id}"
    return shown(token, job)


def shown(token: Token, job: JobRecord) -> JobRecord:
    """Return the job as the client may see it: only the operator sees which host and process runs it."""
    return job if token.tenant is None else replace(job, worker=None)
