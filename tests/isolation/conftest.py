"""A store under siege: two tenants, and the roles through which the first one attacks the second.

Attacks that only read or are refused share one database. What an attack got to see, in rows, notices and errors, is
held against marks that only rows of the second tenant bear.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, TypeAlias, cast

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier

from datastore import tenants
from mds_client import MDS
from mds_client.rls import dsn_with_tenant
from tests.engines.databases import Databases, Place, superuser

Actor: TypeAlias = Literal["service", "bound", "bound as mds_app"]

ACTORS: Final[tuple[Actor, ...]] = ("service", "bound", "bound as mds_app")
"""Who attacks: the service role as the first tenant, a login bound to it, and that login after `SET ROLE mds_app`."""

PASSWORD: Final = "only-for-tests"
BOUND: Final = "login_of_a"
BOUND_TO_B: Final = "login_of_b"
TS: Final = "2024-01-01 00:00:00+00:00"
OWN_TS: Final = "2024-01-02 00:00:00+00:00"

VICTIM: Final = {
    "vendor": "VAULT-OF-B",
    "symbol": "SECRETB",
    "timeframe": "1m",
    "ts": TS,
    "open_price": 71234.5,
    "close_price": 666.125,
    "volume": 987654321,
    "id": "b0b0b0b0-1111-4222-8333-444455556666",
}
FIRST_NAME: Final = "the-first-tenant"
VICTIM_NAME: Final = "the-second-tenant"
MARKS: Final = ("VAULT-OF-B", "SECRETB", "71234.5", "666.125", "987654321", "b0b0b0b0-1111", VICTIM_NAME)


@dataclass(frozen=True)
class Seen:
    """All that an attack brought to light. `sqlstate` is None where nothing was refused."""

    sqlstate: str | None
    rows: list[tuple[Any, ...]]
    text: str

    def marks(self, *more: str) -> list[str]:
        """Which marks of the other tenant's rows are in it."""
        return [mark for mark in (*MARKS, *more) if mark in self.text]


