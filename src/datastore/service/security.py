"""Authentication and authorisation: a request's token, its scope and tenant, and addresses that failed too often.

`datastore.service.tokens` reads the tokens. Authentication comes before everything else, so that a stranger cannot have
a body read or learn which paths exist.
"""

import ipaddress
import logging
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import Depends, Path, Query, Security
from fastapi.concurrency import run_in_threadpool
from fastapi.security import HTTPBearer
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as AsgiScope

from datastore import tenants
from datastore.errors import UnknownTenant
from datastore.service import documentation
from datastore.service.models import Name
from datastore.service.problems import Refusal
from datastore.service.state import Here
from datastore.service.tokens import Scope, Token, Tokens
from datastore.tenants import Tenant

logger = logging.getLogger("datastore.service")

PUBLIC: Final = frozenset({"/health", "/ready", "/openapi.json", *documentation.FILES})
"""Paths that need no token: whether the service lives, whether it is ready, and its API."""

bearer = HTTPBearer(
    scheme_name="token", description="A token that the service's configuration knows.", auto_error=False
)


class Failures:
    """Count the failed authentications of each address: a bucket that starts full and loses one with each failure.

    It refills by `per_minute`. At most `most` addresses are held; a new one replaces the one that failed least
    recently. IPv6 is counted by /64 network, which is what one customer has.
    """

    def __init__(self, per_minute: int, *, most: int = 10_000, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_minute = per_minute
        self._most = most
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, address: str) -> int:
        """Return the seconds until this address may try again; 0 if it may now."""
        left = self._now(_network(address))
        return 0 if left >= 1 else math.ceil((1 - left) * 60 / self._per_minute)

    def failed(self, address: str) -> None:
        """Count a failure."""
        network = _network(address)
        self._left[network] = (self._now(network) - 1, self._clock())
        self._left.move_to_end(network)
        if len(self._left) > self._most:
            self._left.popitem(last=False)

    def _now(self, network: str) -> float:
        left, at = self._left.get(network, (float(self._per_minute), self._clock()))
        return min(float(self._per_minute), left + (self._clock() - at) * self._per_minute / 60)


def _network(address: str) -> str:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(ipaddress.ip_network((found, 64), strict=False)) if found.version == 6 else address


class Authentication:
    """Middleware that passes requests with a known token and requests for public paths.

    An address that has failed too often must wait, and its token is not checked meanwhile. Otherwise the limit would
    not stop a guesser, because a right guess would still be answered.
    """

    def __init__(self, app: ASGIApp, tokens: Tokens, failures: Failures, unguarded: Collection[str] = ()) -> None:
        self._app = app
        self._tokens = tokens
        self._failures = failures
        self._unguarded = PUBLIC.union(unguarded)
        self._unguarded_below = tuple(path for path in unguarded if path.endswith("/") and path != "/")

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._is_unguarded(scope["path"]):
            scope["state"]["token"] = self._token(scope)
        await self._app(scope, receive, send)

    def _is_unguarded(self, path: str) -> bool:
        return path in self._unguarded or path.startswith(self._unguarded_below)

    def _token(self, scope: AsgiScope) -> Token:
        address = str((scope.get("client") or ["local"])[0])
        if wait := self._failures.wait(address):
            raise Refusal("too-many-failures", f"try again in {wait} s", headers={"Retry-After": str(wait)})
        given = Headers(scope=scope).get("authorization")
        if given is None:
            # Not a failed attempt: a client may send such a request to learn how to authenticate.
            raise _unauthenticated("the request has no token: Authorization: Bearer ...", "")
        scheme, _, text = given.partition(" ")
        token = self._tokens.find(text.strip()) if scheme.lower() == "bearer" else None
        if token is None:
            self._failures.failed(address)
            logger.warning("request %s from %s: unknown token", scope["state"]["request_id"], address)
            raise _unauthenticated("the token is unknown", ', error="invalid_token"')
        if token.expires is not None and token.expires <= datetime.now(UTC):
            self._failures.failed(address)
            logger.warning("request %s: token %s has expired", scope["state"]["request_id"], token.name)
            raise _unauthenticated("the token has expired", ', error="invalid_token"')
        return token


