"""`MDS`, the synchronous client: a pool, and the one place that waits for the server.

What it asks is in `mds_client.operations`, its methods in `mds_client.surface`.
"""

import copy
import time
from collections.abc import Mapping
from contextlib import nullcontext
from types import TracebackType
from typing import Any, Self, TypeVar

import psycopg
from psycopg import Connection, Cursor, Pipeline
from psycopg_pool import ConnectionPool, PoolTimeout

from mds_client import rls, sql
from mds_client.config import Config
from mds_client.errors import CommitUnknown, RetryableError, ServerUnreachable, mapped, mapping
from mds_client.operations import CopyIn, Execute, Operation, Results, SeriesCache, Session, Step
from mds_client.surface import Surface, SyncPerformer

T = TypeVar("T")


class MDS(Surface, SyncPerformer):
    """A client of the store. Safe to share between threads; close it, or use it as a context manager.

    `settings` is a mapping with the keys of `Config`, or a `Config`; keywords go before it; what neither has comes
    from `MDS_<KEY>` in the environment. Raises ConfigurationError for a wrong setting, and ServerUnreachable or
    another MDSOperationalError, within `connect_timeout`, where no connection can be made.
    """

    def __init__(self, settings: Config | Mapping[str, Any] | None = None, /, **more: Any) -> None:
        self.config = Config.load(settings, **more)
        self.tenant_id = self.config.tenant_id or rls.tenant_of_dsn(self.config.dsn)
        self._caches: dict[str | None, SeriesCache] = {}
        self._owns_pool = True
        self._probe()
        self._pool: ConnectionPool[Connection[Any]] = ConnectionPool(
            self.config.dsn,
            kwargs=self.config.connection(),
            min_size=self.config.pool_min,
            max_size=self.config.pool_max,
            timeout=self.config.connect_timeout,
            reconnect_timeout=self.config.connect_timeout,
            configure=_configure,
            name=self.config.app_name,
            open=True,
        )

    def for_tenant(self, tenant_id: str) -> Self:
        """This client as another tenant, over the same pool, which only the first client closes."""
        clone = copy.copy(self)
        clone.config = Config.load(self.config, tenant_id=tenant_id)
        clone.tenant_id = clone.config.tenant_id
        clone._owns_pool = False
        return clone

    def close(self) -> None:
        """Close the pool; calls under way end with an error. Closing twice is harmless."""
        if self._owns_pool:
            self._pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.config.app_name!r} tenant={self.tenant_id}>"

    def run(self, operation: Operation[T]) -> T:
        """Perform an operation in one transaction and return its answer.

        A passing fault (RetryableError) is tried again, `max_attempts` times in all, with growing random waits; not
        where the commit of something that is not idempotent may have happened (CommitUnknown).
        """
        waits = self.config.waits()
        while True:
            try:
                return self._attempt(operation)
            except ServerUnreachable:
                raise
            except RetryableError as error:
                if (wait := next(waits, None)) is None:
                    raise
                lost = error.lost_connection
            if lost:
                # A restart of the server breaks every connection of the pool, not only the one that noticed.
                self._pool.check()
            time.sleep(wait)

    def _attempt(self, operation: Operation[T]) -> T:
        session = Session(self.config, self._caches.setdefault(self.tenant_id, {}), self.tenant_id)
        try:
            with mapping(), self._pool.connection() as connection:
                answer = _perform(connection, operation, session)
        except Exception as error:
            if isinstance(error.__cause__, PoolTimeout):
                self._probe()
            raise
        session.series.update(session.learned)
        return answer

    def _probe(self) -> None:
        """Connect once, for the reason why the pool cannot."""
        try:
            psycopg.connect(self.config.dsn, **self.config.connection()).close()
        except psycopg.OperationalError as error:
            raise ServerUnreachable(f"no connection to the server: {str(error).strip()}") from error


def _configure(connection: Connection[Any]) -> None:
    connection.execute(sql.CONFIGURE)
    connection.commit()


def _perform(connection: Connection[Any], operation: Operation[T], session: Session) -> T:
    talk = operation.talk(session)
    opening: Execute | None = operation.opening(session)
    committed = False
    try:
        group = next(talk)
        while True:
            try:
                if opening is None:
                    results = _send(connection, group.steps, group.commit)
                else:
                    rows, *results = _send(connection, (opening, *group.steps), group.commit)
                    operation.opened(session, rows)
                    opening = None
            except psycopg.Error as error:
                if group.commit and not operation.idempotent and connection.broken:
                    raise CommitUnknown(f"{operation.name}: {error}") from error
                # The operation may know better what this error means.
                group = talk.throw(mapped(error))
                continue
            committed = group.commit
            group = talk.send(results)
    except StopIteration as end:
        answer: T = end.value
    if not committed:
        try:
            connection.commit()
        except psycopg.OperationalError as error:
            if not operation.idempotent:
                raise CommitUnknown(f"{operation.name}: {error}") from error
            raise
    return answer


def _send(connection: Connection[Any], steps: tuple[Step, ...], commit: bool) -> Results:
    if len(steps) == 1 and isinstance(steps[0], CopyIn):
        return [_copy_in(connection, steps[0])]
    with connection.pipeline() if Pipeline.is_supported() else nullcontext():
        cursors = [_execute(connection, step) for step in steps]
        if commit:
            connection.commit()
    return [cursor.fetchall() if cursor.description else [] for cursor in cursors]


def _execute(connection: Connection[Any], step: Step) -> Cursor[Any]:
    cursor = connection.cursor(binary=True)
    if isinstance(step, Execute):
        return cursor.execute(step.statement, step.parameters)
    assert not isinstance(step, CopyIn)
    cursor.executemany(step.statement, step.rows)
    return cursor


def _copy_in(connection: Connection[Any], step: CopyIn) -> list[tuple[Any, ...]]:
    with connection.cursor().copy(step.statement) as copying:
        copying.set_types(step.types)
        for row in step.rows:
            copying.write_row(row)
    return []
