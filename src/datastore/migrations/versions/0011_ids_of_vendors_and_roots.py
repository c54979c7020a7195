"""News keep a vendor's own id; options know their root and multiplier; counts of gaps keep those of repeated bars.

The root is a part of a series' name: a series without one has its symbol as root. No row is rewritten.

Released: what it does stays as it is, whatever the declarations become.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0011"
down_revision: str | None = "0010"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

_NAME = (sa.text("(series_id >> 40)"), "kind", "vendor", "symbol", "timeframe")


def _name_series_by(*columns: sa.TextClause | str) -> None:
    op.drop_index("series_name_key", "series", schema="store")
    op.create_index(
        "series_name_key", "series", list(columns), unique=True, schema="store", postgresql_nulls_not_distinct=True
    )


def upgrade() -> None:
    """Add the columns, and make the root a part of the name."""
    op.add_column("news", sa.Column("vendor_id", sa.Text()), schema="store")
    op.add_column("options", sa.Column("multiplier", sa.Double()), schema="store")
    op.add_column("series", sa.Column("root", sa.Text()), schema="store")
    _name_series_by(*_NAME, "root")
    repeated = sa.Column("repeated", sa.BigInteger(), nullable=False, server_default=sa.text("0"))
    op.add_column("gap_counts", repeated, schema="store")


def downgrade() -> None:
    """Take the columns out again; that fails, and changes nothing, where a symbol has options of several roots."""
    op.drop_column("gap_counts", "repeated", schema="store")
    _name_series_by(*_NAME)
    op.drop_column("series", "root", schema="store")
    op.drop_column("options", "multiplier", schema="store")
    op.drop_column("news", "vendor_id", schema="store")
