"""The building blocks of all statements, and the statements that begin and end a transaction."""

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from psycopg.sql import SQL, Composable, Identifier, Literal

from mds_client.layout import MEAN_VALUES, MEAN_WEIGHTS
from mds_client.schema import DEFAULTS, SERIES_COLUMNS, Column, Kind

Statement = bytes

OPEN_AS: Final[Statement] = (
    b"SELECT mds.use_tenant(%s), set_config('statement_timeout', %s, true), mds.spells_as(%s::text[])"
)
"""The first statement of a transaction, which sets the tenant and the statement timeout.

Both end with the transaction, so that nothing stays on a pooled connection. Returns the tenant, or NULL.

The last parameter are the vendors whose symbols the client takes for case-sensitive, sorted. If they are others, the
server refuses the transaction (SPELLING), because the client would write and read other names. NULL asks for no check.
"""

SPELLING: Final = "MDS05"
"""The SQLSTATE if the client does not know which vendors' symbols are case-sensitive."""

CASE_SENSITIVE: Final[Statement] = b"SELECT vendor FROM mds.case_sensitive_vendors"
"""Returns the vendors whose symbols are case-sensitive."""

OPEN: Final[Statement] = b"SELECT set_config('statement_timeout', %s, true)"
"""The first statement of a transaction that must also work on a database that is not migrated."""

BEGIN: Final[Statement] = b"BEGIN"
"""Begins a transaction of several round trips."""

BEGIN_SNAPSHOT: Final[Statement] = b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
"""Begins a transaction whose statements all see the same rows."""

EXPORT_SNAPSHOT: Final[Statement] = b"SELECT pg_export_snapshot()"
"""Returns a name with which other transactions can see the same rows, until this one ends."""


def set_snapshot(name: str) -> Statement:
    """Use the snapshot of another transaction. Must come before any query."""
    return text(SQL("SET TRANSACTION SNAPSHOT {}").format(Literal(name)))


COMMIT: Final[Statement] = b"COMMIT"
"""Ends a transaction, in the same round trip as the statements that it commits."""

CONFIGURE: Final[Statement] = b"SET TimeZone TO 'UTC'"
"""Sent once for each connection, so that times are returned in UTC. Transaction-mode poolers track this setting."""

USE_TENANT: Final[Statement] = b"SELECT mds.use_tenant(%s)"
"""Sets the tenant until the transaction ends."""

SCHEMA_VERSION: Final[Statement] = b"SELECT mds.schema_version()"
"""Returns the version of the newest applied migration."""

HAS_SCHEMA: Final[Statement] = b"SELECT to_regproc('mds.use_tenant') IS NOT NULL"
"""Returns whether the database is migrated."""

IDENTITY: Final[Statement] = b"""
SELECT (SELECT system_identifier FROM pg_catalog.pg_control_system())::text,
       (SELECT timeline_id FROM pg_catalog.pg_control_checkpoint())::text,
       (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())::text
"""
"""Returns what identifies the database: a restored copy has another system identifier or another timeline."""

SERVER: Final[Statement] = b"""
SELECT current_setting('server_version'), session_user::text, current_database()::text,
       (SELECT extversion FROM pg_catalog.pg_extension WHERE extname = 'timescaledb'),
       current_setting('timescaledb.license', true)
"""
"""Returns the server's version, the role, the database, and the version and license of TimescaleDB, if installed."""


def names(columns: tuple[str, ...]) -> Composable:
    """Return column names as a comma-separated list."""
    return SQL(", ").join(map(Identifier, columns))


def arrays(types: Iterable[str]) -> Composable:
    """Return a binary array parameter for each of these types."""
    return SQL(", ").join(SQL("%b::{}[]").format(SQL(type_)) for type_ in types)


def text(statement: Composable) -> Statement:
    return statement.as_bytes(None)


MEANT: Final = SQL("mds.is_tenant(%s)")
"""A condition with the intended tenant as the statement's last parameter.

It is evaluated once for each statement. The server refuses the statement (44000) if the current tenant differs: should
a statement run outside the transaction that has set the tenant, it cannot read or write rows of another tenant.
"""


COLD: Final = "MDS04"
"""The SQLSTATE for rows of a time that is kept in files."""

MOVING: Final = "MDS03"
"""The SQLSTATE while rows are being brought back from files. The call can be retried."""


def hot(kind: Kind) -> Composable:
    """Return MEANT for a statement that reads rows. The parameters are those of `hot_since`.

    If old rows are kept in files, the server refuses a statement that reads rows from before the fence (COLD), because
    it would look as if there were none.
    """
    return SQL("mds.is_hot(%s, {}, %s)").format(Literal(kind.name)) if kind.cold else MEANT


def hot_since(kind: Kind, tenant: str | None, since: datetime | None) -> tuple[object, ...]:
    """Return the parameters of `hot`: the tenant, and the oldest time that is read, or None if files are read, too."""
    return (tenant, since) if kind.cold else (tenant,)


def stored_columns(kind: Kind) -> tuple[Column, ...]:
    """Return the columns of a narrow row, as in a batch."""
    return (Column("series_id", "bigint", nullable=False), *kind.narrow)


def table_columns(kind: Kind) -> tuple[str, ...]:
    """Return the columns of a kind's table and of its views in `mds`, in order."""
    return ("series_id", *(column.name for column in kind.in_table))


