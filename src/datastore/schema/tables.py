"""The tables of the private schema `store`, as SQLAlchemy metadata: the state that the migrations must reach.

The tables of the kinds are derived from their declarations; the few others are declared here. Migrations create these
tables, `migration.check` compares them with a database, and `migration.revision` writes the migration between the two.
Views, functions and grants are in the other modules of `datastore.schema`.
"""

from functools import cache
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Sequence,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import INTERVAL, JSONB

from datastore.names import BEFORE, BEHIND, LARGEST_TENANT_NO, LOCKS, MAX_ATTEMPTS, STORE, TENANT_BITS
from datastore.schema.file_tables import cold_tables, iceberg_tables, late_table
from datastore.schema.parts import INSTANT, TYPES, tenant_no
from mds_client import KINDS
from mds_client.schema import DEFAULTS, SERIES_COLUMNS, Kind


def kind_table(kind: Kind, metadata: MetaData) -> Table:
    """Return the table of a kind: series id, stored columns, and the key that serves upserts and window reads."""
    return Table(
        kind.name,
        metadata,
        Column("series_id", BigInteger, autoincrement=False, nullable=False),
        *(Column(column.name, TYPES[column.type], nullable=column.nullable) for column in kind.in_table),
        PrimaryKeyConstraint("series_id", *kind.key, name=f"{kind.name}_pkey"),
        *(CheckConstraint(_NUMBERS_BY_NAME.format(name), name=f"{kind.name}_{name}_check") for name in kind.maps),
        schema=STORE,
    )


_NUMBERS_BY_NAME: Final = (
    # Applications write through the doors, too. A value that no client can read would fail every read of the tenant.
    "jsonb_typeof({0}) = 'object' AND {0} <> '{{}}' AND NOT jsonb_path_exists({0}, 'strict $.* ?"
    ' (@.type() != "null" && (@.type() != "number" || @ > 1.7976931348623157e308 || @ < -1.7976931348623157e308))\','
    " '{{}}', true)"
)


def metadata() -> MetaData:
    """Return every table of a database at head. It is made once: do not change it."""
    return _metadata(tuple(KINDS.values()))


@cache
def _metadata(kinds: tuple[Kind, ...]) -> MetaData:
    tables = MetaData()
    _tenant_tables(tables)
    _vendors_table(tables)
    _objects_table(tables)
    _series_table(tables)
    _policies_table(tables)
    _jobs_table(tables)
    _backfills_table(tables)
    _calendars_table(tables)
    _gap_counts_table(tables)
    _lock_tables(tables)
    cold_tables(tables)
    iceberg_tables(tables)
    for kind in kinds:
        kind_table(kind, tables)
        if kind.cold:
            late_table(kind, tables)
    return tables


def _tenant_tables(tables: MetaData) -> None:
    Table(
        "tenants",
        tables,
        Column("id", Uuid, nullable=False, server_default=text("gen_random_uuid()")),
        Column("no", Integer, Identity(always=True, minvalue=1, maxvalue=LARGEST_TENANT_NO), nullable=False),
        Column("name", Text, nullable=False),
        Column("created_at", INSTANT, nullable=False, server_default=text("now()")),
        Column("disabled_at", INSTANT),
        PrimaryKeyConstraint("no", name="tenants_pkey"),
        UniqueConstraint("id", name="tenants_id_key"),
        UniqueConstraint("name", name="tenants_name_key"),
        CheckConstraint("name <> ''", name="tenants_name_check"),
        schema=STORE,
    )
    Table(
        "tenant_roles",
        tables,
        Column("role", Text, nullable=False),
        Column(
            "tenant_no",
            Integer,
            ForeignKey(f"{STORE}.tenants.no", name="tenant_roles_tenant_no_fkey"),
            nullable=False,
        ),
        PrimaryKeyConstraint("role", name="tenant_roles_pkey"),
        schema=STORE,
    )


def _vendors_table(tables: MetaData) -> None:
    # The vendors whose symbols are case-sensitive, for all tenants. See `datastore.vendors` for its locks.
    Table(
        "case_sensitive_vendors",
        tables,
        Column("vendor", Text, nullable=False),
        Column("declared_at", INSTANT, nullable=False, server_default=text("now()")),
        PrimaryKeyConstraint("vendor", name="case_sensitive_vendors_pkey"),
        CheckConstraint("vendor <> ''", name="case_sensitive_vendors_vendor_check"),
        schema=STORE,
    )


