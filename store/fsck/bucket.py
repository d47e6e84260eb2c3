"""Checking a bucket: that every live model's bytes are there and right, and mending it from this machine's cache."""

import math
import random
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from ..blocks import BLOCK_SIZE, BlockList
from ..bucket import Bucket
from ..cache import Cache
from ..catalog.rows import rows_of
from ..digest import Digest
from ..disk import read_chunks
from ..entry import Entry, Skipped
from ..errors import Damaged, FileNotThere, KeyNotFound, Refused, StoreError
from ..fingerprint import fingerprint
from ..layout import QUARANTINE, blob_key, blocks_key, manifest_key
from ..manifest import FileEntry, Manifest, canonical
from ..progress import Progress, silent
from ..transfer.audit import wrong_blocks
from .finding import Depth, Finding, Kind, Report


@dataclass(slots=True)
class _Tally:
    files: int = 0
    read: int = 0


class BucketCheck:
    """A check of one bucket, whose live models are `manifests`. It mends from `cache`, where that has the bytes."""

    def __init__(self, bucket: Bucket, cache: Cache, depth: Depth, progress: Progress) -> None:
        self._bucket, self._cache, self._depth, self._progress = bucket, cache, depth, progress
        self._tally = _Tally()

    def report(self, manifests: Sequence[Manifest]) -> Report:
        """Look at everything."""
        findings = [*self._journal(), *self._models(manifests), *self._unreferenced(manifests)]
        return Report(tuple(findings), self._tally.files, self._tally.read)

    def _journal(self) -> Iterator[Finding]:
        for item in self._bucket.journal.read(seen=()):
            for one in _skipped(item):
                yield Finding(
                    "bucket", Kind.JOURNAL, one.key, f"{one.reason}; readers leave it out, and gc deletes nothing"
                )

    def _models(self, manifests: Sequence[Manifest]) -> Iterator[Finding]:
        total, done = sum(manifest.size for manifest in manifests), 0
        for manifest in manifests:
            for entry in manifest.files:
                yield from filter(None, (self._block_list(entry), self._blob(entry)))
                done += entry.size
                self._progress("check", done, total)
            yield from filter(None, [self._manifest(manifest)])

    def _blob(self, entry: FileEntry) -> Finding | None:
        self._tally.files += 1
        key = blob_key(entry.digest)
        try:
            size = self._bucket.backend.stat(key).size
            reason = f"{size} bytes, not {entry.size}" if size != entry.size else self._wrong(entry)
        except KeyNotFound:
            return self._mended(entry, Kind.MISSING, "its bytes are not there")
        return self._mended(entry, Kind.DAMAGED, reason) if reason else None

    def _wrong(self, entry: FileEntry) -> str:
        """Why the object's bytes are not right, or nothing."""
        listed = self._listed(entry)
        if listed is None:
            return self._wrong_by_digest(entry) if self._depth.full else ""
        count = len(listed.hashes)
        share = 1.0 if self._depth.full else self._depth.sample
        indexes = sorted(random.sample(range(count), math.ceil(count * share)))
        key = blob_key(entry.digest)
        wrong = wrong_blocks(self._bucket.backend, key, listed, indexes=indexes, progress=lambda done: None)
        self._tally.read += min(len(indexes) * BLOCK_SIZE, entry.size)
        # The list could be the one that is wrong: SHA-256 rules.
        return _blocks_text(wrong) if wrong and self._wrong_by_digest(entry) else ""

    def _wrong_by_digest(self, entry: FileEntry) -> str:
        found = fingerprint(self._bucket.backend.read(blob_key(entry.digest)))
        self._tally.read += found.size
        return "" if found.digest == entry.digest else f"its bytes are {found.digest}"

    def _listed(self, entry: FileEntry) -> BlockList | None:
        with suppress(KeyNotFound, Damaged):
            data = b"".join(self._bucket.backend.read(blocks_key(entry.digest)))
            if Digest.of(data) == entry.blocks:
                return BlockList.decode(data)
        return None

    def _block_list(self, entry: FileEntry) -> Finding | None:
        if self._listed(entry):
            return None
        kept = self._cache.block_list(entry.digest)
        mended = False
        if self._depth.repair and kept and Digest.of(kept.encode()) == entry.blocks:
            self._write(blocks_key(entry.digest), kept.encode())
            mended = True
        return Finding("bucket", Kind.BLOCK_LIST, str(entry.digest), "absent, or not its blob's", repaired=mended)

    def _manifest(self, manifest: Manifest) -> Finding | None:
        with suppress(StoreError):
            if self._bucket.manifest(manifest.model) == manifest:
                return None
        if self._depth.repair:
            self._write(manifest_key(manifest.model), manifest.encode())
        detail = "absent, or not the one in the journal"
        return Finding("bucket", Kind.MANIFEST, str(manifest.model), detail, repaired=self._depth.repair)

    def _mended(self, entry: FileEntry, kind: Kind, detail: str) -> Finding:
        path = self._cache.find(entry.digest, silent) if self._depth.repair else None
        if path:
            self._bucket.backend.write(blob_key(entry.digest), read_chunks(path), size=entry.size)
            return Finding("bucket", kind, str(entry.digest), f"{detail}; uploaded again from the cache", repaired=True)
        hint = "; not in this machine's cache: put the file again with --force" if self._depth.repair else ""
        return Finding("bucket", kind, str(entry.digest), detail + hint)

    def _unreferenced(self, manifests: Sequence[Manifest]) -> Iterator[Finding]:
        live = {blob_key(entry.digest) for manifest in manifests for entry in manifest.files}
        for stat in self._bucket.backend.list("blobs/"):
            if stat.key not in live:
                yield Finding("bucket", Kind.UNREFERENCED, stat.key, f"{stat.size} bytes of no live model")

    def _write(self, key: str, data: bytes) -> None:
        self._bucket.backend.write(key, [data], size=len(data))


def set_aside(bucket: Bucket, key: str, *, by: str) -> str:
    """Moves an object of the journal that cannot be read to `quarantine/`, and notes there who did it; its new key.

    What hung on it is known to nobody from then on: a collector may take it. Raises FileNotThere, and Refused for an
    entry that can be read.
    """
    found = {one.key: one for item in bucket.journal.read(seen=()) for one in _skipped(item)}
    if key not in found:
        try:
            bucket.backend.stat(key)
        except KeyNotFound as error:
            raise FileNotThere(f"no object {key} in {bucket.url}", hint="llstore fsck --bucket shows keys") from error
        raise Refused(f"{key} of {bucket.url} is nothing that readers leave out", hint="only such are set aside")
    target = f"{QUARANTINE}/{key}"
    data = b"".join(bucket.backend.read(key))
    note = canonical({"key": key, "reason": found[key].reason, "by": by, "at": bucket.journal.clock()})
    for place, content in ((target, data), (f"{target}.note.json", note)):
        bucket.backend.write(place, [content], size=len(content))
    bucket.backend.delete(key)
    return target


def _skipped(item: Entry | Skipped) -> list[Skipped]:
    return [item] if isinstance(item, Skipped) else rows_of([item]).skipped


def _blocks_text(wrong: list[int]) -> str:
    shown = ", ".join(map(str, wrong[:5])) + (" …" if len(wrong) > 5 else "")
    return f"wrong in block{'s' if len(wrong) > 1 else ''} {shown}"
