"""The docs' table of public names is true: every test that it names is there."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NAMED = re.findall(
    r"`((?:clients|control|unit|isolation|engines|service)/test_\w+\.py)::(test_\w+)`",
    (ROOT / "docs/contract.md").read_text(),
)


def test_every_test_that_the_contract_names_is_there() -> None:
    there = {
        (str(path.relative_to(ROOT / "tests")), node.name)
        for path in (ROOT / "tests").rglob("test_*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert [name for name in NAMED if name not in there] == []
    assert len(NAMED) > 40
