"""The tables of the private schema `store`, as SQLAlchemy metadata: the state that the migrations have to reach.

The tables of the kinds are derived from their declarations; the few others are declared here. Migrations create what
this module describes, `migration.check` compares the two, and `migration.revision` writes the migration between them.
Views, functions and grants are in `datastore.schema`.
"""

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
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
from sqlalchemy.dialects.postgresql import INTERVAL, JSONB, TIMESTAMP
from sqlalchemy.types import TypeEngine

from datastore.names import BEFORE, BEHIND, LARGEST_TENANT_NO, LOCKS, MAX_ATTEMPTS, STORE, TENANT_BITS
from mds_client import KINDS
from mds_client.schema import DEFAULTS, SERIES_COLUMNS, Kind, SqlType

_INSTANT = TIMESTAMP(timezone=True)

_TYPES: Final[dict[SqlType, TypeEngine[Any]]] = {
    "bigint": BigInteger(),
    "date": Date(),
    "double precision": Double(),
    "text": Text(),
    "timestamptz": _INSTANT,
    "uuid": Uuid(),
}


def kind_table(kind: Kind, metadata: MetaData) -> Table:
    """The table of a kind: its series id, its stored columns, and the key that serves upserts and window reads."""
    return Table(
        kind.name,
        metadata,
        Column("series_id", BigInteger, autoincrement=False, nullable=False),
        *(Column(column.name, _TYPES[column.type], nullable=column.nullable) for column in kind.in_table),
        PrimaryKeyConstraint("series_id", *kind.key, name=f"{kind.name}_pkey"),
        schema=STORE,
    )


def late_table(kind: Kind, metadata: MetaData) -> Table:
    """The rows of a kind that were written after files with rows of their time, one behind the other.

    `mode` is what each is to do where there is a row with its key.
    """
    name = f"late_{kind.name}"
    return Table(
        name,
        metadata,
        Column("series_id", BigInteger, autoincrement=False, nullable=False),
        *(Column(column.name, _TYPES[column.type], nullable=column.nullable) for column in kind.in_table),
        Column("mode", Text, nullable=False),
        Column("seq", BigInteger, Identity(always=True), nullable=False),
        PrimaryKeyConstraint("series_id", *kind.key, "seq", name=f"{name}_pkey"),
        CheckConstraint("mode IN ('replace', 'keep', 'fill')", name=f"{name}_mode_check"),
        schema=STORE,
    )


def metadata() -> MetaData:
    """Every table that a database at head has."""
    tables = MetaData()
    _tenant_tables(tables)
    _objects_table(tables)
    _series_table(tables)
    _policies_table(tables)
    _jobs_table(tables)
    _backfills_table(tables)
    _calendars_table(tables)
    _gap_counts_table(tables)
    _lock_tables(tables)
    _cold_tables(tables)
    for kind in KINDS.values():
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
        Column("created_at", _INSTANT, nullable=False, server_default=text("now()")),
        Column("disabled_at", _INSTANT),
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


