"""Commands that start in milliseconds: copies of one process that has imported all that they need.

To import what `datastore` and `mds` need takes a second of processor time, and tests start hundreds of them. `folder()`
has programs of these names, and `python`. Each asks the warm process (`server.py`), which forks; the copy has the
arguments, folder, environment and open files of who asked, and its signals and exit code are passed on. A test that is
about the start of a program itself (what it imports, how it is installed) starts the real one.
"""

import atexit
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from shutil import rmtree
from typing import Any, Final

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parent.parent
REAL: Final = Path(sys.executable).parent

NAMES: Final = ("datastore", "mds", "python")

# A copy of a process with threads, as other systems' libraries start them, may stand still.
CAN_FORK: Final = sys.platform == "linux"


@cache
def folder() -> Path:
    """The folder of the programs: the environment's own where there are no copies. Started once a test process."""
    if not CAN_FORK:
        return REAL
    made = Path(tempfile.mkdtemp(prefix="mds-warm-", dir="/tmp"))
    made.chmod(0o755)
    asking = (HERE / "asking.py").read_text(encoding="utf-8")
    for name in NAMES:
        program = made / name
        program.write_text(f"#!{sys.executable} -IS\n{asking}", encoding="utf-8")
        program.chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MDS_", "DATASTORE_", "PYTEST_"))}
    server = subprocess.Popen(
        [sys.executable, str(HERE / "server.py"), str(made / "socket")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=kept | {"PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])},
        start_new_session=True,
    )
    atexit.register(_stop, server, made)
    assert server.stdout is not None
    assert server.stdout.readline() == b"ready\n"
    return made


def _stop(server: "subprocess.Popen[bytes]", made: Path) -> None:
    # It ends, and what it has started, when nobody is there who could ask.
    server.communicate()
    rmtree(made)


class Started(subprocess.Popen[Any]):
    """A copy as a process: signals go to itself, SIGSTOP and SIGKILL too, which nobody can pass on."""

    def __init__(
        self, name: str, arguments: Sequence[str], *, env: Mapping[str, str], pass_fds: Sequence[int] = (), **more: Any
    ) -> None:
        if not CAN_FORK:
            super().__init__([str(REAL / name), *arguments], env=env, pass_fds=pass_fds, **more)
            self.copy = self.pid
            return
        said, say = os.pipe()
        with os.fdopen(said) as answer:
            try:
                given = {"WARM_PID": str(say), "WARM_FILES": " ".join(map(str, pass_fds))}
                super().__init__(
                    [str(folder() / name), *arguments], env={**env, **given}, pass_fds=(*pass_fds, say), **more
                )
            finally:
                os.close(say)
            self.copy = int(answer.readline())

    def send_signal(self, sig: int) -> None:
        """Send it to the copy, where that has not ended."""
        if self.poll() is None:
            os.kill(self.copy, sig)
