"""Every code block of README.md and docs/, run as a reader would run it.

Each page has a database of its own, and its blocks are run one after the other.
"""

import ast
import configparser
import csv
import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from datastore import tenants
from tests.docs.pages import KEPT, REASONS, ROOT, RUN, Block, blocks, own_test, pages, tokens
from tests.docs.session import BlockFailed, Session
from tests.engines.databases import Running

TENANT = "research"

BLOCKS = [block for page in pages() for block in blocks(page)]
PAGES = list(dict.fromkeys(block.page for block in BLOCKS if block.is_run))


@pytest.mark.parametrize("page", PAGES)
def test_the_code_blocks_of_a_page_run_and_print_what_it_says(page: str, running: Running) -> None:
    with running.databases("postgres").migrated() as place:
        tenant = tenants.create_tenant(place.admin_dsn, TENANT)
        session = Session(
            page, {"MDS_DSN": place.dsn, "DATABASE_URL": place.admin_dsn, "MDS_TENANT_ID": str(tenant.id)}
        )
        try:
            session.read()
        except BlockFailed as failure:
            raise pytest.fail.Exception(str(failure), pytrace=False) from None
        finally:
            session.close()


def test_every_block_parses() -> None:
    assert BLOCKS
    assert {block.id: why for block in BLOCKS if (why := _unreadable(block))} == {}


# The errors of parsers that are not ValueErrors.
PARSERS_ERRORS = (yaml.YAMLError, configparser.Error, csv.Error)


def _unreadable(block: Block) -> str | None:
    if block.language not in RUN | KEPT or not block.text.strip():
        return f"a block in {block.language!r} with {len(block.text)} letters"
    try:
        match block.language:
            case "python":
                ast.parse(block.text)
            case "bash" | "sh":
                subprocess.run(["bash", "-n"], input=block.text, text=True, check=True, timeout=60)
            case "json":
                json.loads(block.text)
            case "ndjson":
                for line in block.text.splitlines():
                    json.loads(line)
            case "yaml":
                list(yaml.safe_load_all(block.text))
            case "toml":
                tomllib.loads(block.text)
            case "ini":
                configparser.ConfigParser(interpolation=None).read_string(block.text)
            case "csv":
                rows = list(csv.reader(block.text.splitlines(), strict=True))
                return None if len({len(row) for row in rows}) == 1 else "rows of different lengths"
    except (SyntaxError, ValueError, subprocess.SubprocessError, *PARSERS_ERRORS) as error:
        return f"{type(error).__name__}: {error}"
    return None


def test_a_code_block_that_is_not_run_has_a_reason() -> None:
    assert {block.id: block.left_out for block in BLOCKS if block.left_out not in {None, *REASONS}} == {}


@pytest.mark.parametrize("page", [page for page in pages() if own_test(page)])
def test_a_page_with_its_own_test_is_read_by_that_test(page: str) -> None:
    test = ROOT / str(own_test(page))
    assert Path(page).name in test.read_text(encoding="utf-8")


def test_no_command_installs_the_project_by_name_from_pypi() -> None:
    # It is somebody else's there: a folder, a file or an index has to be named.
    code = [path for folder in ("examples", "src") for path in (ROOT / folder).rglob("*.py")]
    lines = [
        line for path in [*map(ROOT.joinpath, pages()), *code] for line in path.read_text(encoding="utf-8").splitlines()
    ]
    named = [line for line in lines if re.search(r"pip (install|download|wheel)\b.*market-data-store", line)]
    assert named
    assert not [line for line in named if not re.search(r"--no-index|--index-url| @ file:", line)]


def test_all_code_is_in_fenced_blocks_that_the_tests_find() -> None:
    for page in pages():
        indented = [token.map for token in tokens(page) if token.type == "code_block"]
        assert not indented, f"{page} has indented code: use a fence"
        lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
        fences = sum(line.lstrip(" >").startswith("```") for line in lines)
        assert fences == 2 * len(blocks(page)), f"{page} has a fence within an indented part"
