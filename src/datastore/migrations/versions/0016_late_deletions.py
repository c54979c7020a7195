"""Deletions of rows that are kept in files: a late row can be a deletion, which has an end.

Released: what it does stays as it is, whatever the declarations become.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0016"
down_revision: str | None = "0015"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    """Add the column, and allow the mode."""
    op.add_column("late_bars", sa.Column("until", postgresql.TIMESTAMP(timezone=True)), schema="store")
    op.drop_constraint("late_bars_mode_check", "late_bars", schema="store")
    op.create_check_constraint(
        "late_bars_mode_check", "late_bars", "mode IN ('replace', 'keep', 'fill', 'delete')", schema="store"
    )
    op.create_check_constraint(
        "late_bars_until_check", "late_bars", "(mode = 'delete') = (until IS NOT NULL)", schema="store"
    )


def downgrade() -> None:
    """Drop the column; that fails, and changes nothing, while there are late deletions."""
    op.execute(
        "DO $$ BEGIN IF EXISTS (SELECT FROM store.late_bars WHERE mode = 'delete') THEN"
        " RAISE EXCEPTION 'late deletions are not in the files yet: fold them first (datastore cold fold)';"
        " END IF; END $$"
    )
    op.drop_constraint("late_bars_until_check", "late_bars", schema="store")
    op.drop_constraint("late_bars_mode_check", "late_bars", schema="store")
    op.create_check_constraint(
        "late_bars_mode_check", "late_bars", "mode IN ('replace', 'keep', 'fill')", schema="store"
    )
    op.drop_column("late_bars", "until", schema="store")
