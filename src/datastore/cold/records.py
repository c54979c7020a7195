"""The state of rows in files: fences, the list of files, and the ages at which rows move."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, TypeVar
from uuid import UUID

from psycopg.rows import class_row
from psycopg.sql import SQL, Identifier, Literal

from datastore import config, timescale_policies
from datastore.config import SettingsError
from datastore.connections import as_owner, connect
from datastore.engines import Driver, Engine, one
from datastore.errors import ControlError
from datastore.locks import held
from datastore.names import COLD_LOCK, STORE, TENANT_BITS
from datastore.reads import series_range
from datastore.tenants import Tenant, find_tenant, list_tenants
from mds_client import KINDS, MDSError
from mds_client.schema import Kind
from mds_client.sql import series_name

T = TypeVar("T")

Step = Callable[[str], object]
"""Called with the name of the last step; may raise."""


def nobody(_step: str) -> None:
    """Do nothing, and let the work continue."""


COLD: Final = [kind for kind in KINDS.values() if kind.cold]
"""The kinds whose old rows can be kept in files."""


@dataclass(frozen=True, slots=True)
class ColdState:
    """The rows of a tenant and kind that are in files.

    `cold_after` is the age at which rows move, `cold_before` the fence, both None if there is none. `late` are the rows
    that wait to be folded into files. `waiting` says that rows from before the fence are still in the table.
    """

    tenant: UUID
    name: str
    kind: str
    cold_after: timedelta | None
    cold_before: datetime | None
    files: int
    rows: int
    bytes: int
    late: int
    replaced: int
    waiting: bool


@dataclass(frozen=True, slots=True)
class ColdFile:
    """A file that is on the list."""

    id: int
    tenant_no: int
    kind: str
    period_start: datetime
    period_end: datetime
    path: str
    rows: int
    bytes: int
    sha256: str


def url() -> str:
    """Return the place of the files. Raises SettingsError if it is not set."""
    found = config.load().cold_url
    if found is None:
        raise SettingsError("no place for files of old rows: set DATASTORE_COLD_URL to a folder or s3://bucket/prefix")
    return found


def kinds(only: str | None) -> list[Kind]:
    """Return the given kind, or all that can be kept in files. Raises ControlError for another one."""
    if only is not None and only not in [kind.name for kind in COLD]:
        raise ControlError(f"{only} cannot be kept in files; these can: {', '.join(kind.name for kind in COLD)}")
    return [kind for kind in COLD if only in (None, kind.name)]


def tenants(dsn: str, only: UUID | None) -> list[Tenant]:
    """Return the given tenant, or all, without disabled ones. Raises UnknownTenant."""
    return [one for one in list_tenants(dsn) if one.disabled_at is None and only in (None, one.id)]


def separately(works: Iterable[Callable[[], Iterable[T]]]) -> Iterator[T]:
    """Yield the results of each work. A failure does not stop the others.

    Raises:
        ControlError: Some works failed. It is the first failure, with the others as notes.
        FileMissing: As above, if the first failure is a file that cannot be read.
    """
    failures: list[ControlError | MDSError] = []
    for work in works:
        try:
            yield from work()
        except (ControlError, MDSError) as error:
            failures.append(error)
    if failures:
        for other in failures[1:]:
            failures[0].add_note(str(other))
        raise failures[0]


@contextmanager
def alone(dsn: str) -> Iterator[tuple[Engine, Driver]]:
    """Open a connection as the owner, while no other process moves rows."""
    with as_owner(dsn) as (engine, driver), held(dsn, COLD_LOCK, driver):
        driver.execute("SET TimeZone TO 'UTC'")
        driver.commit()
        yield engine, driver


def age(driver: Driver, tenant: Tenant, kind: Kind) -> timedelta | None:
    """Return the age at which a tenant's rows move into files; None if they never do."""
    found = driver.execute(
        "SELECT cold_after FROM store.cold_fences WHERE tenant_no = %s AND kind = %s AND has_own_age",
        (tenant.no, kind.name),
    ).fetchone()
    if found is None:
        found = driver.execute(
            "SELECT value FROM store.policies WHERE relation = %s AND policy = 'cold_after'", (kind.name,)
        ).fetchone()
    return None if found is None else found[0]


