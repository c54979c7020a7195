"""Metrics of this process: of the service and of a worker."""

import threading
from collections.abc import Collection
from typing import Final
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, start_http_server
from prometheus_client.exposition import choose_encoder

from datastore.metrics.declared import DECLARED, OTHER, known_label
from datastore.metrics.store import StoreCollector
from mds_client.metrics import ClientMetrics

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_HTTP_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_JOB_SECONDS: Final = (0.1, 0.5, 1, 5, 10, 30, 60, 300, 900, 3600)


class ServiceMetrics:
    """The metrics of one process of the service: its requests, its clients, and the state of the store.

    `client` is the observer for every `MDS` of the process.
    """

    def __init__(self, dsn: str) -> None:
        self.registry = CollectorRegistry()
        self.client = ClientMetrics(self.registry)
        self._requests = _counter(self.registry, "datastore_http_requests_total")
        self._seconds = _histogram(self.registry, "datastore_http_request_duration_seconds", _HTTP_SECONDS)
        self._in_flight = _gauge(self.registry, "datastore_http_requests_in_flight")
        self._store = StoreCollector(dsn)
        self.registry.register(self._store)
        ProcessCollector(registry=self.registry)

    def request_began(self) -> None:
        """Count the beginning of a request."""
        self._in_flight.inc()

    def request_ended(self, route: str | None, method: str, status: int, seconds: float) -> None:
        """Count an answered request. `route` is the route's template, such as `/jobs/{id}`, or None without one."""
        self._in_flight.dec()
        route = route or OTHER
        method = method if method in _METHODS else OTHER
        self._requests.labels(route, method, str(status)).inc()
        self._seconds.labels(route, method).observe(seconds)

    def exposition(self, accept: str | None = None) -> tuple[bytes, str]:
        """Return all metrics as text, with its content type: OpenMetrics if accepted, otherwise Prometheus' own format.

        Never raises if the database is away: `datastore_database_up` is 0 then. It may wait for the database for some
        seconds, so do not call it in an event loop.
        """
        encode, content_type = choose_encoder(accept or "")
        return encode(self.registry), content_type

    def close(self) -> None:
        """Close the connection to the database."""
        self._store.close()


class WorkerMetrics:
    """The metrics of one worker: the jobs that it runs. The service exposes those of the outbox."""

    def __init__(self, types: Collection[str]) -> None:
        """`types` are those that the worker takes. Other types are no labels, because applications choose them."""
        self.registry = CollectorRegistry()
        self._types = frozenset(types)
        self._ended = _counter(self.registry, "datastore_worker_jobs_total")
        self._seconds = _histogram(self.registry, "datastore_worker_job_duration_seconds", _JOB_SECONDS)
        self._running = _gauge(self.registry, "datastore_worker_jobs_in_progress")
        ProcessCollector(registry=self.registry)

    def job_began(self) -> None:
        """Count the beginning of a job."""
        self._running.inc()

    def job_ended(self, job_type: str, outcome: str, seconds: float) -> None:
        """Count the end of a job: `outcome` is its new state (`queued`: it will be tried again), or `lost`."""
        job_type = known_label(job_type, self._types)
        self._running.dec()
        self._ended.labels(job_type, outcome).inc()
        self._seconds.labels(job_type).observe(seconds)

    def exposition(self) -> tuple[bytes, str]:
        """Return all metrics as text, with its content type."""
        encode, content_type = choose_encoder("")
        return encode(self.registry), content_type

    def serve(self, port: int, host: str = "127.0.0.1") -> "Exposed":
        """Serve scrapes in a separate thread. Port 0 chooses a free one. Raises OSError if the port is taken."""
        server, thread = start_http_server(port, host, self.registry)
        return Exposed(server, thread)


class Exposed:
    """A port that serves scrapes until `close`."""

    def __init__(self, server: WSGIServer, thread: threading.Thread) -> None:
        self._server = server
        self._thread = thread
        self.port: int = server.server_port

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _counter(registry: CollectorRegistry, name: str) -> Counter:
    metric = DECLARED[name]
    return Counter(metric.name, metric.help, metric.labels, registry=registry)


def _gauge(registry: CollectorRegistry, name: str) -> Gauge:
    metric = DECLARED[name]
    return Gauge(metric.name, metric.help, metric.labels, registry=registry)


def _histogram(registry: CollectorRegistry, name: str, buckets: tuple[float, ...]) -> Histogram:
    metric = DECLARED[name]
    return Histogram(metric.name, metric.help, metric.labels, buckets=buckets, registry=registry)
