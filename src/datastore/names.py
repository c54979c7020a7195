"""Names and numbers that several packages share: roles, schemas, channels, limits, locks."""

from typing import Final

MIGRATION_LOCK: Final = "lock_migration"
"""The lock for migrating a database. A lock is a table: see `datastore.locks`."""

REFRESH_LOCK: Final = "lock_refresh"
"""The lock for refreshing rollups, because concurrent refreshes of overlapping ranges fail."""

CLAIM_LOCK: Final = "lock_claim"
"""The lock for claiming jobs."""

COLD_LOCK: Final = "lock_cold"
"""The lock for moving rows between tables and files."""

LOCKS: Final = (MIGRATION_LOCK, REFRESH_LOCK, CLAIM_LOCK, COLD_LOCK)
"""Every lock of the store."""

STORE: Final = "store"
"""The private schema. No application role has any right on its tables."""

TENANT_BITS: Final = 40
"""A series id is `(tenant no << TENANT_BITS) | n`, so the series of a tenant form one range."""

LARGEST_TENANT_NO: Final = 2 ** (63 - TENANT_BITS) - 2
"""The largest tenant no. The end of its range, `(no + 1) << TENANT_BITS`, still is a bigint."""

BEFORE: Final = "0001-12-31 23:59:59.999999+00 BC"
BEHIND: Final = "10000-01-01 00:00:00+00"
"""The years 1 to 9999 lie between these. Every client can represent them; PostgreSQL's own range is larger."""

BACKFILL_JOB: Final = "backfill"
"""The type of the jobs of backfills."""

REFRESH_JOB: Final = "refresh-aggregates"
"""The type of the jobs that refresh stored rollups."""

MAX_ATTEMPTS: Final = 10
"""The default largest number of attempts of a job. With `datastore.worker`'s waits they take over half an hour."""

OWNER: Final = "mds_owner"
"""The owner of every object. Its members may change the schema; nobody reads through it."""

APP: Final = "mds_app"
"""The role of applications' logins. It can use the views and nothing else."""

JOBS_CHANNEL: Final = "mds_jobs"
"""The channel on which workers listen. Anyone may listen, so a notification only says that there is something."""

FULLEST_QUEUE: Final = 0.5
"""The share of the server's notification queue up to which jobs are announced; above it, workers poll."""

LONGEST_KEY: Final = 500
LARGEST_PAYLOAD: Final = 1 << 20
"""The largest sizes in bytes of a job's idempotency key and type, and of its payload as text."""

OFFER_LOCKS: Final = 0x6D647377
"""The first number of the advisory locks by which workers show their settings; arbitrary, to avoid collisions."""
