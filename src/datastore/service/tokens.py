"""The bearer tokens of the service. The configuration holds their hashes, and no token.

A line is `name scopes sha256:<hex> [expires=<ISO time>] [tenant=<uuid>]`. Scopes are separated by commas, and each
includes those below it. Empty lines and lines that begin with `#` are ignored. Several tokens can have the same name:
to rotate a token, add the new line, move all users, and remove the old line.

Tokens are 256 random bits, which nobody can guess however cheap the hash is. So plain SHA-256 is enough, and a slow
password hash would only let strangers keep the service busy.
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

from datastore.config import Settings, SettingsError

logger = logging.getLogger("datastore.service")

PREFIX: Final = "mds_"
"""The prefix of tokens, so that a lost one is recognised in a log or a repository."""

LONGEST: Final = 512
"""The largest number of characters of a token; longer text is not hashed."""


class Scope(IntEnum):
    """The scopes of tokens. Each includes those before it."""

    read = 1
    operate = 2
    admin = 3


@dataclass(frozen=True, slots=True)
class Token:
    """An accepted token. `tenant`: the only one that it sees; `digest`: SHA-256 of the token's text."""

    name: str
    scope: Scope
    digest: bytes = field(repr=False)
    expires: datetime | None = None
    tenant: UUID | None = None


class Bad(NamedTuple):
    """An invalid line: its number, from 1, and the reason. Never its text, which may be a token.

    Number 0 stands for the whole file.
    """

    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class MadeToken:
    """A new token. `token` is shown once and stored nowhere; `line` is for the configuration."""

    token: str = field(repr=False)
    line: str


def create(name: str, scope: Scope, *, expires_in: timedelta | None = None, tenant: UUID | None = None) -> MadeToken:
    """Create a token of 256 random bits. Raises SettingsError for a name that a line cannot hold."""
    if not name or not name.isascii() or not all(char.isalnum() or char in "-_." for char in name):
        raise SettingsError(f"a token's name is letters, digits, '-', '_' and '.', not {name!r}")
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
    """An invalid line, described without repeating any of it."""


def _token(name: str, scopes: str, digest: str, *more: str) -> Token:
    known = Scope.__members__
    if not all(scope in known for scope in scopes.split(",")):
        raise _LineError(f"scopes are {', '.join(known)}")
    algorithm, _, hexadecimal = digest.partition(":")
    if algorithm != "sha256" or len(hexadecimal) != 2 * sha256().digest_size:
        raise _LineError("the third word is sha256: and 64 hexadecimal digits, as datastore token create prints it")
    options = dict(option.split("=", 1) for option in more)
    if unknown := options.keys() - {"expires", "tenant"}:
        raise _LineError(f"{len(unknown)} options are unknown: use expires= and tenant=")
    expires = datetime.fromisoformat(options["expires"]) if "expires" in options else None
    return Token(
        name=name,
        scope=max(known[scope] for scope in scopes.split(",")),
        digest=bytes.fromhex(hexadecimal),
        expires=expires.replace(tzinfo=UTC) if expires and expires.tzinfo is None else expires,
        tenant=UUID(options["tenant"]) if "tenant" in options else None,
    )


class Tokens:
    """The tokens of the settings, and the current ones of their file. Thread-safe.

    Raises SettingsError if there is no token or a line is invalid. When the file changes later, an invalid line is
    ignored, and a missing file has no tokens. Both are in `bad`, and are logged once.
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
                raise SettingsError(f"{self._file}: {error.strerror}") from error
        if not self._fixed and not self._changing:
            raise SettingsError(
                "no token is set, so nobody could use the service: create one with datastore token create, and put the"
                " line that it prints into DATASTORE_TOKENS or the file that DATASTORE_TOKENS_FILE names"
            )

    def find(self, text: str) -> Token | None:
        """Return the token with this text, expired or not; None if there is none.

        Compares every hash, each in constant time, so that the time tells nothing about them.
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
        """Return the token with this hash if it is configured and has not expired; otherwise None."""
        now = datetime.now(UTC)
        for token in self.all():
            if hmac.compare_digest(digest, token.digest) and (token.expires is None or token.expires > now):
                return token
        return None

    def all(self) -> tuple[Token, ...]:
        """Return every token, with the current ones of the file."""
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
        """Log new problems of the file, and when it has none any more."""
        for line, reason in bad:
            if (line, reason) not in self.bad:
                logger.warning("the file of tokens: %s%s", f"line {line}: " if line else "", reason)
        if self.bad and not bad:
            logger.info("the file of tokens can be read again, every line")
        self.bad = bad

    def _read(self, file: Path) -> str:
        # Read the state before the file, so that a change in between is noticed next time.
        self._seen = _state(file)
        return file.read_text(encoding="utf-8", errors="replace")


def _state(file: Path) -> tuple[int, int, int]:
    found = file.stat()
    return found.st_mtime_ns, found.st_size, found.st_ino


def _good(parsed: Iterator[Token | Bad], source: str) -> Iterator[Token]:
    for found in parsed:
        if isinstance(found, Bad):
            raise SettingsError(f"{source}, line {found.line}: {found.reason}")
        yield found
