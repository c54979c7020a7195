"""Disk usage of kinds and stored rollups, from the catalog and file sizes. Reads no rows."""

from dataclasses import dataclass, replace

from datastore import aggregates
from datastore.connections import as_owner
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


def _named(size: Size, name: str) -> Size:
    """Return a size under the relation's public name, whatever the engine calls the relation that stores it."""
    return replace(size, relation=name)
