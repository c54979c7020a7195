"""The errors of the embedded server."""

from datastore.errors import ControlError


class EmbeddedServerError(ControlError):
    """An operation of the embedded server failed; the message says why and, if known, what to do."""


class BinariesMissingError(EmbeddedServerError):
    """This machine has no PostgreSQL that can be run."""


class PortTakenError(EmbeddedServerError):
    """Another program uses the requested port."""


class StartFailedError(EmbeddedServerError):
    """PostgreSQL did not start; the message ends with the last lines of its log."""
