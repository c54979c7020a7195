"""Chromium for the tests of the console: the one on PATH, else Debian 13's, unpacked as the servers are.

Playwright's own browsers are a download of their own, and are not used.
"""

import os
import re
import shutil
from functools import cache
from pathlib import Path

from tests.engines import debian
from tests.engines.base import EngineUnavailable, run

RECIPE = debian.Recipe(
    name="chromium",
    packages=("chromium", "chromium-common", "fontconfig-config", "fonts-dejavu-core"),
    programs="usr/lib/chromium/chrom*",
    trial="usr/lib/chromium/chromium",
    # Linked by what a page without hardware drawing does not load.
    unused=re.compile(r"llvm|libz3|perl"),
    private=(("pulseaudio", "libpulse*.so.0"),),
)

ARGUMENTS = (
    # The tests' pages are our own, and as root, or in a container, Chromium's sandbox cannot be set up.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
)


@cache
def prepare() -> Path:
    """The program, downloaded if it is neither on PATH nor in the cache. Raises `EngineUnavailable`."""
    if found := shutil.which("chromium"):
        return Path(found)
    return debian.prepare(RECIPE) / RECIPE.trial


def environment() -> dict[str, str]:
    """The environment to start it in: it finds its fonts by the configuration of its own prefix."""
    program = prepare()
    kept = dict(os.environ)
    if program.match(f"*/{RECIPE.trial}"):
        prefix = program.parents[len(Path(RECIPE.trial).parts) - 1]
        kept |= {"FONTCONFIG_FILE": str(_fonts(prefix)), "XDG_DATA_DIRS": str(prefix / "usr/share")}
    return kept


def _fonts(prefix: Path) -> Path:
    """A configuration of fonts that names the prefix's own."""
    file = prefix / "fonts.conf"
    if not file.exists():
        new = file.with_suffix(f".{os.getpid()}")
        new.write_text(
            '<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd"><fontconfig>'
            f"<dir>{prefix}/usr/share/fonts</dir><cachedir>{prefix}/fontcache</cachedir></fontconfig>"
        )
        new.replace(file)
    return file


def version() -> str:
    """What it is, for people. Raises `EngineUnavailable`."""
    return run([prepare(), "--version"], cwd=Path("/"), doing="trying Chromium").strip()


def can_have() -> tuple[str | None, str]:
    """Its version, or None and the reason why this machine cannot have it."""
    try:
        return version(), ""
    except EngineUnavailable as reason:
        return None, str(reason)