def _objects_table(tables: MetaData) -> None:
    # What of `datastore.schema` is installed: a digest of the declared text, and of what the catalog made of it.
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
    # The numbers behind a tenant's prefix. One sequence for all tenants: what a number says about others is how many
    # series there are in all, and no more.
    Sequence("series_n", metadata=tables, schema=STORE, data_type=BigInteger, maxvalue=2**TENANT_BITS - 1)
    series = Table(
        "series",
        tables,
        # Without a default: only the view that applications insert through knows whose series it makes.
        Column("series_id", BigInteger, autoincrement=False, nullable=False),
        Column("kind", Text, nullable=False),
        *(Column(name, Text, nullable=name != "vendor") for name in SERIES_COLUMNS if name not in DEFAULTS),
        # Kept in the transaction that writes the rows: the time of the newest row, and the newest price with its time
        # (an older one where the newest row has none).
        Column("last_ts", _INSTANT),
        Column("last_price", Double),
        Column("last_price_ts", _INSTANT),
        *(Column(name, Text) for name in DEFAULTS),
        PrimaryKeyConstraint("series_id", name="series_pkey"),
        # Tenants write them, and everybody's operator reads them: what no client can hold would stop that.
        CheckConstraint(
            " AND ".join(
                f"{name} > timestamptz '{BEFORE}' AND {name} < timestamptz '{BEHIND}'"
                for name in ("last_ts", "last_price_ts")
            ),
            name="series_last_check",
        ),
        # Last values change with every batch and are in no index: room on the page keeps these updates cheap.
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
    # What an operator has set apart from the declarations; NULL switches a policy off. It survives a migrate.
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
        # How often it was begun, and how often it may be before it is given up.
        Column("attempts", Integer, nullable=False, server_default=text("0")),
        Column("created_at", _INSTANT, nullable=False, server_default=text("now()")),
        # Not before: now for a new job, later for one that is tried again.
        Column("due_at", _INSTANT, nullable=False, server_default=text("now()")),
        # Who has it, or had it last; and until when if nothing more is heard of the one who has it.
        Column("worker", Text),
        Column("leased_until", _INSTANT),
        Column("finished_at", _INSTANT),
        Column("error", Text),
        Column("max_attempts", Integer, nullable=False, server_default=text(str(MAX_ATTEMPTS))),
        Column("started_at", _INSTANT),
        # Progress, in units of the job's own.
        Column("done", BigInteger),
        Column("total", BigInteger),
        Column("result", JSONB(none_as_null=True)),
        Column("cancel_requested", Boolean, nullable=False, server_default=text("false")),
        Column("backfill_id", BigInteger, ForeignKey(f"{STORE}.backfills.id", name="jobs_backfill_id_fkey")),
        # Another one each time that it is taken, or taken back: what is written with an older one changes nothing.
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
    # Claiming: a queue for each tenant and priority, the store's own being tenant 0, each in the order of due times.
    # What is not due yet is at a queue's end and is never read.
    Index(
        "jobs_queued",
        text("coalesce(tenant_no, 0)"),
        jobs.c.priority,
        jobs.c.due_at,
        jobs.c.id,
        postgresql_where=text("state = 'queued'"),
    )
    # Leases that have run out, and how many jobs of a tenant are running.
    Index("jobs_running", jobs.c.leased_until, jobs.c.tenant_no, postgresql_where=text("state = 'running'"))
    # Lists, newest first, and counts by type.
    Index("jobs_state", jobs.c.state, jobs.c.job_type, jobs.c.id)
    Index("jobs_tenant", jobs.c.tenant_no, jobs.c.id)
    Index("jobs_backfill", jobs.c.backfill_id, jobs.c.id, postgresql_where=text("backfill_id IS NOT NULL"))
    # Clean-up, of the store's own jobs only: a tenant's key is used up forever.
    Index("jobs_finished", jobs.c.finished_at, postgresql_where=text("tenant_no IS NULL"))


def _backfills_table(tables: MetaData) -> None:
    Table(
        "backfills",
        tables,
        Column("id", BigInteger, Identity(always=True), nullable=False),
        _tenant_no("backfills"),
        Column("idempotency_key", Text, nullable=False),
        Column("kind", Text, nullable=False),
        Column("vendor", Text, nullable=False),
        Column("timeframe", Text, nullable=False),
        Column("range_start", _INSTANT, nullable=False),
        Column("range_end", _INSTANT, nullable=False),
        # Where the rows come from; and what else was asked for. Never a secret: these are named, and kept elsewhere.
        Column("source", JSONB, nullable=False),
        Column("params", JSONB, nullable=False),
        # As planned: how many series, and how many rows they lacked. How far it is follows from its jobs.
        Column("series", Integer, nullable=False),
        Column("missing", BigInteger, nullable=False),
        Column("created_at", _INSTANT, nullable=False, server_default=text("now()")),
        # What was still missing when its last job had ended, and when that was asked.
        Column("report", JSONB(none_as_null=True)),
        Column("reported_at", _INSTANT),
        PrimaryKeyConstraint("id", name="backfills_pkey"),
        UniqueConstraint("tenant_no", "idempotency_key", name="backfills_idempotency_key"),
        schema=STORE,
    )


def _calendars_table(tables: MetaData) -> None:
    # Which trading calendar series have: those of this vendor and symbol, or of any where that is NULL.
    Table(
        "calendars",
        tables,
        _tenant_no("calendars"),
        Column("vendor", Text),
        Column("symbol", Text),
        Column("calendar", Text, nullable=False),
        UniqueConstraint("tenant_no", "vendor", "symbol", name="calendars_of_key", postgresql_nulls_not_distinct=True),
        schema=STORE,
    )


def _gap_counts_table(tables: MetaData) -> None:
    # What the last daily count of the gaps of a vendor's series of a timeframe found; metrics read it.
    Table(
        "gap_counts",
        tables,
        _tenant_no("gap_counts"),
        Column("vendor", Text, nullable=False),
        Column("timeframe", Text, nullable=False),
        Column("range_start", _INSTANT, nullable=False),
        Column("range_end", _INSTANT, nullable=False),
        Column("series", Integer, nullable=False),
        Column("expected", BigInteger, nullable=False),
        Column("missing", BigInteger, nullable=False),
        Column("gaps", BigInteger, nullable=False),
        Column("checked_at", _INSTANT, nullable=False, server_default=text("now()")),
        Column("repeated", BigInteger, nullable=False, server_default=text("0")),
        PrimaryKeyConstraint("tenant_no", "vendor", "timeframe", name="gap_counts_pkey"),
        schema=STORE,
    )


def _lock_tables(tables: MetaData) -> None:
    # Without a row and without an index: see `datastore.locks`. The first one is there before any migration.
    for name in LOCKS:
        Table(name, tables, Column("unused", Boolean), schema=STORE)


def _cold_tables(tables: MetaData) -> None:
    # Before which time a tenant's rows of a kind are kept in files, or on their way there; and the age at which they
    # are, where it is not that of everybody (NULL: never). While rows are brought back, nobody writes.
    Table(
        "cold_fences",
        tables,
        _tenant_no("cold_fences"),
        Column("kind", Text, nullable=False),
        Column("cold_before", _INSTANT),
        Column("has_own_age", Boolean, nullable=False, server_default=text("false")),
        Column("cold_after", INTERVAL),
        Column("restoring", Boolean, nullable=False, server_default=text("false")),
        PrimaryKeyConstraint("tenant_no", "kind", name="cold_fences_pkey"),
        schema=STORE,
    )
    # The files. One that another file has taken the place of is kept until nobody reads it any more.
    periods = Table(
        "cold_periods",
        tables,
        Column("id", BigInteger, Identity(always=True), nullable=False),
        _tenant_no("cold_periods"),
        Column("kind", Text, nullable=False),
        Column("period_start", _INSTANT, nullable=False),
        Column("period_end", _INSTANT, nullable=False),
        Column("path", Text, nullable=False),
        Column("rows", BigInteger, nullable=False),
        Column("bytes", BigInteger, nullable=False),
        Column("sha256", Text, nullable=False),
        Column("made_at", _INSTANT, nullable=False, server_default=text("now()")),
        Column("replaced_at", _INSTANT),
        PrimaryKeyConstraint("id", name="cold_periods_pkey"),
        UniqueConstraint("path", name="cold_periods_path_key"),
        CheckConstraint("period_start < period_end", name="cold_periods_period_check"),
        schema=STORE,
    )
    Index(
        "cold_periods_current",
        periods.c.tenant_no,
        periods.c.kind,
        periods.c.period_start,
        unique=True,
        postgresql_where=text("replaced_at IS NULL"),
    )


def _tenant_no(table: str) -> Column[int]:
    """The owner of a line that goes with its tenant."""
    tenant = ForeignKey(f"{STORE}.tenants.no", name=f"{table}_tenant_no_fkey", ondelete="CASCADE")
    return Column("tenant_no", Integer, tenant, nullable=False)


def ours(name: str | None, type_: str, _parents: object) -> bool:
    """Whether Alembic is to look at something: at the private schema only; what else is there is someone else's."""
    return type_ != "schema" or name == STORE


COMPARISON: Final[dict[str, Any]] = {
    "version_table_schema": STORE,
    "include_schemas": True,
    "include_name": ours,
    "compare_type": True,
    "compare_server_default": True,
}
"""How Alembic compares a database with `metadata`, for the drift check and for a new migration alike."""
