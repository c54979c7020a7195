"""A worker's own connections: how they are set, how long an answer is waited for, and which of their errors pass."""

import random
from typing import Final

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from mds_client.errors import RetryableError, ServerOutOfMemory, TimeoutExceeded, mapped
from mds_client.protocol.connections import GuardedConnection

SESSION: Final = {
    "TimeZone": "UTC",
    # A queue's statistics are always late: made of an empty outbox, they make a plan that reads all of a full one.
    # Every statement has its index; and each is planned once.
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "plan_cache_mode": "force_generic_plan",
    "jit": "off",
}
"""How the worker's own connections are set; those of jobs' functions are their own business."""

LONGEST_SILENCE: Final = 10.0
"""Seconds that a worker waits for an answer of the server at most, however long its lease is."""


def connect(dsn: str, patience: float) -> GuardedConnection:
    """A connection on which a server that does not answer is noticed well within a lease."""
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
    # A server that is only slow ends the statement, and says so, before that.
    session = SESSION | {"statement_timeout": f"{int(patience * 750)}ms"}
    with connection.pipeline():
        for setting in session.items():
            connection.execute("SELECT set_config(%s, %s, false)", setting)
    return connection


def passing(error: psycopg.Error) -> bool:
    """Whether the same statement may succeed later, perhaps on another connection."""
    return isinstance(mapped(error), RetryableError | ServerOutOfMemory | TimeoutExceeded)


def reconnect_wait(failures: int, longest: float) -> float:
    """How many seconds to wait after that many failures: double each time up to `longest`, a random half taken off."""
    return min(longest, 0.1 * 2.0 ** min(failures, 10)) * random.uniform(0.5, 1)  # noqa: S311 - no secret
