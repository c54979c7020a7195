"""A job's fence, which no two claims share; and series whose last values any client can read.

Released: what it does stays as it is, whatever the declarations become.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

_READABLE = (
    "last_ts > timestamptz '0001-12-31 23:59:59.999999+00 BC' AND last_ts < timestamptz '10000-01-01 00:00:00+00'"
    " AND last_price_ts > timestamptz '0001-12-31 23:59:59.999999+00 BC'"
    " AND last_price_ts < timestamptz '10000-01-01 00:00:00+00'"
)


def upgrade() -> None:
    op.add_column(
        "jobs", sa.Column("fence", sa.BigInteger(), server_default=sa.text("0"), nullable=False), schema="store"
    )
    # A tenant could write there what it liked: what is no time of any calendar is given up.
    op.execute(
        """
        UPDATE store.series SET last_ts = NULL, last_price = NULL, last_price_ts = NULL
        WHERE NOT (last_ts > '0001-12-31 23:59:59.999999+00 BC' AND last_ts < '10000-01-01 00:00:00+00'
                   AND last_price_ts > '0001-12-31 23:59:59.999999+00 BC'
                   AND last_price_ts < '10000-01-01 00:00:00+00')
        """
    )
    op.create_check_constraint("series_last_check", "series", _READABLE, schema="store")


def downgrade() -> None:
    op.drop_constraint("series_last_check", "series", schema="store", type_="check")
    op.drop_column("jobs", "fence", schema="store")
