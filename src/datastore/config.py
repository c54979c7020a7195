"""The control plane's settings. No other module of it reads the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

VARIABLES: Final = {
    "DATABASE_URL": "the DSN that the control plane migrates and administers with",
    "DATABASE_URL_FILE": "a file that holds it, where DATABASE_URL is not set",
    "MDS_HOME": "the embedded server's folder (default: .mds in the current folder)",
    "DATASTORE_EXPORTS": "the folder that a worker writes exports of tenants to",
    "DATASTORE_COLD_URL": "the files of old rows: a folder or s3://bucket/prefix (default: none)",
    "DATASTORE_SOURCE_ROOT": "the folder that backfills may read files in (default: none, and no file is read)",
    "DATASTORE_SOURCE_URLS": "what backfills may ask: beginnings of URLs, comma-separated, each with the names of the"
    " secrets that may be sent there, as in `https://api.acme.example/v1 DATASTORE_SECRET_ACME` (default: none)",
    "DATASTORE_SOURCE_VENDORS": "the vendors whose APIs backfills may ask, comma-separated, as in `yfinance,ccxt`"
    " (default: none)",
    "DATASTORE_SECRET_...": "secrets that a backfill's source may send in headers and parameters, each by its own name",
    "DATASTORE_TOKENS": "who may use the service, one a line: name, scopes, sha256:<hex>, then expires=, tenant=",
    "DATASTORE_TOKENS_FILE": "a file with more such lines; it is read again when it changes",
    "DATASTORE_MAX_BODY_BYTES": "the largest request body (default: 1048576)",
    "DATASTORE_MAX_UPLOAD_BYTES": "the largest upload of rows (default: 1073741824)",
    "DATASTORE_FAILED_LOGINS": "failed authentications of an address a minute before it has to wait (default: 10)",
    "DATASTORE_TRUSTED_PROXIES": "addresses whose X-Forwarded-For is believed, comma-separated (default: none)",
}


class SettingsError(Exception):
    """A setting is missing or invalid; the message says which, and what to do."""


@dataclass(frozen=True, slots=True)
class Settings:
    """`database_url`: a DSN whose role may create roles and schemas, or None. `home`: the embedded server's folder.

    `exports` is the folder into which a worker writes exports of tenants, or None. `cold_url` is the place of the files
    of old rows, or None.

    `source_root` is the folder, and `source_urls` are the beginnings of the URLs, that backfills may read. By default
    there are none, because the user who starts a backfill chooses its source. `source_vendors` are the permitted
    vendors.

    Settings of the service: `tokens` and `tokens_file` list the accepted tokens (`datastore.service.tokens`);
    `max_body_bytes` and `max_upload_bytes` limit a request's body and an upload of rows; `failed_logins` is how many
    times a minute an address may fail to authenticate; `trusted_proxies` are the addresses whose X-Forwarded-For is
    trusted.
    """

    database_url: str | None = field(default=None, repr=False)
    home: Path = Path(".mds")
    exports: Path | None = None
    cold_url: str | None = None
    source_root: Path | None = None
    source_urls: tuple[str, ...] = ()
    source_vendors: tuple[str, ...] = ()
    tokens: str = field(default="", repr=False)
    tokens_file: Path | None = None
    max_body_bytes: int = 1 << 20
    max_upload_bytes: int = 1 << 30
    failed_logins: int = 10
    trusted_proxies: str = ""

    def dsn(self) -> str:
        """Return the control plane's DSN. Raises SettingsError if there is none."""
        if not self.database_url:
            raise SettingsError(
                "no database is set: set DATABASE_URL or pass --dsn "
                '(for the embedded server: datastore up && eval "$(datastore env)")'
            )
        return self.database_url


def load(environment: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings from the environment."""
    default = Settings()
    return Settings(
        database_url=environment.get("DATABASE_URL") or _file(environment, "DATABASE_URL_FILE"),
        home=Path(environment.get("MDS_HOME") or ".mds"),
        exports=Path(folder) if (folder := environment.get("DATASTORE_EXPORTS")) else None,
        cold_url=environment.get("DATASTORE_COLD_URL") or None,
        source_root=Path(folder) if (folder := environment.get("DATASTORE_SOURCE_ROOT")) else None,
        source_urls=tuple(filter(None, map(str.strip, environment.get("DATASTORE_SOURCE_URLS", "").split(",")))),
        source_vendors=tuple(filter(None, map(str.strip, environment.get("DATASTORE_SOURCE_VENDORS", "").split(",")))),
        tokens=environment.get("DATASTORE_TOKENS", ""),
        tokens_file=Path(file) if (file := environment.get("DATASTORE_TOKENS_FILE")) else None,
        max_body_bytes=_number(environment, "DATASTORE_MAX_BODY_BYTES", default.max_body_bytes),
        max_upload_bytes=_number(environment, "DATASTORE_MAX_UPLOAD_BYTES", default.max_upload_bytes),
        failed_logins=_number(environment, "DATASTORE_FAILED_LOGINS", default.failed_logins),
        trusted_proxies=environment.get("DATASTORE_TRUSTED_PROXIES", ""),
    )


SECRET_PREFIX: Final = "DATASTORE_SECRET_"  # noqa: S105 - the beginning of names


def secret(name: str, environment: Mapping[str, str] = os.environ) -> str:
    """Return a secret that a source names. Only variables with the prefix can be named, not the whole environment.

    Raises SettingsError if it is not set, or if the name lacks the prefix.
    """
    if not name.startswith(SECRET_PREFIX):
        raise SettingsError(f"{name!r} does not name a secret of sources: such names begin with {SECRET_PREFIX}")
    if not (value := environment.get(name)):
        raise SettingsError(f"the secret {name} is not set")
    return value


def secrets(environment: Mapping[str, str] = os.environ) -> list[str]:
    """Return the names of the secrets that are set."""
    return sorted(name for name, value in environment.items() if name.startswith(SECRET_PREFIX) and value)


def _file(environment: Mapping[str, str], name: str) -> str | None:
    """Read the file that a variable names. Returns None if it is not set or the file is empty."""
    if not (path := environment.get(name)):
        return None
    try:
        return Path(path).read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{name}: {path} cannot be read: {error}") from error


def _number(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name) or str(default)
    if not text.isdecimal() or int(text) < 1:
        raise SettingsError(f"{name} must be a whole number of at least 1, not {text!r}")
    return int(text)
