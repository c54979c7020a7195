"""Rows as an answer: streamed at the pace of who takes them, or whole with an entity tag.

What is read comes from the client's own reads (`mds_client.reading.reads`), which are asked for models or for record
batches, as the format needs.
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
"""Models that are read at once."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Rows that can be read. `columns` are those of CSV; `models` and `frames` read them, a batch at a time, the latter
    with the schema that they have."""

    columns: tuple[str, ...]
    models: Callable[[], Iterable[Sequence[BaseModel]]]
    frames: Callable[[], tuple[Any, Iterable[Any]]]

    def parts(self, format_: Format) -> Generator[bytes]:
        """The rows in a format. What is wrong with the question is raised before the first part."""
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
    """An answer of few rows: `read` is one of the client's reads, asked for models or a table."""

    def frames() -> tuple[Any, Iterable[Any]]:
        table = read("arrow")
        return table.schema, table.to_batches()

    return Answer(without_tenant(model), lambda: (read("models"),), frames)


async def streamed(
    here: Service, tenant: UUID, answer: Answer, format_: Format, until_answered: AsyncExitStack
) -> Response:
    """Rows as they come. It takes one of the tenant's places for streams, and a connection, until its end."""
    await until_answered.enter_async_context(here.streams.taken(tenant))
    parts = answer.parts(format_)

    async def close() -> None:
        # Whoever leaves early leaves the connection to others; also where the service is to end.
        with anyio.CancelScope(shield=True):
            await run_in_threadpool(parts.close)

    until_answered.push_async_callback(close)
    # The first part is waited for: what is wrong shows there, and can still be told as a problem.
    first: bytes = await run_in_threadpool(partial(next, parts, b""))
    coming: Iterator[bytes] = chain((first,), parts)
    return Flow(coming, format_.media_type)


def whole(request: Request, answer: Answer, format_: Format) -> Response:
    """Few rows, with a tag; call it in a thread."""
    return tagged(request, b"".join(answer.parts(format_)), format_.media_type)


def tagged(request: Request, body: bytes, media_type: str) -> Response:
    """A body with its entity tag; 304 where the request has the same one already.

    The tag is the body's digest: what is read is read again, and only not sent again. The store keeps nothing by which
    it would be known beforehand that no row has changed.
    """
    tag = f'"{sha256(body).hexdigest()[:32]}"'
    headers = {"ETag": tag, **CACHING}
    known = {each.strip().removeprefix("W/") for each in request.headers.get("if-none-match", "").split(",")}
    if tag in known or "*" in known:
        return Response(status_code=304, headers=headers)
    return Response(body, media_type=media_type, headers=headers)
