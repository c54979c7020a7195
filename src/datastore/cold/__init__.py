"""Old rows move from tables into files, and reads still include them.

A file has the rows of a tenant, a kind and a month. This order of steps keeps rows from being lost:

1. The fence is moved and committed. From then on nobody writes rows from before it into the table. They become late
   rows (`datastore.schema.cold`).
2. Wait for every transaction that may not have seen the new fence.
3. A month is written into a new file; the file is synced, named, and read back.
4. One transaction puts the file on the list and deletes the rows, if they are those that were read.

A process may be killed at any moment. Before the last step, at most a file without a place on the list is left
(`sweep`).

The modules `exporting`, `folding` and `keeping` need PyArrow: import them only where rows are moved. `publishing` makes
Iceberg tables over the files, and needs pyiceberg.
"""

from datastore.cold.readers import ENGINES, settings
from datastore.cold.records import (
    ColdState,
    ColdTotals,
    is_used,
    published_again,
    separately,
    set_age,
    status,
    totals,
    url,
)

__all__ = [
    "ENGINES",
    "ColdState",
    "ColdTotals",
    "is_used",
    "published_again",
    "separately",
    "set_age",
    "settings",
    "status",
    "totals",
    "url",
]