def set_age(dsn: str, tenant: UUID, kind: str, value: timedelta | None, *, own: bool = True) -> list[ColdState]:
    """Set a tenant's own age at which its rows of a kind move into files; None means never.

    Args:
        dsn: The control plane's DSN.
        tenant: The tenant.
        kind: The kind.
        value: The age.
        own: False removes the tenant's own age, so that everybody's applies again.

    Raises:
        PolicyError: The engine has no such policy, or the kind's rows are removed by retention.
        ControlError: The kind cannot be kept in files, or the age is not more than nothing.
    """
    kinds(kind)
    if value is not None and value <= timedelta(0):
        raise ControlError(f"cold_after is an age, and more than nothing: {value}")
    with as_owner(dsn) as (_, driver):
        timescale_policies.check_cold(driver, kind, "cold_after", value)
        driver.execute(
            "INSERT INTO store.cold_fences (tenant_no, kind, has_own_age, cold_after) VALUES (%s, %s, %s, %s)"
            " ON CONFLICT (tenant_no, kind) DO UPDATE SET has_own_age = excluded.has_own_age,"
            " cold_after = excluded.cold_after",
            (find_tenant(driver, tenant).no, kind, own, value),
        )
    return status(dsn, tenant)


def fence(driver: Driver, tenant: Tenant, kind: Kind) -> datetime | None:
    """Return the time before which a tenant's rows are in files, or on their way there; None without a fence."""
    found = driver.execute(
        "SELECT cold_before FROM store.cold_fences WHERE tenant_no = %s AND kind = %s", (tenant.no, kind.name)
    ).fetchone()
    return None if found is None else found[0]


def listed(driver: Driver, tenant: Tenant | None = None, kind: Kind | None = None) -> list[ColdFile]:
    """Return the files on the list, by tenant, kind and month."""
    with driver.cursor(row_factory=class_row(ColdFile)) as cursor:
        return cursor.execute(
            "SELECT id, tenant_no, kind, period_start, period_end, path, rows, bytes, sha256 FROM store.cold_periods"
            " WHERE replaced_at IS NULL AND tenant_no = coalesce(%s, tenant_no) AND kind = coalesce(%s, kind)"
            " ORDER BY tenant_no, kind, period_start",
            (None if tenant is None else tenant.no, None if kind is None else kind.name),
        ).fetchall()


def put_on_list(driver: Driver, tenant: Tenant, file: "NewFile") -> None:
    """Put a file on the list, in the caller's transaction; it replaces the file of its period if there is one."""
    take_off_list(driver, tenant, file.kind, file.period[0])
    driver.execute(
        "INSERT INTO store.cold_periods (tenant_no, kind, period_start, period_end, path, rows, bytes, sha256)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
        (tenant.no, file.kind.name, *file.period, file.path, file.rows, file.bytes, file.sha256),
    )


def take_off_list(driver: Driver, tenant: Tenant, kind: Kind, start: datetime) -> None:
    """Mark the file of the period that begins then as replaced, in the caller's transaction, if there is one."""
    driver.execute(
        "UPDATE store.cold_periods SET replaced_at = now()"
        " WHERE tenant_no = %s AND kind = %s AND period_start = %s AND replaced_at IS NULL",
        (tenant.no, kind.name, start),
    )


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file that was written and read back, but is not on the list yet."""

    kind: Kind
    period: tuple[datetime, datetime]
    path: str
    rows: int
    bytes: int
    sha256: str


def months(driver: Driver, table: str, kind: Kind, tenant: Tenant, before: datetime) -> list[tuple[datetime, datetime]]:
    """Return the months (UTC) with rows of a tenant from before a time in a table, oldest first."""
    found = driver.execute(
        SQL(
            "SELECT DISTINCT date_trunc('month', {time}, 'UTC') FROM {table}"
            " WHERE series_id >= %s AND series_id < %s AND {time} < %s ORDER BY 1"
        ).format(time=Identifier(kind.time), table=Identifier(STORE, table)),
        (*series_range(tenant.no), before),
    ).fetchall()
    return [(begin, month_behind(begin)) for (begin,) in found]


def month_behind(begin: datetime) -> datetime:
    """Return the beginning of the next month."""
    return (begin.replace(day=1) + timedelta(days=32)).replace(day=1)


def series_of(driver: Driver, tenant: Tenant, kind: Kind) -> dict[int, tuple[str, ...]]:
    """Return the names of a tenant's series of a kind by id, in the order of the names."""
    found = driver.execute(
        SQL("SELECT series_id, {} FROM store.series WHERE kind = %s AND series_id >= %s AND series_id < %s").format(
            series_name(kind)
        ),
        (kind.name, *series_range(tenant.no)),
    ).fetchall()
    named = {series_id: tuple(name) for series_id, *name in found}
    return dict(sorted(named.items(), key=lambda item: item[1]))


