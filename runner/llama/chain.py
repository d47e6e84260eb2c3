"""llama.cpp's chain of samplers: from many candidates to a few, and from these to one by chance."""

from typing import Any

import numpy as np

from ...store.closing import Closing
from ..errors import DecodeFailed
from ..sampling import Sampling
from .candidates import Candidates
from .library import ll, quick
from .shortlist import Floats, Ints, likeliest, ordered

_NO_ID, _NO_LOGIT = np.zeros(1, np.intp), np.zeros(1, np.float32)


def second_seed(seed: int) -> int:
    """The seed of random numbers that have nothing to do with those of `seed`; 2**32 - 1 would be a random one."""
    return (seed ^ 0x9E3779B9) % (2**32 - 1)


def refuse_damaged(highest: np.float32) -> None:
    """Raises DecodeFailed when the highest of some logits is none to choose by: llama.cpp's softmax is undefined."""
    if np.isfinite(highest):
        return
    if highest == -np.inf:
        raise DecodeFailed("no token is left to choose from")
    raise DecodeFailed("the model computes NaN: its weights are damaged or made to")


class Draw(Closing):
    """llama.cpp's `dist`: one token by chance. Each choice moves its random numbers on by one, whatever there was to
    choose from."""

    def __init__(self, seed: int) -> None:
        self._sampler: Any = ll.llama_sampler_init_dist(seed)
        self._one = Candidates(1)

    def close(self) -> None:
        """Frees the sampler."""
        sampler, self._sampler = self._sampler, None
        if sampler:
            ll.llama_sampler_free(sampler)

    def choose(self, candidates: Candidates) -> int:
        """One of the candidates."""
        quick.llama_sampler_apply(self._sampler, candidates.pointer)
        return candidates.selected

    def skip(self) -> None:
        """Moves on as `choose` would."""
        self._one.fill(_NO_ID, _NO_LOGIT, is_sorted=True)
        quick.llama_sampler_apply(self._sampler, self._one.pointer)


class Chain(Closing):
    """What `sampling` says of the shape of the choice, in llama.cpp's order: top-k, typical, top-p, min-p, temperature.

    The top-k are found here: a choice takes 25 µs among 49,152 tokens and 42 among 262,144, where llama.cpp takes 37
    and 191, for it copies them all.
    """

    def __init__(self, sampling: Sampling, size: int) -> None:
        self._top_k = min(sampling.top_k, size) or size
        self._all = np.arange(size) if self._top_k == size else None
        self._candidates = Candidates(self._top_k)
        self._chain: Any = ll.llama_sampler_chain_init(ll.llama_sampler_chain_default_params())
        for member in (
            ll.llama_sampler_init_typical(sampling.typical_p, 1),
            ll.llama_sampler_init_top_p(sampling.top_p, 1),
            ll.llama_sampler_init_min_p(sampling.min_p, 1),
            ll.llama_sampler_init_temp(sampling.temperature),
        ):
            ll.llama_sampler_chain_add(self._chain, member)

    def close(self) -> None:
        """Frees the chain and its members."""
        chain, self._chain = self._chain, None
        if chain:
            ll.llama_sampler_free(chain)

    def choose(self, logits: Floats, draw: Draw) -> int:
        """One token of the whole vocabulary. Raises DecodeFailed."""
        if self._all is None:
            ids = likeliest(logits, self._top_k)
            logits = logits[ids]
            refuse_damaged(logits[0])
            self._candidates.fill(ids, logits, is_sorted=True)
        else:
            refuse_damaged(logits.max())
            self._candidates.fill(self._all, logits, is_sorted=False)
        return self._choose(draw)

    def choose_among(self, ids: Ints, logits: Floats, *, draw: Draw) -> int:
        """One of the tokens `ids`."""
        best = ordered(logits, self._top_k)
        self._candidates.fill(ids[best], logits[best], is_sorted=True)
        return self._choose(draw)

    def _choose(self, draw: Draw) -> int:
        quick.llama_sampler_apply(self._chain, self._candidates.pointer)
        return draw.choose(self._candidates)
