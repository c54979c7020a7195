"""Maintenance of the store, as jobs: at regular times, or when an operator asks for it.

The work itself is in the modules of its subject, such as `datastore.timescale_policies`.
"""

from datastore.maintenance.on_demand import RefreshOrder
from datastore.maintenance.periodic import PERIODIC, put_down

__all__ = [
    "PERIODIC",
    "RefreshOrder",
    "put_down",
]
