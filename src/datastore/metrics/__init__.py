"""Prometheus metrics of the service, of workers and of the store.

The metrics of a client are in `mds_client.metrics`.
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
