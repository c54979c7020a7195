"""Build `cursorrules/solution_manifest.json`: what there is, read from the code, for whoever has to find their way.

Kinds, commands, endpoints, relations, settings, metrics, job types, modules, tests, pages: each is asked of the place
that declares it, and nothing is listed by hand. With `--check` it only says whether the file is fresh.
"""

import ast
import inspect
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click
from sqlalchemy import Column
from sqlalchemy.dialects import postgresql

import mds_client
from datastore import aggregates, jobs, metrics, schema
from datastore.cli import command_line
from datastore.config import VARIABLES, Settings
from datastore.engines import OLDEST_SERVER, Engine
from datastore.names import STORE
from datastore.service import tokens
from datastore.service.app import create_app
from datastore.service.tokens import Scope
from mds_client import KINDS, MDS, Config, sql
from mds_client import cli as mds_cli
from mds_client.config import PREFIX
from mds_client.schema import DOORS, Kind

ROOT: Final = Path(__file__).resolve().parent.parent
TARGET: Final = ROOT / "cursorrules/solution_manifest.json"

CODE: Final = ("src/mds_client", "src/datastore", "tools", "benchmarks", "examples")
"""The folders whose modules are named; those of the tests are named by area."""


def manifest() -> str:
    """The manifest as JSON: the same text wherever and however often it is made of the same code."""
    found = {
        "about": (
            "What there is, made of the code by tools/build_solution_manifest.py; `make generate` writes it again."
            " Summaries are the first paragraphs of docstrings."
        ),
        "make": make_targets(),
        "kinds": {kind.name: _kind(kind) for kind in KINDS.values()},
        "client": {name: _about(getattr(mds_client, name)) for name in sorted(mds_client.__all__)},
        "client_methods": {name: _about(getattr(MDS, name)) for name in dir(MDS) if not name.startswith("_")},
        "commands": {path: _first(command.help) for path, command in commands()},
        "endpoints": list(endpoints()),
        "relations": relations(),
        "settings": [_setting(name) for name in Config.model_fields],
        "variables": dict(VARIABLES),
        "metrics": {metric.name: _metric(metric) for metric in metrics.DECLARED.values()},
        "job_types": _job_types(),
        "modules": {path: _module(path) for path in _python(*CODE)},
        "tests": _tests(),
        "pages": _titles(path for path in sorted((ROOT / "docs").rglob("*.md")) if path.parent.name != "decisions"),
        "decisions": _titles(sorted((ROOT / "docs/decisions").glob("*.md"))),
    }
    return json.dumps(found, indent=2, ensure_ascii=False) + "\n"


