"""The block list: a BLAKE3 for every 8 MiB of a blob, so that a range can be checked alone.

On disk and in the bucket: a header of 32 bytes, then 32 bytes a block, little-endian.
    magic "llblocks" · u32 version = 1 · u32 block size · u64 blob size · 8 zero bytes
"""

import struct
from dataclasses import dataclass

from blake3 import blake3

from .errors import Damaged

BLOCK_SIZE = 8 * 1024 * 1024

_HEADER = struct.Struct("<8sIIQ8x")
_MAGIC = b"llblocks"
_HASH_SIZE = 32


@dataclass(frozen=True, slots=True)
class BlockList:
    """`hashes[i]` is the BLAKE3 of bytes `[i * BLOCK_SIZE, (i + 1) * BLOCK_SIZE)` of a blob of `size` bytes."""

    size: int
    hashes: tuple[bytes, ...]

    def encode(self) -> bytes:
        """The list in its stored form."""
        return _HEADER.pack(_MAGIC, 1, BLOCK_SIZE, self.size) + b"".join(self.hashes)

    @classmethod
    def decode(cls, data: bytes) -> "BlockList":
        """The list in `data`; raises Damaged when it is not one."""
        if len(data) < _HEADER.size:
            raise Damaged("a block list is too short")
        magic, version, block_size, size = _HEADER.unpack_from(data)
        body = data[_HEADER.size :]
        if (magic, version, block_size) != (_MAGIC, 1, BLOCK_SIZE) or len(body) != _count(size) * _HASH_SIZE:
            raise Damaged("a block list has a header that does not fit it")
        return cls(size, tuple(body[at : at + _HASH_SIZE] for at in range(0, len(body), _HASH_SIZE)))

    def holds(self, index: int, block: bytes | bytearray | memoryview) -> bool:
        """Whether `block` is what stands at `index`."""
        return index < len(self.hashes) and blake3(block).digest() == self.hashes[index]

    def first_difference(self, other: "BlockList") -> int | None:
        """The index of the first block in which two lists differ."""
        pairs = zip(self.hashes, other.hashes, strict=False)
        different = (index for index, (mine, theirs) in enumerate(pairs) if mine != theirs)
        shorter = min(len(self.hashes), len(other.hashes))
        return next(different, None if len(self.hashes) == len(other.hashes) else shorter)


def _count(size: int) -> int:
    return -(-size // BLOCK_SIZE)
