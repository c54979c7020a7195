"""The declaration of a kind of record. All code that knows a kind's columns takes them from here.

A declaration is a row model (`mds_client.models`) with the `@kind` decorator. The DDL and its drift check, the upsert
in every write mode, COPY, NDJSON, the `mds write-…` command and the kinds page are derived from it. This module has
no SQL text (see `mds_client.sql`) and does no I/O.
"""

import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import Any, Final, Literal, TypeAlias, TypeVar, get_args
from uuid import UUID

from pydantic import BaseModel

from mds_client.errors import ConfigurationError
from mds_client.layout import Aggregate as Aggregate
from mds_client.layout import Column as Column
from mds_client.layout import Rollup as Rollup
from mds_client.layout import Sql as Sql
from mds_client.layout import SqlType as SqlType
from mds_client.layout import Storage as Storage
from mds_client.layout import check_columns, check_names, column_of, numbers_text

OnConflict: TypeAlias = Literal["replace", "keep", "fill"]
"""What happens to a stored row with the same key.

`replace`: the new row overwrites every value, None included, unless it has no value at all. `keep`: the stored row
stays. `fill`: the new row overwrites, but None leaves the stored value; so does each name of a map for itself.
"""

Door: TypeAlias = Literal["replace", "keep", "fill", "append"]
"""The ways to write into a kind's table: one for each way to resolve a conflict, and `append`, for which a conflict is
an error."""

DOORS: Final[tuple[Door, ...]] = get_args(Door)

SERIES_COLUMNS: Final = ("vendor", "symbol", "timeframe", "root")
"""The columns that identify a series in the series table; a kind uses a subset of them."""

DEFAULTS: Final = {"root": "symbol"}
"""Identifying columns that take another column's value by default, and are then stored as NULL.

Clients see the value. Series are looked up without these columns, because few series differ only in them.
"""

SYMBOLS: Final = ("symbol", "root")
"""The fields that are symbols of the vendor: in upper case, or case-sensitive if the vendor is declared so."""

TENANT_COLUMN: Final = "tenant_id"


def check_conflict(on_conflict: str) -> None:
    """Raise ConfigurationError if `on_conflict` is not one of the values of `OnConflict`."""
    if on_conflict not in get_args(OnConflict):
        raise ConfigurationError(f"on_conflict is replace, keep or fill, not {on_conflict!r}")


