"""How rows that are read are answered: as models, as a frame, or a batch at a time.

What is read is in `mds_client.reading.reads`. Frames are made in `mds_client.columns.arrow`, which is imported only
where one is asked for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, TypeVar, cast, get_args

from pydantic import BaseModel

from mds_client import sql
from mds_client.cold import is_cold
from mds_client.errors import ConfigurationError
from mds_client.models import Row
from mds_client.protocol.operations import Emit, Execute, Group, Session, Talk, Values
from mds_client.schema import TENANT_COLUMN, Kind
from mds_client.values.built import built_of_series, built_rows

if TYPE_CHECKING:
    from mds_client.columns.arrow import Query

R = TypeVar("R", bound=Row)

As: TypeAlias = Literal["models", "arrow", "pandas", "polars"]
"""What rows are answered as: a list of models, or a frame (the extra `arrow`)."""

Columns: TypeAlias = Sequence[str]
"""The names of a frame's columns."""

Index: TypeAlias = str | Sequence[str]
"""The column of a pandas frame that is its index, or several."""

AS: Final[tuple[As, ...]] = get_args(As)

StreamAs: TypeAlias = Literal["models", "arrow"]
"""What the parts of a stream are: lists of models, or PyArrow record batches."""


def check_as(as_: As) -> None:
    """Raise ConfigurationError if rows cannot be answered like that, before anything is asked."""
    if as_ not in AS:
        raise ConfigurationError(f"as_ is {', '.join(AS)}; not {as_!r}")
    if as_ != "models":
        from mds_client.columns import arrow  # needs packages that the library itself does without

        arrow.check(as_)


def check_stream_as(as_: StreamAs) -> None:
    """The same of a stream."""
    if as_ not in get_args(StreamAs):
        raise ConfigurationError(f"as_ of a stream is {', '.join(get_args(StreamAs))}; not {as_!r}")
    check_as(as_)


def check_columns(columns: Columns | None, there: Sequence[str], as_: As) -> tuple[str, ...] | None:
    """The columns that are asked for, in that order, or None. Raises ConfigurationError if there is no such column."""
    if columns is None:
        return None
    if as_ == "models":
        raise ConfigurationError("columns are those of a frame: pass as_, too; a model has all its fields")
    known = f"there are: {', '.join(there)}"
    if isinstance(columns, str):
        raise ConfigurationError(f"columns is a list of names, not {columns!r}; {known}")
    asked = tuple(columns)
    if unknown := [name for name in asked if name not in there]:
        raise ConfigurationError(f"columns: there is no {', '.join(map(repr, unknown))}; {known}")
    if not asked:
        raise ConfigurationError(f"columns names no column; {known}")
    if twice := sorted({name for name in asked if asked.count(name) > 1}):
        raise ConfigurationError(f"columns names a column twice: {', '.join(twice)}")
    return asked


@dataclass(frozen=True, slots=True)
class Layout:
    """How a frame is laid out, as `MDS.bars_window` describes it: what is its index, and whether it is wide.

    `symbols` are the columns of a wide frame, in their order.
    """

    index: tuple[str, ...] = ()
    wide: str | None = None
    symbols: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Shown:
    """The columns of a frame, and the stored ones that a statement has to give for them, in the table's order."""

    fields: tuple[str, ...]
    stored: tuple[str, ...]
    layout: Layout = Layout()


def shown(
    kind: Kind,
    columns: Columns | None,
    as_: As,
    stored: tuple[str, ...] | None = None,
    *,
    index: Index | None = None,
    wide: str | None = None,
    symbols: Sequence[str] = (),
) -> Shown:
    """What is shown of a kind's rows: these columns, or all. `stored` are those that the rows have, the time first.

    `symbols` are those that are read.

    Raises ConfigurationError for columns that the rows do not have, and for a layout that the frame cannot have.
    """
    stored = kind.column_names if stored is None else stored
    everything = kind.shown(stored)
    if wide is not None:
        layout = _wide(kind, columns, as_, stored, index, wide, symbols)
        return Shown((kind.time, "symbol", wide), tuple(name for name in stored if name in (kind.time, wide)), layout)
    asked = check_columns(columns, (*everything, TENANT_COLUMN), as_)
    layout = Layout(_index(index, everything if asked is None else asked, as_))
    if asked is None:
        return Shown(everything, stored, layout)
    # A row of no columns would not be counted.
    return Shown(asked, tuple(name for name in stored if name in asked) or stored[:1], layout)


