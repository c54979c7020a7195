"""A process that imports files for `mds import`, which starts it, sends paths and receives messages.

It reads its standard input: first the settings, then a path for each file. The end of its input means that it must
stop, also in the middle of a file: the command was interrupted, or is gone. Messages go to its standard output, and
everything that libraries print to standard error.
"""

import contextlib
import os
import pickle
import queue
import signal
import sys
import threading
from typing import Any, BinaryIO, Final

from mds_client.client import MDS
from mds_client.commands.imported import How, import_one
from mds_client.commands.reports import Done
from mds_client.config import Config
from mds_client.console import quieten
from mds_client.errors import InvalidRow, MDSError
from mds_client.files import SourceError

READY: Final = b"mds import\n"
"""The line before the first message."""

_ERRORS = {"source": SourceError, "invalid": InvalidRow, "other": MDSError}


def packed(done: Done) -> tuple[Any, ...]:
    """Return the parts of a result. An exception is sent as its class and text, because not all can be pickled."""
    error = done.error
    name = next((name for name, one in _ERRORS.items() if isinstance(error, one)), None if error is None else "stop")
    return done.path, done.report, name, None if error is None else str(error), done.touched, done.fingerprint


def unpacked(parts: tuple[Any, ...]) -> Done:
    """Return the result of these parts."""
    path, report, name, text, touched, content = parts
    error = None if name is None else KeyboardInterrupt() if name == "stop" else _ERRORS[name](text)
    return Done(path, report, error, touched=touched, fingerprint=content)


class _Paths:
    """The paths that arrive on standard input. When it ends, the file that is being imported is interrupted."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self._paths: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._has_ended = False
        self.is_busy = False
        threading.Thread(target=self._read, name="mds-paths", daemon=True).start()

    def next(self) -> str | None:
        """Wait for the next path, whose file is then being imported. None at the end."""
        path = self._paths.get()
        self.is_busy = path is not None
        return None if self._has_ended else path

    def _read(self) -> None:
        with contextlib.suppress(EOFError, OSError, pickle.UnpicklingError):
            while True:
                self._paths.put(pickle.load(self._source))  # noqa: S301 - from the process that started this one
        self._has_ended = True
        self._paths.put(None)
        if self.is_busy:
            _interrupt()


def _interrupt() -> None:
    """Interrupt the main thread, as Ctrl-C does."""
    if sys.platform == "win32":
        signal.raise_signal(signal.SIGINT)
    else:
        # It also ends a system call in which the main thread waits.
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


def main() -> None:
    """Import files until there are no more."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    source = os.fdopen(os.dup(0), "rb")
    target = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)

    lock = threading.RLock()

    def say(*message: Any) -> None:
        # Other threads warn. An interrupt never leaves a part of a message: the file keeps what it has not written.
        data = pickle.dumps(message)
        with lock:
            target.write(data)
            target.flush()

    target.write(b"\n" + READY)
    quieten(lambda text: say("note", text))
    try:
        config, how, with_fingerprint = pickle.load(source)  # noqa: S301 - from the process that started this one
        _work(config, how, _Paths(source), say, with_fingerprint=with_fingerprint)
    except (BrokenPipeError, EOFError, KeyboardInterrupt):
        # The command is gone, so nobody waits for a result.
        os._exit(1)


def _work(config: Config, how: How, paths: _Paths, say: Any, *, with_fingerprint: bool) -> None:
    with MDS(config) as client:
        while (path := paths.next()) is not None:
            try:
                done = import_one(
                    client, how, path, lambda text: say("note", text), lambda *how_far: say("moved", *how_far),
                    with_fingerprint=with_fingerprint,
                )  # fmt: skip
                paths.is_busy = False
            except KeyboardInterrupt:
                done = Done(path, None, KeyboardInterrupt())
            say("done", packed(done))


if __name__ == "__main__":
    main()
