"""What fits where on a machine: contexts, sequences and KV types side by side."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from ...store.memory_need import ContextShape
from ..errors import InvalidEngine
from .choose import refuse_impossible
from .facts import ModelFacts
from .layout import best, layout, most_layers
from .machine import Machine
from .room import SMALLER
from .wanted import Usual, Wanted

CONTEXTS = (2048, 8192, 32_768, 131_072)
SLOTS = (1, 16)

Where = Literal["gpu", "partly", "host", "no"]


@dataclass(frozen=True, slots=True)
class Fit:
    """A context, the bytes that it needs with the model, and where there is room: `gpu_layers` are on GPUs then."""

    context: int
    parallel: int
    kv_type: str
    memory: int
    where: Where
    gpu_layers: int

    def document(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "context": self.context,
            "parallel": self.parallel,
            "kv_type": self.kv_type,
            "memory": self.memory,
            "where": self.where,
            "gpu_layers": self.gpu_layers,
        }


def fits(model: ModelFacts, machine: Machine, wanted: Wanted, *, usual: Usual) -> list[Fit]:
    """What fits of the contexts asked for, or of some usual ones. Raises InvalidEngine for what cannot be asked."""
    refuse_impossible(model, machine, wanted)
    found = []
    for context in [wanted.context] if wanted.context else contexts(model.context_length):
        for slots in [wanted.parallel] if wanted.parallel else SLOTS:
            shape = ContextShape(
                context,
                slots=slots,
                batch=wanted.batch_size or usual.batch_size,
                flash_attention=model.flash_attention and wanted.flash_attention != "off",
                unified=bool(wanted.unified),
            )
            found += [_fit(model, machine, _typed(shape, kind), wanted.split) for kind in _types(model, wanted)]
    return found


def contexts(longest: int | None) -> list[int]:
    """Some lengths up to the longest that a model was trained for."""
    if longest is None:
        return list(CONTEXTS)
    return sorted({*(context for context in CONTEXTS if context < longest), longest})


def _types(model: ModelFacts, wanted: Wanted) -> Sequence[str]:
    if wanted.kv_type is None:
        quantized = () if wanted.flash_attention == "off" else SMALLER
        return ("f16", *(kind for kind in quantized if not model.kv_problem(kind)))
    problem = model.kv_problem(wanted.kv_type)
    if problem:
        raise InvalidEngine(f"a KV cache of {wanted.kv_type} {problem}", hint="f16, bf16 and f32 always work")
    return (wanted.kv_type,)


def _typed(shape: ContextShape, kind: str) -> ContextShape:
    return replace(shape, key_type=kind, value_type=kind)


def _fit(model: ModelFacts, machine: Machine, shape: ContextShape, split: str | None) -> Fit:
    found = best(model.need, shape, machine, split=split or "layer")
    # Where nothing fits, what it takes on the host is said.
    placed = found or layout(model.need, shape, machine.used_gpus, gpu_layers=0, split="layer")
    return Fit(
        context=shape.size,
        parallel=shape.slots,
        kv_type=shape.key_type,
        memory=placed.total,
        where=_where(placed.gpu_layers, most_layers(model.need)) if found else "no",
        gpu_layers=placed.gpu_layers,
    )


def _where(count: int, most: int) -> Where:
    return "gpu" if count == most else "partly" if count else "host"
