"""Announcements of new jobs, on a channel to which any role can send without limit."""

import time
from typing import Any, Final

import psycopg
from psycopg.sql import SQL, Identifier

from datastore.jobs import CANCEL
from datastore.names import JOBS_CHANNEL
from datastore.worker.bell import Bell

FRUITLESS: Final = 4
"""After so many consecutive announcements that led to no job, the worker stops listening for a while."""

DEAF: Final = 0.25
"""The length of that pause in seconds, and so the interval between two looks during a flood of announcements."""

QUIET: Final = 1.0
"""Seconds without an announcement after which earlier ones no longer count."""


class Announcements:
    """The workers' channel, on one connection.

    An announcement is a hint to look for jobs at once. If hints lead to no job, the worker stops listening for a while
    and the server discards what is sent meanwhile: a flood costs a worker one look and two short statements an
    interval. Only a look finds jobs.
    """

    def __init__(self, connection: psycopg.Connection[Any], bell: Bell) -> None:
        self._connection = connection
        self._bell = bell
        self._listening = False
        self._deaf_until = 0.0
        self._heard_at = 0.0
        self._fruitless = 0

    def listen(self) -> None:
        """Start to listen, unless the pause lasts. Call this before a look, so that no later announcement is missed."""
        if not self._listening and time.monotonic() >= self._deaf_until:
            self._connection.execute(SQL("LISTEN {}").format(Identifier(JOBS_CHANNEL)))
            self._listening = True

    def were_right(self) -> None:
        """Reset the count of fruitless announcements; a look has found a job."""
        self._fruitless = 0

    def wait(self, seconds: float, *, look: bool) -> bool:
        """Wait until something is announced, the bell rings, or so many seconds have passed.

        Args:
            seconds: The longest wait.
            look: Whether there is work to do already. If so, do not wait, only read the pending announcements.

        Returns:
            Whether a cancellation was announced.
        """
        told = self._told() if self._listening else set()
        if not told and not look and self._listening:
            self._bell.sleep(seconds, self._connection.fileno())
            told = self._told()
        if told:
            self._hear()
        if not self._listening and not look:
            # The next look is at the end of the interval.
            self._bell.sleep(min(seconds, self._deaf_until - time.monotonic()))
        return CANCEL in told

    def _told(self) -> set[str]:
        return {one.payload for one in self._connection.notifies(timeout=0)}

    def _hear(self) -> None:
        now = time.monotonic()
        self._fruitless = self._fruitless + 1 if now - self._heard_at < QUIET else 1
        self._heard_at = now
        if self._fruitless > FRUITLESS:
            self._connection.execute(SQL("UNLISTEN {}").format(Identifier(JOBS_CHANNEL)))
            self._listening = False
            self._deaf_until = now + DEAF
