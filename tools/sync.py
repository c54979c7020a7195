"""Generate the synchronous modules from the asynchronous ones.

The asynchronous text is written by hand. The synchronous one has the same lines without `async` and `await`, with the
names of `NAMES` (also between backquotes in docstrings and comments) and the phrases of `PHRASES` replaced, and
without the functions of `ASYNC_ONLY`. Code that differs in more than that is in `mds_client.protocol.pauses`,
`mds_client.protocol.pools` and `mds_client.protocol.apools`.
"""

import ast
import io
import re
import subprocess
import sys
import tokenize
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent

MODULES: Final = {
    "src/mds_client/aclient.py": "src/mds_client/client.py",
    "src/mds_client/abatch.py": "src/mds_client/batch.py",
    "src/mds_client/abulk.py": "src/mds_client/bulk.py",
    "src/mds_client/amethods.py": "src/mds_client/methods.py",
    "src/mds_client/autils.py": "src/mds_client/utils.py",
    "src/mds_client/surface/acalls.py": "src/mds_client/surface/calls.py",
    "src/mds_client/surface/alists.py": "src/mds_client/surface/lists.py",
    "src/mds_client/surface/astreams.py": "src/mds_client/surface/streams.py",
    "src/mds_client/surface/awindows.py": "src/mds_client/surface/windows.py",
    "src/mds_client/surface/awrites.py": "src/mds_client/surface/writes.py",
}
"""Each asynchronous module, and the synchronous one that is generated from it."""

NAMES: Final = {
    "ALINGER_S": "LINGER_S",
    "AMDS": "MDS",
    "AsyncBatchProcessor": "BatchProcessor",
    "AsyncBulk": "Bulk",
    "AsyncCalls": "Calls",
    "AsyncCondition": "Condition",
    "AsyncCrew": "Crew",
    "AsyncCursor": "Cursor",
    "AsyncGenerator": "Generator",
    "AsyncGuardedConnection": "GuardedConnection",
    "AsyncHome": "Home",
    "AsyncIngestion": "Ingestion",
    "AsyncIterator": "Iterator",
    "AsyncLists": "Lists",
    "AsyncMethods": "Methods",
    "AsyncStreams": "Streams",
    "AsyncTransaction": "Transaction",
    "AsyncWindows": "Windows",
    "AsyncWriter": "Writer",
    "AsyncWrites": "Writes",
    "NoLock": "Lock",
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "aahead": "ahead",
    "abatch": "batch",
    "abulk": "bulk",
    "acalls": "calls",
    "aclient": "client",
    "aclose": "close",
    "aclosing": "closing",
    "acompute": "compute",
    "aingest_ndjson": "ingest_ndjson",
    "anext_or_none": "next_or_none",
    "areading": "reading",
    "asleep": "sleep",
    "asynccontextmanager": "contextmanager",
    "alists": "lists",
    "amethods": "methods",
    "apools": "pools",
    "astreams": "streams",
    "awindows": "windows",
    "awrites": "writes",
    "ayield_turn": "yield_turn",
}

NAME: Final = re.compile(r"\b(?:" + "|".join(NAMES) + r")\b")

PHRASES: Final = {
    ", the asynchronous client.": ", the synchronous client.",
    " (`contextlib.aclosing`)": "",
    "Any number of tasks of one event loop may add rows.": "Any number of threads may add rows.",
    "as an async context manager": "as a context manager",
    "Cancelling a producer never cancels a write.": "Ctrl-C in a producer never interrupts a write.",
    " A function is called, not awaited.": "",
}
"""Text of docstrings and comments that says something else. Each must be found in one of the modules."""

GENERATED: Final = re.compile(r"\s+`mds_client\.[\w.]+` is generated from (?:it|this module)[^.]*\.\w*[^.]*\.")
"""The sentence of an asynchronous module about the generated one. The generated one has it in its first line."""

ADDED: Final = {
    "src/mds_client/batch.py": (
        "from mds_client.batching.core import BatchConfig",
        "from mds_client.abatch import AsyncBatchProcessor as AsyncBatchProcessor\n",
    ),
    "src/mds_client/utils.py": (
        "from mds_client.batch import BatchProcessor",
        "from mds_client.autils import AsyncIngestion as AsyncIngestion, aingest_ndjson as aingest_ndjson\n",
    ),
}
"""By module, an import that it has beside those of the asynchronous one, and the line that it goes before."""

