"""What the head of a GGUF file says, as plain facts."""

import math
from dataclasses import dataclass, field

from ..digest import Digest
from .quantization import parameters, quantization

DEFAULT_ALIGNMENT = 32

Scalar = int | float | bool | str


@dataclass(frozen=True, slots=True)
class Tensor:
    """One row of the tensor table; `offset` counts from the start of the data section, `size` is in bytes."""

    name: str
    shape: tuple[int, ...]
    type: str
    offset: int
    size: int

    @property
    def weights(self) -> int:
        """How many numbers the tensor holds."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Array:
    """An array in the metadata, not held: the type number and count of its elements, and its bytes' SHA-256.

    `start` and `size` say where in the file those bytes are; equal arrays may lie elsewhere.
    """

    kind: int
    length: int
    digest: Digest
    start: int = field(compare=False)
    size: int


@dataclass(frozen=True, slots=True)
class Split:
    """A shard's place among `count`, from 0; `tensors` is how many all of them hold together."""

    index: int
    count: int
    tensors: int


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """What the head of a GGUF file says. Arrays (the vocabulary) are measured and hashed, not kept.

    `kinds` has each key's type number. `garbled` are the keys and tensor names that, or whose text, is not UTF-8:
    it was read with U+FFFD in place of what is none.
    """

    version: int
    metadata: dict[str, Scalar]
    tensors: tuple[Tensor, ...]
    data_start: int
    arrays: dict[str, Array] = field(default_factory=dict)
    kinds: dict[str, int] = field(default_factory=dict)
    garbled: frozenset[str] = frozenset()
    alignment: int = DEFAULT_ALIGNMENT
    tokenizer_digest: Digest | None = None

    @property
    def size(self) -> int:
        """The least size in bytes of a file with this header; 0 when there is nothing behind it."""
        return max((self.data_start + tensor.offset + tensor.size for tensor in self.tensors), default=0)

    @property
    def architecture(self) -> str | None:
        """`general.architecture`."""
        return self.text("general.architecture")

    @property
    def kind(self) -> str:
        """`general.type`: model, adapter, mmproj …"""
        return self.text("general.type") or "model"

    @property
    def name(self) -> str | None:
        """`general.name`."""
        return self.text("general.name")

    @property
    def license(self) -> str | None:
        """`general.license`, an SPDX expression as a rule."""
        return self.text("general.license")

    @property
    def base_model(self) -> str | None:
        """What the model was made from: a URL, or organization/name."""
        base = "general.base_model.0"
        named = [self.text(f"{base}.{part}") for part in ("organization", "name")]
        return self.text(f"{base}.repo_url") or "/".join(part for part in named if part) or None

    @property
    def parameters(self) -> int:
        """How many weights all tensors hold."""
        return parameters(self.tensors)

    @property
    def quantization(self) -> str | None:
        """What people call the tensors' types: Q4_K_M, F16 …"""
        return quantization(self.tensors, self.file_type)

    @property
    def file_type(self) -> int | None:
        """`general.file_type`: the mixture that the file claims to be."""
        return self.number("general.file_type")

    @property
    def context_length(self) -> int | None:
        """How many tokens the model was trained to attend to."""
        return self.number(f"{self.architecture}.context_length") or None

    @property
    def embedding_length(self) -> int | None:
        """How many numbers stand for one token."""
        return self.number(f"{self.architecture}.embedding_length") or None

    @property
    def tokenizer(self) -> str | None:
        """`tokenizer.ggml.model`: the kind of tokenizer (llama, gpt2 …)."""
        return self.text("tokenizer.ggml.model")

    @property
    def template(self) -> str | None:
        """The chat template, a Jinja source."""
        return self.text("tokenizer.chat_template")

    @property
    def split(self) -> Split | None:
        """Which shard of a split model this is; None for a whole one."""
        found = [self.number(f"split.{key}") for key in ("no", "count", "tensors.count")]
        if None in found or found[1] == 0:
            return None
        return Split(*(number or 0 for number in found))

    def text(self, key: str) -> str | None:
        """The text of a key; None when it is absent or something else."""
        value = self.metadata.get(key)
        return value if isinstance(value, str) else None

    def number(self, key: str) -> int | None:
        """The whole number of a key; None when it is absent or something else."""
        value = self.metadata.get(key)
        return value if isinstance(value, int) and not isinstance(value, bool) else None
