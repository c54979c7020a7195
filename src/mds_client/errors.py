"""What can go wrong, as exceptions, and the one table that says which of PostgreSQL's errors is which of ours.

Every psycopg error that leaves the library is one of these, with the original as `__cause__`. Whether a call may be
tried again is a property of the class. The driver is imported where an error of it is looked at: programs that only
need the classes, such as a command that prints its help, start without it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pydantic import ValidationError

__all__ = [
    "CommitUnknown",
    "ConfigurationError",
    "ConstraintViolation",
    "IdempotencyConflict",
    "InvalidRow",
    "MDSError",
    "MDSOperationalError",
    "RLSDenied",
    "RetryableError",
    "SchemaMismatch",
    "ServerUnreachable",
    "TimeoutExceeded",
    "UnknownSeries",
]


class MDSError(Exception):
    """Everything that this library raises on purpose."""


class ConfigurationError(MDSError, ValueError):
    """A setting or an argument is wrong; nothing was sent."""


class InvalidRow(MDSError, ValueError):
    """A row cannot be a row of its kind; nothing was sent. The message says which row, which field and why.

    `index` is its place in the input, from 0.
    """

    def __init__(self, message: str, *, index: int | None = None) -> None:
        super().__init__(message)
        self.index = index


class UnknownSeries(MDSError, LookupError):
    """A series that was asked for does not exist. The message says which, and what there is that is near it."""


class MDSOperationalError(MDSError):
    """The server refused, or could not be reached. `sqlstate` is PostgreSQL's code where it gave one."""

    def __init__(self, message: str, *, sqlstate: str | None = None) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


class RetryableError(MDSOperationalError):
    """A passing fault: connection lost, deadlock, serialisation failure. The same call may well succeed."""

    @property
    def lost_connection(self) -> bool:
        """Whether the connection is gone, and with it perhaps all others to that server."""
        return self.sqlstate is None or self.sqlstate[:3] == "57P" or self.sqlstate[:2] == "08"


class ServerUnreachable(RetryableError):
    """No connection was to be had within `connect_timeout`, and the server does not answer.

    Not tried again by the client, which has waited that long already; a later call may succeed.
    """


class CommitUnknown(MDSOperationalError):
    """The connection broke while a transaction was committed: it may or may not have happened.

    Raised only for what is not idempotent; upserts are, and are tried again.
    """


class ConstraintViolation(MDSOperationalError):
    """A constraint of the database refused the data."""


class IdempotencyConflict(ConstraintViolation):
    """A job with that idempotency key is there already, and is another one."""


class RLSDenied(MDSOperationalError):
    """The row or the relation is not the tenant's; or there is no tenant."""


class TimeoutExceeded(MDSOperationalError):
    """A statement, or waiting for a connection, took longer than its limit."""


class ServerOutOfMemory(MDSOperationalError):
    """The server has no memory, or no room for locks, for what a call touches. The same call would fail again."""


class SchemaMismatch(MDSOperationalError):
    """The database lacks what this release needs: it is not migrated, or by another release."""


BY_SQLSTATE: Final[dict[str, type[MDSOperationalError]]] = {
    # a whole class, by its two characters
    "08": RetryableError,  # connection
    "40": RetryableError,  # rollback: serialisation failure, deadlock
    "53": RetryableError,  # out of connections or disk: until someone gives way
    "23": ConstraintViolation,
    # single codes, which go before their class
    "25006": RetryableError,  # read-only: a standby just before or after it is promoted
    "40002": ConstraintViolation,
    "42501": RLSDenied,  # insufficient privilege
    "44000": RLSDenied,  # WITH CHECK OPTION: the row would not be the tenant's
    "42P01": SchemaMismatch,  # no such table
    "42703": SchemaMismatch,  # no such column
    "42883": SchemaMismatch,  # no such function
    "3F000": SchemaMismatch,  # no such schema
    "53200": ServerOutOfMemory,  # a transaction that needs too many locks would need them again
    "55P03": RetryableError,  # a lock was not to be had in time
    "55006": RetryableError,  # object in use
    "57014": TimeoutExceeded,  # cancelled by statement_timeout, or by a person
    "57P01": RetryableError,  # the server is shutting down
    "57P02": RetryableError,  # … after a crash
    "57P03": RetryableError,  # … or is not up yet
    "57P05": RetryableError,  # the session was idle for too long
    "25P03": RetryableError,  # … within a transaction
    "MDS04": RetryableError,  # rows of this time are kept in files: another attempt knows it
    "MDS03": RetryableError,  # rows are being brought back from files
    "25P04": TimeoutExceeded,  # the transaction took too long
}


def mapped(error: Exception) -> MDSOperationalError:
    """Ours for one of psycopg's or of its pool's, which is its cause. The text is the server's own."""
    ours = _mapped(error)
    ours.__cause__ = error
    return ours


def _mapped(error: Exception) -> MDSOperationalError:
    import psycopg
    from psycopg_pool import PoolClosed, PoolTimeout, TooManyRequests

    if isinstance(error, PoolTimeout | TooManyRequests):
        return TimeoutExceeded(f"no connection was free in time: {error}")
    if isinstance(error, PoolClosed):
        return MDSOperationalError("the client is closed")
    sqlstate = error.sqlstate if isinstance(error, psycopg.Error) else None
    text = str(error).strip() or type(error).__name__
    if sqlstate is None:
        # libpq gives no code where the conversation itself failed.
        lost = isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
        return (RetryableError if lost else MDSOperationalError)(text)
    kind = BY_SQLSTATE.get(sqlstate) or BY_SQLSTATE.get(sqlstate[:2]) or MDSOperationalError
    if kind is SchemaMismatch:
        text += "\nthe database is not migrated, or by another release: run datastore migrate"
    if kind is ServerOutOfMemory:
        text += (
            "\nthe server has no room for what this call needs, such as a lock for each chunk: write or read a shorter"
            " time range at once, hand over rows as a generator with a smaller chunk_rows, or raise the server's"
            " max_locks_per_transaction"
        )
    return kind(text, sqlstate=sqlstate)


@contextmanager
def mapping() -> Iterator[None]:
    """Raise ours for whatever of psycopg's is raised within."""
    import psycopg
    from psycopg_pool import PoolClosed, PoolTimeout, TooManyRequests

    try:
        yield
    except (psycopg.Error, PoolClosed, PoolTimeout, TooManyRequests) as error:
        raise mapped(error) from error


def reason(error: "ValidationError") -> str:
    """What is wrong with a row, field by field, in one line."""
    said = []
    for problem in error.errors(include_url=False, include_context=False):
        where = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        given = problem["input"]
        if problem["type"] == "extra_forbidden":
            message += "; extra='ignore' leaves it out"
        if problem["type"] == "missing" or not where:
            said.append(f"{where}: {message}" if where else message)
        else:
            said.append(f"{where}: {message} (got {str(given)[:60]!r})")
    return "; ".join(said)
