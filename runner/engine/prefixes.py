"""The KV of past requests, in host memory: a prompt that begins like one of them need not be read again."""

from collections import OrderedDict
from collections.abc import Sequence as Tokens
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ..llama.context import State

Ids = np.ndarray[Any, np.dtype[np.int32]]
# To bring back the KV of so many tokens takes about as long as to read one.
_COPIED_FOR_ONE = 200


@dataclass(frozen=True, slots=True)
class Prefix:
    """Tokens and the KV state that they left. Only requests of `domain` may use it; its first `public` tokens, all."""

    tokens: Ids
    state: "State"
    domain: str
    public: int

    def shared(self, prompt: Ids, domain: str) -> int:
        """How many of its first tokens a prompt of `domain` begins with and may use."""
        most = len(self.tokens) if domain == self.domain else min(self.public, len(self.tokens))
        return common(self.tokens[:most], prompt)


class Prefixes:
    """Prefixes within a budget of bytes; those not used for longest go first.

    Parked requests' states are kept here too, under their ids: who loses one reads its tokens again.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._kept: OrderedDict[object, Prefix] = OrderedDict()
        self.bytes = 0

    def keep(self, tokens: Tokens[int], state: "State", *, domain: str, public: int) -> None:
        """Remember what a request has left; what it extends is forgotten."""
        prefix = Prefix(ids(tokens), state, domain, public)
        for key, old in list(self._kept.items()):
            if not isinstance(key, int) and old.domain == domain and old.public <= public and _extends(prefix, old):
                self._drop(key)
        self._add(object(), prefix)

    def longest(self, prompt: Ids, domain: str) -> tuple[Prefix, int] | None:
        """The prefix that saves a prompt the most, and how many tokens.

        It is never the whole prompt: the logits after its last token are needed.
        """
        best: tuple[object, int] | None = None
        for key, prefix in self._kept.items():
            if isinstance(key, int):
                continue
            count = min(prefix.shared(prompt, domain), len(prompt) - 1)
            if worthwhile(count, len(prefix.tokens)) and (best is None or count > best[1]):
                best = (key, count)
        if best is None:
            return None
        self._kept.move_to_end(best[0])
        return self._kept[best[0]], best[1]

    def park(self, request: int, tokens: Tokens[int], state: "State") -> None:
        """Keep the state of a request that waits for a slot again."""
        self._add(request, Prefix(ids(tokens), state, "", 0))

    def resume(self, request: int) -> Prefix | None:
        """What was parked, which is then forgotten; None when it had to go."""
        return self._drop(request) if request in self._kept else None

    def _add(self, key: object, prefix: Prefix) -> None:
        if len(prefix.state) > self._max_bytes:
            return
        self._kept[key] = prefix
        self.bytes += len(prefix.state)
        while self.bytes > self._max_bytes:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: object) -> Prefix:
        prefix = self._kept.pop(key)
        self.bytes -= len(prefix.state)
        return prefix


def worthwhile(count: int, copied: int) -> bool:
    """Whether `count` tokens of prompt that need not be read are worth copying a state of `copied` tokens."""
    return count * _COPIED_FOR_ONE > copied


def ids(tokens: Tokens[int]) -> Ids:
    """Token ids as an array, which compares a thousand at a time."""
    return np.array(tokens, dtype=np.int32)


def common(one: Ids, other: Ids) -> int:
    """How many first tokens two share."""
    length = min(len(one), len(other))
    same = one[:length] == other[:length]
    return length if same.all() else int(same.argmin())


def _extends(prefix: Prefix, old: Prefix) -> bool:
    return len(old.tokens) <= len(prefix.tokens) and common(prefix.tokens, old.tokens) == len(old.tokens)
