"""Tenants and the login roles bound to them: create, list, disable, export, delete.

`mds_client` reads and writes the rows of a tenant.
"""

from datastore.tenants.export import EXPORT, ExportOrder, Format, export_tenant, run_export
from datastore.tenants.lifecycle import (
    DELETE,
    Deletion,
    DeletionOrder,
    await_older_writers,
    delete_tenant,
    disable_tenant,
    enable_tenant,
    plan_deletion,
    run_deletion,
)
from datastore.tenants.registry import (
    BoundTenant,
    Tenant,
    count_tenants,
    create_tenant,
    find_tenant,
    get_tenant,
    list_tenants,
    seed,
)
from datastore.tenants.roles import CONNECTIONS, OpenSessions, bind_role, unbind_role

__all__ = [
    "CONNECTIONS",
    "DELETE",
    "EXPORT",
    "BoundTenant",
    "Deletion",
    "DeletionOrder",
    "ExportOrder",
    "Format",
    "OpenSessions",
    "Tenant",
    "await_older_writers",
    "bind_role",
    "count_tenants",
    "create_tenant",
    "delete_tenant",
    "disable_tenant",
    "enable_tenant",
    "export_tenant",
    "find_tenant",
    "get_tenant",
    "list_tenants",
    "plan_deletion",
    "run_deletion",
    "run_export",
    "seed",
    "unbind_role",
]
