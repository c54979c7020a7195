"""A server that has no room for more locks, as one call that touches thousands of chunks finds it."""

from collections.abc import Iterator

import psycopg
import pytest

from datastore import migration, tenants
from datastore.embedded import DATABASE, EmbeddedServer
from mds_client import MDS, ServerOutOfMemory
from tests.clients.faults import bars, statement
from tests.conftest import SETTINGS

pytestmark = pytest.mark.engines("postgres")

FILL = """
    DO $$ BEGIN
      FOR number IN 1..1000000 LOOP PERFORM pg_advisory_lock(1, number); END LOOP;
    EXCEPTION WHEN out_of_memory THEN NULL;
    END $$
"""
"""Take locks until there are no more."""


@pytest.fixture
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A server of the test's own: its locks are those of all its databases."""
    server = EmbeddedServer(tmp_path_factory.mktemp("own"), port=0, settings=SETTINGS)
    server.up(migration.migrate)
    yield server
    server.discard()


def test_a_call_that_runs_out_of_lock_memory_fails_at_once_with_advice(own: EmbeddedServer) -> None:
    tenant = tenants.create_tenant(own.dsn("mds_admin"), "a").id
    take_many = statement(b"SELECT count(pg_advisory_xact_lock(2, number)) FROM generate_series(1, 5000) AS number")
    with MDS(dsn=own.dsn("mds_service"), tenant_id=str(tenant)) as client:
        with psycopg.connect(own.superuser_dsn(), dbname=DATABASE) as other:
            other.execute(FILL)
            with pytest.raises(ServerOutOfMemory, match=r"out of shared memory[\s\S]*smaller chunk_rows") as caught:
                client.run(take_many)
            other.execute("SELECT pg_advisory_unlock_all()")
        assert not hasattr(caught.value, "__notes__"), "it was tried again"
        assert client.upsert_bars(bars(5)) == 5
