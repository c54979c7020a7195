"""A store of its own for programs that are run by hand."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from psycopg.conninfo import make_conninfo

from datastore import migration, tenants
from datastore.embedded import ADMIN_ROLE, DATABASE, SERVICE_ROLE, EmbeddedServer


@dataclass(frozen=True)
class NewStore:
    """How to reach it, and the ids of its tenants a and b."""

    dsn: str
    admin_dsn: str
    superuser_dsn: str
    tenant_a: str
    tenant_b: str


@contextmanager
def new_store() -> Iterator[NewStore]:
    """An embedded server with two tenants, which is gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedServer(Path(folder) / "store")
        server.up(migration.migrate)
        try:
            first, second = tenants.seed(server.dsn(ADMIN_ROLE), ("a", "b"))
            superuser_dsn = make_conninfo(server.superuser_dsn(), dbname=DATABASE)
            yield NewStore(
                server.dsn(SERVICE_ROLE), server.dsn(ADMIN_ROLE), superuser_dsn, str(first.id), str(second.id)
            )
        finally:
            server.down(mode="immediate")
            server.discard()
