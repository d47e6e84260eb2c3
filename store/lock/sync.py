"""Making the cache hold what is locked: nothing is asked of the store for what is here, all else comes side by side."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from threading import Event, Lock

from .. import get as getting
from ..digest import Digest
from ..errors import LockBroken, ModelNotFound, StoreError
from ..get import CachedFile
from ..lanes import side_by_side
from ..manifest import FileEntry, Manifest, main_of
from ..progress import Progress, silent
from ..store import Store
from ..transfer.download import Pace
from .agreement import with_manifest
from .lockfile import FILE, Locked

LANES = 4  # files on their way at once


@dataclass(frozen=True, slots=True)
class Synced:
    """A locked model whose wanted files are on this machine, verified."""

    locked: Locked
    files: tuple[CachedFile, ...]

    @property
    def path(self) -> Path:
        """The weights, their first shard, or the first file that is wanted."""
        main = main_of([file.entry for file in self.files])
        return next(file.path for file in self.files if file.entry == main)

    @property
    def fetched_bytes(self) -> int:
        """Bytes that came from the store; of a file that two models share they count for the first."""
        return sum(file.fetched_bytes for file in self.files)


def bring(store: Store, models: Sequence[Locked], progress: Progress = silent) -> tuple[Synced, ...]:
    """Make the cache hold the wanted files of these models, and only then return.

    Raises LockBroken when the store has other models than the lock says, OverBudget before a byte moves when they do
    not fit into the cache, and offline ModelNotFound for what is not here.
    """
    manifests = _manifests(store, models)
    here = _found(store, models, progress)
    missing = {file.digest: file for model in models for file in model.wanted_files if file.digest not in here}
    if missing and store.offline:
        raise _not_here(store, models, manifests, missing)
    try:
        fetched = _fetch(store, list(missing.values()), keep={*here, *missing}, progress=progress) if missing else []
    finally:
        for manifest in manifests:
            store.note_damage(manifest)
    for manifest in manifests:
        store.cache.keep_manifest(manifest)
    return _assembled(models, here, {file.entry.digest: file for file in fetched})


def _manifests(store: Store, models: Sequence[Locked]) -> list[Manifest]:
    known = [_kept(store, model) for model in models]
    if None in known and not store.offline:
        store.bucket  # noqa: B018 - opened here, once, and not by several threads at the same time
    calls: list[Callable[[], Manifest]] = [
        partial(_of_store, store, model, kept) for model, kept in zip(models, known, strict=True)
    ]
    if None not in known:
        return [kept for kept in known if kept]
    # Nothing is waited for offline: the first that is missing is named then, not that of the quickest thread.
    return side_by_side(calls, at_once=1 if store.offline else LANES)


def _kept(store: Store, model: Locked) -> Manifest | None:
    # One that says otherwise may be another store's: a file can have had another role there.
    kept = store.cache.manifest(model.digest)
    return kept if kept and not with_manifest(model, kept) else None


def _of_store(store: Store, model: Locked, kept: Manifest | None) -> Manifest:
    if kept:
        return kept
    found = store.cache.manifest(model.digest) if store.offline else _in_bucket(store, model)
    if not found:
        raise ModelNotFound(f"{model.name} {model.digest} is not on this machine", hint="sync once without --offline")
    if wrong := with_manifest(model, found):
        raise LockBroken(str(wrong[0]), hint="llstore lock makes it anew")
    return found


def _in_bucket(store: Store, model: Locked) -> Manifest:
    try:
        return store.bucket.manifest(model.digest)
    except ModelNotFound as error:
        raise _absent(model, store.url) from error


def _absent(model: Locked, url: str) -> LockBroken:
    return LockBroken(
        f"{FILE} names {model.name} {model.digest}, which is not in {url}",
        hint="put it there again, or llstore lock resolves its ref anew",
    )


def _found(store: Store, models: Iterable[Locked], progress: Progress) -> dict[Digest, Path]:
    found = {}
    for digest in dict.fromkeys(file.digest for model in models for file in model.wanted_files):
        path = store.cache.find(digest, progress)
        if path:
            found[digest] = path
    return found


def _not_here(
    store: Store, models: Sequence[Locked], manifests: Sequence[Manifest], missing: Collection[Digest]
) -> StoreError:
    pairs = zip(models, manifests, strict=True)
    model, manifest = next(pair for pair in pairs if any(file.digest in missing for file in pair[0].wanted_files))
    error = store.not_here(manifest)
    return type(error)(f"{model.name}: {error}", hint="sync once without --offline")


def _fetch(
    store: Store, files: Sequence[FileEntry], *, keep: Collection[Digest], progress: Progress
) -> list[CachedFile]:
    fetch = store.fetching(silent)
    fetch = replace(fetch, keep=frozenset(keep), pace=share(fetch.pace, len(files)))
    getting.make_room(fetch, files)
    shown = _Together(progress, total=sum(file.size for file in files))
    # The largest is the last to be done: it begins first.
    order = sorted(files, key=lambda file: -file.size)
    calls = [partial(getting.get_file, file, replace(fetch, progress=shown.of(file))) for file in order]
    return side_by_side(calls, at_once=LANES, stopping=shown.stopping)


def share(pace: Pace, files: int) -> Pace:
    """How hard to pull each of so many files: several at once fill a line with half the connections each."""
    return replace(pace, connections=max(1, pace.connections // 2)) if files > 1 else pace


def _assembled(
    models: Sequence[Locked], here: dict[Digest, Path], fetched: dict[Digest, CachedFile]
) -> tuple[Synced, ...]:
    synced, counted = [], set[Digest]()
    for model in models:
        files = []
        for entry in model.wanted_files:
            came = fetched.get(entry.digest)
            count = came.fetched_bytes if came and entry.digest not in counted else 0
            files.append(CachedFile(entry, came.path if came else here[entry.digest], count))
            counted.add(entry.digest)
        synced.append(Synced(model, tuple(files)))
    return tuple(synced)


class _Stopped(Exception):
    """Another file's fetch failed: this one need not go on."""


class _Together:
    """The progress of several files as that of one. `stopping` ends the fetches that report to it."""

    def __init__(self, progress: Progress, *, total: int) -> None:
        self.stopping = Event()
        self._progress, self._total = progress, total
        self._done: dict[Digest, int] = {}
        self._turn = Lock()

    def of(self, file: FileEntry) -> Progress:
        """The progress of one file."""

        def tell(step: str, done: int, total: int) -> None:
            if self.stopping.is_set():
                raise _Stopped
            if step == "download":
                with self._turn:
                    self._done[file.digest] = done
                    self._progress(step, sum(self._done.values()), self._total)

        return tell
