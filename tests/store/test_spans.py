"""The bookkeeping of a transfer: every block lands, no work is done twice without need, and no failure is endless."""

import random
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from llstore.store.transfer.spans import ATTEMPTS, Span, Spans

HEDGE = 3.0  # seconds without a byte after which a flight is hedged
OUTAGE = 3  # failures in a row after which the store is left in peace


def blocks(span: Span) -> range:
    return range(span.first, span.end)


def pause(failures: int) -> float:
    return min(0.2 * 2 ** (failures - 1), 8.0)


def take_all(spans: Spans, now: float = 0.0) -> list[Span]:
    taken = []
    while span := spans.take(now):
        taken.append(span)
    return taken


def fetch(spans: Spans, span: Span, now: float) -> None:
    for block in blocks(span):
        spans.land(block)
    spans.end(span, now, failed=False)


@dataclass
class Flight:
    span: Span
    moved: float
    hedged: bool

    def wants(self, missing: set[int]) -> set[int]:
        return missing & set(blocks(self.span))


class Transfer(RuleBasedStateMachine):
    """A transfer with any number of connections to which anything may happen, against a model of what is in flight."""

    @initialize(missing=st.sets(st.integers(0, 11), min_size=1), longest=st.integers(0, 4))
    def begin(self, missing: set[int], longest: int) -> None:
        self.now = 0.0
        self.longest = longest
        self.missing = set(missing)
        self.spans = Spans.of(missing, longest=longest)
        self.flights: list[Flight] = []
        self.failures: dict[int, int] = {}
        self.not_before: dict[int, float] = {}
        self.in_vain = 0
        self.quiet_until = 0.0

    def ready(self) -> set[int]:
        """What could be asked for now; of one stream, all or nothing."""
        if self.now < self.quiet_until:
            return set()
        waiting = {block for block in self.missing if self.not_before.get(block, 0.0) > self.now}
        busy = set().union(*(flight.wants(self.missing) for flight in self.flights))
        if not self.longest and (waiting or busy):
            return set()
        return self.missing - waiting - busy

    @rule()
    def take(self) -> None:
        ready = self.ready()
        span = self.spans.take(self.now)
        if span is None:
            assert not ready, "something was to be done"
            return
        twins = [flight for flight in self.flights if flight.wants(set(blocks(span)) & self.missing)]
        self.flights.append(Flight(span, self.now, bool(twins)))
        if twins:
            self.check_hedge(span, twins, ready)
        else:
            self.check_fresh(span, ready)

    def check_hedge(self, span: Span, twins: list[Flight], ready: set[int]) -> None:
        assert self.longest, "there is one stream"
        assert not ready, "something fresh was to be done"
        assert len(twins) == 1, "it is hedged already"
        assert not twins[0].hedged
        assert self.now - twins[0].moved > HEDGE
        assert {span.first, span.end - 1} <= twins[0].wants(self.missing)
        twins[0].hedged = True

    def check_fresh(self, span: Span, ready: set[int]) -> None:
        if not self.longest:
            assert (span.first, span.end) == (min(ready), max(ready) + 1)
            return
        assert set(blocks(span)) <= ready
        assert span.end - span.first <= self.longest
        if set(blocks(span)) & set(self.failures):
            assert span.end - span.first == 1, "what failed is fetched alone"

    @rule(seconds=st.sampled_from([0.1, 1.0, 3.5, 10.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.flights)
    @rule(data=st.data())
    def land(self, data: st.DataObject) -> None:
        flight = data.draw(st.sampled_from(self.flights))
        block = data.draw(st.sampled_from(blocks(flight.span)))
        if block in self.missing:
            self.in_vain, self.quiet_until = 0, 0.0
        assert self.spans.land(block) == (block in self.missing)
        self.missing.discard(block)

    @precondition(lambda self: self.flights)
    @rule(data=st.data(), failed=st.booleans())
    def end(self, data: st.DataObject, failed: bool) -> None:
        flight = data.draw(st.sampled_from(self.flights))
        self.flights.remove(flight)
        left = sorted(flight.wants(self.missing))
        failures = self.spans.end(flight.span, self.now, failed=failed)
        if not left:
            assert failures == 0
            return
        self.failures[left[0]] = self.failures.get(left[0], 0) + 1
        assert failures == self.failures[left[0]]
        self.not_before[left[0]] = self.now + pause(failures)
        if failed and self.now >= self.quiet_until:
            self.in_vain += 1
            if self.in_vain >= OUTAGE:
                self.quiet_until = self.now + pause(self.in_vain - OUTAGE + 1)

    def teardown(self) -> None:
        if not hasattr(self, "spans"):
            return
        assert self.spans.missing == self.missing
        # Whatever happened, from here on all goes well, and everything lands.
        for flight in self.flights:
            self.spans.end(flight.span, self.now, failed=True)
        for _ in range(20):
            self.now += 10.0
            for span in take_all(self.spans, self.now):
                fetch(self.spans, span, self.now)
        assert not self.spans.missing


TestTransfer = Transfer.TestCase


@given(count=st.integers(1, 60), connections=st.integers(1, 6), longest=st.integers(0, 4), seed=st.integers(0, 2**32))
def test_with_faults_everywhere_every_block_lands(count: int, connections: int, longest: int, seed: int) -> None:
    chance = random.Random(seed)
    spans = Spans.of(range(count), longest=longest)
    flying: list[Span] = []
    now = 0.0
    for _ in range(10_000):
        now += 0.05
        if len(flying) < connections and (span := spans.take(now)):
            flying.append(span)
        elif flying:
            span = flying.pop(chance.randrange(len(flying)))
            landed = [block for block in blocks(span) if chance.random() > 0.3]
            for block in landed:
                spans.land(block)
            assert spans.end(span, now, failed=chance.random() < 0.3) < 2 * ATTEMPTS
        if not spans.missing:
            break
    assert not spans.missing


def test_a_block_that_always_fails_ends_the_transfer_after_so_many_attempts() -> None:
    spans = Spans.of([7])
    now, pauses = 0.0, []
    for attempt in range(1, ATTEMPTS + 1):
        began = now
        while (span := spans.take(now)) is None:
            now += 0.01
        pauses.append(now - began)
        assert spans.end(span, now, failed=True) == attempt
    assert pauses == sorted(pauses), "each pause is at least as long as the one before"
    assert pauses[1] >= 0.19
    assert 7.9 < pauses[-1] < 8.1


def test_a_damaged_block_counts_as_failed_although_its_bytes_came() -> None:
    spans = Spans.of(range(2))
    span = spans.take(0.0)
    assert span == Span(0, 2)
    spans.land(1)
    assert spans.end(span, 1.0, failed=False) == 1
    assert spans.take(1.0) is None
    assert spans.take(1.3) == Span(0, 1)


def test_blocks_behind_a_failed_one_are_not_punished() -> None:
    spans = Spans.of(range(32), longest=4)
    span = spans.take(0.0)
    assert span == Span(0, 4)
    for block in range(4, 32):
        spans.land(block)
    assert spans.end(span, 0.0, failed=True) == 1
    assert [spans.take(0.0), spans.take(0.0)] == [Span(1, 3), Span(3, 4)], "the others are taken at once"
    assert spans.take(0.3) == Span(0, 1)


def test_ranges_get_shorter_towards_the_end() -> None:
    spans = Spans.of(range(100), longest=4)
    lengths = []
    while span := spans.take(0.0):
        lengths.append(span.end - span.first)
        for block in range(span.first, span.end):
            spans.land(block)
        spans.end(span, 0.0, failed=False)
    assert sum(lengths) == 100
    assert lengths == sorted(lengths, reverse=True)
    assert (lengths[0], lengths[-1]) == (4, 2)


def test_a_hedge_waits_until_nothing_fresh_is_to_do() -> None:
    spans = Spans.of(range(4))
    assert [spans.take(0.0), spans.take(10.0)] == [Span(0, 2), Span(2, 4)]
    assert spans.take(10.0) == Span(0, 2)
    assert spans.take(10.0) is None


def test_a_flight_is_hedged_once() -> None:
    spans = Spans.of([0])
    assert spans.take(0.0) == Span(0, 1)
    assert spans.take(2.9) is None
    assert spans.take(3.1) == Span(0, 1)
    assert spans.take(1000.0) is None


def test_a_hedge_fetches_only_what_has_not_landed() -> None:
    spans = Spans.of(range(2))
    assert spans.take(0.0) == Span(0, 2)
    spans.land(0)
    hedge = spans.take(4.0)
    assert hedge == Span(1, 2)
    fetch(spans, hedge, 4.1)
    assert spans.end(Span(0, 2), 20.0, failed=True) == 0
    assert not spans.missing


def test_a_flight_that_moves_is_slow_and_not_stalled() -> None:
    """On a slow line every flight takes long: fetching all twice would only make it slower."""
    spans = Spans.of(range(2), longest=1)
    slow, dead = spans.take(0.0), spans.take(0.0)
    assert slow
    assert dead
    for second in range(1, 60):
        spans.move(slow, float(second))
    assert spans.take(60.0) == dead
    assert spans.take(60.0) is None


def test_a_flight_much_slower_than_the_others_is_hedged_although_it_moves() -> None:
    spans = Spans.of(range(3), longest=1)
    first, second, third = (spans.take(0.0) for _ in range(3))
    assert first
    assert second
    assert third
    fetch(spans, first, 1.0)
    fetch(spans, second, 1.0)
    spans.move(third, 3.9)
    assert spans.take(3.9) is None
    spans.move(third, 4.1)
    assert spans.take(4.1) == third


def test_a_stall_does_not_change_what_is_usual() -> None:
    """A hedge that wins says nothing of how long a flight takes: else stalls would make hedges ever later."""
    spans = Spans.of(range(3), longest=1)
    usual = spans.take(0.0)
    assert usual
    fetch(spans, usual, 0.1)
    stalled = spans.take(0.1)
    last = spans.take(0.1)
    assert stalled
    assert last
    fetch(spans, last, 0.2)
    assert spans.take(20.1) == stalled
    fetch(spans, stalled, 20.2)
    spans.end(stalled, 20.2, failed=False)
    spans.missing.add(2)
    assert spans.take(30.0) == Span(2, 3)
    spans.move(Span(2, 3), 33.0)
    assert spans.take(33.2) == Span(2, 3)


def test_one_stream_takes_all_that_is_left() -> None:
    spans = Spans.of([2, 3, 5, 9], longest=0)
    assert spans.take(0.0) == Span(2, 10)
    assert spans.take(1000.0) is None, "a second stream would cost every byte before it once more"


def test_one_stream_is_tried_again_as_one_stream() -> None:
    spans = Spans.of(range(9), longest=0)
    assert spans.take(0.0) == Span(0, 9)
    for block in (0, 1, 2, 4, 5):
        spans.land(block)
    assert spans.end(Span(0, 9), 1.0, failed=True) == 1
    assert spans.take(1.0) is None
    assert spans.take(1.3) == Span(3, 9)


def test_one_stream_waits_for_the_ranges_that_were_begun() -> None:
    spans = Spans.of(range(6), longest=1)
    assert [spans.take(0.0), spans.take(0.0)] == [Span(0, 1), Span(1, 2)]
    spans.longest = 0
    assert spans.take(0.1) is None
    fetch(spans, Span(0, 1), 1.0)
    assert spans.take(1.0) is None
    fetch(spans, Span(1, 2), 1.0)
    assert spans.take(1.0) == Span(2, 6)


def test_a_store_that_answers_nothing_is_not_asked_for_every_block_at_once() -> None:
    spans = Spans.of(range(5000))
    asked, now = 0, 0.0
    while now < 30.0:
        now += 0.05
        for span in [span for _ in range(4) if (span := spans.take(now))]:
            asked += 1
            if spans.end(span, now, failed=True) >= ATTEMPTS:
                raise AssertionError(f"given up after {now} seconds")
    assert asked < 100


def test_a_store_that_answers_again_is_asked_at_full_speed() -> None:
    spans = Spans.of(range(100))
    for _ in range(6):
        span = spans.take(0.0)
        if span:
            spans.end(span, 0.0, failed=True)
    now = 0.0
    while (span := spans.take(now)) is None:
        now += 0.05
    fetch(spans, span, now)
    assert all(spans.take(now) for _ in range(8))
