"""Views that applications read."""

import inspect
from collections.abc import Iterable
from typing import Final

from psycopg.sql import SQL, Composable, Identifier, Literal

from datastore import aggregates
from datastore.engines import Engine
from datastore.names import STORE
from datastore.schema.declared import (
    STORE_SCHEMA,
    Comments,
    DatabaseObject,
    column_list,
    mine,
    own_series,
    view_object,
)
from mds_client import sql
from mds_client.models import Job, LatestPrice, Series
from mds_client.schema import SERIES_COLUMNS, TENANT_COLUMN, Column, Kind, Rollup, described

_OWN_TENANT: Final = "The tenant of the session."


def tenants_view() -> DatabaseObject:
    """Return the view of the transaction's tenant."""
    body = SQL("SELECT id, name, created_at FROM {}.tenants WHERE no = (SELECT {}.tenant_no())").format(
        STORE_SCHEMA, STORE_SCHEMA
    )
    columns = {"id": _OWN_TENANT, "name": "The tenant's name.", "created_at": "When the tenant was created."}
    return view_object("public", "tenants", body, comments=Comments("The tenant of the session: one row.", columns))


def case_sensitive_vendors_view() -> DatabaseObject:
    """Return the view of the vendors whose symbols are case-sensitive, which are the same for every tenant."""
    body = SQL("SELECT vendor, declared_at FROM {}.case_sensitive_vendors").format(STORE_SCHEMA)
    columns = {"vendor": "The vendor.", "declared_at": "When the operator declared it."}
    about = "The vendors whose symbols are case-sensitive. Symbols of all others are in upper case."
    return view_object("mds", "case_sensitive_vendors", body, comments=Comments(about, columns))


def series_view() -> DatabaseObject:
    """Return the client's view of the tenant's series."""
    names = ("kind", *SERIES_COLUMNS)
    last = ("last_ts", "last_price", "last_price_ts")
    body = SQL("SELECT {} FROM {}.series WHERE {}").format(
        column_list(("series_id", *names, *last, "renames")), STORE_SCHEMA, own_series(Identifier("series_id"))
    )
    numbered = SQL("ALTER VIEW mds.series ALTER COLUMN series_id SET DEFAULT {}.next_series_id()").format(STORE_SCHEMA)
    return view_object(
        "mds",
        "series",
        body,
        writable=(f"INSERT ({', '.join(names)})", f"UPDATE ({', '.join(last)})"),
        extra=(numbered,),
    )


_LAST_PRICE_TS: Final = "When the bar begins that the newest close is from."


def public_series_view() -> DatabaseObject:
    """Return the view of the tenant's series, by name."""
    names = tuple(Series.model_fields)
    body = SQL("SELECT (SELECT {store}.current_tenant()) AS {tenant}, {names} FROM {store}.series WHERE {own}").format(
        store=STORE_SCHEMA,
        tenant=Identifier(TENANT_COLUMN),
        names=column_list((*names, "last_price_ts")),
        own=own_series(Identifier("series_id")),
    )
    about = (
        "Every series that there is: what stays the same over its rows, and its newest values. Reads no rows of a kind."
    )
    columns = {TENANT_COLUMN: _OWN_TENANT, **described(Series, names), "last_price_ts": _LAST_PRICE_TS}
    return view_object("public", "series", body, comments=Comments(about, columns))


def symbols_view() -> DatabaseObject:
    """Return the view of the tenant's symbols, each once for a kind and vendor."""
    names = ("kind", "vendor", "symbol")
    # In the order of the index of names, from which the symbols are read already sorted.
    body = SQL(
        "SELECT DISTINCT (SELECT {store}.current_tenant()) AS {tenant}, {names} FROM {store}.series"
        " WHERE {own} AND symbol IS NOT NULL"
    ).format(
        store=STORE_SCHEMA,
        tenant=Identifier(TENANT_COLUMN),
        names=column_list(names),
        own=own_series(Identifier("series_id")),
    )
    about = "Every symbol, once for a kind and a vendor. Reads no rows of a kind."
    columns = {
        TENANT_COLUMN: _OWN_TENANT,
        **described(Series, names),
        "symbol": described(LatestPrice, ("symbol",))["symbol"],
    }
    return view_object("public", "symbols", body, comments=Comments(about, columns))


def _plain(text: str | None) -> str:
    """Return a docstring on one line."""
    return " ".join(inspect.cleandoc(text or "").split())


