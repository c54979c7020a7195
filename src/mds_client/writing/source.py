"""The batches of one write: which are written, and the mapping that reads them."""

from collections.abc import Iterator
from dataclasses import dataclass

from mds_client import profiles
from mds_client.columns.rows import Batch
from mds_client.errors import ConfigurationError
from mds_client.mapping import Extra, extra_mapping
from mds_client.mapping import Mapping as ColumnMapping
from mds_client.schema import Kind


@dataclass(slots=True)
class Batches:
    """The batches to write. A batch is kept for a retry until it is committed.

    A `whole` source is a single batch, which is always kept.
    """

    rest: Iterator[Batch]
    whole: bool
    written: int = 0
    batch: Batch | None = None
    failure: Exception | None = None

    def left(self) -> Iterator[Batch]:
        """Yield the batches that are not written yet. Requesting the next one marks the current one as committed."""
        while batch := self.current():
            size = len(batch)
            yield batch
            if self.whole:
                return
            self.written += size
            self.batch = None
            del batch

    def current(self) -> Batch | None:
        """Return the current batch, or None at the end. Raises InvalidRow if it contains an invalid row."""
        if self.failure:
            # After an error the iterator would look exhausted.
            raise self.failure
        if self.batch is None:
            try:
                self.batch = next(self.rest, None)
            except Exception as error:
                self.failure = error
                raise
        return self.batch


def of_feed(batch: Batch) -> Batch:
    """Make a batch not warn about rows that a later one replaces."""
    batch.replaced = 0
    return batch


def mapping_for(kind: Kind, extra: Extra, mapping: ColumnMapping | str | None) -> ColumnMapping:
    """Return the mapping to read rows with. Raises ConfigurationError if it does not fit the kind."""
    plain = extra_mapping(extra, kind)
    if mapping is None:
        return plain
    found = profiles.mapping_of(mapping)
    try:
        found.check(kind)
    except ValueError as error:
        raise ConfigurationError(f"mapping: {error}") from None
    return found if extra == "error" else found.but(extra=extra)
