"""The demo, as `make demo` runs it, in a folder of its own."""

import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest

from datastore.embedded import EmbeddedServer
from tests import warm
from tests.clients.test_cli import use
from tests.service.processes import NO_TLS

VERSIONS = "SELECT series_id, ts, ctid::text, xmin::text FROM store.bars ORDER BY series_id, ts"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    home = tmp_path / "a home"
    use(monkeypatch, MDS_HOME=str(home))
    yield home
    server = EmbeddedServer(home)
    try:
        subprocess.run(
            [str(warm.folder() / "datastore"), "down"], capture_output=True, text=True, timeout=60, check=True
        )
        assert not server.status().running
    finally:
        server.discard()


def demo() -> str:
    done = subprocess.run(
        [sys.executable, "-m", "datastore.demo"], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def demo_in_a_terminal() -> tuple[str, httpx.Response]:
    """What the demo says where somebody looks, and the page that its link leads to; ends it as Ctrl-C does."""
    ours, its = pty.openpty()
    process = subprocess.Popen([sys.executable, "-m", "datastore.demo"], stdout=its, stderr=its)
    os.close(its)
    said = ""
    with os.fdopen(ours, encoding="utf-8", newline="") as output:
        while (link := re.search(r"works once\): (http\S+)\r?\n", said)) is None:
            said += output.readline()
        with httpx.Client(verify=NO_TLS, follow_redirects=True) as client:
            answer = client.get(link[1])
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    return said.replace("\r\n", "\n"), answer


def test_the_demo_prints_real_prices_and_a_second_run_changes_no_row(home: Path) -> None:
    first = demo()
    server = EmbeddedServer(home)
    assert server.status().running, "the server goes on running"
    with psycopg.connect(server.superuser_dsn("mds")) as connection:
        before = connection.execute(VERSIONS).fetchall()
    assert f"row versions written by this run: {len(before):,}\n" in first
    assert len(before) > 10_000

    # Apple's last close in the data, as everybody can look it up: 2013-03-01.
    assert re.search(r"^bokeh +AAPL +430\.47 +2013-03-01T00:00:00\+00:00$", first, re.MULTILINE)
    assert len(re.findall(r"^bokeh +(?:AAPL|FB|GOOG|IBM|MSFT) +[0-9.]+ +2013-03-01", first, re.MULTILINE)) == 7
    assert "0 of another tenant" in first
    assert "store.bars: permission denied" in first
    eval_line = re.search(r'^  eval "\$\((.*)\)"$', first, re.MULTILINE)
    assert eval_line
    assert eval_line[1].endswith(f"env --home '{home}'")

    second, answer = demo_in_a_terminal()
    assert "row versions written by this run: 0 (all of it was there already)" in second
    with psycopg.connect(server.superuser_dsn("mds")) as connection:
        assert connection.execute(VERSIONS).fetchall() == before
    assert answer.status_code == 200
    assert "<h1>Overview</h1>" in answer.text
