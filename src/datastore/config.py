"""The control plane's settings, and the only place in it that reads the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

VARIABLES: Final = {
    "DATABASE_URL": "the DSN that the control plane migrates and administers with",
    "MDS_HOME": "the embedded server's folder (default: .mds in the current folder)",
}


class ConfigurationError(Exception):
    """A setting is missing or cannot be used; the message says which and what to do."""


@dataclass(frozen=True, slots=True)
class Settings:
    """`database_url`: a DSN whose role may create roles and schemas, or None. `home`: the embedded server's folder."""

    database_url: str | None = field(default=None, repr=False)
    home: Path = Path(".mds")

    def dsn(self) -> str:
        """The control plane's DSN; ConfigurationError where there is none."""
        if not self.database_url:
            raise ConfigurationError(
                "no database is named: set DATABASE_URL or pass --dsn "
                '(for the embedded server: datastore up && eval "$(datastore env)")'
            )
        return self.database_url


def load(environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings as the environment has them."""
    return Settings(
        database_url=environment.get("DATABASE_URL") or None,
        home=Path(environment.get("MDS_HOME") or ".mds"),
    )
