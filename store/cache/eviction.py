"""Which blobs go, least recently used first. Pure: facts in, a choice out."""

from collections.abc import Iterable
from dataclasses import dataclass

from ..digest import Digest


@dataclass(frozen=True, slots=True)
class CachedBlob:
    """A blob of the cache. `used_at` is in seconds since 1970; `verified` means that a valid receipt says so."""

    digest: Digest
    size: int
    used_at: float
    pinned: bool = False
    leased: bool = False
    verified: bool = False

    @property
    def protected(self) -> bool:
        """Whether it must stay."""
        return self.pinned or self.leased


def choose(blobs: Iterable[CachedBlob], *, needed: int) -> tuple[CachedBlob, ...] | None:
    """The blobs whose removal frees `needed` bytes, no more of them than that takes; None when too little can go."""
    chosen = oldest(blobs, needed=needed)
    return chosen if sum(blob.size for blob in chosen) >= needed else None


def oldest(blobs: Iterable[CachedBlob], *, needed: int) -> tuple[CachedBlob, ...]:
    """The least recently used blobs that free `needed` bytes, or all that may go when they free less."""
    chosen, freed = [], 0
    for blob in sorted(blobs, key=lambda blob: (blob.used_at, blob.digest)):
        if freed >= needed:
            break
        if blob.size and not blob.protected:
            chosen.append(blob)
            freed += blob.size
    return tuple(chosen)


def unused(blobs: Iterable[CachedBlob], *, since: float) -> tuple[CachedBlob, ...]:
    """The blobs that may go and were not used after `since` (seconds since 1970), least recently used first."""
    old = (blob for blob in blobs if blob.used_at < since and not blob.protected)
    return tuple(sorted(old, key=lambda blob: (blob.used_at, blob.digest)))
