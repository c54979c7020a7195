"""What tests of faults have in common: rows, one statement as a call, and waiting for what sends no event."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from mds_client import Bar
from mds_client.operations import Execute, Group, Operation, Session, Talk

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
