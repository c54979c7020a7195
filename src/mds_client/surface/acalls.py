"""The methods that run operations, and that ask about the server.

`mds_client.surface.calls` is generated from this module by `tools/sync.py`.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from typing import TypeVar

from mds_client.protocol import server
from mds_client.protocol.operations import Operation, Stream
from mds_client.protocol.server import Health

T = TypeVar("T")


class AsyncCalls(ABC):
    """Runs operations. The other methods build on it."""

    @abstractmethod
    async def run(self, operation: Operation[T]) -> T:
        """Run an operation and return its result."""

    @abstractmethod
    def stream(self, stream: Stream[T]) -> AsyncIterator[T]:
        """Run an operation that returns its result in parts, and yield each part as it arrives."""

    async def health(self) -> Health:
        """Check the connection to the server.

        Returns:
            The engine, the versions and the tenant. The result is equal to True.

        Raises:
            ServerUnreachable: The server does not answer.
        """
        return await self.run(server.health())

    async def schema_version(self) -> str | None:
        """Return the version of the database's schema, such as "0007", or None if it is not migrated."""
        return await self.run(server.schema_version())
