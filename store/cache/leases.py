"""Leases: a blob is kept while a process uses it. Losing one costs accounting, not bytes: an open file stays open."""

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ..digest import Digest
from ..errors import InvalidRef
from ..transfer.partial import owner, owner_lives
from .db import CacheDb

FOREIGN_SECONDS = 24 * 60 * 60.0  # a lease of another host, whose processes cannot be asked, counts for so long


class Leases:
    """The table of leases."""

    def __init__(self, db: CacheDb) -> None:
        self._db = db

    @contextmanager
    def hold(self, digest: Digest) -> Iterator[None]:
        """Keep a blob while the context lasts, or this process."""
        key = secrets.token_hex(8)
        self._db.write(("INSERT INTO leases VALUES (?, ?, ?, ?)", (key, digest.hex, owner(), time.time())))
        try:
            yield
        finally:
            self._db.write(("DELETE FROM leases WHERE id = ?", (key,)))

    def held(self) -> frozenset[Digest]:
        """The blobs that living processes use."""
        return frozenset(digest for _, digest in self._rows() if digest)

    def sweep(self) -> int:
        """Remove the rows of dead processes; returns how many there were."""
        living = {key for key, digest in self._rows() if digest}
        dead = [str(key) for (key,) in self._db.read("SELECT id FROM leases") if key not in living]
        if dead:
            self._db.write(*(("DELETE FROM leases WHERE id = ?", (key,)) for key in dead))
        return len(dead)

    def _rows(self) -> Iterator[tuple[str, Digest | None]]:
        for key, digest, who, since in self._db.read("SELECT id, digest, owner, since FROM leases"):
            try:
                yield str(key), Digest(str(digest)) if _lives(str(who), since) else None
            except (InvalidRef, ValueError):
                yield str(key), None


def _lives(who: str, since: object) -> bool:
    lives = owner_lives(who)
    recent = isinstance(since, float) and abs(time.time() - since) < FOREIGN_SECONDS
    return recent if lives is None else lives
