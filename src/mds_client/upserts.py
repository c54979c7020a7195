"""Writing rows: from rows to narrow rows, to a merge, to the series' last values.

An upsert is an operation (`mds_client.operations`): nothing here waits. Its statements are in `mds_client.sql`. Rows
come as models (`Rows`) or in columns (`mds_client.columns`); the conversation is the same.
"""

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, islice
from operator import ge, itemgetter
from typing import Any, Final, Protocol, TypeAlias, cast, runtime_checkable

from pydantic import ValidationError

from mds_client import sql
from mds_client.arrays import array
from mds_client.errors import ConfigurationError, InvalidRow, MDSOperationalError, RetryableError, RLSDenied
from mds_client.models import AnyKind, DataQualityWarning, Row
from mds_client.operations import (
    CopyIn,
    Execute,
    ExecuteMany,
    Group,
    Latest,
    Operation,
    SeriesName,
    Session,
    StaleSeries,
    Step,
    Talk,
    Values,
    Written,
)
from mds_client.schema import KINDS, Kind, OnConflict, stored

CHUNK_ROWS: Final = 50_000
"""Rows of a stream that one transaction writes; it bounds the memory that they take."""

HEAVY_ROWS: Final = 1_000
"""From so many rows on, preparing them takes long enough to be kept off an event loop."""


@runtime_checkable
class ArrowStream(Protocol):
    """Anything that speaks the Arrow stream protocol."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...


Input: TypeAlias = Iterable[Row | Mapping[str, Any]] | ArrowStream


class Narrow(Protocol):
    """Rows as the table has them, each key once (the last one wins), sorted by key."""

    @property
    def latest(self) -> "Mapping[int, Latest]":
        """Of each series, by its id, what the batch says about its last values."""

    def rows(self) -> list[Values]:
        """As tuples, in the order of `sql.stored_columns`."""

    def copied(self, statement: sql.Statement) -> CopyIn:
        """The step that copies them."""


class Batch(Protocol):
    """Checked rows that are written in one transaction."""

    @property
    def names(self) -> Iterable[SeriesName]:
        """The names of their series, each once."""

    def __len__(self) -> int: ...

    def claimed(self) -> Mapping[str, int]:
        """Each tenant that rows name as theirs, with the first such row's place in the input."""

    def narrow(self, ids: Mapping[SeriesName, int]) -> Narrow:
        """The rows with the ids of their series."""


def upsert(
    kind: AnyKind, rows: Input, *, on_conflict: OnConflict = "replace", chunk_rows: int = CHUNK_ROWS
) -> Operation[int]:
    """The operation of `MDS.upsert`."""
    declared = KINDS.of(kind)
    if on_conflict not in ("replace", "keep", "fill"):
        raise ConfigurationError(f"on_conflict is replace, keep or fill, not {on_conflict!r}")
    if chunk_rows < 1:
        raise ConfigurationError(f"chunk_rows is at least 1, not {chunk_rows}")
    source = _Source(_batches(declared, rows, chunk_rows), whole=isinstance(rows, Sized))
    heavy = isinstance(rows, ArrowStream) or not isinstance(rows, Sized) or len(rows) >= HEAVY_ROWS
    if not heavy:
        source.current()
    return _writing(declared, source, on_conflict, heavy=heavy)


def upsert_batch(kind: Kind, batch: Batch, *, on_conflict: OnConflict = "replace") -> Operation[int]:
    """Write rows that are checked already: all of them, or none."""
    return _writing(kind, _Source(iter((batch,)), whole=True), on_conflict, heavy=len(batch) >= HEAVY_ROWS)


def _writing(declared: Kind, source: "_Source", on_conflict: OnConflict, *, heavy: bool) -> Operation[int]:
    def talk(session: Session) -> Talk[int]:
        accepted = source.written
        try:
            for batch in source.left():
                mode = session.config.write_mode_for(len(batch))
                yield from _upsert(session, declared, batch, on_conflict, mode)
                accepted += len(batch)
                session.written = Written(declared.name, mode, accepted)
                del batch  # before the next one is made
        except Exception as error:
            if source.written:
                error.add_note(f"the {source.written} rows before are written")
            raise
        return accepted

    return Operation(f"upsert_{declared.name}", talk, heavy=heavy)


