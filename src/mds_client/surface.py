"""The methods that both clients have: one text for sync and async.

Each is an operation's function made into a method: `MDS.upsert_bars(rows)` performs `operations.upsert_bars(rows)` and
returns its answer, `AMDS.upsert_bars(rows)` is a coroutine that does. Signature and docstring are the operation's.
"""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, get_args, overload

from mds_client import operations, reads, upserts
from mds_client.operations import Operation

P = ParamSpec("P")
T = TypeVar("T")


class SyncPerformer(ABC):
    """What performs an operation and waits for it."""

    @abstractmethod
    def run(self, operation: Operation[T]) -> T:
        """Perform an operation and return its answer."""


class AsyncPerformer(ABC):
    """What performs an operation as a coroutine."""

    @abstractmethod
    async def run(self, operation: Operation[T]) -> T:
        """Perform an operation and return its answer."""


class Method(Generic[P, T]):
    """An operation's function as a method of either client."""

    def __init__(self, make: Callable[P, Operation[T]]) -> None:
        self.__doc__ = make.__doc__
        signature = inspect.signature(make)
        (answer,) = get_args(signature.return_annotation)
        me = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)

        @wraps(make)
        def sync(client: SyncPerformer, /, *args: P.args, **kwargs: P.kwargs) -> T:
            return client.run(make(*args, **kwargs))

        @wraps(make)
        async def async_(client: AsyncPerformer, /, *args: P.args, **kwargs: P.kwargs) -> T:
            return await client.run(make(*args, **kwargs))

        flavours: tuple[Any, Any] = (sync, async_)
        for function in flavours:
            function.__signature__ = signature.replace(
                parameters=[me, *signature.parameters.values()], return_annotation=answer
            )
        self._sync, self._async = flavours

    @overload
    def __get__(self, client: SyncPerformer, owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, client: AsyncPerformer, owner: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    @overload
    def __get__(self, client: None, owner: type) -> Callable[Concatenate[Any, P], Any]: ...
    def __get__(self, client: Any, owner: type) -> Any:
        function: Any = self._async if issubclass(owner, AsyncPerformer) else self._sync
        return function if client is None else function.__get__(client, owner)


class Surface:
    """What one can ask of the store."""

    health = Method(operations.health)
    schema_version = Method(operations.schema_version)
    upsert = Method(upserts.upsert)
    upsert_bars = Method(upserts.upsert_bars)
    bars_window = Method(reads.bars_window)
    latest_prices = Method(reads.latest_prices)
