"""Warnings of rows that are stored as they are, and look wrong."""

import warnings
from collections.abc import Mapping
from typing import Any

from mds_client.schema import Kind


class DataQualityWarning(UserWarning):
    """A row that is stored as it is, and looks wrong."""


def out_of_order(kind: Kind, values: Mapping[str, Any], pair: tuple[str, str]) -> str:
    """What a `DataQualityWarning` says of a row whose first value of a pair is above its second."""
    name = " ".join(str(values[part]) for part in kind.series)
    lesser, greater = pair
    return f"{name} {values[kind.time].isoformat()}: {greater} {values[greater]} is below {lesser} {values[lesser]}"


def warn_of_empty(kind: Kind, count: int, first: int) -> None:
    """Warn of rows that have no value beside their key. Such a row replaces no row that has values."""
    said = f"row {first}: no value beside the key; such a row replaces no {kind.singular} that has values"
    warnings.warn(f"{said}; {count} rows in all" if count > 1 else said, DataQualityWarning, stacklevel=3)


def warn_of_replaced(kind: Kind, count: int, first: int, values: Mapping[str, Any]) -> None:
    """Warn of rows that later rows of the same call replace, with the same key and other values."""
    apart = () if kind.shared is None else (kind.shared.apart,)
    key = " ".join(str(values[part]) for part in (*kind.series, *kind.key, *apart))
    said = f"row {first}: a later row has the same key ({key}) and other values, and replaces it"
    warnings.warn(f"{said}; {count} rows in all" if count > 1 else said, DataQualityWarning, stacklevel=3)
