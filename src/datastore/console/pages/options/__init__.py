"""The page of options: the chain of an underlying by expiry and strike, and its smile."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from datastore import search
from datastore.console import markets
from datastore.console.asked import ChosenTenant
from datastore.console.plots import Line, Plot, plot
from datastore.console.rendering import Entry, page
from datastore.search import FoundSeries
from datastore.service.models import Instant, Name
from datastore.service.security import Reader
from datastore.service.state import Here
from mds_client import OptionSnap

ENTRY: Final = Entry("/options", "Options")

router = APIRouter()

UNDERLYINGS: Final = 200
"""Underlyings to choose from. Others are asked for by name, in the page's address."""

WITHIN: Final = timedelta(days=7)
"""The maximum age of a snapshot."""

SIDE: Final = ("iv", "delta", "oi", "volume", "bid", "ask")
"""The fields of a contract in the chain, from the outside to the strike."""


@router.get("")
def options(
    request: Request,
    here: Here,
    _: Reader,
    choice: ChosenTenant,
    vendor: Annotated[Name | None, Query()] = None,
    symbol: Annotated[Name | None, Query()] = None,
    expiry: Annotated[date | None, Query()] = None,
    at: Annotated[Instant | None, Query()] = None,
) -> Response:
    """The newest snapshot of each contract at a time, of one expiry, and the smile of it."""
    there = _underlyings(here.dsn, choice, vendor, symbol)
    one = next((each for each in there if _is(each, vendor, symbol)), None)
    found: Sequence[OptionSnap] = []
    when = at
    if one is not None and choice.chosen is not None:
        when = at or (one.last_ts or datetime.now(UTC))
        client = here.client(choice.chosen.id)
        found = client.option_chain([str(one.symbol)], when, one.vendor, within=WITHIN, missing="ignore")
    expiries = sorted({each.expiry for each in found})
    shown = expiry if expiry in expiries else next(iter(expiries), None)
    chain = [each for each in found if each.expiry == shown]
    query = {} if one is None else {"tenant": one.tenant, "vendor": one.vendor, "symbol": one.symbol}
    return page(
        request,
        "pages/options/page.html",
        choice=choice,
        underlyings=there,
        one=one,
        at=when,
        asked_at=at,
        expiries=[
            (each, urlencode({**query, "expiry": each, **({} if at is None else {"at": at})})) for each in expiries
        ],
        expiry=shown,
        strikes=_strikes(chain),
        side=SIDE,
        spot=next((each.spot for each in chain if each.spot is not None), None),
        smile=_smile(chain),
        market=None if one is None else markets.of(here.dsn, [one]).get((one.tenant, one.vendor, one.symbol)),
        within=WITHIN,
    )


def _underlyings(dsn: str, choice: Any, vendor: str | None, symbol: str | None) -> list[FoundSeries]:
    if choice.chosen is None:
        return []
    named = f"{vendor or ''} {symbol or ''}" if symbol else ""
    found: dict[tuple[str, str | None], FoundSeries] = {}
    # An underlying has a series for each root.
    for text in {"", named}:
        for each in search.search_series(
            dsn, text, tenant=choice.chosen.id, kind="options", order="symbol", limit=UNDERLYINGS
        ).items:
            known = found.get((each.vendor, each.symbol))
            if known is None or (each.last_ts or datetime.min.replace(tzinfo=UTC)) > (
                known.last_ts or datetime.min.replace(tzinfo=UTC)
            ):
                found[each.vendor, each.symbol] = each
    return sorted(found.values(), key=lambda each: (each.symbol or "", each.vendor))


def _is(series: FoundSeries, vendor: str | None, symbol: str | None) -> bool:
    return vendor in (None, series.vendor) and symbol in (None, series.symbol)


def _strikes(chain: Sequence[OptionSnap]) -> list[tuple[float, str, OptionSnap | None, OptionSnap | None]]:
    """The chain by strike and root: each with its call and its put."""
    sides = {(each.strike, each.root, each.option_type): each for each in chain}
    names = sorted({(strike, root) for strike, root, _ in sides})
    return [(strike, root, sides.get((strike, root, "C")), sides.get((strike, root, "P"))) for strike, root in names]


def _smile(chain: Sequence[OptionSnap]) -> Plot | None:
    """Implied volatility by strike: calls and puts, of each root."""
    lines = []
    for root in sorted({each.root for each in chain}):
        for kind, name in (("C", "calls"), ("P", "puts")):
            of_it = [each for each in chain if each.root == root and each.option_type == kind and each.iv is not None]
            points = sorted((each.strike, 100 * (each.iv or 0)) for each in of_it)
            if points:
                lines.append(Line(f"{root} {name}", points))
    spot = next((each.spot for each in chain if each.spot is not None), None)
    return plot(
        "Implied volatility by strike",
        lines,
        x_label="Strike, in the currency of the underlying",
        y_label="Implied volatility, % a year",
        mark=None if spot is None else (spot, "spot"),
    )
