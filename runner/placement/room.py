"""Where there is no room: what would fit, so that the error says what to ask for instead."""

from collections.abc import Callable
from dataclasses import replace

from ...store.memory_need import CELLS, ContextShape
from ...store.sizes import human_size
from ..errors import NoRoom
from .facts import ModelFacts
from .layout import Layout, best, layout
from .machine import Machine

SMALLER = ("q8_0", "q4_0")


def no_room(model: ModelFacts, machine: Machine, shape: ContextShape, *, split: str, gpu_layers: int | None) -> NoRoom:
    """The error for a context that does not fit."""
    fitting = _Fitting(model, machine, split, gpu_layers)
    found = fitting.nearest(shape)
    tokens = f"{shape.slots} x {shape.size}" if shape.slots > 1 else f"{shape.size}"
    message = (
        f"a context of {tokens} tokens does not fit: with the model it needs {human_size(found.total)} "
        f"({human_size(model.need.kv(shape))} of them for the KV cache){_free(machine)}"
    )
    ways = fitting.ways(shape)
    return NoRoom(message, hint=f"what fits: {' or '.join(ways)}" if ways else "no context of this model fits")


class _Fitting:
    """Asks of other contexts whether there is room for them."""

    def __init__(self, model: ModelFacts, machine: Machine, split: str, gpu_layers: int | None) -> None:
        self._model, self._machine, self._split, self._gpu_layers = model, machine, split, gpu_layers

    def nearest(self, shape: ContextShape) -> Layout:
        """The layout asked for, or that with everything on the host."""
        need, gpus = self._model.need, self._machine.used_gpus
        return layout(need, shape, gpus, gpu_layers=self._gpu_layers or 0, split=self._split)

    def ways(self, shape: ContextShape) -> list[str]:
        """Flags with which it would fit, each by itself."""
        found = [self._context(shape), self._slots(shape), *(self._kv_type(shape, kind) for kind in SMALLER)]
        return [way for way in [*found, self._layers(shape)] if way]

    def _fits(self, shape: ContextShape) -> bool:
        if self._gpu_layers is None:
            return best(self._model.need, shape, self._machine, split=self._split) is not None
        return self.nearest(shape).fits(self._machine)

    def _context(self, shape: ContextShape) -> str | None:
        size = largest(shape.size, lambda size: self._fits(replace(shape, size=size)))
        return f"--ctx {size}" if size < shape.size and self._fits(replace(shape, size=size)) else None

    def _slots(self, shape: ContextShape) -> str | None:
        fewer = (slots for slots in range(shape.slots - 1, 0, -1) if self._fits(replace(shape, slots=slots)))
        slots = next(fewer, None)
        return f"--parallel {slots}" if slots else None

    def _kv_type(self, shape: ContextShape, kind: str) -> str | None:
        if kind in (shape.key_type, shape.value_type) or self._model.kv_problem(kind):
            return None
        smaller = replace(shape, key_type=kind, value_type=kind, flash_attention=True)
        return f"--kv-type {kind}" if self._fits(smaller) else None

    def _layers(self, shape: ContextShape) -> str | None:
        if self._gpu_layers is None:
            return None
        found = best(self._model.need, shape, self._machine, split=self._split)
        return f"--gpu-layers {found.gpu_layers}" if found and found.gpu_layers != self._gpu_layers else None


def _free(machine: Machine) -> str:
    gpus = "".join(f", {human_size(gpu.room)} on {gpu.name}" for gpu in machine.used_gpus)
    return f"; free are {human_size(machine.room)} of memory{gpus}"


def largest(top: int, fits: Callable[[int], bool]) -> int:
    """The largest multiple of 256 below `top` that fits, 256 when none does (or `top`, if that is less)."""
    low, high = 1, max(1, -(-top // CELLS) - 1)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle * CELLS) else (low, middle - 1)
    return min(top, low * CELLS)