def upsert_bars(rows: Input, *, on_conflict: OnConflict = "replace", chunk_rows: int = CHUNK_ROWS) -> Operation[int]:
    """The operation of `MDS.upsert_bars`."""
    return upsert("bars", rows, on_conflict=on_conflict, chunk_rows=chunk_rows)


def upsert_fundamentals(
    rows: Input, *, on_conflict: OnConflict = "replace", chunk_rows: int = CHUNK_ROWS
) -> Operation[int]:
    """The operation of `MDS.upsert_fundamentals`."""
    return upsert("fundamentals", rows, on_conflict=on_conflict, chunk_rows=chunk_rows)


def upsert_news(rows: Input, *, on_conflict: OnConflict = "replace", chunk_rows: int = CHUNK_ROWS) -> Operation[int]:
    """The operation of `MDS.upsert_news`."""
    return upsert("news", rows, on_conflict=on_conflict, chunk_rows=chunk_rows)


def upsert_options(rows: Input, *, on_conflict: OnConflict = "replace", chunk_rows: int = CHUNK_ROWS) -> Operation[int]:
    """The operation of `MDS.upsert_options`."""
    return upsert("options", rows, on_conflict=on_conflict, chunk_rows=chunk_rows)


@dataclass(slots=True)
class _Source:
    """What there is to write, batch by batch. A batch is kept until it is committed, for another attempt.

    What is `whole` is one batch and is kept for good.
    """

    rest: Iterator[Batch]
    whole: bool
    written: int = 0
    batch: Batch | None = None
    failure: Exception | None = None

    def left(self) -> Iterator[Batch]:
        """The batches that are not written yet. Requesting the next batch marks the current one as committed."""
        while batch := self.current():
            size = len(batch)
            yield batch
            if self.whole:
                return
            self.written += size
            self.batch = None
            del batch

    def current(self) -> Batch | None:
        """The batch whose turn it is; None at the end. Raises InvalidRow if it holds an invalid row."""
        if self.failure:
            # An iterator that has failed would now say that it is at its end.
            raise self.failure
        if self.batch is None:
            try:
                self.batch = next(self.rest, None)
            except Exception as error:
                self.failure = error
                raise
        return self.batch


def _batches(kind: Kind, rows: Input, chunk_rows: int) -> Iterator[Batch]:
    """Rows as checked batches, none of them empty: one of what has a length, else as many as it takes."""
    if isinstance(rows, ArrowStream):
        from mds_client import arrow, columns  # noqa: F401 - the packages they need are optional

        if isinstance(rows, Sized):
            yield from columns.whole(kind, rows)
        else:
            yield from columns.chunks(kind, rows, chunk_rows)
    elif isinstance(rows, Sized):
        if len(batch := batch_of(kind, rows)):
            yield batch
    else:
        first, rest = 0, iter(rows)
        while some := list(islice(rest, chunk_rows)):
            if len(batch := batch_of(kind, some, first)):
                yield batch
            first += len(some)


def batch_of(kind: Kind, rows: Iterable[Row | Mapping[str, Any]], first: int = 0) -> Batch:
    """Rows, checked. Raises InvalidRow, with its place and the reason, for one that is not a row.

    `first` is the number of the first row in the input.
    """
    listed = rows if isinstance(rows, list) else list(rows)
    return _frame_of(kind, listed, first) or Rows(kind, listed, first)


