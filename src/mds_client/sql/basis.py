"""What all statements are made of, and those that begin and end a conversation with the server."""

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from psycopg.sql import SQL, Composable, Identifier, Literal

from mds_client.schema import DEFAULTS, SERIES_COLUMNS, Column, Kind

Statement = bytes

OPEN_AS: Final[Statement] = b"SELECT mds.use_tenant(%s), set_config('statement_timeout', %s, true)"
"""The first statement of a transaction: whose it is, and how long a statement may take.

Both end with the transaction, so that nothing stays on a pooled connection. Gives the tenant, or NULL.
"""

OPEN: Final[Statement] = b"SELECT set_config('statement_timeout', %s, true)"
"""The same for what has to work on a database that is not migrated."""

BEGIN: Final[Statement] = b"BEGIN"
"""The beginning of a transaction of several round trips."""

BEGIN_SNAPSHOT: Final[Statement] = b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
"""The beginning of a transaction whose statements all see the same rows."""

EXPORT_SNAPSHOT: Final[Statement] = b"SELECT pg_export_snapshot()"
"""The name by which other transactions can see the same rows, until this one ends."""


def set_snapshot(name: str) -> Statement:
    """See the rows that another transaction sees; before any query of this one."""
    return text(SQL("SET TRANSACTION SNAPSHOT {}").format(Literal(name)))


COMMIT: Final[Statement] = b"COMMIT"
"""The end of a transaction, in the same round trip as what it commits."""

CONFIGURE: Final[Statement] = b"SET TimeZone TO 'UTC'"
"""Once a connection: times come back in UTC. A setting that transaction-mode poolers keep track of themselves."""

USE_TENANT: Final[Statement] = b"SELECT mds.use_tenant(%s)"
"""Be a tenant until the transaction ends."""

SCHEMA_VERSION: Final[Statement] = b"SELECT mds.schema_version()"
"""The version of the newest migration that ran."""

HAS_SCHEMA: Final[Statement] = b"SELECT to_regproc('mds.use_tenant') IS NOT NULL"
"""Whether the database is migrated at all."""

SERVER: Final[Statement] = b"""
SELECT current_setting('server_version'), session_user::text, current_database()::text,
       (SELECT extversion FROM pg_catalog.pg_extension WHERE extname = 'timescaledb'),
       current_setting('timescaledb.license', true)
"""
"""What the server is: version, role, database, and TimescaleDB's version and licence where it is there."""


def names(columns: tuple[str, ...]) -> Composable:
    """Column names as a list."""
    return SQL(", ").join(map(Identifier, columns))


def arrays(types: Iterable[str]) -> Composable:
    """A parameter for each of these types: an array of it, in binary."""
    return SQL(", ").join(SQL("%b::{}[]").format(SQL(type_)) for type_ in types)


def text(statement: Composable) -> Statement:
    return statement.as_bytes(None)


MEANT: Final = SQL("mds.is_tenant(%s)")
"""The condition that a statement carries, with the tenant that it is meant for as its last parameter.

Asked once a statement. The server refuses the statement (44000) if its tenant is another one: should a statement ever
run outside of the transaction that has set the tenant, it neither reads nor writes anything of another tenant.
"""


COLD: Final = "MDS04"
"""The SQLSTATE by which the server says that rows of this time are kept in files."""

MOVING: Final = "MDS03"
"""The SQLSTATE by which the server says that rows are being brought back from files: try again."""


def hot(kind: Kind) -> Composable:
    """The same as MEANT for a statement that reads rows; its parameters are those of `hot_since`.

    Where old rows are kept in files, the server refuses a statement that would read rows from before the fence (COLD):
    it must not look as if there were none.
    """
    return SQL("mds.is_hot(%s, {}, %s)").format(Literal(kind.name)) if kind.cold else MEANT


def hot_since(kind: Kind, tenant: str | None, since: datetime | None) -> tuple[object, ...]:
    """The parameters of `hot`: the tenant, and the oldest time that is read. None: the files are read, too."""
    return (tenant, since) if kind.cold else (tenant,)


def stored_columns(kind: Kind) -> tuple[Column, ...]:
    """The columns of a narrow row, which a batch is made of."""
    return (Column("series_id", "bigint", nullable=False), *kind.narrow)


def table_columns(kind: Kind) -> tuple[str, ...]:
    """The columns of a kind's table and of its views in `mds`, in their order."""
    return ("series_id", *(column.name for column in kind.in_table))


def amount(column: Column) -> Composable:
    """The number that is stored in two columns."""
    return SQL("({} + coalesce({}, 0::double precision))").format(Identifier(column.name), Identifier(column.fraction))


def named(kind: Kind, operator: Composable) -> Composable:
    """The series columns of a kind compared with parameters; those that it does not use are NULL."""
    return SQL(" AND ").join(
        SQL("{} {}").format(Identifier(name), operator if name in kind.series else SQL("IS NULL"))
        for name in SERIES_COLUMNS
        if name in kind.searched or name not in kind.series
    )


def series_name(kind: Kind, table: str | None = None) -> Composable:
    """The parts of a series' name that a kind uses, of the series table, as clients have them."""

    def of(name: str) -> Composable:
        return Identifier(table, name) if table else Identifier(name)

    return SQL(", ").join(
        SQL("coalesce({}, {}) AS {}").format(of(name), of(DEFAULTS[name]), Identifier(name))
        if name in DEFAULTS
        else of(name)
        for name in kind.series
    )


def selected(kind: Kind, columns: tuple[str, ...] | None = None) -> Composable:
    """These stored columns of a kind, or all, as the models have them: a uuid is text, and an amount is one number."""
    return SQL(", ").join(
        SQL("{}::text").format(number(column)) if column.type == "uuid" else number(column)
        for column in (kind.columns if columns is None else map(kind.column, columns))
    )


def weight(kind: Kind, column: Column, *, of_rows: bool) -> Composable:
    """What a value counts in a mean: a row's amount, or in a rollup the sum of those that it is made of.

    A value does not count, so that it cannot stop the computation for everybody by an overflow, if it is too large or
    too small to be multiplied.
    """
    if not of_rows:
        return Identifier(column.weights)
    assert kind.weight is not None
    return SQL(
        "CASE WHEN ({value} = 0 OR abs({value}) BETWEEN 1e-30 AND 1e100) AND {weight} BETWEEN 1e-15 AND 1e19"
        " THEN {weight} END"
    ).format(value=Identifier(column.name), weight=amount(kind.column(kind.weight)))


def mean(kind: Kind, column: Column, *, of_rows: bool) -> Composable:
    """The mean of a column weighted by an amount; NULL where nothing counts."""
    counts = weight(kind, column, of_rows=of_rows)
    return SQL("sum({0} * {1}) / sum({1})").format(Identifier(column.name), counts)


def span(time: str) -> Composable:
    return SQL("{0} >= %s AND {0} < %s").format(Identifier(time))


def number(column: Column) -> Composable:
    """The value of a column as clients have it, of a table that may keep it in two."""
    if column.apart:
        return SQL("coalesce({}, {})").format(Identifier(column.given), Identifier(column.name))
    return amount(column) if column.amount else Identifier(column.name)
