"""The rows of one llama_decode, filled without a Python call for each."""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .library import ll


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive tokens of one slot, and whether the logits after the last are wanted."""

    slot: int
    tokens: Sequence[int]
    logits: bool


class Batch:
    """A llama_batch over arrays of our own, with room for `size` rows; each verb fills it anew."""

    def __init__(self, size: int) -> None:
        self._tokens = np.zeros(size, np.int32)
        self._positions = np.zeros(size, np.int32)
        self._counts = np.ones(size, np.int32)
        self._slots = np.zeros(size, np.int32)
        self._wanted = np.zeros(size, np.int8)
        # llama.cpp wants a pointer to the slots of each row; row n's point at slots[n].
        self._pointers = self._slots.ctypes.data + np.arange(size, dtype=np.uintp) * self._slots.itemsize
        self._batch = ll.llama_batch(
            n_tokens=0,
            token=_pointer(self._tokens, "token"),
            pos=_pointer(self._positions, "pos"),
            n_seq_id=_pointer(self._counts, "n_seq_id"),
            seq_id=_pointer(self._pointers, "seq_id"),
            logits=_pointer(self._wanted, "logits"),
        )

    def chunks(self, chunks: Sequence[Chunk], starts: Sequence[int]) -> Any:
        """Each of these from its position on."""
        end = 0
        for chunk, start in zip(chunks, starts, strict=True):
            first, end = end, end + len(chunk.tokens)
            self._tokens[first:end] = chunk.tokens
            self._positions[first:end] = np.arange(start, start + len(chunk.tokens))
            self._slots[first:end] = chunk.slot
            self._wanted[first:end] = 0
            self._wanted[end - 1] = chunk.logits
        self._batch.n_tokens = end
        return self._batch

    def rows(self, slots: Sequence[int], tokens: Sequence[int], positions: Sequence[int]) -> Any:
        """One token of each of several slots, all with logits."""
        count = len(slots)
        self._tokens[:count] = tokens
        self._positions[:count] = positions
        self._slots[:count] = slots
        self._wanted[:count] = 1
        self._batch.n_tokens = count
        return self._batch


_FIELDS = dict(ll.llama_batch._fields_)


def _pointer(array: "np.ndarray[Any, Any]", field: str) -> Any:
    return ctypes.cast(array.ctypes.data, _FIELDS[field])
