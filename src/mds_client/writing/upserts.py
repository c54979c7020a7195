"""Upserts: convert rows to narrow rows, merge them, and update the series' last values.

An upsert is an operation without I/O (`mds_client.protocol.operations`). The statements are in `mds_client.sql`. Rows
come as models or in columns (`mds_client.columns.rows`); both are written in the same way.
"""

from collections.abc import Mapping, Sized
from dataclasses import replace
from datetime import datetime
from operator import itemgetter
from typing import Any, Final, NamedTuple

from psycopg.errors import UniqueViolation

from mds_client import cold, sql
from mds_client.columns.arrays import array
from mds_client.columns.rows import HEAVY_ROWS, ArrowStream, Batch, Input, Narrow, batches
from mds_client.errors import ConfigurationError, MDSOperationalError, RetryableError, RLSDenied
from mds_client.mapping import Extra
from mds_client.mapping import Mapping as ColumnMapping
from mds_client.models import AnyKind
from mds_client.protocol.operations import (
    BACK,
    Execute,
    ExecuteMany,
    Group,
    Known,
    Latest,
    Operation,
    SeriesName,
    Session,
    StaleSeries,
    Step,
    Talk,
    Written,
)
from mds_client.schema import KINDS, Kind, OnConflict, check_conflict
from mds_client.writing.source import Batches, mapping_for, of_feed

CHUNK_ROWS: Final = 50_000
"""The default number of a stream's rows in a transaction, which bounds the memory."""


def upsert(
    kind: AnyKind,
    rows: Input,
    *,
    on_conflict: OnConflict = "replace",
    chunk_rows: int = CHUNK_ROWS,
    extra: Extra = "error",
    mapping: ColumnMapping | str | None = None,
    is_feed: bool = False,
) -> Operation[int]:
    """The operation of `MDS.upsert`.

    `is_feed`: the rows arrived one after the other, so a later row with the same key is expected and gives no warning.
    """
    declared = KINDS.of(kind)
    check_conflict(on_conflict)
    how = mapping_for(declared, extra, mapping)
    if chunk_rows < 1:
        raise ConfigurationError(f"chunk_rows is at least 1, not {chunk_rows}")
    made = batches(declared, rows, chunk_rows, how)
    source = Batches(map(of_feed, made) if is_feed else made, whole=isinstance(rows, Sized))
    heavy = isinstance(rows, ArrowStream) or not isinstance(rows, Sized) or len(rows) >= HEAVY_ROWS
    if not heavy:
        source.current()
    return _writing(declared, source, on_conflict, heavy=heavy)


def upsert_batch(kind: Kind, batch: Batch, *, on_conflict: OnConflict = "replace") -> Operation[int]:
    """Write rows that are already checked: all of them or none."""
    return _writing(kind, Batches(iter((batch,)), whole=True), on_conflict, heavy=len(batch) >= HEAVY_ROWS)


def _writing(declared: Kind, source: Batches, on_conflict: OnConflict, *, heavy: bool) -> Operation[int]:
    def talk(session: Session) -> Talk[int]:
        accepted, replaced = source.written, 0
        try:
            for given in source.left():
                batch = given.spelled(session.spelling)
                mode = session.config.write_mode_for(len(batch))
                try:
                    yield from _upsert(session, declared, batch, on_conflict, mode)
                finally:
                    # For the caller, and for another attempt, which must not warn again.
                    given.replaced = batch.replaced
                accepted += len(batch)
                replaced += batch.replaced or 0
                session.written = Written(declared.name, mode, accepted, replaced)
                del given, batch  # before the next one is made
        except Exception as error:
            if source.written:
                error.add_note(f"the {source.written} rows before are written")
            raise
        return accepted

    return Operation(f"upsert_{declared.name}", talk, heavy=heavy)


def _upsert(session: Session, kind: Kind, batch: Batch, on_conflict: OnConflict, mode: str) -> Talk[None]:
    yield from check_tenant(session, batch.claimed())
    if mode == "copy":
        yield from copy_and_merge(session, kind, batch, on_conflict)
    else:
        yield from _send_and_merge(session, kind, batch, on_conflict, mode)


