"""Ownership of folders: a folder of files belongs to one store.

A sweep removes files that are not on the store's list. The files of another store are not on it either, so a folder
names the store that writes there.
"""

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Final
from uuid import uuid4

from datastore.engines import Driver
from datastore.errors import ControlError
from mds_client.cold.places import PART, Place

MARK: Final = ".market-data-store"
"""The file in a folder that names the store."""

_OURS: Final = re.compile(
    rf"[0-9a-f-]{{36}}/\w+/(\d{{4}}-\d\d\.[0-9a-f]{{32}}\.parquet|\.\d{{4}}-\d\d\.[0-9a-f]{{32}}\.parquet\.\w+{re.escape(PART)})"
)


def claim(place: Place, driver: Driver) -> None:
    """Make this store the folder's owner, or check that it is.

    Args:
        place: The folder.
        driver: A connection to the store.

    Raises:
        ControlError: The folder is another store's, or cannot be written.
    """
    found = driver.execute(
        "SELECT (SELECT system_identifier FROM pg_control_system()), oid FROM pg_database"
        " WHERE datname = current_database()"
    ).fetchone()
    assert found is not None
    store = "{}/{}".format(*found)
    mark = Path(place.root) / MARK
    try:
        mark.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            part = mark.with_name(f"{MARK}.{uuid4().hex}{PART}")
            part.write_text(store, encoding="utf-8")
            try:
                os.link(part, mark)
            finally:
                part.unlink()
        owner = mark.read_text(encoding="utf-8")
    except OSError as error:
        raise ControlError(f"{mark}: {error.strerror}") from error
    if owner != store:
        raise ControlError(
            f"{place.url} keeps the files of another database ({owner}; this one is {store}). Give each store a folder"
            f" of its own. If this database has taken the place of that one, remove {mark} and try again"
        )


def is_ours(path: str) -> bool:
    """Return whether a file's name is one that this store gives."""
    return _OURS.fullmatch(path) is not None
