"""Answers of rows: streamed at the client's pace, or complete with an entity tag.

Rows come from the client's own reads (`mds_client.reading.reads`), as models or record batches, depending on the
format.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from itertools import chain
from typing import Any, Final
from uuid import UUID

import anyio
from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel

from datastore.service.formats import Format
from datastore.service.lines import Flow
from datastore.service.state import Service
from mds_client.reading.answers import As, without_tenant

CACHING: Final = {"Cache-Control": "private, no-cache", "Vary": "Authorization, Accept"}
"""A client can keep an answer that has a tag, and must ask each time whether it is still valid."""


BATCH_ROWS: Final = 5_000
"""The number of models that are read at once."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Rows that can be read. `columns` are those of CSV; `models` and `frames` read the rows in batches, and `frames`
    returns their schema, too."""

    columns: tuple[str, ...]
    models: Callable[[], Iterable[Sequence[BaseModel]]]
    frames: Callable[[], tuple[Any, Iterable[Any]]]

    def parts(self, format_: Format) -> Generator[bytes]:
        """Yield the rows in a format. Errors of the query are raised before the first part."""
        head: Any = self.columns
        if format_.frames:
            head, batches = self.frames()
        else:
            batches = self.models()
        with closing(_closable(batches)) as coming:
            first = next(coming, None)
            yield from format_.pack(head, chain(() if first is None else (first,), coming))


def _closable(batches: Iterable[Any]) -> Generator[Any]:
    if isinstance(batches, Generator):
        return batches
    return (batch for batch in batches)


def few(model: type[BaseModel], read: Callable[[As], Any]) -> Answer:
    """Build an answer of few rows; `read` is one of the client's reads, called for models or a table."""

    def frames() -> tuple[Any, Iterable[Any]]:
        table = read("arrow")
        return table.schema, table.to_batches()

    return Answer(without_tenant(model), lambda: (read("models"),), frames)


async def streamed(
    here: Service, tenant: UUID, answer: Answer, format_: Format, until_answered: AsyncExitStack
) -> Response:
    """Stream rows. The answer holds one of the tenant's places for streams, and a connection, until its end."""
    await until_answered.enter_async_context(here.streams.taken(tenant))
    parts = answer.parts(format_)

    async def close() -> None:
        # A client that leaves early must free the connection, even while the service shuts down.
        with anyio.CancelScope(shield=True):
            await run_in_threadpool(parts.close)

    until_answered.push_async_callback(close)
    # Wait for the first part: errors show there, and can still be sent as a problem.
    first: bytes = await run_in_threadpool(partial(next, parts, b""))
    coming: Iterator[bytes] = chain((first,), parts)
    return Flow(coming, format_.media_type)


def whole(request: Request, answer: Answer, format_: Format) -> Response:
    """Send few rows with an entity tag; call it in a thread."""
    return tagged(request, b"".join(answer.parts(format_)), format_.media_type)


def tagged(request: Request, body: bytes, media_type: str) -> Response:
    """Send a body with its entity tag, or 304 if the request has the same tag.

    The tag is the body's digest, so rows are always read and only the transfer is saved. The store keeps nothing that
    shows beforehand whether a row has changed.
    """
    tag = f'"{sha256(body).hexdigest()[:32]}"'
    headers = {"ETag": tag, **CACHING}
    known = {each.strip().removeprefix("W/") for each in request.headers.get("if-none-match", "").split(",")}
    if tag in known or "*" in known:
        return Response(status_code=304, headers=headers)
    return Response(body, media_type=media_type, headers=headers)
