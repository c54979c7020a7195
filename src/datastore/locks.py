"""The locks of a store, which only its owner can take: for migrations, refreshes of rollups and claims of jobs.

A lock is a table of the private schema that never has a row. It is taken in the mode SHARE UPDATE EXCLUSIVE, which
excludes itself and nothing that a tenant can reach. Other kinds of locks would not do:

- Any role that can connect can take an advisory lock, and hold it for as long as it likes.
- `nextval` takes ROW EXCLUSIVE on the relation with a given number before it checks rights, and keeps it until the
  transaction ends. The stronger modes of a table's lock, and of a row's, would wait for that.
- `brin_summarize_range` takes this mode before it checks rights, but only on tables with an index. These have none.

So do nothing to these tables that needs a stronger mode: no ALTER TABLE, no row security.
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
    """Return the statement that waits for a lock, and holds it until the end of the transaction.

    It also works as the first statement of a pipeline's transaction, where LOCK TABLE itself is refused.
    """
    table = Identifier(STORE, lock)
    return (
        SQL("DO $$ BEGIN LOCK TABLE {} IN SHARE UPDATE EXCLUSIVE MODE; END $$").format(table).as_string(None).encode()
    )


@contextmanager
def held(dsn: str, lock: str, driver: psycopg.Connection[Any]) -> Iterator[None]:
    """Hold a lock while a connection works, over any number of transactions.

    A transaction on a second connection holds the lock; it ends with the block or with this process.

    Args:
        dsn: The DSN of the owner or a member.
        lock: One of `datastore.names.LOCKS`.
        driver: The connection that does the work.

    Raises:
        ControlError: The second connection was lost before the work was done.
    """
    with connect(dsn) as keeper:
        if _session(keeper) == _session(driver):
            # All clients of this server share one session and take turns, so there is no one to exclude.
            keeper.close()
            yield
            return
        # A long-lived snapshot would keep VACUUM from removing rows.
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
                f"the connection that held {STORE}.{lock} was lost, so another process may have done the same"
                f" work: run this again ({error})"
            ) from error


def _session(connection: psycopg.Connection[Any]) -> int:
    """Return the process id of the server behind a connection, and end the transaction."""
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    connection.commit()
    assert row is not None
    return int(row[0])
