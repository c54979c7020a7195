"""The methods that both clients have: one text for sync and async.

Each is an operation's function made into a method: `MDS.upsert_bars(rows)` performs `operations.upsert_bars(rows)` and
returns its answer, `AMDS.upsert_bars(rows)` is a coroutine that does. Signature and docstring are the operation's.
"""

import inspect
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import wraps
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, get_args, overload

from mds_client import jobs, operations, reads, upserts
from mds_client.operations import Operation, Stream

P = ParamSpec("P")
T = TypeVar("T")


class SyncPerformer(ABC):
    """What performs an operation and waits for it."""

    @abstractmethod
    def run(self, operation: Operation[T]) -> T:
        """Perform an operation and return its answer."""

    @abstractmethod
    def stream(self, stream: Stream[T]) -> Iterator[T]:
        """Perform an operation that answers in parts, and give each as it comes."""


class AsyncPerformer(ABC):
    """What performs an operation as a coroutine."""

    @abstractmethod
    async def run(self, operation: Operation[T]) -> T:
        """Perform an operation and return its answer."""

    @abstractmethod
    def stream(self, stream: Stream[T]) -> AsyncIterator[T]:
        """Perform an operation that answers in parts, and give each as it comes."""


class Method(Generic[P, T]):
    """An operation's function as a method of either client."""

    def __init__(self, make: Callable[P, Operation[T]]) -> None:
        self.__doc__ = make.__doc__

        @wraps(make)
        def sync(client: SyncPerformer, /, *args: P.args, **kwargs: P.kwargs) -> T:
            return client.run(make(*args, **kwargs))

        @wraps(make)
        async def async_(client: AsyncPerformer, /, *args: P.args, **kwargs: P.kwargs) -> T:
            return await client.run(make(*args, **kwargs))

        self._sync: Any = _signed(sync, make)
        self._async: Any = _signed(async_, make)

    @overload
    def __get__(self, client: SyncPerformer, owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, client: AsyncPerformer, owner: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    @overload
    def __get__(self, client: None, owner: type) -> Callable[Concatenate[Any, P], Any]: ...
    def __get__(self, client: Any, owner: type) -> Any:
        function: Any = self._async if issubclass(owner, AsyncPerformer) else self._sync
        return function if client is None else function.__get__(client, owner)


class StreamMethod(Generic[P, T]):
    """The function of an operation that answers in parts, as a method of either client: an iterator of the parts."""

    def __init__(self, make: Callable[P, Stream[T]]) -> None:
        self.__doc__ = make.__doc__

        @wraps(make)
        def stream(client: Any, /, *args: P.args, **kwargs: P.kwargs) -> Any:
            return client.stream(make(*args, **kwargs))

        self._stream: Any = _signed(stream, make)

    @overload
    def __get__(self, client: SyncPerformer, owner: type) -> Callable[P, Iterator[T]]: ...
    @overload
    def __get__(self, client: AsyncPerformer, owner: type) -> Callable[P, AsyncIterator[T]]: ...
    @overload
    def __get__(self, client: None, owner: type) -> Callable[Concatenate[Any, P], Any]: ...
    def __get__(self, client: Any, owner: type) -> Any:
        return self._stream if client is None else self._stream.__get__(client, owner)


def _signed(function: Any, make: Callable[..., Any]) -> Any:
    """The function with the operation's signature as a user sees it: with self, and with what is answered."""
    signature = inspect.signature(make)
    (answer,) = get_args(signature.return_annotation)
    me = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    function.__signature__ = signature.replace(
        parameters=[me, *signature.parameters.values()], return_annotation=answer
    )
    return function


class Surface:
    """What one can ask of the store."""

    health = Method(operations.health)
    schema_version = Method(operations.schema_version)

    upsert = Method(upserts.upsert)
    upsert_bars = Method(upserts.upsert_bars)
    upsert_fundamentals = Method(upserts.upsert_fundamentals)
    upsert_news = Method(upserts.upsert_news)
    upsert_options = Method(upserts.upsert_options)

    bars_window = Method(reads.bars_window)
    fundamentals_window = Method(reads.fundamentals_window)
    news_window = Method(reads.news_window)
    option_chain = Method(reads.option_chain)
    rollup = Method(reads.rollup)
    latest_prices = Method(reads.latest_prices)
    series = Method(reads.series)
    symbols = Method(reads.symbols)
    coverage = Method(reads.coverage)
    iter_bars_window = StreamMethod(reads.iter_bars_window)
    iter_fundamentals_window = StreamMethod(reads.iter_fundamentals_window)
    iter_rows = StreamMethod(reads.iter_rows)

    enqueue_job = Method(jobs.enqueue_job)
