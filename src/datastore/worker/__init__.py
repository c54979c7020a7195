"""Workers: take jobs, hold them by a lease, and run them in processes of their own.

What jobs are is in `datastore.jobs`; what the store does for itself at regular times in `datastore.maintenance`.
"""

from datastore.worker.scope import unserved
from datastore.worker.settings import Settings, Watch
from datastore.worker.worker import Worker

__all__ = [
    "Settings",
    "Watch",
    "Worker",
    "unserved",
]
