"""Announcements of new jobs. Any role can send to the channel, as often as it likes."""

import time
from typing import Any, Final

import psycopg
from psycopg.sql import SQL, Identifier

from datastore.jobs import CANCEL
from datastore.names import JOBS_CHANNEL
from datastore.worker.bell import Bell

FRUITLESS: Final = 4
"""After so many announcements in a row that led to no job, the worker does not listen for a while."""

DEAF: Final = 0.25
"""How long that is, in seconds: the interval between two looks, however much is announced."""

QUIET: Final = 1.0
"""After so many seconds without an announcement, those before it do not count any more."""


class Announcements:
    """The workers' channel, on one connection.

    An announcement is a hint to look for jobs at once. Where hints lead to nothing, the channel is left for a while,
    and the server throws away what is sent meanwhile: a flood costs a worker one look and two short statements an
    interval. Jobs are found by looking.
    """

    def __init__(self, connection: psycopg.Connection[Any], bell: Bell) -> None:
        self._connection = connection
        self._bell = bell
        self._listening = False
        self._deaf_until = 0.0
        self._heard_at = 0.0
        self._fruitless = 0

    def listen(self) -> None:
        """Listen, unless it is too early for that. To be called before a look, so that nothing is missed behind it."""
        if not self._listening and time.monotonic() >= self._deaf_until:
            self._connection.execute(SQL("LISTEN {}").format(Identifier(JOBS_CHANNEL)))
            self._listening = True

    def were_right(self) -> None:
        """A look has found a job."""
        self._fruitless = 0

    def wait(self, seconds: float, *, look: bool) -> bool:
        """Until something is announced, the bell rings, or so many seconds are over.

        Args:
            seconds: How long.
            look: Whether something is to be done already: then only take what has been announced.

        Returns:
            Whether it was announced that a job is to be cancelled.
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
