"""The methods of `AMDS` and of its transactions.

Each method builds an operation (`mds_client.reading.reads`, `mds_client.writing.upserts`, `mds_client.jobs`) and runs
it. The operation checks the arguments before anything is sent. The methods are in `mds_client.surface`.
`mds_client.methods` is generated from this module by `tools/sync.py`.

A time without a zone is UTC. A window includes its start and excludes its end. The number of rows is not limited unless
you ask for it.
"""

from mds_client.surface.alists import AsyncLists
from mds_client.surface.astreams import AsyncStreams
from mds_client.surface.awindows import AsyncWindows
from mds_client.surface.awrites import AsyncWrites


class AsyncMethods(AsyncWrites, AsyncWindows, AsyncLists, AsyncStreams):
    """The client's methods, each on one connection."""
