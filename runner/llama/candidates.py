"""The tokens that one may be chosen of, as llama.cpp's samplers take them."""

import ctypes
from typing import Any

import numpy as np

from .library import ll
from .shortlist import Floats, Ints

_LAYOUT = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])


class Candidates:
    """A llama_token_data_array with room for `room` tokens."""

    def __init__(self, room: int) -> None:
        self._tokens = np.zeros(room, _LAYOUT)
        self._ids, self._logits = self._tokens["id"], self._tokens["logit"]
        self._data = self._tokens.ctypes.data_as(ll.llama_token_data_p)
        self._array = ll.llama_token_data_array()
        self.pointer: Any = ctypes.byref(self._array)

    def fill(self, ids: Ints, logits: Floats, *, is_sorted: bool) -> None:
        """Makes these the candidates; `is_sorted` when the highest logit comes first."""
        size = len(ids)
        self._ids[:size] = ids
        self._logits[:size] = logits
        # The samplers may have put another pointer there.
        self._array.data = self._data
        self._array.size = size
        self._array.selected = -1
        self._array.sorted = is_sorted

    @property
    def selected(self) -> int:
        """The token that a sampler chose."""
        return int(self._array.data[self._array.selected].id)

    @property
    def logits(self) -> Floats:
        """The logits of all that were filled in, as a sampler left them that keeps all in their place."""
        return self._logits[: self._array.size]
