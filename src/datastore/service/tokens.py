"""The bearer tokens of the service. The configuration holds their hashes, and no token.

A line: `name scopes sha256:<hex> [expires=<ISO time>] [tenant=<uuid>]`; scopes are separated by commas, and one holds
what is below it. Empty lines and those that begin with `#` say nothing. Several tokens of one name are several keys to
one door: for rotation, add the new line, let everybody move, take the old one away.

Tokens are 256 random bits. Nobody guesses one, whatever the hash costs: a plain SHA-256 is enough, and a slow hash for
passwords would only let strangers keep the service busy.
"""

import hmac
import logging
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Final, NamedTuple
from uuid import UUID

from datastore.config import ConfigurationError, Settings

logger = logging.getLogger("datastore.service")

PREFIX: Final = "mds_"
"""The prefix of tokens, so that a lost one is recognised in a log or a repository."""

LONGEST: Final = 512
"""Characters; what is longer is no token, and is not hashed."""


class Scope(IntEnum):
    """The scopes of tokens. Each includes those before it."""

    read = 1
    operate = 2
    admin = 3


@dataclass(frozen=True, slots=True)
class Token:
    """One that is let in. `tenant`: the only one that it sees; `digest`: SHA-256 of the token's text."""

    name: str
    scope: Scope
    digest: bytes = field(repr=False)
    expires: datetime | None = None
    tenant: UUID | None = None


class Bad(NamedTuple):
    """An invalid line: its number, from 1, and what is wrong with it. Never its text, which may be a token.

    0 is the whole file.
    """

    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class MadeToken:
    """A new token. `token` is shown once and kept nowhere; `line` is for the configuration."""

    token: str = field(repr=False)
    line: str


def create(name: str, scope: Scope, *, expires_in: timedelta | None = None, tenant: UUID | None = None) -> MadeToken:
    """Make a token of 256 random bits. Raises ConfigurationError for a name that a line cannot hold."""
    if not name or not name.isascii() or not all(char.isalnum() or char in "-_." for char in name):
        raise ConfigurationError(f"a token's name is letters, digits, '-', '_' and '.', not {name!r}")
    token = PREFIX + secrets.token_urlsafe(32)
    parts = [name, scope.name, f"sha256:{sha256(token.encode()).hexdigest()}"]
    if expires_in is not None:
        parts.append(f"expires={(datetime.now(UTC) + expires_in).isoformat(timespec='seconds')}")
    if tenant is not None:
        parts.append(f"tenant={tenant}")
    return MadeToken(token, " ".join(parts))


def parse(text: str) -> Iterator[Token | Bad]:
    """Parse the lines of a configuration, in their order."""
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            yield _token(*line.split())
        except (ValueError, TypeError) as error:
            known = isinstance(error, _LineError)
            yield Bad(number, str(error) if known else "not: name scopes sha256:<hex> [expires=...] [tenant=...]")


class _LineError(ValueError):
    """Describe what is wrong with a line, without repeating any of it."""


def _token(name: str, scopes: str, digest: str, *more: str) -> Token:
    known = Scope.__members__
    if not all(scope in known for scope in scopes.split(",")):
        raise _LineError(f"scopes are {', '.join(known)}")
    algorithm, _, hexadecimal = digest.partition(":")
    if algorithm != "sha256" or len(hexadecimal) != 2 * sha256().digest_size:
        raise _LineError("the third word is sha256: and 64 hexadecimal digits, as datastore token create prints it")
    options = dict(option.split("=", 1) for option in more)
    if unknown := options.keys() - {"expires", "tenant"}:
        raise _LineError(f"there are {len(unknown)} options that are neither expires= nor tenant=")
    expires = datetime.fromisoformat(options["expires"]) if "expires" in options else None
    return Token(
        name=name,
        scope=max(known[scope] for scope in scopes.split(",")),
        digest=bytes.fromhex(hexadecimal),
        expires=expires.replace(tzinfo=UTC) if expires and expires.tzinfo is None else expires,
        tenant=UUID(options["tenant"]) if "tenant" in options else None,
    )


class Tokens:
    """The tokens of the settings, with those of their file as it is now. Several threads may ask.

    Raises ConfigurationError if there is none, or a line cannot be read. Later, when the file has changed, a line
    that cannot be read lets nobody in, and a file that is gone has no tokens. Such is in `bad`, and in the log once.
    """

    def __init__(self, settings: Settings) -> None:
        self._fixed = tuple(_good(parse(settings.tokens), "DATASTORE_TOKENS"))
        self._file = settings.tokens_file
        self._lock = Lock()
        self._seen: tuple[int, int, int] | None = None
        self._changing: tuple[Token, ...] = ()
        self.bad: tuple[Bad, ...] = ()
        if self._file is not None:
            try:
                self._changing = tuple(_good(parse(self._read(self._file)), str(self._file)))
            except OSError as error:
                raise ConfigurationError(f"{self._file}: {error.strerror}") from error
        if not self._fixed and not self._changing:
            raise ConfigurationError(
                "nobody may use the service: make a token with datastore token create, and put the line that it prints "
                "into DATASTORE_TOKENS or the file that DATASTORE_TOKENS_FILE names"
            )

    def find(self, text: str) -> Token | None:
        """The token of this text, expired or not; None if there is none.

        Every hash is compared, each in constant time: how long it takes says nothing about any of them.
        """
        if len(text) > LONGEST:
            return None
        digest = sha256(text.encode()).digest()
        found = None
        for token in self.all():
            if hmac.compare_digest(digest, token.digest):
                found = token
        return found

    def valid(self, digest: bytes) -> Token | None:
        """The token with this hash, if it still lets someone in: it is configured, and has not expired."""
        now = datetime.now(UTC)
        for token in self.all():
            if hmac.compare_digest(digest, token.digest) and (token.expires is None or token.expires > now):
                return token
        return None

    def all(self) -> tuple[Token, ...]:
        """Every token, the file's as it is now."""
        if self._file is None:
            return self._fixed
        with self._lock:
            self._look(self._file)
            return self._fixed + self._changing

    def _look(self, file: Path) -> None:
        try:
            if _state(file) == self._seen:
                return
            parsed = tuple(parse(self._read(file)))
        except OSError as error:
            self._seen, self._changing = None, ()
            self._tell((Bad(0, f"it cannot be read: {error.strerror}"),))
            return
        self._changing = tuple(token for token in parsed if isinstance(token, Token))
        self._tell(tuple(bad for bad in parsed if isinstance(bad, Bad)))

    def _tell(self, bad: tuple[Bad, ...]) -> None:
        """Log what is newly wrong with the file, and that nothing is any more."""
        for line, reason in bad:
            if (line, reason) not in self.bad:
                logger.warning("the file of tokens: %s%s", f"line {line}: " if line else "", reason)
        if self.bad and not bad:
            logger.info("the file of tokens can be read again, every line")
        self.bad = bad

    def _read(self, file: Path) -> str:
        # Looked at before it is read: a change in between is seen the next time.
        self._seen = _state(file)
        return file.read_text(encoding="utf-8", errors="replace")


def _state(file: Path) -> tuple[int, int, int]:
    found = file.stat()
    return found.st_mtime_ns, found.st_size, found.st_ino


def _good(parsed: Iterator[Token | Bad], source: str) -> Iterator[Token]:
    for found in parsed:
        if isinstance(found, Bad):
            raise ConfigurationError(f"{source}, line {found.line}: {found.reason}")
        yield found
