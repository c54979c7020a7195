"""Check the files against the list, and remove files that are no longer needed."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from datastore.cold.owning import claim, is_metadata, is_ours
from datastore.cold.records import alone, listed
from datastore.cold.writing import checksum
from datastore.connections import as_owner
from datastore.engines import Driver
from datastore.tenants import list_tenants
from mds_client.cold.files import metadata
from mds_client.cold.places import FileMissing, Found, Place, place

GRACE: Final = timedelta(days=1)
"""How long a replaced file is kept, because a reader may still be reading it."""

ON_NO_LIST: Final = "on no list"
"""Why a file is removed that is neither current nor replaced."""


@dataclass(frozen=True, slots=True)
class Verified:
    """A file, and what is wrong with it; None if it matches the list."""

    tenant: UUID
    kind: str
    path: str
    rows: int
    problem: str | None


@dataclass(frozen=True, slots=True)
class Swept:
    """A file that was removed, or would be in a dry run, and why."""

    path: str
    bytes: int
    why: str

    @property
    def is_orphan(self) -> bool:
        """Whether it was on no list: of a run that was stopped, or of a deleted tenant."""
        return self.why == ON_NO_LIST


def verify(
    dsn: str, url: str, *, tenant: UUID | None = None, check: Callable[[], object] = lambda: None
) -> list[Verified]:
    """Read every file on the list, and compare its bytes and number of rows with the list."""
    source = place(url)
    everybody = {one.no: one for one in list_tenants(dsn) if tenant in (None, one.id)}
    with as_owner(dsn) as (_, driver):
        files = [file for file in listed(driver) if file.tenant_no in everybody]
    found = []
    for file in files:
        check()
        problem = None
        try:
            sha256, size = checksum(source, file.path)
            if (sha256, size) != (file.sha256, file.bytes):
                problem = f"its bytes are others: {size} of them, and not {file.bytes}"
            elif (rows := metadata(url, file.path).num_rows) != file.rows:
                problem = f"it has {rows} rows, and not {file.rows}"
        except FileMissing as error:
            problem = str(error)
        found.append(Verified(everybody[file.tenant_no].id, file.kind, file.path, file.rows, problem))
    return found


def _needed(dsn: str, driver: Driver, target: Place, candidates: list[Swept]) -> set[str]:
    """Return the files that published tables refer to, of the tenants of these files."""
    owners = {file.path.partition("/")[0] for file in candidates}
    published = {str(id_) for (id_,) in driver.execute("SELECT DISTINCT tenant_id FROM store.iceberg_tables")}
    driver.commit()
    if not owners & published:
        return set()
    from datastore.cold import publishing

    return publishing.needed(dsn, target, owners & published)


def sweep(
    dsn: str,
    url: str,
    *,
    older_than: timedelta = GRACE,
    dry_run: bool = False,
    check: Callable[[], object] = lambda: None,
) -> list[Swept]:
    """Remove the files that are on no list, the replaced ones, and old metadata of published tables.

    Includes files of deleted tenants. Removes only files older than `older_than`, which are neither written nor read. A
    file that a published table refers to stays until the table is published again.

    Args:
        dsn: The control plane's DSN.
        url: The place of the files. Files without the names that a store gives stay.
        older_than: How old a file has to be, and how long ago it has to have been replaced.
        dry_run: Only return what would be removed.
        check: Called often; it may raise.

    Raises:
        ControlError: The place is another store's, or does not answer.
    """
    target = place(url)
    candidates = []
    with alone(dsn) as (_, driver):
        claim(target, driver)
        before = datetime.now(UTC) - older_than
        kept = {file.path for file in listed(driver)}
        replaced = dict(
            driver.execute("SELECT path, replaced_at FROM store.cold_periods WHERE replaced_at IS NOT NULL").fetchall()
        )
        driver.commit()
        for file in target.every():
            why = _why(file, replaced)
            since = replaced.get(file.path, file.written)
            if why is None or file.path in kept or (since is not None and since > before):
                continue
            candidates.append(Swept(file.path, file.size, why))
        needed = _needed(dsn, driver, target, candidates)
        swept = [file for file in candidates if file.path not in needed]
        if not dry_run:
            for gone in swept:
                check()
                target.remove(gone.path)
            driver.execute("DELETE FROM store.cold_periods WHERE replaced_at <= %s", (before,))
            driver.commit()
    return swept


def _why(file: Found, replaced: Collection[str]) -> str | None:
    """Return why a file would be removed; None for one that this store has not written."""
    if file.path in replaced:
        return "replaced"
    if is_ours(file.path):
        return ON_NO_LIST
    return "of no published table" if is_metadata(file.path) else None
