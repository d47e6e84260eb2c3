"""Who is served next: pure bookkeeping, with neither clock nor model.

A step is one llama_decode: a row of each sequence that decodes, or chunks of prompts. They take turns: prompt and rows
in one batch would cost as much as in two. Short prompts are read together: one by one they take up to half as long
again.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from ..errors import QueueFull
from .company import Company
from .limits import Limits
from .pace import Pace
from .sequence import Sequence
from .shares import Shares

_ALIKE = 16  # tokens: two prompts that begin with as many may have much more in common


@dataclass(frozen=True, slots=True)
class Decode:
    """A row of each of these."""

    sequences: tuple[Sequence, ...]


@dataclass(frozen=True, slots=True)
class Prefill:
    """The next tokens of these sequences' prompts, at most so many of each."""

    chunks: tuple[tuple[Sequence, int], ...]


Step = Decode | Prefill


class Scheduler:
    """The requests of an engine: those that wait (parked ones among them) and those that have one of `slots` slots.

    The next to get a slot, or a chunk, is the one of highest rank, then of the owner who got the least, then the
    oldest. `batch_size` is the most tokens of a chunk. To be exact, chunks end at its multiples, wherever a request
    begins, and only those that `company` allows share a batch of rows.
    """

    def __init__(self, slots: int, limits: Limits, *, batch_size: int, company: Company | None = None) -> None:
        self._slots = slots
        self._limits = limits
        self._batch_size = batch_size
        self._shares = Shares()
        self.waiting: dict[int, Sequence] = {}
        self.running: dict[int, Sequence] = {}
        self._company = company
        self._budget = 0  # tokens of prompt before the next round
        self._due: set[int] = set()  # who has not had a row in this round

    def submit(self, sequence: Sequence, *, retry_after: float = 1.0) -> None:
        """Queue a request. Raises QueueFull."""
        if len(self.waiting) >= self._limits.queue:
            raise QueueFull(len(self.waiting), retry_after)
        self._shares.join(sequence.owner, sequence.request.weight)
        self.waiting[sequence.id] = sequence

    def remove(self, sequence: Sequence) -> None:
        """A request has ended, wherever it was."""
        if self.running.pop(sequence.id, None) or self.waiting.pop(sequence.id, None):
            self._shares.leave(sequence.owner)

    def expired(self, now: float) -> list[Sequence]:
        """Requests whose time is up."""
        groups = self.running, self.waiting
        return [sequence for group in groups for sequence in group.values() if sequence.expires <= now]

    def next_seat(self, now: float) -> Sequence | None:
        """Who is to get a slot, if there is one: it then counts as running."""
        if not self.waiting or len(self.running) >= self._slots:
            return None
        sequence = self._first(now)
        self.running[sequence.id] = self.waiting.pop(sequence.id)
        sequence.rank = self._rank(sequence, now)
        return sequence

    def next_victim(self, now: float) -> Sequence | None:
        """Who is to give its slot to one with a higher claim, and wait: it is parked."""
        if not self.waiting or len(self.running) < self._slots:
            return None
        claimant = self._first(now)
        rank = self._rank(claimant, now)
        victims = [victim for victim in self.running.values() if self._yields(victim, claimant, rank)]
        if not victims:
            return None
        found = min(victims, key=lambda victim: (victim.rank, -self._shares.served(victim.owner), -victim.arrived))
        self.waiting[found.id] = self.running.pop(found.id)
        found.waits_since = now
        return found

    def next_step(self, pace: Pace) -> Step | None:
        """What to compute next; None when nothing runs. A round is a row for all that decode, then some prompt."""
        prefilling: list[Sequence] = []
        decoding: list[Sequence] = []
        for sequence in self.running.values():
            (prefilling if sequence.prefilling else decoding).append(sequence)
        due = [sequence for sequence in decoding if sequence.id in self._due]
        if not due:
            # The first who was talking before a crash comes back before others are read to.
            none_back = bool(decoding) and all(sequence.silent for sequence in decoding)
            if prefilling and not none_back and (self._budget > 0 or not decoding):
                return self._prompts(sorted(prefilling, key=self._claim), limited=bool(decoding))
            self._budget = self._prompt_budget(pace, prefilling, decoding)
            due = decoding
        group = self._together(due)
        self._due = {sequence.id for sequence in due} - {sequence.id for sequence in group}
        return Decode(group) if group else None

    def served(self, sequences: Iterable[Sequence], tokens: int = 1) -> None:
        """Each of these requests got so many tokens, read or made."""
        counts: dict[str, int] = {}
        for sequence in sequences:
            counts[sequence.owner] = counts.get(sequence.owner, 0) + tokens
        for owner, count in counts.items():
            self._shares.serve(owner, count)

    def _prompts(self, sequences: list[Sequence], *, limited: bool) -> Prefill:
        """A chunk of the first one's prompt, and the whole rests of as many others' as there is room for."""
        first, *others = sequences
        left = first.prefill_end - first.held
        room = self._batch_size
        if self._company:
            return self._read([(first, min(left, room - first.held % room))])
        room = min(room, self._budget) if limited else room
        chunks = [(first, min(left, room))]
        room -= chunks[0][1]
        for other in others:
            left = other.prefill_end - other.held
            if left > room or any(_better_apart(other, one) for one, _ in chunks):
                break
            chunks.append((other, left))
            room -= left
        return self._read(chunks)

    def _read(self, chunks: list[tuple[Sequence, int]]) -> Prefill:
        self._budget -= sum(count for _, count in chunks)
        return Prefill(tuple(chunks))

    def _prompt_budget(self, pace: Pace, prefilling: list[Sequence], decoding: list[Sequence]) -> int:
        if not prefilling:
            return 1
        rows = pace.decode_seconds(len(decoding))
        owner = min(prefilling, key=self._claim).owner
        strangers = sum(sequence.owner != owner for sequence in decoding)
        if strangers:
            return pace.chunk(self._beside(pace.decode_seconds(strangers), rows))
        patient = all(sequence.request.patient for sequence in decoding)
        pause = self._limits.patience if patient else self._limits.pause
        # Each that is to be read has its pause: whoever is read late makes the batches of rows small for long.
        return pace.chunk(max(rows, pause * len(prefilling)))

    def _beside(self, theirs: float, rows: float) -> float:
        """The seconds to read prompt in, where others' rows would take `theirs` and all rows take `rows`."""
        # An owner whose prompts are read has rows too, and what these cost the others counts like its prompts.
        most = theirs * self._limits.strangers
        return max(theirs + most - rows, most / 2)

    def _together(self, due: list[Sequence]) -> tuple[Sequence, ...]:
        """Those that share the next batch."""
        lone = [sequence for sequence in due if self._decodes_alone(sequence)]
        if lone:
            return (lone[0],)
        return tuple(due[: self._company.rows] if self._company else due)

    def _decodes_alone(self, sequence: Sequence) -> bool:
        too_long = self._company is not None and sequence.held >= self._company.length
        return sequence.request.alone or too_long

    def _first(self, now: float) -> Sequence:
        return min(
            self.waiting.values(),
            key=lambda sequence: (-self._rank(sequence, now), self._shares.served(sequence.owner), sequence.arrived),
        )

    def _rank(self, sequence: Sequence, now: float) -> float:
        # Age lifts to the highest priority there is and no further: from there on owners share fairly.
        aged = sequence.request.priority + (now - sequence.waits_since) // self._limits.ageing
        return min(aged, max(sequence.request.priority, self._highest()))

    def _highest(self) -> int:
        return max(sequence.request.priority for group in (self.waiting, self.running) for sequence in group.values())

    def _claim(self, sequence: Sequence) -> tuple[float, float, float]:
        return (-sequence.rank, self._shares.served(sequence.owner), sequence.arrived)

    def _yields(self, victim: Sequence, claimant: Sequence, rank: float) -> bool:
        if rank != victim.rank:
            return rank > victim.rank
        if self._shares.served(claimant.owner) >= self._shares.served(victim.owner):
            return False
        return self._part(victim.owner, -1) >= self._part(claimant.owner, +1)

    def _part(self, owner: str, change: int) -> float:
        """An owner's slots over its weight, if it had that many more."""
        held = sum(sequence.owner == owner for sequence in self.running.values())
        return (held + change) / self._shares.weight(owner)


def _better_apart(one: Sequence, other: Sequence) -> bool:
    """Whether two prompts should not share a batch: who may crash it is on its own, and of two that begin alike, one
    finds in the KV cache what the other has read."""
    if one.request.alone or other.request.alone:
        return True
    same_domain = one.request.domain == other.request.domain
    return same_domain and one.tokens[:_ALIKE] == other.tokens[:_ALIKE]
