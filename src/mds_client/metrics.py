"""Prometheus metrics of a client: opt-in, on a registry of your choice.

    from mds_client import MDS
    from mds_client.metrics import ClientMetrics

    mds = MDS(observer=ClientMetrics())

Labels are bounded: kinds, write modes, operation names and error classes, never a tenant, a symbol or a vendor.
Needs `prometheus_client` (the extra `metrics`).
"""

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from mds_client.errors import MDSError
from mds_client.protocol.operations import Observer, Written

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class ClientMetrics(Observer):
    """An observer for `MDS` and `AMDS`, which any number of clients of one registry can share."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self._rows = Counter("mds_rows", "Rows accepted by an upsert.", ["kind", "mode"], registry=registry)
        self._replaced = Counter(
            "mds_rows_replaced",
            "Rows of an upsert that a later row of the same call replaced: the same key, other values.",
            ["kind"],
            registry=registry,
        )
        self._batches = Counter("mds_batches", "Upserts committed.", ["kind", "mode"], registry=registry)
        self._write_seconds = Histogram(
            "mds_write_seconds",
            "Time of an upsert, from call to commit, retries included.",
            ["kind", "mode"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._operation_seconds = Histogram(
            "mds_operation_seconds",
            "Time of an operation, from call to answer, retries included.",
            ["operation"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._retries = Counter(
            "mds_retries", "Attempts that were repeated.", ["operation", "error"], registry=registry
        )
        self._errors = Counter("mds_errors", "Operations that raised.", ["operation", "error"], registry=registry)
        self._rejects = Counter("mds_rejects", "Rows that could not be written for their content.", ["kind"],
                                registry=registry)  # fmt: skip
        self._pools: dict[str, Callable[[], dict[str, int]]] = {}
        registry.register(_Pools(self._pools))

    def performed(self, operation: str, seconds: float, written: Written | None) -> None:
        self._operation_seconds.labels(operation).observe(seconds)
        if written is not None:
            self._rows.labels(written.kind, written.mode).inc(written.rows)
            self._replaced.labels(written.kind).inc(written.replaced)
            self._batches.labels(written.kind, written.mode).inc()
            self._write_seconds.labels(written.kind, written.mode).observe(seconds)

    def retried(self, operation: str, error: MDSError) -> None:
        self._retries.labels(operation, type(error).__name__).inc()

    def failed(self, operation: str, error: MDSError) -> None:
        self._errors.labels(operation, type(error).__name__).inc()

    def rejected(self, kind: str, rows: int) -> None:
        self._rejects.labels(kind).inc(rows)

    def opened(self, app_name: str, statistics: Callable[[], dict[str, int]]) -> None:
        self._pools[app_name] = statistics


class _Pools(Collector):
    """Collects the pools' connections at each scrape."""

    def __init__(self, pools: dict[str, Callable[[], dict[str, int]]]) -> None:
        self._pools = pools

    def collect(self) -> Iterable[Metric]:
        yield from self._gauges()

    def _gauges(self) -> Iterator[Metric]:
        connections = GaugeMetricFamily(
            "mds_pool_connections", "Connections of a client's pool.", labels=["app_name", "state"]
        )
        waiting = GaugeMetricFamily(
            "mds_pool_requests_waiting", "Calls that wait for a connection.", labels=["app_name"]
        )
        for name, statistics in self._pools.items():
            now = statistics()
            size, idle = now.get("pool_size", 0), now.get("pool_available", 0)
            connections.add_metric([name, "idle"], idle)
            connections.add_metric([name, "busy"], size - idle)
            waiting.add_metric([name], now.get("requests_waiting", 0))
        yield connections
        yield waiting
