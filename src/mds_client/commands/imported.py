"""Import one file for `mds import`, in this process."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from mds_client.client import MDS
from mds_client.commands.reports import Done, shown
from mds_client.errors import MDSError
from mds_client.files import Detected, Format, Mapping, detected, rejects_path
from mds_client.profiles import Profile, profiles
from mds_client.schema import KINDS, OnConflict
from mds_client.transfer.imports import PART_ROWS, Importing
from mds_client.transfer.journal import fingerprint, is_same


@dataclass(frozen=True, slots=True)
class How:
    """The options for reading and writing all files. `kind` is a name; None is that of each file's profile."""

    kind: str | None
    form: Format | None
    mapping: Mapping
    profile: Profile | None
    on_conflict: OnConflict = "replace"
    part_rows: int = PART_ROWS

    def told(self) -> dict[str, Any]:
        """Return all that decides which rows a file gives and how they are written."""
        known = [self.profile] if self.profile is not None else list(profiles().values())
        return {
            "kind": self.kind,
            "format": self.form,
            "mapping": self.mapping.model_dump(),
            "profiles": [profile.model_dump() for profile in known],
            "on_conflict": self.on_conflict,
        }

    def detected(self, path: str) -> Detected:
        """Detect how one of the files is read."""
        kind = None if self.kind is None else KINDS[self.kind]
        return detected(kind, path, self.form, self.mapping, self.profile)


def import_one(
    client: MDS,
    how: How,
    path: str,
    note: Callable[[str], None],
    moved: Callable[[float, int], None],
    *,
    with_fingerprint: bool = False,
) -> Done:
    """Import one file, up to the first error.

    Args:
        client: The client that writes.
        how: How the file is read.
        path: The file.
        note: Receives each sentence about what was detected.
        moved: Receives after each part the share of the file that was read, and the number of written rows.
        with_fingerprint: Whether the result has the fingerprint of the file.

    Returns:
        The result, with the error if there was one.
    """
    importing: Importing | None = None
    try:
        before = fingerprint(path) if with_fingerprint else None
        found = how.detected(path)
        for sentence in found.notes:
            note(f"{shown(path)}: {sentence}")
        try:
            source = found.open()
        except BaseException:
            found.close()
            raise
        with closing(source):
            importing = Importing(
                client, source, found.kind, rejects_path(path), on_conflict=how.on_conflict, part_rows=how.part_rows
            )

            def progress(done: int, size: int | None) -> None:
                moved(done / size if size else 0.0, importing.report().rows)

            importing.run(progress)
    except (MDSError, KeyboardInterrupt) as error:
        touched = None if importing is None else importing.touched
        return Done(path, None if importing is None else importing.report(), error, touched=touched)
    content = before.content if before is not None and is_same(path, before) else None
    return Done(path, importing.report(), None, touched=importing.touched, fingerprint=content)
