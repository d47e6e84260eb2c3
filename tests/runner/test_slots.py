"""Slots: what decodes stands together, and KV follows whoever moves."""

from hypothesis import given
from hypothesis import strategies as st

from llstore.runner import Sampling
from llstore.runner.engine.request import Request
from llstore.runner.engine.sequence import Sequence
from llstore.runner.engine.slots import Move, Slots

SLOTS = 5


class Memory:
    """What each slot holds, moved as told."""

    def __init__(self) -> None:
        self.held: list[int | None] = [None] * SLOTS

    def make(self, moves: list[Move]) -> None:
        for move in moves:
            source, target = self.held[move.source], self.held[move.target]
            assert (target is not None) == move.swap
            self.held[move.target] = source
            self.held[move.source] = target if move.swap else None


def sequence(id: int) -> Sequence:
    return Sequence.of(id, Request((1, 2, 3), Sampling()), now=0, exact=False)


@given(st.lists(st.tuples(st.sampled_from(["seat", "join", "leave"]), st.integers(0, 20)), max_size=60))
def test_those_that_decode_are_neighbours_from_the_first_slot_and_find_their_kv_where_they_sit(
    happened: list[tuple[str, int]],
) -> None:
    slots, memory = Slots(SLOTS, dense=True), Memory()
    seated: list[Sequence] = []
    decoding: list[Sequence] = []
    for n, (event, pick) in enumerate(happened):
        if event == "seat" and len(seated) < SLOTS:
            seated.append(sequence(n))
            memory.held[slots.seat(seated[-1])] = n
        elif event == "join" and (waiting := [one for one in seated if one not in decoding]):
            decoding.append(waiting[pick % len(waiting)])
            memory.make(slots.join(decoding[-1]))
        elif event == "leave" and seated:
            gone = seated.pop(pick % len(seated))
            decoding = [one for one in decoding if one is not gone]
            memory.held[gone.slot] = None
            memory.make(slots.leave(gone))
            assert gone.slot is None
        assert sorted(one.slot for one in decoding) == list(range(len(decoding)))
        assert all(memory.held[one.slot] == one.id for one in seated)
        assert {one.id for one in slots.seated} == {one.id for one in seated}


def test_where_density_does_not_matter_nobody_moves() -> None:
    slots = Slots(SLOTS, dense=False)
    first, second = sequence(1), sequence(2)
    slots.seat(first)
    slots.seat(second)
    assert slots.join(second) == []
    assert slots.join(first) == []
    assert slots.leave(first) == []
    assert second.slot == 1


def test_the_empty_slots_behind_those_that_decode_are_idle() -> None:
    slots = Slots(SLOTS, dense=True)
    decoding, reading = sequence(1), sequence(2)
    slots.seat(decoding)
    slots.join(decoding)
    assert slots.idle == range(1, SLOTS)
    slots.seat(reading)
    assert slots.idle == range(1, 1)
