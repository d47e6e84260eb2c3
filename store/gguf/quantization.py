"""How a model is quantized: what its tensors are decides, and not what its file is called or claims to be."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from .types import FILE_TYPES, MIXTURES, STAND_INS

_BLOCK = 256  # weights in a block of the K and IQ types, which rows of another length cannot have
_CHOSEN_APART = ("token_embd", "per_layer_token_embd", "output")


class Quantized(Protocol):
    """What is asked of a tensor; `shape` begins with the length of a row."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its lengths."""

    @property
    def type(self) -> str:
        """The type of its weights."""

    @property
    def weights(self) -> int:
        """How many numbers it holds."""


def parameters(tensors: Iterable[Quantized]) -> int:
    """How many weights the tensors hold; give those of all shards for a split model."""
    return sum(tensor.weights for tensor in tensors)


def quantization(tensors: Sequence[Quantized], file_type: int | None) -> str | None:
    """The usual name of the mixture when the tensors agree with the claimed `file_type`, else their main type.

    That is the one that most weights in matrices have. None without tensors.
    """
    matrices = [tensor for tensor in tensors if len(tensor.shape) > 1] or tensors
    claimed = FILE_TYPES.get(-1 if file_type is None else file_type)
    if claimed and _agree(matrices, claimed):
        return claimed
    return _most(matrices, lambda tensor: tensor.type)


def _agree(matrices: Sequence[Quantized], claimed: str) -> bool:
    # Embeddings are quantized apart from the rest, and are most of a small model.
    inner = [tensor for tensor in matrices if tensor.name.partition(".")[0] not in _CHOSEN_APART] or matrices
    return _most(inner, lambda tensor: claimed if _fits(tensor, claimed) else tensor.type) == claimed


def _fits(tensor: Quantized, claimed: str) -> bool:
    wanted = MIXTURES.get(claimed, (claimed,))
    # llama.cpp takes a simpler type where a row does not fill the blocks of the wanted one.
    odd = tensor.shape and tensor.shape[0] % _BLOCK
    return tensor.type in wanted or bool(odd and tensor.type in {STAND_INS.get(kind) for kind in wanted})


def _most(tensors: Sequence[Quantized], name: Callable[[Quantized], str]) -> str | None:
    weights: Counter[str] = Counter()
    for tensor in tensors:
        weights[name(tensor)] += tensor.weights
    return next((name for name, _ in weights.most_common(1)), None)
