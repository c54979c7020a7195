"""What the asynchronous client does between two waits for the server, and the synchronous one does differently.

The synchronous client is generated from the asynchronous one (`tools/sync.py`). Where the two need different code and
not only other names, the code is here, in pairs.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Generator
from typing import TypeVar

T = TypeVar("T")


async def asleep(seconds: float) -> None:
    """Wait."""
    await asyncio.sleep(seconds)


def sleep(seconds: float) -> None:
    """Wait."""
    time.sleep(seconds)


async def ayield_turn() -> None:
    """Let other tasks run. The code around it may not wait for anything while the server keeps up."""
    await asyncio.sleep(0)


def yield_turn() -> None:
    """Do nothing: threads take turns by themselves."""


async def acompute(heavy: bool, function: Callable[[], T]) -> T:
    """Call a function; if it is heavy, in a thread, so that it does not hold up the event loop."""
    return await asyncio.to_thread(function) if heavy else function()


def compute(_heavy: bool, function: Callable[[], T]) -> T:
    """Call a function."""
    return function()


async def anext_or_none(generator: AsyncGenerator[T]) -> T | None:
    """The next item, or None at the end."""
    return await anext(generator, None)


def next_or_none(generator: Generator[T]) -> T | None:
    """The next item, or None at the end."""
    return next(generator, None)
