"""Old rows move from tables into files, and stay part of what is read.

A file has the rows of a tenant, a kind and a month. The order of things is what keeps rows from being lost:

1. The fence is moved and committed. From then on nobody writes rows from before it into the table. They become late
   rows (`datastore.schema.cold`).
2. Every transaction that may not have seen that is waited for.
3. A month is written into a new file, the file is synced, gets its name, and is read back.
4. One transaction puts the file on the list and deletes the rows, if they are those that were read.

A process may be killed at any moment. Before the last step there is at most a file that is on no list (`sweep`).

The modules `exporting`, `folding` and `keeping` need PyArrow: import them where rows are moved, not before.
"""

from datastore.cold.records import ColdState, set_age, status, url

__all__ = ["ColdState", "set_age", "status", "url"]
