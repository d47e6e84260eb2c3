"""What exact mode may put into one batch: an answer must not depend on who shares it, to the last bit.

llama.cpp computes several rows with other kernels than one, and some of those round differently: which ones depends on
the processor, the quantization and whether weights were repacked. So it is tried, on the very context that will be
used.
"""

import time
from itertools import takewhile
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InvalidEngine
from .company import Company

if TYPE_CHECKING:
    from ..llama import LlamaModel
    from ..llama.context import LlamaContext, Logits

_TRIALS = 6  # a kernel that rounds differently shows it in about every third row
_PROMPT = 6  # tokens
# Kernels change where rows fill a block.
_BLOCKS = (2, 3, 4, 5, 8, 9, 16, 17, 32, 33, 64, 65, 128, 129, 256)


# The CPU's attention reads 512 cells and more in another order when it has one row; cells come by 256.
_CELLS_OF_ONE_ORDER = 256


def found_company(context: "LlamaContext", model: "LlamaModel") -> Company:
    """The fastest batch of rows that gives the same logits as one row at a time; the context is left empty.

    Raises InvalidEngine where even one row does not give the same logits twice.
    """
    slots = range(context.settings.parallel)
    sizes = sorted({*(size for size in _BLOCKS if size < len(slots)), len(slots)} - {1})
    try:
        for slot in slots:
            context.prefill(slot, [_token(model, slot, n) for n in range(_PROMPT)], logits=False)
        trial = _Trial(context, model)
        if not trial.alike(1):
            raise InvalidEngine("exact: this build does not compute the same logits twice")
        return Company(min((1, *takewhile(trial.alike, sizes)), key=trial.row_seconds), _CELLS_OF_ONE_ORDER)
    finally:
        for slot in slots:
            context.trim(slot, 0)


class _Trial:
    """The same rows, each by itself and then in groups."""

    def __init__(self, context: "LlamaContext", model: "LlamaModel") -> None:
        self._context = context
        self._model = model
        self._seconds: dict[int, list[float]] = {}
        self._single = [[self._logits([slot], trial)[0] for slot in self._slots] for trial in range(_TRIALS)]

    @property
    def _slots(self) -> range:
        return range(self._context.settings.parallel)

    def alike(self, size: int) -> bool:
        """Whether rows in groups of `size` have the very logits that they have alone."""
        for trial, single in enumerate(self._single):
            found = self._logits(list(self._slots[:size]), trial)
            if not all(np.array_equal(row, single[slot]) for slot, row in enumerate(found)):
                return False
        return True

    def row_seconds(self, size: int) -> float:
        """What a row takes in a group of `size`."""
        return median(self._seconds[size]) / size

    def _logits(self, slots: list[int], trial: int) -> "Logits":
        tokens = [_token(self._model, slot, _PROMPT + trial) for slot in slots]
        began = time.perf_counter()
        self._context.step(slots, tokens)
        self._seconds.setdefault(len(slots), []).append(time.perf_counter() - began)
        found = self._context.logits().copy()
        for slot in slots:
            self._context.trim(slot, _PROMPT)
        return found


def _token(model: "LlamaModel", slot: int, n: int) -> int:
    """Some token or other, the same one each time."""
    return (slot * 7919 + n * 104_729 + 1000) % model.vocabulary_size
