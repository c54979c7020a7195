"""Login roles that are bound to a tenant."""

from typing import Any, Final

import psycopg
from psycopg.sql import SQL, Identifier

from datastore.connections import connect
from datastore.errors import ControlError
from datastore.names import APP, OWNER
from datastore.tenants.registry import Tenant, find_tenant

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


def bind_role(dsn: str, tenant: str, role: str) -> Tenant:
    """Bind a login role to a tenant, by name or uuid, and let it use the views.

    From then on every session of that role is this tenant, whatever it sets. Raises ControlError if tenant or role
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
