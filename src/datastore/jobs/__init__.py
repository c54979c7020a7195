"""The job outbox: job types, and what operators can do with jobs.

`datastore.worker` runs jobs. Applications enqueue them with `mds_client`.
"""

from datastore.jobs.outbox import CANCEL, announce, backlog, cancel_job, enqueue, get_job, list_jobs, retry_job
from datastore.jobs.records import COLUMNS, QUEUES, STATES, Backlog, Conflict, JobError, JobRecord, UnknownJob, reading
from datastore.jobs.types import (
    MAX_BACKOFF,
    Cancelled,
    JobContext,
    JobFailed,
    JobType,
    JobTypes,
    KindName,
    Nothing,
    Order,
    accepted,
    job_type,
    load,
    own_modules,
)

__all__ = [
    "CANCEL",
    "COLUMNS",
    "MAX_BACKOFF",
    "QUEUES",
    "STATES",
    "Backlog",
    "Cancelled",
    "Conflict",
    "JobContext",
    "JobError",
    "JobFailed",
    "JobRecord",
    "JobType",
    "JobTypes",
    "KindName",
    "Nothing",
    "Order",
    "UnknownJob",
    "accepted",
    "announce",
    "backlog",
    "cancel_job",
    "enqueue",
    "get_job",
    "job_type",
    "list_jobs",
    "load",
    "own_modules",
    "reading",
    "retry_job",
]
