"""Workers: claim jobs, hold them by a lease, and run each in a separate process.

`datastore.jobs` defines jobs; `datastore.maintenance` defines the store's own periodic jobs.
"""

from datastore.worker.scope import unserved
from datastore.worker.settings import Watch, WorkerSettings
from datastore.worker.worker import Worker

__all__ = [
    "Watch",
    "Worker",
    "WorkerSettings",
    "unserved",
]
