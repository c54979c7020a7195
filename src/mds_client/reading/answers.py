"""Return rows as models, as a frame, or in batches.

The reads are in `mds_client.reading.reads`. Frames are made in `mds_client.columns.arrow`, which is imported only if
one is requested.
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
from mds_client.reading.arguments import Sought
from mds_client.schema import TENANT_COLUMN, Kind
from mds_client.values.built import built_of_series, built_rows

if TYPE_CHECKING:
    from mds_client.columns.arrow import Query

R = TypeVar("R", bound=Row)

As: TypeAlias = Literal["models", "arrow", "pandas", "polars"]
"""The form of a result: a list of models, or a frame (needs the extra `arrow`)."""

Columns: TypeAlias = Sequence[str]
"""The names of a frame's columns."""

Index: TypeAlias = str | Sequence[str]
"""The column, or columns, that become the index of a pandas frame."""

AS: Final[tuple[As, ...]] = get_args(As)

StreamAs: TypeAlias = Literal["models", "arrow"]
"""The form of a stream's parts: lists of models, or PyArrow record batches."""


def check_as(as_: As) -> None:
    """Raise ConfigurationError if rows cannot be returned in this form, before anything is sent."""
    if as_ not in AS:
        raise ConfigurationError(f"as_ is {', '.join(AS)}; not {as_!r}")
    if as_ != "models":
        from mds_client.columns import arrow  # needs optional packages

        arrow.check(as_)


def check_stream_as(as_: StreamAs) -> None:
    """Raise ConfigurationError if the parts of a stream cannot have this form."""
    if as_ not in get_args(StreamAs):
        raise ConfigurationError(f"as_ of a stream is {', '.join(get_args(StreamAs))}; not {as_!r}")
    check_as(as_)


def check_columns(columns: Columns | None, there: Sequence[str], as_: As) -> tuple[str, ...] | None:
    """Return the requested columns in order, or None. Raises ConfigurationError if a column does not exist."""
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
    """The layout of a frame, as in `MDS.bars_window`: its index, and the value of a wide frame.

    `symbols` are the columns of a wide frame, in their order.
    """

    index: tuple[str, ...] = ()
    wide: str | None = None
    symbols: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Shown:
    """The columns of a frame, and the stored columns that a statement must return for them, in the table's order."""

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
    """Choose the columns and layout of a frame of a kind's rows: these columns, or all.

    `stored` are the columns of the rows, the time first; `symbols` are those that are read. Raises ConfigurationError
    for columns that the rows do not have, and for a layout that is not possible.
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
    # Select at least one column, because a row without columns would not be counted.
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
    """Return the layout of a wide frame, whose index in pandas is the time."""
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
    """Return models unchanged, or as a frame with these columns."""
    if as_ == "models":
        return found
    from mds_client.columns import arrow

    return arrow.of_models(model, found, as_, without_tenant(model) if columns is None else columns)


def without_tenant(model: type[BaseModel]) -> tuple[str, ...]:
    """Return the fields of a model except the tenant, which frames include only on request."""
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
    """Read a query's rows as a frame: of one series with that name, or of many with their names by id.

    `select` returns the columns `show.stored`. `ordered`: the rows come ordered by series and key; otherwise the
    columns must include the time.
    """
    from mds_client.columns import arrow

    # Sort several series by symbol, as models are: the order of ids is that of creation.
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
    """Read rows that are partly kept in files as a frame."""
    from mds_client.cold import reading

    rows = yield from reading.reading(session, kind, names, span, show.stored)
    return framed_cold(session, kind, rows, names, as_, show)


def framed_cold(
    session: Session, kind: Kind, rows: Any, names: dict[int, tuple[str | None, ...]], as_: As, show: Shown
) -> Any:
    """Convert a table of rows, with the ids of their series, to the requested frame."""
    from mds_client.cold import reading

    by_symbol = "symbol" in kind.series and len(names) > 1
    fields = (*show.fields, "symbol") if by_symbol and "symbol" not in show.fields else show.fields
    table = reading.framed(session, kind, rows, names, fields)
    return laid_out(kind, table, as_, show, by_symbol=by_symbol)


def laid_out(kind: Kind, table: Any, as_: As, show: Shown, *, by_symbol: bool, ordered: bool = True) -> Any:
    """Convert a table to the requested frame. `by_symbol`: it has several series and is sorted by symbol."""
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
    # Name the columns as pandas' pivot does, so that the legend of a plot has a title.
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
    symbols: Sought | None = None,
) -> Talk[None]:
    """Emit rows in batches, so that neither side holds more than one. Models are read through a server-side cursor.

    Frames are read packed, by several statements. In the user's transaction, where each statement can see other rows,
    they are read by one statement.

    `symbols`: only rows with one of these symbols, for a kind whose series have no symbol.
    """
    by_symbol = len(symbols or ())
    if (yield from is_cold(session, kind, span[0], ask=True)):
        yield from _emitted_cold(session, model, kind, {id_: names[id_] for id_ in ids}, span, batch_rows, as_, show)
        return
    since = sql.hot_since(kind, session.wanted, span[0])
    parameters = (ids, *span, *(symbols or ()), *since)
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
    """Emit rows that are partly kept in files in batches.

    In the user's transaction, where each statement can see other rows, they are all read at once.
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
    symbols: Sought | None = None,
) -> Talk[None]:
    """Emit the rows of these series as record batches, read by several statements with one snapshot."""
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
    """Emit a query's rows as record batches; see `read_frame`."""
    from mds_client.columns import arrow

    columns = tuple(kind.column(name) for name in show.stored)
    yield from arrow.emitting(session, arrow.Query(kind, select, parameters, names, columns, show.fields))


def constant_fields(kind: Kind, tenant_id: str | None, name: Sequence[str | None]) -> dict[str, Any]:
    """Return all fields in the model's order, with the values that are the same for all rows of a series."""
    return {
        **dict.fromkeys(kind.model.model_fields),
        "tenant_id": tenant_id,
        **dict(zip(kind.series, name, strict=True)),
    }


def models_of_one(
    model: type[R], kind: Kind, tenant_id: str | None, name: Sequence[str | None], rows: list[Values]
) -> list[R]:
    """Convert rows of one series to models: constant fields of the series, and stored fields of the row."""
    return built_rows(
        model,
        constant_fields(kind, tenant_id, name),
        kind.column_names,
        rows,
        [amount.name for amount in kind.amounts],
        kind.maps,
    )


def models_of_many(
    model: type[R], kind: Kind, tenant_id: str | None, names: dict[int, tuple[str | None, ...]], rows: list[Values]
) -> list[R]:
    """Convert rows of many series to models. The first column of each row is the series id."""
    constants = {series_id: constant_fields(kind, tenant_id, name) for series_id, name in names.items()}
    return built_of_series(
        model, constants, kind.column_names, rows, [amount.name for amount in kind.amounts], kind.maps
    )