def kind_view(kind: Kind) -> DatabaseObject:
    """Return the view of a kind's rows, by series id."""
    body = SQL("SELECT {} FROM {} WHERE {}").format(
        column_list(sql.table_columns(kind)),
        Identifier(STORE, kind.name),
        mine(Identifier("series_id")),
    )
    return view_object("mds", kind.name, body)


def public_view(kind: Kind) -> DatabaseObject:
    """Return the view of a kind's rows with the names of their series."""
    body = SQL(
        "SELECT {time}, (SELECT {store}.current_tenant()) AS {tenant}, {names}, {values}"
        " FROM {store}.series AS s JOIN {rows} AS r USING (series_id)"
        " WHERE s.kind = {kind} AND {own} AND {mine}"
    ).format(
        time=Identifier("r", kind.time),
        store=STORE_SCHEMA,
        tenant=Identifier(TENANT_COLUMN),
        names=sql.series_name(kind, "s"),
        values=SQL(", ").join(_public(column) for column in kind.columns if column.name != kind.time),
        rows=Identifier(STORE, kind.name),
        kind=Literal(kind.name),
        own=own_series(Identifier("s", "series_id")),
        mine=mine(Identifier("r", "series_id")),
    )
    return view_object("public", kind.relation, body, comments=_of_kind(kind, kind.column_names))


def _of_kind(kind: Kind, columns: Iterable[str], rollup: Rollup | None = None) -> Comments:
    """Return comments from the docstring of the kind's model and the descriptions of its fields."""
    about = _plain(kind.model.__doc__)
    if rollup is not None:
        about = f"{kind.name} of {rollup.timeframe}, made of those of {rollup.source}. {about}"
    said = described(kind.model, (*kind.series, *((kind.time,) if rollup else ()), *columns))
    return Comments(about, {TENANT_COLUMN: _OWN_TENANT, **said})


def _public(column: Column) -> Composable:
    """Return a column of the rows `r` for people: an amount is one number."""
    if column.apart:
        return SQL("coalesce(r.{}, r.{}) AS {}").format(
            Identifier(column.given), Identifier(column.name), Identifier(column.name)
        )
    if not column.amount:
        return Identifier("r", column.name)
    return SQL("(r.{0} + coalesce(r.{1}, 0::double precision)) AS {0}").format(
        Identifier(column.name), Identifier(column.fraction)
    )


def rollup_view(engine: Engine, kind: Kind, rollup: Rollup) -> DatabaseObject:
    """Return the view of a rollup, by series id."""
    name = aggregates.relation(kind, rollup)
    if engine.materialized():
        body = SQL("SELECT {} FROM {} WHERE {}").format(
            _rollup_columns(kind), Identifier(STORE, name), mine(Identifier("series_id"))
        )
    else:
        where = SQL(" WHERE {}").format(mine(Identifier("series_id")))
        body = SQL("SELECT {} FROM ({}) AS r").format(
            _rollup_columns(kind), aggregates.select(engine, kind, rollup, kind.name, where)
        )
    return view_object("mds", name, body)


def _rollup_columns(kind: Kind) -> Composable:
    """Return a rollup's columns with the types of its source's: a sum of integers is an integer again."""
    values, fractions = [], []
    for name, how in kind.aggregates:
        column = kind.column(name)
        value: Composable = SQL("{}::{}").format(Identifier(name), SQL(column.type))
        if column.amount:
            # Sums are numeric, and can be larger than each column of the table.
            value, fraction = sql.total_parts(Identifier(name), Identifier(column.fraction))
            fractions.append(SQL("{} AS {}").format(fraction, Identifier(column.fraction)))
        elif how == "sum" and column.type == "bigint":
            value = sql.fitting(Identifier(name))
        values.append(SQL("{} AS {}").format(value, Identifier(name)))
    weights = [Identifier(column.weights) for column in kind.means]
    return SQL(", ").join([SQL("series_id"), Identifier(kind.time), *values, *fractions, *weights])


