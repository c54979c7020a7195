"""The store's own locks: who else waits, and how a lock ends."""

from collections.abc import Iterator
from datetime import timedelta

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from datastore import migration
from datastore.errors import ControlError
from datastore.locks import held, taking
from datastore.names import CLAIM_LOCK, LOCKS, MIGRATION_LOCK, REFRESH_LOCK
from datastore.worker import leases
from tests.conftest import Store
from tests.control.job_types import until

pytestmark = pytest.mark.many_sessions

HOLDER = (
    "SELECT l.pid FROM pg_locks AS l JOIN pg_class AS c ON c.oid = l.relation JOIN pg_database AS d"
    " ON d.oid = l.database WHERE c.relname = %s AND d.datname = current_database() AND l.granted"
    " AND l.mode = 'ShareUpdateExclusiveLock'"
)


@pytest.fixture
def driver(store: Store) -> Iterator[psycopg.Connection[object]]:
    with psycopg.connect(store.admin_dsn) as connection:
        yield connection


def refused(store: Store, lock: str) -> bool:
    """Whether somebody else would have to wait."""
    with psycopg.connect(store.admin_dsn) as other:
        other.execute("SET lock_timeout = '1ms'")
        try:
            other.execute(taking(lock))
        except psycopg.errors.LockNotAvailable:
            return True
        return False


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_excludes_others_until_its_block_ends(
    store: Store, driver: psycopg.Connection[object], lock: str
) -> None:
    with held(store.admin_dsn, lock, driver):
        assert {other for other in LOCKS if refused(store, other)} == {lock}
        # Over as many transactions as the work takes.
        driver.commit()
        assert refused(store, lock)
    assert not refused(store, lock)


def test_a_lock_ends_with_a_block_that_fails(store: Store, driver: psycopg.Connection[object]) -> None:
    with pytest.raises(LookupError), held(store.admin_dsn, REFRESH_LOCK, driver):  # noqa: PT012 - what it ends
        assert refused(store, REFRESH_LOCK)
        raise LookupError
    assert not refused(store, REFRESH_LOCK)


def test_a_migration_waits_for_another_until_the_lock_timeout(store: Store, driver: psycopg.Connection[object]) -> None:
    impatient = make_conninfo(store.admin_dsn, options="-c lock_timeout=50ms")
    with held(store.admin_dsn, MIGRATION_LOCK, driver), pytest.raises(psycopg.errors.LockNotAvailable):
        migration.migrate(impatient)
    assert migration.migrate(impatient).objects == []


def test_a_lost_lock_raises_an_error_and_is_free_for_others(store: Store, driver: psycopg.Connection[object]) -> None:
    with (  # noqa: PT012 - what is lost in it
        pytest.raises(ControlError, match=r"store\.lock_refresh was lost"),
        held(store.admin_dsn, REFRESH_LOCK, driver),
    ):
        ((holder,),) = store.rows(HOLDER, REFRESH_LOCK)
        store.execute("SELECT pg_terminate_backend(%s)", holder)
        until(lambda: not refused(store, REFRESH_LOCK))


def test_the_idle_transaction_timeout_does_not_release_a_lock(store: Store, driver: psycopg.Connection[object]) -> None:
    hasty = make_conninfo(store.admin_dsn, options="-c idle_in_transaction_session_timeout=20")
    with held(hasty, REFRESH_LOCK, driver):
        driver.execute("SELECT pg_sleep(0.2)")
        assert refused(store, REFRESH_LOCK)


def test_holding_a_lock_does_not_hold_back_vacuum(store: Store, driver: psycopg.Connection[object]) -> None:
    patient = make_conninfo(store.admin_dsn, options="-c default_transaction_isolation=serializable")
    with held(patient, REFRESH_LOCK, driver):
        ((holder,),) = store.rows(HOLDER, REFRESH_LOCK)
        assert store.rows("SELECT backend_xid, backend_xmin FROM pg_stat_activity WHERE pid = %s", holder) == [
            (None, None)
        ]


def test_one_worker_claims_at_a_time_and_holds_the_lock_only_while_claiming(
    store: Store, driver: psycopg.Connection[object]
) -> None:
    with psycopg.connect(store.admin_dsn, autocommit=True) as worker:
        assert leases.claim(worker, "w", 1, timedelta(seconds=30)).taken == []
        assert not refused(store, CLAIM_LOCK)
        worker.execute("SET lock_timeout = '50ms'")
        with held(store.admin_dsn, CLAIM_LOCK, driver), pytest.raises(psycopg.errors.LockNotAvailable):
            leases.claim(worker, "w", 1, timedelta(seconds=30))
        assert leases.claim(worker, "w", 1, timedelta(seconds=30)).taken == []
