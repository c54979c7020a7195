"""The common part of both clients, without I/O: settings, tenant, caches and decisions about retries.

`MDS` and `AMDS` add a pool and the I/O.
"""

import copy
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

from psycopg.conninfo import conninfo_to_dict

from mds_client import notebook, rls, sql
from mds_client.config import Config
from mds_client.errors import MDSError, RetryableError, ServerUnreachable
from mds_client.protocol.operations import ColdKnown, Observer, Operation, SeriesCache, Session, SpellingKnown


class Pooled:
    """The common base of `MDS` and `AMDS`."""

    def __init__(
        self,
        settings: Config | Mapping[str, Any] | None = None,
        /,
        *,
        observer: Observer | None = None,
        **more: Any,
    ) -> None:
        self.observer = observer or Observer()
        self.config = Config.load(settings, **more)
        self.tenant_id = self.config.tenant_id or rls.tenant_of_dsn(self.config.dsn)
        self._caches: dict[str | None, SeriesCache] = {}
        self._cold: dict[str | None, ColdKnown] = {}
        self._known = SpellingKnown()
        self._owns_pool = True

    def for_tenant(self, tenant_id: str) -> Self:
        """Return a client for another tenant over the same pool. Only the original client closes the pool."""
        clone = copy.copy(self)
        clone.config = Config.load(self.config, tenant_id=tenant_id)
        clone.tenant_id = clone.config.tenant_id
        clone._owns_pool = False
        return clone

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.config.app_name!r} tenant={self.tenant_id}>"

    @contextmanager
    def _blocking(self) -> Iterator[Any]:
        """Return a synchronous client with the same settings."""
        yield self

    def _repr_html_(self) -> str:
        """Return the settings as HTML for a notebook, without the password and without asking the server."""
        parts = conninfo_to_dict(self.config.dsn)
        shown = {
            "server": f"{parts.get('host') or 'local'}:{parts.get('port') or 5432}",
            "database": parts.get("dbname"),
            "role": parts.get("user"),
            "tenant": self.tenant_id or "of the login",
            "application": self.config.app_name,
        }
        return notebook.fields(type(self).__name__, shown)

    def _session(self, *, sure: bool = False) -> Session:
        """Return the state of a new operation. `sure`: it is not repeated, so it must know how symbols are spelled."""
        known = self._known
        return Session(
            self.config,
            self._caches.setdefault(self.tenant_id, {}),
            self.tenant_id,
            cold=self._cold.setdefault(self.tenant_id, ColdKnown()),
            known=known,
            spelling=known.spelling,
            asks=known.stale or (sure and not known.confirmed),
        )


class Attempts:
    """The attempts at one operation: decides about retries and their delay, and informs the observer."""

    def __init__(self, client: Pooled, operation: Operation[Any]) -> None:
        self._config = client.config
        self._observer = client.observer
        self._operation = operation.name
        self._began = time.monotonic()
        self._waits = client.config.waits()
        self._tried = 0

    def failed(self, error: MDSError, session: Session) -> float:
        """Return the seconds to wait before the next attempt, or raise the error if there is none."""
        if is_spelled_anew(error, session):
            return 0.0
        self._tried += 1
        if session.commits:
            # A part was committed, so a different part has failed now.
            self._waits = self._config.waits()
        again = isinstance(error, RetryableError) and not isinstance(error, ServerUnreachable)
        if not again or (wait := next(self._waits, None)) is None:
            self._observer.failed(self._operation, error)
            if self._tried > 1:
                error.add_note(f"tried {self._tried} times in {time.monotonic() - self._began:.1f} s")
            raise error
        self._observer.retried(self._operation, error)
        return wait

    def answered(self, session: Session) -> None:
        """Tell the observer that the operation has succeeded."""
        self._observer.performed(self._operation, time.monotonic() - self._began, session.written)


def is_spelled_anew(error: MDSError, session: Session) -> bool:
    """Whether the server has refused the spelling of symbols, and the next attempt will ask for it first."""
    return isinstance(error, RetryableError) and error.sqlstate == sql.SPELLING and not session.asked


def lost_connection(error: MDSError) -> bool:
    """Whether an error means a lost connection. Others of the pool may be lost, too, such as after a restart."""
    return isinstance(error, RetryableError) and error.lost_connection
