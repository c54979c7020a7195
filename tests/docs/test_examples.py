"""The scripts in examples/, each as a process of its own, on a database of its own."""

import json
import os
import shlex
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import httpx
import psycopg
import pytest

from datastore import tenants
from mds_client import MDS, Bar
from tests import warm
from tests.conftest import Store
from tests.docs.pages import ROOT
from tests.service.processes import DEADLINE_S, NO_TLS, Process

EXAMPLES = ROOT / "examples"
LINES = 90
OPENING = datetime(2024, 1, 2, 14, 30, tzinfo=UTC)


def environment(store: Store, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MDS_", "DATASTORE_"))}
    given = {"MDS_DSN": store.dsn, "MDS_TENANT_ID": store.tenant_a, "DATABASE_URL": store.admin_dsn}
    return {**kept, **given, **more}


def run(store: Store, name: str, *arguments: str, folder: Path, **more: str) -> str:
    """What an example prints; fails with what it says where it does not end well."""
    done = subprocess.run(
        [str(warm.folder() / "python"), str(EXAMPLES / name), *arguments],
        cwd=folder,
        env=environment(store, **more),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    return done.stdout


@pytest.mark.engines("postgres")
def test_the_live_feed_writes_bars_that_follow_the_ticks(store: Store, tmp_path: Path) -> None:
    said = run(
        store, "live_feed.py", "--symbols", "AAPL,MSFT", "--seconds", "2", "--per-second", "100", folder=tmp_path
    )
    assert " rows written in " in said
    with MDS(dsn=store.dsn, tenant_id=store.tenant_a) as mds:
        bars = [bar for part in mds.iter_rows("bars", vendor="simulated") for bar in part]
    assert {bar.symbol for bar in bars} == {"AAPL", "MSFT"}
    assert all(bar.low_price <= min(bar.open_price, bar.close_price) for bar in bars)
    assert all(bar.high_price >= max(bar.open_price, bar.close_price) for bar in bars)
    newest = {bar.symbol: bar.close_price for bar in sorted(bars, key=lambda bar: bar.ts)}
    for symbol, close in newest.items():
        assert f"{symbol} {close:.2f}" in said


@pytest.mark.engines("postgres")
def test_the_live_feed_ends_on_a_signal_with_everything_written(store: Store) -> None:
    feed = Process(
        program=(str(warm.folder() / "python"), str(EXAMPLES / "live_feed.py"), "--seconds", "60"), **environment(store)
    )
    try:
        with MDS(dsn=store.dsn, tenant_id=store.tenant_a) as mds:
            deadline = time.monotonic() + DEADLINE_S
            while not mds.symbols():
                assert time.monotonic() < deadline, feed.text
                time.sleep(0.05)
            assert feed.end() == 0
            assert "rows written in" in feed.text
    finally:
        feed.process.kill()


@pytest.mark.many_sessions
def test_research_writes_reads_and_plots(store: Store, tmp_path: Path) -> None:
    said = run(
        store, "research.py", "--days", "5", "--output", "picture.png",
        folder=tmp_path, MPLCONFIGDIR=str(tmp_path / "matplotlib"), HOME=str(tmp_path),
    )  # fmt: skip
    assert "ALPHA: 7,200 bars\n" in said
    assert "volatility" in said
    assert "correlation of days: " in said
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG\r\n")


@pytest.mark.engines("postgres")
def test_the_price_application_serves_each_key_as_its_tenant(store: Store) -> None:
    for tenant, price in ((store.tenant_a, 1.5), (store.tenant_b, 2.5)):
        with MDS(dsn=store.dsn, tenant_id=tenant) as mds:
            mds.upsert_bars([Bar(vendor="acme", symbol="AAPL", timeframe="1m", ts=OPENING, close_price=price)])
    keys = json.dumps({"key-of-a": store.tenant_a, "key-of-b": store.tenant_b})
    arguments = ("-m", "uvicorn", "--app-dir", str(EXAMPLES), "--port", "0", "latest_prices_app:app")
    app = Process(program=(sys.executable, *arguments), **environment(store, KEYS=keys))
    try:
        url = ""
        while not url:
            url = app.line().partition("running on ")[2].partition(" ")[0]
        with httpx.Client(base_url=url, verify=NO_TLS, timeout=DEADLINE_S) as client:
            asked = {"vendor": "acme", "symbol": ["AAPL", "NONE"]}
            for key, price in (("key-of-a", 1.5), ("key-of-b", 2.5)):
                answer = client.get("/prices", params=asked, headers={"X-Api-Key": key})
                assert [(found["symbol"], found["price"]) for found in answer.json()] == [("AAPL", price)]
            window = {"vendor": "acme", "timeframe": "1m", "start": "2024-01-02T00:00", "end": "2024-01-03T00:00"}
            bars = client.get("/bars/aapl", params=window, headers={"X-Api-Key": "key-of-a"}).json()
            assert [bar["close_price"] for bar in bars] == [1.5]
            assert client.get("/prices", params=asked, headers={"X-Api-Key": "neither"}).status_code == 401
            assert client.get("/prices", params=asked).status_code == 422
        assert app.end() in (0, -15)
    finally:
        app.process.kill()


@pytest.mark.engines("postgres")
def test_the_onboarding_example_creates_a_login_bound_to_one_tenant(store: Store, tmp_path: Path) -> None:
    row = {"vendor": "acme", "symbol": "AAPL", "timeframe": "1d", "ts": "2024-01-02", "close_price": 185.64}
    (tmp_path / "first.ndjson").write_text(json.dumps(row) + "\n", encoding="utf-8")
    name = f"customer_{os.getpid()}"
    try:
        for _ in range(2):
            said = run(store, "onboarding.py", name, "--bars", "first.ndjson", folder=tmp_path)
            assert "1 bars written\n" in said
            assert f"{name}_login is this one, and was refused as any other (2 tried)\n" in said
        (dsn,) = (shlex.split(line)[1] for line in said.splitlines() if line.startswith("export MDS_DSN="))
        dsn = dsn.removeprefix("MDS_DSN=")
        assert [tenant.name for tenant in tenants.list_tenants(store.admin_dsn)] == ["a", "b", name]
        with psycopg.connect(dsn) as connection:
            assert connection.execute("SELECT symbol, close_price FROM public.bars").fetchall() == [("AAPL", 185.64)]
    finally:
        store.execute(f"DROP OWNED BY {name}_login")
        store.execute(f"DROP ROLE {name}_login")


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_an_example_is_short_and_says_how_to_run_it(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LINES
    assert path.name in text or f"{path.stem}:app" in text, "its docstring says how"


def test_every_example_has_a_test() -> None:
    tests = [
        ROOT / "tests" / name for name in ("docs/test_examples.py", "docs/test_notebook.py", "service/test_example.py")
    ]
    tested = "".join(test.read_text(encoding="utf-8") for test in tests)
    names = {path.name for path in EXAMPLES.iterdir() if path.is_file()}
    assert not {name for name in names if name not in tested and Path(name).stem not in tested}
