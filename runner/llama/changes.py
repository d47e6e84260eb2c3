"""What changes logits before a token is chosen: biases, forbidden tokens, penalties on what was there already.

It is llama.cpp's arithmetic (its samplers logit-bias and penalties) on the few tokens that it concerns: llama.cpp looks
up each token of the vocabulary in a table.
"""

from collections import Counter, deque
from collections.abc import Collection

import numpy as np

from ..sampling import Sampling
from .shortlist import Floats


class Changes:
    """The changes that `sampling` asks for; `forbidden` tokens are never chosen."""

    def __init__(self, sampling: Sampling, *, forbidden: Collection[int]) -> None:
        biases: Counter[int] = Counter()
        for token, bias in sampling.logit_bias:
            biases[token] += bias  # type: ignore[assignment]  # a Counter adds floats as well
        self._biased = np.fromiter(biases, np.intp, len(biases))
        self._biases = np.fromiter(biases.values(), np.float32, len(biases))
        self._forbidden = np.fromiter(forbidden, np.intp, len(forbidden))
        self._penalties = Penalties(sampling) if sampling.penalizes else None
        self._none = not (self._biased.size or self._forbidden.size or self._penalties)

    def accept(self, token: int) -> None:
        """Counts a token of the prompt or of the answer."""
        if self._penalties:
            self._penalties.accept(token)

    def applied(self, logits: Floats) -> Floats:
        """The changed logits: a copy, unless nothing is to change."""
        if self._none:
            return logits
        changed = logits.copy()
        changed[self._biased] += self._biases
        changed[self._forbidden] = -np.inf
        if self._penalties:
            self._penalties.apply(changed)
        return changed


class Penalties:
    """Makes tokens less likely that are among the last ones."""

    def __init__(self, sampling: Sampling) -> None:
        self._repeat = np.float32(sampling.repeat_penalty)
        self._frequency = np.float32(sampling.frequency_penalty)
        self._presence = np.float32(sampling.presence_penalty)
        self._last = deque[int](maxlen=None if sampling.repeat_last_n < 0 else sampling.repeat_last_n)
        self._counts: Counter[int] = Counter()

    def accept(self, token: int) -> None:
        """Counts a token; the oldest goes out of sight."""
        if len(self._last) == self._last.maxlen:
            oldest = self._last[0]
            self._counts[oldest] -= 1
            if not self._counts[oldest]:
                del self._counts[oldest]
        self._last.append(token)
        self._counts[token] += 1

    def apply(self, logits: Floats) -> None:
        """Changes the logits in place."""
        count = len(self._counts)
        tokens = np.fromiter(self._counts, np.intp, count)
        counts = np.fromiter(self._counts.values(), np.float32, count)
        found = logits[tokens]
        found = np.where(found <= 0, found * self._repeat, found / self._repeat)
        logits[tokens] = found - (counts * self._frequency + self._presence)
