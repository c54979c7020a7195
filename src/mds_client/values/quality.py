"""Warnings about suspicious rows, which are stored unchanged."""

import warnings
from collections.abc import Mapping
from typing import Any

from mds_client.schema import Kind


class DataQualityWarning(UserWarning):
    """A warning about suspicious data, such as a row that is stored unchanged but looks wrong."""


def out_of_order(kind: Kind, values: Mapping[str, Any], pair: tuple[str, str]) -> str:
    """Return the message for a row whose first value of a pair is above its second."""
    name = " ".join(str(values[part]) for part in kind.series)
    lesser, greater = pair
    return f"{name} {values[kind.time].isoformat()}: {greater} {values[greater]} is below {lesser} {values[lesser]}"


def warn_of_empty(kind: Kind, count: int, first: int) -> None:
    """Warn about rows without any value outside the key. Such a row does not replace one that has values."""
    said = f"row {first}: no value beside the key; such a row replaces no {kind.singular} that has values"
    warnings.warn(f"{said}; {count} rows in all" if count > 1 else said, DataQualityWarning, stacklevel=3)


def warn_of_replaced(kind: Kind, count: int, first: int, values: Mapping[str, Any]) -> None:
    """Warn about rows that later rows of the same call replace: the same key, other values."""
    apart = () if kind.shared is None else (kind.shared.apart,)
    key = " ".join(str(values[part]) for part in (*kind.series, *kind.key, *apart))
    said = f"row {first}: a later row has the same key ({key}) and other values, and replaces it"
    warnings.warn(f"{said}; {count} rows in all" if count > 1 else said, DataQualityWarning, stacklevel=3)
