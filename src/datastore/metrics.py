"""The control plane's metrics for Prometheus: what the store is like, what the service and the workers do.

Every metric is declared in `DECLARED`, from which the page of metrics is written, and which the dashboards and alert
rules are checked against. What the store is like is read from the database when somebody scrapes: from catalogs and
small tables, never from the rows of a kind, and no oftener than `StoreCollector` says. Labels are bounded: never a
tenant or a symbol, and vendors and job types only up to a number. The client's own metrics are
`mds_client.metrics`.

Needs `prometheus_client` (the extra `metrics`).
"""

import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal
from wsgiref.simple_server import WSGIServer

import psycopg
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from datastore import aggregates, control, jobs
from datastore.connections import connect, limited
from datastore.engine import Driver, Engine, detect, one
from datastore.schema import STORE, TENANT_BITS, metadata
from mds_client import KINDS
from mds_client.metrics import ClientMetrics

Type = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class Declared:
    """A metric: its name as it is scraped (a histogram without `_bucket`, `_sum`, `_count`), and what it says."""

    name: str
    type: Type
    help: str
    labels: tuple[str, ...] = ()


DECLARED: Final = {
    metric.name: metric
    for metric in (
        Declared("datastore_database_up", "gauge", "Whether the database answered when it was last asked."),
        Declared("datastore_collect_success", "gauge", "Whether this part could be read when last tried.", ("part",)),
        Declared("datastore_collect_seconds", "gauge", "How long it took to read this part.", ("part",)),
        Declared("datastore_collect_timestamp_seconds", "gauge", "When this part was last read.", ("part",)),
        Declared(
            "datastore_database_info", "gauge", "What the database is; always 1.",
            ("server_version", "engine", "engine_version"),
        ),
        Declared("datastore_database_size_bytes", "gauge", "Size of the whole database."),
        Declared("datastore_schema_info", "gauge", "The schema version; always 1.", ("version", "head")),
        Declared("datastore_schema_at_head", "gauge", "Whether the schema is the one that this release needs."),
        Declared("datastore_tenants", "gauge", "Tenants.", ("state",)),
        Declared("datastore_series", "gauge", "Series.", ("kind", "vendor", "timeframe")),
        Declared(
            "datastore_newest_row_timestamp_seconds", "gauge", "Time of the newest row of any series.",
            ("kind", "vendor", "timeframe"),
        ),
        Declared(
            "datastore_gaps", "gauge", "Gaps in the series, as the last daily count found.", ("vendor", "timeframe")
        ),
        Declared(
            "datastore_missing_bars", "gauge", "Bars that these gaps are short of.", ("vendor", "timeframe")
        ),
        Declared(
            "datastore_gap_check_timestamp_seconds", "gauge", "When gaps were last looked for, at the latest.",
            ("vendor", "timeframe"),
        ),
        Declared("datastore_jobs", "gauge", "Jobs that wait, run or have failed.", ("job_type", "state")),
        Declared("datastore_job_oldest_due_seconds", "gauge", "For how long the job that waits longest has been due."),
        Declared("datastore_backfills", "gauge", "Backfills that are under way."),
        Declared("datastore_backfill_jobs", "gauge", "Jobs of the backfills that are under way.", ("state",)),
        Declared("datastore_backfill_progress_ratio", "gauge", "How much of the backfills under way is done, of 1."),
        Declared("datastore_relation_size_bytes", "gauge", "Size of a table or stored rollup.", ("relation", "part")),
        Declared("datastore_relation_rows", "gauge", "Rows, as the server estimates.", ("relation",)),
        Declared("datastore_chunks", "gauge", "Chunks.", ("relation", "storage")),
        Declared("datastore_chunk_largest_bytes", "gauge", "Size of the largest chunk.", ("relation",)),
        Declared(
            "datastore_columnar_before_bytes", "gauge", "Size of the columnar chunks before they were.", ("relation",)
        ),
        Declared("datastore_columnar_after_bytes", "gauge", "Size of the columnar chunks.", ("relation",)),
        Declared(
            "datastore_compression_ratio", "gauge", "How many times smaller columnar chunks have become.", ("relation",)
        ),
        Declared(
            "datastore_policy_runs_total", "counter", "Runs of the server's job for a policy.", ("relation", "policy")
        ),
        Declared(
            "datastore_policy_failures_total", "counter", "Runs of the server's job for a policy that failed.",
            ("relation", "policy"),
        ),
        Declared(
            "datastore_policy_last_success_timestamp_seconds", "gauge", "When the job for a policy last ended well.",
            ("relation", "policy"),
        ),
        Declared(
            "datastore_policy_last_duration_seconds", "gauge", "How long the last run for a policy took.",
            ("relation", "policy"),
        ),
        Declared(
            "datastore_http_requests_total", "counter", "Requests that were answered.", ("route", "method", "status")
        ),
        Declared(
            "datastore_http_request_duration_seconds", "histogram", "Time from a request to the end of its answer.",
            ("route", "method"),
        ),
        Declared("datastore_http_requests_in_flight", "gauge", "Requests that are being answered."),
        Declared(
            "datastore_worker_jobs_total", "counter", "Jobs that this worker has ended.", ("job_type", "outcome")
        ),
        Declared("datastore_worker_job_duration_seconds", "histogram", "Time of a job in this worker.", ("job_type",)),
        Declared("datastore_worker_jobs_in_progress", "gauge", "Jobs that this worker is running."),
    )
}  # fmt: skip
"""Every metric of the control plane, by name."""

