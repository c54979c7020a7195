"""Old bars can be kept in files: fences, the list of files, late bars, and the lock for moving rows.

Released: what it does stays as it is, whatever the declarations become.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0013"
down_revision: str | None = "0012"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

_INSTANT = postgresql.TIMESTAMP(timezone=True)


def _tenant(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["tenant_no"], ["store.tenants.no"], name=f"{table}_tenant_no_fkey", ondelete="CASCADE"
    )


def upgrade() -> None:
    """Make the tables."""
    op.create_table("lock_cold", sa.Column("unused", sa.Boolean()), schema="store")
    op.create_table(
        "cold_fences",
        sa.Column("tenant_no", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("cold_before", _INSTANT),
        sa.Column("has_own_age", sa.Boolean(), nullable=False, server_default=sa.text("false")),
        sa.Column("cold_after", postgresql.INTERVAL()),
        sa.Column("restoring", sa.Boolean(), nullable=False, server_default=sa.text("false")),
        _tenant("cold_fences"),
        sa.PrimaryKeyConstraint("tenant_no", "kind", name="cold_fences_pkey"),
        schema="store",
    )
    op.create_table(
        "cold_periods",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("tenant_no", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("period_start", _INSTANT, nullable=False),
        sa.Column("period_end", _INSTANT, nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("made_at", _INSTANT, nullable=False, server_default=sa.text("now()")),
        sa.Column("replaced_at", _INSTANT),
        _tenant("cold_periods"),
        sa.PrimaryKeyConstraint("id", name="cold_periods_pkey"),
        sa.UniqueConstraint("path", name="cold_periods_path_key"),
        sa.CheckConstraint("period_start < period_end", name="cold_periods_period_check"),
        schema="store",
    )
    op.create_index(
        "cold_periods_current",
        "cold_periods",
        ["tenant_no", "kind", "period_start"],
        unique=True,
        schema="store",
        postgresql_where=sa.text("replaced_at IS NULL"),
    )
    op.create_table(
        "late_bars",
        sa.Column("series_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("ts", _INSTANT, nullable=False),
        sa.Column("open_price", sa.Double()),
        sa.Column("high_price", sa.Double()),
        sa.Column("low_price", sa.Double()),
        sa.Column("close_price", sa.Double()),
        sa.Column("volume", sa.BigInteger()),
        sa.Column("id", sa.Uuid()),
        sa.Column("vwap", sa.Double()),
        sa.Column("trade_count", sa.BigInteger()),
        sa.Column("volume_fraction", sa.Double()),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.PrimaryKeyConstraint("series_id", "ts", "seq", name="late_bars_pkey"),
        sa.CheckConstraint("mode IN ('replace', 'keep', 'fill')", name="late_bars_mode_check"),
        schema="store",
    )


def downgrade() -> None:
    """Drop the tables; that fails, and changes nothing, where there are files or late rows."""
    op.execute(
        "DO $$ BEGIN IF EXISTS (SELECT FROM store.cold_periods WHERE replaced_at IS NULL)"
        " OR EXISTS (SELECT FROM store.late_bars) THEN"
        " RAISE EXCEPTION 'rows are kept in files: bring them back first (datastore cold restore)'; END IF; END $$"
    )
    for table in ("late_bars", "cold_periods", "cold_fences", "lock_cold"):
        op.drop_table(table, schema="store")
