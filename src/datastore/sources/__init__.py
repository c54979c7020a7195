"""Sources that backfills read: files and HTTP services, and plug-ins.

What is done with the bars is in `datastore.backfill`.
"""

from datastore.sources.base import (
    Batch,
    Malformed,
    Other,
    Others,
    Reading,
    SourceError,
    SourceUnavailable,
    Span,
    expand,
    listed,
    make,
    names,
    needs,
    offers,
    to_bar,
    why_not,
    wrong,
)

__all__ = [
    "Batch",
    "Malformed",
    "Other",
    "Others",
    "Reading",
    "SourceError",
    "SourceUnavailable",
    "Span",
    "expand",
    "listed",
    "make",
    "names",
    "needs",
    "offers",
    "to_bar",
    "why_not",
    "wrong",
]
