"""Slots that hold the KV of past requests of sliding-window models, whole."""

from collections import OrderedDict

from .prefixes import Ids, Prefix, worthwhile


class Shelf:
    """Which prefix lies in which spare slot. A new one takes the place of that not used for longest."""

    def __init__(self, slots: range) -> None:
        self._prefixes: OrderedDict[int, Prefix | None] = OrderedDict((slot, None) for slot in slots)

    def __bool__(self) -> bool:
        return bool(self._prefixes)

    def put(self, prefix: Prefix) -> int:
        """The slot to copy it into."""
        slot = next(iter(self._prefixes))
        self._prefixes[slot] = prefix
        self._prefixes.move_to_end(slot)
        return slot

    def longest(self, prompt: Ids, domain: str) -> tuple[int, int]:
        """The slot that saves a prompt of `domain` the most, and how many tokens: perhaps 0."""
        best = (0, 0)
        for slot, prefix in self._prefixes.items():
            count = min(prefix.shared(prompt, domain), len(prompt) - 1) if prefix else 0
            if prefix and count > best[1] and worthwhile(count, len(prefix.tokens)):
                best = (slot, count)
        if best[1]:
            self._prefixes.move_to_end(best[0])
        return best
