"""Every error of the driver is one of this library's, by its SQLSTATE."""

import inspect
import pickle

import psycopg
import pytest
from psycopg import errors as theirs
from psycopg_pool import PoolClosed, PoolTimeout, TooManyRequests

import mds_client
from mds_client import errors, sql
from mds_client.errors import (
    BY_SQLSTATE,
    CommitUnknown,
    ConstraintViolation,
    MDSError,
    MDSOperationalError,
    RetryableError,
    RLSDenied,
    SchemaMismatch,
    ServerOutOfMemory,
    ServerUnreachable,
    TimeoutExceeded,
    mapped,
    mapping,
)

THEIRS = sorted(
    (
        found
        for found in vars(theirs).values()
        if inspect.isclass(found) and issubclass(found, psycopg.Error) and found.sqlstate
    ),
    key=lambda found: str(found.sqlstate),
)


@pytest.mark.parametrize(
    ("their", "our"),
    [
        (theirs.UniqueViolation, ConstraintViolation),
        (theirs.CheckViolation, ConstraintViolation),
        (theirs.NotNullViolation, ConstraintViolation),
        (theirs.ForeignKeyViolation, ConstraintViolation),
        (theirs.ExclusionViolation, ConstraintViolation),
        (theirs.TransactionIntegrityConstraintViolation, ConstraintViolation),
        (theirs.InsufficientPrivilege, RLSDenied),
        (theirs.WithCheckOptionViolation, RLSDenied),
        (theirs.UndefinedTable, SchemaMismatch),
        (theirs.UndefinedColumn, SchemaMismatch),
        (theirs.UndefinedFunction, SchemaMismatch),
        (theirs.InvalidSchemaName, SchemaMismatch),
        (theirs.DeadlockDetected, RetryableError),
        (theirs.SerializationFailure, RetryableError),
        (theirs.LockNotAvailable, RetryableError),
        (theirs.AdminShutdown, RetryableError),
        (theirs.CrashShutdown, RetryableError),
        (theirs.CannotConnectNow, RetryableError),
        (theirs.TooManyConnections, RetryableError),
        (theirs.DiskFull, RetryableError),
        (theirs.OutOfMemory, ServerOutOfMemory),
        (theirs.ConnectionException, RetryableError),
        (theirs.ReadOnlySqlTransaction, RetryableError),
        (theirs.QueryCanceled, TimeoutExceeded),
        (theirs.TransactionTimeout, TimeoutExceeded),
        (theirs.DivisionByZero, MDSOperationalError),
        (theirs.InvalidTextRepresentation, MDSOperationalError),
        (theirs.InvalidPassword, MDSOperationalError),
        (theirs.InternalError_, MDSOperationalError),
        (theirs.FeatureNotSupported, MDSOperationalError),
    ],
)
def test_each_sqlstate_maps_to_one_error_class(their: type[psycopg.Error], our: type[MDSOperationalError]) -> None:
    assert type(mapped(their("said"))) is our


def test_every_server_error_is_mapped_with_its_text_sqlstate_and_cause() -> None:
    assert len(THEIRS) > 200
    for their in THEIRS:
        error = their("what the server said")
        ours = mapped(error)
        assert isinstance(ours, MDSOperationalError), their
        assert str(ours).startswith("what the server said"), their
        assert (ours.sqlstate, ours.__cause__) == (their.sqlstate, error)
        assert not isinstance(ours, CommitUnknown | ServerUnreachable), their  # only the clients know these


def test_the_error_table_has_only_sqlstates_that_exist() -> None:
    # The store's own functions raise three of its own.
    known = {sql.COLD, sql.MOVING, sql.SPELLING, *(str(their.sqlstate) for their in THEIRS)}
    assert {code for code in BY_SQLSTATE if len(code) == 5} <= known
    assert {code for code in BY_SQLSTATE if len(code) != 5} <= {code[:2] for code in known}


@pytest.mark.parametrize("their", [psycopg.OperationalError, psycopg.InterfaceError])
def test_a_lost_connection_is_a_retryable_error(their: type[psycopg.Error]) -> None:
    ours = mapped(their("server closed the connection unexpectedly"))
    assert isinstance(ours, RetryableError)
    assert ours.lost_connection


@pytest.mark.parametrize("their", [psycopg.DataError, psycopg.ProgrammingError, psycopg.NotSupportedError])
def test_errors_raised_by_the_driver_are_not_retryable(their: type[psycopg.Error]) -> None:
    ours = mapped(their("cannot adapt"))
    assert (type(ours), ours.sqlstate, str(ours)) == (MDSOperationalError, None, "cannot adapt")


@pytest.mark.parametrize(
    ("their", "our", "text"),
    [
        (PoolTimeout("10 s"), TimeoutExceeded, "no connection was free in time: 10 s"),
        (TooManyRequests("9 waiting"), TimeoutExceeded, "no connection was free in time: 9 waiting"),
        (PoolClosed("closed"), MDSOperationalError, "the client is closed"),
    ],
)
def test_pool_errors_are_mapped_to_library_errors(their: Exception, our: type[MDSOperationalError], text: str) -> None:
    ours = mapped(their)
    assert (type(ours), str(ours), ours.__cause__) == (our, text, their)


@pytest.mark.parametrize(
    ("sqlstate", "lost"), [(None, True), ("57P01", True), ("08006", True), ("40P01", False), ("55P03", False)]
)
def test_the_sqlstate_tells_whether_the_connection_was_lost(sqlstate: str | None, lost: bool) -> None:
    assert RetryableError("x", sqlstate=sqlstate).lost_connection is lost


def test_an_error_of_an_unmigrated_database_says_what_to_do() -> None:
    assert "run datastore migrate" in str(mapped(theirs.UndefinedTable('relation "mds.bars" does not exist')))


def test_an_error_without_a_message_shows_its_class_name() -> None:
    assert str(mapped(theirs.DeadlockDetected())) == "DeadlockDetected"


def test_errors_of_other_origin_are_not_mapped() -> None:
    with pytest.raises(KeyError), mapping():
        raise KeyError
    with pytest.raises(RetryableError) as caught, mapping():
        raise theirs.DeadlockDetected("deadlock")
    assert isinstance(caught.value.__cause__, theirs.DeadlockDetected)


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_is_exported_and_is_a_subclass_of_mds_error(name: str) -> None:
    assert getattr(mds_client, name) is getattr(errors, name)
    assert issubclass(getattr(errors, name), MDSError)


def test_an_error_survives_being_sent_to_another_process() -> None:
    ours = pickle.loads(pickle.dumps(mapped(theirs.DeadlockDetected("deadlock"))))
    assert (type(ours), str(ours), ours.sqlstate) == (RetryableError, "deadlock", "40P01")