def amount(column: Column) -> Composable:
    """Return the expression for an amount, which is stored in two columns."""
    return SQL("({} + coalesce({}, 0::double precision))").format(Identifier(column.name), Identifier(column.fraction))


def named(kind: Kind, operator: Composable) -> Composable:
    """Compare the series columns of a kind with parameters. Columns that the kind does not use must be NULL."""
    return SQL(" AND ").join(
        SQL("{} {}").format(Identifier(name), operator if name in kind.series else SQL("IS NULL"))
        for name in SERIES_COLUMNS
        if name in kind.searched or name not in kind.series
    )


def series_name(kind: Kind, table: str | None = None) -> Composable:
    """Select the parts of a series' name that a kind uses, with their defaults, from the series table."""

    def of(name: str) -> Composable:
        return Identifier(table, name) if table else Identifier(name)

    return SQL(", ").join(
        SQL("coalesce({}, {}) AS {}").format(of(name), of(DEFAULTS[name]), Identifier(name))
        if name in DEFAULTS
        else of(name)
        for name in kind.series
    )


def selected(kind: Kind, columns: tuple[str, ...] | None = None) -> Composable:
    """Select these stored columns of a kind, or all, as in the models: a uuid is text, and an amount is one number.
    JSON is text, too."""
    return SQL(", ").join(
        SQL("{}::text").format(number(column)) if column.type == "uuid" else number(column)
        for column in (kind.columns if columns is None else map(kind.column, columns))
    )


def weight(kind: Kind, column: Column, *, of_rows: bool) -> Composable:
    """Return the weight of a value in a mean: a row's amount, or in a rollup the sum of its rows' amounts.

    Values and weights outside of `MEAN_VALUES` and `MEAN_WEIGHTS` do not count.
    """
    if not of_rows:
        return Identifier(column.weights)
    assert kind.weight is not None
    return SQL(
        "CASE WHEN ({value} = 0 OR abs({value}) BETWEEN {values}) AND {weight} BETWEEN {weights} THEN {weight} END"
    ).format(
        value=Identifier(column.name),
        weight=amount(kind.column(kind.weight)),
        values=SQL(" AND ").join(map(Literal, MEAN_VALUES)),
        weights=SQL(" AND ").join(map(Literal, MEAN_WEIGHTS)),
    )


def mean(kind: Kind, column: Column, *, of_rows: bool) -> Composable:
    """Return the mean of a column weighted by an amount, or NULL if no value counts."""
    counts = weight(kind, column, of_rows=of_rows)
    return SQL("sum({0} * {1}) / sum({1})").format(Identifier(column.name), counts)


def by_symbols(arrays: int, *, of_rows: Kind | None = None) -> Composable:
    """Find rows by symbol: by one array, or by three, the second of which is for the vendors of the first.

    Args:
        arrays: The number of arrays.
        of_rows: The kind, for rows of a kind whose series have no symbol. Otherwise series are found.
    """
    if arrays == 1:
        return SQL("symbol = ANY(%b)")
    sensitive: Composable = SQL("vendor = ANY(%b::text[])")
    if of_rows is not None:
        found = SQL("SELECT array_agg(series_id) FROM mds.series WHERE kind = {} AND {}")
        # Evaluated once. Without such a series it is NULL, and no row is of one.
        sensitive = SQL("series_id = ANY(({})::bigint[])").format(found.format(Literal(of_rows.name), sensitive))
    return SQL("symbol = ANY(CASE WHEN {} THEN %b::text[] ELSE %b::text[] END)").format(sensitive)


def suspect(symbol: Composable) -> Composable:
    """Find symbols that may not be in upper case: with any character but those of ASCII without a to z.

    Only Python's rules decide: those of the database depend on its collation.
    """
    return SQL("""({} COLLATE "C" ~ '[^ -`{{-~]')""").format(symbol)


_WHOLE: Final = (Literal(-(2**63)), Literal(2**63 - 1))


def fitting(total: Composable) -> Composable:
    """Return a sum of integers as a bigint. A larger one, which no column can hold, is the largest bigint."""
    return SQL(
        "CASE WHEN {total} > {most} THEN {most} WHEN {total} < {least} THEN ({least})::bigint ELSE {total}::bigint END"
    ).format(total=total, least=_WHOLE[0], most=_WHOLE[1])


def total_parts(whole: Composable, fraction: Composable) -> tuple[Composable, Composable]:
    """Return the two columns of a summed amount. A whole part that is no bigint is added to the fraction instead."""
    fits = SQL("{} BETWEEN {} AND {}").format(whole, *_WHOLE)
    return (
        SQL("CASE WHEN {fits} THEN {whole}::bigint WHEN {whole} IS NOT NULL THEN 0 END").format(fits=fits, whole=whole),
        SQL(
            "CASE WHEN {whole} IS NULL OR {fits} THEN {fraction}"
            " ELSE {whole}::double precision + coalesce({fraction}, 0::double precision) END"
        ).format(fits=fits, whole=whole, fraction=fraction),
    )


def span(time: str) -> Composable:
    return SQL("{0} >= %s AND {0} < %s").format(Identifier(time))


def number(column: Column) -> Composable:
    """Return the expression for a column's value, which the table may keep in two columns, or in another type."""
    if column.apart:
        return SQL("coalesce({}, {})").format(Identifier(column.given), Identifier(column.name))
    if column.sent != column.type:
        return SQL("{}::{}").format(Identifier(column.name), SQL(column.sent))
    return amount(column) if column.amount else Identifier(column.name)
