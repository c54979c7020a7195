"""How rows that are read are answered: as models, as a frame, or a batch at a time.

What is read is in `mds_client.reads`. Frames are made in `mds_client.arrow`, which is imported only where one is asked
for.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, TypeVar, cast, get_args

from pydantic import BaseModel

from mds_client import sql
from mds_client.errors import ConfigurationError
from mds_client.models import Row, built_of_series, built_rows
from mds_client.operations import Emit, Execute, Group, Session, Talk, Values
from mds_client.schema import Kind

if TYPE_CHECKING:
    from mds_client.arrow import Query

R = TypeVar("R", bound=Row)

As: TypeAlias = Literal["models", "arrow", "pandas", "polars"]
"""What rows are answered as: a list of models, or a frame (the extra `arrow`)."""

AS: Final[tuple[As, ...]] = get_args(As)

StreamAs: TypeAlias = Literal["models", "arrow"]
"""What the parts of a stream are: lists of models, or PyArrow record batches."""


def check_as(as_: As) -> None:
    """Raise ConfigurationError if rows cannot be answered like that, before anything is asked."""
    if as_ not in AS:
        raise ConfigurationError(f"as_ is {', '.join(AS)}; not {as_!r}")
    if as_ != "models":
        from mds_client import arrow  # needs packages that the library itself does without

        arrow.check(as_)


def check_stream_as(as_: StreamAs) -> None:
    """The same of a stream."""
    if as_ not in get_args(StreamAs):
        raise ConfigurationError(f"as_ of a stream is {', '.join(get_args(StreamAs))}; not {as_!r}")
    check_as(as_)


def answered(model: type[BaseModel], found: list[Any], as_: As) -> Any:
    """Models as they are, or as a frame."""
    if as_ == "models":
        return found
    from mds_client import arrow

    return arrow.of_models(model, found, as_)


def read_frame(
    session: Session,
    kind: Kind,
    select: sql.Statement,
    parameters: Sequence[Any],
    names: Sequence[str | None] | dict[int, tuple[str | None, ...]],
    as_: As,
    columns: tuple[str, ...] | None = None,
    *,
    ordered: bool = True,
) -> Talk[Any]:
    """A query's rows as a frame: of one series with that name, or of many with their names by id.

    `ordered`: they come in the order of their key, by series.
    """
    from mds_client import arrow

    by_id = isinstance(names, dict)
    query: Query = arrow.Query(
        kind,
        select,
        parameters,
        names if isinstance(names, dict) else tuple(names),
        None if columns is None else tuple(kind.column(name) for name in columns),
    )
    table = yield from arrow.reading(session, query)
    if by_id and "symbol" in kind.series and len(names) > 1:
        # As the models are: by id is by when a series was first seen.
        table = arrow.sorted_by(table, ("symbol", *kind.key))
    elif not ordered:
        table = arrow.sorted_by(table, kind.key)
    return arrow.as_frame(table, cast("Any", as_))


def emitted(
    session: Session,
    model: type[R],
    kind: Kind,
    names: dict[int, tuple[str | None, ...]],
    ids: list[int],
    span: tuple[datetime, datetime],
    batch_rows: int,
    as_: StreamAs,
) -> Talk[None]:
    """Rows a batch at a time: neither side holds more than one. Models come through a cursor of the server's."""
    if as_ == "arrow":
        from mds_client import arrow

        yield from arrow.emitting(session, arrow.Query(kind, sql.windows(kind), (ids, *span, session.wanted), names))
        return
    if batch_rows < 1:
        raise ConfigurationError(f"batch_rows is from 1 on, not {batch_rows}")
    yield Group((Execute(sql.declare_cursor(sql.windows(kind)), (ids, *span, session.wanted)),))
    while True:
        (rows,) = yield Group((Execute(sql.fetch(batch_rows)),))
        if rows:
            yield Emit(models_of_many(model, kind, session.tenant_id, names, rows))
        if len(rows) < batch_rows:
            return


def constant_fields(kind: Kind, tenant_id: str | None, name: Sequence[str | None]) -> dict[str, Any]:
    """What all rows of a series have in common, and every other field, in the model's order."""
    return {
        **dict.fromkeys(kind.model.model_fields),
        "tenant_id": tenant_id,
        **dict(zip(kind.series, name, strict=True)),
    }


def models_of_one(
    model: type[R], kind: Kind, tenant_id: str | None, name: Sequence[str | None], rows: list[Values]
) -> list[R]:
    """Rows of one series as the model's instances: a constant part for the series, a stored part from the row."""
    return built_rows(
        model, constant_fields(kind, tenant_id, name), kind.column_names, rows, [amount.name for amount in kind.amounts]
    )


def models_of_many(
    model: type[R], kind: Kind, tenant_id: str | None, names: dict[int, tuple[str | None, ...]], rows: list[Values]
) -> list[R]:
    """Rows of many series, each with its series id in front."""
    constants = {series_id: constant_fields(kind, tenant_id, name) for series_id, name in names.items()}
    return built_of_series(model, constants, kind.column_names, rows, [amount.name for amount in kind.amounts])
