"""Writing rows: from rows to narrow rows, to a merge, to the series' last values.

An upsert is an operation (`mds_client.operations`): nothing here waits. Its statements are in `mds_client.sql`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter, itemgetter
from typing import Any, Final, cast

from pydantic import ValidationError

from mds_client import sql
from mds_client.errors import ConfigurationError, InvalidRow, MDSOperationalError, RetryableError, RLSDenied
from mds_client.models import Bar, Fundamentals, News, OptionSnap, Row
from mds_client.operations import (
    CopyIn,
    Execute,
    ExecuteMany,
    Group,
    Operation,
    SeriesName,
    Session,
    StaleSeries,
    Step,
    Talk,
    Values,
)
from mds_client.schema import KINDS, Kind, OnConflict, stored


def upsert(
    kind: str | type[Row] | Kind, rows: Iterable[Row | Mapping[str, Any]], *, on_conflict: OnConflict = "replace"
) -> Operation[int]:
    """Write rows of any kind, in one transaction: all of them, or none.

    `rows` are models or mappings of that kind. Where a key comes twice, the last row wins. Writing the same rows again
    changes nothing. Returns how many rows were accepted. Raises InvalidRow for a mapping that is no row of the kind,
    and RLSDenied for a row of another tenant, before anything is sent.
    """
    declared = KINDS.of(kind)
    checked = _checked(declared, rows)
    if on_conflict not in ("replace", "keep", "fill"):
        raise ConfigurationError(f"on_conflict is replace, keep or fill, not {on_conflict!r}")

    def talk(session: Session) -> Talk[int]:
        return (yield from _upsert(session, declared, checked, on_conflict)) if checked else 0

    return Operation(f"upsert_{declared.name}", talk)


def upsert_bars(rows: Iterable[Bar | Mapping[str, Any]], *, on_conflict: OnConflict = "replace") -> Operation[int]:
    """Write bars, in one transaction: all of them, or none.

    `rows` are `Bar`s or mappings with its fields. `on_conflict` says what happens to a stored bar of the same series
    and time: `replace` overwrites every value, `keep` leaves it, `fill` overwrites only where the new value is not
    None. Where a key comes twice, the last row wins. Writing the same rows again changes nothing, and makes no row
    version. Returns how many rows were accepted.

    Raises InvalidRow for a mapping that is no bar, and RLSDenied for a row of another tenant, before anything is sent;
    the other errors of `mds_client.errors` where the server refuses, and then nothing is written.
    """
    return upsert("bars", rows, on_conflict=on_conflict)


def upsert_fundamentals(
    rows: Iterable[Fundamentals | Mapping[str, Any]], *, on_conflict: OnConflict = "replace"
) -> Operation[int]:
    """Write fundamentals; as `upsert_bars`, by symbol and as-of date."""
    return upsert("fundamentals", rows, on_conflict=on_conflict)


def upsert_news(rows: Iterable[News | Mapping[str, Any]], *, on_conflict: OnConflict = "replace") -> Operation[int]:
    """Write news; as `upsert_bars`, by vendor, time and id. Without an id, an item gets one from its content."""
    return upsert("news", rows, on_conflict=on_conflict)


def upsert_options(
    rows: Iterable[OptionSnap | Mapping[str, Any]], *, on_conflict: OnConflict = "replace"
) -> Operation[int]:
    """Write option snapshots; as `upsert_bars`, by symbol, time and contract."""
    return upsert("options", rows, on_conflict=on_conflict)


def _checked(kind: Kind, rows: Iterable[Row | Mapping[str, Any]]) -> list[Row]:
    """Every row as an instance of the kind's model."""
    checked: list[Row] = []
    model = cast("type[Row]", kind.model)
    validate = model.model_validate
    for index, row in enumerate(rows):
        if isinstance(row, model):
            checked.append(row)
        elif isinstance(row, Mapping):
            try:
                checked.append(validate(row))
            except ValidationError as error:
                raise InvalidRow(f"row {index}: {reason(error)}", index=index) from error
        else:
            raise InvalidRow(
                f"row {index}: a {kind.model.__name__} or a mapping is needed, not {type(row).__name__}", index=index
            )
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


def _upsert(session: Session, kind: Kind, rows: list[Row], on_conflict: OnConflict) -> Talk[int]:
    claimed = {row.tenant_id for row in rows} - {None}
    if len(claimed) > 1 or (session.wanted and claimed - {session.wanted}):
        _refuse(rows, session.wanted)
    if claimed and not session.wanted:
        # The tenant is the server's to say, by the role's binding: ask before a row is sent.
        yield Group(())
        if claimed - {session.tenant_id}:
            _refuse(rows, session.tenant_id)
    ids = yield from _series_ids(session, kind, rows)
    cached = len(session.learned) < len(ids)
    narrow = _narrow(kind, rows, ids)

    mode = session.config.write_mode_for(len(narrow))
    if mode == "copy":
        yield Group((Execute(sql.create_stage(kind)),))
        types = tuple(column.type for column in sql.stored_columns(kind))
        yield Group((CopyIn(sql.copy_stage(kind), types, narrow),))
        write: list[Step] = [Execute(sql.merge_stage(kind, on_conflict))]
    elif mode == "values":
        size = session.config.values_page_size
        statement = sql.upsert_arrays(kind, on_conflict)
        pages = (narrow[start : start + size] for start in range(0, len(narrow), size))
        write = [Execute(statement, [list(column) for column in zip(*page, strict=True)]) for page in pages]
    else:
        write = [ExecuteMany(sql.upsert_row(kind, on_conflict), narrow)]

    latest = _latest(kind, narrow)
    try:
        *_, held = yield Group((*write, Execute(sql.LOCK_SERIES, (sorted(latest),))))
    except MDSOperationalError as error:
        if cached and error.sqlstate in _FOREIGN:
            session.forget()
            raise StaleSeries("a cached series is another tenant's now") from error
        raise
    if len(held) != len(latest):
        session.forget()
        raise StaleSeries("a series of this batch was removed while it was cached")
    yield Group(tuple(_last_values(kind, held, latest, on_conflict)), commit=True)
    return len(rows)


