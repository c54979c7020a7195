"""How a worker works, and who is told what it does."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Protocol


@dataclass(frozen=True, slots=True)
class Settings:
    """How a worker works.

    Attributes:
        concurrency: How many jobs run at once, each in a process of its own.
        lease: How long a job is held without being heard of, and so how long it takes until another worker takes over
            the jobs of one that was killed.
        poll: How long a new job waits at most if no announcement comes through.
        grace: How long a job that has to end has to do so, at a shutdown or when it is cancelled; then it is killed.
        until_idle: Whether to end once nothing is due and nothing runs.
        upkeep: Whether to enqueue the store's own periodic jobs.
        process_jobs: A job process is replaced after so many jobs.
        process_memory: A job process is replaced after a job if it uses more memory than this, in bytes.
    """

    concurrency: int = 4
    lease: timedelta = timedelta(seconds=30)
    poll: timedelta = timedelta(seconds=5)
    grace: timedelta = timedelta(seconds=30)
    until_idle: bool = False
    upkeep: bool = True
    process_jobs: int = 1000
    process_memory: int = 512 << 20


DEFAULTS: Final = Settings()


class Watch(Protocol):
    """Is told which jobs begin and what comes of them, as `datastore.metrics.WorkerMetrics` is."""

    def job_began(self) -> None:
        """A job is run from now on."""

    def job_ended(self, job_type: str, outcome: str, seconds: float) -> None:
        """It has ended: `outcome` is its state after that, or `lost` where its lease was."""
