"""The first page: what is stored, how fresh it is, and what needs attention."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from datastore import cold, gaps, jobs, reads, sizes, tenants
from datastore.console import markets
from datastore.console.guard import PREFIX
from datastore.console.pages.overview.rates import Rates
from datastore.console.rendering import Entry, page
from datastore.gaps.counts import GapCount
from datastore.reads import Freshness
from datastore.service.security import Reader, StoreReader
from datastore.service.state import Here, Service
from datastore.sizes import StoreSizes

ENTRY: Final = Entry("/", "Overview")

router = APIRouter()

FAILED_LISTED: Final = 50
_NEVER: Final = datetime.min.replace(tzinfo=UTC)

BEHIND: Final = timedelta(days=7)
"""How far a series may be behind its vendor's newest one before it needs attention."""

FRESHNESS_LISTED: Final = 40
"""Rows of the table of freshness; vendors and timeframes beyond are counted."""


@dataclass(frozen=True, slots=True)
class Concern:
    """Something that needs attention: how grave it is (`bad` or `warn`), what it is, and where there is more."""

    grade: str
    text: str
    link: str | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """A part of what is stored, as it is drawn: where it begins and how wide it is, in percent."""

    name: str
    bytes: int
    rows: int | None
    start: float
    width: float


@router.get("/")
def overview(request: Request, _: Reader) -> Response:
    """The page, which asks for its content when it is there: to count series reads every one of them."""
    return page(request, "pages/overview/page.html")


@router.get("/stored")
def stored(request: Request, here: Here, token: Reader) -> Response:
    """Show what is stored, how fresh it is, and what needs attention."""
    fresh = reads.freshness(here.dsn, tenant=token.tenant)
    counts = gaps.last_counts(here.dsn, token.tenant)
    everything = token.tenant is None
    room = sizes.store_sizes(here.dsn) if everything else None
    newest = max((each for each in fresh if each.newest), key=lambda each: each.newest or _NEVER, default=None)
    # The oldest first: that is what needs a look.
    shown = sorted(fresh, key=lambda each: each.newest or _NEVER)[:FRESHNESS_LISTED]
    clocks = markets.of_vendors(here.dsn, [*shown, *([newest] if newest else [])], token.tenant)
    return page(
        request,
        "pages/overview/stored.html",
        tenants=tenants.count_tenants(here.dsn) if everything else None,
        vendors=len({each.vendor for each in fresh}),
        series=sum(each.series for each in fresh),
        newest=newest,
        stored=room,
        parts=[] if room is None else _parts(room),
        files=cold.totals(here.dsn, token.tenant),
        markets=clocks,
        fresh=shown,
        more_fresh=max(0, len(fresh) - FRESHNESS_LISTED),
        concerns=[*_of_jobs(here, token.tenant), *_of_gaps(counts), *_of_age(fresh)],
        counts=counts,
    )


@router.get("/rate")
def rate(request: Request, here: Here, _: StoreReader) -> Response:
    """Show how many rows a second are written. The overview asks again every few seconds."""
    rates: Rates = request.app.state.rates
    return page(request, "pages/overview/rate.html", rate=rates.read(sizes.rows_written(here.dsn)))


def _parts(stored: StoreSizes) -> list[Part]:
    """Kinds and rollups by size, the largest first."""
    sized = sorted(((size.table + size.indexes, size) for size in stored.relations), key=lambda each: -each[0])
    total = sum(number for number, _ in sized) or 1
    parts, start = [], 0.0
    for number, size in sized:
        width = 100 * number / total
        parts.append(Part(size.relation, number, size.rows, start, width))
        start += width
    return parts


def _of_jobs(here: Service, tenant: UUID | None) -> list[Concern]:
    failed = jobs.list_jobs(here.dsn, tenant=tenant, state="failed", limit=FAILED_LISTED)
    if not failed.items:
        return []
    number = f"{FAILED_LISTED} or more" if failed.more else str(len(failed.items))
    jobs_ = "job has" if number == "1" else "jobs have"
    return [Concern("bad", f"{number} {jobs_} failed", f"{PREFIX}/jobs?state=failed")]


def _of_gaps(counts: list[GapCount]) -> list[Concern]:
    return [
        Concern(
            "warn",
            f"{count.missing:,} of {count.expected:,} {count.timeframe} bars of {count.vendor} are missing",
            _link("completeness", tenant=count.tenant, vendor=count.vendor, timeframe=count.timeframe),
        )
        for count in counts
        if count.missing
    ][:5]


def _link(page: str, **parameters: object) -> str:
    return f"{PREFIX}/{page}?{urlencode(parameters)}"


def _of_age(fresh: list[Freshness]) -> list[Concern]:
    """Timeframes of a vendor of which one series is far behind the newest."""
    behind = [
        (each.newest - each.furthest_behind, each)
        for each in fresh
        if each.newest and each.furthest_behind and each.newest - each.furthest_behind > BEHIND
    ]
    return [
        Concern(
            "warn",
            f"a {each.timeframe or each.kind} series of {each.vendor} is {late.days:,} days behind the newest one",
            _link("series", q=each.vendor, kind=each.kind),
        )
        for late, each in sorted(behind, key=lambda one: -one[0])[:3]
    ]