def make_targets() -> dict[str, str]:
    """Return the targets of `make` that its help names."""
    lines = re.findall(r"^([a-z]+):.*## (.+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    return dict(sorted(lines))


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command of both command lines, with what one types to have it."""
    for group in (mds_cli.command_line(), command_line()):
        yield from _commands(group, group.name or "")


def _commands(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        for name in sorted(command.commands):
            yield from _commands(command.commands[name], f"{path} {name}")


def endpoints() -> Iterator[dict[str, str]]:
    """Every operation of the admin API, and the scope that a token needs for it."""
    made = tokens.create("manifest", Scope.read)
    paths = create_app(Settings(database_url="dbname=none", tokens=made.line)).openapi()["paths"]
    for path, operations in paths.items():
        for method, operation in operations.items():
            yield {
                "method": method.upper(),
                "path": path,
                "scope": operation["security"][0]["token"][0] if "security" in operation else "(everybody)",
                "summary": _first(operation["description"]),
            }


def relations() -> dict[str, Any]:
    """Tables with their columns, views with what an application may do with them, and what else a migrate makes.

    `continuous_aggregates` are there where the engine stores rollups; everything else is on every engine.
    """
    tables = schema.metadata().tables
    made = schema.objects(Engine(OLDEST_SERVER))
    return {
        "tables": {name: {column.name: _column(column) for column in tables[name].columns} for name in sorted(tables)},
        "views": {".".join(item.relation): _rights(item) for item in made if item.relation},
        "continuous_aggregates": [
            f"{STORE}.{aggregates.relation(kind, rollup)}" for kind, rollup in aggregates.rollups()
        ],
        "other_objects": [item.name for item in made if not item.relation],
    }


def _column(column: Column[Any]) -> str:
    words = (
        column.type.compile(dialect=postgresql.dialect()).lower(),  # type: ignore[no-untyped-call]
        "" if column.nullable else "not null",
        "primary key" if column.primary_key else "",
    )
    return " ".join(word for word in words if word)


def _rights(item: schema.DatabaseObject) -> str:
    return "; ".join(right for text in item.statements for right in re.findall(r"^GRANT (.+) ON ", text))


def _kind(kind: Kind) -> dict[str, Any]:
    return {
        "summary": _about(kind.model),
        "model": f"mds_client.{kind.model.__name__}",
        "relation": f"public.{kind.relation}",
        "doors": [f"mds.{sql.door(kind, way)}" for way in DOORS],
        "time": kind.time,
        "series": list(kind.series),
        "key": list(kind.key),
        "price": kind.price,
        "columns": {column.name: column.type + ("" if column.nullable else " not null") for column in kind.columns},
        "rollups": [f"public.{aggregates.relation(kind, rollup)}" for rollup in kind.rollups],
    }


def _setting(name: str) -> dict[str, Any]:
    info = Config.model_fields[name]
    return {
        "key": name,
        "variable": f"{PREFIX}{name.upper()}",
        "default": "(needed)" if info.is_required() else info.default,
        "summary": info.description,
    }


def _metric(metric: metrics.Declared) -> dict[str, str]:
    return {"type": metric.type, "labels": ", ".join(metric.labels), "summary": metric.help}


def _job_types() -> dict[str, str]:
    """The store's own: what packages bring that happen to be installed is not this project's."""
    own = jobs.own_modules()
    types = {name: found for name, found in jobs.load().items() if found.function.__module__ in own}
    return {name: _about(found.function) for name, found in types.items()}


def _python(*folders: str) -> list[str]:
    return [str(path.relative_to(ROOT)) for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def _module(path: str) -> dict[str, Any]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return {"summary": _first(ast.get_docstring(tree)), "names": ", ".join(_names(tree))}


def _names(tree: ast.Module) -> list[str]:
    """Return the names that a module exports, or else its functions and classes."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["__all__"]:
            return sorted(ast.literal_eval(node.value))
    declared = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return [node.name for node in tree.body if isinstance(node, declared) and not node.name.startswith("_")]


def _tests() -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for path in _python("tests"):
        folder, _, name = path.rpartition("/")
        found.setdefault(folder, {})[name] = _module(path)["summary"]
    return dict(sorted(found.items()))


def _titles(paths: Iterator[Path] | list[Path]) -> dict[str, str]:
    return {str(path.relative_to(ROOT)): _title(path.read_text(encoding="utf-8")) for path in paths}


def _title(text: str) -> str:
    found = re.search(r"^# (.+)$", text, re.MULTILINE)
    return found[1] if found else ""


def _about(what: object) -> str:
    """Return an object's own docstring. An instance has its class's, and a text or a number has none."""
    if isinstance(what, str | int):
        return ""
    return _first(inspect.getdoc(what))


def _first(text: str | None) -> str:
    """The first paragraph, on one line."""
    return " ".join((text or "").strip().split("\n\n")[0].split())


def main(check: bool) -> int:
    """Write, or compare; the exit code is 1 where the file is not fresh."""
    wanted = manifest()
    if not check:
        TARGET.write_text(wanted, encoding="utf-8")
    elif not TARGET.exists() or TARGET.read_text(encoding="utf-8") != wanted:
        print(f"not fresh: {TARGET.relative_to(ROOT)}; run make generate", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
