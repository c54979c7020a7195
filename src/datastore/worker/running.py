"""A job that a worker holds: its progress, its lease, and when its process must be killed.

The worker, its heartbeat and its job processes (`datastore.worker.processes`) share these objects.
"""

from typing import Final

from datastore.jobs import JobRecord
from datastore.worker.leases import Held
from datastore.worker.runner import Board, Ended, Ending

LAST_CALL: Final = 1.0
"""Seconds between the last signal to end and the kill."""


class Running:
    """A job that this worker holds, from its claim until its outcome is recorded."""

    def __init__(self, job: JobRecord, fence: int, lease: float, timeout: float | None, began: float) -> None:
        self.job = job
        self.fence = fence
        self.began = began
        self.renewed = began
        self.lease = lease
        self.timeout_at: float | None = None
        self._timeout = timeout
        self.stored: tuple[int | None, int | None] = (None, None)
        self.ending: Ending | None = None
        self.kill_at: float | None = None
        self.doubted_at: float | None = None
        self.board: Board | None = None
        self._progress: tuple[int | None, int | None] = (None, None)

    @property
    def progress(self) -> tuple[int | None, int | None]:
        """The job's progress: units done, and their total."""
        board = self.board
        return self._progress if board is None else board.progress

    def start(self, now: float) -> None:
        """Start the job's timeout; its process has accepted it."""
        self.timeout_at = None if self._timeout is None else now + self._timeout

    def renew(self, at: float) -> None:
        """Extend the lease; the database confirmed after `at` that the worker holds the job."""
        self.renewed = at
        self.doubted_at = None
        if (board := self.board) is not None:
            board.hold(at + self.lease)

    def held(self) -> Held:
        """Return the job's id, fence and progress for the database."""
        return Held(self.job.id, self.fence, *self.progress)

    def stop_at(self, now: float) -> float:
        """Return when to check next whether the job must be killed; `now` or earlier means now.

        If the database does not answer, the worker kills a job when its lease expires, because another worker may begin
        it then. If that time passed unnoticed (the machine was suspended), the heartbeat gets a moment to renew it.
        """
        over = self.renewed + self.lease
        doubtful = over - min(LAST_CALL, self.lease / 6)
        if now < doubtful:
            at = doubtful
        else:
            self.doubted_at = self.doubted_at or now
            at = max(over, self.doubted_at + LAST_CALL)
        other = self.timeout_at if self.kill_at is None else self.kill_at
        return at if other is None else min(at, other)

    def finish(self, ended: Ended) -> None:
        """Keep the final progress; the process no longer runs the job."""
        if (board := self.board) is not None:
            self._progress = board.progress
            self.board = None
        if ended.how not in ("crashed", "unstarted"):
            self._progress = (ended.done, ended.total)
