"""The rules for assistants are true: what they quote is there, and the manifest names what there is. No server.

Whatever stands in backquotes, or in a block to be run, is looked for: as a file, a name in a file, a name of our
packages, a command with its options, a relation; and what is none of these as text somewhere in the project.
"""

import ast
import importlib.util
import json
import pkgutil
import re
import shlex
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any, Final

import click
import pytest
import yaml

from datastore import cli as control
from mds_client import KINDS
from mds_client.cli import command_line
from tools import build_solution_manifest as builder

ROOT: Final = Path(__file__).resolve().parents[2]
RULES: Final = sorted((ROOT / "cursorrules/rules").glob("*.mdc"))
INDEX: Final = ROOT / "cursorrules/index.mdc"
README: Final = ROOT / "cursorrules/README.md"
PAGES: Final = [ROOT / "AGENTS.md", README, INDEX, *RULES]

LONGEST: Final = 60
"""Lines of a rule: what is longer is not read."""

FOLDERS: Final = ("src", "tests", "docs", "tools", "benchmarks", "docker", "examples", "cursorrules", ".ci")
ENDINGS: Final = (".py", ".md", ".mdc", ".sql", ".toml", ".yml", ".json", ".txt", ".sh", ".svg")


@cache
def manifest() -> dict[str, Any]:
    """What there is."""
    made: dict[str, Any] = json.loads(text())
    return made


@cache
def text() -> str:
    return builder.manifest()


# What a page says --------------------------------------------------------------------------------------------------


