"""The Grafana dashboards, as rows of panels: what each shows, in which unit, and the queries behind it.

Where a panel stands follows from the order; `tools/generate.py` writes the JSON that Grafana reads. That every query
names metrics and labels that there are is held by a test.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

WIDTH: Final = 24


@dataclass(frozen=True, slots=True)
class Query:
    """A PromQL expression and how a line of it is called, or a statement in SQL and the form of its answer."""

    expression: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel: `stat` is a single number, red where it is above (or below) a limit; `timeseries` is lines,
    `candlestick` bars of prices with their volume, `table` rows.

    `unit` is one of Grafana's. `names` gives words to the values of a stat.
    """

    title: str
    queries: tuple[Query, ...]
    unit: str = "short"
    sort: str = "timeseries"
    width: int = 8
    height: int = 8
    bad_above: float | None = None
    bad_below: float | None = None
    names: tuple[tuple[str, str], ...] = ()
    stacked: bool = False
    text: str = ""


def _stat(title: str, expression: str, unit: str = "short", **options: Any) -> Panel:
    return Panel(title, (Query(expression),), unit, sort="stat", width=3, height=4, **options)


_YES = (("0", "no"), ("1", "yes"))

ROWS: Final[tuple[tuple[str, tuple[Panel, ...]], ...]] = (
    (
        "At a glance",
        (
            _stat("Database up", "min(datastore_database_up)", bad_below=1, names=_YES),
            _stat("Schema at head", "min(datastore_schema_at_head)", bad_below=1, names=_YES),
            _stat("Tenants", 'max(datastore_tenants{state="enabled"})'),
            _stat("Series", "sum(max by (kind, vendor, timeframe) (datastore_series))"),
            _stat("Database size", "max(datastore_database_size_bytes)", "bytes"),
            _stat("Missing bars", "sum(max by (vendor, timeframe) (datastore_missing_bars))", bad_above=0),
            _stat("Failed jobs", 'sum(max by (job_type) (datastore_jobs{state="failed"}))', bad_above=0),
            _stat("Oldest due job", "max(datastore_job_oldest_due_seconds)", "s"),
        ),
    ),
    (
        "Freshness and gaps",
        (
            Panel(
                "Age of the newest row",
                (
                    Query(
                        "time() - max by (kind, vendor, timeframe) (datastore_newest_row_timestamp_seconds)",
                        "{{kind}} {{vendor}} {{timeframe}}",
                    ),
                ),
                "s",
                width=12,
            ),
            Panel(
                "Missing and repeated bars, as of the last check",
                (
                    Query("max by (vendor, timeframe) (datastore_missing_bars)", "{{vendor}} {{timeframe}}"),
                    Query(
                        "max by (vendor, timeframe) (datastore_repeated_sessions) > 0",
                        "{{vendor}} {{timeframe}}: sessions with several bars",
                    ),
                ),
                width=6,
            ),
            Panel(
                "Since the last gap check",
                (
                    Query(
                        "time() - max by (vendor, timeframe) (datastore_gap_check_timestamp_seconds)",
                        "{{vendor}} {{timeframe}}",
                    ),
                ),
                "s",
                width=6,
            ),
        ),
    ),
    (
        "Ingest",
        (
            Panel(
                "Rows written",
                (Query("sum by (kind, mode) (rate(mds_rows_total[$__rate_interval]))", "{{kind}} {{mode}}"),),
                "rowsps",
                stacked=True,
                width=6,
            ),
            Panel(
                "Time of an upsert",
                tuple(
                    Query(
                        f"histogram_quantile({part}, sum by (le) (rate(mds_write_seconds_bucket[$__rate_interval])))",
                        name,
                    )
                    for part, name in ((0.5, "half of them"), (0.99, "99 of 100"))
                ),
                "s",
                width=6,
            ),
            Panel(
                "Errors, repeats and rejects",
                (
                    Query("sum by (error) (rate(mds_errors_total[$__rate_interval]))", "error {{error}}"),
                    Query("sum by (error) (rate(mds_retries_total[$__rate_interval]))", "repeated after {{error}}"),
                    Query("sum by (kind) (rate(mds_rejects_total[$__rate_interval]))", "rejected {{kind}}"),
                ),
                "cps",
                width=6,
            ),
            Panel(
                "Connections of the pools",
                (
                    Query("sum by (app_name, state) (mds_pool_connections)", "{{app_name}} {{state}}"),
                    Query("sum by (app_name) (mds_pool_requests_waiting)", "{{app_name}} calls that wait"),
                ),
                width=6,
            ),
        ),
    ),
    (
        "Jobs and backfills",
        (
            Panel(
                "Jobs that wait, run or have failed",
                (Query("sum by (state) (max by (job_type, state) (datastore_jobs))", "{{state}}"),),
                width=6,
            ),
            Panel(
                "Jobs ended by workers",
                (
                    Query(
                        "sum by (job_type, outcome) (rate(datastore_worker_jobs_total[$__rate_interval]))",
                        "{{job_type}} {{outcome}}",
                    ),
                ),
                "ops",
                width=6,
            ),
            Panel(
                "Time of a job, 95 of 100",
                (
                    Query(
                        "histogram_quantile(0.95, sum by (le, job_type)"
                        " (rate(datastore_worker_job_duration_seconds_bucket[$__rate_interval])))",
                        "{{job_type}}",
                    ),
                ),
                "s",
                width=6,
            ),
            Panel(
                "Backfills under way",
                (
                    Query("max(datastore_backfill_progress_ratio)", "done"),
                ),
                "percentunit",
                width=3,
            ),
            Panel(
                "Their jobs",
                (Query("max by (state) (datastore_backfill_jobs)", "{{state}}"),),
                width=3,
            ),
        ),
    ),
    (
        "HTTP",
        (
            Panel(
                "Requests",
                (
                    Query(
                        "sum by (route, method) (rate(datastore_http_requests_total[$__rate_interval]))",
                        "{{method}} {{route}}",
                    ),
                ),
                "reqps",
            ),
            Panel(
                "Answers that are errors",
                (
                    Query(
                        'sum by (status) (rate(datastore_http_requests_total{status=~"[45].."}[$__rate_interval]))',
                        "{{status}}",
                    ),
                ),
                "reqps",
            ),
            Panel(
                "Time of a request, 95 of 100",
                (
                    Query(
                        "histogram_quantile(0.95, sum by (le, route)"
                        " (rate(datastore_http_request_duration_seconds_bucket[$__rate_interval])))",
                        "{{route}}",
                    ),
                ),
                "s",
            ),
        ),
    ),
    (
        "Storage",
        (
            Panel(
                "Size by relation",
                (Query("sum by (relation) (max by (relation, part) (datastore_relation_size_bytes))", "{{relation}}"),),
                "bytes",
                stacked=True,
            ),
            Panel(
                "Chunks",
                (Query("max by (relation, storage) (datastore_chunks)", "{{relation}} {{storage}}"),),
            ),
            Panel(
                "Compression: how many times smaller",
                (Query("max by (relation) (datastore_compression_ratio)", "{{relation}}"),),
            ),
        ),
    ),
    (
        "Rows in files",
        (
            Panel(
                "Rows in files, and late ones",
                (
                    Query("max by (kind) (datastore_cold_rows)", "{{kind}} in files"),
                    Query("max by (kind) (datastore_cold_late_rows)", "{{kind}} late"),
                ),
                width=6,
            ),
            Panel(
                "Size of the files",
                (Query("max by (kind) (datastore_cold_size_bytes)", "{{kind}}"),),
                "bytes",
                width=6,
            ),
            Panel(
                "Files",
                (
                    Query("max by (kind, state) (datastore_cold_files)", "{{kind}} {{state}}"),
                    Query("max(datastore_cold_orphans)", "on no list, removed by the last run"),
                ),
                width=6,
            ),
            Panel(
                "Months that wait, and the last run",
                (
                    Query("max by (kind) (datastore_cold_overdue_seconds)", "{{kind}} overdue"),
                    Query(
                        "time() - max(datastore_cold_last_success_timestamp_seconds)"
                        " and sum(datastore_cold_tenants) > 0",
                        "since the last run",
                    ),
                ),
                "s",
                width=6,
            ),
        ),
    ),
    (
        "Policies and this dashboard",
        (
            Panel(
                "Since a policy's last success",
                (
                    Query(
                        "time() - max by (relation, policy) (datastore_policy_last_success_timestamp_seconds)",
                        "{{relation}} {{policy}}",
                    ),
                ),
                "s",
            ),
            Panel(
                "Runs that failed, a day",
                (
                    Query(
                        "max by (relation, policy) (increase(datastore_policy_failures_total[1d]))",
                        "{{relation}} {{policy}}",
                    ),
                ),
            ),
            Panel(
                "Time to read the store's metrics",
                (Query("max by (part) (datastore_collect_seconds)", "{{part}}"),),
                "s",
            ),
        ),
    ),
)  # fmt: skip
"""The panels of the dashboard, from top to bottom. Several service processes report the same store, hence `max`."""


