"""Run the tests against each fault: `python -m tests.mutants [NUMBER ...]`.

Each fault is put into a copy of the source, and its tests run until the first failure. A fault that is not noticed is
run once more with `--every-client`, which runs `AMDS` on every engine, too: whether the larger suite notices it.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from tests.mutants.faults import FAULTS, Fault
from tools import sync

ROOT: Final = Path(__file__).resolve().parent.parent.parent

COPIED: Final = ("src", "tests", "tools", "docs", "cursorrules", "examples", "docker", "benchmarks")

LIMIT: Final = 3600
"""The seconds that a run may take: a fault may make the tests hang, but other work must not look like that."""


def main() -> int:
    """Print a line for each fault; the exit code is 1 if one was not noticed."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("numbers", nargs="*", type=int, help="only these faults")
    wanted = parser.parse_args().numbers or range(len(FAULTS))
    survived = 0
    with tempfile.TemporaryDirectory(prefix="mds-mutants-") as folder:
        copy = Path(folder)
        for name in COPIED:
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        for file in (path for path in ROOT.iterdir() if path.is_file()):
            shutil.copy(file, copy)
        for number in wanted:
            began = time.monotonic()
            outcome = tried(copy, FAULTS[number])
            survived += not outcome.startswith("noticed")
            seconds = time.monotonic() - began
            print(f"{number:3} {seconds:4.0f} s  {FAULTS[number].file}: {FAULTS[number].before!r:.70}", flush=True)
            print(f"    {outcome}", flush=True)
    return int(survived > 0)


def tried(copy: Path, fault: Fault) -> str:
    """What the tests make of a fault: `noticed by` a test, `by AMDS only, by` a test, or `NOT NOTICED`."""
    path = copy / fault.file
    text = path.read_text(encoding="utf-8")
    assert fault.before in text, f"{fault.file} has no {fault.before!r}"
    path.write_text(text.replace(fault.before, fault.after, 1), encoding="utf-8")
    try:
        if fault.file in sync.MODULES:
            subprocess.run([sys.executable, "tools/sync.py"], cwd=copy, check=True)
        if found := failed(copy, fault):
            return f"noticed by {found}"
        found = failed(copy, fault, "--every-client")
        return f"by AMDS only, by {found}" if found else "NOT NOTICED"
    finally:
        path.write_text(text, encoding="utf-8")


def failed(copy: Path, fault: Fault, *more: str) -> str | None:
    """The first test that fails with the fault, or None. A run that does not end in an hour has noticed it, too."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *more]
    # The tests and cases that `make test` runs on this engine: `--engine` would run more of them.
    which = {"MDS_TEST_ENGINES": fault.engine, "PYTHONPATH": f"{copy / 'src'}{os.pathsep}{copy}"}
    environment = {**os.environ, **which}
    try:
        done = subprocess.run(
            [*command, *fault.tests],
            cwd=copy,
            env=environment,
            capture_output=True,
            encoding="utf-8",
            timeout=LIMIT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "a run without an end"
    assert done.returncode in (0, 1), done.stdout + done.stderr
    if done.returncode == 0:
        return None
    named = re.search(r"^(?:FAILED|ERROR) (\S.*?)(?: - .*)?$", done.stdout, re.MULTILINE)
    return named[1] if named else done.stdout[-500:]


if __name__ == "__main__":
    sys.exit(main())
