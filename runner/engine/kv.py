"""Whose KV lies where: in a slot, parked in host memory, or kept there for prompts that begin alike."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from .limits import Limits
from .prefixes import Prefixes, common, ids, worthwhile
from .sequence import Sequence
from .slots import Move, Slots

if TYPE_CHECKING:
    from ..llama.context import LlamaContext


class Kv:
    """The slots of a context and the states in host memory, kept in step with the sequences that own them."""

    def __init__(self, context: "LlamaContext", limits: Limits) -> None:
        self._context = context
        self._exact = context.settings.exact
        # A sliding window's state forgets what has slid out, which may change how the rest is rounded.
        dense = not context.settings.unified and not (self._exact and context.window)
        self._slots = Slots(context.settings.parallel, dense=dense)
        self._prefixes = Prefixes(limits.prefix_bytes)

    def seat(self, sequence: Sequence) -> None:
        """A slot for a sequence, with what was parked of it."""
        slot = self._slots.seat(sequence)
        if not sequence.begun:
            return
        parked = self._prefixes.resume(sequence.id)
        if parked is None:
            sequence.forget(exact=self._exact)
            return
        self._context.restore(slot, parked.state, len(parked.tokens))
        if not sequence.prefilling:
            self.join(sequence)

    def join(self, sequence: Sequence) -> None:
        """A sequence begins to decode."""
        if not sequence.request.alone:
            self._make(self._slots.join(sequence))

    def park(self, sequence: Sequence) -> None:
        """Take a sequence's slot; its KV waits with it."""
        if sequence.begun and sequence.held and not (self._exact and self._context.window):
            state = self._context.save(_slot(sequence))
            self._prefixes.park(sequence.id, sequence.tokens[: sequence.held], state)
        self._vacate(sequence)

    def leave(self, sequence: Sequence, *, keep: bool) -> None:
        """A sequence has ended; with `keep`, its KV is there for those that begin alike."""
        self._prefixes.resume(sequence.id)
        if sequence.slot is None:
            return
        if keep:
            self._keep(sequence, sequence.slot)
        self._vacate(sequence)

    def reuse(self, sequence: Sequence, running: Iterable[Sequence]) -> None:
        """Begin a sequence with the longest beginning of its prompt that is at hand, if any is worth it."""
        sequence.begun = True
        if sequence.held:
            return
        prompt = ids(sequence.tokens)
        found = self._prefixes.longest(prompt[: sequence.prefill_end], sequence.request.domain)
        kept = found[1] if found else 0
        shared, living = max(((self._shared(sequence, other), other) for other in running), key=_first)
        count = min(shared, sequence.prefill_end - 1)
        if count > kept and worthwhile(count, living.held):
            self._begin(sequence, self._context.save(_slot(living)), living.held, count)
        elif found:
            self._begin(sequence, found[0].state, len(found[0].tokens), kept)

    def _shared(self, sequence: Sequence, other: Sequence) -> int:
        """How many tokens in the KV of another a sequence begins with and may use."""
        same_domain = other.request.domain == sequence.request.domain
        most = self._reusable(other) if same_domain else min(self._reusable(other), other.request.public)
        head = min(8, most)
        if other is sequence or most == 0 or other.tokens[:head] != sequence.tokens[:head]:
            return 0
        return common(ids(other.tokens[:most]), ids(sequence.tokens[: sequence.prefill_end]))

    def _reusable(self, sequence: Sequence) -> int:
        # What was generated was read as single rows: to be exact, only what was read as a prompt serves a prompt.
        return min(sequence.held, len(sequence.request.prompt)) if self._exact else sequence.held

    def _begin(self, sequence: Sequence, state: bytearray, length: int, count: int) -> None:
        # Exact chunks begin where they would without a prefix.
        count -= count % self._context.batch_size if self._exact else 0
        if count == 0:
            return
        slot = _slot(sequence)
        self._context.restore(slot, state, length)
        if self._context.trim(slot, count):
            sequence.held = sequence.reused = count

    def _keep(self, sequence: Sequence, slot: int) -> None:
        length = self._reusable(sequence)
        if length == 0 or not self._context.trim(slot, length):
            return
        request = sequence.request
        public = min(request.public, length)
        state = self._context.save(slot)
        self._prefixes.keep(sequence.tokens[:length], state, domain=request.domain, public=public)

    def _vacate(self, sequence: Sequence) -> None:
        self._context.trim(_slot(sequence), 0)
        self._make(self._slots.leave(sequence))

    def _make(self, moves: list[Move]) -> None:
        for move in moves:
            length = self._context.lengths[move.source]
            state = self._context.save(move.source)
            if move.swap:
                self._copy(move.target, move.source)
            else:
                self._context.trim(move.source, 0)
            self._put(move.target, state, length)

    def _copy(self, source: int, target: int) -> None:
        self._put(target, self._context.save(source), self._context.lengths[source])

    def _put(self, slot: int, state: bytearray, length: int) -> None:
        if length:
            self._context.restore(slot, state, length)
        else:
            self._context.trim(slot, 0)


def _first(pair: tuple[int, Sequence]) -> int:
    return pair[0]


def _slot(sequence: Sequence) -> int:
    if sequence.slot is None:
        raise ValueError(f"request {sequence.id} has no slot")
    return sequence.slot
