"""A store after a backup and a restore into an empty server: the same rows, rights, views, series ids, and walls.

The commands are those of `docs/guides/backup.md`.
"""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final, cast

import psycopg
import pytest
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from datastore import migration, tenants, timescale_policies
from datastore.embedded import DATABASE, EmbeddedServer, choose_account, find_binaries
from mds_client import KINDS, MDS, Bar, Fundamentals, Instrument, News, OptionSnap, RLSDenied
from mds_client.models import Row
from tests import warm
from tests.control.catalog import rows, shape
from tests.control.guides import block
from tests.engines import ApacheServer
from tests.engines.databases import PASSWORD, SETTINGS

NOON: Final = datetime(2024, 1, 2, 12, tzinfo=UTC)
BOUND: Final = "desk_of_b"
RESTORE: Final = {"postgres": "Restore on plain PostgreSQL", "timescale-apache": "Restore on TimescaleDB"}
LATE: Final = {"vendor": "v", "symbol": "LATE", "timeframe": "1m", "ts": NOON, "close_price": 1.0}

pytestmark = pytest.mark.engines(*RESTORE)


@dataclass(frozen=True)
class Machine:
    """A server and its programs; `login` gives the DSN of a role in the store's database."""

    superuser_dsn: str
    programs: Path

    def login(self, role: str, password: str = PASSWORD) -> str:
        return make_conninfo(self.superuser_dsn, dbname=DATABASE, user=role, password=password)

    @property
    def superuser(self) -> str:
        return make_conninfo(self.superuser_dsn, dbname=DATABASE)

    def run(self, commands: str, folder: Path) -> None:
        """What a person types, in a shell."""
        where = conninfo_to_dict(self.superuser_dsn)
        environment = {
            "PATH": os.pathsep.join([str(self.programs), str(warm.folder()), os.defpath]),
            "DATABASE_URL": self.login("mds_admin"),
            **{f"PG{name.upper()}": str(where[name]) for name in ("host", "port", "user", "password")},
        }
        done = subprocess.run(
            ["/bin/bash", "-euo", "pipefail", "-c", commands],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr


@pytest.fixture
def machine(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Machine]]:
    """Starts servers of an engine with nothing in them."""
    with ExitStack() as running:

        def start() -> Machine:
            if engine == "postgres":
                embedded = EmbeddedServer(tmp_path_factory.mktemp("server"), port=0, settings=SETTINGS)
                embedded.start()
                running.callback(embedded.discard)
                return Machine(embedded.superuser_dsn(), find_binaries(choose_account(None)).directory)
            apache = ApacheServer()
            apache.start()
            running.callback(apache.stop)
            return Machine(apache.superuser_dsn(), apache.programs)

        yield start


def fill(machine: Machine, engine: str) -> dict[str, str]:
    """Logins, a migrated database, tenants, a bound role, rows of every kind, jobs, a policy; the tenants' ids."""
    with psycopg.connect(machine.superuser_dsn, autocommit=True) as connection:
        for role, right in (("mds_admin", "CREATEROLE"), ("mds_service", ""), (BOUND, "")):
            connection.execute(f"CREATE ROLE {role} LOGIN {right} PASSWORD '{PASSWORD}'".encode())
        connection.execute(f"CREATE DATABASE {DATABASE} OWNER mds_admin".encode())
    if engine != "postgres":
        rows(machine.superuser, "CREATE EXTENSION timescaledb")
    admin = machine.login("mds_admin")
    migration.migrate(admin)
    rows(machine.superuser, "GRANT mds_app TO mds_service")
    ids = {name: str(tenants.create_tenant(admin, name).id) for name in ("a", "b", "closed")}
    tenants.bind_role(admin, "b", BOUND)
    timescale_policies.set_policy(admin, "bars", "retention_after", timedelta(days=20_000))
    for number, name in enumerate(ids):
        with MDS(dsn=machine.login("mds_service"), tenant_id=ids[name], pool_max=1) as client:
            for kind, batch in batches(number).items():
                client.upsert(kind, batch)
            client.enqueue_job(idempotency_key="k", job_type="t", payload={"n": number}, priority="high")
    rows(machine.superuser, "UPDATE store.tenants SET disabled_at = now() WHERE name = 'closed'")
    return ids


def batches(number: int) -> dict[str, list[Row]]:
    """Rows of every kind, other ones for each number, over several chunks."""
    times = [NOON + timedelta(days=10 * day) for day in range(5)]
    same: Any = {"vendor": "v", "symbol": "AAPL"}
    found: dict[str, list[Row]] = {
        "bars": [
            Bar(**same, timeframe=timeframe, ts=ts, close_price=number + 0.1, volume=number)
            for ts in times
            for timeframe in ("1m", "1d")
        ],
        "fundamentals": [Fundamentals(**same, asof=ts, eps=number + 0.2) for ts in times],
        "instruments": [Instrument(**same, asof=ts, tick_size=number + 0.3) for ts in times],
        "news": [News(vendor="v", published_at=ts, title=f"Title {number}") for ts in times],
        "options": [
            OptionSnap(**same, ts=ts, expiry=date(2025, 1, 17), option_type="C", strike=number + 0.5, iv=1)
            for ts in times
        ],
    }
    assert set(found) == set(KINDS)
    return found