def said(page: Path) -> Iterator[str]:
    """What a page quotes: everything in backquotes, and each line of its blocks."""
    for block in re.findall(r"^```\w+\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        yield from (line.partition("  #")[0].strip() for line in block.splitlines())
    yield from (" ".join(quoted.split()) for quoted in re.findall(r"`([^`]+)`", prose(page)))


def prose(page: Path) -> str:
    """A page without its blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def wrong(quoted: str) -> str | None:
    """What is wrong with something that a page quotes; None where it is so."""
    if quoted.startswith(".cursor"):  # the editor's own
        return None
    words = quoted.split()
    program = words[0].removeprefix(".venv/bin/")
    if len(words) > 1 and program in COMMANDS:
        return COMMANDS[program](shlex.split(quoted)[1:])
    if len(words) > 1 and program in SHELL:
        return next((found for word in words[1:] if (found := wrong_path(word.removeprefix("../../")))), None)
    if len(words) == 1:
        if is_path(quoted):
            return wrong_path(quoted)
        if re.fullmatch(r"(store|mds|public)\.[a-z_<>]+(\([a-z]*\))?", quoted):
            return wrong_relation(quoted)
        if re.fullmatch(r"(mds_client|datastore|benchmarks|tools|tests)(\.\w+)+", quoted):
            return wrong_name(quoted)
    return wrong_text(quoted)


def is_path(word: str) -> bool:
    path = word.partition("::")[0]
    return "(" not in word and (path.partition("/")[0] in FOLDERS or path.endswith(ENDINGS) or (ROOT / path).is_file())


def wrong_path(word: str) -> str | None:
    """A file or folder, or several by a pattern; `path::name` is something that is declared in the file."""
    path, _, name = word.partition("::")
    if word.startswith(".cursor") or not is_path(path):
        return None
    found = sorted(ROOT.glob(re.sub(r"<\w+>", "*", path)))
    if not found:
        return f"there is no {path}"
    return f"{path} declares no {name}" if name and name not in declared(found[0]) else None


@cache
def declared(file: Path) -> frozenset[str]:
    """The names that a module's statements declare, its imports left out; those of a class as `Class.name`."""
    return frozenset(_declared(ast.parse(file.read_text(encoding="utf-8")).body, ""))


def _declared(body: list[ast.stmt], within: str) -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield within + node.name
        if isinstance(node, ast.ClassDef):
            yield from _declared(node.body, f"{node.name}.")
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (within + target.id for target in targets if isinstance(target, ast.Name))


def wrong_relation(word: str) -> str | None:
    """A table, view or function of the three schemas."""
    made = manifest()["relations"]
    there = [*made["tables"], *made["views"], *made["continuous_aggregates"], *made["other_objects"]]
    pattern = re.sub(r"<\w+>", "*", word)
    return None if any(fnmatch(name, pattern) for name in there) else f"there is no relation or function {word}"


def wrong_name(word: str) -> str | None:
    try:
        pkgutil.resolve_name(word)
    except (ImportError, AttributeError) as error:
        return f"{word}: {error}"
    return None


def wrong_text(quoted: str) -> str | None:
    """Text that stands somewhere in the project, as a word of its own."""
    parts = re.split(r"<\w+>|\.\.\.", quoted)
    pattern = re.compile(rf"(?<!\w){r'[^`]*?'.join(map(re.escape, parts))}(?!\w)")
    # A pattern that begins with a look behind is tried at every letter. A plain search finds the few files to try.
    found = (written for written in project() if all(part in written for part in parts))
    return None if any(map(pattern.search, found)) else f"{quoted!r} is nowhere in the project"


@cache
def project() -> tuple[str, ...]:
    """All that is written, but for the rules themselves and for this test."""
    files = [
        *(path for folder in ("src", "tests", "tools", "benchmarks", "docs") for path in (ROOT / folder).rglob("*.*")),
        *(ROOT / name for name in ("pyproject.toml", "Makefile", "mkdocs.yml", "CHANGELOG.md", "docker-compose.yml")),
    ]
    kept = [path for path in files if path.suffix in ("", *ENDINGS) and path != Path(__file__).resolve()]
    return tuple(path.read_text(encoding="utf-8") for path in kept)


# Commands ----------------------------------------------------------------------------------------------------------


def wrong_make(arguments: list[str]) -> str | None:
    return None if arguments[0] in manifest()["make"] else f"make has no target {arguments[0]}"


def wrong_click(command: click.Command, arguments: list[str]) -> str | None:
    """A command of ours: its names down to the last one, and its options."""
    left = list(arguments)
    while isinstance(command, click.Group) and left and not left[0].startswith("-"):
        name = left.pop(0)
        inner = command.commands.get(name)
        if inner is None:
            return f"{command.name} has no command {name}"
        command = inner
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    unknown = [word for word in left if word.startswith("-") and word.partition("=")[0] not in known]
    return f"{command.name} has no {', '.join(unknown)}" if unknown else None


def wrong_python(arguments: list[str]) -> str | None:
    """`-m module`, or a script; and the files that are named behind it."""
    if arguments[0] == "-m":
        module = arguments[1]
        spec = importlib.util.find_spec(module)
        if spec is None or (spec.submodule_search_locations and not importlib.util.find_spec(f"{module}.__main__")):
            return f"python -m {module} cannot be run"
        if module == "benchmarks":
            return wrong_click(benchmarks(), arguments[2:])
    return next((found for word in arguments if (found := wrong_path(word))), None)


def benchmarks() -> click.Command:
    from benchmarks.__main__ import main  # takes a moment, and is asked for once

    return main


COMMANDS: Final = {
    "make": wrong_make,
    "mds": lambda arguments: wrong_click(command_line(), arguments),
    "datastore": lambda arguments: wrong_click(control.command_line(), arguments),
    "python": wrong_python,
}
SHELL: Final = ("mkdir", "ln", "cp")


# The pages ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_everything_a_page_quotes_exists(page: Path) -> None:
    assert [found for quoted in said(page) if quoted and (found := wrong(quoted))] == []


@pytest.mark.parametrize(
    ("quoted", "says"),
    [
        ("src/datastore/nothing.py", "there is no src/datastore/nothing.py"),
        ("src/nothing/*.py", "there is no"),
        ("NOTHING.md", "there is no NOTHING.md"),
        ("tests/unit/test_models.py::test_nothing", "declares no test_nothing"),
        ("src/datastore/schema/objects.py::SQL", "declares no SQL"),
        ("src/datastore/engines/timescale.py::Timescale.nothing", "declares no Timescale.nothing"),
        ("store.nothing", "no relation"),
        ("mds.<kind>_nothing", "no relation"),
        ("mds_client.Nothing", "No mds_client attribute"),
        ("make nothing", "no target nothing"),
        ("datastore nothing", "no command nothing"),
        ("datastore policies nothing", "no command nothing"),
        ("datastore revision --nothing", "revision has no --nothing"),
        (".venv/bin/datastore nothing --json", "no command nothing"),
        ("mds write-nothing", "no command write-nothing"),
        ("python -m benchmarks.nothing", "cannot be run"),
        ("python tools/nothing.py", "there is no tools/nothing.py"),
        (".venv/bin/python -m pytest tests/nothing -n 0", "there is no tests/nothing"),
        (".venv/bin/python -m benchmarks --nothing", "has no --nothing"),
        ("cp -r cursorrules/nothing .cursor", "there is no cursorrules/nothing"),
        ("a_name_of_nothing", "is nowhere in the project"),
        ("MDS_TEST_NOTHING_DSN", "is nowhere in the project"),
    ],
)
def test_a_quote_of_something_missing_is_reported(quoted: str, says: str) -> None:
    assert says in (wrong(quoted) or "")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_page_has_quotes_and_all_are_closed(page: Path) -> None:
    assert len(list(said(page))) >= 3
    assert prose(page).count("`") % 2 == 0
    assert "```" not in prose(page)


# The rules ---------------------------------------------------------------------------------------------------------


def front_matter(page: Path) -> dict[str, Any]:
    parts = page.read_text(encoding="utf-8").split("---\n", 2)
    assert parts[0] == ""
    found: dict[str, Any] = yaml.safe_load(parts[1])
    return found


def test_the_index_always_applies_and_names_every_rule() -> None:
    matter = front_matter(INDEX)
    assert set(matter) == {"description", "alwaysApply"}
    assert matter["alwaysApply"] is True
    assert matter["description"]
    named = re.findall(r"`(cursorrules/rules/[^`]+)`", INDEX.read_text(encoding="utf-8"))
    assert sorted(named) == [str(rule.relative_to(ROOT)) for rule in RULES]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.stem)
