"""A grammar that an answer must follow, as llama.cpp reads it.

llama.cpp throws, and so ends the process, when a token is accepted that the grammar does not admit: none is accepted
here before it was asked about.
"""

import time
from typing import Any

import numpy as np

from ...store.closing import Closing
from ..errors import DecodeFailed, InvalidSampling
from .candidates import Candidates
from .library import errors_logged, ll
from .model import LlamaModel
from .shortlist import Floats, Ints

# An ambiguous grammar can be read in ways that double with every character; a plain one takes microseconds. What takes
# this long is ended behind the call, and no call holds the GIL: a call that never ends can be noticed from outside.
MAX_SECONDS = 1.0

_LOGIT = np.ones(1, np.float32)


class Grammar(Closing):
    """How far an answer has come in a grammar in GBNF. It reads its model's vocabulary, and is closed with it.

    Raises InvalidSampling for one that llama.cpp refuses.
    """

    def __init__(self, model: LlamaModel, text: str) -> None:
        errors_logged.clear()
        self._open: Any = ll.llama_sampler_init_grammar(model.vocabulary, text.encode(), b"root")
        if not self._open:
            raise InvalidSampling(f"llama.cpp refuses the grammar: {errors_logged.summary()}")
        self._one = Candidates(1)
        self._many: Candidates | None = None
        self._ids = np.arange(model.vocabulary_size)
        self._model = model
        model.contexts.add(self)

    def close(self) -> None:
        """Frees the grammar."""
        grammar, self._open = self._open, None
        self._model.contexts.discard(self)
        if grammar:
            ll.llama_sampler_free(grammar)

    def admits(self, token: int) -> bool:
        """Whether `token` may come next."""
        self._one.fill(self._ids[token : token + 1], _LOGIT, is_sorted=True)
        ll.llama_sampler_apply(self._handle, self._one.pointer)
        return bool(self._one.logits[0] > -np.inf)

    def admitted(self, ids: Ints, logits: Floats) -> Ints:
        """Those of the tokens `ids` that may come next and are not impossible anyway. Raises DecodeFailed."""
        self._many = self._many or Candidates(len(self._ids))
        self._many.fill(ids, logits, is_sorted=False)
        started = time.monotonic()
        ll.llama_sampler_apply(self._handle, self._many.pointer)
        _refuse_slow(started)
        return ids[self._many.logits > -np.inf]

    def accept(self, token: int) -> None:
        """Goes on behind `token`. Raises DecodeFailed when it is not admitted."""
        if not self.admits(token):
            raise DecodeFailed(f"token {token} does not follow the grammar")
        started = time.monotonic()
        ll.llama_sampler_accept(self._handle, token)
        _refuse_slow(started)

    @property
    def _handle(self) -> Any:
        if not self._open:
            raise DecodeFailed("the grammar is closed")
        return self._open


def _refuse_slow(started: float) -> None:
    if time.monotonic() - started > MAX_SECONDS:
        raise DecodeFailed("the grammar is too ambiguous: it can be read in too many ways at once")
