"""What the client does, as conversations without I/O.

An operation is a generator: it yields a group of steps, is sent their results, and returns the answer. `MDS.run` and
`AMDS.run` perform it; nothing here waits or knows which of them does. The steps of one group travel together in one
round trip.
"""

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from operator import attrgetter, itemgetter
from typing import Any, Final, Generic, TypeAlias, TypeVar, cast

from pydantic import ValidationError

from mds_client import sql
from mds_client.config import Config
from mds_client.errors import ConfigurationError, InvalidRow, MDSOperationalError, RetryableError, RLSDenied
from mds_client.models import Bar, LatestPrice, Row, built
from mds_client.schema import KINDS, Kind, OnConflict, stored
from mds_client.sql import Statement

T = TypeVar("T")

Values: TypeAlias = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Execute:
    """Send a statement with its parameters; the result is its rows."""

    statement: Statement
    parameters: Sequence[Any] = ()


@dataclass(frozen=True, slots=True)
class ExecuteMany:
    """Send a statement once for each row; the result is empty."""

    statement: Statement
    rows: Sequence[Values]


@dataclass(frozen=True, slots=True)
class CopyIn:
    """Copy rows in, in binary, as these types; the result is empty. Stands alone in its group."""

    statement: Statement
    types: tuple[str, ...]
    rows: Sequence[Values]


Step: TypeAlias = Execute | ExecuteMany | CopyIn
Results: TypeAlias = list[list[Values]]


@dataclass(frozen=True, slots=True)
class Group:
    """Steps that travel together. With `commit` the transaction is committed in the same round trip."""

    steps: tuple[Step, ...]
    commit: bool = False


Talk: TypeAlias = Generator[Group, Results, T]

SeriesName: TypeAlias = tuple[str | None, ...]
SeriesCache: TypeAlias = dict[tuple[str, SeriesName], int]
"""Series ids that a committed transaction has seen, by kind and name; one cache for each tenant."""


class StaleSeries(RetryableError):
    """A cached series id is no longer the tenant's; the cache is empty now, and the operation is tried again."""


@dataclass(slots=True)
class Session:
    """What an operation knows while it is performed, in one transaction.

    `tenant_id` is the tenant as the server says it, known from the first group's results on; `wanted` is the one that
    the client was made for. `learned` goes into the cache once the transaction is committed.
    """

    config: Config
    series: SeriesCache
    wanted: str | None = None
    tenant_id: str | None = None
    learned: SeriesCache = field(default_factory=dict)

    def forget(self) -> None:
        """Drop what is cached: the server has shown that it is wrong."""
        self.series.clear()
        self.learned.clear()


@dataclass(frozen=True, slots=True)
class Operation(Generic[T]):
    """A conversation that can be had any number of times.

    `idempotent`: having it twice is the same as once, so that it may be repeated when a commit's outcome is unknown.
    `needs_schema`: it works on a migrated database only, and as a tenant.
    """

    name: str
    talk: Callable[[Session], Talk[T]]
    idempotent: bool = True
    needs_schema: bool = True

    def opening(self, session: Session) -> Execute:
        """The statement that goes before the first group."""
        timeout = str(session.config.statement_timeout_ms)
        if self.needs_schema:
            return Execute(sql.BEGIN_AS, (session.wanted, timeout))
        return Execute(sql.BEGIN, (timeout,))

    def opened(self, session: Session, rows: list[Values]) -> None:
        """Take up what the opening statement answered."""
        if self.needs_schema:
            tenant = rows[0][0]
            session.tenant_id = None if tenant is None else str(tenant)


@dataclass(frozen=True, slots=True)
class Health:
    """What a client is connected to. True in a condition: a server that cannot be reached raises instead.

    `engine` is `postgres`, `timescale-apache` or `timescale`; `schema_version` is None on a database that is not
    migrated; `tenant_id` is None where no tenant is set or the database is not migrated.
    """

    server_version: str
    engine: str
    engine_version: str | None
    database: str
    role: str
    schema_version: str | None
    tenant_id: str | None

    def __bool__(self) -> bool:
        return True