OTHER: Final = "(other)"
"""The label of what is beyond the number of label values that there may be, or is not known."""

MAX_GROUPS: Final = 300
"""How many vendors (with kind and timeframe) have labels of their own: of every tenant those with the most series."""

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_HTTP_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_JOB_SECONDS: Final = (0.1, 0.5, 1, 5, 10, 30, 60, 300, 900, 3600)


class ServiceMetrics:
    """What one process of the service exposes: its requests, its clients, and what the store is like.

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
        """A request is being answered from now on."""
        self._in_flight.inc()

    def request_ended(self, route: str | None, method: str, status: int, seconds: float) -> None:
        """It is answered. `route` is the route's template, such as `/jobs/{id}`, or None where no route is it."""
        self._in_flight.dec()
        route = route or OTHER
        method = method if method in _METHODS else OTHER
        self._requests.labels(route, method, str(status)).inc()
        self._seconds.labels(route, method).observe(seconds)

    def exposition(self, accept: str | None = None) -> tuple[bytes, str]:
        """All metrics as text, and its content type: OpenMetrics for who accepts that, else Prometheus' own.

        Never raises for a database that is away: `datastore_database_up` is 0 then. Waits for it for some seconds at
        the most, so not for an event loop.
        """
        encode, content_type = choose_encoder(accept or "")
        return encode(self.registry), content_type

    def close(self) -> None:
        """Close the connection to the database."""
        self._store.close()


class WorkerMetrics:
    """What one worker exposes: the jobs that it runs. What waits in the outbox is the service's to say."""

    def __init__(self, types: Collection[str]) -> None:
        """`types` are those that the worker takes: what applications call their jobs otherwise is no label."""
        self.registry = CollectorRegistry()
        self._types = frozenset(types)
        self._ended = _counter(self.registry, "datastore_worker_jobs_total")
        self._seconds = _histogram(self.registry, "datastore_worker_job_duration_seconds", _JOB_SECONDS)
        self._running = _gauge(self.registry, "datastore_worker_jobs_in_progress")
        ProcessCollector(registry=self.registry)

    def job_began(self) -> None:
        """A job is run from now on."""
        self._running.inc()

    def job_ended(self, job_type: str, outcome: str, seconds: float) -> None:
        """It has ended: `outcome` is its state after that (`queued`: to be tried again), or `lost`."""
        job_type = _known(job_type, self._types)
        self._running.dec()
        self._ended.labels(job_type, outcome).inc()
        self._seconds.labels(job_type).observe(seconds)

    def exposition(self) -> tuple[bytes, str]:
        """All metrics as text, and its content type."""
        encode, content_type = choose_encoder("")
        return encode(self.registry), content_type

    def serve(self, port: int, host: str = "127.0.0.1") -> "Exposed":
        """Answer scrapes in a thread of its own. Port 0 is any that is free. Raises OSError where the port is taken."""
        server, thread = start_http_server(port, host, self.registry)
        return Exposed(server, thread)


