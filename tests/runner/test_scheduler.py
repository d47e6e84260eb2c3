"""The scheduler, whatever the order of events: nobody starves, nothing is lost or doubled, no budget is overrun."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llstore.runner import QueueFull, Sampling
from llstore.runner.engine.company import Company
from llstore.runner.engine.limits import Limits
from llstore.runner.engine.pace import Pace
from llstore.runner.engine.request import Request
from llstore.runner.engine.scheduler import Decode, Prefill, Scheduler
from llstore.runner.engine.sequence import Sequence

SLOTS, BATCH = 3, 32
ROOMY = Limits(queue=1000)
COMPANY = Company(rows=2, length=64)


@dataclass
class Bench:
    """An engine without a model: it does what the scheduler says, checks it, and counts."""

    exact: bool = False
    slots: int = SLOTS
    limits: Limits = ROOMY
    now: float = 0.0
    read: dict[int, list[int]] = field(default_factory=dict)  # positions that were computed, by request
    ended: dict[int, float] = field(default_factory=dict)
    whole: dict[int, bool] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)  # by owner

    def __post_init__(self) -> None:
        self.pace = Pace()
        self.scheduler = Scheduler(self.slots, self.limits, batch_size=BATCH, company=COMPANY if self.exact else None)
        self.goals: dict[int, int] = {}
        self.sequences: dict[int, Sequence] = {}

    def submit(self, prompt: int, answer: int, **settings: object) -> int:
        return self.ask((len(self.sequences),) * prompt, answer, **settings)

    def ask(self, prompt: tuple[int, ...], answer: int, **settings: object) -> int:
        id = len(self.sequences)
        request = Request(prompt, Sampling(), **settings)
        sequence = Sequence.of(id, request, now=self.now, exact=self.exact)
        self.scheduler.submit(sequence)
        self.sequences[id], self.goals[id], self.read[id] = sequence, answer, []
        return id

    def end(self, id: int, *, cut_off: bool = True) -> None:
        if id not in self.ended:
            self.scheduler.remove(self.sequences[id])
            self.ended[id] = self.now
            self.whole[id] = not cut_off

    def step(self) -> None:
        self.now += 0.01
        for sequence in self.scheduler.expired(self.now):
            self.end(sequence.id)
        while True:
            self.scheduler.next_victim(self.now)
            if self.scheduler.next_seat(self.now) is None:
                break
        assert len(self.scheduler.running) <= self.slots
        step = self.scheduler.next_step(self.pace)
        if isinstance(step, Prefill):
            self.prefill(step)
        elif isinstance(step, Decode):
            self.decode(step)
        else:
            assert not self.scheduler.running
            assert not self.scheduler.waiting

    def prefill(self, step: Prefill) -> None:
        total = sum(count for _, count in step.chunks)
        assert total <= BATCH
        assert len({sequence.id for sequence, _ in step.chunks}) == len(step.chunks)
        if len(step.chunks) > 1:
            assert not self.exact
            assert not any(sequence.request.alone for sequence, _ in step.chunks)
        for sequence, count in step.chunks:
            assert 0 < count <= sequence.prefill_end - sequence.held
            if self.exact:
                assert sequence.held % BATCH == 0
            self.compute(sequence, count)
        self.pace.prefilled(total, 0.001 * total)
        for sequence, _ in step.chunks:
            self.choose(sequence)

    def decode(self, step: Decode) -> None:
        assert len({sequence.id for sequence in step.sequences}) == len(step.sequences) <= self.slots
        if len(step.sequences) > 1:
            assert not any(sequence.request.alone for sequence in step.sequences)
            assert not self.exact or all(sequence.held < COMPANY.length for sequence in step.sequences)
            assert not self.exact or len(step.sequences) <= COMPANY.rows
        for sequence in step.sequences:
            self.compute(sequence, 1)
        self.pace.decoded(len(step.sequences), 0.001 * len(step.sequences))
        for sequence in step.sequences:
            self.choose(sequence)

    def compute(self, sequence: Sequence, count: int) -> None:
        assert sequence.id in self.scheduler.running
        self.read[sequence.id] += range(sequence.held, sequence.held + count)
        sequence.held += count
        self.scheduler.served([sequence], count)
        self.tokens[sequence.owner] = self.tokens.get(sequence.owner, 0) + count

    def choose(self, sequence: Sequence) -> None:
        if sequence.complete:
            sequence.tokens.append(1)
            if len(sequence.generated) >= self.goals[sequence.id]:
                self.end(sequence.id, cut_off=False)

    def drain(self, *, steps: int) -> None:
        for _ in range(steps):
            if not self.scheduler.running and not self.scheduler.waiting:
                return
            self.step()
        raise AssertionError(f"{len(self.scheduler.waiting)} wait and {len(self.scheduler.running)} run after {steps}")


submissions = st.fixed_dictionaries(
    {
        "prompt": st.integers(1, 100),
        "answer": st.integers(1, 20),
        "share": st.sampled_from("abc"),
        "priority": st.integers(-1, 2),
        "weight": st.sampled_from([0.5, 1.0, 3.0]),
        "patient": st.booleans(),
        "alone": st.sampled_from([False, False, False, True]),
        "seconds": st.sampled_from([None, None, None, 0.05, 0.5]),
        "generated": st.sampled_from([(), (), (1, 1, 1)]),
    }
)
events = st.lists(
    st.one_of(
        submissions,
        st.integers(0, 40),  # the number of a request to cancel
        st.sampled_from(["step"] * 3 + ["steps"]),
    ),
    max_size=60,
)


@given(events, st.booleans())
def test_whatever_happens_every_token_is_read_once_in_order_and_everybody_ends(
    happened: list[object], exact: bool
) -> None:
    bench = Bench(exact=exact)
    for event in happened:
        if isinstance(event, dict):
            bench.submit(**event)
        elif isinstance(event, int):
            if event < len(bench.sequences):
                bench.end(event)
        else:
            for _ in range(1 if event == "step" else 15):
                bench.step()
    bench.drain(steps=40_000)
    for id, positions in bench.read.items():
        assert positions == list(range(len(positions)))
        if bench.whole[id]:
            sequence = bench.sequences[id]
            assert len(sequence.generated) == max(bench.goals[id], len(sequence.request.generated) + 1)
            assert len(positions) == len(sequence.tokens) - 1
    assert set(bench.ended) == set(bench.sequences)


def test_a_low_priority_is_served_while_high_ones_keep_coming() -> None:
    bench = Bench(limits=Limits(ageing=1.0))
    low = bench.submit(10, 5, priority=-3)
    for _ in range(4000):
        while len(bench.scheduler.waiting) < 10:
            bench.submit(10, 5, priority=1, share="others")
        bench.step()
        if low in bench.ended:
            break
    assert low in bench.ended


def test_an_owner_is_served_while_new_owners_keep_coming() -> None:
    bench = Bench()
    for _ in range(4):
        bench.submit(60, 20, share="old")
    for n in range(4000):
        while len(bench.scheduler.waiting) < 10:
            bench.submit(10, 5, share=f"new{n}-{len(bench.sequences)}")
        bench.step()
        if all(id in bench.ended for id in range(4)):
            break
    assert all(id in bench.ended for id in range(4))


def test_owners_get_equal_parts_of_the_tokens_whoever_sends_more() -> None:
    bench = Bench(slots=16)
    for _ in range(3000):
        for owner in range(8):
            wanted = 40 if owner == 0 else 4
            waiting = sum(sequence.owner == str(owner) for sequence in bench.scheduler.waiting.values())
            for _ in range(wanted - waiting):
                bench.submit(30, 10, share=str(owner))
        bench.step()
    parts = [bench.tokens[str(owner)] for owner in range(8)]
    assert sum(parts) ** 2 / (8 * sum(part**2 for part in parts)) > 0.99


def test_a_weight_of_three_gets_three_times_the_tokens() -> None:
    bench = Bench(slots=8)
    for _ in range(3000):
        for owner, weight in (("one", 1.0), ("three", 3.0)):
            while sum(sequence.owner == owner for sequence in bench.scheduler.waiting.values()) < 8:
                bench.submit(20, 10, share=owner, weight=weight)
        bench.step()
    assert bench.tokens["three"] / bench.tokens["one"] == pytest.approx(3, rel=0.15)


def test_a_higher_priority_takes_a_slot_at_once_and_what_it_displaced_goes_on_later() -> None:
    bench = Bench(slots=1)
    low = bench.submit(10, 50)
    for _ in range(10):
        bench.step()
    held = bench.sequences[low].held
    high = bench.submit(10, 5, priority=1)
    bench.step()
    assert list(bench.scheduler.running) == [high]
    assert bench.sequences[low].held == held
    bench.drain(steps=200)
    assert bench.ended[high] < bench.ended[low]
    assert bench.read[low] == list(range(59))


def test_a_newcomer_gets_slots_from_an_owner_who_has_them_all() -> None:
    bench = Bench(slots=4)
    for _ in range(8):
        bench.submit(5, 100, share="flood")
    for _ in range(30):
        bench.step()
    new = [bench.submit(5, 100, share="new") for _ in range(4)]
    for _ in range(3):
        bench.step()
    assert sorted(sequence.owner for sequence in bench.scheduler.running.values()) == ["flood", "flood", "new", "new"]
    bench.drain(steps=5000)
    assert all(id in bench.ended for id in new)


def test_equal_requests_do_not_displace_each_other() -> None:
    bench = Bench(slots=2)
    for _ in range(6):
        bench.submit(5, 30)
    order = []
    while bench.scheduler.running or bench.scheduler.waiting:
        bench.step()
        order += [id for id in bench.ended if id not in order]
    assert sorted(order) == order


def test_a_full_queue_refuses_and_says_when_to_come_back() -> None:
    bench = Bench(slots=1, limits=Limits(queue=2))
    bench.submit(5, 5)
    bench.submit(5, 5)
    request = Request((1,), Sampling())
    with pytest.raises(QueueFull, match="2 requests are there already") as refused:
        bench.scheduler.submit(Sequence.of(9, request, now=0, exact=False), retry_after=7)
    assert refused.value.retry_after == 7


def test_prompt_is_read_in_chunks_no_longer_than_a_pause_while_others_decode() -> None:
    bench = Bench(slots=2, limits=Limits(pause=0.004, strangers=1.0))
    bench.submit(5, 500, share="a")
    for _ in range(20):
        bench.step()
    bench.submit(100, 1, share="a")
    own = steps_of_prefill(bench)
    bench.submit(100, 1, share="b")
    strangers = steps_of_prefill(bench)
    assert max(own) == 4  # of 1 ms each
    assert max(strangers) == 1  # a row takes as long


@pytest.mark.parametrize(("own_rows", "chunk"), [(0, 4), (1, 3), (2, 2), (4, 2)])
def test_what_the_rows_of_an_owner_cost_the_others_is_taken_from_its_prompts(own_rows: int, chunk: int) -> None:
    bench = Bench(slots=9, limits=Limits(pause=1.0, strangers=1.0))
    for owner in "a" * 4 + "b" * own_rows:
        bench.submit(5, 500, share=owner)
    for _ in range(20):
        bench.step()
    bench.submit(100, 1, share="b")
    assert max(steps_of_prefill(bench)[1:]) == chunk


def test_short_prompts_are_read_together_but_for_those_that_begin_alike_or_must_be_alone() -> None:
    bench = Bench(slots=6)
    for tokens, settings in (
        (range(10), {}),
        (range(10, 20), {}),
        (range(30, 50), {}),
        (range(30, 54), {}),
        (range(60, 62), {"alone": True}),
        (range(70, 72), {}),
    ):
        bench.ask(tuple(tokens), answer=9, **settings)
    together = []
    while any(sequence.prefilling for sequence in bench.sequences.values()):
        before = {id: len(read) for id, read in bench.read.items()}
        bench.step()
        grown = [id for id, read in bench.read.items() if len(read) > before[id] and before[id] < 2]
        together += [grown] if grown else []
    assert together == [[0, 1], [2], [3], [4], [5]]


def test_after_a_crash_an_exact_engine_goes_on_with_the_first_before_it_reads_all_prompts_again() -> None:
    bench = Bench(slots=3, exact=True)
    for _ in range(3):
        bench.submit(BATCH, 30, generated=(1,) * 20)
    while not any(sequence.generated[20:] for sequence in bench.sequences.values()):
        bench.step()
    assert bench.sequences[2].held == 0
    # The others repeat what they said in the same batches, and not one after the other.
    while not bench.sequences[2].held:
        bench.step()
    assert bench.sequences[1].silent
    bench.drain(steps=200)


def test_patient_requests_wait_until_the_prompts_of_their_owner_are_read() -> None:
    for others, chunk in (("a", BATCH), ("b", 1)):
        bench = Bench(slots=2, limits=Limits(pause=0.001))
        bench.submit(5, 500, share="a", patient=True)
        for _ in range(20):
            bench.step()
        bench.submit(100, 1, share=others)
        assert max(steps_of_prefill(bench)) == chunk


def steps_of_prefill(bench: Bench) -> list[int]:
    """The chunks in which the newest request is read."""
    newest = max(bench.sequences)
    counts, before = [], 0
    while newest not in bench.ended:
        bench.step()
        now = len(bench.read[newest])
        counts += [now - before] if now > before else []
        before = now
    return counts
