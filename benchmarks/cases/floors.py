"""What the server itself needs, with everything else done beforehand."""

from collections.abc import Iterator

from psycopg.sql import SQL, Composable, Composed, Identifier

from benchmarks.case import Timed, Work, case, expect
from benchmarks.data import Checksum
from benchmarks.world import COLUMNS, Database, World
from mds_client import KINDS

GROUP = "floors"
BARS = SQL("store.bars")


def names(columns: tuple[str, ...], table: str | None = None) -> Composed:
    return SQL(", ").join(Identifier(table, name) if table else Identifier(name) for name in columns)


def merge(source: Composable) -> Composed:
    """The merge that the doors do, without them."""
    values = tuple(name for name in COLUMNS if name not in ("series_id", *KINDS["bars"].key))
    return SQL(
        "INSERT INTO store.bars AS t ({columns}) SELECT {columns} FROM {source} ON CONFLICT (series_id, ts)"
        " DO UPDATE SET {update} WHERE ({old}) IS DISTINCT FROM ({new})"
    ).format(
        columns=names(COLUMNS),
        source=source,
        update=SQL(", ").join(SQL("{0} = excluded.{0}").format(Identifier(name)) for name in values),
        old=names(values, "t"),
        new=names(values, "excluded"),
    )


def holds(database: Database, world: World) -> None:
    """The batch, and nothing else."""
    expect("the table", database.checksum(), Checksum.of(world.data.table))


@case(GROUP, "raw COPY into the bare table")
def raw_copy(world: World) -> Iterator[Work]:
    """Binary COPY of sorted narrow rows that were encoded beforehand, by the owner, into the table itself."""
    database = world.writes
    database.emptied()
    with database.owner() as owner:
        blocks = database.blocks
        yield Timed(lambda: database.copy(owner, BARS, blocks), world.size.rows)
    holds(database, world)


@case(GROUP, "bare merge", engines=("postgres", "timescale-apache", "timescale"))
def bare_merge(world: World) -> Iterator[Work]:
    """INSERT … ON CONFLICT DO UPDATE by the owner, from a sorted staging table that was filled beforehand."""
    database = world.writes
    database.emptied(newer=True)
    blocks = database.blocks
    with database.owner() as owner:
        # In one transaction, as an upsert does it: the staging table goes with it.
        owner.execute("BEGIN")
        owner.execute("CREATE TEMPORARY TABLE stage (LIKE store.bars) ON COMMIT DROP")
        database.copy(owner, SQL("stage"), blocks)

        def work() -> None:
            owner.execute(merge(SQL("stage")))
            owner.execute("COMMIT")

        yield Timed(work, world.size.rows)
    holds(database, world)
