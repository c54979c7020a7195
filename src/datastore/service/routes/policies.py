"""`/policies`: what happens to rows at a certain age."""

from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Path, Response
from pydantic import Field

from datastore import timescale_policies
from datastore.jobs import JobRecord
from datastore.maintenance import on_demand
from datastore.service.jobs import accepted, accepts
from datastore.service.models import Body, IdempotencyKey, Kind, list_of
from datastore.service.problems import Refusal
from datastore.service.security import StoreAdmin, StoreReader
from datastore.service.state import Here
from datastore.timescale_policies import Expiry, Policy, PolicyState

router = APIRouter(prefix="/policies", tags=["policies"])

RELATIONS = sorted({setting.relation for setting in timescale_policies.declared()})

Relation = Annotated[str, Path(description="a kind or a rollup", json_schema_extra={"enum": RELATIONS})]


class PolicyValue(Body):
    """An age in seconds; null switches the policy off."""

    seconds: Annotated[float, Field(strict=True, ge=1, le=1e10)] | None = Field(examples=[34_560_000])


class ExpireBody(Body):
    """The kind to expire; null means every kind that has retention."""

    kind: Kind | None = None


@router.get("", response_model=list_of(PolicyState))
def show(here: Here, _: StoreReader) -> Any:
    """List all policies: the declared and the effective value, who applies each, and the server's own job."""
    return timescale_policies.policies(here.dsn)


@router.put("/{relation}/{policy}", response_model=list_of(PolicyState))
def set_policy(here: Here, _: StoreAdmin, relation: Relation, policy: Policy, body: PolicyValue) -> Any:
    """Override a policy, and create the server's job for it if the engine has one. The override survives migrations."""
    _check(relation, policy)
    value = None if body.seconds is None else timedelta(seconds=body.seconds)
    return timescale_policies.set_policy(here.dsn, relation, policy, value)


@router.delete("/{relation}/{policy}", response_model=list_of(PolicyState))
def unset_policy(here: Here, _: StoreAdmin, relation: Relation, policy: Policy) -> Any:
    """Remove the override of a policy, which returns to its declared value."""
    _check(relation, policy)
    return timescale_policies.unset_policy(here.dsn, relation, policy)


@router.post("/apply", response_model=list_of(PolicyState))
def apply(here: Here, _: StoreAdmin) -> Any:
    """Create the server's background jobs for all policies. A migration does this, too."""
    return timescale_policies.apply_policies(here.dsn)


@router.get("/expiring", response_model=list_of(Expiry))
def expiring(here: Here, _: StoreReader, kind: Kind | None = None) -> Any:
    """Count the rows that retention would remove now. It takes as long as reading them does."""
    return timescale_policies.expire(here.dsn, kind, dry_run=True)


@router.post("/expire", **accepts())
def expire(
    here: Here, token: StoreAdmin, response: Response, body: ExpireBody, key: IdempotencyKey = None
) -> JobRecord:
    """Remove the rows that are past retention, as a job."""
    return accepted(response, token, on_demand.start_expire(here.dsn, body.kind, key))


def _check(relation: str, policy: str) -> None:
    if not any((each.relation, each.policy) == (relation, policy) for each in timescale_policies.declared()):
        raise Refusal("not-found", "there is no such policy of that relation")
