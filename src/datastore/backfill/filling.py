"""The job of a backfill: fetch a chunk's rows, write them, refresh the rollups of its time, and count what is still
missing. Rows come from `datastore.sources` and are written by the client library.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from datastore import aggregates, gaps, sources, vendors
from datastore.backfill import elsewhere
from datastore.backfill.records import LISTED, BackfillRecord, of_job
from datastore.backfill.spec import JOB_TYPE, KIND, Chunk, ChunkJob
from datastore.config import SettingsError
from datastore.connections import connect
from datastore.errors import ControlError
from datastore.jobs import JobContext, JobFailed, job_type
from datastore.sources import Batch, Malformed, Others, Span
from mds_client import KINDS, MDS, Bar
from mds_client.columns.rows import ArrowStream
from mds_client.errors import InvalidRow
from mds_client.schema import OnConflict


@job_type(JOB_TYPE)
def run(context: JobContext, payload: ChunkJob) -> dict[str, Any]:
    """Fill one chunk: fetch, write, refresh the rollups of its time, and count what is still missing.

    The job is idempotent: writing the same rows again changes nothing. If a source is unavailable, the attempt fails
    and the worker tries again.
    """
    tenant = context.job.tenant
    # A tenant can enqueue a job of any type, also for symbols and times that nobody planned. Only jobs that the
    # backfill was started with may query the source, because it uses the operator's secrets.
    found = of_job(context.dsn, payload.backfill, context.job)
    if tenant is None or found is None:
        raise JobFailed(f"the tenant has no backfill {payload.backfill} with this job")
    try:
        source = sources.make(found.source)
    except (ControlError, SettingsError) as error:
        raise JobFailed(str(error)) from error
    with connect(context.dsn) as connection:
        case_sensitive = found.vendor in vendors.spelling(connection).vendors
    spans = [
        Span(found.vendor, span.symbol, found.timeframe, span.start, span.end, case_sensitive) for span in payload.spans
    ]
    written = _Written(case_sensitive)
    context.progress(0, payload.planned)
    if spans:
        with MDS(dsn=context.dsn, tenant_id=str(tenant), app_name="datastore backfill", pool_max=1) as client:
            for batch in source.fetch(spans):
                written.write(client, batch, spans, found.params["on_conflict"])
                context.progress(min(written.rows, payload.planned))
        if not written.matched and (why := elsewhere.nothing_of(found, spans, written.others.found())) is not None:
            raise JobFailed(why)
        if written.rows and found.timeframe == KINDS[KIND].base:
            aggregates.refresh(context.dsn, payload.start, payload.end)
    return {
        "rows": written.rows,
        "rejected": written.rejected,
        "rejected_in": dict(written.rejected_in),
        "rejects": written.rejects,
        "missing": _still_missing(context.dsn, found, payload),
    }


class _Written:
    """The counts of a chunk's rows so far."""

    def __init__(self, case_sensitive: bool) -> None:
        self.rows = 0
        self.matched = False
        self.others = Others(case_sensitive=case_sensitive)
        self.rejected = 0
        self.rejected_in: Counter[str] = Counter()
        self.rejects: list[dict[str, str]] = []

    def write(self, client: MDS, batch: Batch, spans: Sequence[Span], on_conflict: OnConflict) -> None:
        """Write the requested rows of a batch. Invalid records are counted and do not stop the others."""
        if isinstance(batch, ArrowStream):
            try:
                self.rows += client.upsert(KIND, batch, on_conflict=on_conflict)
                self.matched = True
            except InvalidRow:
                batch = _one_by_one(batch)
            else:
                return
        wanted = {span.symbol: span for span in spans}
        bars = []
        for row in batch:
            if isinstance(row, Malformed):
                self.rejected += 1
                if row.whole is not None:
                    self.rejected_in[row.whole] += 1
                if len(self.rejects) < LISTED:
                    self.rejects.append({"where": row.where, "why": row.why})
            elif isinstance(row, Bar) and sources.span_of(wanted, row) is not None:
                bars.append(row)
            else:
                self.others.add(row)
        if bars:
            self.matched = True
            self.rows += client.upsert(KIND, bars, on_conflict=on_conflict)


def _one_by_one(frame: ArrowStream) -> list[Bar | Malformed]:
    """Split a frame into valid bars and malformed records."""
    import pyarrow as pa

    columns = sources.Reading().how({})
    return [
        sources.to_bar(record, f"row {number} of a frame", columns)
        for number, record in enumerate(pa.table(frame).to_pylist(), start=1)
    ]


def _still_missing(dsn: str, backfill: BackfillRecord, chunk: Chunk) -> int:
    if not chunk.spans:
        return 0
    return gaps.check(
        dsn,
        tenant=backfill.tenant,
        vendor=backfill.vendor,
        timeframe=backfill.timeframe,
        start=max(chunk.start, backfill.start),
        end=min(chunk.end, backfill.end),
        symbols=[span.symbol for span in chunk.spans],
        calendar=chunk.calendar,
        new=True,
        connections=1,
        now=backfill.created_at,
    ).missing
