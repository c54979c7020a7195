"""Prometheus' `promtool`, which checks metrics, alert rules and their tests: the one on PATH, else Debian 13's."""

import shutil
import subprocess
from functools import cache
from pathlib import Path

from tests.engines import debian
from tests.engines.base import EngineUnavailable, run

RECIPE = debian.Recipe(name="promtool", packages=("promtool",), programs="usr/bin/promtool", trial="usr/bin/promtool")


@cache
def prepare() -> Path:
    """The program, downloaded if it is neither on PATH nor in the cache. Raises `EngineUnavailable`."""
    if found := shutil.which("promtool"):
        return Path(found)
    return debian.prepare(RECIPE) / RECIPE.trial


def version() -> str:
    """What it is, for people. Raises `EngineUnavailable`."""
    return run([prepare(), "--version"], cwd=Path("/"), doing="trying promtool").partition(" (")[0].replace(",", "")


def can_have() -> tuple[str | None, str]:
    """Its version, or None and the reason why this machine cannot have it."""
    try:
        return version(), ""
    except EngineUnavailable as reason:
        return None, str(reason)


def promtool(*arguments: str | Path, stdin: bytes = b"") -> tuple[int, str]:
    """Run it, and return its exit code and what it said."""
    done = subprocess.run([prepare(), *arguments], input=stdin, capture_output=True, timeout=120, check=False)
    return done.returncode, (done.stdout + done.stderr).decode()