def check_tenant(session: Session, claimed: Mapping[str, int]) -> Talk[None]:
    """Raise RLSDenied if rows name another tenant than the client's."""
    if len(claimed) > 1 or (session.wanted and claimed.keys() - {session.wanted}):
        _refuse(claimed, session.wanted)
    if claimed and not session.wanted:
        # The role's binding decides the tenant, so ask the server before sending a row.
        if session.tenant_id is None:
            yield Group(())
        if claimed.keys() - {session.tenant_id}:
            _refuse(claimed, session.tenant_id)


def _refuse(claimed: Mapping[str, int], tenant_id: str | None) -> None:
    foreign, index = min(((name, at) for name, at in claimed.items() if name != tenant_id), key=itemgetter(1))
    owner = f"this client's tenant is {tenant_id}" if tenant_id else "rows of one call have one tenant"
    raise RLSDenied(f"row {index} is of tenant {foreign}: {owner}")


def _send_and_merge(session: Session, kind: Kind, batch: Batch, on_conflict: OnConflict, mode: str) -> Talk[None]:
    """Write a small batch with as few round trips as possible and cached series ids."""
    known = {**session.series, **session.learned} if session.learned else session.series
    names = batch.names
    series = {name: known[kind.name, name] for name in names if (kind.name, name) in known}
    cached = bool(series)
    if missing := set(names) - series.keys():
        series |= {name: found.known for name, found in (yield from find_series(session, kind, missing)).items()}
    ids = ids_of(session, series)
    narrow = batch.narrow(ids)
    fence = yield from cold.fence(session, kind)
    if fence is not None and _oldest(narrow.latest) < fence:
        yield Group((Execute(sql.create_stage(kind)), Execute(sql.clear_stage(kind))))
        yield from _write_late(session, kind, narrow, {ids[name]: name for name in names}, on_conflict, fence)
        return
    try:
        if kind.shared is None:
            yield from commit(
                session, kind, narrow.latest, on_conflict, *_sent(session, kind, narrow, on_conflict, mode)
            )
        else:
            yield from _write_apart(session, kind, batch, ids, narrow, on_conflict, mode)
    except MDSOperationalError as error:
        if cached and error.sqlstate in _FOREIGN:
            session.forget()
            raise StaleSeries("a cached series is another tenant's now") from error
        raise


def _sent(session: Session, kind: Kind, narrow: Narrow, on_conflict: OnConflict, mode: str) -> list[Step]:
    """Return the steps that write rows as parameters."""
    rows = narrow.rows()
    if mode == "values":
        size = session.config.values_page_size
        statement = sql.upsert_arrays(kind, on_conflict)
        types = [column.type for column in sql.stored_columns(kind)]
        pages = (rows[start : start + size] for start in range(0, len(rows), size))
        return [Execute(statement, list(map(array, types, zip(*page, strict=True)))) for page in pages]
    if len(rows) < session.config.values_min_rows:
        return [Execute(sql.upsert_row(kind, on_conflict), row) for row in rows]
    return [ExecuteMany(sql.upsert_row(kind, on_conflict), rows)]


