"""Whose KV lies where: in a slot, parked in host memory, or kept there for prompts that begin alike."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from .limits import Limits
from .prefixes import Prefix, Prefixes, common, ids, worthwhile
from .scratch import Scratch
from .sequence import Sequence
from .shelf import Shelf
from .slots import Move, Slots

if TYPE_CHECKING:
    from ..llama.context import LlamaContext, State


class Kv:
    """The slots of a context and the states in host memory, kept in step with the sequences that own them."""

    def __init__(self, context: "LlamaContext", limits: Limits) -> None:
        self._context = context
        self._exact = context.settings.exact
        # A sliding window's state forgets what has slid out, which may change how the rest is rounded.
        dense = not context.settings.unified and not (self._exact and context.window)
        self._slots = Slots(context.settings.parallel, dense=dense)
        self._prefixes = Prefixes(limits.prefix_bytes)
        self._remembers = limits.prefix_bytes > 0
        self._shelf = Shelf(range(context.settings.parallel, len(context.lengths)))
        self._scratch = Scratch()

    @property
    def idle(self) -> range:
        """Empty slots that may have a row in the next batch, beside those that decode."""
        return self._slots.idle

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
        if keep and self._remembers:
            self._keep(sequence, sequence.slot)
        self._vacate(sequence)

    def reuse(self, sequence: Sequence, running: Iterable[Sequence]) -> None:
        """Begin a sequence with the longest beginning of its prompt that is at hand, if any is worth it."""
        sequence.begun = True
        if sequence.held:
            return
        prompt = ids(sequence.tokens[: sequence.prefill_end])
        slot, domain = _slot(sequence), sequence.request.domain
        found = self._prefixes.longest(prompt, domain)
        shelved, on_shelf = self._shelf.longest(prompt, domain)
        shared, living = max(((self._shared(sequence, other), other) for other in running), key=_first)
        alive = min(shared, len(prompt) - 1)
        kept = found[1] if found else 0
        if on_shelf > kept and on_shelf >= alive:
            self._duplicate(shelved, slot)
        elif alive > kept and worthwhile(alive, living.held):
            self._duplicate(_slot(living), slot)
        elif found:
            self._context.restore(slot, found[0].state, len(found[0].tokens))
        count = max(on_shelf, alive, kept)
        # Exact chunks begin where they would without a prefix.
        count -= count % self._context.batch_size if self._exact else 0
        if self._context.trim(slot, count):
            sequence.held = sequence.reused = self._context.lengths[slot]

    def _duplicate(self, source: int, target: int) -> None:
        length = self._context.lengths[source]
        if self._context.window and length > self._context.window:
            self._context.copy(source, target)
        else:
            self._context.restore(target, self._context.save(source, self._scratch.room), length)

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

    def _keep(self, sequence: Sequence, slot: int) -> None:
        length = self._reusable(sequence)
        if length == 0 or not self._context.trim(slot, length):
            return
        tokens, request = sequence.tokens[:length], sequence.request
        public = min(request.public, length)
        if self._context.window and length > self._context.window:
            if self._shelf and self._context.whole(slot):
                self._context.copy(slot, self._shelf.put(Prefix(ids(tokens), bytearray(), request.domain, public)))
            return
        self._prefixes.keep(tokens, self._context.save(slot), domain=request.domain, public=public)

    def _vacate(self, sequence: Sequence) -> None:
        self._context.trim(_slot(sequence), 0)
        self._make(self._slots.leave(sequence))

    def _make(self, moves: list[Move]) -> None:
        for move in moves:
            length = self._context.lengths[move.source]
            state = self._context.save(move.source, self._scratch.room)
            if move.swap:
                self._put(move.source, self._context.save(move.target), self._context.lengths[move.target])
            else:
                self._context.trim(move.source, 0)
            self._put(move.target, state, length)

    def _put(self, slot: int, state: "State", length: int) -> None:
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
