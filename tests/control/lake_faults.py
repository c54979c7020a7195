"""A process that publishes tables and is killed at a step."""

import multiprocessing
import os
import signal
from typing import Final

STEPS: Final = ("made", "prepared", "published")
_CONTEXT: Final = multiprocessing.get_context("forkserver")


def publish(dsn: str, url: str, stop_at: str) -> None:
    """Publish; at a step, kill this process."""
    from datastore.cold import publishing

    def reached(step: str) -> None:
        if step == stop_at:
            os.kill(os.getpid(), signal.SIGKILL)

    list(publishing.publish(dsn, url, reached=reached))


def killed(dsn: str, url: str, stop_at: str) -> int | None:
    """Publish in a process that is killed at a step, and return how it ended."""
    process = _CONTEXT.Process(target=publish, args=(dsn, url, stop_at))
    process.start()
    process.join()
    return process.exitcode
