"""Code that differs between the asynchronous and the synchronous client, in pairs.

The synchronous client is generated from the asynchronous one (`tools/sync.py`), which only replaces names. Other
differences, such as sleeping, tasks and threads, are here.
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
"""The time in seconds that an idle writer thread waits for rows before it ends. The next row starts another."""

ALINGER_S: Final = 0.0
"""An idle writer task ends at once: a task is cheap to start, and should not remain at the end of the event loop."""


async def asleep(seconds: float) -> None:
    """Sleep for some seconds."""
    await asyncio.sleep(seconds)


def sleep(seconds: float) -> None:
    """Sleep for some seconds."""
    time.sleep(seconds)


async def ayield_turn() -> None:
    """Let other tasks run, because the calling code may never wait while the server keeps up."""
    await asyncio.sleep(0)


def yield_turn() -> None:
    """Do nothing, because threads take turns automatically."""


async def acompute(heavy: bool, function: Callable[[], T]) -> T:
    """Call a function. A heavy one is called in a thread, so that it does not block the event loop."""
    return await asyncio.to_thread(function) if heavy else function()


def compute(_heavy: bool, function: Callable[[], T]) -> T:
    """Call a function."""
    return function()


async def anext_or_none(generator: AsyncGenerator[T]) -> T | None:
    """Return the next item, or None at the end."""
    return await anext(generator, None)


def next_or_none(generator: Generator[T]) -> T | None:
    """Return the next item, or None at the end."""
    return next(generator, None)


async def aahead(items: Iterator[T]) -> AsyncGenerator[T]:
    """Yield the items. Each is made in a thread while the one before it is used."""
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1, "mds-ahead") as thread:
        following = loop.run_in_executor(thread, next, items, None)
        while (item := await following) is not None:
            following = loop.run_in_executor(thread, next, items, None)
            yield item


def ahead(items: Iterator[T]) -> Generator[T]:
    """Yield the items. Each is made in a thread while the one before it is used."""
    with ThreadPoolExecutor(1, "mds-ahead") as thread:
        following = thread.submit(next, items, None)
        while (item := following.result()) is not None:
            following = thread.submit(next, items, None)
            yield item


class AsyncCrew:
    """Gets the next items of several iterators at once, each in a task."""

    def __init__(self, _size: int) -> None:
        self._steps: dict[asyncio.Task[Any], int] = {}

    @property
    def busy(self) -> bool:
        """Whether an item is being made."""
        return bool(self._steps)

    def start(self, number: int, iterator: AsyncGenerator[Any]) -> None:
        """Start to make the next item of the iterator with this number."""
        self._steps[asyncio.create_task(anext_or_none(iterator), name="mds-crew")] = number

    async def first(self) -> tuple[int, Any]:
        """Wait for an item. Returns the iterator's number and the item, or raises the iterator's error."""
        done, _ = await asyncio.wait(self._steps, return_when=asyncio.FIRST_COMPLETED)
        step = done.pop()
        return self._steps.pop(step), step.result()

    async def end(self) -> None:
        """Cancel the items that are being made."""
        for step in self._steps:
            step.cancel()
        if self._steps:
            await asyncio.wait(self._steps)


class Crew:
    """Gets the next items of several iterators at once, each in a thread."""

    def __init__(self, size: int) -> None:
        self._threads = ThreadPoolExecutor(size, "mds-crew")
        self._steps: dict[Future[Any], int] = {}

    @property
    def busy(self) -> bool:
        """Whether an item is being made."""
        return bool(self._steps)

    def start(self, number: int, iterator: Generator[Any]) -> None:
        """Start to make the next item of the iterator with this number."""
        self._steps[self._threads.submit(next_or_none, iterator)] = number

    def first(self) -> tuple[int, Any]:
        """Wait for an item. Returns the iterator's number and the item, or raises the iterator's error."""
        done, _ = wait(self._steps, return_when=FIRST_COMPLETED)
        step = done.pop()
        return self._steps.pop(step), step.result()

    def end(self) -> None:
        """Wait for the items that are being made, because a thread cannot be cancelled. An item takes a moment."""
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
    """A lock that does nothing: tasks of one event loop need none, because they switch only when they wait."""


class AsyncCondition:
    """A condition for tasks of one event loop, like `threading.Condition` for threads."""

    def __init__(self, _lock: NoLock) -> None:
        self._event = asyncio.Event()

    def notify_all(self) -> None:
        """Wake all tasks that wait."""
        self._event.set()
        self._event = asyncio.Event()

    async def wait(self, seconds: float | None = None) -> bool:
        """Wait for the next notification. Returns False after `seconds` without one."""
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
        """Start the task if it is not running."""
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._work(), name="mds-batch")

    async def cancel(self) -> None:
        """Cancel the task and its current write, so that nothing continues after the block has ended."""
        if self._task is not None:
            self._task.cancel()
        await self.join()

    async def join(self) -> None:
        """Wait for the end of the task."""
        if self._task is not None:
            await asyncio.wait([self._task])


class Writer:
    """A thread that writes."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._thread = threading.Thread(target=work, name="mds-batch", daemon=True)

    def start(self) -> None:
        """Start the thread if it has not started."""
        if self._thread.ident is None:
            self._thread.start()

    def cancel(self) -> None:
        """Do nothing, because a thread cannot be cancelled. Its write continues."""

    def join(self) -> None:
        """Wait for the end of the thread."""
        self._thread.join()
