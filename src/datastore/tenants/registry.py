"""Tenants: create, find and list them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

import psycopg
from psycopg import errors
from psycopg.rows import class_row
from psycopg.sql import SQL

from datastore.connections import connect
from datastore.errors import ControlError, Taken, UnknownTenant


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
class BoundTenant(Tenant):
    """A tenant to which a login was just bound.

    `limits` are those limits in force that the login cannot change itself. `to_run` are the statements for the others,
    which the control plane's role may not run, but a superuser may.
    """

    limits: list[str]
    to_run: list[str]


def create_tenant(dsn: str, name: str, *, id: UUID | None = None, if_absent: bool = False) -> Tenant:  # noqa: A002
    """Create a tenant. With `if_absent`, return an existing one of that name (and id, if given) as it is.

    Raises ControlError if the name or the id is taken, or the name is empty.
    """
    with connect(dsn) as connection:
        return _create_tenant(connection, name, id_=id, if_absent=if_absent)


def list_tenants(dsn: str, *, after: int = 0, limit: int | None = None) -> list[Tenant]:
    """List tenants in the order of their creation: at most `limit` (None: all) of those whose `no` is above `after`."""
    with connect(dsn) as connection:
        return _tenants(connection, "t.no > %(after)s", after=after, limit=limit)


def count_tenants(dsn: str) -> int:
    """Return the number of tenants."""
    with connect(dsn) as connection:
        row = connection.execute("SELECT count(*) FROM store.tenants").fetchone()
    assert row is not None
    return int(row[0])


def get_tenant(dsn: str, tenant: UUID | str) -> Tenant:
    """Return the tenant with that id (a UUID) or that name (a str). Raises UnknownTenant."""
    condition: LiteralString = "t.id = %(tenant)s" if isinstance(tenant, UUID) else "t.name = %(tenant)s"
    with connect(dsn) as connection:
        for found in _tenants(connection, condition, tenant=tenant):
            return found
    raise UnknownTenant(tenant)


def find_tenant(connection: psycopg.Connection[Any], tenant: UUID | str) -> Tenant:
    """Return the tenant with that uuid or, if there is none, with that name. Raises UnknownTenant."""
    try:
        id_ = tenant if isinstance(tenant, UUID) else UUID(tenant)
    except ValueError:
        id_ = None
    found = _tenants(connection, "t.id = %(id)s OR t.name = %(name)s", id=id_, name=str(tenant))
    for one in sorted(found, key=lambda each: each.id != id_):
        return one
    raise UnknownTenant(tenant)


def seed(dsn: str, names: Sequence[str] = ("default",)) -> list[Tenant]:
    """Create those of these tenants that do not exist, all or none; existing ones stay as they are."""
    with connect(dsn) as connection:
        return [_create_tenant(connection, name, if_absent=True) for name in names]


def _create_tenant(
    connection: psycopg.Connection[Any], name: str, *, id_: UUID | None = None, if_absent: bool
) -> Tenant:
    if not name.strip():
        raise ControlError("a tenant needs a name")
    for tenant in _tenants(connection, "t.name = %(name)s OR t.id = %(id)s", name=name, id=id_):
        if if_absent and tenant.name == name and id_ in (None, tenant.id):
            return tenant
        raise Taken(f"tenant {tenant.name!r} ({tenant.id}) already exists")
    try:
        connection.execute(
            "INSERT INTO store.tenants (id, name) VALUES (coalesce(%s, gen_random_uuid()), %s)", (id_, name)
        )
    except errors.UniqueViolation:
        raise Taken(f"tenant {name!r} was created by someone else just now") from None
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
