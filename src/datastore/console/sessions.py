"""Sessions of the console: who has signed in with which token, kept in this process's memory.

The cookie is 256 random bits, of which only the hash is kept. A restart signs everyone out, so that there is no secret
to configure or to lose. A session ends with its token: it holds the token's hash, which is looked up on every request.
"""

import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from threading import Lock
from typing import Final

from datastore.service.tokens import Token, Tokens

IDLE_S: Final = 30 * 60
"""Seconds without a request after which a session ends. Pages that refresh themselves do not count as requests."""

LONGEST_S: Final = 12 * 60 * 60
"""Seconds after which a session ends in any case."""

MOST: Final = 10_000
"""Sessions at a time. The one that has been idle for longest makes room for a new one."""


@dataclass(eq=False)
class BrowserSession:
    """A browser that has signed in. `digest` is the token's and `key` the cookie's; `csrf` is what its forms have to
    send along; times are of the process's clock."""

    key: bytes = field(repr=False)
    digest: bytes = field(repr=False)
    csrf: str = field(repr=False)
    began: float
    seen: float


class Sessions:
    """The sessions of a process. Several threads may ask.

    Args:
        tokens: The tokens that are valid, asked on every request.
        clock: Seconds of a clock that never goes backwards.
    """

    def __init__(self, tokens: Tokens, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._tokens = tokens
        self._clock = clock
        self._lock = Lock()
        self._open: OrderedDict[bytes, BrowserSession] = OrderedDict()

    def begin(self, token: Token) -> str:
        """Start a session for a token, and return the cookie's value."""
        value = secrets.token_urlsafe(32)
        key = _key(value)
        now = self._clock()
        with self._lock:
            self._open[key] = BrowserSession(key, token.digest, secrets.token_urlsafe(32), now, now)
            if len(self._open) > MOST:
                self._open.popitem(last=False)
        return value

    def find(self, value: str, *, active: bool = True) -> tuple[BrowserSession, Token] | None:
        """The session of a cookie and its token; None if there is none any more.

        Args:
            value: The cookie's value.
            active: Whether a person asks; if not, the session's idle time goes on.
        """
        key = _key(value)
        now = self._clock()
        with self._lock:
            session = self._open.get(key)
            if session is None:
                return None
            if now - session.seen >= IDLE_S or now - session.began >= LONGEST_S:
                del self._open[key]
                return None
            if active:
                session.seen = now
                self._open.move_to_end(key)
        token = self._tokens.valid(session.digest)
        if token is None:
            self.end(value)
            return None
        return session, token

    def end(self, value: str) -> None:
        """End the session of a cookie, if there is one."""
        with self._lock:
            self._open.pop(_key(value), None)


LINK_S: Final = 10 * 60
"""Seconds for which a link that signs in can be used."""


class Links:
    """Links that each sign one browser in, once, without a token that is typed. They are kept in memory.

    Args:
        clock: Seconds of a clock that never goes backwards.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._open: dict[bytes, tuple[Token, float]] = {}

    def make(self, token: Token) -> str:
        """A code that signs in with a token."""
        code = secrets.token_urlsafe(32)
        with self._lock:
            self._open[_key(code)] = token, self._clock() + LINK_S
        return code

    def use(self, code: str) -> Token | None:
        """The token of a code, which is gone afterwards; None if there is none, or it is too old."""
        with self._lock:
            token, until = self._open.pop(_key(code), (None, 0.0))
        return token if self._clock() < until else None


def same(expected: str, given: str) -> bool:
    """Whether two secrets are the same, in a time that does not tell how far they agree."""
    return hmac.compare_digest(expected.encode(), given.encode())


def _key(value: str) -> bytes:
    return sha256(value.encode()).digest()
