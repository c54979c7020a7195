"""The server process of the API: uvicorn, its log, and a graceful end."""

import json
import logging
import signal
import socket
import sys
from types import FrameType
from typing import Any, Final
from uuid import uuid4

import click
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from datastore.config import Settings
from datastore.service import lines, problems
from datastore.service.middleware import HEADERS, REQUEST_ID, logger
from datastore.service.problems import Refusal

_GRACE_S: Final = 30
"""How long running requests may take after the server is told to end, in seconds."""


class CannotListen(Exception):
    """The service cannot listen on the given address."""

    def __init__(self, why: OSError) -> None:
        super().__init__(str(why))
        self.why = why


def run(
    app: FastAPI,
    settings: Settings,
    *,
    host: str,
    port: int,
    as_json: bool = False,
    sign_in: str | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, then accept no more requests, and end when the running ones are answered.

    Prints the address once it listens, as text or JSON.

    Args:
        app: The application to serve.
        settings: The control plane's settings.
        host: The address to listen on.
        port: The port; 0 chooses a free one.
        as_json: Whether to print the address as JSON.
        sign_in: The path of a link that signs in, which is printed as well.

    Raises:
        CannotListen: The address cannot be used.
    """
    try:
        listening = listen(host, port)
    except OSError as error:
        raise CannotListen(error) from error
    with listening:
        shown = f"[{host}]" if ":" in host else host
        url = f"http://{shown}:{listening.getsockname()[1]}"
        # The socket accepts connections from here on; they wait for the few milliseconds until uvicorn serves them.
        said = {"url": url} | ({} if sign_in is None else {"sign_in": url + sign_in})
        click.echo(json.dumps(said) if as_json else f"serving on {url}")
        if sign_in is not None and not as_json:
            click.echo(f"open the console, signed in (works once): {url}{sign_in}")
        # Handle signals before uvicorn runs and after it has ended, too: a signal is the normal end, not a failure.
        signal.signal(signal.SIGTERM, _end)
        signal.signal(signal.SIGINT, _end)
        # Skip what uvicorn logs at its start and end, which is printed above or does not matter.
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
        uvicorn.Server(configuration(settings, app)).run(sockets=[listening])


def configuration(settings: Settings, app: FastAPI, **more: Any) -> uvicorn.Config:
    """Return uvicorn's configuration for the app, with further options of uvicorn."""
    return uvicorn.Config(
        app,
        http=_Http,
        # The app itself logs a line for each request, with its id.
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=settings.trusted_proxies or None,
        timeout_graceful_shutdown=_GRACE_S,
        timeout_keep_alive=30,
        **more,
    )


class _Http(H11Protocol):
    """uvicorn's HTTP protocol. It sends a problem response to a malformed HTTP request, and tells answers without an
    end when the server is to end."""

    def shutdown(self) -> None:
        # The cycle is None before the first request, although uvicorn's annotation does not say so.
        cycle: Any = self.cycle
        ending = None if cycle is None else cycle.scope["state"].get("ending")
        if ending is not None:
            ending.set()
        super().shutdown()

    def send_400_response(self, msg: str) -> None:
        request_id = uuid4().hex
        logger.info("request %s: %s", request_id, msg)
        answer = problems.response(request_id, Refusal("malformed", "the request is not valid HTTP/1.1"))
        answer.headers.update({**HEADERS, REQUEST_ID: request_id, "Connection": "close"})
        head = ["HTTP/1.1 400 Bad Request", *(f"{name}: {value}" for name, value in answer.headers.items()), "", ""]
        self.transport.write("\r\n".join(head).encode() + bytes(answer.body))
        self.transport.close()


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 chooses a free port. Raises OSError if the address cannot be used."""
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            # Connections inherit this. Without it, one whose client reads nothing would stay forever with its unsent
            # data.
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(lines.SILENT_S * 1000))
        listening.bind((host, port))
        listening.listen(512)
    except BaseException:
        listening.close()
        raise
    return listening


def _end(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(0)
