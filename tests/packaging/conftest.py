"""The wheel and the sdist, built once for a test run, from a copy: the repository stays as it is."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock

from tests.docs.pages import ROOT


@dataclass(frozen=True)
class Built:
    """What was built: `wheel` from the tree, which has these `files`; the sdist, and the wheel from that."""

    files: frozenset[str]
    wheel: Path
    sdist: Path
    wheel_of_sdist: Path


def listed(*options: str) -> list[str]:
    """The files of the repository that git lists, as they are now; without git, those of the sdist that this is."""
    if not (ROOT / ".git").exists():
        away = {".venv", ".mds", "__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis"}
        files = (path.relative_to(ROOT) for path in ROOT.rglob("*") if path.is_file())
        return [str(path) for path in files if not away & set(path.parts) and path.name != "PKG-INFO"]
    done = subprocess.run(
        ["git", "ls-files", "-z", *options], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    return [name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def outside(*, drop: Iterable[str] = ("PYTHON", "PYTEST_", "VIRTUAL_ENV")) -> dict[str, str]:
    """This environment, pip's settings included, without what a test run has put into it.

    uv trusts what the system trusts, as pip does by its settings.
    """
    return {"UV_SYSTEM_CERTS": "true"} | {
        name: value for name, value in os.environ.items() if not name.startswith(tuple(drop))
    }


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Built:
    """Built by whichever process of the run comes first."""
    own = tmp_path_factory.getbasetemp()
    top = (own if worker_id == "master" else own.parent) / "built"
    with FileLock(f"{top}.lock"):
        if not (top / "done").exists():
            shutil.rmtree(top, ignore_errors=True)
            _build(top)
            (top / "done").touch()
    (wheel,), (sdist,), (wheel_of_sdist,) = (
        list(top.glob(name)) for name in ("direct/*.whl", "dist/*.tar.gz", "dist/*.whl")
    )
    tree = top / "tree"
    files = frozenset(str(path.relative_to(tree)) for path in tree.rglob("*") if path.is_file())
    return Built(files, wheel, sdist, wheel_of_sdist)


def _build(top: Path) -> None:
    tree = top / "tree"
    # New files count: what somebody is about to commit.
    for name in listed("--cached", "--others", "--exclude-standard"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, tree / name)
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "build", "--installer", "uv", *options, str(tree)],
            cwd=top,
            env=outside(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for options in (("--outdir", "dist"), ("--wheel", "--outdir", "direct"))
    ]
    for process in running:
        said, _ = process.communicate(timeout=250)
        assert process.returncode == 0, said
