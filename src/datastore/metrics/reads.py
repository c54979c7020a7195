"""The statements behind the store's metrics."""

from collections.abc import Callable, Iterator
from typing import Final

from datastore import aggregates, jobs
from datastore.connections import schema_version
from datastore.engines import Driver, Engine, one
from datastore.metrics.declared import MAX_GROUPS, OTHER, known_label
from datastore.names import STORE, TENANT_BITS
from mds_client import KINDS

# The state of the store -----------------------------------------------------------------------------------------

Sample = tuple[str, tuple[str, ...], float]
"""A metric's name, the values of its labels, and its value."""

Read = Callable[[Engine, Driver], Iterator[Sample]]


def database_read(engine: Engine, driver: Driver, head: str) -> Iterator[Sample]:
    """Yield server, engine and schema version."""
    server = driver.info.parameter_status("server_version") or ""
    yield "datastore_database_info", (server, engine.name, engine.extension_version or ""), 1
    version = schema_version(driver) or ""
    yield "datastore_schema_info", (version, head), 1
    yield "datastore_schema_at_head", (), float(version == head)


def tenants_read(_: Engine, driver: Driver) -> Iterator[Sample]:
    """Yield the number of tenants by state."""
    for enabled, disabled in driver.execute(
        "SELECT count(*) FILTER (WHERE disabled_at IS NULL), count(disabled_at) FROM store.tenants"
    ).fetchall():
        yield "datastore_tenants", ("enabled",), enabled
        yield "datastore_tenants", ("disabled",), disabled


# Labels are shared out fairly: the first group of every tenant gets one, then the second of each. By size alone, one
# tenant with many vendors would leave no labels, and so no alerts, to the others. The server adds up the rest, so
# however many names tenants invent, it returns no more groups than there are labels.
_SERIES: Final = f"""
SELECT kind, CASE WHEN own THEN vendor ELSE %(other)s END, CASE WHEN own THEN timeframe ELSE %(other)s END,
       sum(series)::bigint, max(newest)
FROM (
  SELECT kind, vendor, coalesce(timeframe, '') AS timeframe, sum(series) AS series, max(newest) AS newest,
         row_number() OVER (ORDER BY min(place), sum(series) DESC, kind, vendor, timeframe) <= %(most)s AS own
  FROM (
    SELECT kind, vendor, timeframe, count(*) AS series, max(last_ts) AS newest,
           row_number() OVER (PARTITION BY tenant ORDER BY count(*) DESC, kind, vendor, timeframe) AS place
    FROM (SELECT series_id >> {TENANT_BITS} AS tenant, kind, vendor, timeframe, last_ts FROM store.series) AS s
    GROUP BY tenant, kind, vendor, timeframe
  ) AS groups
  GROUP BY kind, vendor, timeframe
) AS ranked
GROUP BY 1, 2, 3
"""  # noqa: S608 - a number of the project's own

_GAPS: Final = """
SELECT CASE WHEN own THEN vendor ELSE %(other)s END, CASE WHEN own THEN timeframe ELSE %(other)s END,
       sum(gaps)::bigint, sum(missing)::bigint, sum(repeated)::bigint, min(checked_at)
FROM (
  SELECT vendor, timeframe, sum(gaps) AS gaps, sum(missing) AS missing, sum(repeated) AS repeated,
         min(checked_at) AS checked_at,
         row_number() OVER (ORDER BY min(place), sum(missing) DESC, vendor, timeframe) <= %(most)s AS own
  FROM (
    SELECT *, row_number() OVER (PARTITION BY tenant_no ORDER BY missing DESC, vendor, timeframe) AS place
    FROM store.gap_counts
  ) AS counts
  GROUP BY vendor, timeframe
) AS ranked
GROUP BY 1, 2
"""

_LABELS: Final = {"other": OTHER, "most": MAX_GROUPS}


def series_read(_: Engine, driver: Driver) -> Iterator[Sample]:
    """Yield series and their newest rows, by kind, vendor and timeframe."""
    counts: dict[tuple[str, ...], int] = {}
    newest: dict[tuple[str, ...], float] = {}
    for kind, vendor, timeframe, count, last in driver.execute(_SERIES, _LABELS).fetchall():
        labels: tuple[str, ...] = (kind, vendor, timeframe)
        if vendor == OTHER:
            labels = (known_label(kind, KINDS), OTHER, OTHER)
        counts[labels] = counts.get(labels, 0) + count
        if last is not None:
            newest[labels] = max(newest.get(labels, float("-inf")), last.timestamp())
    yield from (("datastore_series", labels, count) for labels, count in counts.items())
    yield from (("datastore_newest_row_timestamp_seconds", labels, instant) for labels, instant in newest.items())


def gaps_read(_: Engine, driver: Driver) -> Iterator[Sample]:
    """Yield the counts of the last gap check."""
    for vendor, timeframe, gaps, missing, repeated, checked in driver.execute(_GAPS, _LABELS).fetchall():
        yield "datastore_gaps", (vendor, timeframe), gaps
        yield "datastore_missing_bars", (vendor, timeframe), missing
        yield "datastore_repeated_sessions", (vendor, timeframe), repeated
        yield "datastore_gap_check_timestamp_seconds", (vendor, timeframe), checked.timestamp()


