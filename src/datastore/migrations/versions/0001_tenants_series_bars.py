"""Tenants, bound roles, series and bars.

Released: what it does stays as it is, whatever the declarations become.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0001"
down_revision: str | None = None
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

_INSTANT = postgresql.TIMESTAMP(timezone=True)


def upgrade() -> None:
    op.create_table(
        "tenants",
        sa.Column("id", sa.Uuid(), nullable=False, server_default=sa.text("gen_random_uuid()")),
        sa.Column("no", sa.Integer(), sa.Identity(always=True, minvalue=1, maxvalue=8388606), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", _INSTANT, nullable=False, server_default=sa.text("now()")),
        sa.Column("disabled_at", _INSTANT),
        sa.PrimaryKeyConstraint("no", name="tenants_pkey"),
        sa.UniqueConstraint("id", name="tenants_id_key"),
        sa.UniqueConstraint("name", name="tenants_name_key"),
        sa.CheckConstraint("name <> ''", name="tenants_name_check"),
        schema="store",
    )
    op.create_table(
        "tenant_roles",
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("tenant_no", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_no"], ["store.tenants.no"], name="tenant_roles_tenant_no_fkey"),
        sa.PrimaryKeyConstraint("role", name="tenant_roles_pkey"),
        schema="store",
    )
    op.create_table(
        "objects",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("declared", sa.Text(), nullable=False),
        sa.Column("installed", sa.Text()),
        sa.PrimaryKeyConstraint("name", name="objects_pkey"),
        schema="store",
    )
    op.execute("CREATE SEQUENCE store.series_n AS bigint MAXVALUE 1099511627775")
    op.create_table(
        "series",
        sa.Column("series_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("vendor", sa.Text(), nullable=False),
        sa.Column("symbol", sa.Text()),
        sa.Column("timeframe", sa.Text()),
        sa.Column("last_ts", _INSTANT),
        sa.Column("last_price", sa.Double()),
        sa.Column("last_price_ts", _INSTANT),
        sa.PrimaryKeyConstraint("series_id", name="series_pkey"),
        postgresql_with={"fillfactor": 70},
        schema="store",
    )
    op.create_index(
        "series_name_key",
        "series",
        [sa.text("(series_id >> 40)"), "kind", "vendor", "symbol", "timeframe"],
        unique=True,
        postgresql_nulls_not_distinct=True,
        schema="store",
    )
    op.create_table(
        "bars",
        sa.Column("series_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("ts", _INSTANT, nullable=False),
        sa.Column("open_price", sa.Double()),
        sa.Column("high_price", sa.Double()),
        sa.Column("low_price", sa.Double()),
        sa.Column("close_price", sa.Double()),
        sa.Column("volume", sa.BigInteger()),
        sa.Column("id", sa.Uuid()),
        sa.PrimaryKeyConstraint("series_id", "ts", name="bars_pkey"),
        schema="store",
    )


def downgrade() -> None:
    raise RuntimeError("the first migration is not taken back: drop the schemas store and mds instead")