def _objects_table(tables: MetaData) -> None:
    # The installed objects of `datastore.schema`: hashes of the declared text, and of the catalog's version of it.
    Table(
        "objects",
        tables,
        Column("name", Text, nullable=False),
        Column("declared", Text, nullable=False),
        Column("installed", Text),
        PrimaryKeyConstraint("name", name="objects_pkey"),
        schema=STORE,
    )


def _series_table(tables: MetaData) -> None:
    # The numbers after a tenant's prefix. All tenants share the sequence: a number tells a tenant only how many series
    # there are in total.
    Sequence("series_n", metadata=tables, schema=STORE, data_type=BigInteger, maxvalue=2**TENANT_BITS - 1)
    series = Table(
        "series",
        tables,
        # Without a default, because only the view that applications insert through knows the tenant.
        Column("series_id", BigInteger, autoincrement=False, nullable=False),
        Column("kind", Text, nullable=False),
        *(Column(name, Text, nullable=name != "vendor") for name in SERIES_COLUMNS if name not in DEFAULTS),
        # Updated in the transaction that writes the rows: the time of the newest row, and the newest price with its
        # time (of an older row if the newest has no price).
        Column("last_ts", INSTANT),
        Column("last_price", Double),
        Column("last_price_ts", INSTANT),
        *(Column(name, Text) for name in DEFAULTS),
        # Writers tell how many renames they know of, so that none writes to a series by a name that it had before.
        Column("renames", Integer, nullable=False, server_default=text("0")),
        PrimaryKeyConstraint("series_id", name="series_pkey"),
        # Tenants write these times, and an operator reads them for all tenants: one that clients cannot represent would
        # fail.
        CheckConstraint(
            " AND ".join(
                f"{name} > timestamptz '{BEFORE}' AND {name} < timestamptz '{BEHIND}'"
                for name in ("last_ts", "last_price_ts")
            ),
            name="series_last_check",
        ),
        # Last values change with every batch and are in no index, so free room on the page keeps these updates cheap.
        postgresql_with={"fillfactor": 70},
        schema=STORE,
    )
    Index(
        "series_name_key",
        text(f"(series_id >> {TENANT_BITS})"),
        series.c.kind,
        *(series.c[name] for name in SERIES_COLUMNS),
        unique=True,
        postgresql_nulls_not_distinct=True,
    )


def _policies_table(tables: MetaData) -> None:
    # The operator's overrides of declared policies; NULL switches a policy off. They survive migrations.
    Table(
        "policies",
        tables,
        Column("relation", Text, nullable=False),
        Column("policy", Text, nullable=False),
        Column("value", INTERVAL),
        PrimaryKeyConstraint("relation", "policy", name="policies_pkey"),
        schema=STORE,
    )


def _jobs_table(tables: MetaData) -> None:
    jobs = Table(
        "jobs",
        tables,
        Column("id", BigInteger, Identity(always=True), nullable=False),
        # NULL: a job of the store itself, which no tenant sees.
        Column("tenant_no", Integer, ForeignKey(f"{STORE}.tenants.no", name="jobs_tenant_no_fkey")),
        Column("idempotency_key", Text, nullable=False),
        Column("job_type", Text, nullable=False),
        Column("payload", JSONB, nullable=False),
        Column("priority", SmallInteger, nullable=False),
        Column("state", Text, nullable=False, server_default=text("'queued'")),
        # The number of started attempts, and the largest number of attempts.
        Column("attempts", Integer, nullable=False, server_default=text("0")),
        Column("created_at", INSTANT, nullable=False, server_default=text("now()")),
        # The earliest start: now for a new job, later for another attempt.
        Column("due_at", INSTANT, nullable=False, server_default=text("now()")),
        # The worker that has it or had it last, and when its lease expires.
        Column("worker", Text),
        Column("leased_until", INSTANT),
        Column("finished_at", INSTANT),
        Column("error", Text),
        Column("max_attempts", Integer, nullable=False, server_default=text(str(MAX_ATTEMPTS))),
        Column("started_at", INSTANT),
        # Progress, in the job's own units.
        Column("done", BigInteger),
        Column("total", BigInteger),
        Column("result", JSONB(none_as_null=True)),
        Column("cancel_requested", Boolean, nullable=False, server_default=text("false")),
        Column("backfill_id", BigInteger, ForeignKey(f"{STORE}.backfills.id", name="jobs_backfill_id_fkey")),
        # Changes with each claim and each take-back; a write with an older fence changes nothing.
        Column("fence", BigInteger, nullable=False, server_default=text("0")),
        PrimaryKeyConstraint("id", name="jobs_pkey"),
        UniqueConstraint(
            "tenant_no", "idempotency_key", name="jobs_idempotency_key", postgresql_nulls_not_distinct=True
        ),
        CheckConstraint("state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')", name="jobs_state_check"),
        schema=STORE,
    )
    _jobs_indexes(jobs)


