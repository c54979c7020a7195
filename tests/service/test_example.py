"""The script in examples/, as it is, against a service and a worker, from a database that is empty."""

import os
import subprocess
from pathlib import Path

import pytest

from datastore.service import tokens
from datastore.service.tokens import Scope
from tests.engines.databases import Place
from tests.service.processes import DEADLINE_S, served, started

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "fill_a_gap.sh"


@pytest.mark.many_sessions
def test_the_curl_example_fills_a_gap_from_an_empty_database(bare: Place, tmp_path: Path) -> None:
    made = tokens.create("example", Scope.admin)
    source = {"DATASTORE_SOURCE_ROOT": str(tmp_path)}

    with served(bare.admin_dsn, made.line, **source) as (url, service):
        script = subprocess.Popen(
            ("bash", str(SCRIPT), url),
            env={"PATH": os.environ["PATH"], "TOKEN": made.token, **source},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert script.stdout
        # A worker does not begin before there is a schema.
        assert script.stdout.readline().startswith("schema: ")
        with started("worker", "--poll", "0.2", DATABASE_URL=bare.admin_dsn, **source) as worker:
            said, errors = script.communicate(timeout=2 * DEADLINE_S)
            assert worker.end() == 0
        assert (script.returncode, errors) == (0, ""), said + errors
        assert made.token not in said
        assert "bars missing: 11\n" in said
        assert "bars missing: 0\n" in said
        assert "backfill ended: succeeded\n" in said
        assert "100 160 99 159.5 600; 160 220 159 219.5 600;" in said
        assert service.end() == 0
    assert made.token not in service.text + worker.text