def public_rollup_view(engine: Engine, kind: Kind, rollup: Rollup) -> DatabaseObject:
    """Return the view of a rollup with the names of its series."""
    name = aggregates.relation(kind, rollup)
    # If the rollup is computed, do it one series at a time by its key, so that a query for one does not compute all.
    rows = SQL("LATERAL (SELECT * FROM mds.{} AS m WHERE m.series_id = s.series_id)").format(Identifier(name))
    if not engine.materialized():
        one = SQL(" WHERE series_id = s.series_id AND {}").format(mine(Identifier("series_id")))
        rows = SQL("LATERAL (SELECT {} FROM ({}) AS c)").format(
            _rollup_columns(kind), aggregates.select(engine, kind, rollup, kind.name, one)
        )
    body = SQL(
        "SELECT {time}, (SELECT {store}.current_tenant()) AS {tenant}, {names}, {timeframe} AS timeframe, {values}"
        " FROM {store}.series AS s CROSS JOIN {rows} AS r"
        " WHERE s.kind = {kind} AND s.timeframe = {base} AND {own}"
    ).format(
        time=Identifier("r", kind.time),
        store=STORE_SCHEMA,
        tenant=Identifier(TENANT_COLUMN),
        names=column_list(tuple(part for part in kind.series if part != "timeframe"), "s"),
        timeframe=SQL("{}::text").format(Literal(rollup.timeframe)),
        values=SQL(", ").join(_public(kind.column(name)) for name, _ in kind.aggregates),
        rows=rows,
        kind=Literal(kind.name),
        base=Literal(kind.base),
        own=own_series(Identifier("s", "series_id")),
    )
    columns = tuple(column for column, _ in kind.aggregates)
    return view_object("public", name, body, comments=_of_kind(kind, columns, rollup))


_JOB_COLUMNS: Final = (
    *("id", "idempotency_key", "job_type", "payload", "priority", "state", "attempts"),
    *("created_at", "due_at", "finished_at", "error"),
)
_JOB_PROGRESS: Final = ("max_attempts", "started_at", "done", "total", "result", "cancel_requested")
"""The view of a tenant's jobs with their progress and results. It does not show which worker runs a job."""


_JOB_MORE: Final = {
    "due_at": "The job is not begun before this time.",
    "max_attempts": "How often the job may be begun.",
    "started_at": "When the last attempt began.",
    "cancel_requested": "Whether the job is to be cancelled.",
}
"""Comments on the columns that are not fields of `Job`."""


def jobs_view() -> DatabaseObject:
    """Return the view of the tenant's jobs, through which the client enqueues."""
    body = SQL("SELECT {} FROM {}.jobs WHERE tenant_no = (SELECT {}.tenant_no())").format(
        column_list((*_JOB_COLUMNS, "tenant_no", *_JOB_PROGRESS)), STORE_SCHEMA, STORE_SCHEMA
    )
    numbered = SQL("ALTER VIEW mds.jobs ALTER COLUMN tenant_no SET DEFAULT {}.job_tenant()").format(STORE_SCHEMA)
    return view_object(
        "mds", "jobs", body, writable=("INSERT (idempotency_key, job_type, payload, priority)",), extra=(numbered,)
    )


def public_jobs_view() -> DatabaseObject:
    """Return the view of the tenant's jobs for reading."""
    body = SQL("SELECT (SELECT {}.current_tenant()) AS {}, {} FROM mds.jobs").format(
        STORE_SCHEMA, Identifier(TENANT_COLUMN), column_list((*_JOB_COLUMNS, *_JOB_PROGRESS))
    )
    said = described(Job, tuple(name for name in (*_JOB_COLUMNS, *_JOB_PROGRESS) if name in Job.model_fields))
    return view_object(
        "public",
        "jobs_outbox",
        body,
        comments=Comments(_plain(Job.__doc__), {TENANT_COLUMN: _OWN_TENANT, **said, **_JOB_MORE}),
    )


def latest_prices_view() -> DatabaseObject:
    """Return the view of the newest price of each symbol."""
    body = SQL(
        "SELECT DISTINCT ON (s.vendor, s.symbol) (SELECT {store}.current_tenant()) AS {tenant}, s.vendor, s.symbol,"
        " s.last_price AS price, s.last_price_ts AS price_timestamp"
        " FROM {store}.series AS s WHERE {own} AND s.last_price IS NOT NULL"
        " ORDER BY s.vendor, s.symbol, s.last_price_ts DESC, s.timeframe"
    ).format(store=STORE_SCHEMA, tenant=Identifier(TENANT_COLUMN), own=own_series(Identifier("s", "series_id")))
    said = described(LatestPrice, ("vendor", "symbol", "price", "price_timestamp"))
    comments = Comments(_plain(LatestPrice.__doc__), {TENANT_COLUMN: _OWN_TENANT, **said})
    return view_object("public", "latest_prices", body, comments=comments)
