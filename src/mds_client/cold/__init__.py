"""Rows that are kept in files: how a client reads them, and writes rows of their time.

A tenant's rows of a kind from before its fence are in files, or on their way there. Who reads from before the fence
reads three places and has one answer: a late row wins over a row of a file or of the table. The modules:

- `fences`: whether a time is before the fence. Needs no package.
- `places`: folders and buckets with files. Needs PyArrow, as the others do.
- `files`: the rows of a file.
- `merging`: rows of the three places as one.
- `reading`: the conversation that reads them.
- `rolling`: rows of a longer timeframe made of them.
"""

from mds_client.cold.fences import fence, is_cold

__all__ = ["fence", "is_cold"]
