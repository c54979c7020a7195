"""What the source `http` may request: URLs that the operator allows, the secrets that may be sent there, and headers.

`datastore.sources.requesting` makes the requests.
"""

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import quote, quote_plus

import httpx

from datastore import config


def allowed(entries: Iterable[str]) -> list[tuple[httpx.URL, frozenset[str]]]:
    """Parse the allowed beginnings of URLs, each with the secrets that may be sent there. Raises ValueError."""
    found = []
    for beginning, *secrets in map(str.split, entries):
        if not all(name.startswith(config.SECRET_PREFIX) for name in secrets):
            # Do not repeat it, because it may be a secret itself.
            raise ValueError(
                "DATASTORE_SOURCE_URLS is invalid: a URL is followed only by names of variables that begin with"
                f" {config.SECRET_PREFIX}"
            )
        try:
            found.append((httpx.URL(beginning), frozenset(secrets)))
        except httpx.InvalidURL as error:
            raise ValueError(f"DATASTORE_SOURCE_URLS is invalid: {error}") from error
    return found


_SECRET: Final = re.compile(
    r"auth|cookie|passw|secret|token|signature|(api|access|private)[-_]?key|^key$", re.IGNORECASE
)


def without_secrets(values: dict[str, str], instead: str) -> dict[str, str]:
    """Raise ValueError if a name looks like a secret's, because the values are stored and shown with a backfill."""
    for name in values:
        if _SECRET.search(name):
            raise ValueError(f"{name} looks like a secret: put the name of the variable that holds it under {instead}")
    return values


def secret(where: str, held: str) -> str:
    """Return the value of a secret. The ValueError for an invalid name does not repeat it: it may be a secret."""
    if not held.startswith(config.SECRET_PREFIX):
        raise ValueError(f"{where}: name a variable that holds a secret: its name begins with {config.SECRET_PREFIX}")
    try:
        return config.secret(held)
    except config.SettingsError as error:
        raise ValueError(f"{where}: {error}") from error


def any_of(secrets: Iterable[str]) -> re.Pattern[str]:
    """Return a pattern that finds secrets in text: as they are, quoted for a URL, or without a prefix like `Bearer`."""
    forms: set[str] = set()
    for value in secrets:
        for form in (value, value.rpartition(" ")[2]):
            forms |= {form, quote(form), quote(form, safe=""), quote_plus(form)}
    # The longest first, because others may be parts of it. Without secrets, the pattern matches nothing.
    return re.compile("|".join(map(re.escape, sorted(forms - {""}, key=len, reverse=True))) or "(?!)", re.IGNORECASE)


_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE: Final = re.compile(r"([\x21-\x7e]([\x20-\x7e\t]*[\x21-\x7e])?)?")


def check_header(where: str, name: str, value: str) -> None:
    """Raise ValueError if a header cannot be sent, so that this is known before the first request."""
    if not _HEADER_NAME.fullmatch(name):
        raise ValueError(f"{where!r} is not a valid name of a header")
    if name.lower() == "host":
        # A server of many hosts would answer for one that is not allowed, and would get the secrets.
        raise ValueError(f"{where}: remove this header, because the url names the host")
    if not _HEADER_VALUE.fullmatch(value):
        raise ValueError(
            f"{where}: the value cannot be sent in a header: use one line of ASCII without spaces at its ends"
        )


def parsed(text: str) -> httpx.URL:
    """Parse a URL. The ValueError for an invalid one does not repeat it."""
    try:
        return httpx.URL(text)
    except (httpx.InvalidURL, ValueError):
        raise ValueError("the url is invalid") from None


def begins(url: httpx.URL, beginning: httpx.URL) -> bool:
    """Whether a URL begins with an allowed one: the same host, and a path at or below it."""
    if (url.scheme, url.host, _port(url)) != (beginning.scheme, beginning.host, _port(beginning)):
        return False
    return url.path == beginning.path or url.path.startswith(beginning.path.rstrip("/") + "/")


def origin(url: httpx.URL) -> str:
    """The settings that a worker needs to request a URL, as far as a worker declares them beforehand."""
    return f"{url.scheme}://{url.host}:{_port(url)}/ in DATASTORE_SOURCE_URLS"


def _port(url: httpx.URL) -> int | None:
    return url.port or {"http": 80, "https": 443}.get(url.scheme)


def shown(url: str | httpx.URL) -> str:
    """Return a URL for a message, without its query and user, which may identify the caller."""
    return str(httpx.URL(url).copy_with(query=None, fragment=None, userinfo=b""))
