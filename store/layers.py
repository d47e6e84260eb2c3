"""What the layers of a model are, as far as memory goes: read from the headers of its files."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .gguf import GgufHeader, Tensor

_LAYER = re.compile(r"blk\.(\d+)\.(.+)")
_LATENT = "attn_kv_a_mqa"
_CACHED = ("attn_k", "attn_qkv", _LATENT)  # the tensors of a layer that keeps keys


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer: bytes of its tensors, and how many numbers the keys and the values of a token are in its cache."""

    weights: int
    keys: int = 0
    values: int = 0


class Shape:
    """A header's numbers about the layers."""

    def __init__(self, header: GgufHeader) -> None:
        self._values = header.metadata
        self._architecture = header.architecture

    def number(self, key: str, *, absent: int = 0) -> int:
        """The whole number of `<architecture>.<key>`."""
        value = self._values.get(f"{self._architecture}.{key}")
        return value if type(value) is int else absent

    @property
    def cached_layers(self) -> int:
        """How many layers have a cache of their own; the last ones of some models use that of another."""
        return self.number("block_count") - self.number("attention.shared_kv_layers")

    @property
    def heads(self) -> int:
        """How many heads a layer's attention has."""
        return self.number("attention.head_count")

    @property
    def head_sizes(self) -> tuple[int, int]:
        """How many numbers a head's key and value are; 0 where the header does not say."""
        length = self.number("embedding_length") // max(self.heads, 1)
        return self.number("attention.key_length", absent=length), self.number("attention.value_length", absent=length)

    @property
    def latent(self) -> bool:
        """Whether attention is multi-head latent: the values are part of the keys."""
        return self.number("attention.key_length_mla") > 0

    def widths(self) -> tuple[int, int]:
        """How many numbers the keys and the values of a token are in a layer, as the metadata has it."""
        kv_heads = self.number("attention.head_count_kv", absent=max(self.heads, 1))
        keys, values = self.head_sizes
        return kv_heads * keys, 0 if self.latent else kv_heads * values


def layers(headers: Sequence[GgufHeader]) -> tuple[Layer, ...]:
    """The layers of a model in order; what the tensors say goes before what the metadata does."""
    shape = Shape(headers[0])
    found: dict[int, list[Tensor]] = {}
    for number, _, tensor in named(headers):
        found.setdefault(number, []).append(tensor)
    return tuple(_layer(shape, n, found[n]) for n in sorted(found))


def named(headers: Sequence[GgufHeader]) -> Iterator[tuple[int, str, Tensor]]:
    """The tensors that belong to a layer, with its number and what they are called in it."""
    for header in headers:
        for tensor in header.tensors:
            match = _LAYER.fullmatch(tensor.name)
            if match:
                yield int(match[1]), match[2], tensor


def rows(tensor: Tensor) -> int:
    """How many numbers come out of a matrix for a token."""
    return tensor.shape[1] if len(tensor.shape) > 1 else 0


def _layer(shape: Shape, n: int, tensors: Sequence[Tensor]) -> Layer:
    size = sum(tensor.size for tensor in tensors)
    width = {tensor.name.split(".")[2]: rows(tensor) for tensor in tensors if tensor.name.endswith(".weight")}
    if n >= shape.cached_layers or not any(kind in width for kind in _CACHED):
        return Layer(size)
    if "attn_k" not in width:
        return Layer(size, *shape.widths())
    return Layer(size, width["attn_k"], width.get("attn_v", width["attn_k"]))
