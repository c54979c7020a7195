"""A private PostgreSQL server for a laptop and for tests.

It does not create the schema: `up` is given a function that migrates.
"""

from datastore.embedded.accounts import choose_account
from datastore.embedded.binaries import find_binaries
from datastore.embedded.errors import (
    BinariesMissingError,
    EmbeddedServerError,
    PortTakenError,
    StartFailedError,
)
from datastore.embedded.home import ADMIN_ROLE, SERVICE_ROLE
from datastore.embedded.server import DATABASE, EmbeddedServer, NotRunningError

__all__ = [
    "ADMIN_ROLE",
    "DATABASE",
    "SERVICE_ROLE",
    "BinariesMissingError",
    "EmbeddedServer",
    "EmbeddedServerError",
    "NotRunningError",
    "PortTakenError",
    "StartFailedError",
    "choose_account",
    "find_binaries",
]
