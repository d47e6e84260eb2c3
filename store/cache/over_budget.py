"""The refusal to fill the cache further: one line that names what holds its space."""

from collections.abc import Iterable

from ..disk import SPACE_HINT
from ..errors import OverBudget
from ..sizes import human_size
from .eviction import CachedBlob
from .usage import Usage


def too_big(size: int, usage: Usage) -> OverBudget:
    """The error for a blob that no eviction makes room for."""
    if size > usage.free + usage.used:
        free = human_size(usage.free)
        return OverBudget(
            f"no space left for {human_size(size)} in the cache: its disk has {free} free", hint=SPACE_HINT
        )
    budget = human_size(usage.budget)
    return OverBudget(
        f"no room for {human_size(size)} in the cache: that is more than its whole budget of {budget}",
        hint="raise cache.max_bytes",
    )


def no_room(size: int, usage: Usage, *, blobs: Iterable[CachedBlob]) -> OverBudget:
    """The error when what may be evicted is not enough; nothing was."""
    kept = [blob for blob in blobs if blob.protected]
    held = {
        "pinned": sum(blob.size for blob in kept if blob.pinned),
        "in use": sum(blob.size for blob in kept if not blob.pinned),
        "being written": usage.partial,
        "quarantine": usage.quarantine,
    }
    by_disk = usage.free < usage.budget - usage.used
    limit = f"its disk has {human_size(usage.free)} free" if by_disk else f"its budget is {human_size(usage.budget)}"
    holders = ", ".join(f"{what} {human_size(count)}" for what, count in held.items() if count)
    advice = {
        "free some space on the disk": by_disk,
        "raise cache.max_bytes": not by_disk,
        "llstore cache unpin": held["pinned"],
        "llstore cache partials --remove": usage.partial,
        "llstore cache prune --quarantine": usage.quarantine,
    }
    return OverBudget(
        f"no room for {human_size(size)} in the cache: {limit}" + (f"; {holders}" if holders else ""),
        hint=", or ".join(text for text, applies in advice.items() if applies),
    )
