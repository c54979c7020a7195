"""Fundamentals have further figures by name, in one column.

The column may be NULL, so no row is rewritten. Adding its check reads the table of fundamentals once.

Released: what it does stays as it is, whatever the declarations become.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision: str = "0018"
down_revision: str | None = "0017"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

_NUMBERS_BY_NAME = (
    "jsonb_typeof(items) = 'object' AND items <> '{}' AND NOT jsonb_path_exists(items, 'strict $.* ?"
    ' (@.type() != "null" && (@.type() != "number" || @ > 1.7976931348623157e308 || @ < -1.7976931348623157e308))\','
    " '{}', true)"
)


def upgrade() -> None:
    """Add the column and its check."""
    op.add_column("fundamentals", sa.Column("items", JSONB()), schema="store")
    op.create_check_constraint("fundamentals_items_check", "fundamentals", sa.text(_NUMBERS_BY_NAME), schema="store")


def downgrade() -> None:
    """Drop the column, with the figures that only it has."""
    op.drop_column("fundamentals", "items", schema="store")
