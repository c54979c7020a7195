"""The docs' table of public names is true and complete: every test that it names exists, and it names everything."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONTRACT = (ROOT / "docs/contract.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`((?:clients|control|unit|isolation|engines|service)/test_\w+\.py)::(test_\w+)`", CONTRACT)


def test_every_test_named_in_the_contract_exists() -> None:
    there = {
        (str(path.relative_to(ROOT / "tests")), node.name)
        for path in (ROOT / "tests").rglob("test_*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert [name for name in NAMED if name not in there] == []
    assert len(NAMED) > 40


@pytest.mark.parametrize(
    ("section", "page", "heading"),
    [
        ("Clients", "api", r"^#### (\w+) \{ #A?MDS\."),
        ("`mds`", "commands", r"^## mds ([\w-]+)"),
        ("`datastore`", "commands", r"^## datastore ([\w-]+)"),
    ],
)
def test_the_contract_names_every_method_and_command(section: str, page: str, heading: str) -> None:
    reference = (ROOT / f"docs/reference/{page}.md").read_text(encoding="utf-8")
    (rows,) = re.findall(rf"^## {re.escape(section)}\n(.*?)(?=^## |\Z)", CONTRACT, re.MULTILINE | re.DOTALL)
    names = {
        word for row in rows.splitlines() for word in re.findall(r"[\w-]+", row.split("|")[1] if "|" in row else "")
    }
    public = set(re.findall(heading, reference, re.MULTILINE))
    assert len(public) > 10
    assert public - names == set()
