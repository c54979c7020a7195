"""Ad-hoc SQL of a tenant: one SELECT, run as a temporary login that is bound to the tenant.

A session that could switch to another role would be unsafe: functions such as `query_to_xml` run further SQL, and
`set_config` changes role and tenant within a statement. So each query has its own login. It is a member of the
application's role, is bound to the tenant like any bound login, and is dropped afterwards.
"""

import logging
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import psycopg
from psycopg import errors
from psycopg.conninfo import make_conninfo
from psycopg.pq import ExecStatus
from psycopg.sql import SQL, Identifier, Literal

from datastore import tenants
from datastore.connections import connect, limited
from datastore.errors import ControlError

logger = logging.getLogger("datastore")

SECONDS: Final = 10.0
"""The default time limit of a query, in seconds."""

ROWS: Final = 1_000
"""The default largest number of rows of a result."""

LONGEST: Final = 2_000
"""The largest number of characters of a value. The server cuts longer ones, so that they do not fill the memory."""

PREFIX: Final = "mds_query_"
"""The prefix of the logins' names."""

_LIVES_S: Final = 120
_ENDS_S: Final = 5.0


class QueryError(ControlError):
    """A query cannot be run; the message says why."""


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a query: the names and types of its columns, its rows as text (None is NULL), whether there are
    more, and how many seconds it took."""

    columns: list[tuple[str, str]]
    rows: list[tuple[str | None, ...]]
    more: bool
    seconds: float


def query(dsn: str, tenant: UUID, statement: str, *, rows: int = ROWS, seconds: float = SECONDS) -> Result:
    """Run one SELECT as a tenant, in a transaction that cannot write.

    Args:
        dsn: The control plane's DSN. Its role must be able to create roles.
        tenant: The tenant whose rows are visible.
        statement: The SELECT, or VALUES, TABLE or WITH. It may end with a semicolon.
        rows: The largest number of rows to return.
        seconds: The time limit, in seconds.

    Raises:
        QueryError: It is not such a statement, has an error, or takes too long; or no login can be created for it.
        UnknownTenant: There is no such tenant.
    """
    text = statement.strip().rstrip(";").rstrip()
    if not text or "\0" in text:
        raise QueryError("there is no statement")
    with _login(dsn, tenant) as own, limited(seconds):
        try:
            with connect(own) as connection:
                connection.read_only = True
                return _run(connection, text, rows)
        except errors.QueryCanceled as error:
            raise QueryError(f"the query took longer than {seconds:g} s") from error
        except psycopg.Error as error:
            raise QueryError(error.diag.message_primary or "the database cannot be reached") from error


def _run(connection: psycopg.Connection[Any], text: str, rows: int) -> Result:
    connection.execute("SELECT set_config('TimeZone', 'UTC', true), set_config('lock_timeout', '2s', true)")
    columns = _columns(connection, text)
    names = [f"c{number}" for number in range(len(columns))]
    # The statement was prepared alone just now, so it is complete and the parentheses enclose all of it.
    wrapped = (
        f"SELECT {', '.join(f'left({name}::text, {LONGEST})' for name in names)}"  # noqa: S608
        f" FROM (\n{text}\n) AS query({', '.join(names)}) LIMIT {int(rows) + 1}"
    )
    began = time.perf_counter()
    # Prepared, so that the server accepts only one statement.
    found = connection.execute(wrapped.encode(), prepare=True).fetchall()
    return Result(columns, found[:rows], len(found) > rows, time.perf_counter() - began)


def _columns(connection: psycopg.Connection[Any], text: str) -> list[tuple[str, str]]:
    """Return the names and types of a statement's result columns. Raises QueryError if it returns none."""
    for result in (connection.pgconn.prepare(b"", text.encode()), connection.pgconn.describe_prepared(b"")):
        if result.status != ExecStatus.COMMAND_OK:
            raise errors.error_from_result(result)
    if not result.nfields:
        raise QueryError("the statement returns no columns: write a SELECT")
    types = [result.ftype(at) for at in range(result.nfields)]
    named = connection.execute(
        "SELECT format_type(t.oid, NULL) FROM unnest(%s::oid[]) WITH ORDINALITY AS t(oid, n) ORDER BY n", (types,)
    ).fetchall()
    return [((result.fname(at) or b"").decode(), name) for at, (name,) in enumerate(named)]


@contextmanager
def _login(dsn: str, tenant: UUID) -> Iterator[str]:
    """Create a login that is bound to the tenant, and yield its DSN. It is dropped at the end, or by the next query."""
    role, password = PREFIX + secrets.token_hex(8), secrets.token_urlsafe(24)
    with connect(dsn, autocommit=True) as control:
        _sweep(dsn, control)
        # Hash the password here, because statements may be logged.
        secret = control.pgconn.encrypt_password(password.encode(), role.encode())
        until = control.execute("SELECT (clock_timestamp() + make_interval(secs => %s))::text", (_LIVES_S,)).fetchone()
        assert until is not None
        made = SQL("CREATE ROLE {} LOGIN PASSWORD {} VALID UNTIL {}")
        try:
            control.execute(made.format(Identifier(role), Literal(secret.decode()), Literal(until[0])))
        except errors.InsufficientPrivilege as error:
            raise QueryError(
                "a query needs a temporary role, but the control plane's login may not create roles"
            ) from error
        try:
            tenants.bind_role(dsn, str(tenant), role, connections=1)
            yield make_conninfo(dsn, user=role, password=password, application_name="datastore-query")
        finally:
            _drop(dsn, control, str(tenant), role)


def _drop(dsn: str, control: psycopg.Connection[Any], tenant: str | None, role: str) -> None:
    """Drop a login as soon as its session has ended."""
    until = time.monotonic() + _ENDS_S
    while True:
        try:
            bound = control.execute("SELECT FROM store.tenant_roles WHERE role = %s", (role,)).rowcount
            if bound and tenant is not None:
                tenants.unbind_role(dsn, tenant, role)
            break
        except tenants.OpenSessions:
            if time.monotonic() > until:
                logger.warning("the login %s of a query is still in use: a later query drops it", role)
                return
            # A session ends some milliseconds after its client has gone, without a notification.
            time.sleep(0.02)
    control.execute(SQL("DROP ROLE {}").format(Identifier(role)))


def _sweep(dsn: str, control: psycopg.Connection[Any]) -> None:
    """Drop the logins of queries whose process was killed, whether or not they were bound."""
    found = control.execute(
        "SELECT r.rolname, t.id::text FROM pg_roles AS r LEFT JOIN store.tenant_roles AS b ON b.role = r.rolname"
        " LEFT JOIN store.tenants AS t ON t.no = b.tenant_no"
        " WHERE starts_with(r.rolname, %s) AND r.rolvaliduntil < now()",
        (PREFIX,),
    ).fetchall()
    for role, tenant in found:
        try:
            _drop(dsn, control, tenant, role)
        except (psycopg.Error, ControlError):
            # Another query may be dropping it now, or it belongs to another store of this server. This must not stop
            # the caller's own query.
            logger.warning("the login %s of an earlier query cannot be dropped", role, exc_info=True)
