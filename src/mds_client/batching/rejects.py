"""Rows that cannot be written because of their content: the errors that mean this, and the reject sink."""

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
    """A row that cannot be written because of its content, and the reason. `origin` is the argument of `add`."""

    kind: str | None
    row: Any
    reason: str
    sqlstate: str | None = None
    origin: Any = None

    def to_json(self) -> str:
        """Return one line of JSON, without a line break."""
        told = {"kind": self.kind, "row": self.row, "reason": self.reason}
        told |= {"sqlstate": self.sqlstate, "origin": self.origin}
        try:
            if isinstance(self.row, Row):
                told["row"] = self.row.as_given().model_dump(mode="json", warnings=False)
            return json.dumps(told, default=str, allow_nan=False)
        except (TypeError, ValueError):
            # JSON cannot represent NaN, keys that are not text, or cycles, so write the row as text.
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
    """Whether an error is caused by the content of some rows, so that the others can be written without them."""
    if isinstance(error, RetryableError):
        return False
    if isinstance(error, InvalidRow | ConstraintViolation):
        return True
    if isinstance(error, RLSDenied):
        # A missing privilege of the role affects all rows alike.
        return error.sqlstate != "42501"
    if isinstance(error, MDSOperationalError):
        # The server reports invalid values with class 22; the driver reports them without a code.
        return (error.sqlstate or "")[:2] == "22" or isinstance(error.__cause__, psycopg.DataError)
    return False
