"""Pruning: the cache brought down to its budget, and what dead processes left behind removed."""

import time
from dataclasses import dataclass
from pathlib import Path

from ..digest import Digest
from ..disk import disk_errors
from ..layout import PARTIAL
from ..transfer.flight import sweep
from ..transfer.partial import Partial, partials, remove
from .cache import Cache
from .eviction import CachedBlob, oldest, unused

PARTIAL_SECONDS = 7 * 24 * 60 * 60.0  # how long a dead writer's part file waits to be adopted
_LIST_SECONDS = 24 * 60 * 60.0  # a block list is written before its blob: a young one may be of a blob to come
_LISTS = "blocks/sha256"


@dataclass(frozen=True, slots=True)
class Pruned:
    """What pruning removed, or would remove; and by how many bytes the cache is over its budget all the same."""

    evicted: tuple[CachedBlob, ...]
    partials: tuple[Partial, ...]
    quarantine: int
    over: int

    @property
    def freed(self) -> int:
        """Bytes in all."""
        evicted, left = sum(blob.size for blob in self.evicted), sum(partial.size for partial in self.partials)
        return evicted + left + self.quarantine


def prune(
    cache: Cache,
    *,
    unused_since: float | None = None,
    everything: bool = False,
    quarantine: bool = False,
    dry_run: bool = False,
) -> Pruned:
    """Evict down to the budget, and what was not used after `unused_since`; remove part files dead for a week.

    With `everything`, evict all that is neither pinned nor in use, and remove dead writers' part files of any age.
    With `quarantine`, and never without it, remove the damaged files too that were set aside.
    """
    with cache.room():
        since = float("inf") if everything else unused_since
        plan = _plan(cache, since=since, any_age=everything, quarantine=quarantine)
        if not dry_run:
            if quarantine:
                cache.empty_quarantine()
            for partial in plan.partials:
                remove(partial)
            cache.evict(plan.evicted)
            cache.sweep()
            sweep(cache.root / PARTIAL)
            _remove_lists(cache, any_age=everything)
    return plan


def _plan(cache: Cache, *, since: float | None, any_age: bool, quarantine: bool) -> Pruned:
    blobs, usage = cache.entries(), cache.usage()
    aside = usage.quarantine if quarantine else 0
    dead = [partial for partial in partials(cache.root / PARTIAL) if not partial.alive]
    leftovers = tuple(partial for partial in dead if any_age or partial.age_seconds > PARTIAL_SECONDS)
    over = usage.used - usage.budget - aside - sum(partial.size for partial in leftovers)
    chosen = unused(blobs, since=since) if since is not None else ()
    if sum(blob.size for blob in chosen) < over:
        # Both take the least recently used first, so one holds the other.
        chosen = max(chosen, oldest(blobs, needed=over), key=len)
    return Pruned(chosen, leftovers, aside, max(0, over - sum(blob.size for blob in chosen)))


def _remove_lists(cache: Cache, *, any_age: bool) -> None:
    # An eviction that was cut short leaves one, as does a download that was given up.
    writing = {partial.digest.hex for partial in partials(cache.root / PARTIAL) if partial.digest}
    for path in (cache.root / _LISTS).glob("??/" + "[0-9a-f]" * 64):
        with disk_errors(path):
            if path.name not in writing and not cache.has(Digest(path.name)) and (any_age or _old(path)):
                path.unlink(missing_ok=True)


def _old(path: Path) -> bool:
    return time.time() - path.stat().st_mtime > _LIST_SECONDS
