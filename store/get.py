"""Getting a model: every byte is counted and hashed on its way into the cache, and visible only when right."""

import time
from dataclasses import dataclass
from pathlib import Path

from .blocks import BLOCK_SIZE, BlockList
from .bucket import Bucket
from .cache import Cache
from .errors import Damaged, KeyNotFound, StoreError
from .fingerprint import Fingerprint, Fingerprinter
from .layout import blob_key, blocks_key
from .manifest import FileEntry, Manifest
from .progress import Progress


@dataclass(frozen=True, slots=True)
class CachedFile:
    """One file of a model on this machine, verified. `fetched_bytes` is 0 for a cache hit."""

    entry: FileEntry
    path: Path
    fetched_bytes: int


@dataclass(frozen=True, slots=True)
class GetResult:
    """A model on this machine."""

    manifest: Manifest
    files: tuple[CachedFile, ...]
    seconds: float

    @property
    def path(self) -> Path:
        """The weights file, or the only one."""
        return next(file.path for file in self.files if file.entry == self.manifest.main)

    @property
    def fetched_bytes(self) -> int:
        """Bytes that came from the store."""
        return sum(file.fetched_bytes for file in self.files)


def from_cache(manifest: Manifest, cache: Cache, *, progress: Progress) -> GetResult | None:
    """The model if the cache holds all of it, verified."""
    began = time.monotonic()
    files = []
    for entry in manifest.files:
        path = cache.find(entry.digest, progress)
        if path is None:
            return None
        files.append(CachedFile(entry, path, 0))
    return GetResult(manifest, tuple(files), time.monotonic() - began)


def get(manifest: Manifest, cache: Cache, *, bucket: Bucket, progress: Progress) -> GetResult:
    """The model, fetching what the cache lacks; raises Damaged when the store's bytes are not what they should be."""
    began = time.monotonic()
    files = []
    for entry in manifest.files:
        path = cache.find(entry.digest, progress)
        fetched = 0
        if path is None:
            path, fetched = _fetch(entry, cache, bucket=bucket, progress=progress), entry.size
        files.append(CachedFile(entry, path, fetched))
    cache.keep_manifest(manifest)
    return GetResult(manifest, tuple(files), time.monotonic() - began)


def _fetch(entry: FileEntry, cache: Cache, *, bucket: Bucket, progress: Progress) -> Path:
    with cache.receive(entry.size) as part, Fingerprinter() as hasher:
        done = 0
        progress("download", 0, entry.size)
        try:
            for chunk in bucket.backend.read(blob_key(entry.digest)):
                done += len(chunk)
                if done > entry.size:
                    raise Damaged(f"{bucket.url} holds more than {entry.size} bytes for {entry.digest}")
                hasher.update(chunk)
                part.write(chunk)
                progress("download", done, entry.size)
        except KeyNotFound as error:
            raise Damaged(f"{bucket.url} lists {entry.digest} but lacks its bytes", hint=_HEAL) from error
        found = hasher.finish()
        if found.digest != entry.digest:
            raise _damage(entry, found, bucket)
        return cache.admit(part, found)


_HEAL = "put the file again with --force"


def _damage(entry: FileEntry, found: Fingerprint, bucket: Bucket) -> Damaged:
    message = f"{bucket.url} holds wrong bytes for {entry.digest}: "
    if found.size != entry.size:
        return Damaged(message + f"{found.size} of {entry.size} came, digest {found.digest}", hint=_HEAL)
    return Damaged(message + f"their digest is {found.digest}{_where(entry, found, bucket)}", hint=_HEAL)


def _where(entry: FileEntry, found: Fingerprint, bucket: Bucket) -> str:
    # The list only names the place; that the bytes are wrong is certain without it.
    try:
        listed = BlockList.decode(b"".join(bucket.backend.read(blocks_key(entry.digest))))
    except StoreError:
        return ""
    index = listed.first_difference(found.blocks)
    if index is None:
        return ""
    first = index * BLOCK_SIZE
    last = min(first + BLOCK_SIZE, entry.size) - 1
    return f"; the first wrong block is {index} (bytes {first}-{last})"
