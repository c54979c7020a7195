"""A stream is written in memory that does not grow with it."""

import json
import subprocess
import sys

from tests.clients.test_cli import two_tenants
from tests.engines.databases import Running


def test_a_million_rows_from_a_stream_take_less_than_300_megabytes(running: Running) -> None:
    with two_tenants(running) as store:
        command = [sys.executable, "-m", "benchmarks.memory", "--rows", "1000000"]
        where = ["--dsn", store.dsn, "--tenant-id", store.tenant_a]
        done = subprocess.run([*command, *where], capture_output=True, text=True, check=True)
        told = json.loads(done.stdout)
        assert told["rows"] == 1_000_000
        assert told["peak_megabytes"] < 300
        assert store.rows("SELECT count(*), count(DISTINCT series_id) FROM store.bars") == [(1_000_000, 1000)]
