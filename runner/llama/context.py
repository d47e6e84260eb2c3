"""What a model has read so far: one sequence in a llama.cpp context."""

from typing import Any

import numpy as np

from ...store.closing import Closing
from ..engine_settings import KV_TYPES, EngineSettings
from ..errors import DecodeFailed, LoadFailed, PromptEmpty, PromptTooLong
from .library import errors_logged, ll
from .model import LlamaModel


class LlamaContext(Closing):
    """The KV cache of one sequence over a model: tokens go in, the logits of the next one come out.

    `n_ctx` is how many tokens it holds. One thread at a time. Raises LoadFailed when there is no room for it.
    """

    def __init__(self, model: LlamaModel, settings: EngineSettings) -> None:
        params = _context_params(settings)
        n_ctx = settings.context_size
        errors_logged.clear()
        self._model = model
        self._open = ll.llama_init_from_model(model.handle, params)
        if not self._open:
            raise LoadFailed(f"llama.cpp cannot make a context of {n_ctx} tokens: {errors_logged.summary()}")
        self.n_ctx = n_ctx
        self.n_tokens = 0
        self._has_logits = False
        self._chunk = min(settings.batch_size, ll.llama_n_batch(self._open))
        model.contexts.add(self)

    def close(self) -> None:
        """Frees the KV cache."""
        handle, self._open = self._open, None
        self._model.contexts.discard(self)
        if handle:
            ll.llama_free(handle)

    def decode(self, tokens: list[int]) -> None:
        """Appends `tokens` to the sequence and computes the logits after the last.

        Raises PromptEmpty, PromptTooLong beyond `n_ctx`, DecodeFailed; after that the context is spent.
        """
        if not tokens:
            raise PromptEmpty("there are no tokens to decode")
        if self.n_tokens + len(tokens) > self.n_ctx:
            raise PromptTooLong(self.n_tokens + len(tokens), self.n_ctx)
        for start in range(0, len(tokens), self._chunk):
            self._decode_chunk(tokens[start : start + self._chunk])

    def _decode_chunk(self, tokens: list[int]) -> None:
        self._has_logits = False
        array = (ll.llama_token * len(tokens))(*map(self._model.known, tokens))
        errors_logged.clear()
        status = ll.llama_decode(self.handle, ll.llama_batch_get_one(array, len(tokens)))
        if status != 0:
            raise DecodeFailed(f"llama_decode returned {status}: {errors_logged.summary()}")
        self.n_tokens += len(tokens)
        self._has_logits = True

    def logits(self, row: int = -1) -> "np.ndarray[tuple[int], np.dtype[np.float32]]":
        """The logits after a row of the batch decoded last, (vocabulary_size,) float32: a view, valid until the next
        decode. -1 is the last row."""
        found = ll.llama_get_logits_ith(self.handle, row) if self._has_logits else None
        if not found:
            raise DecodeFailed("there are no logits: nothing was decoded, or the model gives none")
        return np.ctypeslib.as_array(found, shape=(self._model.vocabulary_size,))

    @property
    def handle(self) -> Any:
        """llama.cpp's pointer. Raises DecodeFailed once the context is closed."""
        if self._open is None:
            raise DecodeFailed("the context is closed")
        return self._open


def _context_params(settings: EngineSettings) -> Any:
    params = ll.llama_context_default_params()
    params.n_batch = params.n_ubatch = settings.batch_size
    params.n_threads = params.n_threads_batch = settings.threads
    params.flash_attn_type = int(settings.flash_attention)
    params.type_k = KV_TYPES[settings.key_type]
    params.type_v = KV_TYPES[settings.value_type]
    params.n_seq_max = settings.parallel
    params.n_ctx = settings.context_size * settings.parallel
    params.kv_unified = settings.unified
    params.swa_full = settings.swa_full
    return params