def _jobs_indexes(jobs: Table) -> None:
    # Claiming: a queue for each tenant (the store itself is 0) and priority, each in the order of due times. Jobs that
    # are not due yet are at a queue's end and never read.
    Index(
        "jobs_queued",
        text("coalesce(tenant_no, 0)"),
        jobs.c.priority,
        jobs.c.due_at,
        jobs.c.id,
        postgresql_where=text("state = 'queued'"),
    )
    # Expired leases, and the number of running jobs of a tenant.
    Index("jobs_running", jobs.c.leased_until, jobs.c.tenant_no, postgresql_where=text("state = 'running'"))
    # Lists, newest first, and counts by type.
    Index("jobs_state", jobs.c.state, jobs.c.job_type, jobs.c.id)
    Index("jobs_tenant", jobs.c.tenant_no, jobs.c.id)
    Index("jobs_backfill", jobs.c.backfill_id, jobs.c.id, postgresql_where=text("backfill_id IS NOT NULL"))
    # Clean-up, only of the store's own jobs, because a tenant's key is used up forever.
    Index("jobs_finished", jobs.c.finished_at, postgresql_where=text("tenant_no IS NULL"))


def _backfills_table(tables: MetaData) -> None:
    Table(
        "backfills",
        tables,
        Column("id", BigInteger, Identity(always=True), nullable=False),
        tenant_no("backfills"),
        Column("idempotency_key", Text, nullable=False),
        Column("kind", Text, nullable=False),
        Column("vendor", Text, nullable=False),
        Column("timeframe", Text, nullable=False),
        Column("range_start", INSTANT, nullable=False),
        Column("range_end", INSTANT, nullable=False),
        # The source of the rows and the other parameters. Never a secret: secrets are named here and stored elsewhere.
        Column("source", JSONB, nullable=False),
        Column("params", JSONB, nullable=False),
        # The planned numbers of series and of missing rows. The progress follows from the jobs.
        Column("series", Integer, nullable=False),
        Column("missing", BigInteger, nullable=False),
        Column("created_at", INSTANT, nullable=False, server_default=text("now()")),
        # What was still missing when the last job had ended, and when that was checked.
        Column("report", JSONB(none_as_null=True)),
        Column("reported_at", INSTANT),
        PrimaryKeyConstraint("id", name="backfills_pkey"),
        UniqueConstraint("tenant_no", "idempotency_key", name="backfills_idempotency_key"),
        schema=STORE,
    )


def _calendars_table(tables: MetaData) -> None:
    # The calendars of series: those of this vendor and symbol, where NULL stands for any.
    Table(
        "calendars",
        tables,
        tenant_no("calendars"),
        Column("vendor", Text),
        Column("symbol", Text),
        Column("calendar", Text, nullable=False),
        UniqueConstraint("tenant_no", "vendor", "symbol", name="calendars_of_key", postgresql_nulls_not_distinct=True),
        schema=STORE,
    )


def _gap_counts_table(tables: MetaData) -> None:
    # The result of the last daily gap count by vendor and timeframe, which metrics read.
    Table(
        "gap_counts",
        tables,
        tenant_no("gap_counts"),
        Column("vendor", Text, nullable=False),
        Column("timeframe", Text, nullable=False),
        Column("range_start", INSTANT, nullable=False),
        Column("range_end", INSTANT, nullable=False),
        Column("series", Integer, nullable=False),
        Column("expected", BigInteger, nullable=False),
        Column("missing", BigInteger, nullable=False),
        Column("gaps", BigInteger, nullable=False),
        Column("checked_at", INSTANT, nullable=False, server_default=text("now()")),
        Column("repeated", BigInteger, nullable=False, server_default=text("0")),
        PrimaryKeyConstraint("tenant_no", "vendor", "timeframe", name="gap_counts_pkey"),
        schema=STORE,
    )


def _lock_tables(tables: MetaData) -> None:
    # Without rows and indexes, see `datastore.locks`. The first one exists before any migration.
    for name in LOCKS:
        Table(name, tables, Column("unused", Boolean), schema=STORE)


def ours(name: str | None, type_: str, _parents: object) -> bool:
    """Whether Alembic should look at an object: only those of the private schema; the others belong to someone else."""
    return type_ != "schema" or name == STORE


COMPARISON: Final[dict[str, Any]] = {
    "version_table_schema": STORE,
    "include_schemas": True,
    "include_name": ours,
    "compare_type": True,
    "compare_server_default": True,
}
"""Options with which Alembic compares a database with `metadata`, for the drift check and for new migrations."""
