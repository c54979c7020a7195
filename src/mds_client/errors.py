"""The library's exceptions, and the table that maps PostgreSQL's errors to them.

Every psycopg error that leaves the library is one of these, with the original as `__cause__`. Whether a call can be
retried is a property of the class. The driver is imported only where one of its errors is examined: programs that only
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
    "SeriesConflict",
    "ServerUnreachable",
    "TimeoutExceeded",
    "UnknownSeries",
]


class MDSError(Exception):
    """The base class of all errors that this library raises."""


class ConfigurationError(MDSError, ValueError):
    """A setting or an argument is wrong; nothing was sent."""


class InvalidRow(MDSError, ValueError):
    """A row is invalid for its kind; nothing was sent. The message names the row, the field and the reason.

    `index` is the position of the row in the input, from 0.
    """

    def __init__(self, message: str, *, index: int | None = None) -> None:
        super().__init__(message)
        self.index = index


class UnknownSeries(MDSError, LookupError):
    """A requested series does not exist. The message names it, and similar series that exist."""


class SeriesConflict(MDSError):
    """Series cannot be renamed because of what exists. The message says why, and what to do first."""


class MDSOperationalError(MDSError):
    """The server refused, or could not be reached. `sqlstate` is PostgreSQL's code, if there is one."""

    def __init__(self, message: str, *, sqlstate: str | None = None) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


class RetryableError(MDSOperationalError):
    """A transient error: connection lost, deadlock, serialization failure. The same call can succeed later."""

    @property
    def lost_connection(self) -> bool:
        """Whether the connection is lost, and so perhaps are all others to that server."""
        return self.sqlstate is None or self.sqlstate[:3] == "57P" or self.sqlstate[:2] == "08"


class ServerUnreachable(RetryableError):
    """No connection could be made within `connect_timeout`, and the server does not answer.

    The client does not retry, because it has already waited that long. A later call may succeed.
    """


class CommitUnknown(MDSOperationalError):
    """The connection broke during a commit: the transaction may or may not be committed.

    Raised only for calls that are not idempotent. Upserts are idempotent and are retried.
    """


class ConstraintViolation(MDSOperationalError):
    """A constraint of the database refused the data."""


class IdempotencyConflict(ConstraintViolation):
    """A different job with that idempotency key already exists."""


class RLSDenied(MDSOperationalError):
    """The tenant has no access to the row or the relation, or no tenant is set."""


class TimeoutExceeded(MDSOperationalError):
    """A statement, or waiting for a connection, took longer than its limit."""


class ServerOutOfMemory(MDSOperationalError):
    """The server has not enough memory or lock slots for a call. The same call would fail again."""


class SchemaMismatch(MDSOperationalError):
    """The database lacks objects that this release needs: it is not migrated, or by another release."""


BY_SQLSTATE: Final[dict[str, type[MDSOperationalError]]] = {
    # error classes, by their first two characters
    "08": RetryableError,  # connection
    "40": RetryableError,  # rollback: serialisation failure, deadlock
    "53": RetryableError,  # out of connections or disk, until others free some
    "23": ConstraintViolation,
    # single codes, which take precedence over their class
    "25006": RetryableError,  # read-only: a standby just before or after it is promoted
    "40002": ConstraintViolation,
    "42501": RLSDenied,  # insufficient privilege
    "44000": RLSDenied,  # WITH CHECK OPTION: the row would not be the tenant's
    "42P01": SchemaMismatch,  # no such table
    "42703": SchemaMismatch,  # no such column
    "42883": SchemaMismatch,  # no such function
    "3F000": SchemaMismatch,  # no such schema
    "53200": ServerOutOfMemory,  # a transaction that needs too many locks would need them again
    "55P03": RetryableError,  # a lock was not available in time
    "55006": RetryableError,  # object in use
    "57014": TimeoutExceeded,  # cancelled by statement_timeout, or by a person
    "57P01": RetryableError,  # the server is shutting down
    "57P02": RetryableError,  # … after a crash
    "57P03": RetryableError,  # … or is not up yet
    "57P05": RetryableError,  # the session was idle for too long
    "25P03": RetryableError,  # … within a transaction
    "MDS04": RetryableError,  # rows of this time are kept in files: the next attempt takes that into account
    "MDS03": RetryableError,  # rows are being brought back from files
    "MDS05": RetryableError,  # the client spells symbols by an old declaration
    "25P04": TimeoutExceeded,  # the transaction took too long
}


def mapped(error: Exception) -> MDSOperationalError:
    """Return the library's error for one of psycopg or its pool, which becomes its cause. Keeps the server's text."""
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
        # libpq gives no code if the connection itself failed.
        lost = isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
        return (RetryableError if lost else MDSOperationalError)(text)
    kind = BY_SQLSTATE.get(sqlstate) or BY_SQLSTATE.get(sqlstate[:2]) or MDSOperationalError
    if kind is SchemaMismatch:
        text += "\nthe database is not migrated, or was migrated by another release: run datastore migrate"
    if kind is ServerOutOfMemory:
        text += (
            "\nthe server has no room for what this call needs, such as a lock for each chunk: write or read a shorter"
            " time range at once, hand over rows as a generator with a smaller chunk_rows, or raise the server's"
            " max_locks_per_transaction"
        )
    return kind(text, sqlstate=sqlstate)


@contextmanager
def mapping() -> Iterator[None]:
    """Context manager that raises the library's errors in place of psycopg's."""
    import psycopg
    from psycopg_pool import PoolClosed, PoolTimeout, TooManyRequests

    try:
        yield
    except (psycopg.Error, PoolClosed, PoolTimeout, TooManyRequests) as error:
        raise mapped(error) from error


def reason(error: "ValidationError", more_choices: str = "") -> str:
    """Return one line that says what is wrong with a row, field by field, and after an unknown field `more_choices`."""
    said = []
    for problem in error.errors(include_url=False, include_context=False):
        where = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        given = problem["input"]
        if problem["type"] == "extra_forbidden":
            message += f"; extra='ignore' leaves it out{more_choices}"
        if problem["type"] == "missing" or not where:
            said.append(f"{where}: {message}" if where else message)
        else:
            said.append(f"{where}: {message} (got {str(given)[:60]!r})")
    return "; ".join(said)
