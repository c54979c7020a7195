"""A catalog of Iceberg tables over the files of old rows, with a namespace for each tenant.

Released: what it does stays as it is, whatever the declarations become.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0017"
down_revision: str | None = "0016"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def _tenant(table: str, namespace: str) -> tuple[sa.Column[object], sa.ForeignKeyConstraint]:
    return (
        sa.Column("tenant_id", sa.Uuid(), sa.Computed(f"{namespace}::uuid", persisted=True)),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["store.tenants.id"], name=f"{table}_tenant_id_fkey", ondelete="CASCADE"
        ),
    )


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "iceberg_tables",
        sa.Column("catalog_name", sa.Text(), nullable=False),
        sa.Column("table_namespace", sa.Text(), nullable=False),
        sa.Column("table_name", sa.Text(), nullable=False),
        sa.Column("metadata_location", sa.Text()),
        sa.Column("previous_metadata_location", sa.Text()),
        sa.Column("iceberg_type", sa.Text()),
        *_tenant("iceberg_tables", "table_namespace"),
        sa.PrimaryKeyConstraint("catalog_name", "table_namespace", "table_name", name="iceberg_tables_pkey"),
        schema="store",
    )
    op.create_table(
        "iceberg_namespace_properties",
        sa.Column("catalog_name", sa.Text(), nullable=False),
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("property_key", sa.Text(), nullable=False),
        sa.Column("property_value", sa.Text(), nullable=False),
        *_tenant("iceberg_namespace_properties", "namespace"),
        sa.PrimaryKeyConstraint("catalog_name", "namespace", "property_key", name="iceberg_namespace_properties_pkey"),
        schema="store",
    )


def downgrade() -> None:
    """Drop the tables. The Iceberg tables can be published again."""
    op.drop_table("iceberg_namespace_properties", schema="store")
    op.drop_table("iceberg_tables", schema="store")
