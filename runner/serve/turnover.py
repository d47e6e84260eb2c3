"""How fast places become free, from when the latest ones did. No clock."""

from collections import deque

LEAST, MOST = 1.0, 60.0  # seconds that somebody is told to wait
KEPT = 64  # ends


class Turnover:
    """Remembers when requests ended, in seconds of any clock. Time in which there were none does not count."""

    def __init__(self) -> None:
        self._ends: deque[float] = deque([0.0], maxlen=KEPT)  # in seconds of work
        self._worked = 0.0
        self._since: float | None = None  # when the work at hand was begun

    def began(self, now: float) -> None:
        """There is a request."""
        if self._since is None:
            self._since = now

    def ended(self, now: float, *, last: bool) -> None:
        """A request ended, and was the `last` there was."""
        self._ends.append(self._work(now))
        if last:
            self._worked, self._since = self._work(now), None

    def wait(self, places: int, now: float) -> float:
        """In about how many seconds so many places will have become free, at the pace of late."""
        if len(self._ends) < 2:
            return LEAST
        each = (self._work(now) - self._ends[0]) / (len(self._ends) - 1)
        return min(max(each * places, LEAST), MOST)

    def _work(self, now: float) -> float:
        return self._worked + (now - self._since if self._since is not None else 0.0)
