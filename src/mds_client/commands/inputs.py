"""The files that a command is given: names, patterns, folders and archives.

A file that cannot be seen, for example in a folder that cannot be searched, is in the list, too: opening it reports the
error, and does not stop the others.
"""

# Functions of `os.path`, because those of Path raise errors in such folders.
# ruff: noqa: PTH110, PTH112, PTH113, PTH207

import glob
import os
from collections.abc import Iterator
from pathlib import Path

import click

from mds_client import compression
from mds_client.files import Format, format_of_name, split


def is_pattern(path: str) -> bool:
    """Whether a path is a pattern, not the name of a file."""
    return glob.has_magic(path) and not is_there(path)


def is_there(path: str) -> bool:
    """Whether a path is a file or folder that can be seen."""
    return os.path.exists(path)


def files_of(paths: tuple[str, ...], form: Format | None) -> list[str]:
    """Return the files in the given order. Those of a folder, an archive or a pattern are sorted by name."""
    files: list[str] = []
    for path in paths:
        if path == "-":
            files.append(path)
        elif is_pattern(path):
            # Path.glob does not accept absolute patterns.
            matches = [one for one in sorted(glob.iglob(path, recursive=True)) if os.path.isfile(one)]
            if not (found := [one for one in matches if ".rejects." not in Path(one).name]):
                raise click.UsageError(f"{path}: no file matches")
            for one in found:
                files += _members(one, form)
        elif os.path.isdir(path):
            there = [one for one in sorted(Path(path).iterdir()) if one.is_file() and not one.name.startswith(".")]
            named = [str(one) for one in there if ".rejects." not in one.name and (form or _has_format(one))]
            if not named:
                raise click.UsageError(f"{path}: there is no file whose name tells its format; name it with --format")
            for one in named:
                files += _members(one, form)
        else:
            files += _members(path, form)
    return files


def size_of(path: str) -> int:
    """Return the size of a file in bytes, or 0 if it is not one."""
    file, member = split(path)
    return Path(file).stat().st_size if member is None and os.path.isfile(file) else 0


def _has_format(path: Path) -> bool:
    """Whether a file in a folder has the name of a file of rows."""
    return path.suffix == ".zip" or format_of_name(path.name) is not None


def _members(path: str, form: Format | None) -> Iterator[str]:
    """Yield a file, or the files in it if it is a zip archive of several. As in a folder, others are left out."""
    if format_of_name(path) == "excel" or not os.path.isfile(path):
        yield path
        return
    names = compression.members(path)
    if form is None:
        names = [name for name in names if format_of_name(name) is not None] or names
    if len(names) > 1 or (names and names != compression.members(path)):
        yield from (f"{path}/{name}" for name in names)
    else:
        yield path
