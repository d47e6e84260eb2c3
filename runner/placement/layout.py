"""What of a model lies where: which layers on which GPU, the rest in host memory, and whether there is room for it.

As llama.cpp (src/llama-model.cpp, load_tensors) assigns them: the last layers go to GPUs, the output behind them first
of all, and several GPUs share them in proportion to their free memory; embeddings stay on the host.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from ...store.memory_need import ContextShape, MemoryNeed
from .machine import Gpu, Machine


@dataclass(frozen=True, slots=True)
class Layout:
    """`gpu_layers`, the output's among them, are on GPUs; bytes of host memory and of each GPU."""

    gpu_layers: int
    host: int
    gpus: tuple[int, ...] = ()

    @property
    def total(self) -> int:
        """All bytes."""
        return self.host + sum(self.gpus)

    def fits(self, machine: Machine) -> bool:
        """Whether there is room for it."""
        gpus = machine.used_gpus
        shared = sum(size for size, gpu in zip(self.gpus, gpus, strict=True) if gpu.integrated)
        rooms = zip(self.gpus, gpus, strict=True)
        return self.host + shared <= machine.room and all(size <= gpu.room for size, gpu in rooms)


def most_layers(need: MemoryNeed) -> int:
    """How many layers can be on GPUs: those of the model and the output's."""
    return len(need.layers) + 1


def layout(need: MemoryNeed, shape: ContextShape, gpus: Sequence[Gpu], *, gpu_layers: int, split: str) -> Layout:
    """Where a model lies with so many layers on the GPUs."""
    count = min(gpu_layers, most_layers(need)) if gpus else 0
    first = most_layers(need) - count
    kv = need.layer_kv(shape)
    weights = [layer.weights for layer in need.layers]
    scratch = need.scratch(shape)
    host = need.embeddings + sum(weights[:first]) + sum(kv[:first]) + need.logits(shape)
    host += (0 if count else need.output) + (scratch if first else 0)
    used = [0] * len(gpus)
    for n, gpu in enumerate(_gpu_of(count, gpus, split), start=first):
        inside = n < len(weights)
        size = weights[n] if inside else need.output + need.tied
        for other, share in enumerate(_shares(gpu, gpus, split)):
            used[other] += int(size * share)
        used[gpu] += kv[n] if inside else 0
    # To prefill, weights of the host's layers are brought to the GPU, one layer's at a time.
    brought = max(weights[:first], default=0) if count else 0
    return Layout(count, host, tuple(size and size + scratch + brought for size in used))


def best(need: MemoryNeed, shape: ContextShape, machine: Machine, *, split: str) -> Layout | None:
    """The layout with most layers on GPUs for which there is room; None when there is none."""
    gpus = machine.used_gpus
    for count in range(most_layers(need) if gpus else 0, -1, -1):
        found = layout(need, shape, gpus, gpu_layers=count, split=split)
        if found.fits(machine):
            return found
    return None


def _gpu_of(count: int, gpus: Sequence[Gpu], split: str) -> list[int]:
    """Which GPU each of `count` layers is on."""
    if split == "none" or len(gpus) == 1:
        return [0] * count
    ends = list(accumulate(_weights([gpu.free for gpu in gpus])))
    return [min(bisect_right(ends, n / count), len(gpus) - 1) for n in range(count)]


def _shares(gpu: int, gpus: Sequence[Gpu], split: str) -> list[float]:
    """What part of a layer's weights each GPU holds: by rows, each holds some of every layer."""
    if split == "row":
        return _weights([other.total for other in gpus])
    return [float(other == gpu) for other in range(len(gpus))]


def _weights(sizes: Sequence[int]) -> list[float]:
    whole = sum(sizes)
    return [size / whole if whole else 1 / len(sizes) for size in sizes]