def _frame_of(kind: Kind, rows: list[Row | Mapping[str, Any]], first: int) -> Batch | None:
    """Many rows in columns, where they are plain and the packages for it are there."""
    # Text that is different in every row gains nothing by columns.
    if len(rows) < HEAVY_ROWS or any(kind.column(name).type == "text" for name in kind.values):
        return None
    try:
        from mds_client import arrow, columns, tables  # noqa: F401 - the packages they need are optional
    except ConfigurationError:
        return None
    table = tables.of_rows(kind, rows)
    if table is None:
        return None
    try:
        # A model that looks wrong has said so when it was made.
        return columns.Frame(kind, table, first, look=isinstance(rows[0], Mapping))
    except InvalidRow:
        # Read row by row, it is told in the model's words which row it is.
        return None


class Rows:
    """A batch of models or mappings. Raises InvalidRow, with its place and the reason, for one that is not a row.

    `first` is the number of the first row in the input.
    """

    def __init__(self, kind: Kind, rows: Iterable[Row | Mapping[str, Any]], first: int = 0) -> None:
        self._kind = kind
        self._first = first
        self._rows = _checked(kind, rows, first)
        name_of = itemgetter(*kind.series)
        # A model's fields are in its __dict__, which is the fastest way to them.
        numbers: dict[Any, int] = {}
        self._series = [numbers.setdefault(name_of(vars(row)), len(numbers)) for row in self._rows]
        self.names: list[SeriesName] = [(name,) for name in numbers] if len(kind.series) == 1 else list(numbers)

    def __len__(self) -> int:
        return len(self._rows)

    def claimed(self) -> dict[str, int]:
        """Each tenant that rows name, with the first such row."""
        claimed: dict[str, int] = {}
        for tenant_id in {row.tenant_id for row in self._rows} - {None}:
            found = next(at for at, row in enumerate(self._rows) if row.tenant_id == tenant_id)
            claimed[cast("str", tenant_id)] = self._first + found
        return claimed

    def narrow(self, ids: Mapping[SeriesName, int]) -> "NarrowRows":
        """The rows with the ids of their series."""
        kind = self._kind
        values_of = itemgetter(*kind.column_names)
        converted = [(at, column) for at, column in enumerate(kind.columns, start=1) if column.type == "uuid"]
        # By series, so that no sort is a long one, in which no other thread would run.
        by_series: dict[int, list[Values]] = {id_: [] for id_ in sorted(ids.values())}
        of_number = [ids[name] for name in self.names]
        for number, row in zip(self._series, self._rows, strict=True):
            narrow = (of_number[number], *values_of(vars(row)))
            for at, column in converted:
                if narrow[at] is not None:
                    narrow = (*narrow[:at], stored(narrow[at], column), *narrow[at + 1 :])
            by_series[narrow[0]].append(narrow)
        key_of = itemgetter(*range(1, 1 + len(kind.key)))
        for series_id, rows in by_series.items():
            keys = [key_of(row) for row in rows]
            if any(map(ge, keys, keys[1:])):
                by_key = dict(zip(keys, rows, strict=True))
                by_series[series_id] = [by_key[key] for key in sorted(by_key)]
        return NarrowRows(kind, by_series)


class NarrowRows:
    """Narrow rows as tuples."""

    def __init__(self, kind: Kind, by_series: dict[int, list[Values]]) -> None:
        self._kind = kind
        self._rows = list(chain.from_iterable(by_series.values()))
        time_at = 1 + kind.column_names.index(kind.time)
        price_at = None if kind.price is None else 1 + kind.column_names.index(kind.price)
        self.latest = {series_id: _latest(rows, time_at, price_at) for series_id, rows in by_series.items()}

    def rows(self) -> list[Values]:
        """As they are."""
        return self._rows

    def copied(self, statement: sql.Statement) -> CopyIn:
        """The step that copies them."""
        return CopyIn(statement, tuple(column.type for column in sql.stored_columns(self._kind)), self._rows)