@dataclass(frozen=True, slots=True)
class Due:
    """The age at which a tenant's rows of a kind move, and the fence; each is None if there is none."""

    tenant: Tenant
    kind: Kind
    cold_after: timedelta | None
    cold_before: datetime | None


def due(driver: Driver, everybody: Iterable[Tenant], some: Sequence[Kind]) -> list[Due]:
    """Return the tenants and kinds that have an age or a fence, in this order, by two statements for all of them."""
    policies = dict(driver.execute("SELECT relation, value FROM store.policies WHERE policy = 'cold_after'").fetchall())
    fences = {
        (no, kind): (own, after, before)
        for no, kind, own, after, before in driver.execute(
            "SELECT tenant_no, kind, has_own_age, cold_after, cold_before FROM store.cold_fences"
        )
    }
    found = []
    for tenant in everybody:
        for kind in some:
            own, after, before = fences.get((tenant.no, kind.name), (False, None, None))
            after = after if own else policies.get(kind.name)
            if after is not None or before is not None:
                found.append(Due(tenant, kind, after, before))
    return found


def status(dsn: str, tenant: UUID | None = None) -> list[ColdState]:
    """Return the state of each tenant, or of one, for the kinds that can be kept in files. Counts late rows."""
    everybody = [one for one in list_tenants(dsn) if tenant in (None, one.id)]
    with as_owner(dsn) as (_, driver):
        driver.execute("SET LOCAL TimeZone TO 'UTC'")
        states = due(driver, everybody, COLD)
        files = {
            (no, kind): sums
            for no, kind, *sums in driver.execute(
                "SELECT tenant_no, kind, count(*) FILTER (WHERE replaced_at IS NULL),"
                " coalesce(sum(rows) FILTER (WHERE replaced_at IS NULL), 0)::bigint,"
                " coalesce(sum(bytes) FILTER (WHERE replaced_at IS NULL), 0)::bigint,"
                " count(*) FILTER (WHERE replaced_at IS NOT NULL)"
                " FROM store.cold_periods WHERE tenant_no = ANY (%s) GROUP BY tenant_no, kind",
                ([one.tenant.no for one in states],),
            )
        }
        late = {kind.name: _late_rows(driver, kind) for kind in COLD}
        waiting = {kind.name: with_rows(driver, kind, _fences(states, kind)) for kind in COLD}
    return [
        _state(
            one,
            late[one.kind.name].get(one.tenant.no, 0),
            *files.get((one.tenant.no, one.kind.name), (0, 0, 0, 0)),
            waiting=one.tenant.no in waiting[one.kind.name],
        )
        for one in states
    ]


def _fences(some: Iterable[Due], kind: Kind) -> dict[int, datetime]:
    return {one.tenant.no: one.cold_before for one in some if one.kind == kind and one.cold_before is not None}


def is_used(dsn: str) -> bool:
    """Return whether rows of any tenant are in files, or would move."""
    everybody = list_tenants(dsn)
    with as_owner(dsn) as (_, driver):
        return bool(due(driver, everybody, COLD))