def _unauthenticated(detail: str, more: str) -> Refusal:
    return Refusal("unauthenticated", detail, headers={"WWW-Authenticate": f'Bearer realm="datastore"{more}'})


async def _own_tenant(request: Request, here: Here) -> Tenant | None:
    """Return the tenant of the token; None if the token is for the whole store.

    Checked on every request, because the control plane's own reads bypass the views that refuse disabled tenants.
    """
    token: Token = request.state.token
    if token.tenant is None:
        return None
    try:
        found = await run_in_threadpool(tenants.get_tenant, here.dsn, token.tenant)
    except UnknownTenant:
        raise Refusal("forbidden", "the token's tenant does not exist") from None
    if found.disabled_at is not None:
        raise Refusal("forbidden", "the token's tenant is disabled")
    return found


OwnTenant = Annotated[Tenant | None, Depends(_own_tenant)]


def _needs(scope: Scope, *, store_wide: bool) -> Any:
    async def allowed(
        request: Request, _own: OwnTenant, _: Annotated[object, Security(bearer, scopes=[scope.name])]
    ) -> Token:
        token: Token = request.state.token
        if token.scope < scope:
            raise Refusal("forbidden", f"this needs the scope {scope.name}; the token has {token.scope.name}")
        if store_wide and token.tenant is not None:
            raise Refusal("forbidden", "this needs a token for the whole store; the token is for one tenant")
        return token

    return Depends(allowed)


Reader = Annotated[Token, _needs(Scope.read, store_wide=False)]
Operator = Annotated[Token, _needs(Scope.operate, store_wide=False)]
StoreReader = Annotated[Token, _needs(Scope.read, store_wide=True)]
StoreOperator = Annotated[Token, _needs(Scope.operate, store_wide=True)]
StoreAdmin = Annotated[Token, _needs(Scope.admin, store_wide=True)]


TENANT_EXAMPLE: Final = "7d444840-9dc0-11d1-b245-5ffdce74fad2"

TENANT: Final = (
    "the tenant, by uuid or name; what reads as a uuid is one, and a name with a slash cannot stand in a path"
)


def known_tenant(dsn: str, own: Tenant | None, wanted: str) -> Tenant:
    """Return the tenant of that uuid or name if a token may see it. Raises UnknownTenant.

    `own` is the only tenant that a token for one tenant sees. For such a token no other tenant is looked up, so that
    another's name or id gets the same answer, in the same time, as one that does not exist.
    """
    try:
        id_ = UUID(wanted)
    except ValueError:
        id_ = None
    if own is None:
        return tenants.get_tenant(dsn, wanted if id_ is None else id_)
    if wanted == own.name if id_ is None else id_ == own.id:
        return own
    raise UnknownTenant(wanted)


def _tenant(token: Any) -> Any:
    def found(
        here: Here,
        _: token,
        own: OwnTenant,
        tenant: Annotated[Name, Path(description=TENANT, examples=[TENANT_EXAMPLE])],
    ) -> Tenant:
        return known_tenant(here.dsn, own, tenant)

    return Depends(found)


ReadTenant = Annotated[Tenant, _tenant(Reader)]
OperateTenant = Annotated[Tenant, _tenant(Operator)]
AdminTenant = Annotated[Tenant, _tenant(StoreAdmin)]


def _asked_tenant(
    here: Here,
    token: Reader,
    own: OwnTenant,
    tenant: Annotated[Name | None, Query(description="only this tenant's, by uuid or name")] = None,
) -> UUID | None:
    return token.tenant if tenant is None else known_tenant(here.dsn, own, tenant).id


AskedTenant = Annotated[UUID | None, Depends(_asked_tenant)]
"""The tenant that a list is limited to: the named one, or the token's own; None for all."""
