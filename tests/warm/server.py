"""The warm process: it imports what commands need, then makes a copy of itself for each that asks. See tests/warm.

It stays a process of one thread, and connects to nothing: a copy of it is as a program that has just begun. It ends
when its standard input does, and ends its copies then. It ends each copy whose asker is gone.
"""

import array
import ast
import atexit
import fcntl
import gc
import importlib
import io
import os
import pkgutil
import random
import runpy
import selectors
import signal
import socket
import sys
import threading
import traceback
from contextlib import suppress
from multiprocessing import forkserver, util
from pathlib import Path
from typing import Any, NoReturn

LIBRARIES = (
    *("exchange_calendars", "httpx", "pandas", "pyarrow.parquet", "uvicorn.protocols.http.auto"),
    "tests.control.known_calendars",
)

MAINS = {"datastore": ("datastore.entry", "main"), "mds": ("mds_client.cli", "main")}

Request = tuple[str, list[str], str, dict[str, str], list[int]]

_LENGTH = 8


def warm() -> None:
    """Import both packages whole, but for what only runs by itself, and what most commands import when they run."""
    for package in ("mds_client", "datastore"):
        for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
            if not module.name.endswith("__main__") and ".migrations" not in module.name:
                importlib.import_module(module.name)
    for name in LIBRARIES:
        with suppress(ModuleNotFoundError):
            importlib.import_module(name)
    gc.collect()
    gc.freeze()


class Server:
    """Listens on a socket, and knows which copy is whose."""

    def __init__(self, path: str) -> None:
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(path)
        Path(path).chmod(0o777)
        self._listener.listen(64)
        self._woken, self._wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._selector = selectors.DefaultSelector()
        self._askers: dict[int, socket.socket] = {}

    def copies(self) -> Request | None:
        """In a copy: what it is to do. None in the process itself, when it is to end."""
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._selector.register(0, selectors.EVENT_READ)
        print("ready", flush=True)
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._listener:
                    if (request := self._copied()) is not None:
                        return request
                elif key.fileobj == self._woken:
                    os.read(self._woken, 4096)
                    self._bury()
                elif key.fileobj == 0:
                    for pid in self._askers:
                        _kill(pid)
                    return None
                else:
                    self._gone(key.data)

    def _copied(self) -> Request | None:
        asker, _ = self._listener.accept()
        try:
            prefix, files = _received(asker)
            request: Request = ast.literal_eval(_all_of(asker, int.from_bytes(prefix, "big")).decode())
        except (OSError, EOFError):  # killed while it asked
            asker.close()
            return None
        pid = os.fork()
        if pid == 0:
            self._become(request, files, asker)
            return request
        for file in files:
            os.close(file)
        with suppress(OSError):  # gone: the selector tells that, too
            asker.sendall(pid.to_bytes(_LENGTH, "big"))
        self._askers[pid] = asker
        self._selector.register(asker, selectors.EVENT_READ, pid)
        return None

    def _become(self, request: Request, files: list[int], asker: socket.socket) -> None:
        """Be as a program that was just started by who asks."""
        _, _, folder, environment, numbers = request
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        # A shell that starts test runs in the background has it ignored; who tests an interrupt means one.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.setsid()
        self._selector.close()
        for open_ in (self._listener, asker, *self._askers.values()):
            open_.close()
        os.close(self._woken)
        os.close(self._wake)
        # High first: none of the numbers that they are to have is in the way.
        high = [_above(file, 1000) for file in files]
        for file, number in zip(high, numbers, strict=True):
            os.dup2(file, number, inheritable=True)
            os.close(file)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        sys.stdin, sys.stdout, sys.stderr = (_text(number) for number in range(3))
        random.seed()

    def _bury(self) -> None:
        """Tell the askers of copies that have ended how they did."""
        while self._askers:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            asker = self._askers.pop(pid)
            with suppress(KeyError):  # the asker was gone before
                self._selector.unregister(asker)
            with suppress(OSError), asker:
                asker.sendall(os.waitstatus_to_exitcode(status).to_bytes(_LENGTH, "big", signed=True))

    def _gone(self, pid: int) -> None:
        """An asker is gone, killed as its copy is to be."""
        if pid in self._askers:
            self._selector.unregister(self._askers[pid])
            _kill(pid)


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)  # it may not lead its group yet
        os.killpg(pid, signal.SIGKILL)


