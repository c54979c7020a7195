"""The timeframes that there are of a series of bars."""

from typing import Final

from datastore import gaps
from datastore.gaps import GapError
from datastore.reads import SeriesRecord
from mds_client import KINDS

_CALENDAR: Final = {"d": 86_400, "w": 7 * 86_400, "mo": 30 * 86_400, "q": 91 * 86_400, "y": 365 * 86_400}


def steps(series: SeriesRecord) -> dict[str, int]:
    """The timeframes that there are of a series, finest first, each with its seconds."""
    kind = KINDS["bars"]
    own = str(series.timeframe)
    try:
        parsed = gaps.parse_timeframe(own)
    except GapError:
        return {own: 86_400}
    width = parsed.step.total_seconds() if parsed.step else _CALENDAR[parsed.unit] * parsed.count
    found = {own: round(width)}
    if own == kind.base:
        found |= {rollup.timeframe: round(rollup.width.total_seconds()) for rollup in kind.rollups}
    return found
