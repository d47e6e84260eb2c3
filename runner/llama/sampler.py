"""The choice of the next token."""

import math
from collections.abc import Sequence

import numpy as np

from ...store.closing import Closing
from ..errors import DecodeFailed, InvalidSampling
from ..sampling import Sampling
from .chain import Chain, Draw, refuse_damaged, second_seed
from .changes import Changes
from .context import LlamaContext
from .grammar import Grammar
from .model import LlamaModel
from .shortlist import Floats, Ints, likeliest

# Of the whole vocabulary, llama.cpp says in 3 to 70 ms which tokens follow a grammar; of so many, in 0.2.
_NEAR = 2048


class Sampler(Closing):
    """Chooses the tokens of one answer, one after another.

    What it chooses follows from the logits, the seed and the tokens before: a new one that accepts an answer's first
    tokens goes on as the one that chose them. `prompt` is what penalties count besides. Raises InvalidSampling for
    tokens that the vocabulary lacks, and for a grammar that llama.cpp refuses.
    """

    def __init__(self, model: LlamaModel, sampling: Sampling, seed: int, *, prompt: Sequence[int] = ()) -> None:
        check_tokens(model, sampling)
        self._forbidden = frozenset((*model.suppressed_tokens, *(model.end_tokens if sampling.ignore_eos else ())))
        self._greedy = sampling.greedy
        self._model = model
        self._open = True
        self._top_k = sampling.top_k
        self._changes = Changes(sampling, forbidden=self._forbidden)
        for token in prompt if sampling.penalizes else ():
            self._changes.accept(token)
        self._grammar = Grammar(model, sampling.grammar) if sampling.grammar else None
        self._chance = None if sampling.cold else _Chance(sampling, seed, model.vocabulary_size)

    def close(self) -> None:
        """Frees what llama.cpp holds of it."""
        self._open = False
        for part in (self._grammar, self._chance):
            if part:
                part.close()

    def sample(self, context: LlamaContext, row: int = -1) -> int:
        """Chooses and accepts the token to follow a row of the batch decoded last; -1 is its last. Raises
        DecodeFailed, also when the grammar leaves no token."""
        return self.choose(context.logits()[row])

    def choose(self, logits: Floats) -> int:
        """`sample`, of logits."""
        self._refuse_closed()
        changed = self._changes.applied(logits)
        token = self._chosen(changed)
        # Nearly every token follows the grammar: to ask about one takes microseconds, to ask about all milliseconds.
        if self._grammar and not self._grammar.admits(token):
            token = self._chosen_among(self._admitted(self._grammar, changed), changed)
        elif self._chance:
            self._chance.skip_second()
        self._accept(token)
        return token

    def likeliest(self, logits: Floats) -> int | None:
        """What `choose` would choose, where nothing but the largest of the logits decides that; else None."""
        if not self._greedy:
            return None
        token = int(logits.argmax())
        # argmax finds a NaN first: what is to be said of it `choose` knows.
        return token if token not in self._forbidden and logits[token] == logits[token] else None

    def accept(self, token: int) -> None:
        """Goes on as if `token` had been chosen here. Raises DecodeFailed when that cannot have been."""
        self._refuse_closed()
        self._model.known(token)
        if self._chance:
            self._chance.skip()
        self._accept(token)

    def _chosen(self, logits: Floats) -> int:
        if self._chance:
            return self._chance.choose(logits)
        token = int(logits.argmax())  # it finds a NaN first
        refuse_damaged(logits[token])
        return token

    def _admitted(self, grammar: Grammar, logits: Floats) -> Ints:
        """The tokens that the grammar admits, or as many of the likeliest as make no difference."""
        near = likeliest(logits, _NEAR)
        found = grammar.admitted(near, logits[near])
        if self._enough(logits[found], float(logits[near[-1]])):
            return found
        return grammar.admitted(np.arange(logits.size), logits)

    def _enough(self, found: Floats, least: float) -> bool:
        """Whether the rest of the vocabulary, none of it likelier than `least`, changes nothing that matters."""
        if not found.size or not self._chance:
            return bool(found.size)
        top_k = self._top_k
        # Or so much less likely than the best found that all of the top k together are within 1 % of it.
        return 0 < top_k <= found.size or (top_k > 0 and found[0] - least > math.log(100 * top_k))

    def _chosen_among(self, ids: Ints, logits: Floats) -> int:
        if not ids.size:
            raise DecodeFailed("the grammar leaves no token of this model's vocabulary")
        among = logits[ids]
        return self._chance.choose_again(ids, among) if self._chance else int(ids[among.argmax()])

    def _accept(self, token: int) -> None:
        if self._grammar:
            self._grammar.accept(token)
        self._changes.accept(token)

    def _refuse_closed(self) -> None:
        if not self._open:
            raise DecodeFailed("the sampler is closed")


class _Chance(Closing):
    """The choice by chance. Each token takes one random number, and one more where a grammar may refuse the first:
    so that the next ones do not depend on whether it did."""

    def __init__(self, sampling: Sampling, seed: int, size: int) -> None:
        self._chain = Chain(sampling, size)
        self._first = Draw(seed)
        self._second = Draw(second_seed(seed)) if sampling.grammar else None

    def close(self) -> None:
        for part in (self._chain, self._first, self._second):
            if part:
                part.close()

    def choose(self, logits: Floats) -> int:
        return self._chain.choose(logits, self._first)

    def choose_again(self, ids: Ints, logits: Floats) -> int:
        return self._chain.choose_among(ids, logits, draw=self._second or self._first)

    def skip_second(self) -> None:
        if self._second:
            self._second.skip()

    def skip(self) -> None:
        self._first.skip()
        self.skip_second()


def check_tokens(model: LlamaModel, sampling: Sampling) -> None:
    """Raises InvalidSampling when a token is named that the vocabulary lacks."""
    biased = [token for token, _ in sampling.logit_bias]
    named = {"logit_bias": biased, "stop_tokens": sampling.stop_tokens, "shown_tokens": sampling.shown_tokens}
    for name, tokens in named.items():
        for token in tokens:
            if token >= model.vocabulary_size:
                raise InvalidSampling(f"{name} names token {token}; the vocabulary has {model.vocabulary_size}")
