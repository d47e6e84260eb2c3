"""Which blocks of a blob are still to be fetched, and by whom: bookkeeping without a clock and without I/O."""

from collections.abc import Iterable
from dataclasses import dataclass, field

ATTEMPTS = 10  # of a block before the transfer is given up
_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 8.0
_OUTAGE = 3  # failures in a row, with no block landing between them: it is the store that fails, not a range
_SHARES = 8  # a range is at most this part of what is missing,
_SHORT = 2  # or that many blocks
_HEDGE_SECONDS = 3.0
_HEDGE_FACTOR = 4.0


@dataclass(frozen=True, slots=True)
class Span:
    """Blocks `first` up to, not including, `end`: one range request."""

    first: int
    end: int


@dataclass(slots=True)
class _Flight:
    span: Span
    since: float
    moved: float
    hedged: bool


@dataclass(slots=True)
class Spans:
    """The blocks of one transfer. All times are seconds of one clock, given by the caller.

    `longest` is the most blocks in a span; `longest` 0 asks for all that is left in one stream. Long ranges cost a
    server less (SeaweedFS: 32 MiB a quarter less than 8); towards the end they get shorter, so that all connections
    finish together.
    """

    missing: set[int]
    longest: int = 4
    _failures: dict[int, int] = field(default_factory=dict)
    _not_before: dict[int, float] = field(default_factory=dict)
    _flights: list[_Flight] = field(default_factory=list)
    _typical: float = 0.0
    _in_vain: int = 0
    _quiet_until: float = 0.0

    @classmethod
    def of(cls, blocks: Iterable[int], *, longest: int = 4) -> "Spans":
        """A transfer of these blocks."""
        return cls(set(blocks), longest)

    def take(self, now: float) -> Span | None:
        """The next span to fetch: what nobody fetches, else what somebody has been fetching for too long.

        None when there is nothing to do at this moment.
        """
        if now < self._quiet_until:
            return None
        if not self.longest:
            return self._stream(now)
        return self._fresh(now) or self._hedge(now)

    def wanted(self, block: int) -> bool:
        """Whether the block has not landed yet."""
        return block in self.missing

    def move(self, span: Span, now: float) -> None:
        """Note that bytes of the span came: it may be slow, but it has not stalled."""
        for flight in self._flights:
            if flight.span == span:
                flight.moved = now

    def land(self, block: int) -> bool:
        """Note that the block is here and right; False when it was already."""
        if block not in self.missing:
            return False
        self.missing.remove(block)
        self._in_vain, self._quiet_until = 0, 0.0
        return True

    def end(self, span: Span, now: float, *, failed: bool) -> int:
        """Note that a fetch of the span has ended; returns how often its first missing block has failed, else 0.

        What did not land waits a while, longer each time, and is then taken again.
        """
        flight = next(flight for flight in self._flights if flight.span == span)
        self._flights.remove(flight)
        left = self._left(span)
        if not left:
            self._learn(flight, now, failed=failed)
            return 0
        if failed:
            self._endure(now)
        # One bad block must not count against those behind it, which were never tried.
        failures = self._failures[left[0]] = self._failures.get(left[0], 0) + 1
        self._not_before[left[0]] = now + _pause(failures)
        return failures

    def _learn(self, flight: _Flight, now: float, *, failed: bool) -> None:
        # A flight that was hedged may have ended because of its hedge: its time tells nothing.
        if not failed and not flight.hedged:
            taken = (now - flight.since) / (flight.span.end - flight.span.first)
            self._typical = taken if not self._typical else 0.8 * self._typical + 0.2 * taken

    def _endure(self, now: float) -> None:
        # Without this, a store that is down would be asked for each block of a large blob in turn, without a pause.
        if now >= self._quiet_until:
            self._in_vain += 1
            if self._in_vain >= _OUTAGE:
                self._quiet_until = now + _pause(self._in_vain - _OUTAGE + 1)

    def _fresh(self, now: float) -> Span | None:
        busy = {block for flight in self._flights for block in range(flight.span.first, flight.span.end)}
        first = min((block for block in self.missing - busy if self._ready(block, now)), default=None)
        if first is None:
            return None
        end = first + 1
        longest = min(self.longest, max(len(self.missing) // _SHARES, _SHORT))
        while end in self.missing and end not in busy and end - first < longest:
            # What failed before is fetched alone.
            if end in self._failures or first in self._failures:
                break
            end += 1
        return self._begin(Span(first, end), now)

    def _stream(self, now: float) -> Span | None:
        # Each stream costs all the bytes before its first: there is never a second one, not even as a hedge.
        flying = any(self._left(flight.span) for flight in self._flights)
        if flying or not self.missing or not all(self._ready(block, now) for block in self.missing):
            return None
        return self._begin(Span(min(self.missing), max(self.missing) + 1), now)

    def _hedge(self, now: float) -> Span | None:
        for flight in self._flights:
            left = self._left(flight.span)
            if left and not flight.hedged and self._late(flight, now):
                flight.hedged = True
                return self._begin(Span(left[0], left[-1] + 1), now, hedged=True)
        return None

    def _late(self, flight: _Flight, now: float) -> bool:
        usual = self._typical * (flight.span.end - flight.span.first)
        slow = usual > 0 and now - flight.since > max(_HEDGE_SECONDS, _HEDGE_FACTOR * usual)
        return slow or now - flight.moved > _HEDGE_SECONDS

    def _ready(self, block: int, now: float) -> bool:
        return self._not_before.get(block, 0.0) <= now

    def _left(self, span: Span) -> list[int]:
        return [block for block in range(span.first, span.end) if block in self.missing]

    def _begin(self, span: Span, now: float, *, hedged: bool = False) -> Span:
        self._flights.append(_Flight(span, now, now, hedged))
        return span


def _pause(failures: int) -> float:
    return min(_FIRST_PAUSE * 2.0 ** min(failures - 1, 16), _LONGEST_PAUSE)
