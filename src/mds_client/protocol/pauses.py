"""What the asynchronous client does between two waits for the server, and the synchronous one does differently.

The synchronous client is generated from the asynchronous one (`tools/sync.py`). Where the two need different code and
not only other names, the code is here, in pairs.
"""

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import nullcontext, suppress
from typing import Any, Final, TypeVar

T = TypeVar("T")

LINGER_S: Final = 10.0
"""How long a writer's thread that has nothing to write waits for rows before it ends; the next row starts another."""

ALINGER_S: Final = 0.0
"""A task costs nothing to start, and should not be left at the end of the event loop."""


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


async def aahead(items: Iterator[T]) -> AsyncGenerator[T]:
    """The items; each is made in a thread while the one before it is used."""
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1, "mds-ahead") as thread:
        following = loop.run_in_executor(thread, next, items, None)
        while (item := await following) is not None:
            following = loop.run_in_executor(thread, next, items, None)
            yield item


def ahead(items: Iterator[T]) -> Generator[T]:
    """The items; each is made in a thread while the one before it is used."""
    with ThreadPoolExecutor(1, "mds-ahead") as thread:
        following = thread.submit(next, items, None)
        while (item := following.result()) is not None:
            following = thread.submit(next, items, None)
            yield item


class AsyncCrew:
    """The next items of several iterators at once, each in a task."""

    def __init__(self, _size: int) -> None:
        self._steps: dict[asyncio.Task[Any], int] = {}

    @property
    def busy(self) -> bool:
        """Whether an item is on its way."""
        return bool(self._steps)

    def start(self, number: int, iterator: AsyncGenerator[Any]) -> None:
        """Begin with the next item of an iterator, which has this number."""
        self._steps[asyncio.create_task(anext_or_none(iterator), name="mds-crew")] = number

    async def first(self) -> tuple[int, Any]:
        """The number and the item of an iterator that is at its next one. Raises what it has raised."""
        done, _ = await asyncio.wait(self._steps, return_when=asyncio.FIRST_COMPLETED)
        step = done.pop()
        return self._steps.pop(step), step.result()

    async def end(self) -> None:
        """Cancel what is on its way."""
        for step in self._steps:
            step.cancel()
        if self._steps:
            await asyncio.wait(self._steps)


class Crew:
    """The next items of several iterators at once, each in a thread."""

    def __init__(self, size: int) -> None:
        self._threads = ThreadPoolExecutor(size, "mds-crew")
        self._steps: dict[Future[Any], int] = {}

    @property
    def busy(self) -> bool:
        """Whether an item is on its way."""
        return bool(self._steps)

    def start(self, number: int, iterator: Generator[Any]) -> None:
        """Begin with the next item of an iterator, which has this number."""
        self._steps[self._threads.submit(next_or_none, iterator)] = number

    def first(self) -> tuple[int, Any]:
        """The number and the item of an iterator that is at its next one. Raises what it has raised."""
        done, _ = wait(self._steps, return_when=FIRST_COMPLETED)
        step = done.pop()
        return self._steps.pop(step), step.result()

    def end(self) -> None:
        """Wait for what is on its way: a thread cannot be ended, and an item takes a moment."""
        self._threads.shutdown()


Lock = threading.RLock
"""A lock that knows its owner."""


class Condition(threading.Condition):
    """A condition whose lock is held after every wait, also after one that Ctrl-C ends.

    Ctrl-C can arrive while `wait` takes the lock again. The block that waits would then release a lock that it does
    not hold, and its RuntimeError would hide the interrupt.
    """

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the next notification. False after so many seconds without one."""
        try:
            return super().wait(timeout)
        except BaseException:
            while not self._is_held():
                with suppress(KeyboardInterrupt):  # one is on its way already
                    self.acquire()
            raise

    def _is_held(self) -> bool:
        try:
            self.notify(0)
        except RuntimeError:
            return False
        return True


class NoLock(nullcontext[None]):
    """A lock for tasks of one event loop, which need none: only a wait lets another task run."""


class AsyncCondition:
    """What tasks of one event loop wait for, as `threading.Condition` is for threads."""

    def __init__(self, _lock: NoLock) -> None:
        self._event = asyncio.Event()

    def notify_all(self) -> None:
        """Wake all tasks that wait."""
        self._event.set()
        self._event = asyncio.Event()

    async def wait(self, seconds: float | None = None) -> bool:
        """Wait for the next notification. False after so many seconds without one."""
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return False
        return True


class AsyncWriter:
    """A task that writes."""

    def __init__(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._work = work
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, if it has not begun, or was cancelled before it could."""
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._work(), name="mds-batch")

    async def cancel(self) -> None:
        """End it with the write under way, so that nothing goes on behind a block that was left."""
        if self._task is not None:
            self._task.cancel()
        await self.join()

    async def join(self) -> None:
        """Wait for its end."""
        if self._task is not None:
            await asyncio.wait([self._task])


class Writer:
    """A thread that writes."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._thread = threading.Thread(target=work, name="mds-batch", daemon=True)

    def start(self) -> None:
        """Begin, if it has not begun."""
        if self._thread.ident is None:
            self._thread.start()

    def cancel(self) -> None:
        """Do nothing: a thread cannot be ended, and its write goes on."""

    def join(self) -> None:
        """Wait for its end."""
        self._thread.join()
