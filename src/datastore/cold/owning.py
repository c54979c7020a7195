"""Ownership of places: a folder or a prefix with files belongs to one store.

A sweep removes files that are not on the store's list. The files of another store are not on it either, so a place
names the store that writes there.
"""

import re
from typing import Final

from datastore.engines import Driver
from datastore.errors import ControlError
from mds_client.cold.places import PART, Place, PlaceUnavailable

MARK: Final = ".market-data-store"
"""The file in a place that names the store."""


def _names(folder: str, name: str) -> re.Pattern[str]:
    """Return the pattern of names of files in a tenant's folder, including incomplete ones of a process that ended."""
    return re.compile(rf"[0-9a-f-]{{36}}/{folder}/({name}|\.{name}\.\w+{re.escape(PART)})")


_OURS: Final = _names(r"\w+", r"\d{4}-\d\d\.[0-9a-f]{32}\.parquet")
_METADATA: Final = _names(r"iceberg/\w+/metadata", r"[\w-][\w.-]*\.(metadata\.json|avro)")


def claim(place: Place, driver: Driver) -> None:
    """Make this store the place's owner, or check that it is.

    Args:
        place: The place.
        driver: A connection to the store.

    Raises:
        ControlError: The place is another store's, or cannot be written.
    """
    found = driver.execute(
        "SELECT (SELECT system_identifier FROM pg_control_system()), oid FROM pg_database"
        " WHERE datname = current_database()"
    ).fetchone()
    assert found is not None
    store = "{}/{}".format(*found)
    try:
        owner = place.create(MARK, store.encode()).decode()
    except PlaceUnavailable as error:
        raise ControlError(str(error)) from error
    if owner != store:
        raise ControlError(
            f"{place.url} keeps the files of another database ({owner}; this one is {store}). Give each store a place"
            f" of its own. If this database has taken the place of that one, remove {place.whole(MARK)} and try again"
        )


def is_ours(path: str) -> bool:
    """Return whether a file's name is one that this store gives."""
    return _OURS.fullmatch(path) is not None


def is_metadata(path: str) -> bool:
    """Return whether a file's name is one of the metadata of a published table."""
    return _METADATA.fullmatch(path) is not None
