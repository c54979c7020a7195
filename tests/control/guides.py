"""The code blocks of a guide, so that what a page tells people to run is what the tests run."""

import re
from pathlib import Path
from typing import Final

GUIDES: Final = Path(__file__).parent.parent.parent / "docs/guides"


def section(guide: str, heading: str) -> str:
    """The text under a heading of the second level."""
    text = (GUIDES / guide).read_text(encoding="utf-8")
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"{guide} has no heading {heading!r}"
    return found[1]


def block(guide: str, heading: str, language: str = "bash") -> str:
    """The first code block of a language under a heading."""
    found = re.search(rf"^```{language}\n(.*?)^```$", section(guide, heading), re.MULTILINE | re.DOTALL)
    assert found, f"{guide} has no block of {language} under {heading!r}"
    return found[1]
