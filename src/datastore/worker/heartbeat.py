"""The heartbeat of a worker: renew leases, store progress, and tell jobs to end that were cancelled or lost.

It has its own thread and its own connection, so that no claim and no outcome delays it.
"""

import logging
import threading
import time
from typing import Any, Protocol

import psycopg

from datastore.worker import leases
from datastore.worker.connections import connect, passing
from datastore.worker.runner import Ending
from datastore.worker.running import LAST_CALL, Running
from datastore.worker.settings import WorkerSettings
from mds_client.console import one_line

_log = logging.getLogger(__name__)


class Holder(Protocol):
    """The worker whose jobs the heartbeat holds."""

    name: str

    def held(self) -> list[Running]:
        """Return the jobs that the worker holds now."""

    def end(self, running: Running, why: Ending, patience: float = LAST_CALL) -> None:
        """Tell a job to end, and kill its process after `patience` seconds."""

    def broken(self, error: BaseException) -> None:
        """End the worker with this error, because no job may run without a heartbeat."""


class Heartbeat:
    """The thread that renews the leases of a worker's jobs. It waits for a statement at most `patience` seconds."""

    def __init__(self, holder: Holder, dsn: str, settings: WorkerSettings, patience: float) -> None:
        self._holder = holder
        self._dsn = dsn
        self._settings = settings
        self._patience = patience
        self._every = min(1.0, settings.lease.total_seconds() / 6)
        self._at_once = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat_on, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Begin to renew leases."""
        self._thread.start()

    def renew_all(self) -> None:
        """Renew every lease at once instead of waiting until it is due."""
        self._at_once.set()

    def stop(self) -> None:
        """End the thread and wait for it, if it was started."""
        self._over.set()
        self._at_once.set()
        if self._thread.is_alive():
            self._thread.join(self._patience + LAST_CALL)

    def _beat_on(self) -> None:
        connection: psycopg.Connection[Any] | None = None
        away = False
        try:
            while not self._over.is_set():
                asked = self._at_once.wait(self._every)
                self._at_once.clear()
                try:
                    if connection is None:
                        connection = connect(self._dsn, self._patience)
                    self._beat(connection, everybody=asked)
                    away = False
                except psycopg.Error as error:
                    if not passing(error):
                        self._holder.broken(error)
                        return
                    log = _log.debug if away or not self._holder.held() else _log.warning
                    log("heartbeat: the database is away: %s", one_line(str(error)))
                    away = True
                    if connection is not None:
                        connection.close()
                    connection = None
        except Exception as error:
            # No job may run without a heartbeat, so the worker ends with this error.
            self._holder.broken(error)
            raise
        finally:
            if connection is not None:
                connection.close()

    def _beat(self, connection: psycopg.Connection[Any], *, everybody: bool) -> None:
        now = time.monotonic()
        running = self._holder.held()
        due = [one for one in running if everybody or one.progress != one.stored or now - one.renewed > one.lease / 6]
        if not due:
            return
        said = [one.held() for one in due]
        name = self._holder.name
        held = leases.renew(connection, name, said, self._settings.lease)
        missing = [one for one in said if one.id not in held]
        locked = leases.look(connection, name, missing) if missing else {}
        for one, told in zip(due, said, strict=True):
            if one.job.id in held:
                one.stored = (told.done, told.total)
                one.renew(now)
                if held[one.job.id]:
                    self._holder.end(one, "cancelled", max(LAST_CALL, self._settings.grace.total_seconds()))
            elif not locked.get(one.job.id):
                self._holder.end(one, "lost")
