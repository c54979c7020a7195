"""How many rows a second are written: the difference of two readings of the server's counter."""

import time
from collections import deque
from collections.abc import Callable
from threading import Lock
from typing import Final

WITHIN_S: Final = 60.0
"""The longest time between the two readings, in seconds. A page that is open reads more often."""

APART_S: Final = 1.0
"""The shortest time between them: the server counts transactions only about once a second."""


class Rates:
    """The readings of the last minute, of all pages together.

    Args:
        clock: Returns seconds, such as `time.monotonic`.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._readings: deque[tuple[float, int]] = deque()

    def read(self, count: int) -> tuple[float, float] | None:
        """Take a reading.

        Args:
            count: The server's counter at this moment.

        Returns:
            The rows per second and the seconds that they are an average of; None if there is no earlier reading.
        """
        now = self._clock()
        with self._lock:
            while self._readings and now - self._readings[0][0] > WITHIN_S:
                self._readings.popleft()
            if self._readings and count < self._readings[-1][1]:
                # The server counts anew: see `datastore.sizes.rows_written`.
                self._readings.clear()
            earliest = self._readings[0] if self._readings else None
            if not self._readings or now - self._readings[-1][0] >= APART_S:
                self._readings.append((now, count))
        if earliest is None or now - earliest[0] < APART_S:
            return None
        seconds = now - earliest[0]
        return (count - earliest[1]) / seconds, seconds
