"""What a worker can do: the job types that it knows and has the settings for, and the sources that it can read.

A job must not fail because of a worker's settings, so a worker claims no job that it cannot do and leaves it to other
workers. It shows its settings by shared advisory locks, one for each, which end with its connection. `backfill start`
reads them to see whether any worker can do the jobs that it has enqueued.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any, Final

import psycopg

from datastore import backfill, sources
from datastore.config import SettingsError
from datastore.connections import connect
from datastore.errors import ControlError
from datastore.jobs import JobTypes
from datastore.names import OFFER_LOCKS, OWNER
from datastore.worker import leases
from mds_client.console import counted, one_line

_log = logging.getLogger(__name__)

REMEMBERED: Final = 1000
"""The number of backfills that a worker remembers as readable. It checks the others again."""

TOLD: Final = 100
"""The number of unknown job types that a worker logs, because a tenant can enqueue a job of any type."""

_WORKER: Final = "a worker"


class Scope:
    """The abilities of one worker. Not thread-safe: only the thread that claims may use it."""

    def __init__(self, types: JobTypes) -> None:
        self.types: list[str] = []
        self.readable: set[int] = set()
        self.unreadable: dict[int, str] = {}
        self._unready: dict[str, str] = {}
        self._told: set[str] = set()
        self._offered: frozenset[str] = frozenset()
        for name, kind in types.items():
            try:
                if kind.ready is not None:
                    kind.ready()
                self.types.append(name)
            except SettingsError as error:
                self._unready[name] = str(error)

    def _announce(self, connection: psycopg.Connection[Any]) -> None:
        """Show the worker's settings by advisory locks, for as long as the connection lasts."""
        keys = [_key(name) for name in (_WORKER, *self._offered)]
        with connection.pipeline():
            connection.execute("SELECT pg_advisory_unlock_all()")
            # Any role can hold any advisory lock, so do not wait for one that is taken.
            connection.execute(
                "SELECT pg_try_advisory_lock_shared(%s, key) FROM unnest(%s::int[]) AS key", (OFFER_LOCKS, keys)
            )

    def look(self, connection: psycopg.Connection[Any], ids: Sequence[int]) -> None:
        """Check whether the sources of these backfills can be read here."""
        if len(self.readable) > REMEMBERED:
            self.readable.clear()
        self._sort(backfill.sources_of(connection, ids), ids)

    def look_again(self, connection: psycopg.Connection[Any]) -> None:
        """Announce the worker's settings, check unreadable backfills again (a folder may be mounted by now), and log
        the job types that it leaves to others. Called once for each connection and then from time to time."""
        self._offered = sources.offers()
        self._announce(connection)
        left, self.unreadable = self.unreadable, {}
        # Forget the backfills that have no queued job left.
        found = backfill.sources_of(connection, list(left), waiting=True)
        self.unreadable = {id_: why for id_, why in left.items() if id_ in found}
        self._sort(found, list(found))
        for name in leases.queued_types(connection, [*self.types, *self._told], TOLD - len(self._told)):
            self._told.add(name)
            why = self._unready.get(name, "no function of this one takes them")
            _log.warning("jobs of type %r wait for another worker: %s", name, why)

    def _sort(self, found: Mapping[int, Mapping[str, Any]], ids: Iterable[int]) -> None:
        for id_ in ids:
            # A backfill that no longer exists has no source; its job reports that.
            why = sources.why_not(found[id_], self._offered) if id_ in found else None
            if why is None:
                self.unreadable.pop(id_, None)
                self.readable.add(id_)
                continue
            if self.unreadable.get(id_) != why:
                _log.warning("backfill %d is left to other workers: %s", id_, one_line(why))
            self.unreadable[id_] = why


def unserved(dsn: str, source: Mapping[str, Any]) -> str | None:
    """Return why no running worker can read a backfill's source and what to do, or None if one can.

    Also returns None if the source cannot be made here, because then its needs are unknown.
    """
    try:
        needed = sources.needs(source)
    except (ControlError, SettingsError):
        return None
    with connect(dsn) as connection:
        running = [set(keys) for (keys,) in connection.execute(_RUNNING, (OFFER_LOCKS, OWNER)).fetchall()]
    running = [keys for keys in running if _key(_WORKER) in keys]
    lacking = [[name for name in needed if _key(name) not in keys] for keys in running]
    if not all(lacking):
        return None
    if not running:
        return f"no worker runs: start one (datastore worker) that has {sources.listed(needed)}"
    fewest = min(lacking, key=len)
    missing = sources.listed(fewest)
    return f"{counted(len(running), 'worker')} running, none of which can read the source: start one that has {missing}"


_RUNNING: Final = """
SELECT array_agg(CASE WHEN l.objid::bigint >= 2147483648 THEN l.objid::bigint - 4294967296 ELSE l.objid::bigint END)
FROM pg_locks AS l JOIN pg_stat_activity AS a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2 AND l.classid::bigint = %s
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND pg_has_role(a.usesysid, %s, 'MEMBER')
GROUP BY l.pid
"""
"""The locks of each worker. Only roles of the store's owner count, because an application can take the same locks."""


def _key(name: str) -> int:
    """Return the number of the advisory lock that stands for this setting."""
    return int.from_bytes(sha256(name.encode()).digest()[:4], "big", signed=True)