def store() -> str:
    """The dashboard's JSON."""
    variables = [{"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}]
    return dashboard("market-data-store", "Market data store", "now-6h", variables, panels_of(ROWS, _target))


def dashboard(
    uid: str, title: str, since: str, variables: list[dict[str, Any]], panels: Iterable[dict[str, Any]]
) -> str:
    """A dashboard's JSON: it begins at `since`, and is not to be changed in Grafana."""
    return json.dumps(
        {
            "uid": uid,
            "title": title,
            "description": "Generated by tools/generate.py; `make generate` writes it again.",
            "tags": ["market-data-store"],
            "schemaVersion": 39,
            "editable": False,
            "graphTooltip": 1,
            "refresh": "30s",
            "time": {"from": since, "to": "now"},
            "timezone": "utc",
            "templating": {"list": variables},
            "panels": list(panels),
        },
        indent=1,
    )


def _target(query: Query) -> dict[str, Any]:
    return {"datasource": _SOURCE, "expr": query.expression, "legendFormat": query.legend or "__auto"}


def panels_of(
    rows: Iterable[tuple[str, tuple[Panel, ...]]], target: Callable[[Query], dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Rows of panels where they stand; `target` says how a query is asked."""
    number, y = 0, 0
    for title, panels in rows:
        number += 1
        yield {
            "id": number,
            "type": "row",
            "title": title,
            "collapsed": False,
            "gridPos": {"x": 0, "y": y, "w": WIDTH, "h": 1},
            "panels": [],
        }
        y, x = y + 1, 0
        for panel in panels:
            number += 1
            targets = [{"refId": chr(ord("A") + at), **target(query)} for at, query in enumerate(panel.queries)]
            yield {
                "id": number,
                "title": panel.title,
                "description": panel.text,
                "type": panel.sort,
                "datasource": targets[0]["datasource"],
                "gridPos": {"x": x, "y": y, "w": panel.width, "h": panel.height},
                "targets": targets,
                "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
                "options": _OPTIONS[panel.sort],
            }
            x += panel.width
        y += max(panel.height for panel in panels)


_SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
_OPTIONS: Final[dict[str, dict[str, Any]]] = {
    "stat": {"colorMode": "value", "graphMode": "none", "reduceOptions": {"calcs": ["lastNotNull"]}},
    "timeseries": {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "candlestick": {"mode": "candles+volume", "candleStyle": "candles", "includeAllFields": False},
    "table": {"showHeader": True, "cellHeight": "sm"},
}


def _defaults(panel: Panel) -> dict[str, Any]:
    defaults: dict[str, Any] = {"unit": panel.unit}
    if panel.names:
        defaults["mappings"] = [{"type": "value", "options": {value: {"text": text} for value, text in panel.names}}]
    if panel.sort == "timeseries":
        stacking = {"mode": "normal" if panel.stacked else "none"}
        defaults["custom"] = {"fillOpacity": 10, "showPoints": "never", "stacking": stacking}
        defaults["min"] = 0
    steps: list[dict[str, Any]] = [{"color": "green" if panel.bad_below is None else "red", "value": None}]
    if panel.bad_above is not None:
        steps.append({"color": "red", "value": panel.bad_above + 1e-9})
    if panel.bad_below is not None:
        steps.append({"color": "green", "value": panel.bad_below})
    defaults["thresholds"] = {"mode": "absolute", "steps": steps}
    return defaults
