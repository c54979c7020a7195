"""Limits, in total and for each tenant, on concurrent uploads and streams, whose duration the client controls.

An upload occupies a thread, and a stream of rows a database connection, from the first byte to the last. Without
limits, slow clients of one tenant would stop all others.
"""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID

import anyio

from datastore.service.problems import RETRY_AFTER_S, Refusal


@dataclass(eq=False)
class _Turn:
    tenant: UUID
    called: anyio.Event = field(default_factory=anyio.Event)


class Places:
    """A limited number of places in total, and for each tenant. `what` names their use, in the plural.

    A request that finds no place waits for at most `wait_s` seconds. A free place goes to the request that has waited
    longest among tenants below their limit, so a tenant with many waiting requests does not delay others. For use in
    one event loop.
    """

    def __init__(self, what: str, *, in_all: int, each: int, wait_s: float) -> None:
        self.what = what
        self.in_all = in_all
        self.each = min(each, in_all)
        self._wait_s = wait_s
        self._held: Counter[UUID] = Counter()
        self._waiting: list[_Turn] = []

    @asynccontextmanager
    async def taken(self, tenant: UUID) -> AsyncIterator[None]:
        """Take one of the tenant's places for the block. Raises Refusal if no place becomes free in time."""
        turn = _Turn(tenant)
        self._waiting.append(turn)
        self._call()
        try:
            with anyio.move_on_after(self._wait_s):
                await turn.called.wait()
            if not turn.called.is_set():
                raise self._refusal(tenant)
            yield
        finally:
            # Release the place also if the waiting request was called and cancelled at the same time.
            if turn.called.is_set():
                self._held -= Counter((tenant,))
                self._call()
            else:
                self._waiting.remove(turn)

    def _call(self) -> None:
        for turn in tuple(self._waiting):
            if self._held.total() >= self.in_all:
                return
            if self._held[turn.tenant] < self.each:
                self._waiting.remove(turn)
                self._held[turn.tenant] += 1
                turn.called.set()

    def _refusal(self, tenant: UUID) -> Refusal:
        if self._held[tenant] >= self.each:
            full = f"the tenant already has its maximum of {self.each} {self.what} at a time"
        else:
            full = f"the service already has its maximum of {self.in_all} {self.what} at a time"
        detail = f"{full}, and none ended within {self._wait_s:g} s: try again"
        return Refusal("unavailable", detail, headers={"Retry-After": str(RETRY_AFTER_S)})
