"""A bell: wakes the worker's thread, which waits for the database, too."""

import contextlib
import selectors
import socket


class Bell:
    """Is rung from any thread, or from a signal's handler, and ends a `sleep`."""

    def __init__(self) -> None:
        self._ears, self._bell = socket.socketpair()
        for end in (self._ears, self._bell):
            end.setblocking(False)

    def ring(self) -> None:
        """End the sleep that is under way, or else the next one."""
        # So full that nobody can have missed it, or closed because nobody waits any more.
        with contextlib.suppress(OSError):
            self._bell.send(b"!")

    def sleep(self, seconds: float, *files: int) -> None:
        """Until the bell is rung, there is something to read from one of the files, or so many seconds are over."""
        with selectors.DefaultSelector() as waiting:
            for file in (self._ears.fileno(), *files):
                waiting.register(file, selectors.EVENT_READ)
            ready = {key.fd for key, _ in waiting.select(max(0.0, seconds))}
        if self._ears.fileno() in ready:
            self._ears.recv(4096)

    def close(self) -> None:
        """Nobody waits any more."""
        self._ears.close()
        self._bell.close()
