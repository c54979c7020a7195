"""Alembic's entry: runs the migrations on the connection that `datastore.control` hands over.

Called by Alembic's own command line instead, it takes the connection, the lock and the roles from the same place.
"""

from alembic import context
from sqlalchemy import Connection

from datastore import control
from datastore.schema import STORE, metadata


def _ours(name: str | None, type_: str, _parents: object) -> bool:
    """Compare the private schema only: what else lives in the database is not this project's."""
    return type_ != "schema" or name == STORE


def _run(connection: Connection | None) -> None:
    context.configure(
        connection=connection,
        dialect_name=None if connection else "postgresql",
        target_metadata=metadata(),
        version_table_schema=STORE,
        include_schemas=True,
        include_name=_ours,
        compare_type=True,
        compare_server_default=True,
        transaction_per_migration=True,
        literal_binds=connection is None,
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
    with control.owner_connection() as own:
        _run(own)


main()
