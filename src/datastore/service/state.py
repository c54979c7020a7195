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
from datastore.config import Settings, SettingsError
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
"""The number of concurrent uploads. Each holds a thread and a batch of rows in memory."""

UPLOADS_OF_A_TENANT: Final = 3

STREAMS_OF_A_TENANT: Final = 2
"""The number of concurrent streams of rows of one tenant. In total, streams may hold half of the pool's connections,
each until its end, so that the other half is always left for short requests."""

STREAM_S: Final = 3600.0
"""The longest time of a stream of frames, in seconds."""

WAIT_S: Final = 10.0
"""How long an upload or stream waits for a place before it is refused, in seconds; the same as for a connection."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether the service can serve requests; `reason` says why not. `pool` counts the client's connections by state,
    once it has any."""

    reason: str | None
    engine: str | None
    engine_version: str | None
    server_version: str | None
    schema_version: str | None
    head: str
    pool: dict[str, int]


class Service:
    """The state of one app. It opens connections when they are needed, so it can start before its database does."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.dsn = patient(settings.dsn())
        # Where old rows are in files, the service reads them as the operator's commands do.
        files: dict[str, Any] = {} if settings.cold_url is None else {"cold_url": settings.cold_url}
        self._config = Config.load(dsn=self.dsn, app_name="datastore-service", pool_min=0, **files)
        if self._config.pool_max < 2:
            raise SettingsError(
                "MDS_POOL_MAX must be at least 2, because a stream keeps a connection while other requests need one"
            )
        self.uploads = Places("uploads", in_all=UPLOADS, each=UPLOADS_OF_A_TENANT, wait_s=WAIT_S)
        streams = self._config.pool_max // 2
        self.streams = Places("streams", in_all=streams, each=STREAMS_OF_A_TENANT, wait_s=WAIT_S)
        self._lock = threading.Lock()
        # An async lock: anyone may ask for readiness, and a database that hangs must not hold all threads.
        self._looking = anyio.Lock()
        self.metrics = ServiceMetrics(self.dsn)
        self._pool = _Pool(self.metrics.client)
        self._client: MDS | None = None
        self._looked_at = -_READY_FOR_S
        self._readiness: Readiness | None = None

    def client(self, tenant: UUID) -> MDS:
        """Return the client for a tenant; it reads and writes through the views, like any other."""
        with self._lock:
            if self._client is None:
                self._client = MDS(self._config, observer=self._pool)
            return self._client.for_tenant(str(tenant))

    def streaming(self, tenant: UUID) -> MDS:
        """Return the client for a stream of frames. A rollup is one statement, which lasts as long as its client reads.

        The server may still not be silent for longer than in any other statement.
        """
        made = self.client(tenant)
        made.config = Config.load(made.config, statement_timeout_ms=round(STREAM_S * 1000))
        return made

    async def readiness(self) -> Readiness:
        """Check whether requests can be served. It queries the database at most once a second, because anyone may ask.

        However long the query takes, nothing else waits for it.
        """
        async with self._looking:
            if self._readiness is None or time.monotonic() - self._looked_at >= _READY_FOR_S:
                self._readiness = await run_in_threadpool(self._look)
                self._looked_at = time.monotonic()
            return self._readiness

    def close(self) -> None:
        """Close the client and the metrics."""
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
            # The driver's message names addresses and roles, and anyone may read this.
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
    """Gives access to the statistics of the client's pool, and passes everything on to the metrics."""

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
    """Return a DSN with timeouts for a silent server and for locks.

    Timeouts in the DSN itself win. Raises SettingsError if it cannot be parsed.
    """
    try:
        given: dict[str, Any] = conninfo_to_dict(dsn)
    except psycopg.ProgrammingError as error:
        # The driver's message repeats the text that it could not parse, which may hold a password.
        raise SettingsError("the DSN cannot be read: neither a postgresql:// URL nor key=value text") from error
    given.setdefault("connect_timeout", _CONNECT_TIMEOUT_S)
    given.setdefault("application_name", "datastore-service")
    given["options"] = f"-c lock_timeout={_LOCK_TIMEOUT_MS} {given.get('options') or ''}".rstrip()
    return make_conninfo(**given)


def service(request: Request) -> Service:
    """Return the state of the app that serves a request."""
    found: Service = request.app.state.service
    return found


Here = Annotated[Service, Depends(service)]
