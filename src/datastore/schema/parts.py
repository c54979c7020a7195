"""Parts that tables have in common: the types of columns, and the column for the tenant of a row."""

from typing import Any, Final

from sqlalchemy import BigInteger, Column, Date, Double, ForeignKey, Integer, Text, Uuid
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP
from sqlalchemy.types import TypeEngine

from datastore.names import STORE
from mds_client.schema import SqlType

INSTANT: Final = TIMESTAMP(timezone=True)

TYPES: Final[dict[SqlType, TypeEngine[Any]]] = {
    "bigint": BigInteger(),
    "date": Date(),
    "double precision": Double(),
    "text": Text(),
    "timestamptz": INSTANT,
    "uuid": Uuid(),
    "jsonb": JSONB(none_as_null=True),
}


def tenant_no(table: str) -> Column[int]:
    """Return the column for the tenant of a row that is deleted with its tenant."""
    tenant = ForeignKey(f"{STORE}.tenants.no", name=f"{table}_tenant_no_fkey", ondelete="CASCADE")
    return Column("tenant_no", Integer, tenant, nullable=False)
