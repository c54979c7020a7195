"""A bell that wakes the worker's thread while it waits for the database."""

import contextlib
import selectors
import socket


class Bell:
    """Any thread or signal handler can ring it, which ends a `sleep`."""

    def __init__(self) -> None:
        self._ears, self._bell = socket.socketpair()
        for end in (self._ears, self._bell):
            end.setblocking(False)

    def ring(self) -> None:
        """End the current sleep, or the next one if nobody sleeps."""
        # The socket is full, so a wake-up is pending already, or it is closed because nobody waits any more.
        with contextlib.suppress(OSError):
            self._bell.send(b"!")

    def sleep(self, seconds: float, *files: int) -> None:
        """Wait until the bell rings, one of the files is readable, or so many seconds have passed."""
        with selectors.DefaultSelector() as waiting:
            for file in (self._ears.fileno(), *files):
                waiting.register(file, selectors.EVENT_READ)
            ready = {key.fd for key, _ in waiting.select(max(0.0, seconds))}
        if self._ears.fileno() in ready:
            self._ears.recv(4096)

    def close(self) -> None:
        """Close the bell; nobody may wait on it afterwards."""
        self._ears.close()
        self._bell.close()
