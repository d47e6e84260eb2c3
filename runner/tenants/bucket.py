"""A bucket that time fills: so much at once, and so much a minute. Whole numbers only, so that it is exact.

What was reserved and not used is given back as if it had never been taken. That is not the same as adding it: had it
not been taken, the bucket might have been full meanwhile, and what flowed in then would have been lost. So a bucket
remembers what happened since its oldest open reservation. All that happens to a level is of one kind, adding a number
and staying between two bounds, and several of that kind in a row are one of it: the memory is as long as there are
open reservations.
"""

from dataclasses import dataclass, field

SECOND = 10**9  # all times here are in nanoseconds
_ONE = 60 * SECOND  # the unit: with a limit of one a minute, a nanosecond brings one
_ENDLESS = 10**60


@dataclass(frozen=True, slots=True)
class Flow:
    """What happens to a level: it gains, and then is not below `low` nor above `high`."""

    gain: int = 0
    low: int = -_ENDLESS
    high: int = _ENDLESS

    def __call__(self, level: int) -> int:
        return max(self.low, min(self.high, level + self.gain))

    def then(self, next: "Flow") -> "Flow":
        """Both, one after the other, as one."""
        return Flow(self.gain + next.gain, next(self.low), next(self.high))


@dataclass(slots=True, eq=False)
class Reservation:
    """What was taken and may be given back, and what has happened since, up to the next one."""

    amount: int
    since: Flow = field(default_factory=Flow)


class Bucket:
    """Full at first. `limit` is its size and what flows in each minute; `now` is in nanoseconds, of any clock.

    What was used beyond a reservation is owed: the level is below nothing then.
    """

    def __init__(self, limit: int, now: int) -> None:
        self.limit = limit
        self._now = now
        self._level = self._before = limit * _ONE  # now; and before the oldest open reservation
        self._open: list[Reservation] = []

    @property
    def left(self) -> int:
        """How many can be taken."""
        return max(0, self._level // _ONE)

    def fill(self, now: int) -> None:
        """Time has passed; a clock that goes back is taken for one that stands."""
        self._happen(Flow(self.limit * max(0, now - self._now), high=self.limit * _ONE))
        self._now = max(now, self._now)

    def resize(self, limit: int) -> None:
        """Another limit. What was used stays used, up to the new limit."""
        self._happen(Flow((limit - self.limit) * _ONE, low=0))
        self.limit = limit

    def wait(self, count: int) -> int:
        """The nanoseconds until `count`, which is not above the limit, can be taken; 0 is now."""
        return max(0, -((self._level - count * _ONE) // self.limit))

    def take(self, count: int) -> Reservation:
        """Reserve so many."""
        taken = Reservation(count * _ONE)
        self._open.append(taken)
        self._level -= taken.amount
        return taken

    def settle(self, taken: Reservation, used: int) -> None:
        """So many of them were used: from now on, as if only these had been taken."""
        at = self._open.index(taken)
        del self._open[at]
        past = Flow(-used * _ONE).then(taken.since)
        if at:
            self._open[at - 1].since = self._open[at - 1].since.then(past)
        else:
            self._before = past(self._before)
        self._level = self._before
        for other in self._open:
            self._level = other.since(self._level - other.amount)

    def _happen(self, flow: Flow) -> None:
        self._level = flow(self._level)
        if self._open:
            self._open[-1].since = self._open[-1].since.then(flow)
        else:
            self._before = self._level
