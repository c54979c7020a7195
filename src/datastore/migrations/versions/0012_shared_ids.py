"""News of several symbols can share an id.

A row that shares its id with another one is stored under an id of its own, and keeps the given one. No row is
rewritten.

Released: what it does stays as it is, whatever the declarations become.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0012"
down_revision: str | None = "0011"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    """Add the column."""
    op.add_column("news", sa.Column("id_given", sa.Uuid()), schema="store")


def downgrade() -> None:
    """Take the column out; that fails, and changes nothing, where rows share an id."""
    op.execute(
        "DO $$ BEGIN IF EXISTS (SELECT FROM store.news WHERE id_given IS NOT NULL) THEN"
        " RAISE EXCEPTION 'news of several symbols share an id'; END IF; END $$"
    )
    op.drop_column("news", "id_given", schema="store")
