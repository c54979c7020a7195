"""What the control plane does to a database: migrate, check, tenants.

The command line and the service call these same functions. Each opens and closes its own connection, and returns what
it did as data; nothing is printed here.
"""

import contextlib
import io
import threading
from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, LiteralString
from uuid import UUID

import psycopg
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg import errors
from psycopg.rows import class_row
from psycopg.sql import SQL, Identifier
from sqlalchemy import Connection, NullPool, create_engine

from datastore import aggregates, config, migrations, objects, timescale_policies
from datastore.aggregates import Refresh
from datastore.connections import connect
from datastore.engine import OLDEST_SERVER, Engine, detect
from datastore.objects import APP, OWNER
from datastore.schema import COMPARISON, metadata
from datastore.timescale_policies import Expiry, PolicyState
from mds_client import KINDS

_LOCK: Final = 0x6D64735F6D696772
"""The advisory lock under which a database is migrated; any number that other programs will not take."""

_REFRESHING: Final = 0x6D64735F726F6C6C
"""The advisory lock under which rollups are refreshed: two refreshes of one over spans that overlap end in an error."""

_BEYOND_BINDING: Final = (
    "pg_read_all_data",
    "pg_write_all_data",
    "pg_read_server_files",
    "pg_write_server_files",
    "pg_execute_server_program",
    "pg_read_all_stats",
    "pg_monitor",
    "pg_maintain",
)
"""PostgreSQL's own roles that see or change other tenants' data past the views, or read what others ask."""

_ALEMBIC: Final = threading.Lock()
"""Alembic's environment is a module-global proxy: one command at a time in one process."""


class ControlError(Exception):
    """A control-plane command cannot be done as asked; the message says why."""


class UnknownTenant(ControlError):
    """There is no tenant of that name or id."""

    def __init__(self, tenant: str | UUID | None) -> None:
        super().__init__(f"there is no tenant {str(tenant)!r}")


class Taken(ControlError):
    """The name or the id that something new is to have belongs to something else."""


class NotMigrated(ControlError):
    """The database is not at head."""


@dataclass(frozen=True, slots=True)
class Migration:
    """What `migrate` did: the schema version before and after, and the objects that it made anew."""

    before: str | None
    after: str
    objects: list[str]


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant as an operator sees it. `no` is the prefix of its series ids; `roles` are the logins bound to it."""

    id: UUID
    no: int
    name: str
    created_at: datetime
    disabled_at: datetime | None
    roles: list[str]


@dataclass(frozen=True, slots=True)
class Database:
    """What a database is, and whether its schema is at `head`. `engine` is as `mds_client.Health` has it."""

    server_version: str
    engine: str
    engine_version: str | None
    schema_version: str | None
    head: str
    warnings: list[str]


@dataclass(frozen=True, slots=True)
class Aggregate:
    """A rollup: its view's name, its timeframe and that of what it is made of; stored, or computed when it is read."""

    name: str
    timeframe: str
    source: str
    stored: bool


def head() -> str:
    """The newest schema version that this release knows."""
    version = ScriptDirectory.from_config(_alembic_config()).get_current_head()
    assert version is not None
    return version


def migrate(dsn: str) -> Migration:
    """Bring a database to head: roles and schemas, migrations, then functions, views and grants.

    Safe to run again and by several at once: an advisory lock lets one work at a time. The role needs CREATE on the
    database and either CREATEROLE or the roles made beforehand. Raises ControlError or psycopg.Error.
    """
    with owner_connection(dsn) as connection:
        before = schema_version(_driver(connection))
        _alembic(command.upgrade, "head", connection=connection)
        made = _settle(_driver(connection))
        after = schema_version(_driver(connection))
    assert after is not None
    return Migration(before, after, made)


def migrate_sql() -> str:
    """The SQL that `migrate` would run on an empty database, for review or for psql."""
    output = io.StringIO()
    _alembic(command.upgrade, "head", connection=None, sql=True, output=output)
    plain = Engine(OLDEST_SERVER)
    return "\n".join(
        (
            *(f"{statement.as_string(None)};" for statement in _bootstrap_statements()),
            f"SET ROLE {OWNER};",
            output.getvalue(),
            *(f"{statement};" for item in objects.objects(plain) for statement in item.statements),
            "RESET ROLE;",
            "",
        )
    )


