"""Connections that act as the owner of the schema, and the roles and schemas that migrations need."""

import contextlib
from collections.abc import Iterator
from typing import Any, Final, LiteralString

import psycopg
from alembic.util import CommandError
from psycopg import errors
from psycopg.sql import SQL, Identifier
from sqlalchemy import Connection, NullPool, create_engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from datastore import config
from datastore.closing import CLOSE_LARGE_OBJECTS
from datastore.connections import connect
from datastore.engines import detect
from datastore.errors import ControlError
from datastore.locks import held
from datastore.names import APP, MIGRATION_LOCK, OWNER


@contextlib.contextmanager
def owner_connection(dsn: str | None = None) -> Iterator[Connection]:
    """Open a connection that holds the migration lock and acts as the schema's owner, which it creates if needed.

    Without a DSN it uses that of the environment.
    """
    dsn = dsn or config.load().dsn()
    with sqlalchemy_connection(dsn) as connection:
        driver = driver_of(connection)
        _found(driver)
        with held(dsn, MIGRATION_LOCK, driver):
            try:
                _bootstrap(driver)
                driver.execute(SQL("SET ROLE {}").format(Identifier(OWNER)))
                driver.commit()
                yield connection
            finally:
                # Closing the connection ends the role; a broken one has lost it already.
                connection.rollback()


@contextlib.contextmanager
def sqlalchemy_connection(dsn: str) -> Iterator[Connection]:
    """Open a connection for SQLAlchemy and Alembic; their errors become psycopg's or ControlError."""
    engine = create_engine("postgresql+psycopg://", creator=lambda: connect(dsn), poolclass=NullPool)
    try:
        with engine.connect() as connection:
            yield connection
    except DBAPIError as error:
        raise (error.orig if isinstance(error.orig, psycopg.Error) else ControlError(str(error))) from error
    except (CommandError, SQLAlchemyError) as error:
        raise ControlError(str(error)) from error
    finally:
        engine.dispose()


def driver_of(connection: Connection) -> psycopg.Connection[Any]:
    """Return psycopg's connection below one of SQLAlchemy."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    return driver


def bootstrap_statements() -> list[SQL]:
    """Return the statements for the roles and schemas that must exist before a migration can run as the owner."""
    return [*_founding(), *_rights()]


def _founding() -> list[SQL]:
    """Make what the lock of migrations needs. It runs without the lock, so it touches nothing that exists."""
    return [
        _create_role(OWNER),
        _create_role(APP),
        # From PostgreSQL 16 on, a role that creates another one administers it, but cannot act as it.
        SQL(
            "DO $$ BEGIN IF NOT pg_has_role(current_user, 'mds_owner', CASE"
            " WHEN current_setting('server_version_num')::int >= 160000 THEN 'SET' ELSE 'MEMBER' END)"
            " THEN GRANT mds_owner TO CURRENT_USER; END IF; END $$"
        ),
        SQL("CREATE SCHEMA IF NOT EXISTS store AUTHORIZATION mds_owner"),
        SQL("SET ROLE mds_owner"),
        SQL(f"CREATE TABLE IF NOT EXISTS store.{MIGRATION_LOCK} (unused boolean)"),
        SQL("RESET ROLE"),
    ]


def _rights() -> list[SQL]:
    return [
        SQL("CREATE SCHEMA IF NOT EXISTS mds AUTHORIZATION mds_owner"),
        SQL("REVOKE CREATE ON SCHEMA public FROM PUBLIC"),
        SQL("GRANT USAGE, CREATE ON SCHEMA public TO mds_owner"),
        SQL("GRANT USAGE ON SCHEMA public TO mds_app"),
        # The client stages its batches in a temporary table.
        SQL("DO $$ BEGIN EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO mds_app', current_database()); END $$"),
        CLOSE_LARGE_OBJECTS,
    ]


def _create_role(role: LiteralString) -> SQL:
    # Two databases of one server may be migrated at once, and they share the roles.
    return SQL(
        f"DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}')"
        f" THEN CREATE ROLE {role} NOLOGIN; END IF;"
        " EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
    )


_RACES: Final = 5
"""The number of attempts to create the basics. Each failed one met another process that did the same."""


def _found(driver: psycopg.Connection[Any]) -> None:
    """Create what the migration lock needs; several processes may do this at once."""
    for left in reversed(range(_RACES)):
        try:
            for statement in _founding():
                driver.execute(statement)
            driver.commit()
        except (
            errors.UniqueViolation,
            errors.DuplicateObject,
            errors.DuplicateSchema,
            errors.DuplicateTable,
            # The catalog's "tuple concurrently updated".
            errors.InternalError_,
        ):
            driver.rollback()
            if not left:
                raise
        else:
            return


def _bootstrap(driver: psycopg.Connection[Any]) -> None:
    engine = detect(driver)
    for statement in _rights():
        driver.execute(statement)
    engine.prepare_owner(driver, OWNER)
    driver.commit()
