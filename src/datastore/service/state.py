"""The state that one app's endpoints share: settings, the database's DSN, and the client that rows pass through."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Final
from uuid import UUID

import anyio
import psycopg
from fastapi import Depends
from fastapi.concurrency import run_in_threadpool
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from starlette.requests import Request

from datastore import reads
from datastore.config import ConfigurationError, Settings
from datastore.connections import head
from datastore.metrics import ServiceMetrics
from datastore.reads import Database
from datastore.service.places import Places
from mds_client import MDS
from mds_client.config import Config
from mds_client.errors import MDSError
from mds_client.protocol.operations import Observer, Written

_CONNECT_TIMEOUT_S: Final = 5
_LOCK_TIMEOUT_MS: Final = 30_000
_READY_FOR_S: Final = 1.0

UPLOADS: Final = 12
"""Uploads at a time. Each has a thread, and a batch of rows in memory."""

UPLOADS_OF_A_TENANT: Final = 3

STREAMS_OF_A_TENANT: Final = 2
"""Streams of rows at a time of one tenant. In all there are as many as half of the pool's connections, each of which a
stream keeps to its end: what is answered at once always has the other half."""

STREAM_S: Final = 3600.0
"""How long a stream of frames may take, in seconds."""

WAIT_S: Final = 10.0
"""How long an upload or a stream waits for a place before it is refused, in seconds: as long as for a connection."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether requests can be served; `reason` says why not. `pool`: the client's connections, by state, once it has
    any."""

    reason: str | None
    engine: str | None
    engine_version: str | None
    server_version: str | None
    schema_version: str | None
    head: str
    pool: dict[str, int]


class Service:
    """One app's state. Connections are opened when they are needed: a service starts before its database does."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.dsn = patient(settings.dsn())
        self._config = Config.load(dsn=self.dsn, app_name="datastore-service", pool_min=0)
        if self._config.pool_max < 2:
            raise ConfigurationError("MDS_POOL_MAX is at least 2: a stream keeps a connection, and others need one too")
        self.uploads = Places("uploads", in_all=UPLOADS, each=UPLOADS_OF_A_TENANT, wait_s=WAIT_S)
        streams = self._config.pool_max // 2
        self.streams = Places("streams", in_all=streams, each=STREAMS_OF_A_TENANT, wait_s=WAIT_S)
        self._lock = threading.Lock()
        # Waits without a thread: anybody may ask whether it is ready, and a database that hangs would have them all.
        self._looking = anyio.Lock()
        self.metrics = ServiceMetrics(self.dsn)
        self._pool = _Pool(self.metrics.client)
        self._client: MDS | None = None
        self._looked_at = -_READY_FOR_S
        self._readiness: Readiness | None = None

    def client(self, tenant: UUID) -> MDS:
        """The client as a tenant: what it reads and writes goes through the views, as everybody's does."""
        with self._lock:
            if self._client is None:
                self._client = MDS(self._config, observer=self._pool)
            return self._client.for_tenant(str(tenant))

    def streaming(self, tenant: UUID) -> MDS:
        """The same for a stream of frames. That of a rollup is one statement, for as long as its client takes the rows.

        The server may still not be silent for longer than any other statement may take.
        """
        made = self.client(tenant)
        made.config = Config.load(made.config, statement_timeout_ms=round(STREAM_S * 1000))
        return made

    async def readiness(self) -> Readiness:
        """Whether requests can be served. Looks at the database once a second at the most: anybody may ask.

        However long it looks, nothing else waits for that.
        """
        async with self._looking:
            if self._readiness is None or time.monotonic() - self._looked_at >= _READY_FOR_S:
                self._readiness = await run_in_threadpool(self._look)
                self._looked_at = time.monotonic()
            return self._readiness

    def close(self) -> None:
        """Close what is open."""
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None
        self.metrics.close()

    def _look(self) -> Readiness:
        pool = self._pool.statistics()
        try:
            found = reads.describe(self.dsn)
        except psycopg.Error:
            # What the driver says names addresses and roles, and everybody may ask.
            return Readiness("the database cannot be reached", None, None, None, None, head(), pool)
        return Readiness(
            reason=_behind(found),
            engine=found.engine,
            engine_version=found.engine_version,
            server_version=found.server_version,
            schema_version=found.schema_version,
            head=found.head,
            pool=pool,
        )


def _behind(found: Database) -> str | None:
    if found.schema_version == found.head:
        return None
    return f"the schema version is {found.schema_version or 'none'}, head is {found.head}"


class _Pool(Observer):
    """Knows how the client's pool stands, and passes on what it is told."""

    def __init__(self, metrics: Observer) -> None:
        self.statistics: Callable[[], dict[str, int]] = dict
        self._metrics = metrics

    def opened(self, app_name: str, statistics: Callable[[], dict[str, int]]) -> None:
        self.statistics = statistics
        self._metrics.opened(app_name, statistics)

    def performed(self, operation: str, seconds: float, written: Written | None) -> None:
        self._metrics.performed(operation, seconds, written)

    def retried(self, operation: str, error: MDSError) -> None:
        self._metrics.retried(operation, error)

    def failed(self, operation: str, error: MDSError) -> None:
        self._metrics.failed(operation, error)

    def rejected(self, kind: str, rows: int) -> None:
        self._metrics.rejected(kind, rows)


def patient(dsn: str) -> str:
    """A DSN that waits neither forever for a server that is silent nor for a lock that someone keeps.

    What the DSN says itself goes before. Raises ConfigurationError if it cannot be read.
    """
    try:
        given: dict[str, Any] = conninfo_to_dict(dsn)
    except psycopg.ProgrammingError as error:
        # The driver's message repeats the text that it could not read, which may hold a password.
        raise ConfigurationError("the DSN cannot be read: neither a postgresql:// URL nor key=value text") from error
    given.setdefault("connect_timeout", _CONNECT_TIMEOUT_S)
    given.setdefault("application_name", "datastore-service")
    given["options"] = f"-c lock_timeout={_LOCK_TIMEOUT_MS} {given.get('options') or ''}".rstrip()
    return make_conninfo(**given)


def service(request: Request) -> Service:
    """The state of the app that a request is for."""
    found: Service = request.app.state.service
    return found


Here = Annotated[Service, Depends(service)]
