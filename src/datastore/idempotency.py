"""The key by which long work that is asked for twice is done once: what it may look like, and whose it is.

A caller chooses a key for what it wants done and sends it again with every attempt; the same key with another request
is a mistake. That is kept by the jobs, whose key is unique for a tenant (`datastore.jobs.enqueue`).
"""

import secrets
from typing import Final
from uuid import UUID, uuid5

PATTERN: Final = r"^[\x21-\x7e]{1,200}$"
"""The form of a caller's key: visible ASCII."""

_SPACE: Final = UUID("5a2f0f52-5d5b-4f0e-9f0b-0f6f4f3f2c1d")


def key(given: str | None) -> str:
    """The caller's key, or one that nobody else has."""
    return given or secrets.token_hex(16)


def job_key(given: str | None, operation: str) -> str:
    """The key of the job that an operation asks for: the same for the same key given, a new one if there is none.

    Apart for each operation, and apart from keys that applications choose for jobs of their own.
    """
    return f"{operation}:{key(given)}"


def new_id(given: str | None, operation: str) -> UUID | None:
    """The id of the thing that an operation makes: the same for the same key given; None if there is no key."""
    return None if given is None else uuid5(_SPACE, f"{operation}:{given}")
