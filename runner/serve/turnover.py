"""How fast places become free, from when the latest ones did. No clock."""

from collections import deque

LEAST, MOST = 1.0, 60.0  # seconds that somebody is told to wait
KEPT = 64  # ends


class Turnover:
    """Remembers when requests ended, in seconds of any clock."""

    def __init__(self) -> None:
        self._ends: deque[float] = deque(maxlen=KEPT)

    def ended(self, now: float) -> None:
        """A request ended."""
        self._ends.append(now)

    def wait(self, places: int, now: float) -> float:
        """In about how many seconds so many places will have become free, at the pace of late."""
        if len(self._ends) < 2:
            return LEAST
        each = (now - self._ends[0]) / len(self._ends)
        return min(max(each * places, LEAST), MOST)
