"""HTML for notebooks: lists of models as tables, clients as their settings. All text is escaped.

A notebook calls the method `_repr_html_`. No password is shown.
"""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, Final, TypeVar

from pydantic import BaseModel

T = TypeVar("T", bound=BaseModel)

SHOWN: Final = 60
"""The maximum number of rows that a notebook shows."""


class Listing(list[T]):
    """A list of models that a notebook shows as a table."""

    def _repr_html_(self) -> str:
        if not self:
            return "<p>no rows</p>"
        names = list(type(self[0]).model_fields)
        rows = ([row.__dict__[name] for name in names] for row in self[:SHOWN])
        more = len(self) - SHOWN
        return table(names, rows) + (f"<p>… and {more:,} more</p>" if more > 0 else "")


def table(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return an HTML table."""
    head = "".join(f"<th>{escape(name.replace('_', ' '))}</th>" for name in names)
    body = "".join("<tr>" + "".join(f"<td>{_cell(value)}</td>" for value in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def fields(title: str, values: Mapping[str, Any]) -> str:
    """Return the fields of one object as an HTML table, one per line."""
    body = "".join(f"<tr><th>{escape(name)}</th><td>{_cell(value)}</td></tr>" for name, value in values.items())
    return f"<table><caption>{escape(title)}</caption><tbody>{body}</tbody></table>"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:,}" if type(value) is int else escape(str(value))
