"""What happens to this library's objects in a process that was forked.

An object that cannot be used by two processes registers itself with `watch`; its `forked` method runs in the child
process, before anything else there can use it.
"""

import os
import weakref
from typing import Protocol


class Forkable(Protocol):
    """An object that has to begin anew in a forked process."""

    def forked(self) -> None:
        """Begin anew. Runs in the child process, in its only thread; locks may be held by threads that are gone."""


_watched: "weakref.WeakSet[Forkable]" = weakref.WeakSet()


def watch(one: Forkable) -> None:
    """Call the object's `forked` in every process that is forked while the object exists."""
    _watched.add(one)


def _forked() -> None:
    for one in list(_watched):
        one.forked()


if hasattr(os, "register_at_fork"):  # there is no fork on Windows
    os.register_at_fork(after_in_child=_forked)
