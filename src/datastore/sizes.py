"""Disk usage of kinds and stored rollups, and how many rows were written, from the catalog. Reads no rows."""

from dataclasses import dataclass, replace

from datastore import aggregates
from datastore.connections import as_owner, connect
from datastore.engines import one
from datastore.engines.base import Size
from datastore.names import STORE
from mds_client import KINDS


@dataclass(frozen=True, slots=True)
class StoreSizes:
    """Disk usage in bytes of the whole database, and of each kind and stored rollup. `engine` is the engine's name."""

    database: int
    engine: str
    relations: list[Size]

    @property
    def rows(self) -> int:
        """The number of rows of all kinds, as the server estimates it, without rollups."""
        return sum(size.rows or 0 for size in self.relations if size.relation in KINDS)


def store_sizes(dsn: str) -> StoreSizes:
    """Return the disk usage of the store.

    Args:
        dsn: The control plane's DSN.

    Raises:
        NotMigrated: The database's schema is not the one of this release.
    """
    with as_owner(dsn) as (engine, driver):
        places = {name: (STORE, name) for name in KINDS}
        for kind, rollup in aggregates.rollups():
            if stored := engine.stored_rollup(driver, kind, rollup):
                places[aggregates.relation(kind, rollup)] = stored
        found = [(name, engine.size(driver, *place)) for name, place in places.items()]
        return StoreSizes(
            database=one(driver.execute("SELECT pg_database_size(current_database())")),
            engine=engine.name,
            relations=[_named(size, name) for name, size in found],
        )


def rows_written(dsn: str) -> int:
    """Return how many rows of all kinds were inserted or changed since the server began to count.

    The server counts a transaction within a second or so after its end. The number becomes smaller when chunks are
    dropped or the statistics are reset.

    Args:
        dsn: The control plane's DSN.
    """
    with connect(dsn) as connection:
        return int(
            one(
                connection.execute(
                    """
                    WITH RECURSIVE parts AS (
                      SELECT c.oid FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
                      WHERE n.nspname = %s AND c.relname = ANY(%s)
                      UNION ALL
                      SELECT i.inhrelid FROM parts JOIN pg_inherits AS i ON i.inhparent = parts.oid)
                    SELECT coalesce(sum(pg_stat_get_tuples_inserted(oid) + pg_stat_get_tuples_updated(oid)), 0)::bigint
                    FROM parts
                    """,
                    (STORE, list(KINDS)),
                )
            )
        )


def _named(size: Size, name: str) -> Size:
    """Return a size under the relation's public name, whatever the engine calls the relation that stores it."""
    return replace(size, relation=name)
