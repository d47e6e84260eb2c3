"""This machine's verified blobs, in a folder laid out like a bucket: visible only when whole and checked."""

import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Unpack

from ..blocks import BlockList
from ..closing import Closing
from ..digest import Digest
from ..disk import READ_ONLY, PartFile, disk_errors, link, read_chunks
from ..errors import Damaged, DiskError
from ..fingerprint import Fingerprint, fingerprint
from ..layout import PARTIAL, QUARANTINE, blob_key, blocks_key, manifest_key
from ..manifest import Manifest
from ..progress import Progress
from ..transfer.partial import beside, partials, remove
from .counters import Counters, Counts, Tally
from .db import CacheDb
from .eviction import CachedBlob, choose
from .leases import Leases
from .over_budget import no_room, too_big
from .pins import PINS, Pins
from .quarantine import Quarantine
from .receipts import Receipts, Stamp, stamp
from .room import LOCK, room
from .usage import Usage, blob_files, measure
from .verdicts import Verdicts


class Cache(Closing):
    """The blobs under `root`, within a budget of `max_bytes`, by default a share of the disk.

    The database at `receipts` keeps receipts, recency, leases and counters; the pins lie beside it. When `is_store`,
    the folder is a bucket too (the embedded store): what is damaged there is reported, not moved, and nothing is
    evicted. `set_aside_now` are the blobs found damaged through this object, until somebody says so; `verdicts` are
    the gate's.
    """

    def __init__(self, root: Path, *, receipts: Path, is_store: bool = False, max_bytes: int | None = None) -> None:
        self.root = root
        self.set_aside_now: set[Digest] = set()
        self._db = CacheDb(receipts)
        self._receipts = Receipts(self._db)
        self.verdicts = Verdicts(self._db)
        self._tally = Tally(self._db)
        self._is_store = is_store
        self._max_bytes = max_bytes
        self._leases = Leases(self._db)
        self._pins = Pins(receipts.parent / PINS)
        self._quarantine = Quarantine(root / QUARANTINE)

    def close(self) -> None:
        """Write the counts that wait, and close the database."""
        self._tally.flush()
        self._db.close()

    def path(self, digest: Digest) -> Path:
        """Where a blob lies if it is cached."""
        return self.root / blob_key(digest)

    def has(self, digest: Digest) -> bool:
        """Whether a file stands where the blob would; it may need verifying."""
        return self.path(digest).is_file()

    def find(self, digest: Digest, progress: Progress) -> Path | None:
        """The path of the verified blob, or None. Finding one is a hit, and counted; a miss is not.

        A file without a receipt is hashed. One that is not what its name says is moved to quarantine
        (in the embedded store it stays, and Damaged is raised).
        """
        path = self.path(digest)
        if not path.is_file():
            return None
        receipt = self._receipts.find(path, digest)
        if receipt:
            self._hit(path, receipt.size, note=receipt.stale(time.time()))
            return path
        return self._verify(path, digest, progress)

    def record(self, digest: Digest) -> None:
        """Note that the blob was verified just now."""
        self._receipts.record(self.path(digest), digest)

    def receive(self, size: int) -> PartFile:
        """A part file for a blob of `size` bytes; to be used as a context manager and given to `admit`."""
        return beside(self.root / PARTIAL, size=size)

    def admit(self, part: PartFile, found: Fingerprint) -> Path:
        """Make a verified part file visible as its blob, with its block list beside it."""
        path = self.path(found.digest)
        self._write(blocks_key(found.digest), found.blocks.encode())
        part.commit(path, mode=READ_ONLY)
        self.record(found.digest)
        # A part file that was found whole is older than this use of it.
        self._receipts.touch(path, now=time.time())
        return path

    def manifest(self, model: Digest) -> Manifest | None:
        """The manifest kept for a model, or None."""
        path = self.root / manifest_key(model)
        if not path.is_file():
            return None
        with disk_errors(path):
            data = path.read_bytes()
        try:
            manifest = Manifest.decode(data)
        except Damaged:
            return None
        return manifest if manifest.model == model else None

    def keep_manifest(self, manifest: Manifest) -> None:
        """Keep a manifest beside the blobs."""
        self._write(manifest_key(manifest.model), manifest.encode())

    def link(self, digest: Digest, target: Path, *, replace: bool = False) -> None:
        """Give the cached blob a second name, `target`; raises FileKept when that exists and may not be replaced."""
        link(self.path(digest), target, replace=replace)
        # A new name changes the file's ctime, not its bytes.
        self.record(digest)

    def pin(self, digest: Digest) -> None:
        """Keep a blob for good, once it is here if it is not; raises DiskError when that cannot be promised."""
        self._pins.add(digest)

    def unpin(self, digest: Digest) -> bool:
        """Let a blob go when its turn comes. Whether it was pinned."""
        return self._pins.remove(digest)

    def pins(self) -> frozenset[Digest]:
        """What is pinned, here or not."""
        return self._pins.all()

    def lease(self, digest: Digest) -> AbstractContextManager[None]:
        """Keep a blob from eviction while the context lasts, or this process."""
        return nullcontext() if self._is_store else self._leases.hold(digest)

    def count(self, **counts: Unpack[Counts]) -> None:
        """Add to the counters."""
        self._tally.add(**counts)

    def counters(self) -> Counters:
        """What was counted since cache.db was made."""
        return self._tally.counters()

    def entries(self) -> tuple[CachedBlob, ...]:
        """The blobs that are here, in no order."""
        receipts, pinned, leased = self._receipts.all(), self.pins(), self._leases.held()
        found = []
        for digest, status in blob_files(self.root):
            receipt = receipts.get(str(self.path(digest)))
            blob = CachedBlob(
                digest,
                status.st_size,
                receipt.used_at if receipt else max(status.st_atime, status.st_mtime),
                pinned=digest in pinned,
                leased=digest in leased,
                verified=receipt is not None and receipt.stamp == stamp(status),
            )
            found.append(blob)
        return tuple(found)

    def block_list(self, digest: Digest) -> BlockList | None:
        """The block list kept for a blob, or None; whether it is right, SHA-256 says."""
        path = self.root / blocks_key(digest)
        with disk_errors(path):
            try:
                return BlockList.decode(path.read_bytes())
            except (FileNotFoundError, Damaged):
                return None

    def keep_blocks(self, found: Fingerprint) -> None:
        """Keep the block list of a blob that was just read whole, instead of another one."""
        self._write(blocks_key(found.digest), found.blocks.encode())

    def distrust(self, digest: Digest) -> None:
        """Forget that a blob was verified: it is hashed before it is given to anybody again."""
        self._receipts.forget(self.path(digest))

    def set_aside(self, digest: Digest) -> None:
        """Move a damaged blob to quarantine; raises Damaged in the embedded store, which keeps it where it is."""
        if self._is_store:
            raise Damaged(f"{digest} is damaged in the embedded store", hint="put the file again with --force")
        self.distrust(digest)
        self._quarantine.take(self.path(digest), digest)

    def quarantined(self, digest: Digest, *, size: int) -> Path | None:
        """The newest damaged file of that name and size, most of whose blocks may be right."""
        return self._quarantine.find(digest, size=size)

    def empty_quarantine(self) -> None:
        """Remove the damaged files that were set aside, for good."""
        self._quarantine.empty()

    def usage(self) -> Usage:
        """What the folder holds, what is free on its disk, and the budget, in bytes."""
        return measure(self.root, max_bytes=self._max_bytes)

    def room(self) -> AbstractContextManager[bool]:
        """A lock for making room and taking it, gives whether it is held; one that cannot be had is gone without."""
        return room(self.root / LOCK)

    def make_room(self, size: int, *, keep: Collection[Digest] = ()) -> tuple[CachedBlob, ...]:
        """Evict until a part file of `size` bytes fits, sparing pinned and leased blobs and those in `keep`.

        Returns what was evicted. Raises OverBudget, having evicted nothing, when that is not enough.
        """
        if self._is_store:
            return ()
        usage = self.usage()
        if size > usage.budget:
            raise too_big(size, usage)
        if size <= usage.room:
            return ()
        blobs = [replace(blob, leased=True) if blob.digest in keep else blob for blob in self.entries()]
        chosen = choose(blobs, needed=size - usage.room)
        if chosen is None:
            # What a dead process reserved is promised to nobody; it stays as long as blobs can go instead.
            dead = [partial for partial in partials(self.root / PARTIAL) if not partial.alive]
            chosen = choose(blobs, needed=size - usage.room - sum(partial.size for partial in dead))
            if chosen is None:
                raise no_room(size, usage, blobs=blobs)
            for partial in dead:
                remove(partial)
        self.evict(chosen)
        return chosen

    def evict(self, blobs: Iterable[CachedBlob]) -> None:
        """Remove blobs. Whoever has one open keeps its bytes."""
        for blob in blobs:
            path = self.path(blob.digest)
            with disk_errors(path), suppress(FileNotFoundError):
                # The blob goes first: what is left by a crash here describes bytes that are gone, and misleads nobody.
                path.unlink()
                self.count(evictions=1, bytes_evicted=blob.size)
            if not path.exists():
                self._forget(blob.digest)

    def sweep(self) -> None:
        """Drop the receipts of files that are gone and the leases of dead processes."""
        for path in map(Path, self._receipts.all()):
            if not path.exists():
                self._receipts.forget(path)
        self._leases.sweep()

    def _verify(self, path: Path, digest: Digest, progress: Progress) -> Path | None:
        try:
            # Stamped before it is read: a change while it is hashed makes the receipt void.
            seen = stamp(path.stat())
            found = fingerprint(_reported(path, progress))
        except (FileNotFoundError, DiskError):
            if path.exists():
                raise
            return None  # evicted meanwhile
        if found.digest != digest:
            self._set_aside(path, digest, found=found.digest, seen=seen)
            return None
        self._receipts.record(path, digest, seen=seen)
        self._hit(path, found.size, note=True)
        return path

    def _forget(self, digest: Digest) -> None:
        blocks = self.root / blocks_key(digest)
        with disk_errors(blocks):
            blocks.unlink(missing_ok=True)
        self._receipts.forget(self.path(digest))

    def _hit(self, path: Path, size: int, *, note: bool) -> None:
        if self._is_store:
            return
        self.count(hits=1, bytes_saved=size)
        if note and self._receipts.touch(path, now=time.time(), also=self._tally.statements()):
            self._tally.written()

    def _write(self, key: str, data: bytes) -> None:
        path = self.root / key
        with disk_errors(path), suppress(FileNotFoundError):
            if path.read_bytes() == data:
                return
        with beside(self.root / PARTIAL, size=len(data)) as part:
            part.write(data)
            part.commit(path, mode=READ_ONLY)

    def _set_aside(self, path: Path, digest: Digest, *, found: Digest, seen: Stamp) -> None:
        if self._is_store:
            raise Damaged(f"the store holds {found} under the name {digest}", hint="put the file again with --force")
        try:
            # Another process may have set it aside, and fetched it anew, while this one was reading.
            if stamp(path.stat()) == seen:
                self._quarantine.take(path, digest)
                self.set_aside_now.add(digest)
        except (FileNotFoundError, DiskError):
            if path.exists():
                raise


def _reported(path: Path, progress: Progress) -> Iterator[bytes]:
    total, done = path.stat().st_size, 0
    with disk_errors(path):
        for chunk in read_chunks(path):
            yield chunk
            done += len(chunk)
            progress("verify", done, total)
