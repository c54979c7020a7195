"""Migrations: bring a database to the newest version, compare it with the declarations, write new migrations.

The declarations are in `datastore.schema`, the versions in `datastore.migrations`.
"""

from datastore.migration.drift import check
from datastore.migration.long_steps import LongStep
from datastore.migration.migrating import Migration, migrate, migrate_sql, revision, stamp_head
from datastore.migration.owner import owner_connection

__all__ = [
    "LongStep",
    "Migration",
    "check",
    "migrate",
    "migrate_sql",
    "owner_connection",
    "revision",
    "stamp_head",
]
