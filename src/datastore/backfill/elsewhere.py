"""The message about a source that holds bars, but none of those that were asked for.

A source may rightly be empty: nothing was traded, or the service has no rows for that time. A source that holds only
bars of another time or of other series is a wrong file, a wrong column, or a service that ignores what it is asked.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final

from datastore.backfill.records import BackfillRecord
from datastore.sources import Other, Span
from mds_client.console import counted

NAMED: Final = 5
"""Series of a source that are named."""


def nothing_of(backfill: BackfillRecord, spans: Sequence[Span], others: Sequence[Other]) -> str | None:
    """Why a chunk that matched nothing has failed; None where its source is rightly empty.

    It is, if it holds no bars at all; and if those of a series that was asked for lie around the time of the backfill,
    or within it: then the source knows that time, and has nothing there. Whole days count, because many a service
    answers by the day.
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
    """The first few, and how many more there are."""
    all_of_them = list(names)
    more = len(all_of_them) - NAMED
    return ", ".join(all_of_them[:NAMED]) + (f" and {more:,} more" if more > 0 else "")


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
