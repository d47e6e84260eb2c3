"""Which sequence sits in which slot: those that decode stand together at the front.

llama.cpp computes a batch run by run of neighbouring slots. Eight rows in every other slot take nearly twice as long as
eight in a row, so whoever begins to decode moves up to the others, and the last one fills the gap of one that leaves.
"""

from dataclasses import dataclass

from .sequence import Sequence


@dataclass(frozen=True, slots=True)
class Move:
    """The KV of `source` goes to `target`; with `swap`, that of `target` to `source` too."""

    source: int
    target: int
    swap: bool


class Slots:
    """The slots of an engine. The verbs change who sits where and return the moves of KV that make it true.

    With `dense` false, nobody moves.
    """

    def __init__(self, count: int, *, dense: bool) -> None:
        self._seats: list[Sequence | None] = [None] * count
        self._decoding = 0  # how many stand at the front
        self._dense = dense

    @property
    def seated(self) -> list[Sequence]:
        """All that have a slot, by slot."""
        return [sequence for sequence in self._seats if sequence is not None]

    @property
    def idle(self) -> range:
        """The empty slots right behind those that decode."""
        first = self._decoding
        taken = next((n for n in range(first, len(self._seats)) if self._seats[n] is not None), len(self._seats))
        return range(first, taken) if self._dense else range(0)

    def seat(self, sequence: Sequence) -> int:
        """The first empty slot. There must be one."""
        slot = self._seats.index(None)
        self._put(sequence, slot)
        return slot

    def join(self, sequence: Sequence) -> list[Move]:
        """A seated sequence begins to decode in company."""
        if not self._dense:
            return []
        target = self._decoding
        self._decoding += 1
        return self._swap(_slot(sequence), target)

    def leave(self, sequence: Sequence) -> list[Move]:
        """A sequence gives its slot back."""
        slot = _slot(sequence)
        self._seats[slot] = None
        sequence.slot = None
        if not self._dense or slot >= self._decoding:
            return []
        self._decoding -= 1
        return self._swap(self._decoding, slot)

    def _swap(self, source: int, target: int) -> list[Move]:
        if source == target:
            return []
        moved, other = self._seats[source], self._seats[target]
        self._seats[source] = self._seats[target] = None
        if moved is not None:
            self._put(moved, target)
        if other is not None:
            self._put(other, source)
        return [Move(source, target, swap=other is not None)]

    def _put(self, sequence: Sequence, slot: int) -> None:
        self._seats[slot] = sequence
        sequence.slot = slot


def _slot(sequence: Sequence) -> int:
    if sequence.slot is None:
        raise ValueError(f"request {sequence.id} has no slot")
    return sequence.slot
