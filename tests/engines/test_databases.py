"""The databases that tests get: each is empty, and as good as new."""

from datetime import UTC, datetime

import psycopg
import pytest

from datastore import migration, tenants
from mds_client import KINDS, MDS, Bar
from tests.engines.databases import Databases, Place, superuser

pytestmark = pytest.mark.every_engine


def age(place: Place) -> tuple[int, int]:
    """Which database it is, and how many transactions its server has had: another one has another number, and a new
    engine, where there is one database, is younger again."""
    with superuser(place.superuser_dsn) as session:
        row = session.execute(
            "SELECT oid::bigint, pg_current_xact_id()::text::bigint FROM pg_database WHERE datname = current_database()"
        ).fetchone()
    assert row is not None
    return row[0], row[1]


def is_the_same(before: tuple[int, int], after: tuple[int, int]) -> bool:
    return before[0] == after[0] and before[1] < after[1]


def fill(place: Place) -> int:
    """A tenant's bar, its series and a job; the tenant's number."""
    (tenant,) = tenants.seed(place.admin_dsn, ("one",))
    with MDS(dsn=place.dsn, tenant_id=str(tenant.id), pool_max=1, prepare_threshold="none") as client:
        ts = datetime(2024, 1, 1, tzinfo=UTC)
        client.upsert_bars([Bar(vendor="v", symbol="S", timeframe="1m", ts=ts, close_price=1.0)])
        client.enqueue_job("once", "report", {})
    return tenant.no


def rows(place: Place) -> dict[str, int]:
    with psycopg.connect(place.superuser_dsn) as connection:
        found = {}
        for table in ("tenants", "series", "jobs", *KINDS):
            row = connection.execute(f"SELECT count(*) FROM store.{table}".encode()).fetchone()
            assert row is not None
            found[table] = row[0]
        return found


def test_a_database_with_only_new_rows_is_emptied_and_reused(databases: Databases) -> None:
    with databases.migrated() as first:
        number, before = fill(first), age(first)
    with databases.migrated() as second:
        assert is_the_same(before, age(second))
        assert set(rows(second).values()) == {0}
        # Numbers begin anew, too.
        assert fill(second) == number


@pytest.mark.every_case
@pytest.mark.parametrize("change", ["DROP VIEW mds.series CASCADE", "CREATE TABLE public.left_behind (n int)"])
def test_a_database_with_other_changes_is_recreated(databases: Databases, change: str) -> None:
    with databases.migrated() as first:
        before = age(first)
        with superuser(first.superuser_dsn) as session:
            session.execute(change.encode())
    with databases.migrated() as second:
        assert not is_the_same(before, age(second))
        assert migration.check(second.admin_dsn) == []
