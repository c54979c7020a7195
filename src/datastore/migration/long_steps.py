"""What takes long when a database is migrated: it is said before it begins, with an estimate."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from psycopg.sql import SQL, Identifier

from datastore import aggregates
from datastore.engines import Driver, Engine, one
from datastore.names import STORE
from mds_client import KINDS
from mds_client.schema import Kind

ROWS_PER_SECOND: Final = 100_000
"""The rate of the estimates: that of a small server. A large one is several times as fast."""

BYTES_PER_ROW: Final = 150
"""The size of a row in a table without statistics."""


@dataclass(frozen=True, slots=True)
class LongStep:
    """A part of a migration whose duration depends on the stored rows.

    `rows` and `bytes` are estimates without reading rows. `work` is `convert` for a table that becomes a hypertable,
    `replace` for a stored rollup that gets columns, and `store` for a rollup that is stored for the first time.
    """

    name: str
    work: Literal["convert", "replace", "store"]
    rows: int
    bytes: int

    @property
    def seconds(self) -> float:
        """The estimated duration."""
        return self.rows / ROWS_PER_SECOND


def long_steps(engine: Engine, driver: Driver) -> list[LongStep]:
    """Return the steps of the next migrate that take long on this database; none if it is empty or as declared."""
    found = [step for kind in KINDS.values() if _exists(driver, kind) for step in _steps(engine, driver, kind)]
    driver.commit()
    return [step for step in found if step.rows]


def _exists(driver: Driver, kind: Kind) -> bool:
    return bool(one(driver.execute("SELECT to_regclass(%s) IS NOT NULL", (f"{STORE}.{kind.name}",))))


def _steps(engine: Engine, driver: Driver, kind: Kind) -> Iterator[LongStep]:
    if engine.converts(driver, kind):
        yield LongStep(kind.name, "convert", *_size(engine, driver, (STORE, kind.name)))
    for rollup in kind.rollups if engine.materialized() else ():
        name = aggregates.relation(kind, rollup)
        columns = aggregates.stored_columns(kind)
        if (old := engine.replaced_rollup(driver, kind, rollup, columns)) is not None:
            yield LongStep(name, "replace", *_size(engine, driver, old))
        elif not one(driver.execute("SELECT to_regclass(%s) IS NOT NULL", (f"{STORE}.{name}",))):
            yield LongStep(name, "store", *_size(engine, driver, (STORE, kind.name)))


def _size(engine: Engine, driver: Driver, table: tuple[str, str]) -> tuple[int, int]:
    """Return the estimated number of rows of a table, which is 0 only if it is empty, and its bytes."""
    if not one(driver.execute(SQL("SELECT EXISTS (SELECT FROM {})").format(Identifier(*table)))):
        return 0, 0
    size = engine.size(driver, *table)
    return size.rows or max(1, size.table // BYTES_PER_ROW), size.table + size.indexes
