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
"""PostgreSQL's predefined roles that read or change data of other tenants past the views, or see others' statements."""


CONNECTIONS: Final = 20
"""The default limit of connections of a bound login."""

TEMP_FILE_LIMIT: Final = "10GB"
"""The default limit for the temporary files of a session of a bound login."""


def bind_role(dsn: str, tenant: str, role: str, *, connections: int | None = None) -> BoundTenant:
    """Bind a login role to a tenant, by name or uuid, let it use the views, and limit it.

    From then on every session of that role acts as this tenant, whatever it sets. The role cannot change its two
    limits: the number of its connections, and the size of a session's temporary files. Existing limits stay, unless
    you give `connections`.

    Args:
        dsn: The DSN of the control plane.
        tenant: The tenant, by name or uuid.
        role: The login.
        connections: The number of connections that the login may have. None means `CONNECTIONS`, if it has no limit.

    Returns:
        The tenant, the limits, and the statements that a superuser must run for limits that the control plane's role
        may not set. It needs CREATEROLE for the first, and from PostgreSQL 16 on must have created or administer the
        role; for the second it also needs SET on the parameter.

    Raises:
        ControlError: The tenant or role does not exist, the role is bound to another tenant, or it has rights that a
            binding cannot restrict.
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
            raise ControlError(f"role {role!r} cannot log in: bind the login role, not a group")
        if too_strong == role:
            raise ControlError(
                f"role {role!r} is a superuser, bypasses row security, replicates or may create roles,"
                " so a binding would not restrict it"
            )
        if too_strong:
            raise ControlError(f"role {role!r} is a member of {too_strong}, so a binding would not restrict it")
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
    """Set the limits that a login cannot change. Returns the statements that the control plane may not run."""
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
    """A login that is to lose its binding is still logged in."""

    def __init__(self, role: str, sessions: int) -> None:
        super().__init__(
            f"role {role!r} has lost its right to the views, and stays bound while it is logged in:"
            f" end its sessions ({sessions} now; pg_terminate_backend), and try again"
        )


def unbind_role(dsn: str, tenant: str, role: str) -> Tenant:
    """Unbind a login role from a tenant, by name or uuid, after revoking its right to the views, because without a
    binding it could choose any tenant.

    Raises ControlError if the tenant does not exist, the role is not bound to it, or it would keep the right in another
    way. Raises OpenSessions while the role is logged in: then the right is revoked, but the binding stays.
    """
    with connect(dsn) as connection:
        found = find_tenant(connection, tenant)
        if role not in found.roles:
            raise ControlError(f"role {role!r} is not bound to tenant {found.name!r}")
        revoke_right(connection, role)
        drop_binding(connection, role)
        return find_tenant(connection, str(found.id))


def revoke_right(connection: psycopg.Connection[Any], role: str) -> None:
    """Revoke a bound login's right to the views, and commit. Raises ControlError if it has the right in another way.

    This is a transaction of its own before the one that drops the binding, so that nobody sees the reverse order.
    """
    if connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (role,)).rowcount:
        connection.execute(SQL("REVOKE {} FROM {}").format(Identifier(APP), Identifier(role)))
        if _has_right(connection, role):
            raise ControlError(
                f"role {role!r} is a member of {APP} apart from its binding, so without a binding it could choose"
                " any tenant: revoke that membership, or drop the role, and try again"
            )
    connection.commit()


def drop_binding(connection: psycopg.Connection[Any], role: str) -> None:
    """Drop the binding of a login whose right is revoked. Raises OpenSessions while it is logged in.

    A session that ran `SET ROLE` before keeps the right until it ends; only the binding restricts it to its tenant.
    """
    # A session that binds the role again at the same time locks this row, and grants the right before it releases it.
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