@dataclass(frozen=True, eq=False)
class Kind:
    """A kind of record, as declared by `@kind`. Each kind has one instance, so statements are cached by identity.

    `name` is the plural that is used everywhere (`bars`); `singular` names one row (`mds write-bar`); `relation` is
    the public view to select from. `series` are the fields that identify a series, `key` the fields that identify a row
    within its series (including the time), `price` the field whose newest value is the latest price. `ordered` are
    pairs of fields: a row whose first field is above its second is stored, but is suspicious.
    """

    name: str
    singular: str
    relation: str
    model: type[BaseModel]
    time: str
    series: tuple[str, ...]
    key: tuple[str, ...]
    price: str | None
    storage: Storage | None
    columns: tuple[Column, ...]
    rollups: tuple[Rollup, ...] = ()
    aggregates: tuple[tuple[str, Aggregate], ...] = ()
    """How a rollup aggregates each of its columns."""
    ordered: tuple[tuple[str, str], ...] = ()
    weight: str | None = None
    """The amount that weights the means of rollups."""

    @property
    def cold(self) -> bool:
        """Whether old rows of this kind can be kept in files."""
        return self.storage is not None and self.storage.cold

    @property
    def searched(self) -> tuple[str, ...]:
        """The fields that a series is looked up by."""
        return tuple(name for name in self.series if name not in DEFAULTS)

    def named(self, parts: Sequence[str | None]) -> tuple[str | None, ...]:
        """Return the values that identify a series of this kind, from the values of SERIES_COLUMNS."""
        found = dict(zip(SERIES_COLUMNS, parts, strict=False))
        return tuple(found[DEFAULTS.get(part, part) if found[part] is None else part] for part in self.series)

    @property
    def base(self) -> str:
        """The timeframe of the stored rows that the rollups are derived from."""
        derived = {rollup.timeframe for rollup in self.rollups}
        (base,) = {rollup.source for rollup in self.rollups} - derived
        return base

    def rollup(self, timeframe: str) -> Rollup:
        """Return the rollup of a timeframe. Raises LookupError, which lists the rollups, if there is none."""
        for found in self.rollups:
            if found.timeframe == timeframe:
                return found
        there = ", ".join(found.timeframe for found in self.rollups)
        raise LookupError(f"{self.name} have no rollup {timeframe!r}; there are: {there or 'none'}")

    @cached_property
    def column_names(self) -> tuple[str, ...]:
        """The stored columns in the order of the table, without `series_id`."""
        return tuple(column.name for column in self.columns)

    @cached_property
    def means(self) -> tuple[Column, ...]:
        """The columns that rollups aggregate by their mean."""
        return tuple(self.column(name) for name, how in self.aggregates if how == "mean")

    @cached_property
    def amounts(self) -> tuple[Column, ...]:
        """The stored columns that are amounts."""
        return tuple(column for column in self.columns if column.amount)

    @cached_property
    def maps(self) -> tuple[str, ...]:
        """The stored columns with numbers by name. Further columns of an input can become numbers of the first."""
        return tuple(column.name for column in self.columns if column.type == "jsonb")

    @cached_property
    def symbols(self) -> tuple[str, ...]:
        """The fields that are symbols of the vendor."""
        return tuple(name for name in SYMBOLS if name in self.model.model_fields)

    @cached_property
    def shared(self) -> Column | None:
        """The key column whose value several rows can share and that has an `apart` column; None if the key alone is
        unique."""
        return next((column for column in self.columns if column.apart), None)

    @cached_property
    def narrow(self) -> tuple[Column, ...]:
        """The columns of a narrow row, without `series_id`: the fields, and the `given` column if the kind has one.
        Their types are those in which values are sent."""
        columns = tuple(replace(column, type=column.sent) for column in self.columns)
        if self.shared is None:
            return columns
        return (*columns, Column(self.shared.given, self.shared.type, nullable=True))

    @cached_property
    def in_table(self) -> tuple[Column, ...]:
        """The columns of the kind's table and of its views in `mds`, without `series_id`. Fractions of amounts follow
        all columns except those that were added later."""
        whole = [Column(column.name, "bigint", column.nullable) if column.amount else column for column in self.columns]
        fractions = (Column(amount.fraction, "double precision", nullable=True) for amount in self.amounts)
        return (
            *(column for column in whole if not column.last),
            *fractions,
            *(column for column in whole if column.last),
            *self.narrow[len(self.columns) :],
        )

    @cached_property
    def values(self) -> tuple[str, ...]:
        """The stored columns outside the key: those that an upsert can overwrite."""
        return tuple(name for name in self.column_names if name not in self.key)

    @cached_property
    def measured(self) -> tuple[str, ...]:
        """The columns of which a row needs at least one value to be useful; empty if a row of the kind always is."""
        columns = [column for column in self.columns if column.name in self.values and column.type != "uuid"]
        return tuple(column.name for column in columns) if all(column.nullable for column in columns) else ()

    def shown(self, stored: Sequence[str]) -> tuple[str, ...]:
        """Return the columns of a frame of rows with these stored columns, in display order.

        The symbol, the time and the values come first, because a narrow terminal shows only the first columns. Columns
        that are the same in all rows of most frames follow, and ids come last. The tenant is not included.
        """
        ids = [name for name in stored if self.column(name).type == "uuid"]
        leading = [name for name in self.series if name == "symbol"]
        rest = [name for name in self.series if name not in leading]
        return (*leading, *(name for name in stored if name not in ids), *rest, *ids)

    def column(self, name: str) -> Column:
        """Return the stored column of that name. Raises KeyError if there is none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)


class Catalog(Mapping[str, Kind]):
    """The declared kinds by name, in the order of their declaration."""

    def __init__(self) -> None:
        self._kinds: dict[str, Kind] = {}

    def add(self, kind: Kind) -> None:
        """Add a kind. Raises ValueError if its name, command or relation is taken."""
        for other in self._kinds.values():
            for attribute in ("name", "singular", "relation"):
                if getattr(other, attribute) == getattr(kind, attribute):
                    raise ValueError(
                        f"{kind.model.__name__}: {attribute} {getattr(kind, attribute)!r} "
                        f"is that of {other.model.__name__}"
                    )
        self._kinds[kind.name] = kind

    def remove(self, name: str) -> None:
        """Remove a kind. Raises KeyError if it is not declared."""
        del self._kinds[name]

    def of(self, what: "str | type[BaseModel] | Kind") -> Kind:
        """Return the kind of that name or model. Raises LookupError, which lists the kinds, if there is none."""
        if isinstance(what, Kind):
            return what
        for candidate in self._kinds.values():
            if what == candidate.name or what is candidate.model:
                return candidate
        label = what if isinstance(what, str) else what.__name__
        raise LookupError(self.unknown(label))

    def unknown(self, name: str) -> str:
        """Return the error message for an unknown kind, which lists the kinds."""
        return f"there is no kind {name!r}; there are: {', '.join(self._kinds)}"

    def __getitem__(self, name: str) -> Kind:
        return self._kinds[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._kinds)

    def __len__(self) -> int:
        return len(self._kinds)


KINDS: Final = Catalog()

Model = TypeVar("Model", bound=BaseModel)


def kind(
    name: str,
    *,
    singular: str,
    time: str,
    series: tuple[str, ...],
    key: tuple[str, ...] = (),
    price: str | None = None,
    relation: str | None = None,
    storage: Storage | None = None,
    rollups: tuple[Rollup, ...] = (),
    aggregates: Mapping[str, Aggregate] = types.MappingProxyType({}),
    ordered: tuple[tuple[str, str], ...] = (),
    weight: str | None = None,
) -> Callable[[type[Model]], type[Model]]:
    """Declare the decorated row model as a kind and add it to `KINDS`.

    `key` names the fields that identify a row within its series, in addition to the time, which is always the first.
    Raises TypeError if a field has no PostgreSQL type, a named field does not exist, or a key field can be None.
    """

    def declare(model: type[Model]) -> type[Model]:
        KINDS.add(
            _declared(
                model,
                name=name,
                singular=singular,
                relation=relation or name,
                time=time,
                series=series,
                key=(time, *key),
                price=price,
                storage=storage,
                rollups=rollups,
                aggregates=aggregates,
                ordered=ordered,
                weight=weight,
            )
        )
        return model

    return declare


def _declared(
    model: type[BaseModel],
    *,
    name: str,
    singular: str,
    relation: str,
    time: str,
    series: tuple[str, ...],
    key: tuple[str, ...],
    price: str | None,
    storage: Storage | None,
    rollups: tuple[Rollup, ...],
    aggregates: Mapping[str, Aggregate],
    ordered: tuple[tuple[str, str], ...],
    weight: str | None,
) -> Kind:
    check_names(
        model,
        (
            *((weight,) if weight else ()),
            *series,
            *key,
            *((price,) if price else ()),
            *aggregates,
            *chain.from_iterable(ordered),
        ),
    )
    if unknown := set(series) - set(SERIES_COLUMNS):
        raise TypeError(f"{model.__name__}: a series is named by {SERIES_COLUMNS}, not by {sorted(unknown)}")
    columns = {
        field: column_of(model, field) for field in model.model_fields if field not in series and field != TENANT_COLUMN
    }
    check_columns(model, columns, key, aggregates, weight)
    in_order = (*key, *(field for field in columns if field not in key))
    if storage is not None and storage.cold and any(column.type == "jsonb" for column in columns.values()):
        raise TypeError(f"{model.__name__}: old rows in files cannot have numbers by name")
    if storage is not None and storage.cold and any(column.apart for column in columns.values()):
        raise TypeError(f"{model.__name__}: old rows in files cannot share an id")
    return Kind(
        name=name,
        singular=singular,
        relation=relation,
        model=model,
        time=time,
        series=series,
        key=key,
        price=price,
        storage=storage,
        columns=tuple(columns[field] for field in in_order),
        rollups=rollups,
        aggregates=tuple(aggregates.items()),
        ordered=ordered,
        weight=weight,
    )


def described(model: type[BaseModel], fields: Iterable[str]) -> dict[str, str | None]:
    """Return the descriptions of these fields of a model, in their order; None for fields without one."""
    return {field: model.model_fields[field].description for field in fields}


def stored(value: Any, column: Column) -> Any:
    """Convert a model's value for the driver: a uuid is text in the models and a UUID on the wire, a map is JSON."""
    if column.name in SYMBOLS:
        return None if value is None else str(value)
    if column.type == "jsonb":
        return None if value is None else numbers_text(value)
    return UUID(value) if column.type == "uuid" and value is not None else value