CLASS_DOCS: Final = {
    "MDS": (
        "A client of the store. Safe to share between threads; close it, or use it as a context manager.\n\n"
        "    `settings` is a `Config`, or a mapping with its keys; keywords take precedence, and missing keys come\n"
        "    from `MDS_<KEY>` in the environment. `observer` receives the client's events (`mds_client.metrics`).\n"
        "    Raises ConfigurationError for a wrong setting, and ServerUnreachable or another MDSOperationalError,\n"
        "    within `connect_timeout`, if no connection can be made.\n    "
    ),
}
"""Docstrings of synchronous classes that say something else."""

ASYNC_ONLY: Final = {"_blocking", "aopen"}


def generated(asynchronous: str) -> str:
    """The synchronous text for an asynchronous module, by its path."""
    source = ROOT / asynchronous
    text = GENERATED.sub("", _without_async_only(source.read_text()))
    for before, after in PHRASES.items():
        text = text.replace(before, after)
    text = re.sub(r"`[^`\n]+`", lambda quoted: NAME.sub(lambda found: NAMES[found[0]], quoted[0]), text)
    text = _with_class_docs(_renamed(text))
    if added := ADDED.get(MODULES[asynchronous]):
        before, line = added
        assert before in text, before
        text = text.replace(before, line + before, 1)
    note = f"# Generated from {source.name} by tools/sync.py: edit that module, and run `make generate`.\n"
    return formatted(note + text)


def check_phrases() -> None:
    """Fail if a phrase is in no asynchronous module."""
    texts = [(ROOT / module).read_text() for module in MODULES]
    assert not [phrase for phrase in PHRASES if not any(phrase in text for text in texts)]


def _without_async_only(text: str) -> str:
    lines = text.splitlines(keepends=True)
    for node in reversed(list(ast.walk(ast.parse(text)))):
        if isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef) and node.name in ASYNC_ONLY:
            assert node.end_lineno is not None
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            # With the empty line behind it.
            del lines[first - 1 : node.end_lineno + 1]
    return "".join(lines)


def _renamed(text: str) -> str:
    lines = text.splitlines(keepends=True)
    # From the end, so that the places of earlier tokens stay right.
    for token in reversed(list(tokenize.generate_tokens(io.StringIO(text).readline))):
        (row, begin), (last, end) = token.start, token.end
        if token.type not in (tokenize.NAME, tokenize.STRING) or row != last:
            continue
        before, after = lines[row - 1][:begin], lines[row - 1][end:]
        if token.string in ("async", "await"):
            lines[row - 1] = before + after.removeprefix(" ")
            continue
        quotes = token.string[0] if token.type == tokenize.STRING else ""  # a forward reference
        name = token.string.strip(quotes) if quotes else token.string
        if name in NAMES:
            lines[row - 1] = before + quotes + NAMES[name] + quotes + after
    return "".join(lines)


def _with_class_docs(text: str) -> str:
    lines = text.splitlines(keepends=True)
    for node in reversed(ast.parse(text).body):
        if isinstance(node, ast.ClassDef) and node.name in CLASS_DOCS:
            docstring = node.body[0]
            assert docstring.end_lineno is not None
            lines[docstring.lineno - 1 : docstring.end_lineno] = [f'    """{CLASS_DOCS[node.name]}"""\n']
    return "".join(lines)


def formatted(text: str) -> str:
    """Python source as `make format` would leave it."""
    ruff = Path(sys.executable).with_name("ruff")
    for command in ("check", "--select", "I,RUF022,SIM117", "--fix", "--quiet"), ("format", "--quiet"):
        done = subprocess.run(  # noqa: S603 - the project's own tool
            [ruff, *command, "--stdin-filename", "src/generated.py", "-"],
            input=text, capture_output=True, text=True, check=True, cwd=ROOT,
        )  # fmt: skip
        text = done.stdout
    return text


if __name__ == "__main__":
    check_phrases()
    for hand_written, made in MODULES.items():
        (ROOT / made).write_text(generated(hand_written))
