"""Sources that backfills read: files, HTTP services, vendors' APIs, and plug-ins.

`datastore.backfill` writes their bars.
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
    span_of,
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
    "span_of",
    "to_bar",
    "why_not",
    "wrong",
]