def _write_apart(
    session: Session,
    kind: Kind,
    batch: Batch,
    ids: Mapping[SeriesName, int],
    narrow: Narrow,
    on_conflict: OnConflict,
    mode: str,
) -> Talk[None]:
    """Write a batch whose rows can share an id with others; in copy mode, the rows in the staging table.

    The stored rows are read only after a conflict, which is rare.
    """
    for attempt in range(_ATTEMPTS):
        if mode == "copy":
            if attempt:
                yield Group((Execute(sql.clear_stage(kind)),))
                yield Group((narrow.copied(sql.copy_stage(kind)),))
            write: list[Step] = [Execute(sql.merge_stage(kind, on_conflict))]
        else:
            write = _sent(session, kind, narrow, on_conflict, mode)
        try:
            # Prepare at the first execution or not at all: see `commit`.
            named = [replace(step, prepare=True) if isinstance(step, Execute) else step for step in write]
            yield from commit(session, kind, narrow.latest, on_conflict, _HELD[0], *named, _HELD[1])
            return
        except MDSOperationalError as error:
            if error.sqlstate != sql.SHARED_ID:
                raise
        yield BACK
        (held,) = yield Group((_shared(session, kind, narrow),))
        narrow = batch.narrow(ids, {(series_id, ts, id_): apart for series_id, ts, id_, apart in held})
    raise RetryableError(f"{kind.name}: other sessions were writing rows with the same ids")


_HELD: Final = (Execute(sql.SAVEPOINT), Execute(sql.RELEASE, prepare=False))
"""The steps before and after a write that can conflict with unexpected rows."""

_ATTEMPTS: Final = 5
"""The maximum number of attempts to distinguish rows from stored ones. Only concurrent writers make more than two
necessary."""


def _shared(session: Session, kind: Kind, narrow: Narrow) -> Execute:
    """Return the step that reads the stored rows with the ids of a batch."""
    names = [column.name for column in sql.stored_columns(kind)]
    assert kind.shared is not None
    at, given, time_at = (names.index(name) for name in (kind.shared.name, kind.shared.given, kind.time))
    rows = narrow.rows()
    times = [row[time_at] for row in rows]
    values = {row[at] if row[given] is None else row[given] for row in rows}
    series = array("bigint", list({row[0] for row in rows}))
    found = array(kind.shared.type, list(values))
    return Execute(sql.shared_rows(kind), [series, min(times), max(times), found, session.wanted])


def copy_and_merge(session: Session, kind: Kind, batch: Batch, on_conflict: OnConflict) -> Talk[None]:
    """Write a large batch through a staging table, without a merge if no row can exist yet.

    The ids and last times of the series are read in the same transaction.
    """
    # An earlier batch of the same transaction may have left rows in the staging table.
    stage = (Execute(sql.create_stage(kind)), Execute(sql.clear_stage(kind)))
    series = yield from find_series(session, kind, set(batch.names), stage)
    ids = ids_of(session, {name: found.known for name, found in series.items()})
    narrow = batch.narrow(ids)
    latest = narrow.latest
    fence = yield from cold.fence(session, kind)
    if fence is not None and _oldest(latest) < fence:
        named = {id_: name for name, id_ in ids.items()}
        yield from _write_late(session, kind, narrow, named, on_conflict, fence)
        return
    yield Group((narrow.copied(sql.copy_stage(kind)),))

    last = {found.known.series_id: found.last_ts for found in series.values()}
    if all(_is_newer(new.first_ts, last[series_id]) for series_id, new in latest.items()):
        append = (_HELD[0], Execute(sql.merge_stage(kind, "append")), _HELD[1])
        try:
            yield from commit(session, kind, latest, on_conflict, *append)
            return
        except MDSOperationalError as error:
            if error.sqlstate != UniqueViolation.sqlstate:
                raise
            # Another writer has added such a row in the meantime.
            yield BACK
    if kind.shared is None:
        yield from commit(session, kind, latest, on_conflict, Execute(sql.merge_stage(kind, on_conflict)))
    else:
        yield from _write_apart(session, kind, batch, ids, narrow, on_conflict, "copy")


