"""A bounded reader of GGUF headers: it looks at a file before any parser in C does.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3, little-endian.
Every count is checked against the bytes that are left before anything is read or allocated.
"""

import struct
from collections import Counter
from dataclasses import dataclass
from typing import BinaryIO

from .errors import Unsafe
from .gguf_types import ARRAY, FILE_TYPES, SCALARS, STRING, TENSOR_TYPES

MAGIC = b"GGUF"

MAX_KEYS = 1 << 16
MAX_TENSORS = 1 << 17
MAX_NAME = 1 << 16  # bytes in a key or tensor name
MAX_STRING = 1 << 24  # bytes in a value that is kept; a chat template is the longest in practice
MAX_NESTING = 2  # arrays of arrays
MAX_DIMENSIONS = 4
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
        count = 1
        for length in self.shape:
            count *= length
        return count


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """What the head of a GGUF file says. Arrays (the vocabulary) are measured and skipped."""

    version: int
    metadata: dict[str, Scalar]
    tensors: tuple[Tensor, ...]
    data_start: int

    @property
    def size(self) -> int:
        """The least size in bytes of a file with this header; 0 when there is nothing behind it."""
        return max((self.data_start + tensor.offset + tensor.size for tensor in self.tensors), default=0)

    @property
    def architecture(self) -> str | None:
        """`general.architecture`."""
        return self._text("general.architecture")

    @property
    def kind(self) -> str:
        """`general.type`: model, adapter, mmproj …"""
        return self._text("general.type") or "model"

    @property
    def parameters(self) -> int:
        """How many weights all tensors hold."""
        return sum(tensor.weights for tensor in self.tensors)

    @property
    def quantization(self) -> str | None:
        """The mixture's usual name, or the type that holds most weights when the file does not say."""
        named = FILE_TYPES.get(self._number("general.file_type", absent=-1))
        by_type: Counter[str] = Counter()
        for tensor in self.tensors:
            by_type[tensor.type] += tensor.weights
        return named or next((name for name, _ in by_type.most_common(1)), None)

    @property
    def context_length(self) -> int | None:
        """How many tokens the model was trained to attend to."""
        return self._number(f"{self.architecture}.context_length", absent=0) or None

    @property
    def template(self) -> str | None:
        """The chat template, a Jinja source."""
        return self._text("tokenizer.chat_template")

    def _text(self, key: str) -> str | None:
        value = self.metadata.get(key)
        return value if isinstance(value, str) else None

    def _number(self, key: str, *, absent: int) -> int:
        value = self.metadata.get(key)
        return value if isinstance(value, int) else absent


def read_header(file: BinaryIO, size: int) -> GgufHeader:
    """The header of the GGUF in `file`, which holds `size` bytes; raises Unsafe when it is not one, or not whole."""
    reader = _Reader(file, size)
    if size == 0:
        raise Unsafe("is empty")
    if reader.take(min(4, size)) != MAGIC:
        raise Unsafe("is not a GGUF file")
    version = reader.number("<I")
    if version not in (2, 3):
        raise Unsafe(f"is a GGUF file of version {version}, which this llstore does not read")
    n_tensors = reader.count("<Q", most=MAX_TENSORS, of="tensors")
    n_keys = reader.count("<Q", most=MAX_KEYS, of="keys")
    metadata = reader.metadata(n_keys)
    alignment = metadata.get("general.alignment", DEFAULT_ALIGNMENT)
    if not isinstance(alignment, int) or not 1 <= alignment <= 1 << 20 or alignment & (alignment - 1):
        raise Unsafe(f"has a GGUF header with alignment {alignment!r}")
    tensors = tuple(reader.tensor() for _ in range(n_tensors))
    header = GgufHeader(version, metadata, tensors, -(-reader.position // alignment) * alignment)
    if header.size > size:
        raise Unsafe(f"is cut short: its GGUF header describes {header.size} bytes, it has {size}")
    return header


class _Reader:
    """Takes numbers and strings from a file, never past `size`."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._size = size
        self.position = 0

    def take(self, count: int) -> bytes:
        self._claim(count)
        data = self._file.read(count)
        if len(data) != count:
            raise Unsafe("is cut short inside its GGUF header")
        return data

    def skip(self, count: int) -> None:
        self._claim(count)
        self._file.seek(count, 1)

    def _claim(self, count: int) -> None:
        if count > self._size - self.position:
            raise Unsafe("is cut short inside its GGUF header")
        self.position += count

    def number(self, form: str) -> int:
        value: int = struct.unpack(form, self.take(struct.calcsize(form)))[0]
        return value

    def count(self, form: str, *, most: int, of: str) -> int:
        value = self.number(form)
        if value > most:
            raise Unsafe(f"has a GGUF header with {value} {of}, more than {most}")
        return value

    def text(self, *, most: int) -> str:
        length = self.count("<Q", most=most, of="bytes in a string")
        return self.take(length).decode("utf-8", errors="replace")

    def metadata(self, n_keys: int) -> dict[str, Scalar]:
        found: dict[str, Scalar] = {}
        keys: set[str] = set()
        for _ in range(n_keys):
            key = self.text(most=MAX_NAME)
            if key in keys:
                raise Unsafe(f"has a GGUF header with the key {key!r} twice")
            keys.add(key)
            value = self.value(self.number("<I"))
            if value is not None:
                found[key] = value
        return found

    def value(self, kind: int) -> Scalar | None:
        if kind == STRING:
            return self.text(most=MAX_STRING)
        if kind == ARRAY:
            self.skip_array(MAX_NESTING)
            return None
        if kind not in SCALARS:
            raise Unsafe(f"has a GGUF header with a value of unknown type {kind}")
        return self.number(SCALARS[kind])

    def skip_array(self, nesting: int) -> None:
        kind = self.number("<I")
        length = self.number("<Q")
        if kind in SCALARS:
            self.skip(length * struct.calcsize(SCALARS[kind]))
            return
        if kind not in (STRING, ARRAY) or nesting == 0:
            raise Unsafe(f"has a GGUF header with an array of unknown type {kind}")
        # Each element takes at least 8 bytes, so a false length ends at the end of the file.
        if length > (self._size - self.position) // 8:
            raise Unsafe("is cut short inside its GGUF header")
        for _ in range(length):
            if kind == STRING:
                self.skip(self.number("<Q"))
            else:
                self.skip_array(nesting - 1)

    def tensor(self) -> Tensor:
        name = self.text(most=MAX_NAME)
        n_dimensions = self.count("<I", most=MAX_DIMENSIONS, of="dimensions in a tensor")
        shape = tuple(self.number("<Q") for _ in range(n_dimensions))
        kind, offset = self.number("<I"), self.number("<Q")
        if kind not in TENSOR_TYPES:
            raise Unsafe(f"has a tensor {name!r} of unknown type {kind}")
        type_name, in_block, block_bytes = TENSOR_TYPES[kind]
        if shape and shape[0] % in_block:
            raise Unsafe(f"has a tensor {name!r} whose rows do not fill blocks of {type_name}")
        tensor = Tensor(name, shape, type_name, offset, 0)
        size = tensor.weights // in_block * block_bytes
        return Tensor(name, shape, type_name, offset, size)
