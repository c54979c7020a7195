"""Volumes and open interest may have a fraction; bars, fundamentals and options have more fields.

Columns that may be NULL are added, which rewrites no row and leaves columnar chunks as they are. The fraction of a
volume gets a column beside the one of its whole part.

Released: what it does stays as it is, whatever the declarations become.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0009"
down_revision: str | None = "0008"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

_NUMBERS = {
    "bars": ("vwap",),
    "options": ("bid", "ask", "last", "vega", "theta", "rho", "oi_fraction", "volume_fraction"),
}


def upgrade() -> None:
    for table, names in _NUMBERS.items():
        for name in names:
            op.add_column(table, sa.Column(name, sa.Double()), schema="store")
    op.add_column("bars", sa.Column("trade_count", sa.BigInteger()), schema="store")
    op.add_column("bars", sa.Column("volume_fraction", sa.Double()), schema="store")
    op.add_column("fundamentals", sa.Column("currency", sa.Text()), schema="store")
    op.add_column("fundamentals", sa.Column("period", sa.Text()), schema="store")


def downgrade() -> None:
    op.drop_column("fundamentals", "period", schema="store")
    op.drop_column("fundamentals", "currency", schema="store")
    op.drop_column("bars", "volume_fraction", schema="store")
    op.drop_column("bars", "trade_count", schema="store")
    for table, names in _NUMBERS.items():
        for name in names:
            op.drop_column(table, name, schema="store")
