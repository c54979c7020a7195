"""The declarations of the metrics: names, types, labels, help."""

from dataclasses import dataclass
from typing import Any, Final, Literal

Type = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class Declared:
    """A metric: its name in a scrape (a histogram's without `_bucket`, `_sum`, `_count`), type, help and labels."""

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
            "datastore_repeated_sessions", "gauge",
            "Days, weeks and months of a series that have several bars, as the last daily count found.",
            ("vendor", "timeframe"),
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
        Declared("datastore_cold_tenants", "gauge", "Tenants whose old rows are kept in files.", ("kind",)),
        Declared(
            "datastore_cold_files", "gauge", "Files of old rows: current ones, and replaced ones that still exist.",
            ("kind", "state"),
        ),
        Declared("datastore_cold_rows", "gauge", "Rows in the current files.", ("kind",)),
        Declared("datastore_cold_size_bytes", "gauge", "Size of the current files.", ("kind",)),
        Declared(
            "datastore_cold_late_rows", "gauge", "Late rows that wait to be folded, as the server estimates.",
            ("kind",),
        ),
        Declared(
            "datastore_cold_overdue_seconds", "gauge",
            "For how long the oldest month that cold_after lets move has been waiting for its run, of any tenant.",
            ("kind",),
        ),
        Declared(
            "datastore_cold_last_success_timestamp_seconds", "gauge", "When the job that moves rows last ended well."
        ),
        Declared(
            "datastore_cold_orphans", "gauge", "Files on no list, of stopped runs, that this job removed."
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
"""The label value for unknown values, and for those beyond the allowed number."""

MAX_GROUPS: Final = 300
"""The number of vendors (with kind and timeframe) with their own labels: those of each tenant with the most series."""


def known_label(name: str, names: Any) -> str:
    """Return the name as a label, or OTHER if it is not among the names."""
    return name if name in names else OTHER