class Exposed:
    """A port that answers scrapes until `close`."""

    def __init__(self, server: WSGIServer, thread: threading.Thread) -> None:
        self._server = server
        self._thread = thread
        self.port: int = server.server_port

    def close(self) -> None:
        """Answer no more."""
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


# What the store is like -----------------------------------------------------------------------------------------

Sample = tuple[str, tuple[str, ...], float]
"""A metric's name, the values of its labels, and its value."""

Read = Callable[[Engine, Driver], Iterator[Sample]]


@dataclass(slots=True)
class _Part:
    """What is read at once, and how that last went. Times are of the monotonic clock, `read_at` is of the wall's.

    `seldom`: how many times longer than the others it is kept.
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
    """Reads what the store is like, part by part, and keeps it.

    A part is read again after `MIN_AGE` seconds (sizes: a minute), or after `SHARE` times as long as reading it took:
    however many scrape, and however slow a database is, it is kept busy for a small share of the time at the most. A
    part that cannot be read keeps its last values, and says so by `datastore_collect_success`.

    A thread reads, and a scrape waits for it for `BUDGET` seconds, all parts together: Prometheus takes an answer that
    comes too late (10 seconds, where nothing else is set) for none. A part that was not reached by then keeps its last
    values too and says so, and the next scrape has what was read meanwhile.
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
        # The thread that reads, what it has not read yet, and when the database last answered it.
        self._reading: threading.Thread | None = None
        self._left: list[_Part] = []
        self._heard_at = 0.0
        types = frozenset(jobs.load())
        head = control.head()
        self._parts = (
            _Part("database", lambda engine, driver: _database(engine, driver, head)),
            _Part("tenants", _tenants),
            _Part("series", _series),
            _Part("gaps", _gaps),
            _Part("jobs", lambda _, driver: _jobs(driver, types)),
            _Part("backfills", _backfills),
            # Asks the file system for every file of every chunk, and changes slowly.
            _Part("sizes", _sizes, seldom=12),
            _Part("policies", _policies),
        )

    def describe(self) -> Iterable[Metric]:
        """What may be collected, said without asking the database: registering reads nothing."""
        return list(_families(()))

    def collect(self) -> Iterable[Metric]:
        """What there is, read anew where it is due and can be within the budget."""
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
            # One that is still in the way waits for a server that is silent: it ends with this process.
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
        """The thread that reads already, else a new one where something is due."""
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
            # It is away. Asked again soon, and not by every scrape; what was read last stays.
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
            # The others are read all the same, unless it is the connection.
            part.success = False
            if driver.closed:
                raise psycopg.OperationalError("the connection is lost") from None
        self._heard_at = time.monotonic()
        part.seconds = self._heard_at - began
        part.due = self._heard_at + max(part.seldom * self.MIN_AGE, self.SHARE * part.seconds)

    def _heard(self, samples: Iterable[Sample]) -> Iterator[Sample]:
        """The samples: each is a sign of life of a database that takes its time."""
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
                    # The next scrape makes a new connection if the network has lost this one.
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
    """The declared metrics of the store with these samples, in the order of their declaration."""
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


