"""A job that a worker holds: how far it is, until when it is held, and when its process has to be killed.

The worker, its heartbeat and its job processes (`datastore.worker.processes`) share these objects.
"""

from typing import Final

from datastore.jobs import JobRecord
from datastore.worker.leases import Held
from datastore.worker.runner import Board, Ended, Ending

LAST_CALL: Final = 1.0
"""Seconds that a function has to end by itself after it was told to at the latest moment, before it is killed."""


class Running:
    """A job that this worker holds, from when it was claimed until its outcome is recorded."""

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
        """How far the job is, and of how many."""
        board = self.board
        return self._progress if board is None else board.progress

    def start(self, now: float) -> None:
        """Its process has taken it: from now on the time counts that its type allows."""
        self.timeout_at = None if self._timeout is None else now + self._timeout

    def renew(self, at: float) -> None:
        """The database has confirmed, after this time, that the worker holds the job."""
        self.renewed = at
        self.doubted_at = None
        if (board := self.board) is not None:
            board.hold(at + self.lease)

    def held(self) -> Held:
        """The fields that the worker writes to the database."""
        return Held(self.job.id, self.fence, *self.progress)

    def stop_at(self, now: float) -> float:
        """When to look whether it has to be killed; `now` or earlier if it has to be killed now.

        A worker that the database does not answer kills a job when its lease is over, because another worker may begin
        it then. If that time has passed unnoticed (the machine was suspended), the heartbeat has a moment to renew it.
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
        """Its process runs it no more."""
        if (board := self.board) is not None:
            self._progress = board.progress
            self.board = None
        if ended.how not in ("crashed", "unstarted"):
            self._progress = (ended.done, ended.total)
