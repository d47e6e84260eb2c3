"""This machine's verified blobs, in a folder laid out like a bucket: visible only when whole and checked."""

import time
from collections.abc import Iterator
from pathlib import Path

from . import ulid
from .digest import Digest
from .disk import READ_ONLY, PartFile, disk_errors, link, read_chunks
from .errors import Damaged
from .fingerprint import Fingerprint, fingerprint
from .layout import PARTIAL, QUARANTINE, blob_key, blocks_key, manifest_key
from .manifest import Manifest
from .progress import Progress
from .receipts import Receipts, stamp


class Cache:
    """The blobs under `root`, with their receipts in the database at `receipts`.

    When `is_store`, the folder is a bucket too (the embedded store): what is damaged there is reported, not moved.
    """

    def __init__(self, root: Path, *, receipts: Path, is_store: bool = False) -> None:
        self.root = root
        self._receipts = Receipts(receipts)
        self._is_store = is_store

    def close(self) -> None:
        """Close the database."""
        self._receipts.close()

    def path(self, digest: Digest) -> Path:
        """Where a blob lies if it is cached."""
        return self.root / blob_key(digest)

    def has(self, digest: Digest) -> bool:
        """Whether a file stands where the blob would; it may need verifying."""
        return self.path(digest).is_file()

    def find(self, digest: Digest, progress: Progress) -> Path | None:
        """The path of the verified blob, or None.

        A file without a receipt is hashed. One that is not what its name says is moved to quarantine
        (in the embedded store it stays, and Damaged is raised).
        """
        path = self.path(digest)
        if not path.is_file():
            return None
        if self._receipts.holds(path, digest):
            self._receipts.touch(path)
            return path
        # Stamped before it is read: a change while it is hashed makes the receipt void.
        seen = stamp(path.stat())
        found = fingerprint(_reported(path, progress))
        if found.digest != digest:
            self._set_aside(path, digest, found.digest)
            return None
        self._receipts.record(path, digest, seen=seen)
        return path

    def record(self, digest: Digest) -> None:
        """Note that the blob was verified just now."""
        self._receipts.record(self.path(digest), digest)

    def receive(self, size: int) -> PartFile:
        """A part file for a blob of `size` bytes; to be used as a context manager and given to `admit`."""
        return PartFile(self.root / PARTIAL, size=size)

    def admit(self, part: PartFile, found: Fingerprint) -> Path:
        """Make a verified part file visible as its blob, with its block list beside it."""
        path = self.path(found.digest)
        self._write(blocks_key(found.digest), found.blocks.encode())
        part.commit(path, mode=READ_ONLY)
        self.record(found.digest)
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

    def _write(self, key: str, data: bytes) -> None:
        path = self.root / key
        if not path.exists():
            with PartFile(self.root / PARTIAL, size=len(data)) as part:
                part.write(data)
                part.commit(path, mode=READ_ONLY)

    def _set_aside(self, path: Path, digest: Digest, found: Digest) -> None:
        if self._is_store:
            raise Damaged(f"the store holds {found} under the name {digest}", hint="put the file again with --force")
        aside = self.root / QUARANTINE / f"{digest.hex}.{ulid.mint(time.time())}"
        with disk_errors(aside):
            aside.parent.mkdir(parents=True, exist_ok=True)
            path.rename(aside)


def _reported(path: Path, progress: Progress) -> Iterator[bytes]:
    total, done = path.stat().st_size, 0
    with disk_errors(path):
        for chunk in read_chunks(path):
            yield chunk
            done += len(chunk)
            progress("verify", done, total)
