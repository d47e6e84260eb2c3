"""What a store's models take."""

from dataclasses import dataclass

from .gc.mark import FOLDERS, candidates
from .store import Store


@dataclass(frozen=True, slots=True)
class StoreUsage:
    """Counts and bytes. `bytes` counts each file once, `shared_bytes` is what that saves.

    `unreferenced_bytes` are those of no live model; None when the bucket was not listed.
    """

    models: int
    files: int
    bytes: int
    shared_bytes: int
    cached_bytes: int
    unreferenced_bytes: int | None


def usage(store: Store, *, bucket: bool = False) -> StoreUsage:
    """What the store holds by its journal and, with `bucket`, what else lies in its bucket."""
    models = store.models()
    entries = [entry for model in models for entry in model.manifest.files]
    files = {entry.digest: entry.size for entry in entries}
    return StoreUsage(
        models=len(models),
        files=len(files),
        bytes=sum(files.values()),
        shared_bytes=sum(entry.size for entry in entries) - sum(files.values()),
        cached_bytes=sum(size for digest, size in files.items() if store.cache.has(digest)),
        unreferenced_bytes=_unreferenced(store) if bucket else None,
    )


def _unreferenced(store: Store) -> int:
    store.require_network("list")
    objects = (stat for folder in FOLDERS for stat in store.bucket.backend.list(f"{folder}/"))
    found = candidates(objects, live=store.catalog.live(), before=float("inf"))
    return sum(candidate.size for candidate in found)
