"""How much memory a model needs, from its header alone, for a context of any kind.

As llama.cpp (of llama-cpp-python 0.3.36) allocates with the runner's settings: sliding window layers as long as the
others (`swa_full`), room for the logits of one token a slot. Sources: llama.cpp's src/llama-kv-cache.cpp and
src/llama-context.cpp, which the tests compare with what it reports; the scratch memory is a model of ggml's allocator,
there right within 3 % or a MiB.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from .gguf import GgufHeader, Tensor
from .gguf.types import TENSOR_TYPES
from .layers import Layer, Shape, layers, named, rows

F16, F32 = 2, 4  # bytes
BATCH = 512  # tokens that the runner decodes at once
CELLS = 256  # a context is padded to a multiple of so many tokens

# A type of the KV cache: numbers in a block, bytes of a block.
BLOCKS = {name.lower(): (count, size) for name, count, size in TENSOR_TYPES.values()}


@dataclass(frozen=True, slots=True)
class ContextShape:
    """A context as far as its memory goes: `size` tokens for each of `slots`, `batch` tokens in one llama_decode.

    `unified` puts all slots into one pool of cells.
    """

    size: int
    slots: int = 1
    batch: int = BATCH
    key_type: str = "f16"
    value_type: str = "f16"
    flash_attention: bool = False
    unified: bool = False

    @property
    def cells(self) -> int:
        """How many tokens the cache of a layer has room for."""
        return padded(self.size * self.slots) if self.unified else padded(self.size) * self.slots

    @property
    def attended(self) -> int:
        """How many cells a token may attend to."""
        return self.cells if self.unified else padded(self.size)

    @property
    def rows(self) -> int:
        """How many tokens are computed at once."""
        return min(max(self.batch, self.slots), self.size * self.slots)


@dataclass(frozen=True, slots=True)
class MemoryNeed:
    """What a model needs, in bytes, and the widths that decide what a context over it needs.

    `embeddings` are the tensors in front of the layers, `output` those behind them; `tied` are the embeddings that are
    the output too, of which a GPU needs a copy. `masks` is 2 with a sliding window, else 1.

    Not counted: states of recurrent layers, and copies of weights that llama.cpp repacks for the processor, which for
    some types (Q4_0, Q4_K, Q8_0) may be as large as the weights, whose pages the system can drop then.
    """

    embeddings: int
    layers: tuple[Layer, ...]
    output: int
    tied: int
    heads: int
    head_sizes: tuple[int, int]
    vocabulary: int
    embedding: int
    queries: int
    feed_forward: int
    masks: int

    @classmethod
    def of(cls, headers: Sequence[GgufHeader]) -> "MemoryNeed":
        """That of a model in one file, or in several shards, of which the first holds the metadata."""
        shape, found = Shape(headers[0]), layers(headers)
        outside = [tensor for header in headers for tensor in header.tensors if not tensor.name.startswith("blk.")]
        output = [tensor for tensor in outside if tensor.name.startswith("output")]
        return cls(
            embeddings=sum(tensor.size for tensor in outside) - sum(tensor.size for tensor in output),
            layers=found,
            output=sum(tensor.size for tensor in output),
            tied=_tied(outside),
            heads=shape.heads,
            head_sizes=shape.head_sizes,
            vocabulary=max((rows(tensor) for tensor in outside if tensor.name in _HEADS), default=0),
            embedding=shape.number("embedding_length"),
            queries=max((rows(tensor) for _, name, tensor in named(headers) if name == "attn_q.weight"), default=0),
            feed_forward=_feed_forward(shape, headers),
            masks=2 if shape.number("attention.sliding_window") else 1,
        )

    @property
    def weights(self) -> int:
        """Bytes of all tensors."""
        return self.embeddings + sum(layer.weights for layer in self.layers) + self.output

    def kv(self, shape: ContextShape) -> int:
        """Bytes of the KV cache."""
        return sum(self.layer_kv(shape))

    def layer_kv(self, shape: ContextShape) -> list[int]:
        """Bytes of each layer's KV cache."""
        # Without flash attention the values lie transposed, each layer's as wide as the widest.
        least = 0 if shape.flash_attention else max((layer.values for layer in self.layers), default=0)
        return [
            shape.cells * (_bytes(layer.keys, shape.key_type) + _bytes(max(layer.values, least), shape.value_type))
            if layer.keys
            else 0
            for layer in self.layers
        ]

    def scratch(self, shape: ContextShape) -> int:
        """Bytes for what is computed on the way: a layer's attention or feed-forward, or the logits."""
        logits = shape.slots * self.vocabulary * F32 + 3 * self.embedding * shape.rows * F32
        return max(logits, self._mask(shape) + max(self._attention(shape), self._feed_forward(shape)))

    def logits(self, shape: ContextShape) -> int:
        """Bytes of host memory that hold the logits of every slot."""
        return shape.slots * self.vocabulary * F32

    def total(self, shape: ContextShape) -> int:
        """All of it."""
        return self.weights + self.kv(shape) + self.scratch(shape) + self.logits(shape)

    def _mask(self, shape: ContextShape) -> int:
        size = F16 if shape.flash_attention else F32
        return self.masks * shape.rows * shape.attended * size

    def _attention(self, shape: ContextShape) -> int:
        widest = max(self.layers, key=lambda layer: layer.keys + layer.values, default=Layer(0))
        numbers = 3 * max(self.queries, self.embedding) + 2 * self.embedding + widest.keys + widest.values
        need = numbers * shape.rows * F32
        if not shape.flash_attention:
            return need + self.heads * shape.rows * shape.attended * F32
        # It computes with halves: a cache of whole floats is copied.
        copied = [(widest.keys, shape.key_type), (widest.values, shape.value_type)]
        return need + sum(width * shape.cells * F16 for width, kind in copied if kind == "f32")

    def _feed_forward(self, shape: ContextShape) -> int:
        wide = 3 * self.feed_forward + 4 * self.embedding
        return max(wide, 2 * self.feed_forward + 3 * (self.queries + self.embedding)) * shape.rows * F32


_HEADS = ("output.weight", "token_embd.weight")


def padded(context: int) -> int:
    """A number of tokens as llama.cpp makes room for it."""
    return -(-context // CELLS) * CELLS


def _bytes(width: int, kind: str) -> int:
    count, size = BLOCKS[kind]
    return -(-width // count) * size


def _tied(outside: Sequence[Tensor]) -> int:
    named = {tensor.name: tensor.size for tensor in outside}
    return 0 if "output.weight" in named else named.get("token_embd.weight", 0)


def _feed_forward(shape: Shape, headers: Sequence[GgufHeader]) -> int:
    """The widest feed-forward of a layer; of experts, that of those that a token uses."""
    used = shape.number("expert_used_count", absent=1)
    widths = {"ffn_up.weight": 1, "ffn_gate.weight": 1, "ffn_up_exps.weight": used}
    return max((rows(tensor) * widths[name] for _, name, tensor in named(headers) if name in widths), default=0)
