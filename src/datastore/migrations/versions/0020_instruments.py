"""Definitions of instruments: what a vendor says of an instrument itself.

Adds a table and touches no other.

Released: what it does stays as it is, whatever the declarations become.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0020"
down_revision: str | None = "0019"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

_NUMBERS_BY_NAME = (
    "jsonb_typeof(items) = 'object' AND items <> '{}' AND NOT jsonb_path_exists(items, 'strict $.* ?"
    ' (@.type() != "null" && (@.type() != "number" || @ > 1.7976931348623157e308 || @ < -1.7976931348623157e308))\','
    " '{}', true)"
)


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "instruments",
        sa.Column("series_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("asof", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("instrument_type", sa.Text(), nullable=True),
        sa.Column("exchange", sa.Text(), nullable=True),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.Column("tick_size", sa.Double(), nullable=True),
        sa.Column("multiplier", sa.Double(), nullable=True),
        sa.Column("underlying", sa.Text(), nullable=True),
        sa.Column("expiration", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("strike", sa.Double(), nullable=True),
        sa.Column("option_type", sa.Text(), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=True),
        sa.Column("items", postgresql.JSONB(), nullable=True),
        sa.CheckConstraint(sa.text(_NUMBERS_BY_NAME), name="instruments_items_check"),
        sa.PrimaryKeyConstraint("series_id", "asof", name="instruments_pkey"),
        schema="store",
    )


def downgrade() -> None:
    """Drop the table with its rows."""
    op.drop_table("instruments", schema="store")
