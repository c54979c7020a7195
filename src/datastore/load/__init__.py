"""Load files and Arrow streams into a tenant in bulk.

Small files go through `mds_client` (`mds ingest-ndjson`).
"""

from datastore.load.inputs import FORMATS, Format, opened
from datastore.load.loading import PART_ROWS, Load, Loading, load

__all__ = [
    "FORMATS",
    "PART_ROWS",
    "Format",
    "Load",
    "Loading",
    "load",
    "opened",
]
