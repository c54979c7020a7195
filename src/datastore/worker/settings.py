"""The settings of a worker, and the protocol of its observer."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Protocol


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """The settings of a worker.

    Attributes:
        concurrency: The number of jobs that run at once, each in a separate process.
        lease: How long a worker holds a job without renewing it. If a worker is killed, another takes over its jobs
            after this time.
        poll: The longest that a new job waits if its announcement is lost.
        grace: How long a job may take to end at a shutdown or when it is cancelled. After that it is killed.
        until_idle: Whether the worker exits when no job is due and none is running.
        upkeep: Whether to enqueue the store's own periodic jobs.
        process_jobs: The number of jobs after which a job process is replaced.
        process_memory: A job process that uses more memory than this after a job is replaced, in bytes.
    """

    concurrency: int = 4
    lease: timedelta = timedelta(seconds=30)
    poll: timedelta = timedelta(seconds=5)
    grace: timedelta = timedelta(seconds=30)
    until_idle: bool = False
    upkeep: bool = True
    process_jobs: int = 1000
    process_memory: int = 512 << 20


DEFAULTS: Final = WorkerSettings()


class Watch(Protocol):
    """Observer of a worker's jobs, for example `datastore.metrics.WorkerMetrics`."""

    def job_began(self) -> None:
        """A job has begun."""

    def job_ended(self, job_type: str, outcome: str, seconds: float) -> None:
        """A job has ended. `outcome` is its new state, or `lost` if the worker lost its lease."""
