"""Reads the header of a GGUF file.

Every count is checked against the bytes that are left before anything is read or allocated, and all that is kept
has a bound: a header costs less than 64 MiB of memory and a second, whatever is in it.
"""

import hashlib
from struct import Struct
from typing import BinaryIO

from ..digest import Digest
from ..errors import Unsafe
from .header import DEFAULT_ALIGNMENT, Array, GgufHeader, Scalar, Tensor
from .types import ARRAY, SCALARS, STRING, TENSOR_TYPES
from .window import Hash, Window

MAGIC = b"GGUF"
VERSIONS = (2, 3)

MAX_KEYS = 1 << 14
MAX_TENSORS = 1 << 16
MAX_NAME = 1 << 16  # bytes in a key or tensor name
MAX_TEXT = 1 << 22  # bytes in all that is kept: keys, tensor names, values; a chat template is the longest in practice
MAX_ITEMS = 1 << 20  # strings in all arrays; gemma 4 has 777,050
MAX_NESTED = 1 << 12  # arrays in arrays
MAX_NESTING = 2
MAX_DIMENSIONS = 4
MAX_ALIGNMENT = 1 << 20

_U32, _U64 = Struct("<I"), Struct("<Q")
_ARRAY = Struct("<IQ")
_COUNTS = Struct("<QQ")
_SCALARS = {kind: Struct(form) for kind, form in SCALARS.items()}
_SHAPES = [Struct(f"<{n}QIQ") for n in range(MAX_DIMENSIONS + 1)]  # lengths, type, offset


def read_header(file: BinaryIO, size: int) -> GgufHeader:
    """The header of the GGUF in `file`, which holds `size` bytes and is read on from where it stands: its start.

    Only `read` is asked of it, for a MiB at a time, so that it may lie far away. Raises Unsafe when it is not a
    GGUF file, or not whole.
    """
    if size == 0:
        raise Unsafe("is empty", code="empty")
    window = Window(file, size)
    if window.take(min(4, size)) != MAGIC:
        raise Unsafe("is not a GGUF file", code="magic")
    header = _Reader(window).header(_version(window.unpack(_U32)[0]))
    if header.size > size:
        raise Unsafe(f"is cut short: its GGUF header describes {header.size} bytes, it has {size}", code="size")
    return header


def _version(found: int) -> int:
    if found in VERSIONS:
        return found
    if int.from_bytes(found.to_bytes(4, "little"), "big") in (1, *VERSIONS):
        raise Unsafe("is a big-endian GGUF file, which this llstore does not read", code="version")
    raise Unsafe(f"is a GGUF file of version {found}, which this llstore does not read", code="version")


