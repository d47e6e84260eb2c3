"""What a model has read so far: the KV cache of several sequences, each in a slot of its own."""

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...store.closing import Closing
from ..engine_settings import KV_TYPES, RANGES, EngineSettings
from ..errors import DecodeFailed, InvalidEngine, LoadFailed, PromptEmpty, PromptTooLong
from ..notes import notes
from .batch import Batch, Chunk
from .library import errors_logged, ll, quick
from .model import LlamaModel

_logits = quick.llama_get_logits
_logits.restype, _logits.argtypes = ctypes.c_void_p, [ctypes.c_void_p]

Logits = np.ndarray[Any, np.dtype[np.float32]]
State = bytearray | memoryview  # that can be written


class LlamaContext(Closing):
    """The KV cache of `parallel` slots, and some spare ones, over a model: tokens go in, logits come out.

    A slot holds up to `context_size` tokens of one sequence, at consecutive positions from 0; `lengths` says how many.
    Slots that are decoded together should be neighbours: llama.cpp computes each run of neighbours by itself.
    `window` is how far a sliding-window model sees, or 0. One thread at a time. Raises LoadFailed when there is no
    room for it.
    """

    def __init__(self, model: LlamaModel, settings: EngineSettings, *, spare: int = 0) -> None:
        errors_logged.clear()
        self._model = model
        self.settings = settings
        self._open = None
        if not model.has_weights:
            raise LoadFailed("the model was loaded for its vocabulary alone")
        notes.begin("made its context")
        self._open = ll.llama_init_from_model(model.handle, _context_params(settings, settings.parallel + spare))
        if not self._open:
            size = f"{settings.parallel} x {settings.context_size}" if settings.parallel > 1 else settings.context_size
            raise LoadFailed(f"llama.cpp cannot make a context of {size} tokens: {errors_logged.summary()}")
        self.window = model.window
        self._batch = Batch(max(self.batch_size, settings.parallel))
        self._rows = 0  # of logits
        self._steps = 0  # since a prompt was read, which gave the first token
        self._logits_at = 0
        self._all_logits: Logits = np.empty((0, 0), np.float32)
        self.lengths = [0] * (settings.parallel + spare)
        model.contexts.add(self)

    def close(self) -> None:
        """Frees the KV cache."""
        handle, self._open = self._open, None
        self._model.contexts.discard(self)
        if handle:
            ll.llama_free(handle)

    @property
    def batch_size(self) -> int:
        """How many tokens one `prefill` takes."""
        return min(self.settings.batch_size, int(ll.llama_n_batch(self.handle)))

    @property
    def threads(self) -> int:
        """How many threads of the CPU compute."""
        return int(ll.llama_n_threads(self.handle))

    @threads.setter
    def threads(self, count: int) -> None:
        if not 1 <= count <= RANGES["threads"][1]:
            raise InvalidEngine(f"threads is {count}; ggml takes from 1 to {RANGES['threads'][1]}")
        ll.llama_set_n_threads(self.handle, count, count)

    @property
    def room(self) -> int:
        """How many tokens a slot holds."""
        return self.settings.context_size

    def prefill(self, slot: int, tokens: Sequence[int], *, logits: bool) -> None:
        """Appends `tokens`, at most `batch_size`, to a slot; with `logits`, computes those after the last, as row 0.

        Raises PromptEmpty, PromptTooLong beyond the slot's room, DecodeFailed.
        """
        self.prefill_together([Chunk(slot, tokens, logits)])

    def prefill_together(self, chunks: Sequence[Chunk]) -> None:
        """Appends chunks, of at most `batch_size` tokens in all, to slots of their own. The logits that are wanted are
        rows in their order.

        Raises PromptEmpty, PromptTooLong beyond a slot's room, DecodeFailed.
        """
        if not chunks or not all(chunk.tokens for chunk in chunks):
            raise PromptEmpty("there are no tokens to decode")
        starts = [self._room_for(chunk.slot, len(chunk.tokens)) for chunk in chunks]
        if len({chunk.slot for chunk in chunks}) != len(chunks):
            raise DecodeFailed("a slot takes one chunk at a time")
        count = sum(len(chunk.tokens) for chunk in chunks)
        if count > self.batch_size:
            raise DecodeFailed(f"{count} tokens are more than a batch of {self.batch_size}")
        for chunk in chunks:
            for token in chunk.tokens:
                self._model.known(token)
        notes.reading(count, prompts=len(chunks), whole=starts[0] == 0 and chunks[0].logits)
        self._decode(self._batch.chunks(chunks, starts), rows=sum(chunk.logits for chunk in chunks))
        for chunk in chunks:
            self.lengths[chunk.slot] += len(chunk.tokens)
        self._steps = 0

    def step(self, slots: Sequence[int], tokens: Sequence[int], *, idle: Sequence[int] = ()) -> None:
        """Appends a token to each of these slots; the logits after it are rows in the order of `slots`.

        Slots that are `idle`, and empty, take part and stay empty. Raises PromptEmpty, PromptTooLong, DecodeFailed.
        """
        if idle:
            self.step([*slots, *idle], [*tokens, *[0] * len(idle)])
            for slot in idle:
                self.trim(slot, 0)
            return
        if not slots:
            raise PromptEmpty("there are no tokens to decode")
        if len(set(slots)) != len(slots) or len(tokens) != len(slots):
            raise DecodeFailed("one token is decoded for each slot, once")
        starts = [self._room_for(slot, 1) for slot in slots]
        for token in tokens:
            self._model.known(token)
        self._steps += 1
        # With several slots, nobody knows whose token it is.
        notes.generating(self._steps + 1 if len(self.lengths) == 1 else None)
        self._decode(self._batch.rows(slots, tokens, starts), rows=len(slots))
        for slot in slots:
            self.lengths[slot] += 1

    def decode(self, tokens: Sequence[int], *, slot: int = 0) -> None:
        """Appends any number of tokens to a slot, batch by batch, and computes the logits after the last."""
        if not tokens:
            raise PromptEmpty("there are no tokens to decode")
        self._room_for(slot, len(tokens))
        size = self.batch_size
        for start in range(0, len(tokens), size):
            self.prefill(slot, tokens[start : start + size], logits=start + size >= len(tokens))

    def logits(self) -> Logits:
        """What was computed last, (rows, vocabulary_size) float32: a view, valid until the next decode."""
        address = _logits(self.handle) if self._rows else None
        if not address:
            raise DecodeFailed("there are no logits: nothing was decoded, or the model gives none")
        if address != self._logits_at:
            # To make a view takes longer than to look for the likeliest token in it.
            self._logits_at, self._all_logits = address, self._view(address)
        return self._all_logits[: self._rows]

    def _view(self, address: int) -> Logits:
        # llama.cpp reserves a row for each slot, at least.
        size = len(self.lengths) * self._model.vocabulary_size
        found = np.ctypeslib.as_array((ctypes.c_float * size).from_address(address))
        return found.reshape(len(self.lengths), self._model.vocabulary_size)

    def trim(self, slot: int, length: int) -> bool:
        """Forget what a slot holds beyond `length` tokens.

        Where the model cannot (recurrent state, a sliding window that has moved on), empties it and returns False.
        """
        if length >= self.lengths[self._known(slot)]:
            return True
        kept = length > 0 and ll.llama_memory_seq_rm(self._memory(), slot, length, -1) and self._sees(slot, length)
        if not kept:
            ll.llama_memory_seq_rm(self._memory(), slot, -1, -1)
        self.lengths[slot] = length if kept else 0
        return kept or length == 0

    def save(self, slot: int, memory: Callable[[int], State] = bytearray) -> State:
        """The KV state of a slot, to be given back to `restore` of a context with the same model and settings.

        `memory` gives it as many bytes as it needs.
        """
        size = int(ll.llama_state_seq_get_size(self.handle, self._known(slot)))
        state = memory(size)
        buffer = (ctypes.c_uint8 * size).from_buffer(state)
        if ll.llama_state_seq_get_data(self.handle, buffer, size, slot) != size:
            raise DecodeFailed(f"llama.cpp cannot save slot {slot}")
        return state

    def restore(self, slot: int, state: State, length: int) -> None:
        """Puts the `length` tokens of a saved state, one of our own, into a slot, in place of what it held."""
        self.trim(slot, 0)
        buffer = (ctypes.c_uint8 * len(state)).from_buffer(state)
        if ll.llama_state_seq_set_data(self.handle, buffer, len(state), slot) != len(state):
            self.lengths[slot] = 0
            raise DecodeFailed(f"llama.cpp cannot restore slot {slot}: {errors_logged.summary()}")
        self.lengths[slot] = length

    def copy(self, source: int, target: int) -> None:
        """Puts all that a slot holds into another, in place of what that held.

        Slower than `save` and `restore`, but whole: those drop what a sliding window has passed. Raises DecodeFailed.
        """
        self.trim(target, 0)
        length = self.lengths[self._known(source)]
        ll.llama_memory_seq_cp(self._memory(), source, self._known(target), -1, -1)
        self.lengths[target] = length
        # llama.cpp copies when it computes next; by then the source may hold something else.
        self.trim(target, min(length, self.room - 1))
        self.prefill(target, [0], logits=False)
        self.trim(target, min(length, self.room - 1))

    def whole(self, slot: int) -> bool:
        """Whether a slot holds its tokens from the first on."""
        return int(ll.llama_memory_seq_pos_min(self._memory(), self._known(slot))) == 0

    def use_threads(self, threads: int) -> None:
        """Compute with so many threads from now on."""
        ll.llama_set_n_threads(self.handle, threads, threads)

    @property
    def handle(self) -> Any:
        """llama.cpp's pointer. Raises DecodeFailed once the context is closed."""
        if self._open is None:
            raise DecodeFailed("the context is closed")
        return self._open

    @property
    def closed(self) -> bool:
        """Whether it holds nothing any more."""
        return self._open is None

    def _memory(self) -> Any:
        return ll.llama_get_memory(self.handle)

    def _decode(self, batch: Any, *, rows: int) -> None:
        self._rows = 0
        errors_logged.clear()
        status = ll.llama_decode(self.handle, batch)
        if status != 0:
            self._resync()
            raise DecodeFailed(f"llama_decode returned {status}: {errors_logged.summary()}")
        self._rows = rows

    def _resync(self) -> None:
        """After a failure, llama.cpp knows best what each slot holds."""
        for slot in range(len(self.lengths)):
            self.lengths[slot] = int(ll.llama_memory_seq_pos_max(self._memory(), slot)) + 1

    def _sees(self, slot: int, length: int) -> bool:
        """Whether a slot holds every token that the next one attends to."""
        first = int(ll.llama_memory_seq_pos_min(self._memory(), slot))
        return first == 0 or (self.window > 0 and 0 <= first <= length - self.window)

    def _room_for(self, slot: int, count: int) -> int:
        start = self.lengths[self._known(slot)]
        if start + count > self.room:
            raise PromptTooLong(start + count, self.room)
        return start

    def _known(self, slot: int) -> int:
        if not 0 <= slot < len(self.lengths):
            raise DecodeFailed(f"there are {len(self.lengths)} slots, and no slot {slot}")
        return slot


def _context_params(settings: EngineSettings, slots: int) -> Any:
    params = ll.llama_context_default_params()
    params.n_seq_max = slots
    params.n_ctx = settings.context_size * slots
    params.n_batch = params.n_ubatch = max(settings.batch_size, slots)
    # Room for the logits that are asked for, not for those of a whole batch: with a large vocabulary that is gigabytes.
    params.n_outputs_max = slots
    params.n_threads = params.n_threads_batch = settings.threads
    params.flash_attn_type = int(settings.flash_attention)
    params.type_k = KV_TYPES[settings.key_type]
    params.type_v = KV_TYPES[settings.value_type]
    params.kv_unified = settings.unified
    params.swa_full = settings.swa_full
    return params
