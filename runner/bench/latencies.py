"""How long requests waited: for their first token, between two, and altogether."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

CUT = "cut off"  # the error of a request that the load ended, not the engine


@dataclass(frozen=True, slots=True)
class Record:
    """One request as its client saw it; times are in seconds on one clock.

    `submitted` is when it was due, `times` when each token came (equal where several came at once), `ended` when the
    answer was whole. With an `error` it was not.
    """

    submitted: float
    times: tuple[float, ...]
    ended: float
    prompt_tokens: int
    owner: str = ""
    error: str = ""

    @property
    def ttft(self) -> float:
        """Time to the first token; infinite when there was none."""
        return self.times[0] - self.submitted if self.times else math.inf

    @property
    def seconds(self) -> float:
        """From submission to the end."""
        return self.ended - self.submitted

    @property
    def gaps(self) -> tuple[float, ...]:
        """Inter-token latencies: the times between two arrivals, whatever number of tokens each brought."""
        return tuple(later - earlier for earlier, later in pairwise(self.times) if later > earlier)

    @property
    def tpot(self) -> float:
        """Time per output token after the first; 0 when there was no other."""
        later = len(self.times) - 1
        return (self.times[-1] - self.times[0]) / later if later > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Spread:
    """A distribution of seconds in four numbers; NaN where there were none."""

    mean: float
    p50: float
    p95: float
    p99: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread":
        """That of `values`."""
        found = sorted(values)
        if not found:
            return cls(math.nan, math.nan, math.nan, math.nan)
        return cls(sum(found) / len(found), *(_quantile(found, share) for share in (0.5, 0.95, 0.99)))


def percentile(values: Iterable[float], percent: float) -> float:
    """The value that `percent` of 100 lie below, interpolated between its neighbours (R's type 7, numpy's default)."""
    return _quantile(sorted(values), percent / 100)


def _quantile(found: Sequence[float], share: float) -> float:
    place = share * (len(found) - 1)
    low = math.floor(place)
    high = min(low + 1, len(found) - 1)
    # Written so that two equal neighbours give just their value.
    return found[low] + (place - low) * (found[high] - found[low])


def jain(shares: Sequence[float]) -> float:
    """Jain's fairness index: 1 when all have the same, 1/n when one has all. R. Jain et al., DEC-TR-301, 1984."""
    squares = sum(share * share for share in shares)
    return sum(shares) ** 2 / (len(shares) * squares) if squares else 1.0


@dataclass(frozen=True, slots=True)
class Load:
    """What a load gave: its requests, and how long it was at work, from `began` for `seconds`."""

    records: tuple[Record, ...]
    began: float
    seconds: float

    @property
    def whole(self) -> tuple[Record, ...]:
        """The requests that were answered."""
        return tuple(record for record in self.records if not record.error)

    @property
    def failed(self) -> tuple[Record, ...]:
        """The requests that the engine refused or broke off."""
        return tuple(record for record in self.records if record.error not in ("", CUT))

    @property
    def tokens(self) -> int:
        """Generated while it was at work: what came later came to fewer and fewer clients."""
        return sum(self.within(time) for record in self.records for time in record.times)

    @property
    def tokens_per_second(self) -> float:
        """Generated tokens, of all requests together."""
        return self.tokens / self.seconds

    @property
    def requests_per_second(self) -> float:
        """Answered while it was at work."""
        return self._rate(lambda _: True)

    def goodput(self, good: Callable[[Record], bool]) -> float:
        """Requests a second that were answered while it was at work, and are `good`."""
        return self._rate(good)

    def good_tokens_per_second(self, good: Callable[[Record], bool]) -> float:
        """Tokens a second of answered requests that are `good`."""
        kept = (record for record in self.whole if good(record))
        return sum(self.within(time) for record in kept for time in record.times) / self.seconds

    def full(self, streams: int) -> float:
        """Generated tokens a second from when so many requests had their first one until fewer were left to end.

        NaN where there were never so many at once.
        """
        firsts = sorted(record.times[0] for record in self.whole if record.times)
        ends = sorted(record.ended for record in self.whole)
        if len(firsts) < streams or firsts[streams - 1] >= (over := ends[len(ends) - streams]):
            return math.nan
        began = firsts[streams - 1]
        return sum(began < time <= over for record in self.whole for time in record.times) / (over - began)

    def within(self, time: float) -> bool:
        """Whether it was at work then."""
        return time <= self.began + self.seconds

    def owned(self, owner: str) -> "Load":
        """The same, of one owner's requests."""
        return Load(tuple(record for record in self.records if record.owner == owner), self.began, self.seconds)

    def ttft(self) -> Spread:
        """Times to the first token."""
        return Spread.of(record.ttft for record in self.whole)

    def itl(self) -> Spread:
        """Times between tokens, those of all requests in one heap."""
        return Spread.of(self.gaps())

    def request(self) -> Spread:
        """Times of whole requests."""
        return Spread.of(record.seconds for record in self.whole)

    def gaps(self) -> list[float]:
        """Every inter-token latency, those of requests that were cut off too."""
        return [gap for record in self.records for gap in record.gaps]

    def _rate(self, good: Callable[[Record], bool]) -> float:
        return sum(self.within(record.ended) and good(record) for record in self.whole) / self.seconds