def _database(engine: Engine, driver: Driver, head: str) -> Iterator[Sample]:
    server = driver.info.parameter_status("server_version") or ""
    yield "datastore_database_info", (server, engine.name, engine.extension_version or ""), 1
    version = control.schema_version(driver) or ""
    yield "datastore_schema_info", (version, head), 1
    yield "datastore_schema_at_head", (), float(version == head)


def _tenants(_: Engine, driver: Driver) -> Iterator[Sample]:
    for enabled, disabled in driver.execute(
        "SELECT count(*) FILTER (WHERE disabled_at IS NULL), count(disabled_at) FROM store.tenants"
    ).fetchall():
        yield "datastore_tenants", ("enabled",), enabled
        yield "datastore_tenants", ("disabled",), disabled


# Which groups have labels of their own is decided fairly: the first of every tenant, then the second of each. By
# size alone, one tenant with many vendors would leave no label to the others, and no alert.
_SERIES: Final = f"""
SELECT kind, vendor, coalesce(timeframe, ''), sum(series)::bigint, max(newest)
FROM (
  SELECT kind, vendor, timeframe, count(*) AS series, max(last_ts) AS newest,
         row_number() OVER (PARTITION BY tenant ORDER BY count(*) DESC, kind, vendor, timeframe) AS place
  FROM (SELECT series_id >> {TENANT_BITS} AS tenant, kind, vendor, timeframe, last_ts FROM store.series) AS s
  GROUP BY tenant, kind, vendor, timeframe
) AS groups
GROUP BY kind, vendor, timeframe ORDER BY min(place), 4 DESC, 1, 2, 3
"""  # noqa: S608 - a number of the project's own

_GAPS: Final = """
SELECT vendor, timeframe, sum(gaps)::bigint, sum(missing)::bigint, min(checked_at)
FROM (
  SELECT *, row_number() OVER (PARTITION BY tenant_no ORDER BY missing DESC, vendor, timeframe) AS place
  FROM store.gap_counts
) AS counts
GROUP BY vendor, timeframe ORDER BY min(place), 4 DESC, 1, 2
"""


def _series(_: Engine, driver: Driver) -> Iterator[Sample]:
    rows = driver.execute(_SERIES).fetchall()
    counts: dict[tuple[str, ...], int] = {}
    newest: dict[tuple[str, ...], float] = {}
    for at, (kind, vendor, timeframe, count, last) in enumerate(rows):
        labels: tuple[str, ...] = (kind, vendor, timeframe)
        if at >= MAX_GROUPS:
            labels = (_known(kind, KINDS), OTHER, OTHER)
        counts[labels] = counts.get(labels, 0) + count
        if last is not None:
            newest[labels] = max(newest.get(labels, float("-inf")), last.timestamp())
    yield from (("datastore_series", labels, count) for labels, count in counts.items())
    yield from (("datastore_newest_row_timestamp_seconds", labels, instant) for labels, instant in newest.items())


def _gaps(_: Engine, driver: Driver) -> Iterator[Sample]:
    rows = driver.execute(_GAPS).fetchall()
    found: dict[tuple[str, ...], tuple[int, int, float]] = {}
    for at, (vendor, timeframe, gaps, missing, checked) in enumerate(rows):
        labels: tuple[str, ...] = (vendor, timeframe) if at < MAX_GROUPS else (OTHER, OTHER)
        before = found.get(labels, (0, 0, float("inf")))
        found[labels] = (before[0] + gaps, before[1] + missing, min(before[2], checked.timestamp()))
    for labels, (gaps, missing, instant) in found.items():
        yield "datastore_gaps", labels, gaps
        yield "datastore_missing_bars", labels, missing
        yield "datastore_gap_check_timestamp_seconds", labels, instant


