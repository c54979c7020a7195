"""What TimescaleDB is asked for: isolation at no cost, windows from row and compressed chunks, rollups."""

from collections.abc import Iterator

import psycopg
from psycopg.sql import SQL, Identifier, Literal

from benchmarks.case import Calls, Timed, Work, case, expect
from benchmarks.cases.floors import holds, names
from benchmarks.cases.reads import chosen, day
from benchmarks.data import DAY, VENDOR, Checksum
from benchmarks.world import COLUMNS, Database, World
from datastore import aggregates
from datastore.engines import detect
from datastore.names import STORE
from mds_client import KINDS

GROUP = "engines"
ALL_ENGINES = ("postgres", "timescale-apache", "timescale")


@case(GROUP, "merge through the doors", engines=ALL_ENGINES)
def through_the_doors(world: World) -> Iterator[Work]:
    """The bare merge's rows from the same sort of staging table, by an application's role through its view."""
    database = world.writes
    database.emptied(newer=True)
    blocks = database.blocks
    stage = SQL("pg_temp.stage")
    with psycopg.connect(database.dsn, prepare_threshold=None) as application:
        application.execute("CREATE TEMPORARY TABLE stage ON COMMIT DROP AS TABLE mds.bars WITH NO DATA")
        database.copy(application, stage, blocks)
        application.execute("SELECT mds.use_tenant(%s)", (database.tenant,))
        insert = SQL("INSERT INTO mds.bars_replace ({columns}) SELECT {columns} FROM {stage}").format(
            columns=names(COLUMNS), stage=stage
        )

        def merge() -> None:
            application.execute(insert)
            application.commit()

        yield Timed(merge, world.size.rows)
    holds(database, world)


def deep(world: World) -> Database:
    """The database with five million rows."""
    world.reads.filled(world.size.deep)
    return world.reads


def windows(world: World, database: Database) -> Iterator[Work]:
    found: list[int] = []
    with database.client() as mds:
        mds.health()
        yield Calls(
            lambda number: found.append(len(mds.bars_window(chosen(world, number), "1m", *day(), VENDOR))),
            world.size.calls,
        )
    expect("the windows", set(found), {DAY})


@case(GROUP, "window of 390 bars from 5 million", engines=("timescale-apache", "timescale"))
def window_of_rows(world: World) -> Iterator[Work]:
    """`bars_window` as models, from chunks of rows."""
    yield from windows(world, deep(world))


def compress(database: Database) -> None:
    """Every chunk of bars into the columnstore."""
    with database.superuser() as superuser:
        for (chunk,) in superuser.execute("SELECT show_chunks('store.bars')::text").fetchall():
            superuser.execute(SQL("CALL convert_to_columnstore({}, if_not_columnstore => true)").format(Literal(chunk)))
        superuser.execute("CHECKPOINT")


@case(GROUP, "window of 390 bars from 5 million, compressed", engines=("timescale",))
def window_of_columns(world: World) -> Iterator[Work]:
    """The same from chunks in the columnstore."""
    database = deep(world)
    compress(database)
    yield from windows(world, database)
    database.state = ""


@case(GROUP, "Arrow, merged into compressed chunks", engines=("timescale",))
def merged_into_columns(world: World) -> Iterator[Work]:
    """A day of an Arrow table that changes rows which are in the columnstore."""
    database, size = world.writes, world.size
    database.emptied()
    rows = world.data.changed.slice(0, size.series * size.day)
    with database.client() as mds:
        mds.upsert_bars(world.data.day)
        compress(database)
        yield Timed(lambda: mds.upsert_bars(rows), rows.num_rows)
    expect("the table", database.checksum(), Checksum.of(rows))


@case(GROUP, "rollups of a day refreshed", engines=("timescale",))
def rollups(world: World) -> Iterator[Work]:
    """Every rollup (5m, 15m, 1h and 1d) of a day whose rows have all changed, as after a backfill of it."""
    database = world.reads
    database.filled(world.size.history)
    aggregates.refresh(database.admin_dsn)
    database.state = ""
    with database.superuser() as superuser:
        superuser.execute("UPDATE store.bars SET volume = volume + 1 WHERE ts >= %s AND ts < %s", day())
        database.settled(superuser)
    yield Timed(lambda: aggregates.refresh(database.admin_dsn, *day()), world.size.series * DAY, unit="s")
    of_day = SQL("SELECT sum(volume) FROM {} WHERE ts >= %s::date AND ts < %s::date + 1")
    kind = KINDS["bars"]
    with database.superuser() as superuser:
        # What is stored, without what the server would compute for the rest.
        stored = detect(superuser).stored_rollup(superuser, kind, kind.rollup("1d"))
        assert stored is not None
        made, there = (
            superuser.execute(of_day.format(Identifier(*relation)), day()).fetchone()
            for relation in (stored, (STORE, kind.name))
        )
    expect("the volume of the day", made, there)
