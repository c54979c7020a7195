"""The client's settings: names, defaults and environment variables. Only this module reads the environment."""

import os
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal, Self
from uuid import UUID

import platformdirs
import psycopg
from psycopg.conninfo import conninfo_to_dict
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from mds_client.errors import ConfigurationError

PREFIX = "MDS_"

WriteMode = Literal["auto", "executemany", "values", "copy"]


class Config(BaseModel):
    """The settings of a client. A key that you leave out comes from `MDS_<KEY>`, then from the default here.

    The name of a duration ends with its unit; `connect_timeout` is in seconds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dsn: str = Field(repr=False, description="where the database is: a libpq URL or key=value text")
    tenant_id: str | None = Field(
        None, description="the tenant (uuid) of every transaction; goes before one in the DSN's options"
    )
    app_name: str = Field("mds_client", min_length=1, description="application_name, as pg_stat_activity shows it")
    connect_timeout: float = Field(10.0, gt=0, description="seconds to wait for the server, and for a free connection")
    statement_timeout_ms: int = Field(30_000, ge=0, description="a statement's limit; 0 is none")
    pool_min: int = Field(1, ge=0, description="connections that are kept open")
    pool_max: int = Field(10, ge=1, description="connections at the most")
    write_mode: WriteMode = Field("auto", description="how a batch is sent; auto goes by its size")
    values_min_rows: int = Field(2, ge=1, description="auto: from this many rows on, arrays in one statement")
    values_page_size: int = Field(1000, ge=1, description="rows in one such statement")
    copy_min_rows: int = Field(1000, ge=1, description="auto: from this many rows on, COPY and a merge")
    max_attempts: int = Field(5, ge=1, description="how often a call is tried before a passing fault is raised")
    retry_base_ms: float = Field(50, ge=0, description="the longest wait before the second attempt")
    retry_max_ms: float = Field(2_000, ge=0, description="the longest wait before any attempt")
    prepare_threshold: int | None = Field(
        5, ge=0, description="prepare a statement from this execution on; 'none' for poolers that cannot"
    )

    cold_url: str | None = Field(
        None, description="the folder or s3://bucket/prefix in which old rows are kept in files, as the operator says"
    )

    @field_validator("prepare_threshold", mode="before")
    @classmethod
    def _none(cls, value: object) -> object:
        return None if isinstance(value, str) and value.lower() in ("none", "") else value

    @field_validator("tenant_id")
    @classmethod
    def _tenant(cls, value: str | None) -> str | None:
        if not value:
            return None
        try:
            return str(UUID(value))
        except ValueError:
            raise ValueError(f"{value!r} is not a uuid") from None

    @model_validator(mode="after")
    def _sizes(self) -> Self:
        if self.pool_min > self.pool_max:
            raise ValueError(f"pool_min ({self.pool_min}) is larger than pool_max ({self.pool_max})")
        try:
            conninfo_to_dict(self.dsn)
        except psycopg.ProgrammingError as error:
            # The driver's message repeats the text that it could not read, which may hold a password.
            raise ValueError("the DSN cannot be read: neither a postgresql:// URL nor key=value text") from error
        return self

    @classmethod
    def load(
        cls,
        settings: "Config | Mapping[str, Any] | None" = None,
        /,
        environment: Mapping[str, str] = os.environ,
        defaults: Mapping[str, Any] = MappingProxyType({}),
        **more: Any,
    ) -> Self:
        """Load settings from a mapping and keywords, then from the environment, then from `defaults`.

        Raises ConfigurationError, which names the key, if a key is unknown, missing or invalid.
        """
        # A Config is complete, so its None values are intended. Elsewhere None means that the key was not given.
        given = settings.model_dump() if isinstance(settings, Config) else _given(settings or {})
        given |= _given(more)
        found: dict[str, Any] = {
            key: environment[PREFIX + key.upper()]
            for key in cls.model_fields
            if key not in given and environment.get(PREFIX + key.upper())
        }
        try:
            return cls(**{**defaults, **found, **given})
        except ValidationError as error:
            raise ConfigurationError("; ".join(_said(problem) for problem in error.errors())) from error

    def write_mode_for(self, rows: int) -> Literal["executemany", "values", "copy"]:
        """Return how to send a batch of that many rows."""
        if self.write_mode != "auto":
            return self.write_mode
        if rows >= self.copy_min_rows:
            return "copy"
        return "values" if rows >= self.values_min_rows else "executemany"

    def waits(self) -> Iterator[float]:
        """Yield the seconds to wait before each further attempt: exponential with full jitter, so that many clients
        of one server do not reconnect at the same time."""
        for attempt in range(self.max_attempts - 1):
            longest = min(self.retry_max_ms, self.retry_base_ms * 2**attempt)
            yield random.uniform(0, longest) / 1000  # noqa: S311 - no secret

    def connection(self) -> dict[str, Any]:
        """Return the driver's connection arguments, except the DSN."""
        return {
            **watchful(self.dsn),
            "application_name": self.app_name,
            "connect_timeout": max(2, round(self.connect_timeout)),
            "prepare_threshold": self.prepare_threshold,
        }


def variable(names: str, environment: Mapping[str, str] = os.environ) -> str | None:
    """Return the value of an environment variable of another library. `A|B` returns the first that is set."""
    return next((value for name in names.split("|") if (value := environment.get(name))), None)


def vendor_url(vendor: str, environment: Mapping[str, str] = os.environ) -> str | None:
    """Return the URL in `MDS_<VENDOR>_URL`, such as a gateway's, which replaces the vendor's own API address.

    Raises ConfigurationError if it is not an HTTP URL.
    """
    name = f"{PREFIX}{vendor.upper()}_URL"
    url = environment.get(name)
    if url and not url.startswith(("http://", "https://")):
        raise ConfigurationError(f"{name} begins with http:// or https://")
    return url.rstrip("/") if url else None


def state_folder() -> Path:
    """Return the folder for what programs keep about a user's work, such as `~/.local/state/mds` (XDG_STATE_HOME)."""
    return platformdirs.user_state_path("mds", appauthor=False)


def watchful(dsn: str) -> dict[str, int]:
    """Return TCP settings with which the operating system detects a dead network within half a minute.

    Args:
        dsn: A libpq URL or key=value text. Settings that it contains are not returned.

    Returns:
        Arguments for psycopg's `connect`. Sockets other than TCP ignore them.
    """
    given = conninfo_to_dict(dsn)
    return {name: value for name, value in _WATCHFUL.items() if name not in given}


_WATCHFUL: Final = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "tcp_user_timeout": 30_000,
}


def _given(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if value is not None}


def _said(problem: Any) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "missing":
        return f"{key} is missing: pass it or set {PREFIX}{key.upper()}"
    if problem["type"] == "extra_forbidden":
        return f"{key!r} is no setting; there are: {', '.join(Config.model_fields)}"
    message = str(problem["msg"]).removeprefix("Value error, ")
    return f"{key}: {message}" if key else message