_FOREIGN: Final = ("44000", "42501", "55000")
"""What the server answers to a row with a series id of another tenant."""


def _refuse(rows: list[Row], tenant_id: str | None) -> None:
    for index, row in enumerate(rows):
        if row.tenant_id is not None and row.tenant_id != tenant_id:
            owner = f"this client's tenant is {tenant_id}" if tenant_id else "rows of one call have one tenant"
            raise RLSDenied(f"row {index} is of tenant {row.tenant_id}: {owner}")


def _series_ids(session: Session, kind: Kind, rows: list[Row]) -> Talk[dict[Any, int]]:
    """The id of every series among the rows, by its name; those that are not there are made."""
    name_of = attrgetter(*kind.series)
    single = len(kind.series) == 1
    wanted = {name_of(row) for row in rows}
    known = session.series

    def key(name: Any) -> tuple[str, SeriesName]:
        return kind.name, ((name,) if single else name)

    ids = {name: known[key(name)] for name in wanted if key(name) in known}
    missing = wanted - ids.keys()
    for statements in (False, True):
        if not missing:
            break
        columns = list(zip(*(key(name)[1] for name in sorted(missing)), strict=True))
        find = Execute(sql.find_series(kind), [sorted(set(column)) for column in columns])
        make = Execute(sql.create_series(kind), [list(column) for column in columns])
        *_, found = yield Group((make, find) if statements else (find,))
        for series_id, _last, *name in found:
            asked = name[0] if single else tuple(name)
            if asked in missing:
                ids[asked] = session.learned[key(asked)] = series_id
        missing -= ids.keys()
    if missing:
        raise RetryableError(f"{len(missing)} series were being made by somebody else who then gave up")
    return ids


def _narrow(kind: Kind, rows: list[Row], ids: dict[Any, int]) -> list[Values]:
    """Rows as the table has them, each key once (the last one wins), sorted by key."""
    name_of = attrgetter(*kind.series)
    values_of = attrgetter(*kind.column_names)
    converted = [(at, column) for at, column in enumerate(kind.columns, start=1) if column.type == "uuid"]
    size = 1 + len(kind.key)
    by_key: dict[Values, Values] = {}
    for row in rows:
        narrow = (ids[name_of(row)], *values_of(row))
        for at, column in converted:
            if narrow[at] is not None:
                narrow = (*narrow[:at], stored(narrow[at], column), *narrow[at + 1 :])
        by_key[narrow[:size]] = narrow
    return [by_key[key] for key in sorted(by_key)]


@dataclass(slots=True)
class _Latest:
    """Of one series in a batch: its oldest and newest time, its newest price, and whether a row had none."""

    first_ts: datetime
    last_ts: datetime
    price_ts: datetime | None
    price: float | None
    has_unpriced: bool


def _latest(kind: Kind, narrow: list[Values]) -> dict[int, _Latest]:
    time_at = 1 + kind.column_names.index(kind.time)
    price_at = 1 + kind.column_names.index(kind.price) if kind.price else None
    latest: dict[int, _Latest] = {}
    for row in narrow:
        price = row[price_at] if price_at else None
        seen = latest.get(row[0])
        if seen is None:
            time = row[time_at]
            latest[row[0]] = _Latest(time, time, time if price is not None else None, price, price is None)
            continue
        # Rows come sorted by time within a series.
        seen.last_ts = row[time_at]
        if price is None:
            seen.has_unpriced = True
        else:
            seen.price_ts, seen.price = row[time_at], price
    return latest


def _last_values(kind: Kind, held: list[Values], latest: dict[int, _Latest], on_conflict: OnConflict) -> Iterable[Step]:
    """The statements that bring the series' last values up to the batch; none where it has changed nothing."""
    moved: list[Values] = []
    unsure: list[int] = []
    for series_id, last_ts, last_price_ts, last_price in held:
        new = latest[series_id]
        ts = new.last_ts if last_ts is None or new.last_ts > last_ts else last_ts
        price_ts, price = last_price_ts, last_price
        if new.price_ts is not None and (last_price_ts is None or new.price_ts >= last_price_ts):
            if on_conflict == "keep" and last_ts is not None and new.price_ts <= last_ts:
                # A stored row may have been there first, and then it has stayed.
                unsure.append(series_id)
            else:
                price_ts, price = new.price_ts, new.price
        elif (
            on_conflict == "replace"
            and new.has_unpriced
            and last_price_ts is not None
            and new.first_ts <= last_price_ts <= new.last_ts
        ):
            # The row with the newest price may have lost it.
            unsure.append(series_id)
        if (ts, price_ts, price) != (last_ts, last_price_ts, last_price):
            moved.append((series_id, ts, price_ts, price))
    if moved:
        moved.sort(key=itemgetter(0))
        yield Execute(sql.SET_LAST_VALUES, [list(column) for column in zip(*moved, strict=True)])
    if unsure:
        yield Execute(sql.find_last_price(kind), (unsure,))
