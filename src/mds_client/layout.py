"""The parts of a kind's declaration: columns and their types, which a model's fields say, storage, and rollups.

`mds_client.schema` puts them together.
"""

import json
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Final, Literal, Union, get_args, get_origin

from pydantic import BaseModel

SqlType = Literal["bigint", "double precision", "text", "date", "timestamptz", "uuid", "jsonb"]
"""The PostgreSQL type of a column. A column of jsonb has numbers by name, as an object; see `numbers_text`."""


@dataclass(frozen=True, slots=True)
class Sql:
    """Marks a field's annotation with the PostgreSQL type that stores it.

    `always`: the model sets the field if it is left out, so a stored row always has a value. `amount`: a number that is
    mostly whole, see `Column.amount`. `otherwise`: the text field for values of another form, such as a vendor's id
    that is not a uuid. `last`: see `Column.last`. `apart`: see `Column.apart`.
    """

    type: SqlType
    always: bool = False
    amount: bool = False
    otherwise: str | None = None
    last: bool = False
    apart: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """A stored column: a field of the model that is neither part of the series nor the tenant.

    An `amount`, such as a volume, is mostly a whole number. A table keeps it in two columns: a bigint with its whole
    part, and its `fraction`, which is NULL for a whole number. Whole numbers then take less space, and a table that
    had only whole numbers needs no rewrite.

    `otherwise` is the text column for values of another form. `last`: the column was added after the kind's amounts got
    fractions, and follows them in the table.

    `apart`: a second column that is needed to distinguish rows by this field of the key. Rows with the same value of
    the field and different values of the column `apart` are different rows. The first of them is stored under the
    value itself. Each other row is stored under a value derived from both, and the column `given` keeps the original.
    """

    name: str
    type: SqlType
    nullable: bool
    amount: bool = False
    otherwise: str | None = None
    last: bool = False
    apart: str = ""

    @property
    def sent(self) -> SqlType:
        """The type in which values are sent and read: an object of JSON is text, which the statements convert."""
        return "text" if self.type == "jsonb" else self.type

    @property
    def fraction(self) -> str:
        """The name of the column with an amount's fraction."""
        return f"{self.name}_fraction"

    @property
    def weights(self) -> str:
        """The name of a rollup's column with the sum of the weights of a mean."""
        return f"{self.name}_weight"

    @property
    def given(self) -> str:
        """The name of the column with a row's original value if it is stored under a derived one; otherwise NULL."""
        return f"{self.name}_given"


@dataclass(frozen=True, slots=True)
class Storage:
    """How an engine with chunks stores a kind; other engines ignore it.

    `chunk`: the time span of a chunk. `columnstore_after`: the age at which a chunk becomes columnar.
    `retention_after`: the age at which a chunk is dropped; None keeps it forever. `cold`: whether old rows can be kept
    in files.
    """

    chunk: timedelta
    columnstore_after: timedelta
    retention_after: timedelta | None = None
    cold: bool = False


@dataclass(frozen=True, slots=True)
class Rollup:
    """Rows of a longer timeframe, aggregated from a shorter one.

    `width`: the time span of a row, aligned to midnight UTC. `source`: the timeframe that is aggregated, either that of
    the stored rows or another rollup's. Source rows without a value in a column do not count for it.
    """

    timeframe: str
    width: timedelta
    source: str


Aggregate = Literal["first", "max", "min", "last", "sum", "mean"]
"""How a rollup aggregates a column. A `mean` is weighted by `Kind.weight`; the rollup keeps the sum of the weights."""

MEAN_VALUES: Final = (1e-30, 1e100)
MEAN_WEIGHTS: Final = (1e-15, 1e19)
"""The magnitudes of the values and weights that count in a mean, both ends included. A value of zero counts, too. The
product of others could overflow, which would fail the whole computation."""


def check_names(model: type[BaseModel], names: Iterable[str]) -> None:
    """Raise TypeError if a declared name is not a field of the model."""
    for field in names:
        if field not in model.model_fields:
            raise TypeError(f"{model.__name__}: {field!r} is declared, but the model has no such field")


def check_columns(
    model: type[BaseModel],
    columns: Mapping[str, Column],
    key: tuple[str, ...],
    aggregates: Mapping[str, Aggregate],
    weight: str | None,
) -> None:
    """Raise TypeError if a key can be NULL, or a rollup of a column makes no sense."""
    for field in key:
        if columns[field].nullable:
            raise TypeError(f"{model.__name__}: {field!r} is part of the key and may not be None")
    for field, how in aggregates.items():
        if columns[field].amount and how != "sum":
            raise TypeError(f"{model.__name__}: {field!r} is an amount, so its rollup is the sum, not the {how}")
        if how == "mean" and (weight is None or not columns[weight].amount):
            raise TypeError(f"{model.__name__}: the mean of {field!r} needs an amount as weight")


def column_of(model: type[BaseModel], field: str) -> Column:
    """Return the column of a field. Raises TypeError unless its annotation has one PostgreSQL type."""
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


def numbers_text(numbers: Mapping[str, float | None]) -> str:
    """Return numbers by name as the text of a JSON object, the same for the same numbers."""
    return json.dumps(numbers, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def numbers_of(text: str) -> dict[str, float | None]:
    """Return the numbers by name in the text of a JSON object. Every number is a float."""
    found: dict[str, float | None] = json.loads(text, parse_int=float)
    return found
