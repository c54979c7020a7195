"""Backfills: find missing bars, and fill them from a source by jobs.

The sources are in `datastore.sources`.
"""

from datastore.backfill.planning import Plan, plan
from datastore.backfill.records import BackfillRecord, find_backfill, get_backfill, list_backfills, sources_of
from datastore.backfill.running import cancel_backfill, resume_backfill, start
from datastore.backfill.spec import BackfillConflict, BackfillError, BackfillSpec, ChunkJob, UnknownBackfill

__all__ = [
    "BackfillConflict",
    "BackfillError",
    "BackfillRecord",
    "BackfillSpec",
    "ChunkJob",
    "Plan",
    "UnknownBackfill",
    "cancel_backfill",
    "find_backfill",
    "get_backfill",
    "list_backfills",
    "plan",
    "resume_backfill",
    "sources_of",
    "start",
]
