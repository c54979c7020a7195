"""The locks of a store, which only its owner can take: for migrations, for refreshes of rollups, for claims of jobs.

A lock is a table of the private schema that never has a row. It is locked in the mode SHARE UPDATE EXCLUSIVE, which
excludes itself and nothing that a tenant can reach:

- An advisory lock can be taken by any role that can connect, and held for as long as it likes.
- `nextval` takes ROW EXCLUSIVE on whatever relation it is given the number of, before it looks at rights, and keeps it
  until the transaction ends. The stronger modes of a table's lock, and of a row's, would wait for that.
- `brin_summarize_range` takes this mode before it looks at rights, of tables that have an index. These have none.

So nothing that needs a stronger mode may be done to these tables: no ALTER TABLE, no row security.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.sql import SQL, Identifier

from datastore.connections import connect
from datastore.errors import ControlError
from datastore.names import OWNER, STORE


def taking(lock: str) -> bytes:
    """The statement that waits for a lock, and holds it until the end of the transaction.

    Also of one that a pipeline makes: there LOCK TABLE itself is refused as the first statement.
    """
    table = Identifier(STORE, lock)
    return (
        SQL("DO $$ BEGIN LOCK TABLE {} IN SHARE UPDATE EXCLUSIVE MODE; END $$").format(table).as_string(None).encode()
    )


@contextmanager
def held(dsn: str, lock: str, driver: psycopg.Connection[Any]) -> Iterator[None]:
    """Hold a lock while a connection does its work, over as many transactions as that takes.

    The lock is that of a transaction on a second connection, which ends with the block or with this process.

    Args:
        dsn: Where to, as the owner or a member.
        lock: One of `datastore.names.LOCKS`.
        driver: The connection that does the work.

    Raises:
        ControlError: The second connection was lost before the work was done.
    """
    with connect(dsn) as keeper:
        if _session(keeper) == _session(driver):
            # All clients of this server share one session. They take turns, so there is no one to exclude.
            keeper.close()
            yield
            return
        # A snapshot that is kept would keep VACUUM from removing rows.
        keeper.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
        keeper.execute(
            "SELECT set_config(name, '0', true) FROM pg_settings"
            " WHERE name IN ('idle_in_transaction_session_timeout', 'transaction_timeout')"
        )
        keeper.execute(SQL("SET LOCAL ROLE {}").format(Identifier(OWNER)))
        keeper.execute(taking(lock))
        yield
        try:
            keeper.commit()
        except psycopg.OperationalError as error:
            raise ControlError(
                f"the connection that held {STORE}.{lock} was lost, so that another one may have done the same work"
                f" meanwhile: run this again ({error})"
            ) from error


def _session(connection: psycopg.Connection[Any]) -> int:
    """The server's process behind a connection, outside of any transaction."""
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    connection.commit()
    assert row is not None
    return int(row[0])
