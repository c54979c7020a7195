"""Plan a backfill: find what is missing and cut it into chunks."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from datastore import gaps, sources
from datastore.backfill.spec import (
    MOST_JOBS,
    BackfillError,
    BackfillSpec,
    Chunk,
    ChunkSpan,
)
from datastore.connections import connect
from datastore.tenants import find_tenant
from mds_client.values.times import EPOCH


@dataclass(frozen=True, slots=True)
class Plan:
    """The plan of a backfill: the series and gaps with missing bars, their numbers, and the chunks to fill."""

    tenant: UUID
    vendor: str
    timeframe: str
    start: datetime
    end: datetime
    series: int
    gaps: int
    missing: int
    chunks: list[Chunk]


# Planning -------------------------------------------------------------------------------------------------------------


def plan(dsn: str, spec: BackfillSpec, *, now: datetime | None = None) -> Plan:
    """Return what a backfill would do now; stores nothing.

    Raises what `gaps.check` raises, SourceError for a source that cannot be made from the spec or is not permitted
    here, and BackfillError if it would take too many jobs.
    """
    sources.make(spec.source)
    now = now or datetime.now(UTC)
    found = gaps.check(
        dsn,
        tenant=spec.tenant,
        vendor=spec.vendor,
        timeframe=spec.timeframe,
        start=spec.start,
        end=spec.end,
        symbols=spec.symbols,
        calendar=spec.calendar,
        new=True,
        now=now,
    )
    with connect(dsn) as connection:
        tenant = find_tenant(connection, spec.tenant).id
    chunks = list(_chunks(spec, found, now))
    if len(chunks) > MOST_JOBS:
        raise BackfillError(
            f"that would be {len(chunks):,} jobs, but at most {MOST_JOBS:,} are allowed:"
            " use larger chunks (chunk_days, chunk_series) or a part of it"
        )
    return Plan(
        tenant=tenant,
        vendor=spec.vendor,
        timeframe=spec.timeframe,
        start=spec.start,
        end=spec.end,
        series=len({gap.symbol for gap in found.gaps}),
        gaps=len(found.gaps),
        missing=found.missing,
        chunks=chunks,
    )


def _chunks(spec: BackfillSpec, found: gaps.Check, now: datetime) -> Iterator[Chunk]:
    """Cut what is missing into chunks of so many days; each chunk holds series of one calendar."""
    timeframe = gaps.parse_timeframe(spec.timeframe)
    due = {
        calendar: gaps.windows(calendar, timeframe, spec.start, spec.end, now)
        for calendar in sorted(set(found.calendars.values()))
    }
    width = timedelta(days=spec.chunk_days)
    spans: dict[tuple[int, str], dict[str, ChunkSpan]] = defaultdict(dict)
    for gap in found.gaps:
        calendar = found.calendars[gap.symbol]
        for window, start, end, missing in gaps.by_window(due[calendar], timeframe.step, gap):
            of_chunk = spans[(window.start - EPOCH) // width, calendar]
            before = of_chunk.get(gap.symbol)
            of_chunk[gap.symbol] = ChunkSpan(
                symbol=gap.symbol,
                start=before.start if before else start,
                end=end,
                missing=missing + (before.missing if before else 0),
            )
    for (_, calendar), of_chunk in sorted(spans.items()):
        of_it = list(of_chunk.values())
        for at in range(0, len(of_it), spec.chunk_series):
            yield Chunk(calendar=calendar, spans=of_it[at : at + spec.chunk_series])
