"""Pins: blobs a person wants kept for good. Each is an empty file, so that a rebuilt cache.db forgets none."""

import os
import re
from pathlib import Path

from ..digest import Digest
from ..disk import disk_errors, make_folder, sync_folder

PINS = "pins"
_HEX = re.compile(r"[0-9a-f]{64}")


class Pins:
    """The pins in `folder`, one file each, named by the blob's hex. Raises DiskError: a promise is not lost quietly."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, digest: Digest) -> None:
        """Pin a blob, durably; it may be cached or not, and pinned already."""
        path = self._folder / digest.hex
        with disk_errors(path):
            make_folder(self._folder)
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666))
            sync_folder(self._folder)

    def remove(self, digest: Digest) -> bool:
        """Unpin a blob. Whether it was pinned."""
        path = self._folder / digest.hex
        with disk_errors(path):
            try:
                path.unlink()
            except FileNotFoundError:
                return False
            sync_folder(self._folder)
        return True

    def all(self) -> frozenset[Digest]:
        """What is pinned."""
        with disk_errors(self._folder):
            try:
                names = [path.name for path in self._folder.iterdir()]
            except FileNotFoundError:
                return frozenset()
        return frozenset(Digest(name) for name in names if _HEX.fullmatch(name))
