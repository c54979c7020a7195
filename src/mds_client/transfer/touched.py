"""The keys that an import has written, to find files that were imported at the same time and have rows in common."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from mds_client.protocol.operations import SeriesName

MOST_SERIES: Final = 1_000
"""The number of series that are remembered of a file. A file with more may have rows of any series."""


@dataclass(slots=True)
class Touched:
    """The series of a file's rows, and their oldest and newest time. `series` is None if it can be any."""

    series: set[SeriesName] | None = field(default_factory=set)
    first: datetime | None = None
    last: datetime | None = None

    def add(self, names: Iterable[SeriesName], first: datetime, last: datetime) -> None:
        """Add the series and the times of a part."""
        if self.series is not None:
            self.series.update(names)
            if len(self.series) > MOST_SERIES:
                self.series = None
        self.first = first if self.first is None else min(self.first, first)
        self.last = last if self.last is None else max(self.last, last)

    def meets(self, other: "Touched") -> bool:
        """Whether the two may have rows with the same key."""
        if self.first is None or self.last is None or other.first is None or other.last is None:
            return False
        if self.last < other.first or other.last < self.first:
            return False
        return self.series is None or other.series is None or not self.series.isdisjoint(other.series)

    def rough(self, most: int) -> "Touched":
        """Return the same with at most this number of series, or any series."""
        return Touched(None if self.series is None or len(self.series) > most else self.series, self.first, self.last)


ANY: Final = Touched(None, datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))
"""The keys of a file of which nothing is known."""
