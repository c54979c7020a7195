"""Cold rows: old rows that are kept in files. How a client reads them, and writes rows of the same time.

A tenant's rows of a kind from before its fence are in files or are being moved there. A read from before the fence
merges three sources: files, the table and late rows. A late row wins over a row of a file or the table. The modules:

- `fences`: checks whether a time is before the fence. Needs no package.
- `places`: folders with files. Needs PyArrow, like the others.
- `files`: reads the rows of a file.
- `merging`: merges the rows of the three sources.
- `reading`: the operations that read them.
- `apart`: finds the rows that readers of the files need beside them.
- `rolling`: aggregates them into longer timeframes.
- `chains`: finds the newest row of each contract.
"""

from mds_client.cold.fences import fence, is_cold

__all__ = ["fence", "is_cold"]
