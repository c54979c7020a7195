"""Old snapshots of options can be kept in files: the table of late ones.

Released: what it does stays as it is, whatever the declarations become.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0019"
down_revision: str | None = "0018"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

_INSTANT = postgresql.TIMESTAMP(timezone=True)
_KEY = "mode = 'delete' OR (expiry IS NOT NULL AND option_type IS NOT NULL AND strike IS NOT NULL)"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "late_options",
        sa.Column("series_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("ts", _INSTANT, nullable=False),
        sa.Column("expiry", sa.Date()),
        sa.Column("option_type", sa.Text()),
        sa.Column("strike", sa.Double()),
        sa.Column("iv", sa.Double()),
        sa.Column("delta", sa.Double()),
        sa.Column("gamma", sa.Double()),
        sa.Column("oi", sa.BigInteger()),
        sa.Column("volume", sa.BigInteger()),
        sa.Column("spot", sa.Double()),
        sa.Column("id", sa.Uuid()),
        sa.Column("bid", sa.Double()),
        sa.Column("ask", sa.Double()),
        sa.Column("last", sa.Double()),
        sa.Column("vega", sa.Double()),
        sa.Column("theta", sa.Double()),
        sa.Column("rho", sa.Double()),
        sa.Column("oi_fraction", sa.Double()),
        sa.Column("volume_fraction", sa.Double()),
        sa.Column("multiplier", sa.Double()),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("until", _INSTANT),
        sa.PrimaryKeyConstraint("series_id", "ts", "seq", name="late_options_pkey"),
        sa.CheckConstraint(_KEY, name="late_options_key_check"),
        sa.CheckConstraint("mode IN ('replace', 'keep', 'fill', 'delete')", name="late_options_mode_check"),
        sa.CheckConstraint("(mode = 'delete') = (until IS NOT NULL)", name="late_options_until_check"),
        schema="store",
    )


def downgrade() -> None:
    """Drop the table; that fails, and changes nothing, while options are in files or late."""
    op.execute(
        "DO $$ BEGIN IF EXISTS (SELECT FROM store.late_options)"
        " OR EXISTS (SELECT FROM store.cold_periods WHERE kind = 'options' AND replaced_at IS NULL) THEN"
        " RAISE EXCEPTION 'options are kept in files: bring them back first (datastore cold restore)'; END IF; END $$"
    )
    op.execute("DELETE FROM store.cold_periods WHERE kind = 'options'")
    op.execute("DELETE FROM store.cold_fences WHERE kind = 'options'")
    op.execute("DELETE FROM store.policies WHERE relation = 'options' AND policy = 'cold_after'")
    op.drop_table("late_options", schema="store")
