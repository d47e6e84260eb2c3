"""Checking this machine's blobs against their names, and mending them block by block from the store."""

import math
import random
from collections.abc import Callable, Iterator
from pathlib import Path

from ..blocks import BLOCK_SIZE, BlockList
from ..cache import Cache
from ..cache.eviction import CachedBlob
from ..digest import Digest
from ..disk import disk_errors, hot_chunks, read_chunks
from ..errors import DiskError, StoreError
from ..fingerprint import fingerprint
from ..layout import PARTIAL
from ..progress import Progress
from ..transfer.partial import partials
from .finding import Depth, Finding, Kind, Report

Refetch = Callable[[Digest], int]


class CacheCheck:
    """A check of one cache. `refetch` brings a blob back from the store and returns the bytes it fetched for that."""

    def __init__(self, cache: Cache, depth: Depth, refetch: Refetch, progress: Progress) -> None:
        self._cache, self._depth, self._refetch, self._progress = cache, depth, refetch, progress
        self._read = 0
        self._fetched = 0

    def report(self) -> Report:
        """Look at everything."""
        blobs = self._cache.entries()
        findings = [*self._blobs(blobs), *self._strays(blobs), *self._left_over()]
        return Report(tuple(findings), len(blobs), self._read, self._fetched)

    def _blobs(self, blobs: tuple[CachedBlob, ...]) -> Iterator[Finding]:
        total, done = sum(blob.size for blob in blobs), 0
        for blob in blobs:
            finding = self._unless_gone(blob)
            done += blob.size
            self._progress("check", done, total)
            if finding:
                yield finding

    def _unless_gone(self, blob: CachedBlob) -> Finding | None:
        try:
            return self._blob(blob)
        except DiskError as error:
            if self._cache.has(blob.digest):
                return Finding("cache", Kind.UNREADABLE, str(blob.digest), str(error))
            return None  # evicted meanwhile

    def _blob(self, blob: CachedBlob) -> Finding | None:
        path = self._cache.path(blob.digest)
        listed = self._cache.block_list(blob.digest)
        if self._depth.full or not blob.verified:
            return self._hashed(blob.digest, path, listed)
        if listed is None or listed.size != blob.size:
            return self._hashed(blob.digest, path, None)
        wrong = [index for index in self._sampled(listed) if not listed.holds(index, self._block(path, index))]
        return self._hashed(blob.digest, path, listed) if wrong else None

    def _hashed(self, digest: Digest, path: Path, listed: BlockList | None) -> Finding | None:
        with disk_errors(path), path.open("rb") as file:
            found = fingerprint(hot_chunks(file))
        self._read += found.size
        if found.digest != digest:
            wrong = listed.first_difference(found.blocks) if listed else None
            place = "" if wrong is None else f", first in block {wrong} (byte {wrong * BLOCK_SIZE})"
            return self._damaged(digest, f"its bytes are {found.digest}{place}")
        if listed == found.blocks:
            self._cache.record(digest)
            return None
        if self._depth.repair:
            self._cache.keep_blocks(found)
        detail = "absent" if listed is None else "not that of its blob, whose SHA-256 is right"
        return Finding("cache", Kind.BLOCK_LIST, str(digest), detail, repaired=self._depth.repair)

    def _damaged(self, digest: Digest, detail: str) -> Finding:
        # Whatever happens now, nobody is given these bytes unread any more.
        self._cache.distrust(digest)
        if not self._depth.repair:
            return Finding("cache", Kind.DAMAGED, str(digest), detail)
        try:
            self._cache.set_aside(digest)
            fetched = self._refetch(digest)
        except StoreError as error:
            reason = f"{error} ({error.hint})" if error.hint else str(error)
            return Finding("cache", Kind.DAMAGED, str(digest), f"{detail}; in quarantine, not fetched again: {reason}")
        self._fetched += fetched
        return Finding("cache", Kind.DAMAGED, str(digest), f"{detail}; {fetched} bytes fetched again", repaired=True)

    def _sampled(self, listed: BlockList) -> list[int]:
        count = len(listed.hashes)
        return sorted(random.sample(range(count), math.ceil(count * self._depth.sample)))

    def _block(self, path: Path, index: int) -> bytes:
        with disk_errors(path):
            data = b"".join(read_chunks(path, start=index * BLOCK_SIZE, length=BLOCK_SIZE))
        self._read += len(data)
        return data

    def _strays(self, blobs: tuple[CachedBlob, ...]) -> Iterator[Finding]:
        known = {self._cache.path(blob.digest) for blob in blobs}
        for path in sorted((self._cache.root / "blobs").rglob("*")):
            if path.is_file() and path not in known:
                yield Finding("cache", Kind.STRAY, str(path), "is no blob")

    def _left_over(self) -> Iterator[Finding]:
        for partial in partials(self._cache.root / PARTIAL):
            if not partial.alive:
                detail = f"{partial.size} bytes; a get goes on from it, llstore cache prune removes it when it is old"
                yield Finding("cache", Kind.LEFT_OVER, str(partial.path), detail)
