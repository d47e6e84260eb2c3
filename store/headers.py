"""The GGUF headers of a model, from this machine or, block by checked block, from the start of a bucket's blobs."""

from pathlib import Path
from typing import BinaryIO, cast

from .blocks import BLOCK_SIZE, BlockList
from .bucket import Bucket
from .digest import Digest
from .errors import Damaged, KeyNotFound, ModelNotFound, Unsafe
from .gguf import GgufHeader, read_header
from .layout import blob_key, blocks_key
from .manifest import FileEntry, Manifest, Role
from .progress import silent
from .store import Store

_BASE = (Role.WEIGHTS, Role.SHARD)


def base_files(manifest: Manifest) -> list[FileEntry]:
    """The files that hold the weights: one, or the shards in order; of a model without weights, its first GGUF."""
    found = [file for file in manifest.files if file.role in _BASE]
    return found or [file for file in manifest.files[:1] if file.role.is_gguf]


def headers(store: Store, manifest: Manifest) -> list[GgufHeader]:
    """The headers of the weights; none for a model that is no GGUF.

    Of a file that is not on this machine only the first blocks are fetched. Raises Damaged or Unsafe, and offline
    ModelNotFound.
    """
    return [_header(store, entry) for entry in base_files(manifest)]


def _header(store: Store, entry: FileEntry) -> GgufHeader:
    path = store.cache.find(entry.digest, silent)
    try:
        if path:
            with path.open("rb") as file:
                return read_header(file, entry.size)
        if store.offline:
            raise ModelNotFound(f"{entry.digest} is not on this machine", hint="ask again without --offline")
        return read_header(cast(BinaryIO, RemoteStart(store.bucket, entry)), entry.size)
    except Unsafe as error:
        raise Unsafe(f"{entry.digest} {error}") from error


class RemoteStart:
    """A bucket's blob, read from its start: each block is checked against the manifest's block list."""

    def __init__(self, bucket: Bucket, entry: FileEntry) -> None:
        self._bucket, self._entry = bucket, entry
        self._blocks = self._block_list()
        self._next, self._held = 0, b""

    def read(self, count: int) -> bytes:
        """The next `count` bytes, or what is left; raises Damaged."""
        while len(self._held) < count and self._next < len(self._blocks.hashes):
            self._held += self._block(self._next)
            self._next += 1
        taken, self._held = self._held[:count], self._held[count:]
        return taken

    def _block(self, index: int) -> bytes:
        key, digest = blob_key(self._entry.digest), self._entry.digest
        start = index * BLOCK_SIZE
        length = min(BLOCK_SIZE, self._entry.size - start)
        try:
            data = b"".join(self._bucket.backend.read(key, start=start, length=length))
        except KeyNotFound as error:
            raise Damaged(f"{self._bucket.url} lists {digest} but lacks its bytes") from error
        if not self._blocks.holds(index, data):
            raise Damaged(f"{self._bucket.url} holds wrong bytes for {digest} in block {index}", hint="put it --force")
        return data

    def _block_list(self) -> BlockList:
        digest = self._entry.digest
        try:
            data = b"".join(self._bucket.backend.read(blocks_key(digest)))
        except KeyNotFound:
            data = b""
        if Digest.of(data) != self._entry.blocks:
            hint = f"llstore get {digest.short} checks it whole"
            raise Damaged(f"the block list of {digest} in {self._bucket.url} is not usable", hint=hint)
        return BlockList.decode(data)


def local_paths(store: Store, manifest: Manifest) -> list[Path] | None:
    """Where the files of the weights lie on this machine, verified; None unless all are here."""
    found = [store.cache.find(entry.digest, silent) for entry in base_files(manifest)]
    return None if None in found else [path for path in found if path]
