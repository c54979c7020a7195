"""Jobs for workers: the store's own beside the tenants', attempts, progress, results, and the indexes to claim by.

Released: what it does stays as it is, whatever the declarations become.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

_INSTANT = postgresql.TIMESTAMP(timezone=True)
_QUEUED = sa.text("state = 'queued'")


def upgrade() -> None:
    op.alter_column("jobs", "tenant_no", existing_type=sa.Integer(), nullable=True, schema="store")
    op.drop_constraint("jobs_idempotency_key", "jobs", schema="store", type_="unique")
    op.create_unique_constraint(
        "jobs_idempotency_key",
        "jobs",
        ["tenant_no", "idempotency_key"],
        schema="store",
        postgresql_nulls_not_distinct=True,
    )
    for column in (
        sa.Column("max_attempts", sa.Integer(), server_default=sa.text("10"), nullable=False),
        sa.Column("started_at", _INSTANT, nullable=True),
        sa.Column("done", sa.BigInteger(), nullable=True),
        sa.Column("total", sa.BigInteger(), nullable=True),
        sa.Column("result", postgresql.JSONB(), nullable=True),
        sa.Column("cancel_requested", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("backfill_id", sa.BigInteger(), nullable=True),
    ):
        op.add_column("jobs", column, schema="store")
    op.drop_index("jobs_due", table_name="jobs", schema="store", postgresql_where=_QUEUED)
    op.create_index(
        "jobs_queued",
        "jobs",
        [sa.text("coalesce(tenant_no, 0)"), "priority", "due_at", "id"],
        schema="store",
        postgresql_where=_QUEUED,
    )
    op.create_index(
        "jobs_running",
        "jobs",
        ["leased_until", "tenant_no"],
        schema="store",
        postgresql_where=sa.text("state = 'running'"),
    )
    op.create_index("jobs_state", "jobs", ["state", "job_type", "id"], schema="store")
    op.create_index("jobs_tenant", "jobs", ["tenant_no", "id"], schema="store")
    op.create_index(
        "jobs_backfill",
        "jobs",
        ["backfill_id", "id"],
        schema="store",
        postgresql_where=sa.text("backfill_id IS NOT NULL"),
    )
    op.create_index(
        "jobs_finished", "jobs", ["finished_at"], schema="store", postgresql_where=sa.text("tenant_no IS NULL")
    )


def downgrade() -> None:
    for index in ("jobs_finished", "jobs_backfill", "jobs_tenant", "jobs_state", "jobs_running", "jobs_queued"):
        op.drop_index(index, table_name="jobs", schema="store")
    for column in ("backfill_id", "cancel_requested", "result", "total", "done", "started_at", "max_attempts"):
        op.drop_column("jobs", column, schema="store")
    op.execute("DELETE FROM store.jobs WHERE tenant_no IS NULL")
    op.drop_constraint("jobs_idempotency_key", "jobs", schema="store", type_="unique")
    op.create_unique_constraint("jobs_idempotency_key", "jobs", ["tenant_no", "idempotency_key"], schema="store")
    op.alter_column("jobs", "tenant_no", existing_type=sa.Integer(), nullable=False, schema="store")
    op.create_index(
        "jobs_due",
        "jobs",
        [sa.literal_column("priority DESC"), "due_at", "id"],
        schema="store",
        postgresql_where=_QUEUED,
    )
