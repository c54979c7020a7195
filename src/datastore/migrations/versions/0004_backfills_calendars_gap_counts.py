"""Backfills with their jobs, which calendar a series has, and what the last gap check found.

Released: what it does stays as it is, whatever the declarations become.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

_INSTANT = postgresql.TIMESTAMP(timezone=True)


def upgrade() -> None:
    op.create_table(
        "backfills",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("tenant_no", sa.Integer(), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("vendor", sa.Text(), nullable=False),
        sa.Column("timeframe", sa.Text(), nullable=False),
        sa.Column("range_start", _INSTANT, nullable=False),
        sa.Column("range_end", _INSTANT, nullable=False),
        sa.Column("source", postgresql.JSONB(), nullable=False),
        sa.Column("params", postgresql.JSONB(), nullable=False),
        sa.Column("series", sa.Integer(), nullable=False),
        sa.Column("missing", sa.BigInteger(), nullable=False),
        sa.Column("created_at", _INSTANT, server_default=sa.text("now()"), nullable=False),
        sa.Column("report", postgresql.JSONB(), nullable=True),
        sa.Column("reported_at", _INSTANT, nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_no"], ["store.tenants.no"], name="backfills_tenant_no_fkey", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="backfills_pkey"),
        sa.UniqueConstraint("tenant_no", "idempotency_key", name="backfills_idempotency_key"),
        schema="store",
    )
    op.create_foreign_key(
        "jobs_backfill_id_fkey",
        "jobs",
        "backfills",
        ["backfill_id"],
        ["id"],
        source_schema="store",
        referent_schema="store",
    )
    op.create_table(
        "calendars",
        sa.Column("tenant_no", sa.Integer(), nullable=False),
        sa.Column("vendor", sa.Text(), nullable=True),
        sa.Column("symbol", sa.Text(), nullable=True),
        sa.Column("calendar", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_no"], ["store.tenants.no"], name="calendars_tenant_no_fkey", ondelete="CASCADE"
        ),
        sa.UniqueConstraint(
            "tenant_no", "vendor", "symbol", name="calendars_of_key", postgresql_nulls_not_distinct=True
        ),
        schema="store",
    )
    op.create_table(
        "gap_counts",
        sa.Column("tenant_no", sa.Integer(), nullable=False),
        sa.Column("vendor", sa.Text(), nullable=False),
        sa.Column("timeframe", sa.Text(), nullable=False),
        sa.Column("range_start", _INSTANT, nullable=False),
        sa.Column("range_end", _INSTANT, nullable=False),
        sa.Column("series", sa.Integer(), nullable=False),
        sa.Column("expected", sa.BigInteger(), nullable=False),
        sa.Column("missing", sa.BigInteger(), nullable=False),
        sa.Column("gaps", sa.BigInteger(), nullable=False),
        sa.Column("checked_at", _INSTANT, server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_no"], ["store.tenants.no"], name="gap_counts_tenant_no_fkey", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tenant_no", "vendor", "timeframe", name="gap_counts_pkey"),
        schema="store",
    )


def downgrade() -> None:
    op.drop_table("gap_counts", schema="store")
    op.drop_table("calendars", schema="store")
    op.drop_constraint("jobs_backfill_id_fkey", "jobs", schema="store", type_="foreignkey")
    op.drop_table("backfills", schema="store")
