"""The request for a backfill, and the chunks that its jobs fill."""

import json
import re
from datetime import datetime
from typing import Any, Final, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from datastore.errors import ControlError
from datastore.names import BACKFILL_JOB
from mds_client import models
from mds_client.schema import OnConflict

KIND: Final = "bars"

JOB_TYPE: Final = BACKFILL_JOB

MOST_JOBS: Final = 50_000
"""The largest number of jobs of one backfill; larger chunks need fewer."""

_NUL: Final = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


class BackfillError(ControlError):
    """A backfill cannot be done as requested; the message says why."""


class UnknownBackfill(BackfillError):
    """The backfill does not exist, or belongs to another tenant."""


class BackfillConflict(BackfillError):
    """A backfill with that idempotency key exists already, and was requested differently."""


class BackfillSpec(BaseModel):
    """The series and times to fill, and the source.

    `tenant` is a name or a uuid. `symbols` None are all series that the vendor has in the timeframe; what is named may
    be new. `start` and `end` (UTC where they have no zone) bound the beginnings of bars. `calendar` goes before those
    that are set. `source` has the `type` of a source and its settings. A job is of `chunk_days` days and at most
    `chunk_series` series. `on_conflict` says what a row does to a stored one, as in an upsert. `attempts` is how often
    a job is begun before it has failed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tenant: str = Field(min_length=1)
    vendor: models.Name
    timeframe: models.Timeframe
    start: models.Instant
    end: models.Instant
    source: dict[str, Any]
    symbols: tuple[models.Symbol, ...] | None = Field(default=None, min_length=1)
    calendar: str | None = None
    chunk_days: int = Field(default=7, ge=1, le=3660)
    chunk_series: int = Field(default=50, ge=1, le=1000)
    on_conflict: OnConflict = "keep"
    priority: int = Field(default=30, ge=0, le=100)
    attempts: int = Field(default=5, ge=1, le=100)

    @field_validator("tenant", mode="before")
    @classmethod
    def _text(cls, value: Any) -> Any:
        return str(value) if isinstance(value, UUID) else value

    @field_validator("source")
    @classmethod
    def _can_be_stored(cls, source: dict[str, Any]) -> dict[str, Any]:
        try:
            text = json.dumps(source, ensure_ascii=False, allow_nan=False)
            text.encode()
        except (ValueError, TypeError, RecursionError):
            raise ValueError("it contains a value that JSON cannot represent") from None
        if _NUL.search(text):
            raise ValueError("text must not contain a NUL character")
        return source

    @model_validator(mode="after")
    def _forwards(self) -> Self:
        if self.end <= self.start:
            raise ValueError(f"end ({self.end.isoformat()}) is not after start ({self.start.isoformat()})")
        return self


class ChunkSpan(BaseModel):
    """A series' part of a chunk: the range of its missing bars (UTC, half-open) and their number."""

    model_config = ConfigDict(frozen=True)

    symbol: str
    start: datetime
    end: datetime
    missing: int


class Chunk(BaseModel):
    """The part of a backfill that one job fills."""

    model_config = ConfigDict(frozen=True)

    calendar: str
    spans: list[ChunkSpan]

    @property
    def missing(self) -> int:
        """The number of missing bars."""
        return sum(span.missing for span in self.spans)

    @property
    def start(self) -> datetime:
        """The time of the first missing bar."""
        return min(span.start for span in self.spans)

    @property
    def end(self) -> datetime:
        """The end of the last missing bar."""
        return max(span.end for span in self.spans)


class ChunkJob(Chunk):
    """The payload of a chunk's job."""

    backfill: int
    planned: int


_ELSEWHERE: Final = {"tenant", "vendor", "timeframe", "start", "end", "source"}


def params(spec: BackfillSpec) -> dict[str, Any]:
    """Return the parts of a spec that have no column."""
    return spec.model_dump(mode="json", exclude=_ELSEWHERE)