class _Reader:
    """Keeps what it finds, and counts what that costs."""

    def __init__(self, window: Window) -> None:
        self._window = window
        self._text = self._items = self._nested = 0
        self._metadata: dict[str, Scalar] = {}
        self._arrays: dict[str, Array] = {}
        self._kinds: dict[str, int] = {}
        self._garbled: set[str] = set()
        self._tokenizer: dict[str, bytes] = {}

    def header(self, version: int) -> GgufHeader:
        """Everything up to the tensors' data."""
        n_tensors, n_keys = self._window.unpack(_COUNTS)
        _bound(n_tensors, most=MAX_TENSORS, of="tensors")
        _bound(n_keys, most=MAX_KEYS, of="keys")
        for _ in range(n_keys):
            self._pair()
        alignment = self._alignment()
        tensors = tuple(self._tensor() for _ in range(n_tensors))
        return GgufHeader(
            version=version,
            metadata=self._metadata,
            arrays=self._arrays,
            kinds=self._kinds,
            garbled=frozenset(self._garbled),
            tensors=tensors,
            alignment=alignment,
            data_start=-(-self._window.position // alignment) * alignment,
            tokenizer_digest=self._tokenizer_digest(),
        )

    def _alignment(self) -> int:
        found = self._metadata.get("general.alignment", DEFAULT_ALIGNMENT)
        if type(found) is not int or not 1 <= found <= MAX_ALIGNMENT or found & (found - 1):
            raise Unsafe(f"has a GGUF header with alignment {found!r:.40}", code="alignment")
        return found

    def _string(self, key: str | None, *, most: int) -> tuple[str, bytes]:
        """Text, and its bytes; what is not UTF-8 is noted under `key`, or under itself."""
        length: int = self._window.unpack(_U64)[0]
        _bound(length, most=most, of="bytes in a string")
        self._text += length
        if self._text > MAX_TEXT:
            raise Unsafe(f"has a GGUF header with more than {MAX_TEXT >> 20} MiB of text", code="limit")
        raw = self._window.take(length)
        text = raw.decode("utf-8", errors="replace")
        if "\ufffd" in text and text.encode() != raw:
            self._garbled.add(text if key is None else key)
        return text, raw

    def _pair(self) -> None:
        key, _ = self._string(None, most=MAX_NAME)
        if key in self._kinds:
            raise Unsafe(f"has a GGUF header with the key {key!r:.100} twice", code="duplicate-key")
        kind: int = self._window.unpack(_U32)[0]
        self._kinds[key] = kind
        value = self._value(key, kind)
        if key.startswith("tokenizer.") and not key.startswith("tokenizer.chat_template"):
            self._tokenizer[key] = kind.to_bytes(4, "little") + hashlib.sha256(value).digest()

    def _value(self, key: str, kind: int) -> bytes:
        """Keeps a value, and returns its bytes; of an array, its type, length and digest."""
        if kind == ARRAY:
            found = self._arrays[key] = self._array()
            return _ARRAY.pack(found.kind, found.length) + bytes.fromhex(found.digest.hex)
        if kind == STRING:
            self._metadata[key], raw = self._string(key, most=MAX_TEXT)
            return raw
        if kind not in _SCALARS:
            raise Unsafe(f"has a GGUF header with a value of unknown type {kind}", code="value-type")
        raw = self._window.take(_SCALARS[kind].size)
        self._metadata[key] = _SCALARS[kind].unpack(raw)[0]
        return raw

    def _tokenizer_digest(self) -> Digest | None:
        """The SHA-256 of each key's length and text, its type, and the SHA-256 of its value, in the keys' order.

        Templates are left out. An array counts as its type, its length and its digest.
        """
        if not self._tokenizer:
            return None
        encoded = ((key.encode(), value) for key, value in sorted(self._tokenizer.items()))
        return Digest.of(b"".join(_U64.pack(len(key)) + key + value for key, value in encoded))

    def _array(self) -> Array:
        kind, length = self._window.unpack(_ARRAY)
        start, content = self._window.position, hashlib.sha256()
        self._elements(kind, length, content, nesting=MAX_NESTING)
        return Array(kind, length, Digest(content.hexdigest()), start, self._window.position - start)

    def _elements(self, kind: int, length: int, content: Hash, *, nesting: int) -> None:
        if kind in _SCALARS:
            self._window.feed(length * _SCALARS[kind].size, content)
            return
        if kind not in (STRING, ARRAY) or nesting == 0:
            raise Unsafe(f"has a GGUF header with an array of unknown type {kind}", code="value-type")
        # Each element takes at least 8 bytes, so a false length is found before they are looked at.
        if length > self._window.left // 8:
            raise Unsafe("is cut short inside its GGUF header")
        if kind == STRING:
            self._items += length
            _bound(self._items, most=MAX_ITEMS, of="strings in arrays")
            self._window.feed_strings(length, content)
            return
        self._nested += length
        _bound(self._nested, most=MAX_NESTED, of="arrays in arrays")
        for _ in range(length):
            kind, count = self._window.unpack(_ARRAY)
            content.update(_ARRAY.pack(kind, count))
            self._elements(kind, count, content, nesting=nesting - 1)

    def _tensor(self) -> Tensor:
        name, _ = self._string(None, most=MAX_NAME)
        n_dimensions: int = self._window.unpack(_U32)[0]
        _bound(n_dimensions, most=MAX_DIMENSIONS, of="dimensions in a tensor")
        *shape, kind, offset = self._window.unpack(_SHAPES[n_dimensions])
        if kind not in TENSOR_TYPES:
            raise Unsafe(f"has a tensor {name!r:.100} of unknown type {kind}", code="tensor-type")
        type_name, in_block, block_bytes = TENSOR_TYPES[kind]
        if shape and shape[0] % in_block:
            raise Unsafe(
                f"has a tensor {name!r:.100} whose rows do not fill blocks of {type_name}", code="tensor-shape"
            )
        weights = 1
        for length in shape:
            weights *= length
        return Tensor(name, tuple(shape), type_name, offset, weights // in_block * block_bytes)


def _bound(count: int, *, most: int, of: str) -> None:
    if count > most:
        raise Unsafe(f"has a GGUF header with {count} {of}, more than {most}", code="limit")
