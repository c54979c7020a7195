"""The end of servers that run in a thread of the test process."""

import asyncio
from collections.abc import Iterable
from typing import Any


async def stop_accepting(sockets: Iterable[Any]) -> None:
    """Accept no more connections, and wait for those that are just being accepted.

    A server that is closed meanwhile loses them. Then the garbage collector closes their sockets, in another test.

    Args:
        sockets: The sockets that listen, of servers of this event loop.
    """
    for socket in sockets:
        asyncio.get_running_loop().remove_reader(socket.fileno())
    while accepting := [task for task in asyncio.all_tasks() if "_accept_connection2" in repr(task.get_coro())]:
        await asyncio.wait(accepting)