def _checked(kind: Kind, rows: Iterable[Row | Mapping[str, Any]], first: int) -> list[Row]:
    """Every row as an instance of the kind's model. None is skipped, with a warning."""
    missing: list[int] = []
    checked: list[Row] = []
    model = cast("type[Row]", kind.model)
    validate = model.model_validate
    for index, row in enumerate(rows, start=first):
        if isinstance(row, model):
            checked.append(row)
        elif isinstance(row, Mapping):
            try:
                checked.append(validate(row))
            except ValidationError as error:
                raise InvalidRow(f"row {index}: {reason(error)}", index=index) from error
        elif row is None:
            missing.append(index)
        else:
            raise InvalidRow(
                f"row {index}: a {kind.model.__name__} or a mapping is needed, not {type(row).__name__}", index=index
            )
    if missing:
        said = f"rows that are None were skipped: {len(missing)}, the first is row {missing[0]}"
        warnings.warn(said, DataQualityWarning, stacklevel=2)
    return checked


def reason(error: ValidationError) -> str:
    """What is wrong with a row, field by field, in one line."""
    said = []
    for problem in error.errors(include_url=False, include_context=False):
        where = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        given = problem["input"]
        if problem["type"] == "missing" or not where:
            said.append(f"{where}: {message}" if where else message)
        else:
            said.append(f"{where}: {message} (got {str(given)[:60]!r})")
    return "; ".join(said)


def _upsert(session: Session, kind: Kind, batch: Batch, on_conflict: OnConflict, mode: str) -> Talk[None]:
    yield from _check_tenant(session, batch.claimed())
    if mode == "copy":
        yield from _copy_and_merge(session, kind, batch, on_conflict)
    else:
        yield from _send_and_merge(session, kind, batch, on_conflict, mode)


def _check_tenant(session: Session, claimed: Mapping[str, int]) -> Talk[None]:
    """Refuse rows that name another tenant than the client's."""
    if len(claimed) > 1 or (session.wanted and claimed.keys() - {session.wanted}):
        _refuse(claimed, session.wanted)
    if claimed and not session.wanted:
        # The tenant is the server's to say, by the role's binding: ask before a row is sent.
        if session.tenant_id is None:
            yield Group(())
        if claimed.keys() - {session.tenant_id}:
            _refuse(claimed, session.tenant_id)


def _refuse(claimed: Mapping[str, int], tenant_id: str | None) -> None:
    foreign, index = min(((name, at) for name, at in claimed.items() if name != tenant_id), key=itemgetter(1))
    owner = f"this client's tenant is {tenant_id}" if tenant_id else "rows of one call have one tenant"
    raise RLSDenied(f"row {index} is of tenant {foreign}: {owner}")


def _send_and_merge(session: Session, kind: Kind, batch: Batch, on_conflict: OnConflict, mode: str) -> Talk[None]:
    """The way of a small batch: as few round trips as can be, with the series from the cache."""
    known = {**session.series, **session.learned} if session.learned else session.series
    names = batch.names
    ids = {name: known[kind.name, name] for name in names if (kind.name, name) in known}
    cached = bool(ids)
    if missing := set(names) - ids.keys():
        ids |= {name: id_ for name, (id_, _) in (yield from _find_series(session, kind, missing)).items()}
    narrow = batch.narrow(ids)
    rows = narrow.rows()
    if mode == "values":
        size = session.config.values_page_size
        statement = sql.upsert_arrays(kind, on_conflict)
        types = [column.type for column in sql.stored_columns(kind)]
        pages = (rows[start : start + size] for start in range(0, len(rows), size))
        write: list[Step] = [Execute(statement, list(map(array, types, zip(*page, strict=True)))) for page in pages]
    elif len(rows) < session.config.values_min_rows:
        write = [Execute(sql.upsert_row(kind, on_conflict), row) for row in rows]
    else:
        write = [ExecuteMany(sql.upsert_row(kind, on_conflict), rows)]
    try:
        yield from commit(session, kind, narrow.latest, on_conflict, *write)
    except MDSOperationalError as error:
        if cached and error.sqlstate in _FOREIGN:
            session.forget()
            raise StaleSeries("a cached series is another tenant's now") from error
        raise


