"""Bringing models with their manifests into a store that lacks them: from a bundle, or from another store.

The order is that of a put: intent -> open sweep? -> blobs and block lists -> manifest -> journal entry.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice

from ..digest import Digest
from ..entry import Entry, ended_entry, label_entry, put_entry, tag_entry
from ..errors import Damaged, StoreError
from ..manifest import FileEntry, Manifest
from ..model import Model
from ..progress import Progress, silent
from ..put import Effort, Examined, intended, keep_manifest, settle
from ..ref import Name
from ..store import Store
from .ranged import Absent
from .tally import Tally

WORKERS = 3  # blobs on their way at once
_BATCH = 64  # models that share an intent

Supplies = Callable[[FileEntry], Examined]


@dataclass(frozen=True, slots=True)
class Terms:
    """How models are brought: `move_names` lets names that point elsewhere move; `whole` wants all models or none."""

    move_names: bool = False
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Arrival:
    """A model that is in the store now; `new` if it was not before, and how many bytes that took."""

    model: Model
    new: bool
    uploaded_bytes: int = 0


@dataclass(frozen=True, slots=True)
class KeptName:
    """A name that was left as it is, for it points to `here` in the store, and to `there` where it came from."""

    name: str
    here: Digest
    there: Digest


@dataclass(frozen=True, slots=True)
class Failure:
    """A model whose bytes were wrong where it came from: it was left out."""

    model: Digest
    error: StoreError


@dataclass(slots=True)
class Brought:
    """What was done."""

    arrivals: list[Arrival] = field(default_factory=list)
    kept_names: list[KeptName] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    @property
    def uploaded_bytes(self) -> int:
        """Bytes of blobs that the store lacked."""
        return sum(arrival.uploaded_bytes for arrival in self.arrivals)


def bring(
    store: Store, models: Sequence[Model], supplies: Supplies, *, terms: Terms, progress: Progress = silent
) -> Brought:
    """Bring what the store lacks, and then what is said of all of them. Raises Damaged when `whole` is asked for."""
    bucket = store.written
    store.sync()
    bucket.initialize()
    return _Bringing(store, supplies, terms, progress).all(models)


class _Bringing:
    def __init__(self, store: Store, supplies: Supplies, terms: Terms, progress: Progress) -> None:
        self._store = store
        self._supplies = supplies
        self._terms = terms
        self._progress = progress
        self._live = store.catalog.live()
        self._result = Brought()

    def all(self, models: Sequence[Model]) -> Brought:
        lacking = [model for model in models if not self._store.catalog.holds(model.digest)]
        blobs = {file.digest: file.size for model in lacking for file in model.manifest.files}
        tally = Tally(sum(blobs.values()), self._progress)
        for batch in batches(lacking, len(lacking) if self._terms.whole else _BATCH):
            self._say([arrival.model for arrival in self._batch(batch, tally)])
        missed = {model.digest for model in lacking}
        old = [model for model in models if model.digest not in missed]
        self._result.arrivals += [Arrival(model, new=False) for model in old]
        self._say(old)
        return self._result

    def _batch(self, batch: Sequence[Model], tally: Tally) -> list[Arrival]:
        bucket = self._store.bucket
        files = {file.digest: file for model in batch for file in model.manifest.files}
        digests = {model.digest for model in batch} | set(files)
        with intended(bucket, digests) as intent:
            # After the intent: what a collector does from here on, it does knowing of it.
            swept = False
            while until := self._store.swept_until(digests):
                # A sweep may be deleting these very blobs: what is there now cannot be relied on.
                bucket.wait(until)
                swept = True
            return self._settled(batch, files, intent, tally=tally, swept=swept)

    def _settled(
        self, batch: Sequence[Model], files: Mapping[Digest, FileEntry], intent: Entry, *, tally: Tally, swept: bool
    ) -> list[Arrival]:
        with ThreadPoolExecutor(WORKERS, thread_name_prefix="bring") as threads:
            try:
                running = {
                    file.digest: threads.submit(self._settle, file, tally, swept=swept) for file in files.values()
                }
                return self._record(batch, running, intent)
            except BaseException:
                tally.stop()
                threads.shutdown(wait=False, cancel_futures=True)
                raise

    def _settle(self, file: FileEntry, tally: Tally, *, swept: bool) -> int:
        examined = self._supplies(file)
        with examined.source:
            # What a sweep may have met is sent again, if there is anything to send.
            effort = Effort(force=swept and not isinstance(examined.source, Absent), progress=tally.part(file.digest))
            trusted = file.digest in self._live and not swept
            uploaded = settle(self._store.bucket, examined, effort, trusted=trusted)
        tally.done(file.digest, file.size)
        return uploaded

    def _record(self, batch: Sequence[Model], running: dict[Digest, Future[int]], intent: Entry) -> list[Arrival]:
        """Make each model visible as soon as its files are there, or, when all or none are wanted, all at the end."""
        entries, arrived, counted = [intent], list[Arrival](), set[Digest]()
        if self._terms.whole:
            for future in running.values():
                future.result()
        for model in batch:
            try:
                uploaded = {file.digest: running[file.digest].result() for file in model.manifest.files}
            except Damaged as error:
                self._result.failures.append(Failure(model.digest, error))
                continue
            fresh = {digest: size for digest, size in uploaded.items() if size and digest not in counted}
            entries.append(self._put(model.manifest, fresh))
            arrived.append(Arrival(model, new=True, uploaded_bytes=sum(fresh.values())))
            counted |= set(fresh)
        # Nothing depends on the intent any more: all that it held is a live model's.
        entries.append(self._store.bucket.journal.append(ended_entry(intent.ulid)))
        self._store.catalog.apply(entries)
        self._result.arrivals += arrived
        return arrived

    def _put(self, manifest: Manifest, fresh: Iterable[Digest]) -> Entry:
        keep_manifest(self._store.bucket, manifest)
        entry = self._store.bucket.journal.append(put_entry(manifest))
        self._live |= {file.digest for file in manifest.files}
        # The embedded store is its own cache, and these bytes were hashed on their way.
        for digest in fresh if self._store.folder else ():
            self._store.cache.record(digest)
        return entry

    def _say(self, models: Iterable[Model]) -> None:
        documents = [document for model in models for document in self._notes(model)]
        self._store.catalog.apply([self._store.bucket.journal.append(document) for document in documents])

    def _notes(self, model: Model) -> Iterator[dict[str, object]]:
        known = self._store.catalog.model(model.digest) or Model(model.manifest)
        # What the store says of a model already, it goes on saying.
        labels = {key: value for key, value in model.labels.items() if key not in known.labels}
        annotations = {key: value for key, value in model.annotations.items() if key not in known.annotations}
        if labels or annotations:
            yield label_entry(model.digest, labels, annotations=annotations)
        for text in model.names:
            here = self._store.catalog.named(Name.parse(text))
            if here == model.digest:
                continue
            if here is None or self._terms.move_names or not self._store.catalog.holds(here):
                yield tag_entry(Name.parse(text), model.digest)
            else:
                self._result.kept_names.append(KeptName(text, here, model.digest))


def batches(models: Sequence[Model], size: int) -> Iterator[list[Model]]:
    """The models, so many at a time."""
    left = iter(models)
    while some := list(islice(left, size)):
        yield some
