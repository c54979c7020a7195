"""Rollups: bars of longer timeframes, derived from the kinds' declarations.

The same names, columns and answers on every engine. Where the engine can store them, each is a continuous aggregate
over the one before it, with what is not materialised yet computed when it is read; elsewhere it is a view that
computes. Intervals are aligned to midnight UTC; values that are NULL do not count.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from psycopg.sql import SQL, Composable, Identifier

from datastore.connections import as_owner
from datastore.engines import Driver, Engine
from datastore.errors import ControlError
from datastore.locks import held
from datastore.names import REFRESH_LOCK, STORE
from mds_client import KINDS, schema, sql
from mds_client.schema import Kind, Rollup

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Refresh:
    """A rollup that was brought up to its rows, and the span (UTC) for which it was; None is unbounded."""

    rollup: str
    start: datetime | None
    end: datetime | None


def rollups() -> Iterator[tuple[Kind, Rollup]]:
    """Every declared rollup, a source before what is derived from it."""
    for kind in KINDS.values():
        for rollup in kind.rollups:
            yield kind, rollup


def relation(kind: Kind, rollup: Rollup) -> str:
    """The name of a rollup, in every schema: `bars_5m`."""
    return f"{kind.name}_{rollup.timeframe}"


def names() -> list[str]:
    """Every rollup's, a source before what is derived from it."""
    return [relation(kind, rollup) for kind, rollup in rollups()]


def select(engine: Engine, kind: Kind, rollup: Rollup, source: str, where: Composable | None = None) -> Composable:
    """The rows of a rollup, made of those of a relation in the private schema."""
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
    """The columns of a stored rollup, and what it makes of the rows: an amount has two, as in the table, and a mean has
    the sum of its weights beside it."""
    made = [(kind.column(name), how) for name, how in kind.aggregates]
    fractions = ((column.fraction, how) for column, how in made if column.amount)
    return [*kind.aggregates, *fractions, *((column.weights, "sum") for column in kind.means)]


def create(engine: Engine, driver: Driver) -> list[str]:
    """Store the rollups that are not stored yet, where the engine can, and fill them; return their names.

    One that lacks a column, because its declaration has changed, is set aside, and its rows go into the new one. Call
    `drop_replaced` when the views read the new one.
    """
    for kind, rollup in rollups():
        engine.set_aside(driver, kind, rollup, [name for name, _ in _stored(kind)])
    made = []
    for kind, rollup in rollups():
        source = kind.name if rollup.source == kind.base else f"{kind.name}_{rollup.source}"
        if engine.create_rollup(driver, kind, rollup, select(engine, kind, rollup, source)):
            made.append((kind, rollup))
    driver.commit()
    for kind, rollup in rollups():
        if not engine.fill_from_aside(driver, kind, rollup) and (kind, rollup) in made:
            # What is there already is materialised now: a policy looks only at what changes from here on.
            engine.refresh_rollup(driver, kind, rollup, (None, None))
    return [relation(kind, rollup) for kind, rollup in made]


def drop_replaced(engine: Engine, driver: Driver) -> None:
    """Drop the stored rollups that others have taken the place of, what is derived from a rollup before it."""
    for kind, rollup in reversed(list(rollups())):
        engine.drop_aside(driver, kind, rollup)


def refresh_stored(
    engine: Engine, driver: Driver, start: datetime | None = None, end: datetime | None = None, names: Any = None
) -> list[Refresh]:
    """Bring stored rollups up to the rows with `start <= time < end`, each widened to whole intervals of its own.

    `names` limits it to these rollups. Returns what was refreshed: nothing where rollups are computed when read.
    """
    if not engine.materialized():
        return []
    done = []
    for kind, rollup in rollups():
        name = relation(kind, rollup)
        if names is not None and name not in names:
            continue
        span = (_floor(start, rollup.width), _ceiling(end, rollup.width))
        engine.refresh_rollup(driver, kind, rollup, span)
        done.append(Refresh(name, *span))
    return done


def _floor(time: datetime | None, width: timedelta) -> datetime | None:
    return None if time is None else _EPOCH + (time - _EPOCH) // width * width


def _ceiling(time: datetime | None, width: timedelta) -> datetime | None:
    return None if time is None else _EPOCH - (_EPOCH - time) // width * width


@dataclass(frozen=True, slots=True)
class Aggregate:
    """A rollup: its view's name, its timeframe and that of what it is made of; stored, or computed when it is read."""

    name: str
    timeframe: str
    source: str
    stored: bool


def list_aggregates(dsn: str) -> list[Aggregate]:
    """Every rollup, and how this database has it."""
    with as_owner(dsn) as (engine, _):
        stored = engine.materialized()
        return [
            Aggregate(relation(kind, rollup), rollup.timeframe, rollup.source, stored) for kind, rollup in rollups()
        ]


def rollup_names(wanted: Sequence[str] | None = None) -> list[str]:
    """The rollups that are wanted (None: all), a source before what is derived from it.

    Raises ControlError for an unknown name.
    """
    known = names()
    if unknown := set(wanted or ()) - set(known):
        raise ControlError(f"no rollup {', '.join(sorted(unknown))}; there are: {', '.join(known)}")
    return known if wanted is None else [name for name in known if name in wanted]


def refresh(
    dsn: str, start: datetime | None = None, end: datetime | None = None, names: Sequence[str] | None = None
) -> list[Refresh]:
    """Bring the stored rollups up to the rows of a span; nothing where rollups are computed when they are read.

    Raises ControlError for an unknown rollup.
    """
    wanted = rollup_names(names)
    with as_owner(dsn) as (engine, driver):
        if not engine.materialized():
            return []
        # Each rollup is a transaction of its own.
        with held(dsn, REFRESH_LOCK, driver):
            return refresh_stored(engine, driver, start, end, wanted)