def stamp_head(dsn: str) -> str:
    """Record a database that was set up by `migrate_sql` as being at head, and return that version."""
    with owner_connection(dsn) as connection:
        _alembic(command.stamp, "head", connection=connection)
        _settle(_driver(connection))
    return head()


def check(dsn: str) -> list[str]:
    """What differs between the declarations and the database, a line each; empty when nothing does.

    Reads the catalog only: no lock that an application would notice.
    """
    with _connection(dsn) as connection:
        if (version := schema_version(_driver(connection))) != head():
            return [f"the schema version is {version or 'none'}, head is {head()}: run datastore migrate"]
        context = MigrationContext.configure(connection, opts=COMPARISON)
        drift = [_describe(difference) for difference in _flat(compare_metadata(context, metadata()))]
        return drift + _object_drift(_driver(connection))


def revision(dsn: str, message: str, folder: Path | None = None) -> Path:
    """Write the migration that brings a database at head to what the declarations say now, and return its file.

    It is a proposal: read it before you commit it. Raises ControlError where there is nothing to change.
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
        raise ControlError("the database is as declared: there is nothing to migrate")
    return Path(made.path)


def create_tenant(dsn: str, name: str, *, id: UUID | None = None, if_absent: bool = False) -> Tenant:  # noqa: A002
    """Make a tenant. With `if_absent`, one of that name (and id, where given) is returned as it is.

    Raises ControlError where the name or the id is taken, or the name is empty.
    """
    with connect(dsn) as connection:
        return _create_tenant(connection, name, id_=id, if_absent=if_absent)


def list_tenants(dsn: str, *, after: int = 0, limit: int | None = None) -> list[Tenant]:
    """Tenants in the order of their making: those whose `no` is above `after`, `limit` at the most (None: all)."""
    with connect(dsn) as connection:
        return _tenants(connection, "t.no > %(after)s", after=after, limit=limit)


def get_tenant(dsn: str, tenant: UUID) -> Tenant:
    """The tenant of that id, whatever others are named; raises UnknownTenant."""
    with connect(dsn) as connection:
        for found in _tenants(connection, "t.id = %(id)s", id=tenant):
            return found
    raise UnknownTenant(tenant)


def find_tenant(connection: psycopg.Connection[Any], tenant: UUID | str) -> Tenant:
    """The tenant of that uuid or, where there is none, of that name; raises UnknownTenant."""
    try:
        id_ = tenant if isinstance(tenant, UUID) else UUID(tenant)
    except ValueError:
        id_ = None
    found = _tenants(connection, "t.id = %(id)s OR t.name = %(name)s", id=id_, name=str(tenant))
    for one in sorted(found, key=lambda each: each.id != id_):
        return one
    raise UnknownTenant(tenant)


def seed(dsn: str, names: Sequence[str] = ("default",)) -> list[Tenant]:
    """Make sure that these tenants are there, all or none of them; what is there stays as it is."""
    with connect(dsn) as connection:
        return [_create_tenant(connection, name, if_absent=True) for name in names]


def bind_role(dsn: str, tenant: str, role: str) -> Tenant:
    """Bind a login role to a tenant, by name or uuid, and let it use the views.

    From then on every session of that role is this tenant, whatever it sets. Raises ControlError where tenant or role
    does not exist, where the role is bound to another tenant, or where it has rights that no binding could hold.
    """
    with connect(dsn) as connection:
        found = find_tenant(connection, tenant)
        rights = connection.execute(
            """
            SELECT r.rolcanlogin, (
              SELECT m.rolname FROM pg_roles AS m
              WHERE pg_has_role(r.oid, m.oid, 'MEMBER')
                AND (m.rolsuper OR m.rolbypassrls OR m.rolcreaterole OR m.rolreplication OR m.rolname = ANY(%s))
              ORDER BY m.rolname <> r.rolname, m.rolname LIMIT 1)
            FROM pg_roles AS r WHERE r.rolname = %s
            """,
            ([OWNER, *_BEYOND_BINDING], role),
        ).fetchone()
        if rights is None:
            raise ControlError(f"role {role!r} does not exist: CREATE ROLE … LOGIN first")
        can_login, too_strong = rights
        if not can_login:
            raise ControlError(f"role {role!r} cannot log in: a binding is of the login, not of a group that it is in")
        if too_strong == role:
            raise ControlError(
                f"role {role!r} is a superuser, bypasses row security, replicates or may create roles: "
                "a binding would not hold it"
            )
        if too_strong:
            raise ControlError(f"role {role!r} is a member of {too_strong}: a binding would not hold it")
        bound = connection.execute(
            "INSERT INTO store.tenant_roles AS r (role, tenant_no) VALUES (%s, %s)"
            " ON CONFLICT (role) DO UPDATE SET role = r.role RETURNING tenant_no",
            (role, found.no),
        ).fetchone()
        assert bound is not None
        if bound[0] != found.no:
            raise ControlError(f"role {role!r} is bound to another tenant")
        connection.execute(SQL("GRANT {} TO {}").format(Identifier(APP), Identifier(role)))
        return find_tenant(connection, tenant)


def policies(dsn: str) -> list[PolicyState]:
    """Every policy: what is declared, what is set, what the server keeps by itself."""
    with as_owner(dsn) as (engine, driver):
        return timescale_policies.show(engine, driver)


def set_policy(dsn: str, relation: str, policy: str, value: timedelta | None) -> list[PolicyState]:
    """Set one policy apart from its declaration (None: off), and have the server keep it where it can.

    Raises PolicyError where the relation has no such policy, or the value makes no sense.
    """
    with as_owner(dsn) as (engine, driver):
        timescale_policies.set_policy(driver, relation, policy, value)
        return timescale_policies.apply(engine, driver)


def unset_policy(dsn: str, relation: str, policy: str) -> list[PolicyState]:
    """Go back to what is declared, and have the server keep that where it can."""
    with as_owner(dsn) as (engine, driver):
        timescale_policies.unset_policy(driver, relation, policy)
        return timescale_policies.apply(engine, driver)


def apply_policies(dsn: str) -> list[PolicyState]:
    """Have the server keep every policy, where it can; a migrate does this too."""
    with as_owner(dsn) as (engine, driver):
        return timescale_policies.apply(engine, driver)


def expire(dsn: str, kind: str | None = None, *, dry_run: bool = False) -> list[Expiry]:
    """Remove the rows that retention gives up, of one kind or of all; with `dry_run` only say how many."""
    with as_owner(dsn) as (engine, driver):
        work = timescale_policies.expiring if dry_run else timescale_policies.expire
        return work(engine, driver, kind)


def list_aggregates(dsn: str) -> list[Aggregate]:
    """Every rollup, and how this database has it."""
    with as_owner(dsn) as (engine, _):
        stored = engine.materialized()
        return [
            Aggregate(aggregates.relation(kind, rollup), rollup.timeframe, rollup.source, stored)
            for kind, rollup in aggregates.rollups()
        ]


def rollup_names(wanted: Sequence[str] | None = None) -> list[str]:
    """The rollups that are wanted (None: all), a source before what is derived from it.

    Raises ControlError for the name of one that there is none of.
    """
    known = aggregates.names()
    if unknown := set(wanted or ()) - set(known):
        raise ControlError(f"no rollup {', '.join(sorted(unknown))}; there are: {', '.join(known)}")
    return known if wanted is None else [name for name in known if name in wanted]


def refresh(
    dsn: str, start: datetime | None = None, end: datetime | None = None, names: Sequence[str] | None = None
) -> list[Refresh]:
    """Bring the stored rollups up to the rows of a span; nothing where rollups are computed when they are read.

    Raises ControlError for the name of a rollup that there is none of.
    """
    wanted = rollup_names(names)
    with as_owner(dsn) as (engine, driver):
        if not engine.materialized():
            return []
        # Each rollup is a transaction of its own: the lock is the session's, and ends with it.
        driver.execute("SELECT pg_advisory_lock(%s)", (_REFRESHING,))
        driver.commit()
        return aggregates.refresh(engine, driver, start, end, wanted)


def describe(dsn: str) -> Database:
    """What a database is: server, engine, schema version, and known troubles of that combination."""
    with connect(dsn) as connection:
        engine = detect(connection)
        return Database(
            server_version=connection.info.parameter_status("server_version") or "",
            engine=engine.name,
            engine_version=engine.extension_version,
            schema_version=schema_version(connection),
            head=head(),
            warnings=engine.warnings(),
        )


def check_head(driver: psycopg.Connection[Any]) -> None:
    """Raise NotMigrated if the database's schema is not the one of this release."""
    if (version := schema_version(driver)) != head():
        raise NotMigrated(f"the schema version is {version or 'none'}, head is {head()}: run datastore migrate")