def _received(asker: socket.socket) -> tuple[bytes, list[int]]:
    files = array.array("i")
    prefix, told, _, _ = asker.recvmsg(_LENGTH, socket.CMSG_LEN(32 * files.itemsize))
    for level, kind, data in told:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            files.frombytes(data[: len(data) - len(data) % files.itemsize])
    return prefix, list(files)


def _all_of(asker: socket.socket, length: int) -> bytes:
    got = b""
    while len(got) < length:
        part = asker.recv(length - len(got))
        if not part:
            raise EOFError("who asked is gone")
        got += part
    return got


def _above(file: int, number: int) -> int:
    moved = fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, number)
    os.close(file)
    return moved


def _text(number: int) -> Any:
    raw = open(number, "rb" if number == 0 else "wb", closefd=False)  # noqa: SIM115 - the process' own
    return io.TextIOWrapper(
        raw,
        encoding=os.environ.get("PYTHONIOENCODING", "").partition(":")[0] or "utf-8",
        errors="backslashreplace" if number == 2 else "strict",
        line_buffering=number == 2 or raw.isatty(),
    )


def start_fork_server_by_copying() -> None:
    """A worker's job processes are copies of a process that imports what they need: let that be a copy, too."""
    start_anew = vars(util)["spawnv_passfds"]

    def copied(path: Any, arguments: list[Any], files: Any) -> int:
        code = str(arguments[-1])
        if not code.startswith("from multiprocessing.forkserver"):
            return int(start_anew(path, arguments, files))
        pid = os.fork()
        if pid == 0:
            try:
                kept = sorted({0, 1, 2, *files})
                for low, high in zip(kept, [*kept[1:], 4096], strict=True):
                    os.closerange(low + 1, high)
                exec(code, {"__name__": "__main__"})
            finally:
                os._exit(1)
        return pid

    util.__dict__["spawnv_passfds"] = copied
    forkserver.ensure_running()
    util.__dict__["spawnv_passfds"] = start_anew


def code_of(name: str, arguments: list[str], _folder: str, environment: dict[str, str], _files: list[int]) -> int:
    """Be the program; the exit code that the interpreter gives it."""
    try:
        run(name, arguments, environment)
    except SystemExit as ended:
        if ended.code is None or isinstance(ended.code, int):
            return ended.code or 0
        print(ended.code, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        traceback.print_exc()
        return -signal.SIGINT
    except BaseException:  # noqa: BLE001 - as the interpreter does
        traceback.print_exc()
        return 1
    return 0


def end(code: int) -> NoReturn:
    """End as the interpreter does, but leave what was imported: to take it apart is to copy all of its memory."""
    vars(threading)["_shutdown"]()
    vars(atexit)["_run_exitfuncs"]()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        code = 120
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def run(name: str, arguments: list[str], environment: dict[str, str]) -> None:
    """Be the program."""
    sys.path[1:1] = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    if name == "python" and arguments[0] == "-c":
        sys.argv = ["-c", *arguments[2:]]
        exec(compile(arguments[1], "<string>", "exec"), {"__name__": "__main__"})
        return
    if name == "python":
        sys.argv = arguments
        sys.path[0] = str(Path(arguments[0]).resolve().parent)
        runpy.run_path(arguments[0], run_name="__main__")
        return
    sys.argv = [name, *arguments]
    if "worker" in arguments:
        start_fork_server_by_copying()
    module, function = MAINS[name]
    sys.exit(getattr(importlib.import_module(module), function)())


if __name__ == "__main__":
    sys.path[0] = f"{sys.prefix}/bin"
    warm()
    asked = Server(sys.argv[1]).copies()
    if asked is not None:
        end(code_of(*asked))
