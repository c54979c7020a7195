"""Numbers by name, such as the further figures of a vendor's fundamentals: the forms in which they are given.

`mds_client.values.fields` checks the names and the numbers. `mds_client.layout` has the text that is stored.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

MOST: Final = 1000
"""The maximum number of names in a row."""


def named(value: Any) -> Any:
    """Convert a map given as a mapping, JSON text or a list of pairs to a dictionary with trimmed names.

    Raises:
        ValueError: It is none of these, or has a name twice, or too many names.
    """
    if isinstance(value, str):
        value = _parsed(value)
    if value is None:
        return None
    pairs = list(value.items()) if isinstance(value, Mapping) else value
    if not isinstance(pairs, list) or not all(isinstance(pair, tuple) and len(pair) == 2 for pair in pairs):
        raise ValueError("an object is needed, with numbers by name")
    if len(pairs) > MOST:
        raise ValueError(f"{len(pairs):,} names are too many; a row has at most {MOST:,}")
    found: dict[Any, Any] = {}
    for name, number in pairs:
        key = name.strip() if isinstance(name, str) else name
        if key in found:
            raise ValueError(f"the name {key!r} comes twice")
        found[key] = number
    return found


def some(value: dict[str, float | None] | None) -> dict[str, float | None] | None:
    """Return a map, or None for an empty one."""
    return value or None


def _parsed(text: str) -> Any:
    """Parse JSON text, with each object as a list of pairs. An empty text is None: it is an empty field of a CSV."""
    if not text.strip():
        return None
    try:
        return json.loads(text, object_pairs_hook=list)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the text is not a JSON object: {error}") from None
