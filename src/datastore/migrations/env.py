"""Alembic's entry point: runs the migrations on the connection that `datastore.migration` passes.

If Alembic's own command line calls it, it takes the connection, lock and roles from there, too.
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