def _late_rows(driver: Driver, kind: Kind) -> dict[int, int]:
    """Return the number of late rows of each tenant that has some, by the tenant's number."""
    statement = SQL("SELECT series_id >> %s, count(*) FROM {} GROUP BY 1").format(
        Identifier(STORE, f"late_{kind.name}")
    )
    return dict(driver.execute(statement, (TENANT_BITS,)).fetchall())


def _state(one: Due, late: int, files: int, rows: int, size: int, replaced: int, *, waiting: bool) -> ColdState:
    return ColdState(
        tenant=one.tenant.id,
        name=one.tenant.name,
        kind=one.kind.name,
        cold_after=one.cold_after,
        cold_before=one.cold_before,
        files=files,
        rows=rows,
        bytes=size,
        late=late,
        replaced=replaced,
        waiting=waiting,
    )


def published_again(
    dsn: str, url: str, *, tenant: UUID | None = None, check: Callable[[], object] = lambda: None
) -> Iterator[object]:
    """Publish the tables again that were published before, and yield each that changed; see `publishing.publish`.

    Needs the extra `lake` only if a table was published.
    """
    with as_owner(dsn) as (_, driver):
        some = one(driver.execute("SELECT EXISTS (SELECT FROM store.iceberg_tables)"))
    if some:
        from datastore.cold import publishing

        yield from publishing.publish(dsn, url, tenant=tenant, again=True, check=check)


def count_rows(driver: Driver, table: str, tenant: Tenant) -> int:
    """Return the number of a tenant's rows in a table."""
    statement = SQL("SELECT count(*) FROM {} WHERE series_id >= %s AND series_id < %s")
    return int(one(driver.execute(statement.format(Identifier(STORE, table)), series_range(tenant.no))))


def has_rows(driver: Driver, kind: Kind, tenant: Tenant, before: datetime) -> bool:
    """Return whether the table has rows of a tenant from before a time."""
    return bool(with_rows(driver, kind, {tenant.no: before}))


def with_rows(driver: Driver, kind: Kind, before: Mapping[int, datetime]) -> set[int]:
    """Return the tenants, by number, of which the table has rows from before a time, which is given for each.

    Looks at the oldest row of each of their series, because the key begins with the series.
    """
    statement = SQL(
        "SELECT DISTINCT w.no FROM unnest(%s::int[], %s::timestamptz[]) AS w(no, before)"
        " JOIN store.series AS s ON (s.series_id >> {bits}) = w.no AND s.kind = {kind}"
        " CROSS JOIN LATERAL (SELECT FROM {table} AS r WHERE r.series_id = s.series_id AND r.{time} < w.before LIMIT 1)"
        " AS old"
    ).format(
        bits=Literal(TENANT_BITS), kind=Literal(kind.name), table=Identifier(STORE, kind.name),
        time=Identifier(kind.time),
    )  # fmt: skip
    return {no for (no,) in driver.execute(statement, (list(before), list(before.values())))}


@dataclass(frozen=True, slots=True)
class ColdTotals:
    """The files of a tenant's old rows, or of all tenants': their number, their rows and bytes, and the first time of
    the oldest (UTC), None if there is no file. Late rows are not counted."""

    files: int
    rows: int
    bytes: int
    begin: datetime | None


def totals(dsn: str, tenant: UUID | None = None, kind: str | None = None) -> ColdTotals:
    """Return the sums over the files on the list. Reads no file.

    Args:
        dsn: The control plane's DSN.
        tenant: Only this tenant's files.
        kind: Only files with rows of this kind.
    """
    with connect(dsn) as connection, connection.cursor(row_factory=class_row(ColdTotals)) as cursor:
        cursor.execute("SET LOCAL TimeZone TO 'UTC'")
        found = cursor.execute(
            "SELECT count(*) AS files, coalesce(sum(f.rows), 0)::bigint AS rows,"
            " coalesce(sum(f.bytes), 0)::bigint AS bytes, min(f.period_start) AS begin"
            " FROM store.cold_periods AS f JOIN store.tenants AS t ON t.no = f.tenant_no"
            " WHERE f.replaced_at IS NULL AND t.id = coalesce(%s, t.id) AND f.kind = coalesce(%s, f.kind)",
            (tenant, kind),
        ).fetchone()
    assert found is not None
    return found
