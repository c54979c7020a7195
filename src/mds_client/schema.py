"""What a kind of record is: one declaration from which everything that knows a kind's columns is derived.

The declaration is the row model itself (`mds_client.models`) with the `@kind` decorator on it. From it follow the DDL
and its drift check, the upsert in every write mode, COPY, NDJSON, the `mds write-…` command and the kinds page.
No SQL text lives here (`mds_client.sql`), and no waiting.
"""

import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from itertools import chain
from typing import Annotated, Any, Final, Literal, TypeAlias, TypeVar, Union, get_args, get_origin
from uuid import UUID

from pydantic import BaseModel

from mds_client.errors import ConfigurationError

SqlType = Literal["bigint", "double precision", "text", "date", "timestamptz", "uuid"]

OnConflict: TypeAlias = Literal["replace", "keep", "fill"]
"""What a row does to a stored row of the same key.

`replace`: it overwrites every value, None included, unless it has no value at all. `keep`: the stored row stays.
`fill`: it overwrites, but None leaves the stored value.
"""

Door: TypeAlias = Literal["replace", "keep", "fill", "append"]
"""The ways into a kind's table: one for each way to end a conflict, and one for rows that meet none, where one is an
error."""

DOORS: Final[tuple[Door, ...]] = get_args(Door)

SERIES_COLUMNS: Final = ("vendor", "symbol", "timeframe", "root")
"""The columns of the series table that name a series; a kind uses a subset of them."""

DEFAULTS: Final = {"root": "symbol"}
"""A column of a series' name whose value is by default that of another one, and is stored as NULL then.

Clients see the value. Series are looked up without these columns, because few differ in nothing else.
"""

TENANT_COLUMN: Final = "tenant_id"


def check_conflict(on_conflict: str) -> None:
    """Raise ConfigurationError for a word that says no way to end a conflict."""
    if on_conflict not in get_args(OnConflict):
        raise ConfigurationError(f"on_conflict is replace, keep or fill, not {on_conflict!r}")


@dataclass(frozen=True, slots=True)
class Sql:
    """Marks a field's annotation with the PostgreSQL type that stores it.

    `always`: the model gives the field a value by itself where it is left out, so that a stored row always has one.
    `amount`: a number that is mostly whole, see `Column.amount`. `otherwise`: the text field that takes a value of
    another form, as a vendor's own id that is not a uuid. `last`: see `Column.last`. `apart`: see `Column.apart`.
    """

    type: SqlType
    always: bool = False
    amount: bool = False
    otherwise: str | None = None
    last: bool = False
    apart: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """A stored column: a field of the model that is not part of the series and not the tenant.

    An `amount`, such as a volume, is mostly a whole number. A table keeps it in two columns: a bigint with its whole
    part, and its `fraction`, which is NULL for a whole number. Whole numbers take less room so, and a table that had
    whole numbers only needs no rewrite.

    `otherwise` is the text column that takes a value of another form. `last`: the column was added when the kind's
    amounts had fractions already, and comes behind these in the table.

    `apart`: a field of the key whose values are not enough to tell rows apart. Rows with one value of the field and
    several values of the column `apart` are different rows. The first of them is stored under the value itself. Every
    other one is stored under a value that follows from both, and the table keeps the value of the field in the column
    `given`.
    """

    name: str
    type: SqlType
    nullable: bool
    amount: bool = False
    otherwise: str | None = None
    last: bool = False
    apart: str = ""

    @property
    def fraction(self) -> str:
        """The column of the fraction of an amount."""
        return f"{self.name}_fraction"

    @property
    def weights(self) -> str:
        """The column of a rollup with the sum of the weights of a mean."""
        return f"{self.name}_weight"

    @property
    def given(self) -> str:
        """The column of the value that a row was given, where it is stored under another one; NULL otherwise."""
        return f"{self.name}_given"


@dataclass(frozen=True, slots=True)
class Storage:
    """How an engine with chunks keeps a kind; an engine without them ignores it.

    `chunk`: the time that one chunk spans. `columnstore_after`: the age at which a chunk becomes columnar.
    `retention_after`: the age at which it is dropped; None keeps it forever. `cold`: whether old rows can be kept in
    files.
    """

    chunk: timedelta
    columnstore_after: timedelta
    retention_after: timedelta | None = None
    cold: bool = False


