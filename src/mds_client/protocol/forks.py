"""Reset the library's objects in a forked process.

An object that two processes cannot share registers itself with `watch`. Its `forked` method runs in the child process
before any other code there can use it.
"""

import os
import weakref
from typing import Protocol


class Forkable(Protocol):
    """An object that must start over in a forked process."""

    def forked(self) -> None:
        """Start over. Runs in the child's only thread; locks may be held by threads that no longer exist."""


_watched: "weakref.WeakSet[Forkable]" = weakref.WeakSet()


def watch(one: Forkable) -> None:
    """Call the object's `forked` in every process that is forked while the object exists."""
    _watched.add(one)


def _forked() -> None:
    for one in list(_watched):
        one.forked()


if hasattr(os, "register_at_fork"):  # there is no fork on Windows
    os.register_at_fork(after_in_child=_forked)
