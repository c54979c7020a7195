"""The tables of rows in files: the fences, the files, late rows, and the catalog of Iceberg tables."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    ForeignKeyConstraint,
    Identity,
    Index,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import INTERVAL
from sqlalchemy.schema import SchemaItem

from datastore.names import STORE
from datastore.schema.parts import INSTANT, TYPES, tenant_no
from mds_client.schema import Kind


def late_table(kind: Kind, metadata: MetaData) -> Table:
    """Return the table of late rows of a kind: rows of a time that is in files already, in the order of their writing.

    `mode` says what each does to a row with the same key. A deletion has no values; it removes the rows of its series
    from its time until `until`, which is in the same month.
    """
    name = f"late_{kind.name}"
    keys = [part for part in kind.key if part != kind.time]
    # A deletion is of all rows of a time, and has no other part of the key.
    given = " AND ".join(f"{part} IS NOT NULL" for part in keys)
    has_keys = [CheckConstraint(f"mode = 'delete' OR ({given})", name=f"{name}_key_check")] if keys else []
    return Table(
        name,
        metadata,
        Column("series_id", BigInteger, autoincrement=False, nullable=False),
        *(
            Column(column.name, TYPES[column.type], nullable=column.nullable or column.name in keys)
            for column in kind.in_table
        ),
        Column("mode", Text, nullable=False),
        Column("seq", BigInteger, Identity(always=True), nullable=False),
        Column("until", INSTANT),
        PrimaryKeyConstraint("series_id", kind.time, "seq", name=f"{name}_pkey"),
        *has_keys,
        CheckConstraint("mode IN ('replace', 'keep', 'fill', 'delete')", name=f"{name}_mode_check"),
        # Applications insert late rows, but have no right on this column: they delete through a function.
        CheckConstraint("(mode = 'delete') = (until IS NOT NULL)", name=f"{name}_until_check"),
        schema=STORE,
    )


def cold_tables(tables: MetaData) -> None:
    # The time before which a tenant's rows of a kind are in files or on their way there, and the tenant's own age for
    # moving rows, if it differs from that of all (NULL: never). While rows are brought back, nobody writes.
    Table(
        "cold_fences",
        tables,
        tenant_no("cold_fences"),
        Column("kind", Text, nullable=False),
        Column("cold_before", INSTANT),
        Column("has_own_age", Boolean, nullable=False, server_default=text("false")),
        Column("cold_after", INTERVAL),
        Column("restoring", Boolean, nullable=False, server_default=text("false")),
        PrimaryKeyConstraint("tenant_no", "kind", name="cold_fences_pkey"),
        schema=STORE,
    )
    # The files. A replaced file is kept until nobody reads it any more.
    periods = Table(
        "cold_periods",
        tables,
        Column("id", BigInteger, Identity(always=True), nullable=False),
        tenant_no("cold_periods"),
        Column("kind", Text, nullable=False),
        Column("period_start", INSTANT, nullable=False),
        Column("period_end", INSTANT, nullable=False),
        Column("path", Text, nullable=False),
        Column("rows", BigInteger, nullable=False),
        Column("bytes", BigInteger, nullable=False),
        Column("sha256", Text, nullable=False),
        Column("made_at", INSTANT, nullable=False, server_default=text("now()")),
        Column("replaced_at", INSTANT),
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


def iceberg_tables(tables: MetaData) -> None:
    # The catalog of Iceberg tables, with the names and columns of Iceberg's SQL and JDBC catalogs. A namespace is a
    # tenant; its rows are deleted with it.
    Table(
        "iceberg_tables",
        tables,
        Column("catalog_name", Text, nullable=False),
        Column("table_namespace", Text, nullable=False),
        Column("table_name", Text, nullable=False),
        Column("metadata_location", Text),
        Column("previous_metadata_location", Text),
        Column("iceberg_type", Text),
        *_named_tenant("iceberg_tables", "table_namespace"),
        PrimaryKeyConstraint("catalog_name", "table_namespace", "table_name", name="iceberg_tables_pkey"),
        schema=STORE,
    )
    Table(
        "iceberg_namespace_properties",
        tables,
        Column("catalog_name", Text, nullable=False),
        Column("namespace", Text, nullable=False),
        Column("property_key", Text, nullable=False),
        Column("property_value", Text, nullable=False),
        *_named_tenant("iceberg_namespace_properties", "namespace"),
        PrimaryKeyConstraint("catalog_name", "namespace", "property_key", name="iceberg_namespace_properties_pkey"),
        schema=STORE,
    )


def _named_tenant(table: str, namespace: str) -> tuple[SchemaItem, ...]:
    """Return the column and the constraint for the tenant that a namespace names."""
    return (
        Column("tenant_id", Uuid, Computed(f"{namespace}::uuid", persisted=True)),
        ForeignKeyConstraint(
            ["tenant_id"], [f"{STORE}.tenants.id"], name=f"{table}_tenant_id_fkey", ondelete="CASCADE"
        ),
    )
