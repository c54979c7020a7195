"""Load files and Arrow streams into a tenant in bulk.

`mds_client` loads small files (`mds ingest-ndjson`); `mds_client.files` reads the files.
"""

from datastore.load.loading import PART_ROWS, Load, LoadError, Loading, load

__all__ = [
    "PART_ROWS",
    "Load",
    "LoadError",
    "Loading",
    "load",
]
