"""The store's own jobs: periodic ones, and long work that an operator asks for.

The work itself is in the modules of its subject, such as `datastore.timescale_policies`.
"""

from datastore.maintenance.on_demand import RefreshOrder
from datastore.maintenance.periodic import PERIODIC, put_down

__all__ = [
    "PERIODIC",
    "RefreshOrder",
    "put_down",
]