def jobs_read(driver: Driver, types: frozenset[str]) -> Iterator[Sample]:
    """Yield jobs by type and state."""
    backlog = jobs.backlog(driver, sorted(types))
    # Applications choose the types of their jobs. All labels exist before the first job, because Prometheus sees no
    # increase in a series that has just appeared, and a first failure would not alert.
    counts: dict[tuple[str, ...], int] = {
        (name, state): 0 for name in (*sorted(types), OTHER) for state in ("queued", "running", "failed")
    }
    for count in backlog.counts:
        counts[count.job_type or OTHER, count.state] += count.jobs
    # A job whose lease has expired waits for another worker. Without any worker it would seem to run forever.
    for job_type, lost in driver.execute(
        "SELECT CASE WHEN job_type = ANY(%s) THEN job_type END, count(*) FROM store.jobs"
        " WHERE state = 'running' AND leased_until < now() GROUP BY 1",
        (sorted(types),),
    ).fetchall():
        counts[job_type or OTHER, "running"] -= lost
        counts[job_type or OTHER, "queued"] += lost
    yield from (("datastore_jobs", labels, number) for labels, number in counts.items())
    oldest = backlog.oldest_due
    yield "datastore_job_oldest_due_seconds", (), oldest.total_seconds() if oldest else 0.0


def backfills_read(_: Engine, driver: Driver) -> Iterator[Sample]:
    """Yield the numbers of unfinished backfills and their jobs."""
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


def sizes_read(engine: Engine, driver: Driver) -> Iterator[Sample]:
    """Yield the sizes of tables, rollups and chunks."""
    from datastore.schema import metadata  # SQLAlchemy takes long to import

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


def policies_read(engine: Engine, driver: Driver) -> Iterator[Sample]:
    """Yield runs of the server's jobs for policies."""
    for runs in engine.policy_runs(driver):
        labels = (runs.relation, runs.policy)
        yield "datastore_policy_runs_total", labels, runs.runs
        yield "datastore_policy_failures_total", labels, runs.failures
        if runs.last_success is not None:
            yield "datastore_policy_last_success_timestamp_seconds", labels, runs.last_success.timestamp()
        if runs.last_duration is not None:
            yield "datastore_policy_last_duration_seconds", labels, runs.last_duration.total_seconds()


# A month may move once its last row has the age. A run moves the fence to the end of the newest such month first.
_COLD_FENCES: Final = """
SELECT kind, count(cold_before),
       coalesce(extract(epoch FROM max(now() - (cold_before + interval '1 month') - age)), 0)::float8
FROM (
  SELECT f.kind, f.cold_before, CASE WHEN f.has_own_age THEN f.cold_after ELSE p.value END AS age
  FROM store.cold_fences AS f
  JOIN store.tenants AS t ON t.no = f.tenant_no AND t.disabled_at IS NULL
  LEFT JOIN store.policies AS p ON p.relation = f.kind AND p.policy = 'cold_after'
) AS fences
GROUP BY kind
"""

_COLD_FILES: Final = """
SELECT kind, replaced_at IS NULL, count(*), sum(rows)::bigint, sum(bytes)::bigint FROM store.cold_periods GROUP BY 1, 2
"""

_COLD_JOB: Final = """
SELECT finished_at, coalesce((result ->> 'orphans')::bigint, 0) FROM store.jobs
 WHERE tenant_no IS NULL AND job_type = 'maintain-cold' AND state = 'succeeded' ORDER BY id DESC LIMIT 1
"""


def cold_read(_: Engine, driver: Driver) -> Iterator[Sample]:
    """Yield the numbers of rows that are kept in files, from the list of files and the last job."""
    fences = {kind: rest for kind, *rest in driver.execute(_COLD_FENCES).fetchall()}
    files = {(kind, current): rest for kind, current, *rest in driver.execute(_COLD_FILES).fetchall()}
    late = dict(
        driver.execute(
            "SELECT relname, n_live_tup FROM pg_stat_user_tables WHERE schemaname = %s AND relname LIKE 'late!_%%'"
            " ESCAPE '!'",
            (STORE,),
        ).fetchall()
    )
    for kind in KINDS.values():
        if not kind.cold:
            continue
        tenants, overdue = fences.get(kind.name, (0, 0.0))
        count, rows, size = files.get((kind.name, True), (0, 0, 0))
        yield "datastore_cold_tenants", (kind.name,), tenants
        yield "datastore_cold_overdue_seconds", (kind.name,), max(overdue, 0.0)
        yield "datastore_cold_files", (kind.name, "current"), count
        yield "datastore_cold_files", (kind.name, "replaced"), files.get((kind.name, False), (0,))[0]
        yield "datastore_cold_rows", (kind.name,), rows
        yield "datastore_cold_size_bytes", (kind.name,), size
        yield "datastore_cold_late_rows", (kind.name,), late.get(f"late_{kind.name}", 0)
    for finished, orphans in driver.execute(_COLD_JOB).fetchall():
        yield "datastore_cold_last_success_timestamp_seconds", (), finished.timestamp()
        yield "datastore_cold_orphans", (), orphans
