"""Names and numbers that several packages share: roles, schemas, channels, limits, locks."""

from typing import Final

MIGRATION_LOCK: Final = "lock_migration"
"""The lock under which a database is migrated. A lock is a table: see `datastore.locks`."""

REFRESH_LOCK: Final = "lock_refresh"
"""The lock under which rollups are refreshed: two refreshes of one over spans that overlap end in an error."""

CLAIM_LOCK: Final = "lock_claim"
"""The lock under which jobs are claimed."""

COLD_LOCK: Final = "lock_cold"
"""The lock under which rows are moved between tables and files: one at a time."""

LOCKS: Final = (MIGRATION_LOCK, REFRESH_LOCK, CLAIM_LOCK, COLD_LOCK)
"""Every lock of the store."""

STORE: Final = "store"
"""The private schema: no application role has any right on a table in it."""

TENANT_BITS: Final = 40
"""A series id is `(tenant no << TENANT_BITS) | n`, so that one tenant's series are one range."""

LARGEST_TENANT_NO: Final = 2 ** (63 - TENANT_BITS) - 2
"""The largest tenant no: the ceiling of its range, `(no + 1) << TENANT_BITS`, still is a bigint."""

BEFORE: Final = "0001-12-31 23:59:59.999999+00 BC"
BEHIND: Final = "10000-01-01 00:00:00+00"
"""Between these are the years 1 to 9999, which every client can hold; PostgreSQL's own times go farther."""

MAX_ATTEMPTS: Final = 10
"""How often a job may be begun, where nobody says: over half an hour, as `datastore.worker` waits in between."""

OWNER: Final = "mds_owner"
"""Owns every object. A member may change the schema; nobody reads through it."""

APP: Final = "mds_app"
"""The role of applications' logins. It can use the views and nothing else."""

JOBS_CHANNEL: Final = "mds_jobs"
"""Where workers listen. Anybody may listen with them, so what is sent is that there is something, and no more."""

FULLEST_QUEUE: Final = 0.5
"""The part of the server's queue of notifications up to which jobs are announced; beyond it, workers find them."""

LONGEST_KEY: Final = 500
LARGEST_PAYLOAD: Final = 1 << 20
"""Bytes of a job's idempotency key and type, and of its payload as text."""

OFFER_LOCKS: Final = 0x6D647377
"""The first number of the advisory locks by which workers tell what they have; any that others will not take."""
