"""One request of the source `http`: its turn, its answer, and the errors after which it is made again."""

import json
import threading
import time
from collections.abc import Mapping
from typing import Any, Final

import httpx
import stamina

from datastore.sources.permits import shown
from mds_client.vendors.base import retry_after

LARGEST_ANSWER: Final = 64 << 20
"""The largest size of a page, in bytes."""

LONGEST_WAIT: Final = 120.0
"""The longest wait, in seconds, that a server may ask for; for more, the job is tried again later."""


def with_params(url: str, params: Mapping[str, str]) -> str:
    """Return a URL with more parameters in its query."""
    return str(httpx.URL(url).copy_merge_params(params))


class Unanswered(Exception):
    """A failed request. `again`: whether to try again, or after how many seconds.

    It replaces the client's own errors, which would show the whole URL in logs, for example between two attempts.
    """

    def __init__(self, why: str, again: bool | float = False) -> None:
        super().__init__(why)
        self.again = again


def get(client: httpx.Client, url: str, params: Mapping[str, str], attempts: int, rate: float | None) -> Any:
    """Request JSON, and try again after a transient error.

    Args:
        client: The client with the headers of the source.
        url: The URL without its parameters.
        params: The parameters of the query.
        attempts: The maximum number of attempts.
        rate: The number of requests in a second to this host, or None for no limit.

    Raises:
        Unanswered: No attempt succeeded, or the answer cannot be used.
    """
    for attempt in stamina.retry_context(
        on=_again, attempts=attempts, timeout=None, wait_initial=0.2, wait_max=30.0, wait_jitter=0.2
    ):
        with attempt:
            _wait_turn(httpx.URL(url).netloc.decode(), rate)
            return _answer(client, url, params)
    raise AssertionError("an attempt returns or raises")


def _again(error: Exception) -> bool | float:
    return isinstance(error, Unanswered) and error.again


def _answer(client: httpx.Client, url: str, params: Mapping[str, str]) -> Any:
    """Return the response to a request. Raises Unanswered."""
    body = bytearray()
    try:
        with client.stream("GET", with_params(url, params)) as response:
            _check_status(response)
            for part in response.iter_bytes():
                body += part
                if len(body) > LARGEST_ANSWER:
                    raise Unanswered(f"the answer is larger than {LARGEST_ANSWER:,} bytes")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        passing = isinstance(error, httpx.TransportError) and not isinstance(error, _LASTING)
        raise Unanswered(f"{type(error).__name__}: {error}", passing) from None
    try:
        return json.loads(body)
    except RecursionError:
        raise Unanswered("the JSON of the answer is nested too deeply") from None
    except ValueError as error:
        raise Unanswered(f"the answer is not JSON: {error}") from None


_LASTING: Final = (httpx.UnsupportedProtocol, httpx.LocalProtocolError)
"""Errors that our own side raises, and would raise again."""


def _check_status(response: httpx.Response) -> None:
    if response.is_redirect:
        target = response.url.join(response.headers["location"])
        raise Unanswered(f"a redirect to {shown(target)} is not followed")
    if response.is_success:
        return
    text, again = f"answered {response.status_code}", response.status_code == 429 or response.status_code >= 500
    asked = retry_after(response.headers) if again else None
    if asked is None:
        raise Unanswered(text, again)
    raise Unanswered(text, asked if asked <= LONGEST_WAIT else False)


_turns: Final[dict[str, float]] = {}
_turning: Final = threading.Lock()


def _wait_turn(host: str, rate: float | None) -> None:
    """Wait until the next request to a host is allowed. All sources of a process share the rate of a host."""
    if rate is None:
        return
    with _turning:
        turn = max(time.monotonic(), _turns.get(host, 0.0))
        _turns[host] = turn + 1 / rate
    time.sleep(max(0.0, turn - time.monotonic()))
