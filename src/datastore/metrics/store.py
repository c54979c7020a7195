"""The store's metrics, read from the database when they are scraped."""

import threading
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import psycopg
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from datastore import jobs
from datastore.connections import connect, head, limited
from datastore.engines import Driver, Engine, detect
from datastore.metrics.declared import DECLARED
from datastore.metrics.reads import (
    Read,
    Sample,
    backfills_read,
    cold_read,
    database_read,
    gaps_read,
    jobs_read,
    policies_read,
    series_read,
    sizes_read,
    tenants_read,
)


@dataclass(slots=True)
class _Part:
    """Metrics that are read together, and the outcome of the last read. Times are monotonic; `read_at` is wall time.

    `seldom`: how many times as long as other parts it is kept.
    """

    name: str
    read: Read
    seldom: int = 1
    samples: tuple[Sample, ...] = ()
    seconds: float = 0.0
    read_at: float | None = None
    success: bool = False
    due: float = 0.0


class StoreCollector(Collector):
    """Reads the state of the store part by part, and keeps it.

    A part is read again after `MIN_AGE` seconds (sizes: a minute), or after `SHARE` times as long as the reading took.
    So however many scrape, and however slow a database is, reading keeps it busy for a small share of the time. A part
    that cannot be read keeps its last values, and `datastore_collect_success` shows that.

    A thread reads, and a scrape waits for it for at most `BUDGET` seconds for all parts together, because Prometheus
    discards an answer that comes too late (10 seconds by default). A part that was not read by then also keeps its last
    values and shows it, and the next scrape has what was read meanwhile.
    """

    MIN_AGE: Final = 5.0
    SHARE: Final = 20.0
    TIMEOUT_MS: Final = 2_000
    BUDGET: Final = 5.0

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._lock = threading.Lock()
        self._connection: Driver | None = None
        self._engine: Engine | None = None
        self._up = False
        self._next_try = 0.0
        # The thread that reads, the parts that it has not read yet, and when the database last answered it.
        self._reading: threading.Thread | None = None
        self._left: list[_Part] = []
        self._heard_at = 0.0
        types = frozenset(jobs.load())
        newest = head()
        self._parts = (
            _Part("database", lambda engine, driver: database_read(engine, driver, newest)),
            _Part("tenants", tenants_read),
            _Part("series", series_read),
            _Part("gaps", gaps_read),
            _Part("jobs", lambda _, driver: jobs_read(driver, types)),
            _Part("backfills", backfills_read),
            # Reads the sizes of all files of all chunks, and changes slowly.
            _Part("sizes", sizes_read, seldom=12),
            _Part("policies", policies_read),
            _Part("cold", cold_read),
        )

    def describe(self) -> Iterable[Metric]:
        """List what can be collected without asking the database: registering reads nothing."""
        return list(_families(()))

    def collect(self) -> Iterable[Metric]:
        """Collect the metrics. Those that are due are read again if the budget allows it."""
        up, unread = self._up, frozenset[str]()
        if (reading := self._begun()) is not None:
            reading.join(self.BUDGET)
            up = self._up
            if reading.is_alive():
                unread = frozenset(part.name for part in tuple(self._left))
                up = up and time.monotonic() - self._heard_at < self.BUDGET
        return list(_families(list(self._samples(up, unread))))

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._left.clear()
            if self._reading is not None:
                self._reading.join(2 * self.TIMEOUT_MS / 1000)
            # A thread that still runs waits for a silent server, and ends with this process.
            if self._reading is None or not self._reading.is_alive():
                self._disconnect()

    def _samples(self, up: bool, unread: Collection[str]) -> Iterator[Sample]:
        yield "datastore_database_up", (), float(up)
        for part in self._parts:
            yield "datastore_collect_success", (part.name,), float(part.success and part.name not in unread)
            if part.read_at is not None:
                yield "datastore_collect_seconds", (part.name,), part.seconds
                yield "datastore_collect_timestamp_seconds", (part.name,), part.read_at
            yield from part.samples

    def _begun(self) -> threading.Thread | None:
        """Return the thread that reads already, or a new one if a part is due; otherwise None."""
        with self._lock:
            if self._reading is not None and self._reading.is_alive():
                return self._reading
            now = time.monotonic()
            due = [part for part in self._parts if part.due <= now]
            if not due or now < self._next_try:
                return None
            self._left, self._heard_at = due, now
            self._reading = threading.Thread(target=self._refresh, name="datastore-metrics", daemon=True)
            self._reading.start()
            return self._reading

    def _refresh(self) -> None:
        try:
            driver = self._connected()
            while self._left:
                self._read(driver, self._left[0])
                self._up = True
                del self._left[:1]
        except psycopg.OperationalError:
            # The database is away. Try again soon, but not in every scrape; the last values stay.
            self._disconnect()
            self._up = False
            self._next_try = time.monotonic() + self.MIN_AGE
        finally:
            for part in self._left:
                part.success = False

    def _read(self, driver: Driver, part: _Part) -> None:
        began = time.monotonic()
        try:
            with driver.transaction():
                driver.execute(
                    "SELECT set_config('statement_timeout', %s, true), set_config('transaction_read_only', 'on', true)",
                    (str(self.TIMEOUT_MS),),
                )
                assert self._engine is not None
                part.samples = tuple(self._heard(part.read(self._engine, driver)))
            part.read_at, part.success = time.time(), True
        except psycopg.Error:
            # Read the other parts all the same, unless the connection is lost.
            part.success = False
            if driver.closed:
                raise psycopg.OperationalError("the connection is lost") from None
        self._heard_at = time.monotonic()
        part.seconds = self._heard_at - began
        part.due = self._heard_at + max(part.seldom * self.MIN_AGE, self.SHARE * part.seconds)

    def _heard(self, samples: Iterable[Sample]) -> Iterator[Sample]:
        """Yield the samples, and note each as a sign of life of a slow database."""
        for sample in samples:
            self._heard_at = time.monotonic()
            yield sample

    def _connected(self) -> Driver:
        if self._connection is None:
            with limited(self.TIMEOUT_MS / 1000):
                self._connection = connect(
                    self._dsn,
                    autocommit=True,
                    connect_timeout=3,
                    application_name="datastore-metrics",
                    # Lets the next scrape make a new connection if the network has lost this one.
                    tcp_user_timeout=10_000,
                    keepalives_idle=10,
                )
            self._engine = detect(self._connection)
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _families(samples: Iterable[Sample]) -> Iterator[Metric]:
    """Yield the declared metrics of the store with these samples, in the order of their declaration."""
    by_name: dict[str, list[Sample]] = {}
    for sample in samples:
        by_name.setdefault(sample[0], []).append(sample)
    for metric in DECLARED.values():
        if metric.name.startswith(("datastore_http_", "datastore_worker_")):
            continue
        family: CounterMetricFamily | GaugeMetricFamily
        if metric.type == "counter":
            family = CounterMetricFamily(metric.name, metric.help, labels=metric.labels)
        else:
            family = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
        for _, labels, value in by_name.get(metric.name, ()):
            family.add_metric(labels, value)
        yield family
