"""Long work that an operator asks for, run as jobs of the store itself: refreshing rollups and applying retention.

Backfills, exports and deletions have job types of their own. Periodic jobs are in `datastore.maintenance.periodic`.
"""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final, Self

from pydantic import BaseModel, model_validator
from pydantic_core import to_jsonable_python

from datastore import aggregates, idempotency, jobs, timescale_policies
from datastore.connections import connect
from datastore.errors import ControlError
from datastore.jobs import JobContext, JobRecord, KindName, Order, job_type
from datastore.names import REFRESH_JOB
from mds_client import KINDS

EXPIRE: Final = "expire-rows"


class RefreshOrder(Order):
    """The rollups to refresh (None: all), and the range (UTC) of the rows to bring them up to; None is unbounded."""

    rollups: list[str] | None = None
    start: datetime | None = None
    end: datetime | None = None

    @model_validator(mode="after")
    def _sound(self) -> Self:
        try:
            aggregates.rollup_names(self.rollups)
        except ControlError as error:
            raise ValueError(str(error)) from None
        if self.start and self.end and self.start >= self.end:
            raise ValueError("start must be before end")
        return self


class ExpireOrder(Order):
    """The kind to which to apply retention; None means every kind that has it."""

    kind: KindName | None = None


def start_refresh(
    dsn: str, start: datetime | None, end: datetime | None, names: Sequence[str] | None, key: str | None = None
) -> JobRecord:
    """Enqueue a job that does what `aggregates.refresh` does, and return it. The same key is the same job."""
    order = RefreshOrder(rollups=None if names is None else list(names), start=start, end=end)
    return _start(dsn, REFRESH_JOB, order, key)


def start_expire(dsn: str, kind: str | None, key: str | None = None) -> JobRecord:
    """Enqueue a job that runs `timescale_policies.expire`, and return it. The same key always means the same job."""
    return _start(dsn, EXPIRE, ExpireOrder(kind=kind), key)


def _start(dsn: str, what: str, order: BaseModel, key: str | None) -> JobRecord:
    with connect(dsn) as connection:
        return jobs.enqueue(connection, what, order, tenant=None, idempotency_key=idempotency.job_key(key, what))


@job_type(REFRESH_JOB, store_only=True)
def refresh(context: JobContext, order: RefreshOrder) -> list[dict[str, Any]]:
    """Refresh the rollups one after the other, each after its source."""
    wanted = aggregates.rollup_names(order.rollups)
    done = []
    for count, name in enumerate(wanted):
        context.progress(count, len(wanted))
        done += aggregates.refresh(context.dsn, order.start, order.end, [name])
    context.progress(len(wanted), len(wanted))
    return [to_jsonable_python(asdict(each)) for each in done]


@job_type(EXPIRE, store_only=True)
def expire(context: JobContext, order: ExpireOrder) -> list[dict[str, Any]]:
    """Remove the rows that are past retention, one kind after the other."""
    kinds = [name for name in KINDS if order.kind in (None, name)]
    done = []
    for count, kind in enumerate(kinds):
        context.progress(count, len(kinds))
        done += timescale_policies.expire(context.dsn, kind)
    context.progress(len(kinds), len(kinds))
    return [
        {"kind": each.kind, "older_than": each.older_than.total_seconds(), "rows": each.rows} for each in done
    ]  # fmt: skip
