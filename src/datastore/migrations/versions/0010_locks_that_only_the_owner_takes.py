"""Tables that serve as locks, for refreshes of rollups and for claims of jobs.

Advisory locks did that before, and any role can hold these up. The table for migrations is made before them.

Released: what it does stays as it is, whatever the declarations become.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0010"
down_revision: str | None = "0009"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    """Make the tables."""
    for name in ("lock_refresh", "lock_claim"):
        op.create_table(name, sa.Column("unused", sa.Boolean(), nullable=True), schema="store")


def downgrade() -> None:
    """Drop the tables."""
    for name in ("lock_refresh", "lock_claim"):
        op.drop_table(name, schema="store")