def _jobs(driver: Driver, types: frozenset[str]) -> Iterator[Sample]:
    backlog = jobs.backlog(driver)
    # Applications name the types of their jobs as they like. All labels are there before their first job is: what has
    # just appeared has not increased, and a first failure would be no alert.
    counts: dict[tuple[str, ...], int] = {
        (name, state): 0 for name in (*sorted(types), OTHER) for state in ("queued", "running", "failed")
    }
    for count in backlog.counts:
        labels = (_known(count.job_type, types), count.state)
        counts[labels] = counts.get(labels, 0) + count.jobs
    # Whose worker is lost waits for another, which takes it back. Without any it would be said to run for ever.
    for job_type, lost in driver.execute(
        "SELECT job_type, count(*) FROM store.jobs WHERE state = 'running' AND leased_until < now() GROUP BY 1"
    ).fetchall():
        name = _known(job_type, types)
        counts[name, "running"] -= lost
        counts[name, "queued"] += lost
    yield from (("datastore_jobs", labels, number) for labels, number in counts.items())
    oldest = backlog.oldest_due
    yield "datastore_job_oldest_due_seconds", (), oldest.total_seconds() if oldest else 0.0


def _backfills(_: Engine, driver: Driver) -> Iterator[Sample]:
    rows = driver.execute(
        """
        WITH open AS MATERIALIZED (
          SELECT DISTINCT backfill_id FROM store.jobs
          WHERE state IN ('queued', 'running') AND backfill_id IS NOT NULL
        )
        SELECT j.state, count(*), (SELECT count(*) FROM open)
        FROM open JOIN store.jobs AS j USING (backfill_id) GROUP BY 1 ORDER BY 1
        """
    ).fetchall()
    states = dict.fromkeys(jobs.STATES, 0) | {state: count for state, count, _ in rows}
    yield "datastore_backfills", (), rows[0][2] if rows else 0
    yield from (("datastore_backfill_jobs", (state,), count) for state, count in states.items())
    if total := sum(states.values()):
        yield "datastore_backfill_progress_ratio", (), 1 - (states["queued"] + states["running"]) / total


def _sizes(engine: Engine, driver: Driver) -> Iterator[Sample]:
    yield "datastore_database_size_bytes", (), one(driver.execute("SELECT pg_database_size(current_database())"))
    places = {table.name: (STORE, table.name) for table in metadata().sorted_tables}
    for kind, rollup in aggregates.rollups():
        if stored := engine.stored_rollup(driver, kind, rollup):
            places[aggregates.relation(kind, rollup)] = stored
    for relation, place in places.items():
        size = engine.size(driver, *place)
        yield "datastore_relation_size_bytes", (relation, "table"), size.table
        yield "datastore_relation_size_bytes", (relation, "indexes"), size.indexes
        if size.rows is not None:
            yield "datastore_relation_rows", (relation,), size.rows
        if size.chunks is None:
            continue
        columnar = size.columnar_chunks or 0
        yield "datastore_chunks", (relation, "rows"), size.chunks - columnar
        yield "datastore_chunks", (relation, "columnar"), columnar
        yield "datastore_chunk_largest_bytes", (relation,), size.largest_chunk or 0
        if size.before and size.after:
            yield "datastore_columnar_before_bytes", (relation,), size.before
            yield "datastore_columnar_after_bytes", (relation,), size.after
            yield "datastore_compression_ratio", (relation,), size.before / size.after


def _policies(engine: Engine, driver: Driver) -> Iterator[Sample]:
    for runs in engine.policy_runs(driver):
        labels = (runs.relation, runs.policy)
        yield "datastore_policy_runs_total", labels, runs.runs
        yield "datastore_policy_failures_total", labels, runs.failures
        if runs.last_success is not None:
            yield "datastore_policy_last_success_timestamp_seconds", labels, runs.last_success.timestamp()
        if runs.last_duration is not None:
            yield "datastore_policy_last_duration_seconds", labels, runs.last_duration.total_seconds()


def _known(name: str, names: Any) -> str:
    return name if name in names else OTHER
