"""Rollups: bars of longer timeframes, derived from the kinds' declarations.

Names, columns and results are the same on every engine. If the engine can store rollups, each is a continuous aggregate
over the previous one, and what is not materialised yet is computed when it is read; otherwise it is a view that
computes everything. Intervals are aligned to midnight UTC; NULLs do not count.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from psycopg.sql import SQL, Composable, Identifier

from datastore.connections import as_owner
from datastore.engines import Driver, Engine
from datastore.errors import ControlError
from datastore.locks import held
from datastore.names import REFRESH_LOCK, STORE
from mds_client import KINDS, schema, sql
from mds_client.schema import Kind, Rollup
from mds_client.values.times import ceiling, floor


@dataclass(frozen=True, slots=True)
class Refresh:
    """A refreshed rollup, and the range (UTC) that was refreshed; None is unbounded."""

    rollup: str
    start: datetime | None
    end: datetime | None


def rollups() -> Iterator[tuple[Kind, Rollup]]:
    """Yield every declared rollup, each after its source."""
    for kind in KINDS.values():
        for rollup in kind.rollups:
            yield kind, rollup


def relation(kind: Kind, rollup: Rollup) -> str:
    """Return the name of a rollup in every schema, such as `bars_5m`."""
    return f"{kind.name}_{rollup.timeframe}"


def names() -> list[str]:
    """Return the names of all rollups, each after its source."""
    return [relation(kind, rollup) for kind, rollup in rollups()]


def select(engine: Engine, kind: Kind, rollup: Rollup, source: str, where: Composable | None = None) -> Composable:
    """Return a SELECT for the rows of a rollup, computed from a relation of the private schema."""
    time = Identifier(kind.time)
    of_rows = source == kind.name
    made = {column.name: sql.mean(kind, column, of_rows=of_rows) for column in kind.means} | {
        column.weights: SQL("sum({})").format(sql.weight(kind, column, of_rows=of_rows)) for column in kind.means
    }
    values = SQL(", ").join(
        SQL("{} AS {}").format(
            made[name] if name in made else engine.aggregate(how, Identifier(name), time), Identifier(name)
        )
        for name, how in _stored(kind)
    )
    return SQL("SELECT series_id, {} AS {}, {} FROM {}{} GROUP BY 1, 2").format(
        engine.bucket(rollup.width, time), time, values, Identifier(STORE, source), where or SQL("")
    )


def _stored(kind: Kind) -> list[tuple[str, schema.Aggregate]]:
    """Return the columns of a stored rollup, and how each is aggregated: an amount has two, as in the table, and a mean
    also has the sum of its weights."""
    made = [(kind.column(name), how) for name, how in kind.aggregates]
    fractions = ((column.fraction, how) for column, how in made if column.amount)
    return [*kind.aggregates, *fractions, *((column.weights, "sum") for column in kind.means)]


def stored_columns(kind: Kind) -> list[str]:
    """Return the names of the columns of a kind's stored rollups, beside series and time."""
    return [name for name, _ in _stored(kind)]


def create(
    engine: Engine, driver: Driver, told: Callable[[str, int, int], object] = lambda _name, _done, _all: None
) -> list[str]:
    """Store the rollups that are not stored yet, if the engine can, and fill them; return their names.

    A rollup that lacks a column, because its declaration has changed, is set aside, and its rows are copied into the
    new one. Call `drop_replaced` when the views read the new one. `told` is called with the name of the rollup that is
    being filled, and how many of how many parts are done.
    """
    for kind, rollup in rollups():
        engine.set_aside(driver, kind, rollup, stored_columns(kind))
    made = []
    for kind, rollup in rollups():
        source = kind.name if rollup.source == kind.base else f"{kind.name}_{rollup.source}"
        if engine.create_rollup(driver, kind, rollup, select(engine, kind, rollup, source)):
            made.append((kind, rollup))
    driver.commit()
    for kind, rollup in rollups():
        name = relation(kind, rollup)
        if not engine.fill_from_aside(driver, kind, rollup, partial(told, name)) and (kind, rollup) in made:
            # Materialise the existing rows now: a policy considers only later changes.
            told(name, 0, 1)
            engine.refresh_rollup(driver, kind, rollup, (None, None))
            told(name, 1, 1)
    return [relation(kind, rollup) for kind, rollup in made]


def drop_replaced(engine: Engine, driver: Driver) -> None:
    """Drop the replaced stored rollups, each before its source."""
    for kind, rollup in reversed(list(rollups())):
        engine.drop_aside(driver, kind, rollup)


def refresh_stored(
    engine: Engine, driver: Driver, start: datetime | None = None, end: datetime | None = None, names: Any = None
) -> list[Refresh]:
    """Bring stored rollups up to the rows with `start <= time < end`, widened to whole intervals of each rollup.

    `names` limits it to these rollups. Returns what was refreshed: nothing if rollups are computed when they are read.
    """
    if not engine.materialized():
        return []
    done = []
    for kind, rollup in rollups():
        name = relation(kind, rollup)
        if names is not None and name not in names:
            continue
        span = (start and floor(start, rollup.width), end and ceiling(end, rollup.width))
        engine.refresh_rollup(driver, kind, rollup, span)
        done.append(Refresh(name, *span))
    return done


@dataclass(frozen=True, slots=True)
class Aggregate:
    """A rollup: the name of its view, its timeframe and its source's; stored, or computed when it is read."""

    name: str
    timeframe: str
    source: str
    stored: bool


def list_aggregates(dsn: str) -> list[Aggregate]:
    """List all rollups of this database."""
    with as_owner(dsn) as (engine, _):
        stored = engine.materialized()
        return [
            Aggregate(relation(kind, rollup), rollup.timeframe, rollup.source, stored) for kind, rollup in rollups()
        ]


def rollup_names(wanted: Sequence[str] | None = None) -> list[str]:
    """Return the given rollups (None: all), each after its source.

    Raises ControlError for an unknown name.
    """
    known = names()
    if unknown := set(wanted or ()) - set(known):
        raise ControlError(f"there is no rollup {', '.join(sorted(unknown))}; there are: {', '.join(known)}")
    return known if wanted is None else [name for name in known if name in wanted]


def refresh(
    dsn: str, start: datetime | None = None, end: datetime | None = None, names: Sequence[str] | None = None
) -> list[Refresh]:
    """Bring the stored rollups up to the rows of a range; does nothing if rollups are computed when they are read.

    Raises ControlError for an unknown rollup.
    """
    wanted = rollup_names(names)
    with as_owner(dsn) as (engine, driver):
        if not engine.materialized():
            return []
        # Each rollup is refreshed in its own transaction.
        with held(dsn, REFRESH_LOCK, driver):
            return refresh_stored(engine, driver, start, end, wanted)
