"""Connections that never wait forever and are never reused in an unknown state.

`GuardedConnection` and `AsyncGuardedConnection` are psycopg's connections with two additions:

- They give up on a server that is silent for longer than the statement timeout allows (`expect`): they close the
  connection, and the call fails with `ServerSilent`.
- A wait that is interrupted (a cancelled task, Ctrl-C) closes the connection, and every later wait on it raises the
  same interruption. So neither a `finally` block nor psycopg can hide the interruption, or reuse the connection.

Both always work in autocommit mode, so that no mode must be restored: a transaction is an explicit BEGIN, or one
pipeline. `is_clean` says whether a connection can go back to the pool.
"""

import asyncio
from contextlib import suppress
from time import monotonic
from typing import Any, Final, TypeVar

import psycopg
from psycopg import AsyncConnection, Connection, capabilities, pq, waiting
from psycopg.abc import PQGen

T = TypeVar("T")

INTERVAL_S: Final = 0.1
"""The interval, in seconds, at which a wait checks whether the server has been silent for too long."""

CANCEL_S: Final = 1.0
"""The time, in seconds, that an interrupted call waits for the server to accept its cancel request."""


class ServerSilent(psycopg.OperationalError):
    """The server sent nothing for longer than the statement timeout allows, so the connection was closed."""


def interruption_behind(error: BaseException, handled: BaseException | None) -> BaseException | None:
    """Return the interruption behind an error, if something else failed while the interruption was handled.

    Args:
        error: The error that was raised.
        handled: The exception that the caller was already handling before, which is not considered.
    """
    seen: BaseException | None = error
    while seen is not None and seen is not handled:
        if not isinstance(seen, Exception | GeneratorExit):
            return seen
        seen = seen.__context__
    return None


def patient(gen: PQGen[T], seconds: float | None) -> PQGen[T]:
    """Run one of psycopg's generators. Raises ServerSilent after that many seconds without progress."""
    if seconds is None:
        return (yield from gen)
    try:
        wanted = next(gen)
        until = monotonic() + seconds
        while True:
            ready = yield wanted
            now = monotonic()
            if ready != waiting.READY_NONE:
                until = now + seconds
            elif now > until:
                raise ServerSilent(f"the server sent nothing for {seconds:g} s; the connection was closed")
            wanted = gen.send(ready)
    except StopIteration as end:
        result: T = end.value
        return result


class Guarded:
    """The common state of both connections."""

    pgconn: pq.abc.PGconn
    statement_s: float | None = None
    grace_s: float = 0.0
    interruption: BaseException | None = None
    inherited: bool = False
    made: float = 0.0
    _silence_s: float | None = None

    def limit(self, statement_s: float | None, grace_s: float) -> None:
        """Set the statement timeout (None: unlimited) and the additional time that the server can be silent."""
        self.statement_s, self.grace_s = statement_s, grace_s
        self.expect(1)

    def expect(self, statements: int) -> None:
        """Set the number of statements that the server runs, silently, before it answers next."""
        self._silence_s = None if self.statement_s is None else self.statement_s * max(1, statements) + self.grace_s

    @property
    def is_clean(self) -> bool:
        """Whether the connection has no open transaction, pipeline or running statement."""
        return (
            self.interruption is None
            and self.pgconn.transaction_status == pq.TransactionStatus.IDLE
            and self.pgconn.pipeline_status == pq.PipelineStatus.OFF
        )

    @property
    def has_transaction(self) -> bool:
        """Whether a transaction is open, so that a ROLLBACK makes the connection clean."""
        return self.interruption is None and self.pgconn.transaction_status in (
            pq.TransactionStatus.INTRANS,
            pq.TransactionStatus.INERROR,
        )

    def drop(self) -> None:
        """Close the connection at once, unless it was made before a fork and belongs to the parent process."""
        if not self.inherited:
            self.pgconn.finish()

    def _abandon(self, gen: PQGen[Any]) -> None:
        """Close the connection and the generator that ran on it."""
        self.drop()
        # psycopg's generators use the connection once more when they are closed.
        with suppress(Exception):
            gen.close()

    def _can_cancel(self) -> bool:
        # Without it psycopg falls back to a request that can block without limit.
        return self.pgconn.transaction_status == pq.TransactionStatus.ACTIVE and capabilities.has_cancel_safe()


class AsyncGuardedConnection(Guarded, AsyncConnection[Any]):
    """An asynchronous connection for `AMDS`."""

    async def wait(
        self,
        gen: PQGen[T],
        interval: float = INTERVAL_S,
        timeout: float | None = None,  # noqa: ASYNC109 - psycopg's signature
    ) -> T:
        """Run a generator on the connection, as psycopg does. Raises ServerSilent."""
        if self.interruption is not None:
            raise self.interruption
        try:
            return await waiting.wait_async(
                patient(gen, self._silence_s), self.pgconn.socket, interval=interval, timeout=timeout
            )
        except ServerSilent:
            self._abandon(gen)
            raise
        except Exception:
            raise
        except BaseException as interruption:
            self.interruption = interruption
            await self._give_up(gen, interruption)
            raise

    async def _give_up(self, gen: PQGen[Any], interruption: BaseException) -> None:
        try:
            # A coroutine that is being closed can no longer wait.
            if isinstance(interruption, asyncio.CancelledError) and self._can_cancel():
                with suppress(psycopg.Error):
                    await self.cancel_safe(timeout=CANCEL_S)
        finally:
            self._abandon(gen)


class GuardedConnection(Guarded, Connection[Any]):
    """A synchronous connection for `MDS`."""

    def wait(self, gen: PQGen[T], interval: float = INTERVAL_S, timeout: float | None = None) -> T:
        """Run a generator on the connection, as psycopg does. Raises ServerSilent."""
        if self.interruption is not None:
            raise self.interruption
        try:
            return waiting.wait(patient(gen, self._silence_s), self.pgconn.socket, interval=interval, timeout=timeout)
        except ServerSilent:
            self._abandon(gen)
            raise
        except Exception:
            raise
        except BaseException as interruption:
            self.interruption = interruption
            self._give_up(gen)
            raise

    def _give_up(self, gen: PQGen[Any]) -> None:
        try:
            if self._can_cancel():
                with suppress(psycopg.Error):
                    self.cancel_safe(timeout=CANCEL_S)
        finally:
            self._abandon(gen)