def engine_name(extension: str | None, license_: str | None) -> str:
    """Which engine a database has, by TimescaleDB's version there and the licence it runs under."""
    if extension is None:
        return "postgres"
    return "timescale" if license_ == "timescale" else "timescale-apache"


def health() -> Operation[Health]:
    """Ask the server what it is, and who one is there. Works on a database that is not migrated."""

    def talk(session: Session) -> Talk[Health]:
        (server,), (migrated,) = yield Group((Execute(sql.SERVER), Execute(sql.HAS_SCHEMA)))
        version, role, database, extension, license_ = server
        schema = tenant = None
        if migrated[0]:
            timeout = str(session.config.statement_timeout_ms)
            (opened,), (row,) = yield Group(
                (Execute(sql.BEGIN_AS, (session.wanted, timeout)), Execute(sql.SCHEMA_VERSION)), commit=True
            )
            schema, tenant = row[0], opened[0]
        return Health(
            server_version=version,
            engine=engine_name(extension, license_),
            engine_version=extension,
            database=database,
            role=role,
            schema_version=schema,
            tenant_id=None if tenant is None else str(tenant),
        )

    return Operation("health", talk, needs_schema=False)


def schema_version() -> Operation[str | None]:
    """The version of the newest migration that ran, or None on a database that is not migrated."""

    def talk(_: Session) -> Talk[str | None]:
        ((there,),) = yield Group((Execute(sql.HAS_SCHEMA),))
        if not there[0]:
            return None
        ((version,),) = yield Group((Execute(sql.SCHEMA_VERSION),))
        return None if version[0] is None else str(version[0])

    return Operation("schema_version", talk, needs_schema=False)


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


def bars_window(symbol: str, timeframe: str, start: datetime, end: datetime, vendor: str) -> Operation[list[Bar]]:
    """The bars of one series with `start <= ts < end`, oldest first; all of them, without a limit.

    A time without a zone is UTC. An unknown series has no bars. Raises ConfigurationError where start is after end.
    """
    kind = KINDS["bars"]
    start, end = _instant(start), _instant(end)
    if start > end:
        raise ConfigurationError(f"start ({start.isoformat()}) is after end ({end.isoformat()})")
    names = (vendor.strip(), symbol.strip().upper(), timeframe.strip())

    def talk(session: Session) -> Talk[list[Bar]]:
        (rows,) = yield Group((Execute(sql.window(kind), (*names, start, end)),), commit=True)
        return _models(Bar, kind, session.tenant_id, names, rows)

    return Operation("bars_window", talk)


def latest_prices(symbols: Sequence[str], vendor: str) -> Operation[list[LatestPrice]]:
    """The newest close of each of these symbols that has one, over all timeframes, in the order of the symbols' names.

    Costs the same however many bars there are: the price is kept with the series.
    """
    if isinstance(symbols, str):
        raise ConfigurationError(f"symbols is a list of names, not one text: [{symbols!r}]")
    kind = KINDS["bars"]
    vendor = vendor.strip()
    wanted = sorted({symbol.strip().upper() for symbol in symbols})

    def talk(session: Session) -> Talk[list[LatestPrice]]:
        (rows,) = yield Group((Execute(sql.latest_prices(kind), (vendor, wanted)),), commit=True)
        return [
            built(
                LatestPrice,
                {
                    "tenant_id": session.tenant_id,
                    "vendor": vendor,
                    "symbol": symbol,
                    "price": price,
                    "price_timestamp": time,
                },
            )
            for symbol, price, time in rows
        ]

    return Operation("latest_prices", talk)


def _instant(value: datetime) -> datetime:
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value


def _models(
    model: type[T], kind: Kind, tenant_id: str | None, names: Sequence[str | None], rows: list[Values]
) -> list[T]:
    """Rows as the model's instances: a constant part for the series, a stored part from the row."""
    constant = {"tenant_id": tenant_id, **dict(zip(kind.series, names, strict=True))}
    columns = sql.model_columns(kind)
    return [built(model, {**constant, **dict(zip(columns, row, strict=True))}) for row in rows]


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