def _index(index: Index | None, there: Sequence[str], as_: As) -> tuple[str, ...]:
    if index is None:
        return ()
    if as_ != "pandas":
        raise ConfigurationError(f"index is that of a pandas frame: pass as_='pandas'; {as_} has none")
    asked = (index,) if isinstance(index, str) else tuple(index)
    if unknown := [name for name in asked if name not in there]:
        raise ConfigurationError(f"index: there is no column {', '.join(map(repr, unknown))}; {', '.join(there)}")
    if len(set(asked)) < len(asked) or not asked:
        raise ConfigurationError(f"index names each of its columns once, and one at least; not {index!r}")
    return asked


def _wide(
    kind: Kind,
    columns: Columns | None,
    as_: As,
    stored: tuple[str, ...],
    index: Index | None,
    wide: str,
    symbols: Sequence[str],
) -> Layout:
    """The layout of a wide frame, whose index in pandas is the time."""
    if as_ == "models":
        raise ConfigurationError("wide is of a frame: pass as_, too; models are rows")
    if columns is not None:
        raise ConfigurationError("wide and columns: choose one of them; a wide frame has a column for each symbol")
    if index is not None and index not in (kind.time, (kind.time,), [kind.time]):
        raise ConfigurationError(f"the index of a wide frame is {kind.time!r}, not {index!r}")
    if kind.key != (kind.time,):
        raise ConfigurationError(f"{kind.name} have several rows of one symbol and time, and cannot be wide")
    values = [name for name in stored if name != kind.time]
    if wide not in values:
        raise ConfigurationError(f"wide: there is no value {wide!r}; there are: {', '.join(values)}")
    return Layout((kind.time,) if as_ == "pandas" else (), wide, tuple(dict.fromkeys(symbols)))


def answered(model: type[BaseModel], found: list[Any], as_: As, columns: Sequence[str] | None = None) -> Any:
    """Models as they are, or as a frame with these columns."""
    if as_ == "models":
        return found
    from mds_client.columns import arrow

    return arrow.of_models(model, found, as_, without_tenant(model) if columns is None else columns)


def without_tenant(model: type[BaseModel]) -> tuple[str, ...]:
    """The fields of a model that a frame shows: the tenant is shown only to who names it."""
    return tuple(name for name in model.model_fields if name != TENANT_COLUMN)


def read_frame(
    session: Session,
    kind: Kind,
    select: sql.Statement,
    parameters: Sequence[Any],
    names: Sequence[str | None] | dict[int, tuple[str | None, ...]],
    as_: As,
    show: Shown,
    *,
    ordered: bool = True,
) -> Talk[Any]:
    """A query's rows as a frame: of one series with that name, or of many with their names by id.

    `select` gives the columns `show.stored`. `ordered`: the rows come in the order of their key, by series; otherwise
    the time is among the columns.
    """
    from mds_client.columns import arrow

    # As the models are: by id is by when a series was first seen.
    by_symbol = isinstance(names, dict) and "symbol" in kind.series and len(names) > 1
    fields = (*show.fields, "symbol") if by_symbol and "symbol" not in show.fields else show.fields
    query: Query = arrow.Query(
        kind,
        select,
        parameters,
        names if isinstance(names, dict) else tuple(names),
        tuple(kind.column(name) for name in show.stored),
        fields,
    )
    table = yield from arrow.reading(session, query)
    return laid_out(kind, table, as_, show, by_symbol=by_symbol, ordered=ordered)


def cold_frame(
    session: Session,
    kind: Kind,
    names: dict[int, tuple[str | None, ...]],
    span: tuple[datetime, datetime],
    as_: As,
    show: Shown,
) -> Talk[Any]:
    """The same of rows that are partly kept in files."""
    from mds_client.cold import reading

    rows = yield from reading.reading(session, kind, names, span, show.stored)
    by_symbol = "symbol" in kind.series and len(names) > 1
    fields = (*show.fields, "symbol") if by_symbol and "symbol" not in show.fields else show.fields
    table = reading.framed(session, kind, rows, names, fields)
    return laid_out(kind, table, as_, show, by_symbol=by_symbol)


def laid_out(kind: Kind, table: Any, as_: As, show: Shown, *, by_symbol: bool, ordered: bool = True) -> Any:
    """A table as the frame that was asked for. `by_symbol`: it is of several series, and is sorted by symbol."""
    from mds_client.columns import arrow

    if by_symbol:
        table = arrow.sorted_by(table, "symbol").select(list(show.fields))
    elif not ordered:
        table = arrow.sorted_by(table, kind.time)
    layout = show.layout
    if layout.wide is not None:
        table = arrow.widened(table, kind.time, layout.wide, layout.symbols)
    frame = arrow.as_frame(table, cast("Any", as_))
    if layout.index:
        frame = frame.set_index(list(layout.index))
    # As pandas' own pivot names them: the legend of a plot says what the lines are.
    return frame.rename_axis(columns="symbol") if layout.wide is not None and as_ == "pandas" else frame


