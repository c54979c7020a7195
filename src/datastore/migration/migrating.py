"""Migrations: bring a database to the newest schema version, and write new migrations.

Only this package and `datastore.schema` import Alembic and SQLAlchemy, because their import takes long.
"""

import io
import threading
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psycopg
from alembic import command
from alembic.config import Config
from psycopg import errors
from psycopg.sql import SQL, Identifier
from sqlalchemy import Connection

from datastore import aggregates, migrations, timescale_policies
from datastore.connections import head, schema_version
from datastore.engines import OLDEST_SERVER, Engine, detect
from datastore.errors import ControlError
from datastore.migration.drift import declared_objects, installed_objects
from datastore.migration.long_steps import LongStep, long_steps
from datastore.migration.owner import bootstrap_statements, driver_of, owner_connection
from datastore.names import OWNER
from datastore.schema import DatabaseObject, objects
from mds_client import KINDS

_ALEMBIC: Final = threading.Lock()
"""Alembic's environment is a global of its module, so only one command can run at a time in a process."""


@dataclass(frozen=True, slots=True)
class Migration:
    """The result of `migrate`: the schema version before and after, and the objects that it made again."""

    before: str | None
    after: str
    objects: list[str]


def migrate(
    dsn: str,
    *,
    ahead: Callable[[list[LongStep]], object] = lambda _steps: None,
    told: Callable[[str, int, int], object] = lambda _name, _done, _all: None,
) -> Migration:
    """Bring a database to head: roles and schemas, migrations, then functions, views and grants.

    You can run it again and several at once: a lock lets one work at a time. The role needs CREATE on the database,
    and CREATEROLE unless the roles exist. It can be interrupted, and goes on when it is run again.

    Args:
        dsn: The control plane's DSN.
        ahead: Called before anything is changed, with the steps that take long on this database.
        told: Called during such a step, with its name, and how many of how many parts are done.

    Raises:
        ControlError: The database cannot be migrated.
        psycopg.Error: The server refused, or is gone.
    """
    with owner_connection(dsn) as connection:
        before = schema_version(driver_of(connection))
        driver = driver_of(connection)
        ahead(long_steps(detect(driver), driver))
        _alembic(command.upgrade, "head", connection=connection)
        made = _settle(driver, told)
        after = schema_version(driver_of(connection))
    assert after is not None
    return Migration(before, after, made)


def migrate_sql() -> str:
    """Return the SQL that `migrate` would run on an empty database, for review or for psql."""
    output = io.StringIO()
    _alembic(command.upgrade, "head", connection=None, sql=True, output=output)
    plain = Engine(OLDEST_SERVER)
    return "\n".join(
        (
            *(f"{statement.as_string(None)};" for statement in bootstrap_statements()),
            f"SET ROLE {OWNER};",
            output.getvalue(),
            *(f"{statement};" for item in objects(plain) for statement in item.statements),
            "RESET ROLE;",
            "",
        )
    )


def stamp_head(dsn: str) -> str:
    """Record that a database set up by `migrate_sql` is at head, and return that version."""
    with owner_connection(dsn) as connection:
        _alembic(command.stamp, "head", connection=connection)
        _settle(driver_of(connection))
    return head()


def revision(dsn: str, message: str, folder: Path | None = None) -> Path:
    """Write the migration from a database at head to the current declarations, and return its file.

    It is a proposal: review it before you commit it. Raises ControlError if there is nothing to change.
    """

    def unless_empty(_context: object, _revision: object, directives: list[Any]) -> None:
        if directives[0].upgrade_ops.is_empty():
            directives.clear()

    with owner_connection(dsn) as connection:
        made = _alembic(
            command.revision,
            connection=connection,
            message=message,
            autogenerate=True,
            rev_id=f"{int(head()) + 1:04d}",
            version_path=str(folder) if folder else None,
            folder=folder,
            process_revision_directives=unless_empty,
        )
    if not made:
        raise ControlError("the database equals the declarations: there is nothing to migrate")
    return Path(made.path)


def _settle(
    driver: psycopg.Connection[Any], told: Callable[[str, int, int], object] = lambda _name, _done, _all: None
) -> list[str]:
    """Run the steps after the migrations that are safe to repeat. Returns what was made or changed."""
    engine = detect(driver)
    made = []
    for kind in KINDS.values():
        if converts := engine.converts(driver, kind):
            told(kind.name, 0, 1)
        made += engine.store_table(driver, kind)
        if converts:
            told(kind.name, 1, 1)
    driver.commit()
    made += [f"rollup {name}" for name in aggregates.create(engine, driver, told)]
    driver.commit()
    made += _apply_objects(engine, driver)
    timescale_policies.enforce(engine, driver)
    driver.commit()
    return made


def _apply_objects(engine: Engine, driver: psycopg.Connection[Any]) -> list[str]:
    """Create every object that is not as declared, and return their names."""
    known = declared_objects(driver)
    installed = installed_objects(driver)
    made = []
    for item in objects(engine):
        if known.get(item.name) == (item.digest, installed.get(item.name)):
            continue
        _apply(driver, item)
        made.append(item.name)
    aggregates.drop_replaced(engine, driver)
    installed = installed_objects(driver)
    for item in objects(engine):
        driver.execute(
            "INSERT INTO store.objects (name, declared, installed) VALUES (%s, %s, %s)"
            " ON CONFLICT (name) DO UPDATE SET declared = excluded.declared, installed = excluded.installed",
            (item.name, item.digest, installed.get(item.name)),
        )
    return made


def _apply(driver: psycopg.Connection[Any], item: DatabaseObject) -> None:
    try:
        with driver.transaction():
            for statement in item.statements:
                driver.execute(statement.encode())
    except errors.InvalidTableDefinition:
        # A view whose columns changed cannot be replaced. It is dropped without CASCADE: if a user's view depends on
        # it, this fails with a message that names that view.
        assert item.relation is not None
        driver.execute(SQL("DROP VIEW {}").format(Identifier(*item.relation)))
        for statement in item.statements:
            driver.execute(statement.encode())


def _alembic_config(folder: Path | None = None) -> Config:
    configuration = Config()
    configuration.set_main_option("script_location", "datastore:migrations")
    configuration.set_main_option("path_separator", "os")
    if folder:
        # Alembic writes only into a folder that it also reads. A folder's name may contain its separator of folders, or
        # a character that its configuration would interpolate.
        own = Path(migrations.__file__).parent / "versions"
        configuration.set_main_option("path_separator", "newline")
        configuration.set_main_option("version_locations", f"{own}\n{folder.absolute()}".replace("%", "%%"))
    return configuration


def _alembic(
    run: Any,
    *arguments: Any,
    connection: Connection | None,
    output: io.StringIO | None = None,
    folder: Path | None = None,
    **options: Any,
) -> Any:
    configuration = _alembic_config(folder)
    configuration.output_buffer = output
    # Alembic's own progress lines would mix with a command's output.
    configuration.cmd_opts = Namespace(quiet=True)
    configuration.attributes["connection"] = connection
    with _ALEMBIC:
        result = run(configuration, *arguments, **options)
    if connection is not None:
        connection.commit()
    return result
