"""Decide what to record for a job that has ended."""

import logging
import random
from datetime import timedelta
from typing import Final

from datastore.jobs import MAX_BACKOFF, JobType
from datastore.worker.leases import Outcome
from datastore.worker.runner import Ended
from datastore.worker.running import Running

_log = logging.getLogger(__name__)

UNSTARTED: Final = timedelta(seconds=5)
"""How long a job waits after no process could be started for it."""


def outcome_of(kind: JobType, running: Running, ended: Ended) -> Outcome:
    """Return the outcome to record for a job that has ended."""
    job, held = running.job, running.held()
    match ended.how:
        case "returned":
            return Outcome(held, "succeeded", result=ended.text)
        case "failed":
            return Outcome(held, "failed", error=ended.text)
        case "unstarted":
            _log.error("job %d %s: %s", job.id, job.job_type, ended.text)
            return Outcome(held, "queued", delay=UNSTARTED, given_back=True)
        case "ended" if ended.why in ("lost", "stopping"):
            return Outcome(held, "queued", given_back=True)
        case "ended" if ended.why == "cancelled":
            return Outcome(held, "cancelled")
    error = ended.text
    if ended.why == "timeout" and kind.timeout is not None:
        error = f"it ran longer than {kind.timeout.total_seconds():g} s, and was ended"
    if job.attempts >= job.max_attempts:
        return Outcome(held, "failed", error=error)
    return Outcome(held, "queued", error=error, delay=_backoff(kind, job.attempts))


def _backoff(kind: JobType, attempts: int) -> timedelta:
    """Return the wait after that many attempts: it doubles each time, and up to half is taken off at random."""
    longest = min(MAX_BACKOFF, kind.backoff * 2.0 ** min(attempts - 1, 30))
    return longest * random.uniform(0.5, 1)  # noqa: S311 - no secret
