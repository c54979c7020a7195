"""The declared schema: tables, functions, views and doors.

Nothing here changes a database; `datastore.migration` does.
"""

from datastore.schema.declared import DatabaseObject
from datastore.schema.objects import objects
from datastore.schema.tables import COMPARISON, metadata

__all__ = [
    "COMPARISON",
    "DatabaseObject",
    "metadata",
    "objects",
]
