"""The column mapping: maps the columns of a file or the keys of a record to fields, and describes their format.

Mappings for vendors' files are in `mds_client.profiles`. Files are read in `mds_client.files`.
"""

from mds_client.mapping.further import is_index, map_texts, more_choices
from mds_client.mapping.model import PLAIN, Mapping, extra_mapping
from mds_client.mapping.parts import OPTIONS, Extra, option

__all__ = ["OPTIONS", "PLAIN", "Extra", "Mapping", "extra_mapping", "is_index", "map_texts", "more_choices", "option"]
