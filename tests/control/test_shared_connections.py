"""Reads of one page share a connection of the control plane, and each finds it as if it were new."""

from typing import Any, LiteralString

import psycopg
import pytest

from datastore.connections import as_owner, connect, limited, sharing
from datastore.names import OWNER
from tests.conftest import Store

pytestmark = [pytest.mark.many_sessions, pytest.mark.engines("postgres")]

PID = "SELECT pg_backend_pid()"


def pid(dsn: str) -> int:
    """The backend that a read of its own has."""
    with connect(dsn) as connection:
        return int(one(connection, PID))


def one(connection: psycopg.Connection[Any], statement: LiteralString, *parameters: object) -> Any:
    row = connection.execute(statement, parameters or None).fetchone()
    assert row is not None
    return row[0]


def test_reads_that_follow_one_another_have_one_connection(store: Store) -> None:
    dsn = store.admin_dsn
    with sharing(dsn):
        assert len({pid(dsn) for _ in range(3)}) == 1
    assert pid(dsn) != pid(dsn), "outside of the block each read has one"


def test_any_number_of_reads_can_have_the_same_statements(store: Store) -> None:
    """Of a statement that is repeated psycopg makes a prepared one, which the next read would not find."""
    with sharing(store.admin_dsn):
        seen = set()
        for _ in range(12):
            with connect(store.admin_dsn) as connection:
                connection.execute("SET LOCAL TimeZone TO 'UTC'")
                seen.add(one(connection, "SELECT pg_backend_pid() + %s::int * 0", 1))
        assert len(seen) == 1


def test_a_read_finds_nothing_of_the_one_before(store: Store) -> None:
    dsn = store.admin_dsn
    with sharing(dsn):
        with as_owner(dsn) as (_, driver):
            first = one(driver, PID)
            assert one(driver, "SELECT current_user::text") == OWNER
            driver.execute("SET search_path TO pg_catalog")
            driver.execute("SET statement_timeout TO 1234")
            driver.execute("SELECT pg_advisory_lock(7)")
            driver.execute("CREATE TEMP TABLE left_over (a int)")
            driver.execute("SELECT set_config('app.tenant_id', %s, false)", (store.tenant_a,))
        with connect(dsn) as connection:
            assert one(connection, PID) == first
            assert one(connection, "SELECT current_user::text") == "mds_admin"
            assert one(connection, "SHOW search_path") != "pg_catalog"
            assert one(connection, "SHOW statement_timeout") == "0"
            held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = %s"
            assert one(connection, held, first) == 0
            assert one(connection, "SELECT to_regclass('pg_temp.left_over') IS NULL")
            assert not one(connection, "SELECT nullif(current_setting('app.tenant_id', true), '')")


def test_a_failed_read_leaves_its_connection_usable_and_nothing_written(store: Store) -> None:
    dsn = store.admin_dsn
    with sharing(dsn):
        first = pid(dsn)
        with pytest.raises(psycopg.errors.DivisionByZero):
            _change_and_fail(dsn)
        with connect(dsn) as connection:
            assert one(connection, PID) == first
            assert one(connection, "SELECT count(*) FROM store.tenants WHERE name = 'changed'") == 0


def _change_and_fail(dsn: str) -> None:
    with connect(dsn) as connection:
        connection.execute("UPDATE store.tenants SET name = 'changed' WHERE name = 'a'")
        connection.execute("SELECT 1 / 0")


def test_a_use_within_another_and_one_with_other_settings_have_their_own(store: Store) -> None:
    dsn = store.admin_dsn
    with sharing(dsn), connect(dsn) as outer:
        first = one(outer, PID)
        assert pid(dsn) != first
        with connect(dsn, autocommit=True) as unlike:
            assert one(unlike, PID) != first
    with sharing(dsn):
        first = pid(dsn)
        with limited(3):
            assert pid(dsn) != first
            with connect(dsn) as connection:
                assert one(connection, "SHOW statement_timeout") == "3s"
        assert pid(store.dsn) != pid(store.dsn), "of another login"


def test_a_connection_whose_mode_was_changed_is_not_used_again(store: Store) -> None:
    dsn = store.admin_dsn
    with sharing(dsn):
        with connect(dsn) as connection:
            first = one(connection, PID)
            connection.commit()
            connection.read_only = True
        with connect(dsn) as connection:
            assert one(connection, PID) != first
            assert one(connection, "SHOW transaction_read_only") == "off"


def test_a_read_after_the_server_has_ended_the_connection_has_a_new_one(store: Store) -> None:
    dsn = store.admin_dsn
    with sharing(dsn):
        with connect(dsn) as connection:
            first = one(connection, PID)
            connection.commit()
            with psycopg.connect(store.superuser_dsn, autocommit=True) as other:
                other.execute("SELECT pg_terminate_backend(%s, 10000)", (first,))
        assert pid(dsn) != first


def test_no_connection_is_left_at_the_end_or_after_an_early_end(store: Store) -> None:
    dsn = store.admin_dsn
    with sharing(dsn) as end:
        first = pid(dsn)
        with connect(dsn) as in_use:
            end()
            last = one(in_use, PID)
        assert last == first
        assert pid(dsn) != first
    with psycopg.connect(store.superuser_dsn, autocommit=True) as other:
        # The server notices that a client has gone.
        other.execute("SELECT pg_terminate_backend(%s, 10000)", (first,))
    assert in_use.closed


def test_a_connection_whose_reset_is_interrupted_is_closed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with sharing(store.admin_dsn):
        connection = connect(store.admin_dsn)
        monkeypatch.setattr(connection, "execute", interrupted)
        with pytest.raises(KeyboardInterrupt):
            connection.close()
        assert connection.closed
        pid(store.admin_dsn)
