"""The choice of the next token."""

from typing import Any

import numpy as np

from ...store.closing import Closing
from ..errors import DecodeFailed
from ..sampling import Sampling
from .context import LlamaContext
from .library import ll


class Sampler(Closing):
    """Chooses the next token: greedy by numpy (which is ten times as fast), else by llama.cpp's own chain."""

    def __init__(self, sampling: Sampling, seed: int) -> None:
        self._chain = None if sampling.greedy else _chain(sampling, seed)
        self._greedy = sampling.greedy

    def close(self) -> None:
        """Frees the chain and its members."""
        chain, self._chain = self._chain, None
        if chain:
            ll.llama_sampler_free(chain)

    def sample(self, context: LlamaContext) -> int:
        """The token to follow what was decoded last. Raises DecodeFailed."""
        logits = context.logits()[-1]
        likeliest = int(logits.argmax())
        # argmax finds a NaN first; llama.cpp's softmax of one is undefined.
        if np.isnan(logits[likeliest]):
            raise DecodeFailed("the model computes NaN: its weights are damaged or made to")
        if self._greedy:
            return likeliest
        if not self._chain:
            raise DecodeFailed("the sampler is closed")
        return int(ll.llama_sampler_sample(self._chain, context.handle, -1))


def _chain(sampling: Sampling, seed: int) -> Any:
    chain = ll.llama_sampler_chain_init(ll.llama_sampler_chain_default_params())
    for member in (
        ll.llama_sampler_init_top_k(sampling.top_k),
        ll.llama_sampler_init_top_p(sampling.top_p, 1),
        ll.llama_sampler_init_min_p(sampling.min_p, 1),
        ll.llama_sampler_init_temp(sampling.temperature),
        ll.llama_sampler_init_dist(seed),
    ):
        ll.llama_sampler_chain_add(chain, member)
    return chain
