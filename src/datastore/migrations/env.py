"""Alembic's entry: runs the migrations on the connection that `datastore.migration` hands over.

Called by Alembic's own command line instead, it takes the connection, the lock and the roles from the same place.
"""

from alembic import context
from sqlalchemy import Connection

from datastore import migration
from datastore.schema import COMPARISON, metadata


def _run(connection: Connection | None) -> None:
    context.configure(
        connection=connection,
        dialect_name=None if connection else "postgresql",
        target_metadata=metadata(),
        transaction_per_migration=True,
        literal_binds=connection is None,
        **COMPARISON,
    )
    with context.begin_transaction():
        context.run_migrations()


def main() -> None:
    if context.is_offline_mode():
        _run(None)
        return
    connection: Connection | None = context.config.attributes.get("connection")
    if connection is not None:
        _run(connection)
        return
    with migration.owner_connection() as own:
        _run(own)


main()
