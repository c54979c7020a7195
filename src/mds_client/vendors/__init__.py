"""Vendors' APIs: bars through the vendors' own client libraries, read by the same profiles as the vendors' files.

Each vendor is a module with one class (`mds_client.vendors.base.Vendor`), named by an entry point of the group
`mds_client.vendors`. `Fetched` gives the bars of a symbol as an input, as `mds_client.files` gives those of a file.
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
