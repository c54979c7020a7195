"""The store's periodic jobs, which any worker runs like other jobs.

Each has a name, an interval and a function. Each interval's job is enqueued once, however many workers there are: its
idempotency key is the name and the beginning of the interval by the database's clock. Intervals without a running
worker are not made up for, and no job is enqueued while another of its name is unfinished.

Workers apply retention and refresh stored rollups where the server does not do it itself. No engine needs partitions
made ahead of time: TimescaleDB makes a chunk for its first row, and plain tables have none.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

import psycopg

from datastore import aggregates, cold, timescale_policies
from datastore.connections import connect
from datastore.jobs import Conflict, JobContext, Nothing, enqueue, job_type

_log = logging.getLogger(__name__)

HOUR: Final = timedelta(hours=1)
DAY: Final = timedelta(days=1)

KEPT: Final = timedelta(days=30)
"""How long the store's own jobs are kept after they end."""


@dataclass(frozen=True, slots=True)
class Periodic:
    """A job of the store that is enqueued once in each interval; intervals are counted from 1970, UTC."""

    job_type: str
    every: timedelta

    def key(self, now: datetime) -> str:
        """Return the idempotency key of the job for the interval that contains `now`."""
        epoch = datetime(1970, 1, 1, tzinfo=UTC)
        began = now - (now - epoch) % self.every
        return f"{self.job_type}@{began:%Y-%m-%dT%H:%M:%SZ}"


PERIODIC: Final = (
    Periodic("maintain-retention", HOUR),
    Periodic("maintain-rollups", HOUR),
    Periodic("maintain-policies", DAY),
    Periodic("maintain-outbox", DAY),
    Periodic("maintain-gaps", DAY),
    Periodic("maintain-cold", DAY),
)


@job_type("maintain-retention", store_only=True)
def retention(context: JobContext, _payload: Nothing) -> dict[str, int]:
    """Remove the rows that are past retention, for the kinds whose retention the server does not apply itself.

    Returns the number of rows removed by kind.
    """
    removed: dict[str, int] = {}
    for kind in _kept_here(context, "retention_after"):
        context.check()
        removed |= {expiry.kind: expiry.rows for expiry in timescale_policies.expire(context.dsn, kind)}
    return removed


@job_type("maintain-rollups", store_only=True)
def refresh(context: JobContext, _payload: Nothing) -> list[str]:
    """Bring stored rollups up to date where the server does not do it itself. Returns their names."""
    names = list(_kept_here(context, "refresh_within"))
    context.check()
    return [done.rollup for done in aggregates.refresh(context.dsn, names=names)] if names else []


@job_type("maintain-policies", store_only=True)
def policies(context: JobContext, _payload: Nothing) -> int:
    """Update the server's jobs to the effective policies, and return the number of policies.

    Rollups keep data of removed rows for longer and longer, which limits how far back they may be refreshed.
    """
    return len(timescale_policies.apply_policies(context.dsn))


@job_type("maintain-cold", store_only=True)
def move_into_files(context: JobContext, _payload: Nothing) -> dict[str, int]:
    """Move old rows into files, fold late rows into them, join small files, publish that, and remove files.

    Does nothing if no rows are kept in files. Returns the numbers of moved and folded months, joined years, published
    tables and removed files, and how many of these files were on no list (`orphans`). Raises SettingsError if the
    worker has no setting for where the files are.
    """
    if not cold.is_used(context.dsn):
        return {}
    url = cold.url()

    from datastore.cold import compacting, exporting, folding, keeping

    done = {"moved": 0, "folded": 0, "compacted": 0, "published": 0, "removed": 0, "orphans": 0}
    works: dict[str, Callable[[], Iterable[object]]] = {
        "moved": lambda: exporting.run(context.dsn, url, check=context.check),
        "folded": lambda: folding.fold(context.dsn, url, check=context.check),
        "compacted": lambda: compacting.compact(context.dsn, url, check=context.check),
        "published": lambda: cold.published_again(context.dsn, url, check=context.check),
        "removed": lambda: keeping.sweep(context.dsn, url, check=context.check),
    }

    def named(name: str) -> Iterator[tuple[str, object]]:
        yield from ((name, one) for one in works[name]())

    for name, one in cold.separately(partial(named, name) for name in works):
        done[name] += 1
        done["orphans"] += isinstance(one, keeping.Swept) and one.is_orphan
        context.progress(sum(done[work] for work in works))
    return done


@job_type("maintain-outbox", store_only=True)
def clean_up(context: JobContext, _payload: Nothing) -> int:
    """Delete the store's own jobs that ended `KEPT` ago, a batch in each transaction, and return how many.

    Tenants' jobs stay: an idempotency key is used up forever, and its job is compared when the key comes again.
    """
    removed = 0
    with connect(context.dsn, autocommit=True) as connection:
        while True:
            context.check()
            count = connection.execute(
                "DELETE FROM store.jobs WHERE id = ANY(ARRAY(SELECT id FROM store.jobs WHERE tenant_no IS NULL"
                " AND finished_at < now() - %s::interval ORDER BY finished_at LIMIT 1000))",
                (KEPT,),
            ).rowcount
            removed += count
            context.progress(removed)
            if count == 0:
                return removed


def put_down(connection: psycopg.Connection[Any], known: set[str]) -> None:
    """Enqueue the jobs of this interval that do not exist yet.

    `known` holds the keys that the caller knows to be enqueued; this function updates it.
    """
    row = connection.execute("SELECT now()").fetchone()
    assert row is not None
    current = {task.key(row[0]): task for task in PERIODIC}
    known &= current.keys()
    for key, task in current.items():
        if key in known:
            continue
        unfinished = connection.execute(
            "SELECT FROM store.jobs WHERE state IN ('queued', 'running') AND job_type = %s AND tenant_no IS NULL"
            " AND idempotency_key <> %s LIMIT 1",
            (task.job_type, key),
        ).rowcount
        if not unfinished:
            try:
                enqueue(connection, task.job_type, Nothing(), tenant=None, idempotency_key=key)
            except Conflict as conflict:
                _log.warning("not enqueued: %s", conflict)
        known.add(key)


def _kept_here(context: JobContext, policy: str) -> Iterator[str]:
    """Yield the relations whose policy of this sort is in effect and left to the worker."""
    for state in timescale_policies.policies(context.dsn):
        if state.policy == policy and state.kept_by == "worker" and (policy != "retention_after" or state.effective):
            yield state.relation
