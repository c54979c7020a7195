"""Arguments that several pages share: a series by its id, and a tenant that the token can see."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import Depends, Path, Query

from datastore import reads, tenants
from datastore.reads import SeriesRecord
from datastore.service.models import LARGEST_ID, Instant, Name
from datastore.service.problems import Refusal
from datastore.service.security import OwnTenant, Reader, known_tenant
from datastore.service.state import Here
from datastore.tenants import Tenant

CHOICES: Final = 500
"""Tenants that a page lets choose from. Others are asked for by name, in the page's address."""


def _series(here: Here, token: Reader, id: Annotated[int, Path(ge=1, le=LARGEST_ID)]) -> SeriesRecord:  # noqa: A002
    found = reads.some_series(here.dsn, [id], tenant=token.tenant)
    if not found:
        raise Refusal("not-found", f"there is no series {id}")
    return found[0]


OneSeries = Annotated[SeriesRecord, Depends(_series)]
"""The series of the path, if the token may see it."""


class Choice:
    """The tenants to choose from, and the one that is chosen: the one that is asked for, else the first; or none."""

    def __init__(self, tenants: Sequence[Tenant], chosen: Tenant | None) -> None:
        self.tenants = tenants
        self.chosen = chosen


def _choice(here: Here, own: OwnTenant, _: Reader, tenant: Annotated[Name | None, Query()] = None) -> Choice:
    choices = [own] if own is not None else tenants.list_tenants(here.dsn, limit=CHOICES)
    if tenant is not None:
        return Choice(choices, known_tenant(here.dsn, own, tenant))
    return Choice(choices, next((each for each in choices if each.disabled_at is None), None))


ChosenTenant = Annotated[Choice, Depends(_choice)]


@dataclass(frozen=True, slots=True)
class Sought:
    """What a page of rows looks for: rows of a vendor and a symbol with `start <= time < end`; None is any."""

    vendor: Annotated[Name | None, Query()] = None
    symbol: Annotated[Name | None, Query()] = None
    start: Annotated[Instant | None, Query()] = None
    end: Annotated[Instant | None, Query()] = None


SoughtRows = Annotated[Sought, Depends()]
