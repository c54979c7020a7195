"""Run a user's own SQL statements, each in a transaction of the tenant, like every call of the client.

The command is in `mds_client.commands.sql`. The client's statements are in `mds_client.sql`.
"""

import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Self

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from mds_client import sql
from mds_client.config import Config
from mds_client.errors import MDSOperationalError, mapping
from mds_client.output.sheets import Record, Sheet
from mds_client.rls import dsn_with_tenant, tenant_of_dsn

BATCH_ROWS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of a statement: a sheet and its rows, which are read lazily; or `done`, the command's status."""

    sheet: Sheet | None
    rows: Iterator[list[Record]]
    done: str | None = None


class Statements:
    """A connection for the user's own statements as a tenant. Close it, or use it as a context manager.

    Raises ServerUnreachable or RetryableError if no connection can be made.
    """

    def __init__(self, config: Config) -> None:
        self._timeout = str(config.statement_timeout_ms)
        self._tenant = config.tenant_id or tenant_of_dsn(config.dsn)
        with mapping():
            self._connection = psycopg.connect(config.dsn, **config.connection(), autocommit=True)
            self._connection.execute(sql.CONFIGURE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    @contextmanager
    def run(self, statement: str) -> Iterator[Answer]:
        """Run one statement in a transaction, which is committed at the end of the block.

        Args:
            statement: One SQL statement. Times are returned in UTC. A `numeric` is an int or a float.

        Raises:
            RLSDenied: The server refuses the tenant.
            MDSOperationalError: The server refuses the statement; the transaction is rolled back.
        """
        connection = self._connection
        with mapping():
            connection.execute(sql.BEGIN)
            try:
                connection.execute(sql.OPEN_AS, (self._tenant, self._timeout, None))
            except psycopg.Error:
                connection.rollback()
                raise
        rows: Iterator[list[Record]] = iter(())
        try:
            answer = self._answer(statement)
            rows = answer.rows
            yield answer
            connection.commit()
        except psycopg.Error as error:
            # It is the user's statement: a missing table does not mean that the schema is wrong.
            raise MDSOperationalError(str(error).strip(), sqlstate=error.sqlstate) from error
        finally:
            # Unread rows would keep the connection busy.
            if isinstance(rows, Generator):
                rows.close()
            if not connection.closed:
                connection.rollback()

    def _answer(self, statement: str) -> Answer:
        described = self._described(statement)
        if not described.nfields:
            done = self._connection.execute(statement.encode())
            return Answer(None, iter(()), done.statusmessage)
        names = _distinct([(described.fname(at) or b"").decode() for at in range(described.nfields)])
        oids = [described.ftype(at) for at in range(described.nfields)]

        def schema() -> Any:
            from mds_client.columns import arrow  # needs packages that the library itself does without

            return arrow.schema_of_oids(names, oids)

        return Answer(Sheet("rows", names, schema), self._rows(statement, names))

    def _described(self, statement: str) -> pq.abc.PGresult:
        """Parse a statement and return its columns, which are known even if there are no rows."""
        server = self._connection.pgconn
        for result in (server.prepare(b"", statement.encode()), described := server.describe_prepared(b"")):
            if result.status == pq.ExecStatus.FATAL_ERROR:
                raise psycopg.errors.error_from_result(result)
        return described

    def _rows(self, statement: str, names: tuple[str, ...]) -> Iterator[list[Record]]:
        rows: list[Record] = []
        for row in self._connection.cursor().stream(statement.encode(), size=BATCH_ROWS):
            rows.append(dict(zip(names, map(_value, row), strict=True)))
            if len(rows) == BATCH_ROWS:
                yield rows
                rows = []
        if rows:
            yield rows


def _value(value: Any) -> Any:
    if isinstance(value, Decimal) and value.is_finite():
        return int(value) if value == value.to_integral_value() else float(value)
    return value


def _distinct(names: list[str]) -> tuple[str, ...]:
    """Make column names unique: the second `x` becomes `x_2`."""
    taken: list[str] = []
    for name in names:
        count, distinct = 1, name
        while distinct in taken:
            count += 1
            distinct = f"{name}_{count}"
        taken.append(distinct)
    return tuple(taken)


def psql_settings(config: Config) -> tuple[dict[str, str], str] | None:
    """Return how to start psql as the tenant: its environment, and the part of the DSN for its command line.

    Passwords are only in the environment. None if psql cannot connect as the tenant: a secret setting has no variable,
    or a pooler does not accept the tenant in the DSN's options.
    """
    tenant = config.tenant_id or tenant_of_dsn(config.dsn)
    dsn = config.dsn if tenant is None else dsn_with_tenant(config.dsn, tenant)
    with mapping():
        psycopg.connect(config.dsn, **config.connection()).close()
    try:
        with psycopg.connect(dsn, **config.connection()) as connection:
            row = connection.execute(sql.USE_TENANT, (None,)).fetchone()
    except psycopg.OperationalError:
        return None
    if tenant is not None and (row is None or str(row[0]) != tenant):
        return None
    known = {option.keyword.decode(): option for option in pq.Conninfo.get_defaults()}
    environment: dict[str, str] = {"PGAPPNAME": config.app_name}
    rest: dict[str, Any] = {}
    for name, value in conninfo_to_dict(dsn).items():
        option = known[name]
        if option.envvar is not None:
            environment[option.envvar.decode()] = str(value)
        elif option.dispchar == b"*":
            return None
        else:
            rest[name] = value
    return {**os.environ, **environment}, make_conninfo(**rest)
