"""How the control plane connects: no connection waits for ever for a network that has lost it.

`connect` is used wherever the control plane opens a connection of its own. Work for a caller that waits, such as a
request to the service, runs in a block of `limited`: its connections then give up on a server that does not answer in
time.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from mds_client.config import watchful
from mds_client.connections import GuardedConnection

GRACE_S: Final = 5.0
"""How much longer than a statement may take the server may be silent, in seconds."""

_limit: ContextVar[float | None] = ContextVar("limit", default=None)


def connect(dsn: str, **options: Any) -> GuardedConnection:
    """Open a connection that notices a network which loses every packet within half a minute.

    Args:
        dsn: A libpq URL or key=value text. What it sets itself goes before.
        options: Arguments for psycopg's `connect`.

    Raises:
        psycopg.OperationalError: The server cannot be reached.
    """
    added: dict[str, Any] = dict(watchful(dsn))
    seconds = _limit.get()
    if seconds is not None:
        given = conninfo_to_dict(dsn).get("options") or ""
        added["options"] = f"-c statement_timeout={seconds * 1000:.0f} {given}".rstrip()
    connection = GuardedConnection.connect(make_conninfo(dsn, **added), **options)
    connection.limit(seconds, GRACE_S)
    return connection


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Limit how long each statement may take on connections that are opened in the block.

    A statement that takes longer is stopped by the server. If the server does not answer even then, the connection is
    closed and `mds_client.connections.ServerSilent` is raised.
    """
    token = _limit.set(seconds)
    try:
        yield
    finally:
        _limit.reset(token)
