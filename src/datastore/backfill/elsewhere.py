"""The error of a chunk whose source holds bars, but none of those that were asked for.

A source may rightly be empty: nothing was traded, or the service has no rows for that time. But if it holds only bars
of another time or of other series, the file or a column is wrong, or the service ignores its parameters.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final

from datastore.backfill.records import BackfillRecord
from datastore.sources import Other, Span
from mds_client.console import counted

NAMED: Final = 5
"""The number of a source's series that the error names."""


def nothing_of(backfill: BackfillRecord, spans: Sequence[Span], others: Sequence[Other]) -> str | None:
    """Return why a chunk that matched nothing has failed; None if its source is rightly empty.

    A source is rightly empty if it holds no bars at all, or if bars of a requested series lie around or within the time
    of the backfill: then the source covers that time and has nothing there. Whole days count, because many services
    answer by the day.
    """
    symbols = {span.symbol for span in spans}
    first_day, last_day = backfill.start.date(), (backfill.end - timedelta(microseconds=1)).date()
    asked = [
        one
        for one in others
        if (one.vendor, one.timeframe) == (backfill.vendor, backfill.timeframe) and one.symbol in symbols
    ]
    around = (
        asked
        and min(one.first for one in asked).date() <= last_day
        and max(one.last for one in asked).date() >= first_day
    )
    if not others or around:
        return None
    return (
        f"nothing in the source is of what was asked for: {_names(sorted(symbols))} of {backfill.vendor} in"
        f" {backfill.timeframe} from {_text(backfill.start)} to {_text(backfill.end)}. It holds"
        f" {counted(sum(one.rows for one in others), 'bar')}: {_names(_series(one) for one in asked or others)}"
    )


def _series(one: Other) -> str:
    return f"{one.symbol} of {one.vendor} in {one.timeframe} from {_text(one.first)} to {_text(one.last)}"


def _names(names: Iterable[str]) -> str:
    """Join the first few names, and add how many more there are."""
    all_of_them = list(names)
    more = len(all_of_them) - NAMED
    return ", ".join(all_of_them[:NAMED]) + (f" and {more:,} more" if more > 0 else "")


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