@dataclass(frozen=True)
class Siege:
    """A database with a row of each tenant, and how each actor gets in. `own` and `foreign` are series ids."""

    service_dsn: str
    bound_dsn: str
    bound_to_b_dsn: str
    admin_dsn: str
    superuser_dsn: str
    tenant_a: str
    tenant_b: str
    own: int
    foreign: int

    def from_the_other_side(self) -> "Siege":
        """The same database, where the second tenant attacks the first one. Its number is the larger one."""
        return replace(
            self,
            bound_dsn=self.bound_to_b_dsn,
            tenant_a=self.tenant_b,
            tenant_b=self.tenant_a,
            own=self.foreign,
            foreign=self.own,
        )

    def rows(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Ask as a superuser, whom no view hides anything from."""
        with superuser(self.superuser_dsn) as connection:
            return connection.execute(cast("Any", statement), parameters or None).fetchall()

    def execute(self, statement: str, *parameters: object) -> None:
        """Do something as a superuser."""
        with superuser(self.superuser_dsn) as connection:
            connection.execute(cast("Any", statement), parameters or None)

    def victim(self) -> list[str]:
        """Everything that the second tenant has, with the row versions."""
        versions = (
            f"SELECT '{table} ' || t.ctid::text || t.xmin::text || t::text FROM store.{table} AS t, wanted"
            f" WHERE {column} = wanted.no"
            for table, column in (
                ("series", "series_id >> 40"),
                ("bars", "series_id >> 40"),
                ("tenants", "t.no"),
                ("jobs", "tenant_no"),
                ("late_bars", "series_id >> 40"),
                ("late_options", "series_id >> 40"),
                ("cold_fences", "tenant_no"),
                ("cold_periods", "tenant_no"),
                ("iceberg_tables", "(SELECT o.no FROM store.tenants AS o WHERE o.id = t.tenant_id)"),
                ("iceberg_namespace_properties", "(SELECT o.no FROM store.tenants AS o WHERE o.id = t.tenant_id)"),
            )
        )
        wanted = "WITH wanted AS (SELECT no FROM store.tenants WHERE id = %s)"
        return [row[0] for row in self.rows(f"{wanted} {' UNION ALL '.join(versions)} ORDER BY 1", self.tenant_b)]

    def open(self, actor: Actor) -> psycopg.Connection[Any]:
        """A new connection as an actor, outside of any transaction; the service role's has the first tenant set."""
        # The driver prepares nothing by itself: it does not learn that an attacker's session is made like new.
        if actor == "service":
            return psycopg.connect(dsn_with_tenant(self.service_dsn, self.tenant_a), prepare_threshold=None)
        connection = psycopg.connect(self.bound_dsn, prepare_threshold=None)
        if actor == "bound as mds_app":
            connection.execute("SET ROLE mds_app")
            connection.commit()
        return connection

    def attack(self, actor: Actor, *statements: str) -> Seen:
        """Run statements in one transaction of a new connection, up to the first error, and commit what was let
        through. `{own}` and `{foreign}` in them are the two series, `{ts}` is the time of the other's row."""
        with self.open(actor) as connection:
            return self._attacked(connection, statements)

    @contextmanager
    def attacker(self, actor: Actor) -> Iterator[Callable[..., Seen]]:
        """Attack many times as `attack` does, on one new connection: to learn the catalog takes a session longer than
        to refuse. What an attack has left in the session is discarded, so that each one finds it as new."""
        with self.open(actor) as connection:

            def attack(*statements: str) -> Seen:
                seen = self._attacked(connection, statements)
                connection.autocommit = True
                connection.execute("DISCARD ALL")
                if actor == "bound as mds_app":
                    connection.execute("SET ROLE mds_app")
                connection.autocommit = False
                return seen

            yield attack

    def _attacked(self, connection: psycopg.Connection[Any], statements: Sequence[str]) -> Seen:
        seen = assault(connection, [self.filled(statement) for statement in statements])
        if seen.sqlstate is None:
            connection.commit()
        else:
            connection.rollback()
        return seen

    def filled(self, statement: str) -> str:
        for name, value in (
            ("{own}", str(self.own)),
            ("{foreign}", str(self.foreign)),
            ("{ts}", f"'{TS}'"),
            ("{b}", f"'{self.tenant_b}'"),
        ):
            statement = statement.replace(name, value)
        return statement


def assault(connection: psycopg.Connection[Any], statements: Sequence[str]) -> Seen:
    """What statements bring to light, in order, until one is refused."""
    texts: list[str] = []
    rows: list[tuple[Any, ...]] = []

    def note(diagnostic: psycopg.errors.Diagnostic) -> None:
        texts.append(told(diagnostic))

    connection.add_notice_handler(note)
    sqlstate = None
    try:
        for statement in statements:
            if statement.lstrip().upper().startswith("COPY"):
                _copy(connection, statement, texts)
                continue
            cursor = connection.execute(cast("Any", statement))
            while True:
                if cursor.description:
                    rows += cursor.fetchall()
                if not cursor.nextset():
                    break
    except psycopg.Error as error:
        sqlstate = error.sqlstate or "none"
        texts.append(str(error) + told(error.diag))
    finally:
        connection.remove_notice_handler(note)
    texts += map(str, rows)
    return Seen(sqlstate, rows, "\n".join(texts))


def undone(connection: psycopg.Connection[Any], statement: str) -> Seen:
    """What a statement brings to light in a transaction of its own, of which nothing stays. In one message where the
    protocol can, for thousands are sent; `connection` is in autocommit mode."""
    if statement.startswith("COPY"):
        with connection.transaction(force_rollback=True):
            return assault(connection, [statement])
    seen = assault(connection, [f"BEGIN; {statement}; ROLLBACK"])
    connection.rollback()
    return seen


def told(diagnostic: psycopg.errors.Diagnostic) -> str:
    parts = (diagnostic.message_primary, diagnostic.message_detail, diagnostic.message_hint, diagnostic.context)
    return " ".join(part for part in parts if part)


def _copy(connection: psycopg.Connection[Any], statement: str, texts: list[str]) -> None:
    with connection.cursor() as cursor, cursor.copy(cast("Any", statement)) as copying:
        if " TO " in statement.upper():
            texts.extend(bytes(block).decode("utf-8", "replace") for block in copying)
        else:
            copying.write(b"1\n")


@dataclass(frozen=True)
class Attack:
    """One attack: statements, and the SQLSTATE that must answer; None where it may succeed and find nothing."""

    name: str
    statements: tuple[str, ...]
    refused: tuple[str, ...] = field(default=("42501",))

    def __str__(self) -> str:
        return self.name


class Besieged:
    """The databases that attacks share, one an engine: made when the first one asks, and again where it is gone."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._made: dict[str, Siege] = {}

    def shared(self, databases: Databases, engine: str) -> Siege:
        there = self._made.get(engine)
        if there is None or (databases.single_session and not _whole(there)):
            there = self._made[engine] = _made(self._stack.enter_context(databases.migrated()))
        return there


def _whole(siege: Siege) -> bool:
    """Whether nobody has emptied the one database that an engine has."""
    if siege.rows("SELECT to_regclass('store.tenants') IS NULL") == [(True,)]:
        return False
    found = siege.rows("SELECT count(*) FROM store.tenants WHERE id IN (%s, %s)", siege.tenant_a, siege.tenant_b)
    return found == [(2,)] and siege.rows("SELECT count(*) FROM store.bars") == [(2,)]


@pytest.fixture(scope="session")
def besieged() -> Iterator[Besieged]:
    """What outlives a test."""
    with ExitStack() as stack:
        yield Besieged(stack)


@pytest.fixture
def siege(besieged: Besieged, databases: Databases, engine: str) -> Siege:
    """The database that all attacks share which leave the second tenant's rows alone, as they all must."""
    return besieged.shared(databases, engine)


@pytest.fixture
def own_siege(databases: Databases) -> Iterator[Siege]:
    """The same in a database of the test's own, for what has to change it."""
    with databases.migrated() as place:
        yield _made(place)


def _made(place: Place) -> Siege:
    with psycopg.connect(place.superuser_dsn, autocommit=True) as connection:
        for role in (BOUND, BOUND_TO_B):
            # Roles are common to all databases of a server.
            if not connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (role,)).rowcount:
                connection.execute(SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(Identifier(role), PASSWORD))
    admin, service, superuser = place.admin_dsn, place.dsn, place.superuser_dsn
    first = tenants.create_tenant(admin, FIRST_NAME)
    second = tenants.create_tenant(admin, VICTIM_NAME)
    tenants.bind_role(admin, first.name, BOUND)
    tenants.bind_role(admin, second.name, BOUND_TO_B)
    for tenant, row in (
        (first, {"vendor": "VENDOR-OF-A", "symbol": "OWN", "timeframe": "1m", "ts": OWN_TS, "close_price": 1.5}),
        (second, VICTIM),
    ):
        with MDS(dsn=service, tenant_id=str(tenant.id), pool_max=1) as client:
            client.upsert_bars([row])
            client.enqueue_job("daily", "report", {"symbol": row["symbol"]})
    with psycopg.connect(superuser, autocommit=True) as connection:
        # The fence is before all rows: their time is not that of rows in files.
        connection.execute(
            "INSERT INTO store.cold_fences (tenant_no, kind, cold_before)"
            " SELECT no, 'bars', '0001-01-01 00:00:00+00' FROM store.tenants"
        )
        connection.execute(
            "INSERT INTO store.cold_periods (tenant_no, kind, period_start, period_end, path, rows, bytes, sha256)"
            " SELECT no, 'bars', '1999-01-01Z', '1999-02-01Z', name || '/1999-01.parquet', 1, 1, 'x' FROM store.tenants"
        )
        connection.execute(
            "INSERT INTO store.late_bars (series_id, ts, open_price, close_price, volume, mode)"
            " SELECT series_id, ts, open_price, close_price, volume, 'replace' FROM store.bars"
        )
        connection.execute(
            "INSERT INTO store.late_options (series_id, ts, expiry, option_type, strike, bid, oi, mode)"
            " SELECT series_id, ts, '2030-01-01', 'C', coalesce(open_price, 1), close_price, volume, 'replace'"
            " FROM store.bars"
        )
        connection.execute(
            "INSERT INTO store.iceberg_namespace_properties (catalog_name, namespace, property_key, property_value)"
            " SELECT 'store', id::text, 'exists', name FROM store.tenants"
        )
        connection.execute(
            "INSERT INTO store.iceberg_tables (catalog_name, table_namespace, table_name, metadata_location)"
            " SELECT 'store', id::text, 'bars', name || '/iceberg/bars/1.metadata.json' FROM store.tenants"
        )
        # So that there are statistics that could tell something.
        connection.execute("ANALYZE")
        ids: dict[str, int] = dict(connection.execute("SELECT vendor, series_id FROM store.series").fetchall())
    return Siege(
        service_dsn=service,
        bound_dsn=make_conninfo(service, user=BOUND, password=PASSWORD),
        bound_to_b_dsn=make_conninfo(service, user=BOUND_TO_B, password=PASSWORD),
        admin_dsn=admin,
        superuser_dsn=superuser,
        tenant_a=str(first.id),
        tenant_b=str(second.id),
        own=ids["VENDOR-OF-A"],
        foreign=ids["VAULT-OF-B"],
    )