@contextlib.contextmanager
def as_owner(dsn: str) -> Iterator[tuple[Engine, psycopg.Connection[Any]]]:
    """A connection that acts as the owner of a schema that is at head, committed at the end."""
    with connect(dsn) as driver:
        check_head(driver)
        engine = detect(driver)
        driver.execute(SQL("SET ROLE {}").format(Identifier(OWNER)))
        driver.commit()
        yield engine, driver


@contextlib.contextmanager
def owner_connection(dsn: str | None = None) -> Iterator[Connection]:
    """A connection that holds the migration lock and acts as the owner of the schema, which it makes if need be.

    Without a DSN it is that of the environment.
    """
    with _connection(dsn or config.load().dsn()) as connection:
        driver = _driver(connection)
        driver.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        driver.commit()
        try:
            _bootstrap(driver)
            driver.execute(SQL("SET ROLE {}").format(Identifier(OWNER)))
            driver.commit()
            yield connection
        finally:
            # Closing the connection ends lock and role; a broken one has lost both already.
            connection.rollback()


@contextlib.contextmanager
def _connection(dsn: str) -> Iterator[Connection]:
    engine = create_engine("postgresql+psycopg://", creator=lambda: connect(dsn), poolclass=NullPool)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def _driver(connection: Connection) -> psycopg.Connection[Any]:
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    return driver


