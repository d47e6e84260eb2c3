"""Which cached files were verified, so that a hit costs a stat and not a hash, and when each was last used."""

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..digest import Digest
from .db import CacheDb, Statement

FRESH_SECONDS = 60.0  # a file used so recently is not noted as used again

Stamp = tuple[int, int, int, int]

_FIND = "SELECT inode, size, mtime_ns, ctime_ns, used_at FROM receipts WHERE path = ? AND digest = ?"
_RECORD = """
INSERT INTO receipts VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (path) DO UPDATE SET
    digest = excluded.digest, inode = excluded.inode, size = excluded.size,
    mtime_ns = excluded.mtime_ns, ctime_ns = excluded.ctime_ns, used_at = max(used_at, excluded.used_at)
"""


def stamp(status: os.stat_result) -> Stamp:
    """What tells that a file is still the one that was verified."""
    return (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


@dataclass(frozen=True, slots=True)
class Receipt:
    """A verified file: its stamp, and when it was last used, in seconds since 1970."""

    stamp: Stamp
    used_at: float

    @property
    def size(self) -> int:
        """The file's size in bytes."""
        return self.stamp[1]

    def stale(self, now: float) -> bool:
        """Whether its use is worth noting again."""
        return abs(now - self.used_at) > FRESH_SECONDS


class Receipts:
    """The table of verified files. Losing it costs time only."""

    def __init__(self, db: CacheDb) -> None:
        self._db = db

    def find(self, path: Path, digest: Digest) -> Receipt | None:
        """The receipt of a file that was verified to be `digest` and has not changed since, or None."""
        for *seen, used_at in self._db.read(_FIND, (str(path), digest.hex)):
            with suppress(OSError):
                now = stamp(path.stat())
                return Receipt(now, _number(used_at)) if tuple(seen) == now else None
        return None

    def holds(self, path: Path, digest: Digest) -> bool:
        """Whether there is a valid receipt."""
        return self.find(path, digest) is not None

    def record(self, path: Path, digest: Digest, *, seen: Stamp | None = None) -> None:
        """Note that the file at `path` was verified to be `digest` while its stamp was `seen`, by default just now.

        Verifying is not using: a file of which nothing is known was used when it was written.
        """
        with suppress(OSError):
            found = seen or stamp(path.stat())
            used_at = min(found[2] / 1e9, time.time())
            self._db.write((_RECORD, (str(path), digest.hex, *found, used_at)))

    def touch(self, path: Path, *, now: float, also: tuple[Statement, ...] = ()) -> bool:
        """Note that the file at `path` is used, and in the same write run `also`. Whether that worked."""
        return self._db.write(("UPDATE receipts SET used_at = ? WHERE path = ?", (now, str(path))), *also)

    def forget(self, path: Path) -> None:
        """Drop what is known of the file at `path`."""
        self._db.write(("DELETE FROM receipts WHERE path = ?", (str(path),)))

    def all(self) -> dict[str, Receipt]:
        """What is known of every file, by path, valid or not."""
        rows = self._db.read("SELECT path, inode, size, mtime_ns, ctime_ns, used_at FROM receipts")
        return {str(path): Receipt((*map(_whole, seen),), _number(used_at)) for path, *seen, used_at in rows}  # type: ignore[arg-type]


def _whole(value: object) -> int:
    return value if isinstance(value, int) else -1


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
