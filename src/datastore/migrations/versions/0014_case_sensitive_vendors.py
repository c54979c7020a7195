"""The symbols of a vendor can be declared case-sensitive, for all tenants.

Released: what it does stays as it is, whatever the declarations become.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0014"
down_revision: str | None = "0013"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "case_sensitive_vendors",
        sa.Column("vendor", sa.Text(), nullable=False),
        sa.Column("declared_at", postgresql.TIMESTAMP(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.PrimaryKeyConstraint("vendor", name="case_sensitive_vendors_pkey"),
        sa.CheckConstraint("vendor <> ''", name="case_sensitive_vendors_vendor_check"),
        schema="store",
    )


def downgrade() -> None:
    """Drop the table; that fails, and changes nothing, where a vendor is declared."""
    op.execute(
        "DO $$ BEGIN IF EXISTS (SELECT FROM store.case_sensitive_vendors) THEN"
        " RAISE EXCEPTION 'a vendor is declared case-sensitive: take that back first (datastore vendors unset)';"
        " END IF; END $$"
    )
    op.drop_table("case_sensitive_vendors", schema="store")
