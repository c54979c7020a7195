"""Prometheus metrics of the service, of workers and of the store.

`mds_client.metrics` has those of a client.
"""

from datastore.metrics.declared import DECLARED, MAX_GROUPS, OTHER, Declared
from datastore.metrics.processes import ServiceMetrics, WorkerMetrics
from datastore.metrics.store import StoreCollector

__all__ = [
    "DECLARED",
    "MAX_GROUPS",
    "OTHER",
    "Declared",
    "ServiceMetrics",
    "StoreCollector",
    "WorkerMetrics",
]
