"""The page of policies: what is declared, what is in force, and the room that relations take."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Final

from fastapi import APIRouter, Form
from starlette.requests import Request
from starlette.responses import Response

from datastore import aggregates, sizes, timescale_policies
from datastore.console.guard import PREFIX
from datastore.console.rendering import Entry, go, page
from datastore.service.problems import Refusal
from datastore.service.security import StoreAdmin, StoreReader
from datastore.service.state import Here, Service
from datastore.timescale_policies import PolicyState

ENTRY: Final = Entry("/policies", "Policies", store_wide=True)

router = APIRouter()

NAMES: Final[dict[str, str]] = {
    "columnstore_after": "compress after",
    "retention_after": "remove after",
    "cold_after": "move to files after",
    "refresh_within": "refresh within",
}
"""The names of policies on the page."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A policy as it is, its new value (and how the user wrote it), and the number of rows that this removes."""

    now: PolicyState
    wanted: timedelta | None
    age: str
    removes: int | None


@router.get("")
def policies(request: Request, here: Here, _: StoreReader) -> Response:
    """Policies, rollups and sizes."""
    return _page(request, here)


@router.post("/plan")
def plan(
    request: Request,
    here: Here,
    _: StoreAdmin,
    which: Annotated[str, Form(max_length=200)],
    age: Annotated[str, Form(max_length=20)],
) -> Response:
    """Show what setting a policy would do. Changes nothing."""
    relation, policy = _named(which)
    wanted = timescale_policies.parse_age(age.strip())
    now = next(
        (each for each in timescale_policies.policies(here.dsn) if (each.relation, each.policy) == (relation, policy)),
        None,
    )
    if now is None:
        raise Refusal("not-found", "there is no such policy of that relation")
    removes = None
    if policy == "retention_after" and wanted is not None:
        removes = timescale_policies.would_remove(here.dsn, relation, wanted)
    return _page(request, here, planned=Planned(now, wanted, age.strip(), removes))


@router.post("/set")
def set_policy(
    request: Request,
    here: Here,
    _: StoreAdmin,
    which: Annotated[str, Form(max_length=200)],
    age: Annotated[str, Form(max_length=20)],
) -> Response:
    """Set a policy apart from its declaration, as `datastore policies set` does."""
    timescale_policies.set_policy(here.dsn, *_named(which), timescale_policies.parse_age(age.strip()))
    return go(request, f"{PREFIX}/policies")


@router.post("/unset")
def unset_policy(request: Request, here: Here, _: StoreAdmin, which: Annotated[str, Form(max_length=200)]) -> Response:
    """Go back to what is declared, as `datastore policies unset` does."""
    relation, policy = _named(which)
    if not any((each.relation, each.policy) == (relation, policy) for each in timescale_policies.declared()):
        raise Refusal("not-found", "there is no such policy of that relation")
    timescale_policies.unset_policy(here.dsn, relation, policy)
    return go(request, f"{PREFIX}/policies")


def _named(which: str) -> tuple[str, str]:
    """A relation and its policy, as the form has them in one field."""
    relation, _, policy = which.partition(" ")
    return relation, policy


def _page(request: Request, here: Service, planned: Planned | None = None) -> Response:
    return page(
        request,
        "pages/policies/page.html",
        policies=timescale_policies.policies(here.dsn),
        rollups=aggregates.list_aggregates(here.dsn),
        stored=sizes.store_sizes(here.dsn),
        planned=planned,
        names=NAMES,
    )


@router.get("/expiry")
def expiry(request: Request, here: Here, _: StoreAdmin) -> Response:
    """Count the rows that retention would remove now."""
    return page(request, "pages/policies/expiry.html", found=timescale_policies.expire(here.dsn, dry_run=True))
