"""Vendors' APIs: bars from the vendors' own client libraries, read with the same profiles as the vendors' files.

Each vendor is a module with one class (`mds_client.vendors.base.Vendor`), registered by an entry point of the group
`mds_client.vendors`. `Fetched` provides the bars of a symbol as an input, like the files of `mds_client.files`.
`mds fetch` and `mds stream` are in the command modules, the sources of backfills in `datastore.sources`.
"""

from mds_client.vendors.base import (
    NoBars,
    SymbolRefused,
    Told,
    Vendor,
    VendorRefused,
    VendorUnavailable,
    Wanted,
    width,
)
from mds_client.vendors.fetched import Fetched
from mds_client.vendors.registry import ENTRY_POINTS, make, vendors

__all__ = [
    "ENTRY_POINTS",
    "Fetched",
    "NoBars",
    "SymbolRefused",
    "Told",
    "Vendor",
    "VendorRefused",
    "VendorUnavailable",
    "Wanted",
    "make",
    "vendors",
    "width",
]
