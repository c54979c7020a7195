"""Idempotency keys: the key of a request for long work, so that a repeated request does the work once.

A caller chooses a key and sends it with every attempt; the same key with another request is an error. The jobs enforce
this, because their key is unique for a tenant (`datastore.jobs.enqueue`).
"""

import secrets
from typing import Final
from uuid import UUID, uuid5

PATTERN: Final = r"^[\x21-\x7e]{1,200}$"
"""The form of a caller's key: visible ASCII."""

_SPACE: Final = UUID("5a2f0f52-5d5b-4f0e-9f0b-0f6f4f3f2c1d")


def key(given: str | None) -> str:
    """Return the caller's key, or a new random one."""
    return given or secrets.token_hex(16)


def job_key(given: str | None, operation: str) -> str:
    """Return the key of an operation's job: the same for the same given key, a new one without a key.

    Keys of different operations differ, and they differ from keys that applications choose for their own jobs.
    """
    return f"{operation}:{key(given)}"


def new_id(given: str | None, operation: str) -> UUID | None:
    """Return the id of the object that an operation creates: the same for the same given key; None without a key."""
    return None if given is None else uuid5(_SPACE, f"{operation}:{given}")
