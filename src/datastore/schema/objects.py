"""Database objects that every migrate applies again: functions, the security-barrier views, and grants.

Migrations create the tables once. Everything here is derived from the declarations and safe to run any number of times.
There are three schemas: `store` is private, `mds` holds the client's narrow writable views, and people and tools select
from `public`.
"""

from collections.abc import Iterator
from functools import cache
from typing import Final

from psycopg.sql import SQL, Identifier

from datastore import aggregates
from datastore.engines import Engine
from datastore.names import APP, STORE
from datastore.schema.cold import cold_functions, cold_views
from datastore.schema.declared import DatabaseObject
from datastore.schema.doors import door, last_values
from datastore.schema.functions import functions, jobs_limit, jobs_trigger
from datastore.schema.removal import deletion, late_deletion
from datastore.schema.renaming import renaming
from datastore.schema.views import (
    case_sensitive_vendors_view,
    jobs_view,
    kind_view,
    latest_prices_view,
    public_jobs_view,
    public_rollup_view,
    public_series_view,
    public_view,
    rollup_view,
    series_view,
    symbols_view,
    tenants_view,
)
from mds_client import KINDS
from mds_client.schema import DOORS, Kind

_PRIVATE: Final = (
    *("tenants", "tenant_roles", "policies", "jobs", "backfills", "calendars", "gap_counts"),
    *("cold_fences", "cold_periods", "iceberg_tables", "iceberg_namespace_properties", "case_sensitive_vendors"),
)
"""The control plane's own tables, which row security closes in addition."""


def objects(engine: Engine) -> tuple[DatabaseObject, ...]:
    """Return every object, each after those that it needs."""
    return _objects(engine, tuple(KINDS.values()))


@cache
def _objects(engine: Engine, kinds: tuple[Kind, ...]) -> tuple[DatabaseObject, ...]:
    # Made once: a migration goes through them twice, and to make them takes longer than to compare them.
    return (
        *_schemas(),
        *functions(engine),
        *cold_functions(),
        jobs_limit(),
        jobs_trigger(),
        tenants_view(),
        case_sensitive_vendors_view(),
        series_view(),
        *(kind_view(kind) for kind in kinds),
        *(door(kind, way) for kind in kinds for way in DOORS),
        *cold_views(),
        *(last_values(kind) for kind in kinds),
        *(deletion(engine, kind) for kind in kinds),
        *(late_deletion(kind) for kind in kinds if kind.cold),
        renaming(),
        *(public_view(kind) for kind in kinds),
        *(rollup_view(engine, kind, rollup) for kind, rollup in aggregates.rollups()),
        *(public_rollup_view(engine, kind, rollup) for kind, rollup in aggregates.rollups()),
        public_series_view(),
        symbols_view(),
        latest_prices_view(),
        jobs_view(),
        public_jobs_view(),
    )


def _schemas() -> Iterator[DatabaseObject]:
    yield DatabaseObject("schema store", (f"REVOKE ALL ON SCHEMA store FROM PUBLIC, {APP}",))
    yield DatabaseObject(
        "schema mds", (f"REVOKE ALL ON SCHEMA mds FROM PUBLIC, {APP}", f"GRANT USAGE ON SCHEMA mds TO {APP}")
    )
    # A second protection in case someone grants a right on a table by mistake: no policy lets anybody but the owner see
    # a row. Not for series and the kinds with chunks, where it would prevent rollups and columnar storage.
    flat = [kind.name for kind in KINDS.values() if kind.storage is None]
    flat += [f"late_{kind.name}" for kind in KINDS.values() if kind.cold]
    yield DatabaseObject(
        "rights in store",
        (
            f"REVOKE ALL ON ALL TABLES IN SCHEMA store FROM PUBLIC, {APP}",
            f"REVOKE ALL ON ALL SEQUENCES IN SCHEMA store FROM PUBLIC, {APP}",
            *(
                SQL("ALTER TABLE {} ENABLE ROW LEVEL SECURITY").format(Identifier(STORE, name)).as_string(None)
                for name in (*_PRIVATE, *flat)
            ),
        ),
    )
