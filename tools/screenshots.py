"""Screenshots of the console for the documentation: `make screenshots` writes them into docs/assets.

Starts an embedded server with simulated minutes, the service, and the Chromium that the tests use.
"""

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import uvicorn
from playwright.sync_api import Page, sync_playwright
from psycopg.sql import SQL, Identifier

from datastore import backfill, config, console, migration, search, tenants
from datastore.backfill import BackfillSpec
from datastore.connections import as_owner
from datastore.embedded import EmbeddedServer
from datastore.gaps import calendars
from datastore.names import STORE
from datastore.service import tokens
from datastore.service.server import configuration, listen
from datastore.service.tokens import MadeToken, Scope
from datastore.tenants import Tenant
from mds_client import KINDS, MDS
from tests.console import samples
from tests.engines import chromium

ASSETS: Final = Path(__file__).parents[1] / "docs" / "assets"
SIZE: Final = {"width": 1280, "height": 800}


def main() -> None:
    """Write every screenshot."""
    picture_of_the_demo()
    with tempfile.TemporaryDirectory(prefix="mds-screenshots-") as home:
        server = EmbeddedServer(Path(home) / "server")
        server.up(migration.migrate)
        try:
            env = server.env()
            owner = tenants.create_tenant(env["DATABASE_URL"], "research")
            with MDS({"dsn": env["MDS_DSN"], "tenant_id": str(owner.id)}) as mds:
                samples.write(mds, days=40)
            calendars.assign(env["DATABASE_URL"], owner.id, "XNYS", vendor=samples.VENDOR)
            os.environ["DATASTORE_SOURCE_ROOT"] = home
            prepare(env["DATABASE_URL"], owner)
            token = tokens.create("me", Scope.admin)
            with serving(env["DATABASE_URL"], token) as url, page(url, token) as shown:
                for name, path in paths(env["DATABASE_URL"]):
                    show(shown, f"{url}/console/{path}")
                    shown.screenshot(path=ASSETS / f"console-{name}.png")
        finally:
            server.discard()


def picture_of_the_demo() -> None:
    """Write the picture of the README: what `make demo` shows."""
    with tempfile.TemporaryDirectory(prefix="mds-screenshots-") as home:
        program = [sys.executable, "-m", "datastore.demo", "--no-browser"]
        subprocess.run(program, env={**os.environ, "MDS_HOME": home}, stdout=subprocess.DEVNULL, check=True)  # noqa: S603
        server = EmbeddedServer(Path(home))
        try:
            dsn = server.env()["DATABASE_URL"]
            chart = search.search_series(dsn, "AAPL", kind="bars").items[0].id
            token = tokens.create("me", Scope.admin)
            with serving(dsn, token) as url, page(url, token) as shown:
                show(shown, f"{url}/console/chart/{chart}")
                shown.screenshot(path=ASSETS / "console-demo.png")
        finally:
            server.discard()


def prepare(dsn: str, owner: Tenant) -> None:
    """Start a backfill of what is missing, and let the server estimate how many rows there are."""
    last = datetime(samples.LAST.year, samples.LAST.month, samples.LAST.day, tzinfo=UTC)
    spec = BackfillSpec(
        tenant=str(owner.id), vendor=samples.VENDOR, timeframe="1m", start=last - timedelta(days=30), end=last,
        source={"type": "files", "path": "{vendor}/{symbol}/{start_date}.csv"},
    )  # fmt: skip
    backfill.start(dsn, spec, idempotency_key="screenshots")
    with as_owner(dsn) as (_, driver):
        for kind in KINDS:
            driver.execute(SQL("ANALYZE {}").format(Identifier(STORE, kind)))


def paths(dsn: str) -> list[tuple[str, str]]:
    """Each page's name and its path."""
    chart = search.search_series(dsn, "NVDA 1m", kind="bars").items[0].id
    return [
        ("overview", ""),
        ("series", "series"),
        ("chart", f"chart/{chart}"),
        ("completeness", "completeness"),
        ("jobs", "jobs"),
        ("options", "options"),
        ("news", "news"),
        ("fundamentals", "fundamentals"),
        ("rows", "rows?kind=bars"),
        ("sql", "sql"),
        ("policies", "policies"),
        ("tenants", "tenants"),
    ]


def show(shown: Page, address: str) -> None:
    """Go to a page, and wait for what it loads by itself."""
    shown.goto(address)
    if "/chart/" in address:
        shown.wait_for_selector("#chart[data-ready=true][data-state=rests]")
    if address.endswith("/console/"):
        shown.get_by_text("rows/s written").wait_for()
    if not address.endswith(("/jobs", "/series")) and "/chart/" not in address:
        # The others keep a stream of events open.
        shown.wait_for_load_state("networkidle")
    if address.endswith("/sql"):
        shown.get_by_role("button", name="Run").click()
        shown.wait_for_load_state("networkidle")


@contextmanager
def serving(dsn: str, token: MadeToken) -> Iterator[str]:
    """The URL of the console."""
    settings = replace(config.load({}), database_url=dsn, tokens=token.line)
    server = uvicorn.Server(configuration(settings, console.create_app(settings)))
    with listen("127.0.0.1", 0) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@contextmanager
def page(url: str, token: MadeToken) -> Iterator[Page]:
    """A page that has signed in."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(chromium.prepare()), args=list(chromium.ARGUMENTS), env=dict(chromium.environment())
        )
        shown = browser.new_page(viewport=SIZE, color_scheme="light", locale="en-GB")  # type: ignore[arg-type]
        shown.goto(url)
        shown.get_by_label("Token of the API").fill(token.token)
        shown.get_by_role("button", name="Sign in").click()
        shown.wait_for_url("**/console/")
        yield shown
        browser.close()


if __name__ == "__main__":
    main()