def contents(machine: Machine) -> dict[str, list[Any]]:
    """Every row of the private schema, series ids and job numbers included, and how far the sequences are."""
    tables = rows(
        machine.superuser,
        "SELECT relname FROM pg_class WHERE relnamespace = 'store'::regnamespace AND relkind = 'r' ORDER BY 1",
    )
    found = {name: rows(machine.superuser, f"SELECT t::text FROM store.{name} AS t ORDER BY 1") for (name,) in tables}
    found["sequences"] = rows(
        machine.superuser,
        "SELECT sequencename::text, last_value FROM pg_sequences WHERE schemaname = 'store' ORDER BY 1",
    )
    return cast("dict[str, list[Any]]", found)


ROLES: Final = (
    "SELECT r.rolname::text, r.rolcanlogin, r.rolcreaterole, r.rolsuper, r.rolbypassrls,"
    " array(SELECT pg_get_userbyid(m.roleid)::text FROM pg_auth_members AS m WHERE m.member = r.oid ORDER BY 1)"
    " FROM pg_roles AS r WHERE r.rolname ~ '^(mds_|desk_)' ORDER BY 1"
)


def test_a_restored_store_is_the_one_that_was_backed_up(
    engine: str, machine: Callable[[], Machine], tmp_path: Path
) -> None:
    source = machine()
    ids = fill(source, engine)
    source.run(block("backup.md", "Back up"), tmp_path)
    target = machine()
    target.run(block("backup.md", RESTORE[engine]), tmp_path)

    # Before anything has mended it.
    assert migration.check(target.login("mds_admin")) == []
    assert contents(target) == contents(source)
    assert rows(target.superuser, ROLES) == rows(source.superuser, ROLES)
    target.run(block("backup.md", "Afterwards, on both"), tmp_path)
    assert shape(target.superuser) == shape(source.superuser)
    assert contents(target) == contents(source)
    if engine != "postgres":
        chunks = "SELECT hypertable_name, count(*) FROM timescaledb_information.chunks GROUP BY 1 ORDER BY 1"
        assert rows(target.superuser, chunks) == rows(source.superuser, chunks)
        assert len(rows(target.superuser, chunks)) == sum(kind.storage is not None for kind in KINDS.values())
    policies = {(one.relation, one.policy): one for one in timescale_policies.policies(target.login("mds_admin"))}
    assert policies["bars", "retention_after"].is_set
    assert policies["bars", "retention_after"].effective == timedelta(days=20_000)
    goes_on(target, ids)
    holds(target, ids)


def goes_on(target: Machine, ids: dict[str, str]) -> None:
    """A replay changes nothing, a new series has a new number, a job keeps its own, and a tenant can still be made."""
    before = contents(target)
    with MDS(dsn=target.login("mds_service"), tenant_id=ids["a"], pool_max=1) as client:
        for kind, batch in batches(0).items():
            client.upsert(kind, batch)
        client.enqueue_job(idempotency_key="k", job_type="t", payload={"n": 0}, priority="high")
        after = contents(target)
        assert {name: after[name] for name in KINDS} == {name: before[name] for name in KINDS}
        assert (after["series"], after["jobs"]) == (before["series"], before["jobs"])
        ((last,),) = rows(target.superuser, "SELECT max(series_id & 1099511627775) FROM store.series")
        client.upsert_bars([LATE])
    newest = "SELECT series_id & 1099511627775 FROM store.series WHERE symbol = 'LATE'"
    assert rows(target.superuser, newest)[0][0] > last
    made = tenants.create_tenant(target.login("mds_admin"), "made after the restore")
    assert made.no > max(tenant.no for tenant in tenants.list_tenants(target.login("mds_admin")) if tenant != made)


def holds(target: Machine, ids: dict[str, str]) -> None:
    """The walls between tenants stand: views, doors, tables, bound logins, disabled tenants."""
    service, bound = target.login("mds_service"), target.login(BOUND)
    for dsn, tenant, price in ((service, ids["a"], 0.1), (service, ids["b"], 1.1), (bound, None, 1.1)):
        with MDS(dsn=dsn, tenant_id=tenant, pool_max=1) as client:
            found = client.bars_window("AAPL", "1d", NOON, NOON + timedelta(days=99), "v")
            assert {bar.close_price for bar in found} == {price}
    with MDS(dsn=bound, tenant_id=ids["a"], pool_max=1) as client, pytest.raises(RLSDenied, match="another tenant"):
        client.latest_prices(["AAPL"], "v")
    with MDS(dsn=service, tenant_id=ids["closed"], pool_max=1) as client, pytest.raises(RLSDenied, match="disabled"):
        client.latest_prices(["AAPL"], "v")
    ((foreign,),) = rows(
        target.superuser,
        "SELECT s.series_id FROM store.series AS s JOIN store.tenants AS t ON t.no = s.series_id >> 40"
        " WHERE (t.name, s.kind, s.timeframe) = ('a', 'bars', '1d')",
    )
    attacks: list[tuple[type[psycopg.Error], str]] = [
        (errors.InsufficientPrivilege, "SELECT * FROM store.bars"),
        (errors.InsufficientPrivilege, "SET ROLE mds_owner"),
        (errors.InsufficientPrivilege, "UPDATE mds.series SET kind = 'x'"),
        (errors.WithCheckOptionViolation, f"INSERT INTO mds.bars_replace (series_id, ts) VALUES ({foreign}, now())"),
    ]
    with psycopg.connect(bound, autocommit=True) as connection:
        for refused, statement in attacks:
            with pytest.raises(refused):
                connection.execute(statement.encode())
        connection.execute("SELECT set_config('app.tenant_id', %s, false)", (ids["a"],))
        assert connection.execute("SELECT DISTINCT tenant_id::text FROM public.bars").fetchall() == [(ids["b"],)]
        assert connection.execute("SELECT count(*) FROM mds.bars WHERE series_id = %s", (foreign,)).fetchone() == (0,)
