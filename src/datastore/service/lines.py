"""Transfer rows between a client and the thread that processes them, at the pace of the slower one.

A client that sends or reads nothing for too long is disconnected, because it holds a place that others need
(`datastore.service.places`).
"""

import io
from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from datastore.service.problems import Refusal
from mds_client.compression import GZIP, ZSTD

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

NDJSON: Final = "application/x-ndjson"

SILENT_S: Final = 60.0
"""How long, in seconds, a client may send nothing of its body, or read nothing of its answer, before it is
disconnected.

Reading is noticed when the buffers between the service and the client drain, some hundred kilobytes at once. A client
that reads less than that in this time counts as one that reads nothing.
"""

_PIECE: Final = 1 << 16
"""Bytes of an answer that are sent at once. Each piece that is accepted shows that a slow client still reads."""


class Body(io.RawIOBase):
    """A request's body as a file, read by a thread while the event loop receives it.

    Reading raises Refusal if the body is compressed, or if the client sends nothing for SILENT_S.
    """

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self._left = b""
        self._begun = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        view = memoryview(buffer).cast("B")
        if not self._left:
            self._left = anyio.from_thread.run(self._received)
            if not self._begun and self._left.startswith((GZIP, ZSTD)):
                # The size after decompression is unknown until it is read.
                raise Refusal("unsupported-media-type", "the body is compressed: send the lines uncompressed")
            self._begun = True
        some = self._left[: len(view)]
        self._left = self._left[len(view) :]
        view[: len(some)] = some
        return len(some)

    async def _received(self) -> bytes:
        with anyio.move_on_after(SILENT_S):
            return await anext(self._chunks, b"")
        raise Refusal("too-slow", f"nothing has come for {SILENT_S:g} s", headers={"Connection": "close"})


class Silent(ClientDisconnect):
    """The client reads nothing any more, and is treated as disconnected."""


class Paced(StreamingResponse):
    """A streamed answer. Raises Silent if the client reads nothing for SILENT_S."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            with anyio.move_on_after(SILENT_S) as waiting:
                await send(message)
            if waiting.cancelled_caught:
                raise Silent(f"the client has read nothing for {SILENT_S:g} s")

        await super().__call__(scope, receive, sending)


class Flow(Paced):
    """A streamed answer whose parts are produced in a thread."""

    def __init__(self, coming: Iterator[bytes], media_type: str) -> None:
        super().__init__(_pieces(coming), media_type=media_type)


async def _pieces(coming: Iterator[bytes]) -> AsyncIterator[bytes]:
    while (part := await run_in_threadpool(partial(next, coming, None))) is not None:
        for at in range(0, len(part), _PIECE):
            yield part[at : at + _PIECE]