def _bootstrap_statements() -> list[SQL]:
    """Roles and schemas: what has to be there before a migration can run as the owner."""
    return [
        _create_role(OWNER),
        _create_role(APP),
        # From PostgreSQL 16 on, whoever creates a role administers it without being able to act as it.
        SQL(
            "DO $$ BEGIN IF NOT pg_has_role(current_user, 'mds_owner', CASE"
            " WHEN current_setting('server_version_num')::int >= 160000 THEN 'SET' ELSE 'MEMBER' END)"
            " THEN GRANT mds_owner TO CURRENT_USER; END IF; END $$"
        ),
        SQL("CREATE SCHEMA IF NOT EXISTS store AUTHORIZATION mds_owner"),
        SQL("CREATE SCHEMA IF NOT EXISTS mds AUTHORIZATION mds_owner"),
        SQL("REVOKE CREATE ON SCHEMA public FROM PUBLIC"),
        SQL("GRANT USAGE, CREATE ON SCHEMA public TO mds_owner"),
        SQL("GRANT USAGE ON SCHEMA public TO mds_app"),
        # The client stages its batches in a temporary table.
        SQL("DO $$ BEGIN EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO mds_app', current_database()); END $$"),
    ]


def _create_role(role: LiteralString) -> SQL:
    # Two databases of one server may be migrated at once, and the roles are common to both.
    return SQL(
        f"DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}')"
        f" THEN CREATE ROLE {role} NOLOGIN; END IF;"
        " EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
    )


def _bootstrap(driver: psycopg.Connection[Any]) -> None:
    engine = detect(driver)
    for statement in _bootstrap_statements():
        driver.execute(statement)
    engine.prepare_owner(driver, OWNER)
    driver.commit()


def _settle(driver: psycopg.Connection[Any]) -> list[str]:
    """After the migrations: what is safe to do every time. Returns what was made or changed."""
    engine = detect(driver)
    made = [done for kind in KINDS.values() for done in engine.store_table(driver, kind)]
    driver.commit()
    made += [f"rollup {name}" for name in aggregates.create(engine, driver)]
    driver.commit()
    made += _apply_objects(driver)
    timescale_policies.apply(engine, driver)
    driver.commit()
    return made


