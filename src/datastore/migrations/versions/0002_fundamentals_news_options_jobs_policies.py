"""Fundamentals, news, options, the job outbox, and stored policies.

Released: what it does stays as it is, whatever the declarations become.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "fundamentals",
        sa.Column("series_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("asof", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("total_assets", sa.Double(), nullable=True),
        sa.Column("total_liabilities", sa.Double(), nullable=True),
        sa.Column("net_income", sa.Double(), nullable=True),
        sa.Column("eps", sa.Double(), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=True),
        sa.PrimaryKeyConstraint("series_id", "asof", name="fundamentals_pkey"),
        schema="store",
    )
    op.create_table(
        "news",
        sa.Column("series_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("published_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=True),
        sa.Column("url", sa.Text(), nullable=True),
        sa.Column("sentiment_score", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("series_id", "published_at", "id", name="news_pkey"),
        schema="store",
    )
    op.create_table(
        "options",
        sa.Column("series_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("ts", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("expiry", sa.Date(), nullable=False),
        sa.Column("option_type", sa.Text(), nullable=False),
        sa.Column("strike", sa.Double(), nullable=False),
        sa.Column("iv", sa.Double(), nullable=True),
        sa.Column("delta", sa.Double(), nullable=True),
        sa.Column("gamma", sa.Double(), nullable=True),
        sa.Column("oi", sa.BigInteger(), nullable=True),
        sa.Column("volume", sa.BigInteger(), nullable=True),
        sa.Column("spot", sa.Double(), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=True),
        sa.PrimaryKeyConstraint("series_id", "ts", "expiry", "option_type", "strike", name="options_pkey"),
        schema="store",
    )
    op.create_table(
        "policies",
        sa.Column("relation", sa.Text(), nullable=False),
        sa.Column("policy", sa.Text(), nullable=False),
        sa.Column("value", postgresql.INTERVAL(), nullable=True),
        sa.PrimaryKeyConstraint("relation", "policy", name="policies_pkey"),
        schema="store",
    )
    op.create_table(
        "jobs",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("tenant_no", sa.Integer(), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=False),
        sa.Column("job_type", sa.Text(), nullable=False),
        sa.Column("payload", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("state", sa.Text(), server_default=sa.text("'queued'"), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("due_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("worker", sa.Text(), nullable=True),
        sa.Column("leased_until", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("finished_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')", name="jobs_state_check"
        ),
        sa.ForeignKeyConstraint(["tenant_no"], ["store.tenants.no"], name="jobs_tenant_no_fkey"),
        sa.PrimaryKeyConstraint("id", name="jobs_pkey"),
        sa.UniqueConstraint("tenant_no", "idempotency_key", name="jobs_idempotency_key"),
        schema="store",
    )
    op.create_index(
        "jobs_due",
        "jobs",
        [sa.literal_column("priority DESC"), "due_at", "id"],
        unique=False,
        schema="store",
        postgresql_where=sa.text("state = 'queued'"),
    )


def downgrade() -> None:
    op.drop_index("jobs_due", table_name="jobs", schema="store", postgresql_where=sa.text("state = 'queued'"))
    op.drop_table("jobs", schema="store")
    op.drop_table("policies", schema="store")
    op.drop_table("options", schema="store")
    op.drop_table("news", schema="store")
    op.drop_table("fundamentals", schema="store")
