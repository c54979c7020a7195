"""Errors that several packages raise. A package has its own ones beside them, most of which are a ControlError."""

from uuid import UUID


class ControlError(Exception):
    """A control-plane command cannot be done as asked; the message says why."""


class UnknownTenant(ControlError):
    """There is no tenant of that name or id."""

    def __init__(self, tenant: str | UUID | None) -> None:
        super().__init__(f"there is no tenant {str(tenant)!r}")


class Taken(ControlError):
    """The name or the id that something new is to have belongs to something else."""


class NotMigrated(ControlError):
    """The database is not at head."""


class UnsupportedServer(Exception):
    """The server is too old for this release; the message says what is needed."""