def _apply_objects(driver: psycopg.Connection[Any]) -> list[str]:
    """Make every object that is not there as declared, and return their names."""
    known = _declared_objects(driver)
    installed = _installed_objects(driver)
    made = []
    for item in objects.objects(detect(driver)):
        if known.get(item.name) == (item.digest, installed.get(item.name)):
            continue
        _apply(driver, item)
        made.append(item.name)
    installed = _installed_objects(driver)
    for item in objects.objects(detect(driver)):
        driver.execute(
            "INSERT INTO store.objects (name, declared, installed) VALUES (%s, %s, %s)"
            " ON CONFLICT (name) DO UPDATE SET declared = excluded.declared, installed = excluded.installed",
            (item.name, item.digest, installed.get(item.name)),
        )
    return made


def _apply(driver: psycopg.Connection[Any], item: objects.DatabaseObject) -> None:
    try:
        with driver.transaction():
            for statement in item.statements:
                driver.execute(statement.encode())
    except errors.InvalidTableDefinition:
        # A view whose columns changed cannot be replaced. Without CASCADE: a user's view on it makes this fail, with a
        # message that names it.
        assert item.relation is not None
        driver.execute(SQL("DROP VIEW {}").format(Identifier(*item.relation)))
        for statement in item.statements:
            driver.execute(statement.encode())


def _declared_objects(driver: psycopg.Connection[Any]) -> dict[str, tuple[str, str | None]]:
    rows = driver.execute("SELECT name, declared, installed FROM store.objects").fetchall()
    return {name: (declared, installed) for name, declared, installed in rows}


def _installed_objects(driver: psycopg.Connection[Any]) -> dict[str, str]:
    """A digest of each object as the catalog has it: text, defaults, rules, options, owner and grants.

    Where nothing was ever granted or revoked these are the owner's default ones, which a restore does not spell out.
    """
    # Times in a view's text are shown in the session's zone.
    driver.execute("SET LOCAL TimeZone TO 'UTC'")
    rows = driver.execute(
        """
        SELECT 'view ' || n.nspname || '.' || c.relname, md5(concat_ws('|', pg_get_viewdef(c.oid), c.reloptions::text,
                 pg_get_userbyid(c.relowner), c.relacl::text,
                 (SELECT string_agg(a.attname || a.attacl::text, '|' ORDER BY a.attnum) FROM pg_attribute AS a
                  WHERE a.attrelid = c.oid AND a.attacl IS NOT NULL),
                 (SELECT string_agg(d.adnum || pg_get_expr(d.adbin, d.adrelid), '|' ORDER BY d.adnum)
                  FROM pg_attrdef AS d WHERE d.adrelid = c.oid),
                 (SELECT string_agg(pg_get_ruledef(r.oid), '|' ORDER BY r.rulename) FROM pg_rewrite AS r
                  WHERE r.ev_class = c.oid AND r.rulename <> '_RETURN')))
        FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE c.relkind = 'v' AND n.nspname IN ('mds', 'public')
        UNION ALL
        SELECT 'schema ' || nspname, md5(concat_ws('|', pg_get_userbyid(nspowner),
                 coalesce(nspacl, acldefault('n', nspowner))::text))
        FROM pg_namespace WHERE nspname IN ('mds', 'store')
        UNION ALL
        SELECT 'rights in store', md5(string_agg(concat_ws('|', relname, pg_get_userbyid(relowner),
                 coalesce(relacl, acldefault(CASE relkind WHEN 'S' THEN 's'::"char" ELSE 'r' END, relowner))::text,
                 relrowsecurity, relforcerowsecurity), '|' ORDER BY relname))
        FROM pg_class WHERE relnamespace = 'store'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
        UNION ALL
        SELECT 'trigger store.' || c.relname || '.' || t.tgname,
               md5(concat_ws('|', pg_get_triggerdef(t.oid), t.tgenabled))
        FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid
        WHERE c.relnamespace = 'store'::regnamespace AND NOT t.tgisinternal
        UNION ALL
        SELECT n.nspname || '.' || p.proname || '(' || oidvectortypes(p.proargtypes) || ')',
               md5(concat_ws('|', pg_get_functiondef(p.oid), pg_get_userbyid(p.proowner), p.proacl::text))
        FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
        WHERE n.nspname IN ('mds', 'store')
        """
    ).fetchall()
    return dict(rows)


