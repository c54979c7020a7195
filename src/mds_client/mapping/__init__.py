"""The column mapping: which column of a file or key of a record is which field of a kind, and how they are written.

Mappings that ship for vendors' files are in `mds_client.profiles`. How a file is read is in `mds_client.files`.
"""

from mds_client.mapping.model import OPTIONS, PLAIN, Extra, Mapping, extra_mapping, option

__all__ = ["OPTIONS", "PLAIN", "Extra", "Mapping", "extra_mapping", "option"]
