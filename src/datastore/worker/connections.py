"""A worker's own connections: their settings, their timeouts, and which of their errors are temporary."""

import random
from typing import Final

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from mds_client.errors import RetryableError, ServerOutOfMemory, TimeoutExceeded, mapped
from mds_client.protocol.connections import GuardedConnection

SESSION: Final = {
    "TimeZone": "UTC",
    # An outbox's statistics are always out of date: a plan made while it was empty would scan a full one. Every
    # statement has an index to use, and is planned once.
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "plan_cache_mode": "force_generic_plan",
    "jit": "off",
}
"""Settings of the worker's own connections; job functions set up theirs themselves."""

LONGEST_SILENCE: Final = 10.0
"""The longest time in seconds that a worker waits for an answer from the server, however long its lease is."""


def connect(dsn: str, patience: float) -> GuardedConnection:
    """Connect, with timeouts that detect an unresponsive server well within a lease."""
    given = conninfo_to_dict(dsn)
    seconds = max(1, int(patience))
    own: dict[str, str | int] = {
        "application_name": "datastore worker",
        "connect_timeout": max(2, seconds),
        "keepalives_idle": seconds,
        "keepalives_interval": max(1, seconds // 3),
        "keepalives_count": 3,
        "tcp_user_timeout": seconds * 1000,
    }
    added = {key: value for key, value in own.items() if key not in given}
    connection = GuardedConnection.connect(make_conninfo(dsn, **added), autocommit=True)
    connection.limit(patience, 0)
    # If the server is only slow, it ends the statement with an error before that.
    session = SESSION | {"statement_timeout": f"{int(patience * 750)}ms"}
    with connection.pipeline():
        for setting in session.items():
            connection.execute("SELECT set_config(%s, %s, false)", setting)
    return connection


def passing(error: psycopg.Error) -> bool:
    """Return whether the same statement may succeed later, perhaps on another connection."""
    return isinstance(mapped(error), RetryableError | ServerOutOfMemory | TimeoutExceeded)


def reconnect_wait(failures: int, longest: float) -> float:
    """Return the seconds to wait after that many failures: doubled each time up to `longest`, less a random half."""
    return min(longest, 0.1 * 2.0 ** min(failures, 10)) * random.uniform(0.5, 1)  # noqa: S311 - no secret
