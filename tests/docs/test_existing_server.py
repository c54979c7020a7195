"""The quick start's way onto an existing server: its own blocks, on a server with nothing in it."""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from psycopg.conninfo import conninfo_to_dict

from datastore.embedded import EmbeddedServer, choose_account, find_binaries
from tests import warm
from tests.docs.pages import ROOT, Block, blocks
from tests.engines import ApacheServer
from tests.engines.databases import SETTINGS

PAGE: Final = "docs/quickstart.md"
HEADING: Final = "## On an existing server"
WRITTEN: Final = "db.example:5432"
"""The address that the page has in place of the reader's."""


@dataclass(frozen=True)
class Existing:
    """A server with nothing in it, and what psql takes to be its superuser; `programs` is where psql is."""

    superuser: dict[str, str]
    programs: Path

    def run(self, block: Block, environment: dict[str, str]) -> tuple[str, dict[str, str]]:
        """What a block prints, and the variables that it leaves exported."""
        address = f"{self.superuser['PGHOST']}:{self.superuser['PGPORT']}"
        text = block.text.replace(WRITTEN, address) + "\nprintf '\\0'; env -0\n"
        path = os.pathsep.join([str(self.programs), str(warm.folder()), os.defpath])
        done = subprocess.run(
            ["/bin/bash", "-euo", "pipefail", "-c", text],
            env={"PATH": path, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        printed, *variables = done.stdout.split("\0")
        return printed, dict(variable.split("=", 1) for variable in variables if variable)

    def ask(self, block: Block, environment: dict[str, str]) -> None:
        """Have psql run a block, as whoever the environment says."""
        done = subprocess.run(
            [str(self.programs / "psql"), "--no-psqlrc", "--set=ON_ERROR_STOP=1"],
            env={"PATH": os.defpath, **environment},
            input=block.text,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr


@pytest.fixture
def existing(engine: str, tmp_path: Path) -> Iterator[Existing]:
    if engine == "postgres":
        server: EmbeddedServer | ApacheServer = EmbeddedServer(tmp_path, port=0, settings=SETTINGS)
    else:
        server = ApacheServer()
    server.start()
    try:
        where = conninfo_to_dict(server.superuser_dsn())
        programs = (
            server.programs if isinstance(server, ApacheServer) else find_binaries(choose_account(None)).directory
        )
        names = ("host", "port", "user", "password")
        # By TCP, as from another machine.
        given = {f"PG{name.upper()}": str(where[name]) for name in names} | {"PGHOST": "127.0.0.1"}
        yield Existing(given, programs)
    finally:
        server.stop() if isinstance(server, ApacheServer) else server.discard()


@pytest.mark.engines("postgres", "timescale-apache")
def test_the_quick_start_blocks_set_up_a_store_on_an_existing_server(existing: Existing, engine: str) -> None:
    begin = (ROOT / PAGE).read_text(encoding="utf-8").partition(HEADING)[0].count("\n")
    found = [block for block in blocks(PAGE) if block.line > begin]
    assert [block.language for block in found] == ["sql", "sql", "bash", "sql", "bash"]
    roles, extension, schema, login, application = found

    existing.ask(roles, existing.superuser)
    if engine != "postgres":
        existing.ask(extension, existing.superuser)
    said, environment = existing.run(schema, {})
    assert engine in said
    control = {"PGUSER": "mds_control", "PGPASSWORD": "choose-one", "PGDATABASE": "marketdata"}
    existing.ask(login, existing.superuser | control)
    said, _ = existing.run(application, environment)
    assert "trading" in said
    assert environment["MDS_TENANT_ID"] in said
