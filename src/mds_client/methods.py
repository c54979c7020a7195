# Generated from amethods.py by tools/sync.py: edit that module, and run `make generate`.
"""The methods of `MDS` and of its transactions.

Each method builds an operation (`mds_client.reading.reads`, `mds_client.writing.upserts`, `mds_client.jobs`) and runs
it. The operation checks the arguments before anything is sent. The methods are in `mds_client.surface`.

A time without a zone is UTC. A window includes its start and excludes its end. The number of rows is not limited unless
you ask for it.
"""

from mds_client.surface.lists import Lists
from mds_client.surface.streams import Streams
from mds_client.surface.windows import Windows
from mds_client.surface.writes import Writes


class Methods(Writes, Windows, Lists, Streams):
    """The client's methods, each on one connection."""
