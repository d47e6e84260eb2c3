"""What a cache folder holds, measured and never remembered."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG

from ..digest import Digest
from ..disk import disk_errors
from ..layout import PARTIAL, QUARANTINE

SHARE = 0.8  # of the disk, when no budget is set: of what is free and what the cache uses already
_BLOBS = "blobs/sha256"
_HEX = re.compile(r"[0-9a-f]{64}")
_SECTOR = 512  # the unit of st_blocks (stat(2))


@dataclass(frozen=True, slots=True)
class Usage:
    """Bytes: in blobs, in part files (which reserve their whole size), in quarantine; free on the disk; the budget."""

    blobs: int
    partial: int
    quarantine: int
    free: int
    budget: int

    @property
    def used(self) -> int:
        """All bytes that count against the budget."""
        return self.blobs + self.partial + self.quarantine

    @property
    def room(self) -> int:
        """How many more bytes fit, into the budget and onto the disk; negative when there are too many already."""
        return min(self.budget - self.used, self.free)


def measure(root: Path, *, max_bytes: int | None) -> Usage:
    """What the folder holds now. Without `max_bytes` the budget is a share of the disk."""
    # Part files first: one that becomes a blob meanwhile is then seen twice, never missed, and counted once.
    parts = {_identity(status): max(status.st_size, status.st_blocks * _SECTOR) for status in _files(root / PARTIAL)}
    blobs = sum(status.st_size for _, status in blob_files(root) if _identity(status) not in parts)
    partial, quarantine = sum(parts.values()), sum(status.st_size for status in _files(root / QUARANTINE))
    free = _free(root)
    share = int(SHARE * (free + blobs + partial + quarantine))
    return Usage(blobs, partial, quarantine, free, share if max_bytes is None else max_bytes)


def blob_files(root: Path) -> Iterator[tuple[Digest, os.stat_result]]:
    """The blobs that lie where a blob of their name lies; others are not the cache's."""
    for shard in _scan(root / _BLOBS):
        for file in _scan(Path(shard.path)):
            if _HEX.fullmatch(file.name) and file.name[:2] == shard.name:
                status = _status(file)
                if status:
                    yield Digest(file.name), status


def _files(folder: Path) -> Iterator[os.stat_result]:
    for file in _scan(folder):
        status = _status(file)
        if status:
            yield status


def _scan(folder: Path) -> list[os.DirEntry[str]]:
    with disk_errors(folder):
        try:
            with os.scandir(folder) as found:
                return list(found)
        except (FileNotFoundError, NotADirectoryError):
            return []


def _status(file: os.DirEntry[str]) -> os.stat_result | None:
    with disk_errors(Path(file.path)):
        try:
            status = file.stat(follow_symlinks=False)
        except FileNotFoundError:
            return None
    return status if S_ISREG(status.st_mode) else None


def _identity(status: os.stat_result) -> tuple[int, int]:
    return (status.st_dev, status.st_ino)


def _free(root: Path) -> int:
    while not root.exists() and root != root.parent:
        root = root.parent
    with disk_errors(root):
        found = os.statvfs(root)
    return found.f_bavail * found.f_frsize
