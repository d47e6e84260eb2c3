"""How likely the model held a token, and which it held likelier: of the logits as they are, before any setting."""

import math

import numpy as np

from ..engine.request import Logprob, TokenLogprobs
from .shortlist import Floats, likeliest


def logprobs(row_logits: Floats, token: int, k: int) -> TokenLogprobs:
    """The natural logarithm of the probability of `token`, and those of the `k` likeliest tokens, likeliest first."""
    # Of what is at most 0, the exponentials neither overflow nor are all lost.
    highest = row_logits.max()
    total = float(highest) + math.log(float(np.exp(row_logits - highest).sum()))
    top = likeliest(row_logits, k) if k else ()
    return TokenLogprobs(
        chosen=Logprob(token, float(row_logits[token]) - total),
        top=tuple(Logprob(int(one), float(row_logits[one]) - total) for one in top),
    )
