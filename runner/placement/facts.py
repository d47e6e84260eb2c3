"""What a placement needs to know of a model: all of it stands in the headers of its files."""

from collections.abc import Sequence
from dataclasses import dataclass

from ...store.gguf import GgufHeader
from ...store.memory_need import BLOCKS, MemoryNeed

# llama.cpp switches flash attention off for it, whatever is asked for (llama_init_from_model).
_WITHOUT_FLASH_ATTENTION = frozenset({"grok"})


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """A model's memory, the context that it was trained for (None is unknown), its architecture, and the types of the
    matrices among its weights."""

    need: MemoryNeed
    context_length: int | None
    architecture: str | None
    types: frozenset[str] = frozenset()

    @classmethod
    def of(cls, headers: Sequence[GgufHeader]) -> "ModelFacts":
        """Those of a model in one file, or in shards in their order."""
        first = headers[0]
        types = {tensor.type for header in headers for tensor in header.tensors if len(tensor.shape) > 1}
        return cls(MemoryNeed.of(headers), first.context_length, first.architecture, frozenset(types - {"F32"}))

    @property
    def flash_attention(self) -> bool:
        """Whether llama.cpp can compute it with flash attention."""
        return self.architecture not in _WITHOUT_FLASH_ATTENTION

    def kv_problem(self, kv_type: str) -> str | None:
        """Why the KV cache cannot be of this type; None when it can."""
        block, _ = BLOCKS[kv_type]
        if block == 1:
            return None
        if not self.flash_attention:
            return f"needs flash attention, which {self.architecture} models do without"
        odd = next((size for size in self.need.head_sizes if size % block), None)
        return f"packs {block} numbers, and the heads of this model have {odd}" if odd else None
