"""Whether a lock holds: against its store by key, so that a mirror is enough, and against the names of today."""

from collections.abc import Sequence
from functools import partial

from ..backends import Backend
from ..errors import AmbiguousRef, KeyNotFound, ModelNotFound
from ..lanes import side_by_side
from ..layout import blob_key
from ..manifest import FileEntry, Manifest
from ..store import Store
from .agreement import Disagreement, with_manifest
from .lockfile import FILE, Locked

_LANES = 8  # models that are asked for at once: requests are small


def in_store(store: Store, models: Sequence[Locked]) -> list[Disagreement]:
    """What the store lacks of the locked models, or has otherwise. Offline the cache's manifests are asked."""
    if store.offline:
        kept = ((model, store.cache.manifest(model.digest)) for model in models)
        return [wrong for model, manifest in kept if manifest for wrong in with_manifest(model, manifest)]
    store.bucket  # noqa: B018 - opened here, once, and not by several threads at the same time
    found = side_by_side([partial(_look, store, model) for model in models], at_once=_LANES)
    return [wrong for one in found for wrong in one]


def current(store: Store, models: Sequence[Locked]) -> list[Disagreement]:
    """The models that were removed, and those whose ref means another model now, or none; after one sync."""
    store.sync()
    store.require_index()
    found = [_today(store, model) for model in models]
    return [one for one in found if one]


def _today(store: Store, model: Locked) -> Disagreement | None:
    # What the catalog does not know was not removed: a mirror's may be older than the model.
    if not store.catalog.holds(model.digest) and any(
        entry.op == "remove" for entry in store.catalog.history(model=model.digest)
    ):
        gone = f"{model.digest} was removed from {store.url}: its bytes go with the next llstore gc"
        return Disagreement(model.name, "removed", gone)
    try:
        now = store.resolve_synced(model.meaning)
    except (ModelNotFound, AmbiguousRef) as error:
        return Disagreement(model.name, "moved", str(error))
    if now == model.digest:
        return None
    moved = f"{model.ref} moved from {model.digest} to {now}; llstore lock {model.name} takes it over"
    return Disagreement(model.name, "moved", moved)


def _look(store: Store, model: Locked) -> list[Disagreement]:
    try:
        manifest = store.bucket.manifest(model.digest)
    except ModelNotFound:
        return [Disagreement(model.name, "absent", f"{FILE} names {model.digest}, which is not in {store.url}")]
    return with_manifest(model, manifest) or _blobs(store.bucket.backend, model, manifest, url=store.url)


def _blobs(backend: Backend, model: Locked, manifest: Manifest, *, url: str) -> list[Disagreement]:
    found = ((file, _problem(backend, file)) for file in manifest.files)
    return [
        Disagreement(model.name, "absent", f"its {file.role} {file.digest} {problem} in {url}")
        for file, problem in found
        if problem
    ]


def _problem(backend: Backend, file: FileEntry) -> str:
    try:
        size = backend.stat(blob_key(file.digest)).size
    except KeyNotFound:
        return "is not there"
    return "" if size == file.size else f"has {size} bytes, not {file.size},"