def _write_late(
    session: Session,
    kind: Kind,
    narrow: Narrow,
    series: Mapping[int, SeriesName],
    on_conflict: OnConflict,
    fence: datetime,
) -> Talk[None]:
    """Write a batch with rows from before the fence, through the staging table, which is empty.

    These rows are written as late rows. If the files can be read, rows that would change nothing are skipped.
    """
    at = 1 + kind.column_names.index(kind.time)
    same: list[tuple[Any, ...]] = []
    if session.config.cold_url:
        from mds_client.cold import reading

        older = [row for row in narrow.rows() if row[at] < fence]
        same = yield from reading.unchanged(session, kind, series, older, on_conflict)
    yield Group((narrow.copied(sql.copy_stage(kind)),))
    # The column of each part of the keys, also of none.
    skipped = [array(type_, [key[at] for key in same]) for at, type_ in enumerate(sql.late_key_types(kind))]
    yield from commit(
        session,
        kind,
        narrow.latest,
        on_conflict,
        Execute(sql.merge_stage_since(kind, on_conflict), (fence,)),
        Execute(sql.late_stage(kind), (on_conflict, fence, *skipped)),
    )


def _oldest(latest: Mapping[int, Latest]) -> datetime:
    return min(new.first_ts for new in latest.values())


def commit(
    session: Session, kind: Kind, latest: Mapping[int, Latest], on_conflict: OnConflict, *write: Step
) -> Talk[None]:
    """Write a batch, update its series' last values, and commit, in one round trip."""
    behind = last_values(kind, latest, on_conflict, session.renames)
    if write[:1] == _HELD[:1]:
        # The driver would treat a statement that is skipped after an error as prepared.
        behind = replace(behind, prepare=False)
    try:
        yield Group((*write, behind), commit=True)
    except MDSOperationalError as error:
        if error.sqlstate != sql.STALE_SERIES:
            raise
        session.forget()
        raise StaleSeries("a series of this batch was removed or renamed while it was written") from error


def last_values(kind: Kind, latest: Mapping[int, Latest], on_conflict: OnConflict, renames: int = 0) -> Execute:
    """Return the step that updates the series' last values after a batch is written.

    `renames` is how often the writer knows them to have been renamed, in total.
    """
    said = zip(*latest.values(), strict=True) if kind.price else [[new.last_ts for new in latest.values()]]
    arrays = map(array, sql.last_values_types(kind), [list(latest), *said])
    return Execute(sql.last_values(kind), [*arrays, on_conflict, renames])


def _is_newer(time: datetime, last: datetime | None) -> bool:
    return last is None or time > last


_FOREIGN: Final = ("44000", "42501", "55000")
"""The error codes for a row whose series id belongs to another tenant."""


class Found(NamedTuple):
    """A series as the server knows it, with the time of its newest row."""

    known: Known
    last_ts: datetime | None


def ids_of(session: Session, series: Mapping[SeriesName, Known]) -> dict[SeriesName, int]:
    """Return the ids of a batch's series, and keep in the session what is known of their renames.

    Raises StaleSeries if two names have one id: one of them is the cached name of a series that was renamed.
    """
    ids = {name: known.series_id for name, known in series.items()}
    if len(set(ids.values())) < len(ids):
        session.forget()
        raise StaleSeries("a cached series has another name now")
    session.renames = sum(known.renames for known in series.values())
    return ids


def find_series(
    session: Session, kind: Kind, names: set[SeriesName], before: tuple[Step, ...] = ()
) -> Talk[dict[SeriesName, Found]]:
    """Return each of these series. Creates those that do not exist."""
    series: dict[SeriesName, Found] = {}
    missing = names
    for make in (False, True):
        if not missing:
            break
        columns = list(zip(*sorted(missing), strict=True))
        names_and_tenant = [*map(list, columns), session.wanted]
        searched = [sorted(set(columns[kind.series.index(part)])) for part in kind.searched]
        steps = [*before] if not make else [Execute(sql.create_series(kind), names_and_tenant)]
        steps.append(Execute(sql.find_series(kind), [*searched, session.wanted]))
        *_, found = yield Group(tuple(steps))
        for series_id, renames, last_ts, *name in found:
            if (asked := tuple(name)) in missing:
                series[asked] = Found(Known(series_id, renames), last_ts)
                session.learned[kind.name, asked] = series[asked].known
        missing = names - series.keys()
    if missing:
        raise RetryableError(f"{len(missing)} series were being created by another session, which then gave up")
    return series
