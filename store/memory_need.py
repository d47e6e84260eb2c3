"""How much memory a model needs by context length, from its header alone.

As llama.cpp (of llama-cpp-python 0.3.36) allocates with the runner's settings: an f16 KV cache for one sequence, flash
attention off, sliding window layers as long as the others (`swa_full`). Sources: llama.cpp's src/llama-kv-cache.cpp and
src/llama-hparams.cpp for the cache, which the tests compare with what it reports; the scratch memory is
a model of ggml's allocator, right within 5 % there.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .gguf import GgufHeader, Tensor

F16, F32 = 2, 4  # bytes
BATCH = 512  # tokens that the runner decodes at once
CELLS = 256  # a context is padded to a multiple of so many tokens

_LAYER = re.compile(r"blk\.(\d+)\.(attn_k|attn_v|attn_qkv|attn_kv_a_mqa)\.weight")


@dataclass(frozen=True, slots=True)
class MemoryNeed:
    """What a model needs, in bytes and in numbers for each token of context.

    `weights` are its tensors; `kv_width` is how many f16 numbers a token takes in the cache of all layers; `heads` and
    `vocabulary` determine the scratch memory of a batch.

    Not counted: states of recurrent layers, and copies of weights that llama.cpp repacks for the processor, which for
    some types (Q4_0, Q4_K, Q8_0) may be as large as the weights.
    """

    weights: int
    kv_width: int
    heads: int
    vocabulary: int

    @classmethod
    def of(cls, headers: Sequence[GgufHeader]) -> "MemoryNeed":
        """That of a model in one file, or in several shards, of which the first holds the metadata."""
        tensors = [tensor for header in headers for tensor in header.tensors]
        shape = _Shape(headers[0])
        return cls(
            weights=sum(tensor.size for tensor in tensors),
            kv_width=_kv_width(shape, tensors),
            heads=shape.number("attention.head_count"),
            vocabulary=max((_rows(tensor) for tensor in tensors if tensor.name in _HEADS), default=0),
        )

    def kv(self, context: int) -> int:
        """Bytes of the KV cache for so many tokens."""
        return self.kv_width * F16 * _padded(context)

    def scratch(self, context: int) -> int:
        """Bytes for what is computed on the way: the logits of a batch or, if they are more, one layer's attention."""
        cells = _padded(context)
        batch = min(BATCH, context)
        # The mask is a row of the scores more.
        return max(batch * self.vocabulary * F32, batch * cells * (self.heads + 1) * F32)

    def total(self, context: int) -> int:
        """All of it."""
        return self.weights + self.kv(context) + self.scratch(context)


_HEADS = ("output.weight", "token_embd.weight")


class _Shape:
    """A header's numbers about the layers."""

    def __init__(self, header: GgufHeader) -> None:
        self._values = header.metadata
        self._architecture = header.architecture

    def number(self, key: str, *, absent: int = 0) -> int:
        value = self._values.get(f"{self._architecture}.{key}")
        return value if type(value) is int else absent

    def layer(self, key: str, n: int, *, absent: int) -> int:
        """A number that some models give for each layer."""
        value: object = self._values.get(f"{self._architecture}.{key}")
        if isinstance(value, list | tuple):
            return int(value[n]) if n < len(value) else absent
        return value if type(value) is int else absent

    @property
    def cached_layers(self) -> int:
        """How many layers have a cache of their own; the last ones of some models use that of another."""
        return self.number("block_count") - self.number("attention.shared_kv_layers")

    def widths(self, n: int) -> tuple[int, int]:
        """How many numbers the keys and the values of a token are in layer `n`, as the metadata has it."""
        heads = self.layer("attention.head_count", n, absent=1)
        kv_heads = self.layer("attention.head_count_kv", n, absent=heads)
        length = self.number("embedding_length") // max(heads, 1)
        keys = kv_heads * self.number("attention.key_length", absent=length)
        # With multi-head latent attention, the values are part of the keys.
        latent = self.number("attention.key_length_mla") > 0
        return keys, 0 if latent else kv_heads * self.number("attention.value_length", absent=length)


def _kv_width(shape: _Shape, tensors: Sequence[Tensor]) -> int:
    widths = list(_layer_widths(shape, tensors))
    # Without flash attention the values lie transposed, each layer's as wide as the widest.
    return sum(keys for keys, _ in widths) + max((values for _, values in widths), default=0) * len(widths)


def _layer_widths(shape: _Shape, tensors: Sequence[Tensor]) -> Iterator[tuple[int, int]]:
    """The widths of each layer that has a cache; what the tensors say goes before what the metadata does."""
    found: dict[int, dict[str, int]] = {}
    for tensor in tensors:
        match = _LAYER.fullmatch(tensor.name)
        if match:
            found.setdefault(int(match[1]), {})[match[2]] = _rows(tensor)
    for n in sorted(found):
        rows = found[n]
        if n >= shape.cached_layers:
            continue
        yield (rows["attn_k"], rows.get("attn_v", rows["attn_k"])) if "attn_k" in rows else shape.widths(n)


def _rows(tensor: Tensor) -> int:
    return tensor.shape[1] if len(tensor.shape) > 1 else 0


def _padded(context: int) -> int:
    return -(-context // CELLS) * CELLS
