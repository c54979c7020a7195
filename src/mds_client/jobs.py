"""The job outbox: a job is enqueued in the same database as the data, and can be in the same transaction.

The workers that run the jobs belong to the control plane.
"""

import json
from typing import Any, Final, Literal

from mds_client import sql
from mds_client.errors import ConfigurationError, IdempotencyConflict
from mds_client.models import Job
from mds_client.protocol.operations import Execute, Group, Operation, Session, Talk
from mds_client.values.built import built

Priority = Literal["low", "normal", "medium", "high"]

PRIORITIES: Final[dict[str, int]] = {"low": 25, "normal": 50, "medium": 50, "high": 75}
"""The number, from 0 to 100, of each named priority. `medium` is another name for `normal`."""

_COLUMNS: Final = tuple(name for name in Job.model_fields if name != "tenant_id")


def enqueue_job(
    idempotency_key: str, job_type: str, payload: Any = None, priority: Priority | int = "normal"
) -> Operation[Job]:
    """The operation of `MDS.enqueue_job`."""
    for name, value in (("idempotency_key", idempotency_key), ("job_type", job_type)):
        if not value or not value.strip():
            raise ConfigurationError(f"{name} is empty")
    rank = PRIORITIES.get(priority) if isinstance(priority, str) else priority
    if rank is None or isinstance(rank, bool) or not 0 <= rank <= 100:
        raise ConfigurationError(f"priority is {', '.join(PRIORITIES)} or from 0 to 100, not {priority!r}")
    try:
        body = json.dumps({} if payload is None else payload, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"payload: {error}") from error

    def talk(session: Session) -> Talk[Job]:
        _, (found,) = yield Group(
            (
                Execute(sql.ENQUEUE_JOB, (idempotency_key, job_type, body, rank, session.wanted)),
                Execute(sql.JOB, (job_type, body, idempotency_key, session.wanted)),
            )
        )
        *values, same = found
        job = built(Job, {"tenant_id": session.tenant_id, **dict(zip(_COLUMNS, values, strict=True))})
        if not same:
            raise IdempotencyConflict(
                f"job {idempotency_key!r} already exists with another type or payload: {job.job_type} {job.payload!r}"
            )
        yield Group((), commit=True)
        return job

    return Operation("enqueue_job", talk)