def emitted(
    session: Session,
    model: type[R],
    kind: Kind,
    names: dict[int, tuple[str | None, ...]],
    ids: list[int],
    span: tuple[datetime, datetime],
    batch_rows: int,
    as_: StreamAs,
    show: Shown,
    symbols: list[str] | None = None,
) -> Talk[None]:
    """Rows a batch at a time: neither side holds more than one. Models come through a cursor of the server's.

    Frames come packed, which takes several statements. In a transaction of the user's, whose statements may each see
    other rows, they come by one statement.

    `symbols`: only rows with one of these, of a kind whose series have no symbol.
    """
    by_symbol = symbols is not None
    if (yield from is_cold(session, kind, span[0], ask=True)):
        yield from _emitted_cold(session, model, kind, {id_: names[id_] for id_ in ids}, span, batch_rows, as_, show)
        return
    since = sql.hot_since(kind, session.wanted, span[0])
    parameters = (ids, *span, *([symbols] if by_symbol else ()), *since)
    if as_ == "arrow":
        if session.snapshot:
            yield from packed_frames(session, kind, names, span, show, symbols)
            return
        select = sql.windows(kind, show.stored, by_symbol=by_symbol)
        yield from emitted_frames(session, kind, select, parameters, names, show)
        return
    if batch_rows < 1:
        raise ConfigurationError(f"batch_rows is from 1 on, not {batch_rows}")
    yield Group((Execute(sql.declare_cursor(sql.windows(kind, by_symbol=by_symbol)), parameters),))
    while True:
        (rows,) = yield Group((Execute(sql.fetch(batch_rows)),))
        if rows:
            yield Emit(models_of_many(model, kind, session.tenant_id, names, rows))
        if len(rows) < batch_rows:
            return


def _emitted_cold(
    session: Session,
    model: type[R],
    kind: Kind,
    names: dict[int, tuple[str | None, ...]],
    span: tuple[datetime, datetime],
    batch_rows: int,
    as_: StreamAs,
    show: Shown,
) -> Talk[None]:
    """Rows that are partly kept in files, a batch at a time.

    In a transaction of the user's, whose statements may each see other rows, they are read all at once.
    """
    from mds_client.cold import reading
    from mds_client.reading import packed

    if batch_rows < 1:
        raise ConfigurationError(f"batch_rows is from 1 on, not {batch_rows}")
    names = {series_id: names[series_id] for series_id in sorted(names)}
    stored = show.stored if as_ == "arrow" else kind.column_names
    if not session.snapshot:
        tables = [(yield from reading.reading(session, kind, names, span, stored))]
        if as_ == "arrow":
            for batch in reading.framed(session, kind, tables[0], names, show.fields).to_batches():
                yield Emit(batch)
            return
    else:
        url = reading.url_of(session, kind)
        (listed,) = yield Group((reading.listing(session, kind, span),))
        cold = reading.ColdFiles(kind, url, tuple(listed))
        fields = show.fields if as_ == "arrow" else ("series_id", *stored)
        asked = packed.Asked(kind, names, span, stored, fields, cold=cold)
        if as_ == "arrow":
            yield from packed.emitting(session, asked)
            return
        plan = packed.Plan(asked, target=packed.cold_target(cold))
        tables = []
        while (piece := plan.take()) is not None:
            plan.settle(piece, (yield from packed.reading(session, asked, piece)))
            while (batch := plan.ready()) is not None:
                for at in range(0, batch.num_rows, batch_rows):
                    rows = reading.tuples(batch.slice(at, batch_rows))
                    yield Emit(models_of_many(model, kind, session.tenant_id, names, rows))
        return
    for table in tables:
        for at in range(0, table.num_rows, batch_rows):
            rows = reading.tuples(table.slice(at, batch_rows))
            yield Emit(models_of_many(model, kind, session.tenant_id, names, rows))


def packed_frames(
    session: Session,
    kind: Kind,
    names: dict[int, tuple[str | None, ...]],
    span: tuple[datetime, datetime],
    show: Shown,
    symbols: list[str] | None = None,
) -> Talk[None]:
    """The rows of these series as record batches, by several statements that see the same rows."""
    from mds_client.reading import packed

    series = {series_id: names[series_id] for series_id in sorted(names)}
    yield from packed.emitting(session, packed.Asked(kind, series, span, show.stored, show.fields, symbols=symbols))


def emitted_frames(
    session: Session,
    kind: Kind,
    select: sql.Statement,
    parameters: Sequence[Any],
    names: dict[int, tuple[str | None, ...]],
    show: Shown,
) -> Talk[None]:
    """A query's rows as record batches; see `read_frame`."""
    from mds_client.columns import arrow

    columns = tuple(kind.column(name) for name in show.stored)
    yield from arrow.emitting(session, arrow.Query(kind, select, parameters, names, columns, show.fields))


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
