"""Login roles that are bound to a tenant."""

from dataclasses import fields
from typing import Any, Final

import psycopg
from psycopg.sql import SQL, Identifier, Literal

from datastore.connections import connect
from datastore.errors import ControlError
from datastore.names import APP, OWNER
from datastore.tenants.registry import BoundTenant, Tenant, find_tenant

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


CONNECTIONS: Final = 20
"""How many connections a bound login may have, where nobody says."""

TEMP_FILE_LIMIT: Final = "10GB"
"""How much room the temporary files of a session of a bound login may take, where nobody says."""


def bind_role(dsn: str, tenant: str, role: str, *, connections: int | None = None) -> BoundTenant:
    """Bind a login role to a tenant, by name or uuid, let it use the views, and limit it.

    From then on every session of that role is this tenant, whatever it sets. The limits are two that the role cannot
    change: of its connections, and of a session's temporary files. One that the role has already stays, unless
    `connections` says another.

    Args:
        dsn: Where to, as the control plane.
        tenant: The tenant, by name or uuid.
        role: The login.
        connections: How many connections the login may have. None: `CONNECTIONS`, where it has no limit yet.

    Returns:
        The tenant; with the limits, and the statements that a superuser has to run for those that the control plane's
        role may not set. It may set the first with CREATEROLE, from PostgreSQL 16 on only of roles that it created or
        administers; for the second it needs SET on the parameter as well.

    Raises:
        ControlError: Tenant or role does not exist, the role is bound to another tenant, or it has rights that no
            binding could hold.
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
        to_run = _limit(connection, role, connections)
        made = find_tenant(connection, tenant)
        fields_ = {field.name: getattr(made, field.name) for field in fields(made)}
        return BoundTenant(**fields_, limits=_limits(connection, role), to_run=to_run)


_IN_FORCE: Final = """
SELECT NULLIF(rolconnlimit, -1), (
  SELECT split_part(setting, '=', 2) FROM unnest(rolconfig) AS setting WHERE setting LIKE 'temp_file_limit=%%')
FROM pg_roles WHERE rolname = %s
"""


def _limit(connection: psycopg.Connection[Any], role: str, connections: int | None) -> list[str]:
    """Set the limits that a login cannot undo; returns the statements that the control plane may not run."""
    row = connection.execute(_IN_FORCE, (role,)).fetchone()
    assert row is not None
    most, temporary = row
    statements = []
    if (most is None or connections is not None) and most != (wanted := connections or CONNECTIONS):
        statements.append(SQL("ALTER ROLE {} CONNECTION LIMIT {}").format(Identifier(role), Literal(wanted)))
    if temporary is None:
        limit = SQL("ALTER ROLE {} SET temp_file_limit = {}")
        statements.append(limit.format(Identifier(role), Literal(TEMP_FILE_LIMIT)))
    left = []
    for statement in statements:
        try:
            with connection.transaction():
                connection.execute(statement)
        except psycopg.errors.InsufficientPrivilege:
            left.append(statement.as_string(connection))
    return left


def _limits(connection: psycopg.Connection[Any], role: str) -> list[str]:
    row = connection.execute(_IN_FORCE, (role,)).fetchone()
    assert row is not None
    most, temporary = row
    said = (None if most is None else f"{most} connections", temporary and f"temp_file_limit {temporary}")
    return [limit for limit in said if limit]


class OpenSessions(ControlError):
    """A login is to lose its binding and is logged in."""

    def __init__(self, role: str, sessions: int) -> None:
        super().__init__(
            f"role {role!r} has lost its right to the views, and stays bound while it is logged in:"
            f" end its sessions ({sessions} now; pg_terminate_backend), and try again"
        )


def unbind_role(dsn: str, tenant: str, role: str) -> Tenant:
    """Take back the binding of a login role to a tenant, by name or uuid, and before that its right to the views:
    without a binding it could choose any tenant.

    Raises ControlError if there is no such tenant, the role is not bound to it, or it would keep the right in
    another way; and OpenSessions while it is logged in: then the right is gone, and the binding is not.
    """
    with connect(dsn) as connection:
        found = find_tenant(connection, tenant)
        if role not in found.roles:
            raise ControlError(f"role {role!r} is not bound to tenant {found.name!r}")
        revoke_right(connection, role)
        drop_binding(connection, role)
        return find_tenant(connection, str(found.id))


def revoke_right(connection: psycopg.Connection[Any], role: str) -> None:
    """Take from a bound login its right to the views, and commit. Raises ControlError if it has it in another way.

    In a transaction before the one that drops the binding: nobody may see that without this.
    """
    if connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (role,)).rowcount:
        connection.execute(SQL("REVOKE {} FROM {}").format(Identifier(APP), Identifier(role)))
        if _has_right(connection, role):
            raise ControlError(
                f"role {role!r} is a member of {APP} in another way than by its binding, and without one it could"
                " choose any tenant: take that from it, or drop it, and try again"
            )
    connection.commit()


def drop_binding(connection: psycopg.Connection[Any], role: str) -> None:
    """Drop the binding of a login whose right is gone. Raises OpenSessions while it is logged in.

    A session that has done `SET ROLE` before keeps the right until it ends: only the binding holds it to its tenant.
    """
    # A session that binds it again at the same time holds this row, and grants before letting go of it.
    connection.execute("SELECT FROM store.tenant_roles WHERE role = %s FOR UPDATE", (role,))
    if connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (role,)).rowcount and _has_right(connection, role):
        raise ControlError(f"role {role!r} was bound by someone else just now")
    sessions = connection.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE usename = %s AND datname = current_database()", (role,)
    ).fetchone()
    assert sessions is not None
    if sessions[0]:
        raise OpenSessions(role, sessions[0])
    connection.execute("DELETE FROM store.tenant_roles WHERE role = %s", (role,))


def _has_right(connection: psycopg.Connection[Any], role: str) -> bool:
    row = connection.execute("SELECT pg_has_role(%s, %s, 'MEMBER')", (role, APP)).fetchone()
    assert row is not None
    return bool(row[0])