@dataclass(frozen=True, slots=True)
class Rollup:
    """Rows of a longer timeframe, derived from those of a shorter one.

    `width`: the time that one row spans, aligned to midnight UTC. `source`: the timeframe it is derived from, that of
    the rows themselves or of another rollup. Rows of the source that have no value do not count for that column.
    """

    timeframe: str
    width: timedelta
    source: str


Aggregate = Literal["first", "max", "min", "last", "sum", "mean"]
"""What a rollup makes of a column. A `mean` is weighted by `Kind.weight`; the rollup keeps the sum of the weights."""


@dataclass(frozen=True, eq=False)
class Kind:
    """A sort of record, as declared by `@kind`: there is one of each, so statements are looked up by which it is.

    `name` is the plural that names it everywhere (`bars`); `singular` names one row (`mds write-bar`); `relation` is
    the public view that people select from. `series` are the fields that name its series, `key` the fields that
    identify a row within one (the time is among them), `price` the field whose newest value is the latest price.
    `ordered` are pairs of fields: a row whose first is above its second is stored, and looks wrong.
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
    """What a rollup makes of each column that it has."""
    ordered: tuple[tuple[str, str], ...] = ()
    weight: str | None = None
    """The amount by which the means of rollups are weighted."""

    @property
    def cold(self) -> bool:
        """Whether old rows of it can be kept in files."""
        return self.storage is not None and self.storage.cold

    @property
    def searched(self) -> tuple[str, ...]:
        """The parts of a series' name by which it is looked up."""
        return tuple(name for name in self.series if name not in DEFAULTS)

    def named(self, parts: Sequence[str | None]) -> tuple[str | None, ...]:
        """The name of a series, of the values of SERIES_COLUMNS."""
        found = dict(zip(SERIES_COLUMNS, parts, strict=False))
        return tuple(found[DEFAULTS.get(part, part) if found[part] is None else part] for part in self.series)

    @property
    def base(self) -> str:
        """The timeframe that the rollups are derived from."""
        derived = {rollup.timeframe for rollup in self.rollups}
        (base,) = {rollup.source for rollup in self.rollups} - derived
        return base

    def rollup(self, timeframe: str) -> Rollup:
        """The rollup of that timeframe; LookupError, naming those there are, if there is none."""
        for found in self.rollups:
            if found.timeframe == timeframe:
                return found
        there = ", ".join(found.timeframe for found in self.rollups)
        raise LookupError(f"{self.name} have no rollup {timeframe!r}; there are: {there or 'none'}")

    @cached_property
    def column_names(self) -> tuple[str, ...]:
        """The stored columns in the table's order, `series_id` left out."""
        return tuple(column.name for column in self.columns)

    @cached_property
    def means(self) -> tuple[Column, ...]:
        """The columns of which rollups have the mean."""
        return tuple(self.column(name) for name, how in self.aggregates if how == "mean")

    @cached_property
    def amounts(self) -> tuple[Column, ...]:
        """The stored columns that are amounts."""
        return tuple(column for column in self.columns if column.amount)

    @cached_property
    def shared(self) -> Column | None:
        """The column of the key whose values several rows can share, which another column tells apart; None if every
        row is told apart by the key."""
        return next((column for column in self.columns if column.apart), None)

    @cached_property
    def narrow(self) -> tuple[Column, ...]:
        """The columns of a narrow row, `series_id` left out: the fields, and the value that a row was given where it is
        stored under another one."""
        if self.shared is None:
            return self.columns
        return (*self.columns, Column(self.shared.given, self.shared.type, nullable=True))

    @cached_property
    def in_table(self) -> tuple[Column, ...]:
        """The columns of the kind's table and of its views in `mds`, `series_id` left out: an amount's fraction comes
        behind all columns but those that were added after it."""
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
        """The stored columns that are not part of the key: what an upsert may overwrite."""
        return tuple(name for name in self.column_names if name not in self.key)

    @cached_property
    def measured(self) -> tuple[str, ...]:
        """The values of which a row needs at least one to say anything; none where every row says something."""
        columns = [column for column in self.columns if column.name in self.values and column.type != "uuid"]
        return tuple(column.name for column in columns) if all(column.nullable for column in columns) else ()

    def shown(self, stored: Sequence[str]) -> tuple[str, ...]:
        """The columns of a frame of rows that have these stored columns, in the order in which they are shown.

        A narrow terminal shows what comes first: whose row it is, its time, its values. What is the same in all rows of
        most frames follows, and ids come last. The tenant is shown only to who names it.
        """
        ids = [name for name in stored if self.column(name).type == "uuid"]
        leading = [name for name in self.series if name == "symbol"]
        rest = [name for name in self.series if name not in leading]
        return (*leading, *(name for name in stored if name not in ids), *rest, *ids)

    def column(self, name: str) -> Column:
        """The stored column of that name; KeyError if there is none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)


class Catalog(Mapping[str, Kind]):
    """The declared kinds by name, in the order of their declaration."""

    def __init__(self) -> None:
        self._kinds: dict[str, Kind] = {}

    def add(self, kind: Kind) -> None:
        """Take up a kind; ValueError if its name, command or relation is taken."""
        for other in self._kinds.values():
            for attribute in ("name", "singular", "relation"):
                if getattr(other, attribute) == getattr(kind, attribute):
                    raise ValueError(
                        f"{kind.model.__name__}: {attribute} {getattr(kind, attribute)!r} "
                        f"is that of {other.model.__name__}"
                    )
        self._kinds[kind.name] = kind

    def remove(self, name: str) -> None:
        """Forget a kind; KeyError if it is not declared."""
        del self._kinds[name]

    def of(self, what: "str | type[BaseModel] | Kind") -> Kind:
        """The kind of that name or model. Raises LookupError, which lists the kinds, if there is none."""
        if isinstance(what, Kind):
            return what
        for candidate in self._kinds.values():
            if what == candidate.name or what is candidate.model:
                return candidate
        label = what if isinstance(what, str) else what.__name__
        raise LookupError(self.unknown(label))

    def unknown(self, name: str) -> str:
        """The message about a name that is not a kind's: it lists the kinds."""
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
    """Declare the decorated row model as a kind and put it into `KINDS`.

    `key` names the fields that identify a row within its series beside the time, which always leads. Raises TypeError
    where a field has no PostgreSQL type, where a named field does not exist, or where a key field may be None.
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
    for field in (
        *((weight,) if weight else ()),
        *series,
        *key,
        *((price,) if price else ()),
        *aggregates,
        *chain.from_iterable(ordered),
    ):
        if field not in model.model_fields:
            raise TypeError(f"{model.__name__}: {field!r} is declared, and is no field")
    if unknown := set(series) - set(SERIES_COLUMNS):
        raise TypeError(f"{model.__name__}: a series is named by {SERIES_COLUMNS}, not by {sorted(unknown)}")
    columns = {
        field: _column(model, field) for field in model.model_fields if field not in series and field != TENANT_COLUMN
    }
    for field in key:
        if columns[field].nullable:
            raise TypeError(f"{model.__name__}: {field!r} is part of the key and may not be None")
    for field, how in aggregates.items():
        if columns[field].amount and how != "sum":
            raise TypeError(
                f"{model.__name__}: {field!r} is an amount, of which a rollup can be the sum, and not the {how}"
            )
        if how == "mean" and (weight is None or not columns[weight].amount):
            raise TypeError(f"{model.__name__}: the mean of {field!r} needs an amount as weight")
    in_order = (*key, *(field for field in columns if field not in key))
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


def _column(model: type[BaseModel], field: str) -> Column:
    info = model.model_fields[field]
    found = [mark for mark in info.metadata if isinstance(mark, Sql)]
    nullable = False
    options = [info.annotation]
    while options:
        annotation = options.pop()
        if annotation is type(None):
            nullable = True
        elif get_origin(annotation) is Annotated:
            inner, *marks = get_args(annotation)
            found += [mark for mark in marks if isinstance(mark, Sql)]
            options.append(inner)
        elif get_origin(annotation) in (Union, types.UnionType):
            options += get_args(annotation)
    marked = {mark.type for mark in found}
    if len(marked) != 1:
        raise TypeError(f"{model.__name__}.{field}: one PostgreSQL type is needed, Sql(…) marks {len(marked)}")
    return Column(
        field,
        marked.pop(),
        nullable=nullable and not any(mark.always for mark in found),
        amount=any(mark.amount for mark in found),
        otherwise=next((mark.otherwise for mark in found if mark.otherwise), None),
        last=any(mark.last for mark in found),
        apart=next((mark.apart for mark in found if mark.apart), ""),
    )


def described(model: type[BaseModel], fields: Iterable[str]) -> dict[str, str | None]:
    """What a model says of these fields, in their order; None where it says nothing."""
    return {field: model.model_fields[field].description for field in fields}


def stored(value: Any, column: Column) -> Any:
    """A model's value as the driver takes it: a uuid is text in the models and a UUID on the wire."""
    return UUID(value) if column.type == "uuid" and value is not None else value
