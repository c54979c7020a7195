"""Rows that cannot be written for their content: which errors say so, and where such rows go."""

import inspect
import json
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import psycopg

from mds_client.errors import (
    ConfigurationError,
    ConstraintViolation,
    InvalidRow,
    MDSOperationalError,
    RetryableError,
    RLSDenied,
)
from mds_client.models import Row


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that cannot be written for its content, and why. `origin` is what `add` was given with it."""

    kind: str | None
    row: Any
    reason: str
    sqlstate: str | None = None
    origin: Any = None

    def to_json(self) -> str:
        """One line of JSON, without its end."""
        told = {"kind": self.kind, "row": self.row, "reason": self.reason}
        told |= {"sqlstate": self.sqlstate, "origin": self.origin}
        try:
            if isinstance(self.row, Row):
                told["row"] = self.row.model_dump(mode="json", warnings=False)
            return json.dumps(told, default=str, allow_nan=False)
        except (TypeError, ValueError):
            # NaN, a key that is no text, a circle: what JSON cannot say is told as text.
            return json.dumps(told | {"row": str(self.row), "origin": str(self.origin)})


OnReject: TypeAlias = Callable[[Reject], None] | str | os.PathLike[str]


def reject_sink(on_reject: OnReject | None) -> Callable[[Reject], None] | None:
    if on_reject is None:
        return None
    if inspect.iscoroutinefunction(on_reject):
        raise ConfigurationError("on_reject is called and not awaited: a plain function is needed, or a path")
    lock = threading.Lock()
    if callable(on_reject):

        def refuse(reject: Reject) -> None:
            with lock:
                on_reject(reject)
    else:
        path = Path(on_reject)

        def refuse(reject: Reject) -> None:
            with lock, path.open("a", encoding="utf-8") as file:
                file.write(reject.to_json() + "\n")

    return refuse


def about_content(error: Exception) -> bool:
    """Whether an error is about what is in some of the rows, so that the others can be written without them."""
    if isinstance(error, RetryableError):
        return False
    if isinstance(error, InvalidRow | ConstraintViolation):
        return True
    if isinstance(error, RLSDenied):
        # A missing right is the role's: no row is better than another.
        return error.sqlstate != "42501"
    if isinstance(error, MDSOperationalError):
        # Class 22 is what the server says to a value; the driver says it without a code.
        return (error.sqlstate or "")[:2] == "22" or isinstance(error.__cause__, psycopg.DataError)
    return False
