"""The pages of the documentation, and their code blocks: what is in them, and where.

How a block is run is in `tests.docs.session`. A comment directly above a block says what is special about it:

    <!-- not run: needs Docker -->   it only has to parse; the reason is one of `REASONS`
    <!-- output -->                  what the block before has printed; `...` stands for anything

A page whose blocks need more than a database of its own says at its beginning which test runs them:

    <!-- run by tests/control/test_backup.py -->

A block with a title (```python title="jobs.py") is a file of that name, which later blocks use.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from typing import Final

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT: Final = Path(__file__).resolve().parents[2]

REASONS: Final = frozenset(
    {
        "needs Docker",
        "needs Java",
        "needs another machine",
        "needs root",
        "installs packages",
        "its own test",  # another test takes the page's blocks and sets up what they need
    }
)
"""Why a block may be left out."""

AT_HAND: Final[dict[str, Callable[[], bool]]] = {
    "needs Java": lambda: which("java") is not None and find_spec("pyspark") is not None,
}
"""Whether a block is run after all, because what it needs is installed."""

RUN: Final = frozenset({"bash", "sh", "python", "sql"})
"""What is executed."""

KEPT: Final = frozenset(
    {"json", "yaml", "toml", "ini", "csv", "ndjson", "text", "mermaid", "javascript", "julia", "powerquery", "r"}
)
"""What is only read: data, and programs in languages that are not installed here."""


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: `line` is that of its fence, from 1. `comment` is what stands directly above it."""

    page: str
    line: int
    language: str
    title: str | None
    comment: str | None
    text: str

    @property
    def id(self) -> str:
        """The page and the line, as an editor opens it."""
        return f"{self.page}:{self.line}"

    @property
    def left_out(self) -> str | None:
        """The reason why it is not run."""
        if own_test(self.page):
            return "its own test"
        if not self.comment or not self.comment.startswith("not run: "):
            return None
        reason = self.comment.removeprefix("not run: ")
        return None if reason in AT_HAND and AT_HAND[reason]() else reason

    @property
    def is_output(self) -> bool:
        """Whether it is what the block before prints."""
        return self.comment == "output"

    @property
    def is_run(self) -> bool:
        """Whether a page's session has anything to do for it."""
        return not self.left_out and (self.language in RUN or self.is_output or self.title is not None)


def pages() -> list[str]:
    """Every page, by its path in the repository."""
    return ["README.md", *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))]


@cache
def own_test(page: str) -> str | None:
    """The test that runs a page's blocks in place of the general one."""
    first = tokens(page)[0]
    found = re.fullmatch(r"<!-- run by (\S+) -->\s*", first.content) if first.type == "html_block" else None
    return found[1] if found else None


@cache
def blocks(page: str) -> tuple[Block, ...]:
    """The blocks of a page, in order."""
    return tuple(_blocks(page, tokens(page)))


@cache
def tokens(page: str) -> tuple[Token, ...]:
    """A page, parsed as CommonMark."""
    return tuple(MarkdownIt("commonmark").parse((ROOT / page).read_text(encoding="utf-8")))


def _blocks(page: str, parsed: tuple[Token, ...]) -> Iterator[Block]:
    comment = None
    for token in parsed:
        if token.type == "fence":
            assert token.map
            language, _, more = token.info.strip().partition(" ")
            title = re.search(r'title="([^"]+)"', more)
            yield Block(page, token.map[0] + 1, language, title[1] if title else None, comment, token.content)
        found = re.fullmatch(r"<!-- (.+?) -->\s*", token.content) if token.type == "html_block" else None
        comment = found[1] if found else None
