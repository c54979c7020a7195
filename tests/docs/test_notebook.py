"""The tutorial notebook: its cells in their order, as a kernel runs them, on a database of its own."""

import ast
import json
from typing import Any

import pytest

from tests.conftest import Store
from tests.docs.pages import ROOT

NOTEBOOK = json.loads((ROOT / "examples/tutorial.ipynb").read_text())
CELLS: list[dict[str, Any]] = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]


def run(source: str, namespace: dict[str, Any]) -> Any:
    """Run a cell and give the value of its last expression, which a notebook shows."""
    tree = ast.parse(source)
    last = tree.body[-1]
    if not isinstance(last, ast.Expr):
        return exec(compile(tree, "cell", "exec"), namespace)
    exec(compile(ast.Module(tree.body[:-1], []), "cell", "exec"), namespace)
    return eval(compile(ast.Expression(last.value), "cell", "eval"), namespace)


def test_the_tutorial_runs_from_its_first_cell_to_its_last(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MDS_DSN", store.dsn)
    monkeypatch.setenv("MDS_TENANT_ID", store.tenant_a)
    namespace: dict[str, Any] = {}
    shown = [run("".join(cell["source"]), namespace) for cell in CELLS]
    pages = [value._repr_html_() for value in shown if hasattr(value, "_repr_html_")]
    assert store.tenant_a in pages[0]
    assert "<td>NVDA</td>" in pages[1]
    assert "<td>260</td>" in pages[2]
    assert 780 in [value for value in shown if isinstance(value, int)]
    assert capsys.readouterr().out == "tutorial has no bars of APPL; near it: AAPL\n"


def test_the_tutorial_notebook_is_stored_without_outputs() -> None:
    assert NOTEBOOK["nbformat"] == 4
    assert [(cell["outputs"], cell["execution_count"]) for cell in CELLS] == [([], None)] * len(CELLS)
