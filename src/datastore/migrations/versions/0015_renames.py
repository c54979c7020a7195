"""A series counts how often it was renamed.

A column with a constant default is added, which rewrites no row.

Released: what it does stays as it is, whatever the declarations become.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0015"
down_revision: str | None = "0014"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    """Add the column."""
    op.add_column(
        "series", sa.Column("renames", sa.Integer(), nullable=False, server_default=sa.text("0")), schema="store"
    )


def downgrade() -> None:
    """Take the column out. Clients of an earlier release may then write to a renamed series by its earlier name."""
    op.drop_column("series", "renames", schema="store")
