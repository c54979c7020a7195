"""Errors that several packages raise. A package may have its own, most of which are a ControlError."""

from uuid import UUID


class ControlError(Exception):
    """A control-plane command cannot be done as requested; the message says why."""


class UnknownTenant(ControlError):
    """The tenant does not exist."""

    def __init__(self, tenant: str | UUID | None) -> None:
        super().__init__(f"there is no tenant {str(tenant)!r}")


class Taken(ControlError):
    """The name or id of a new object belongs to another one."""


class NotMigrated(ControlError):
    """The database is not at head."""


class UnsupportedServer(Exception):
    """The server is too old for this release; the message says what is needed."""
