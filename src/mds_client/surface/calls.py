# Generated from acalls.py by tools/sync.py: edit that module, and run `make generate`.
"""The methods that run operations, and that ask about the server."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TypeVar

from mds_client.protocol import server
from mds_client.protocol.operations import Operation, Stream
from mds_client.protocol.server import Health

T = TypeVar("T")


class Calls(ABC):
    """Runs operations. The other methods build on it."""

    @abstractmethod
    def run(self, operation: Operation[T]) -> T:
        """Run an operation and return its result."""

    @abstractmethod
    def stream(self, stream: Stream[T]) -> Iterator[T]:
        """Run an operation that returns its result in parts, and yield each part as it arrives."""

    def health(self) -> Health:
        """Check the connection to the server.

        Returns:
            The engine, the versions and the tenant. The result is equal to True.

        Raises:
            ServerUnreachable: The server does not answer.
        """
        return self.run(server.health())

    def schema_version(self) -> str | None:
        """Return the version of the database's schema, such as "0007", or None if it is not migrated."""
        return self.run(server.schema_version())
