"""The site that `make docs` builds: it is whole without a network, also when it is opened from a folder."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.docs.pages import ROOT

# Diagrams take long to draw, and none of these tests looks at one.
BUILD: Final = """
import sys
import mermaidx
class Drawn:
    def svg(self):
        return "<svg></svg>"
mermaidx.render = lambda *_, **__: Drawn()
from mkdocs.commands.build import build
from mkdocs.config import load_config
build(load_config("mkdocs.yml", site_dir=sys.argv[1], strict=True))
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-c", BUILD, str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_pages_load_nothing_from_another_host(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 30
    taken = r"""<(?:script|img|iframe|source|link)\b[^>]*\b(?:src|href)=["']?((?:https?:)?//[^"' >]+)"""
    assert not [(page.name, found[0]) for page in pages for found in re.finditer(taken, page.read_text("utf-8"))]


def test_search_works_when_the_site_is_opened_from_a_folder(site: Path) -> None:
    page = (site / "guides/files.html").read_text("utf-8")
    assert '<script src="../assets/iframe-worker.js">' in page
    assert (site / "search/search_index.js").read_text("utf-8").startswith("var __index = {")
    assert "Permission is hereby granted" in (site / "assets/iframe-worker.js").read_text("utf-8")
