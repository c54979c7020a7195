"""Damaged lines through every door; `tests/clients/fuzz.py` sends a million by hand."""

from pathlib import Path

import pytest

from mds_client import MDS
from tests.clients.fuzz import fuzz
from tests.service.conftest import Api

LINES = 1_000


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.filterwarnings("ignore::mds_client.DataQualityWarning")
def test_every_damaged_line_is_written_as_intended_or_rejected(api: Api, tmp_path: Path, seed: int) -> None:
    store = api.store
    with MDS(dsn=store.dsn, tenant_id=store.tenant_a) as client, api.client(api.keys.admin) as admin:
        done = fuzz(client, admin, store.tenant_a, tmp_path, LINES, seed)
    assert all(outcome.rejected > LINES / 20 and outcome.rows > LINES / 2 for outcome in done.values())
