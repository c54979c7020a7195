"""A relay between client and server that can fall silent: sockets stay open, data is taken, nothing is passed on.

It can also cut a connection at a certain statement.
"""

import socket
import threading
from contextlib import suppress

from psycopg.conninfo import conninfo_to_dict, make_conninfo


class Relay:
    """A TCP relay to the server of a DSN; `dsn` leads through it."""

    def __init__(self, dsn: str) -> None:
        given = conninfo_to_dict(dsn)
        self._target = (str(given["host"]), int(str(given["port"])))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.dsn = make_conninfo(dsn, port=str(self._listener.getsockname()[1]))
        self._lock = threading.Lock()
        self._passing: set[int] = set()
        self._sockets: list[socket.socket] = [self._listener]
        self._number = 0
        self._silent = False
        self._cut: tuple[bytes, int] | None = None
        self._pumps: list[threading.Thread] = []
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    def strand(self) -> None:
        """Pass on nothing more of the connections that there are; new ones work: the network has failed over."""
        with self._lock:
            self._passing.clear()

    def cut_before(self, text: bytes, time: int) -> None:
        """End the connection whose client sends this text, at the given time that one is seen; it is not passed on."""
        with self._lock:
            self._cut = (text, time)

    def silence(self) -> None:
        """Pass on nothing more, of new connections neither, until `heal`."""
        with self._lock:
            self._silent = True
            self._passing.clear()

    def heal(self) -> None:
        """Pass on what new connections say."""
        with self._lock:
            self._silent = False

    def close(self) -> None:
        """Close all sockets, after the threads that use them have ended."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._acceptor.join()
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for pump in self._pumps:
            pump.join()
        for one in self._sockets:
            one.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._sockets.append(client)
                server = socket.create_connection(self._target)
                self._sockets.append(server)
                with self._lock:
                    self._number += 1
                    if not self._silent:
                        self._passing.add(self._number)
                for one, other in ((client, server), (server, client)):
                    arguments = (one, other, self._number, one is client)
                    pump = threading.Thread(target=self._pump, args=arguments, daemon=True)
                    pump.start()
                    self._pumps.append(pump)

    def _is_cut(self, data: bytes) -> bool:
        with self._lock:
            if self._cut is None or self._cut[0] not in data:
                return False
            text, time = self._cut
            self._cut = None if time == 1 else (text, time - 1)
            return time == 1

    def _pump(self, one: socket.socket, other: socket.socket, number: int, from_client: bool) -> None:
        with suppress(OSError):
            while data := one.recv(65536):
                if from_client and self._is_cut(data):
                    one.shutdown(socket.SHUT_RDWR)
                    break
                if number in self._passing:
                    other.sendall(data)
            if number in self._passing:
                other.shutdown(socket.SHUT_WR)
