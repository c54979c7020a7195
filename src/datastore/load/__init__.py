"""Load files and Arrow streams into a tenant in bulk.

Small files go through `mds_client` (`mds ingest-ndjson`). The files are read by `mds_client.files`.
"""

from datastore.load.loading import PART_ROWS, Load, LoadError, Loading, load

__all__ = [
    "PART_ROWS",
    "Load",
    "LoadError",
    "Loading",
    "load",
]