def _copy_and_merge(session: Session, kind: Kind, batch: Batch, on_conflict: OnConflict) -> Talk[None]:
    """The way of a large batch: through a staging table, without a merge where no row can be there yet.

    What the series' last times are is asked of the server in this transaction, and their ids with it.
    """
    # An earlier batch of the same transaction may have left its rows there.
    stage = (Execute(sql.create_stage(kind)), Execute(sql.clear_stage(kind)))
    series = yield from _find_series(session, kind, set(batch.names), stage)
    narrow = batch.narrow({name: id_ for name, (id_, _) in series.items()})
    latest = narrow.latest
    yield Group((narrow.copied(sql.copy_stage(kind)),))

    last = dict(series.values())
    if all(_is_newer(new.first_ts, last[series_id]) for series_id, new in latest.items()):
        append = (Execute(sql.SAVEPOINT), Execute(sql.merge_stage(kind, "append")), Execute(sql.RELEASE))
        try:
            yield from commit(session, kind, latest, on_conflict, *append)
            return
        except MDSOperationalError as error:
            if error.sqlstate != _UNIQUE_VIOLATION:
                raise
            # Another writer was there in between.
            yield Group((Execute(sql.ROLLBACK_TO),))
    yield from commit(session, kind, latest, on_conflict, Execute(sql.merge_stage(kind, on_conflict)))


def commit(
    session: Session, kind: Kind, latest: Mapping[int, Latest], on_conflict: OnConflict, *write: Step
) -> Talk[None]:
    """Write a batch, bring its series' last values up to it, and commit, in one round trip."""
    try:
        yield Group((*write, last_values(kind, latest, on_conflict)), commit=True)
    except MDSOperationalError as error:
        if error.sqlstate != sql.STALE_SERIES:
            raise
        session.forget()
        raise StaleSeries("a series of this batch was removed while it was written") from error


def last_values(kind: Kind, latest: Mapping[int, Latest], on_conflict: OnConflict) -> Execute:
    """The step that brings the series' last values up to a batch that was written."""
    said = zip(*latest.values(), strict=True) if kind.price else [[new.last_ts for new in latest.values()]]
    arrays = map(array, sql.last_values_types(kind), [list(latest), *said])
    return Execute(sql.last_values(kind), [*arrays, on_conflict])


def _is_newer(time: datetime, last: datetime | None) -> bool:
    return last is None or time > last


_FOREIGN: Final = ("44000", "42501", "55000")
"""What the server answers to a row with a series id of another tenant."""

_UNIQUE_VIOLATION: Final = "23505"


def _find_series(
    session: Session, kind: Kind, names: set[SeriesName], before: tuple[Step, ...] = ()
) -> Talk[dict[SeriesName, tuple[int, datetime | None]]]:
    """The id and the last time of every one of these series; those that are not there are made."""
    series: dict[SeriesName, tuple[int, datetime | None]] = {}
    missing = names
    for make in (False, True):
        if not missing:
            break
        columns = list(zip(*sorted(missing), strict=True))
        names_and_tenant = [*map(list, columns), session.wanted]
        steps = [*before] if not make else [Execute(sql.create_series(kind), names_and_tenant)]
        steps.append(Execute(sql.find_series(kind), [*(sorted(set(column)) for column in columns), session.wanted]))
        *_, found = yield Group(tuple(steps))
        for series_id, last_ts, *name in found:
            if (asked := tuple(name)) in missing:
                series[asked] = series_id, last_ts
                session.learned[kind.name, asked] = series_id
        missing = names - series.keys()
    if missing:
        raise RetryableError(f"{len(missing)} series were being created by another session, which then gave up")
    return series


def _latest(rows: list[Values], time_at: int, price_at: int | None) -> Latest:
    """Of the rows of one series, sorted by time."""
    first_ts, last_ts = rows[0][time_at], rows[-1][time_at]
    if price_at is None:
        return Latest(first_ts, last_ts, None, None, has_unpriced=True)
    has_unpriced = any(row[price_at] is None for row in rows)
    for row in reversed(rows):
        if row[price_at] is not None:
            return Latest(first_ts, last_ts, row[time_at], row[price_at], has_unpriced)
    return Latest(first_ts, last_ts, None, None, has_unpriced)