def test_a_rule_has_a_description_and_is_short(rule: Path) -> None:
    matter = front_matter(rule)
    assert set(matter) == {"description", "globs", "alwaysApply"}
    assert matter["alwaysApply"] is False
    assert matter["description"].endswith(".")
    assert len(rule.read_text(encoding="utf-8").splitlines()) <= LONGEST


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.stem)
def test_the_file_patterns_of_a_rule_match_files(rule: Path) -> None:
    patterns = front_matter(rule)["globs"].split(",")
    assert [pattern for pattern in patterns if not any(ROOT.glob(pattern.strip()))] == []


def test_agents_md_is_short_and_points_to_the_index() -> None:
    lines = (ROOT / "AGENTS.md").read_text(encoding="utf-8").splitlines()
    assert 10 <= len(lines) <= 20
    assert "cursorrules/index.mdc" in " ".join(lines)


# The manifest ------------------------------------------------------------------------------------------------------


def test_the_manifest_names_every_module() -> None:
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "src").rglob("*.py")}
    assert modules - set(manifest()["modules"]) == set()
    assert all(manifest()["modules"][path]["summary"] for path in modules if not path.endswith("__init__.py"))


def test_the_manifest_names_every_command_and_kind() -> None:
    def paths(command: click.Command, path: str) -> Iterator[str]:
        yield path
        for name, inner in (command.commands if isinstance(command, click.Group) else {}).items():
            yield from paths(inner, f"{path} {name}")

    there = {*paths(command_line(), "mds"), *paths(control.command_line(), "datastore")}
    assert set(manifest()["commands"]) == there
    assert all(manifest()["commands"].values())
    assert {"mds bars", "mds write-bar", "datastore policies set"} <= there
    assert list(manifest()["kinds"]) == list(KINDS)


def test_the_manifest_names_what_an_application_may_do() -> None:
    views = manifest()["relations"]["views"]
    assert views["public.bars"] == "SELECT"
    assert {right for name, right in views.items() if name.endswith(("_replace", "_keep", "_fill", "_append"))} == {
        "INSERT"
    }
    assert {name.partition(".")[0] for name in manifest()["relations"]["tables"]} == {"store"}


def test_the_manifest_is_reproducible_and_independent_of_the_machine() -> None:
    assert builder.manifest() == text()
    assert text().endswith("}\n")
    assert str(ROOT) not in text()
    assert str(Path.home()) not in text()


def test_a_stale_manifest_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "manifest.json"
    monkeypatch.setattr(builder, "ROOT", tmp_path)
    monkeypatch.setattr(builder, "TARGET", file)
    monkeypatch.setattr(builder, "manifest", lambda: "{}\n")
    assert builder.main(check=True) == 1
    assert "not fresh" in capsys.readouterr().err
    assert builder.main(check=False) == 0
    assert builder.main(check=True) == 0