def _object_drift(driver: psycopg.Connection[Any]) -> list[str]:
    known = _declared_objects(driver)
    installed = _installed_objects(driver)
    drift = []
    for item in objects.objects(detect(driver)):
        if item.name not in known or item.name not in installed:
            drift.append(f"{item.name} is missing")
        elif known[item.name][0] != item.digest:
            drift.append(f"{item.name} is of another release")
        elif known[item.name][1] != installed.get(item.name):
            drift.append(f"{item.name} was changed by hand")
    return drift


def _flat(differences: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
    for difference in differences:
        if isinstance(difference, list):
            yield from difference
        else:
            yield difference


def _describe(difference: tuple[Any, ...]) -> str:
    """One of Alembic's differences as a sentence, seen from the database."""
    action, *what = difference
    verb, _, noun = action.partition("_")
    names = [str(getattr(part, "name", part)) for part in what if isinstance(part, str) or hasattr(part, "name")]
    where = ".".join(name for name in names if name)
    known = {"add": "is missing", "remove": "is not declared", "modify": "differs from its declaration"}
    return f"{noun.replace('_', ' ')} {where} {known.get(verb, action)}"


def schema_version(driver: psycopg.Connection[Any]) -> str | None:
    """The schema version of a database, or None where it was never migrated."""
    there = driver.execute("SELECT to_regclass('store.alembic_version') IS NOT NULL").fetchone()
    if there is None or not there[0]:
        return None
    row = driver.execute("SELECT version_num FROM store.alembic_version").fetchone()
    return None if row is None else str(row[0])


def _alembic_config(folder: Path | None = None) -> Config:
    configuration = Config()
    configuration.set_main_option("script_location", "datastore:migrations")
    configuration.set_main_option("path_separator", "os")
    if folder:
        # Alembic writes only into a folder that it reads, too. A folder's name may hold what would separate two of
        # them, or what the configuration's own substitution would take for a variable.
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
    # Alembic's own progress lines would stand between a command's own.
    configuration.cmd_opts = Namespace(quiet=True)
    configuration.attributes["connection"] = connection
    with _ALEMBIC:
        result = run(configuration, *arguments, **options)
    if connection is not None:
        connection.commit()
    return result


def _create_tenant(
    connection: psycopg.Connection[Any], name: str, *, id_: UUID | None = None, if_absent: bool
) -> Tenant:
    if not name.strip():
        raise ControlError("a tenant needs a name")
    for tenant in _tenants(connection, "t.name = %(name)s OR t.id = %(id)s", name=name, id=id_):
        if if_absent and tenant.name == name and id_ in (None, tenant.id):
            return tenant
        raise Taken(f"tenant {tenant.name!r} ({tenant.id}) is there already")
    try:
        connection.execute(
            "INSERT INTO store.tenants (id, name) VALUES (coalesce(%s, gen_random_uuid()), %s)", (id_, name)
        )
    except errors.UniqueViolation:
        raise Taken(f"tenant {name!r} was made by somebody else just now") from None
    (made,) = _tenants(connection, "t.name = %(name)s", name=name)
    return made


def _tenants(
    connection: psycopg.Connection[Any], condition: LiteralString, *, limit: int | None = None, **parameters: object
) -> list[Tenant]:
    with connection.cursor(row_factory=class_row(Tenant)) as cursor:
        cursor.execute("SET LOCAL TimeZone TO 'UTC'")
        return cursor.execute(
            SQL(
                """
                SELECT t.id, t.no, t.name, t.created_at, t.disabled_at, array(
                  SELECT r.role::text FROM store.tenant_roles AS r WHERE r.tenant_no = t.no ORDER BY 1) AS roles
                FROM store.tenants AS t WHERE {} ORDER BY t.no LIMIT %(limit)s
                """
            ).format(SQL(condition)),
            {**parameters, "limit": limit},
        ).fetchall()
