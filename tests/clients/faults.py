"""What tests of faults have in common: rows, one statement as a call, a lock in the way, and waiting for what sends no
event."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from mds_client import Bar
from mds_client.protocol.operations import Execute, Group, Operation, Session, Talk
from tests.conftest import Store

START = datetime(2024, 1, 1, tzinfo=UTC)
PATIENCE = 30.0


def bars(count: int, close: float = 1.0, symbols: int = 1) -> list[Bar]:
    return [
        Bar(
            vendor="v",
            symbol=f"S{number % symbols}",
            timeframe="1m",
            ts=START + timedelta(minutes=number // symbols),
            close_price=close,
        )
        for number in range(count)
    ]


def until(condition: Callable[[], object]) -> None:
    """Wait for what another session does, which sends no event."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.005)


def statement(text: bytes, *, name: str = "statement", idempotent: bool = True, commit: bool = False) -> Operation[Any]:
    """One statement as an operation, with its rows as the answer."""

    def talk(_: Session) -> Talk[Any]:
        (rows,) = yield Group((Execute(text),), commit=commit)
        return rows

    return Operation(name, talk, idempotent=idempotent)


def waiting(store: Store) -> list[int]:
    """The application's backends that wait for a lock."""
    return [
        pid
        for (pid,) in store.rows(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND usename = 'mds_service'"
            " AND wait_event_type = 'Lock'"
        )
    ]


@contextmanager
def locked(store: Store, table: str = "store.bars") -> Iterator[psycopg.Connection[Any]]:
    """While another session keeps everybody from writing to a table."""
    with psycopg.connect(store.superuser_dsn) as blocker:
        blocker.execute(f"LOCK TABLE {table} IN SHARE MODE".encode())
        yield blocker
        with suppress(psycopg.OperationalError):  # the test may have killed the server
            blocker.rollback()
