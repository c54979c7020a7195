"""The process that others are copied from: those of jobs, and those that move rows and are killed.

Python has one in a process, and what is not imported when it starts, each copy imports by itself, which takes a second.
So all that tests copy asks for this one first.
"""

import multiprocessing
import sys
from functools import cache
from multiprocessing import forkserver

from datastore.jobs import own_modules
from datastore.worker import runner

IMPORTED = (
    "tests.control.known_calendars",
    "tests.control.cold_faults",
    "datastore.cold.metadata",
    "mds_client.cold.places.folders",
    # PyArrow imports it with the first array, if it is there.
    "pandas",
)


@cache
def start() -> None:
    """Start it, unless it runs already. Only Linux has one."""
    if sys.platform == "linux":
        from tests.control.cold_faults import MODULES  # it imports this module

        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([runner.__name__, *own_modules(), *MODULES.values(), *IMPORTED])
        forkserver.ensure_running()
