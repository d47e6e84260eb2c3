"""The rows of one llama_decode, filled without a Python call for each."""

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np

from .library import ll


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

    def chunk(self, slot: int, tokens: Sequence[int], *, start: int, logits: bool) -> Any:
        """Consecutive tokens of one slot, from position `start`; `logits` are those after the last."""
        count = len(tokens)
        self._tokens[:count] = tokens
        self._positions[:count] = np.arange(start, start + count)
        self._slots[:count] = slot
        self._wanted[:count] = 0
        self._wanted[count - 1] = logits
        self._batch.n_tokens = count
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
