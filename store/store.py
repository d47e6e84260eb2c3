"""The store as one thing: a bucket, its catalog, and this machine's cache."""

import hashlib
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import get as getting
from . import put as putting
from . import ulid
from .ahead import Ahead
from .assembly import expand
from .backends import open_backend, public, refuse_credentials
from .backends.count import Counted, Totals
from .backends.limit import Limited
from .backends.retry import Retrying
from .bucket import Bucket
from .cache import Cache
from .closing import Closing
from .digest import Digest
from .disk import OWN_HINT, disk_errors, make_folder
from .errors import AmbiguousRef, Damaged, ModelNotFound, Refused, StoreError, Unreachable
from .fsck.finding import Depth, Report
from .gc.mark import SWEEP_SECONDS, swept_until
from .get import Fetch, GetResult
from .journal import OVERLAP
from .manifest import Manifest
from .model import Model
from .progress import Progress, silent
from .put import PutRequest, PutResult
from .ref import Name, Prefix, Ref
from .selection import Selection
from .settings import Settings
from .sync import snapshot_due, sync, write_snapshot
from .transfer.source import Source

if TYPE_CHECKING:
    from .catalog.catalog import Catalog


Accept = Callable[[Manifest], None]

_NO_SNAPSHOT = "a mirror whose store has no snapshot is asked by full digest; llstore store snapshot makes one"

ATTEMPTS, PATIENCE = 6, 30.0  # of one small request, and the seconds they may take
MOST_CONNECTIONS = 64  # with a limit on bytes a second; transfers use far fewer


class Store(Closing):
    """A store, opened. Nothing is read or written before the first verb; use it as a context manager.

    `url` is where it lies, without what may be secret in it.

    Raises InvalidUrl for a URL that holds credentials.
    """

    def __init__(self, settings: Settings) -> None:
        if settings.url:
            refuse_credentials(settings.url)
        self._settings = settings
        self._embedded = settings.url is None
        self._address = settings.url or settings.embedded.as_uri()
        self.url = public(self._address)
        # The embedded store is its own cache: no second copy of what lies on the same disk.
        self.cache = Cache(
            settings.embedded if self._embedded else settings.cache,
            receipts=settings.cache / "cache.db",
            is_store=self._embedded,
            max_bytes=settings.cache_max_bytes,
        )
        self.warnings: list[str] = []

    def close(self) -> None:
        """Close the cache, and the bucket and the catalog if they were used."""
        self.cache.close()
        if "source" in self.__dict__:
            self.source.close()
        if "catalog" in self.__dict__:
            self.catalog.close()

    @cached_property
    def source(self) -> Counted:
        """What the bucket is read from and written to; nothing was asked of it yet."""
        if self._embedded:
            with disk_errors(self._settings.embedded, hint=OWN_HINT):
                make_folder(self._settings.embedded)
        found, rate = open_backend(self._address), self._settings.pace.rate
        return Counted(Limited(found, connections=MOST_CONNECTIONS, rate=rate) if rate else found)

    @property
    def traffic(self) -> Totals:
        """What was asked of the bucket since this store was opened."""
        return self.source.totals if "source" in self.__dict__ else Totals()

    @cached_property
    def bucket(self) -> Bucket:
        """The bucket; raises BucketNotFound, Unreachable, Refused or FormatTooNew."""
        return Bucket(Retrying(self.source, attempts=ATTEMPTS, deadline=PATIENCE), source=self.source)

    @cached_property
    def catalog(self) -> "Catalog":
        """The catalog, as of the last sync."""
        from .catalog.catalog import Catalog

        return Catalog(self._settings.data / f"catalog-{hashlib.sha256(self.url.encode()).hexdigest()[:16]}.db")

    @property
    def offline(self) -> bool:
        """Whether the network must not be touched; the embedded store is on no network."""
        return self._settings.offline and not self._embedded

    @property
    def stays_here(self) -> bool:
        """Whether nothing but this machine may be asked, even for what goes into the embedded store."""
        return self._settings.offline

    @property
    def written(self) -> Bucket:
        """The bucket, for who writes to it; raises Unreachable offline, and Refused for a mirror."""
        self.require_writable("put to")
        return self.bucket

    @property
    def folder(self) -> Path | None:
        """Where the embedded store lies on this machine; None for any other, whose bytes are sent."""
        return self._settings.embedded if self._embedded else None

    def require_network(self, verb: str) -> None:
        """Raises Unreachable when the network must not be touched."""
        if self.offline:
            raise Unreachable(f"cannot {verb} {self.url} offline", hint="leave out --offline, or LLSTORE_OFFLINE")

    def require_writable(self, verb: str) -> None:
        """Raises Refused when the store is one to read from only."""
        self.require_network(verb)
        if not self.bucket.source.properties.writable:
            raise Refused(f"{self.url} is a read-only mirror", hint=f"{verb} the store that it mirrors")

    def require_index(self) -> None:
        """Raises Refused for a mirror that nothing is known of, because it has no snapshot."""
        if not self.offline and not self.bucket.source.properties.listable and not self.catalog.latest():
            raise Refused(f"{self.url} is a mirror and cannot be listed", hint=_NO_SNAPSHOT)

    def sync(self) -> None:
        """Bring the catalog up to the bucket's journal. What cannot be understood is added to `warnings`."""
        if not self.offline:
            self.warnings += sync(self.bucket, self.catalog)

    def reindex(self) -> int:
        """Make the catalog anew from the whole journal, without its snapshot; returns how many entries it has."""
        self.require_network("reindex")
        self.catalog.apply((), anew=True)
        self.warnings += sync(self.bucket, self.catalog, snapshots=False)
        self.require_index()
        return len(self.catalog.seen())

    def record(self, documents: Sequence[dict[str, Any]]) -> None:
        """Write journal entries, in order; the store must be one that can be written to."""
        self.require_writable("write to")
        self.catalog.apply([self.bucket.journal.append(document) for document in documents])
        self._renew_snapshot()

    def resolve(self, ref: Ref) -> Digest:
        """The model a ref means. A full digest is itself; a name or prefix is looked up after a sync.

        Raises ModelNotFound or AmbiguousRef.
        """
        return self.resolve_all([ref])[0]

    def resolve_all(self, refs: Sequence[Ref]) -> list[Digest]:
        """The models that refs mean, looked up after one sync; raises what `resolve` raises."""
        if not all(isinstance(ref, Digest) for ref in refs):
            self.sync()
        return [self.resolve_synced(ref) for ref in refs]

    def resolve_synced(self, ref: Ref) -> Digest:
        """The model a ref means as of the last sync; raises what `resolve` raises."""
        if isinstance(ref, Digest):
            return ref
        found = self.catalog.named(ref) if isinstance(ref, Name) else self._starting_with(ref)
        if found is None or not self.catalog.holds(found):
            raise self._unknown(ref, removed=found)
        return found

    def put(self, request: PutRequest, progress: Progress = silent) -> PutResult:
        """Bring a model into the store under its digest."""
        self.require_network("put to")
        with ExitStack() as stack:
            return self.put_sources(
                putting.open_sources(expand((request.path, *request.more)), stack), request, progress
            )

    def put_sources(self, sources: Sequence[Source], request: PutRequest, progress: Progress = silent) -> PutResult:
        """Bring a model into the store whose files are open already; `request` says the rest."""
        # All that can be refused is refused before anything is written.
        bucket = self.written
        # Hashing leaves time for it: a catalog is loaded and a journal listed meanwhile.
        synced = Ahead(self.sync)
        upload = putting.examine(sources, request, progress)
        synced.result()
        bucket.initialize()
        if not all(self._sound(file.found.digest, progress) for file in upload.files):
            request = replace(request, force=True)
        result = putting.put(bucket, request, upload, look=lambda: self._state_of(upload))
        self.catalog.apply(result.entries)
        if self._embedded and not result.deduplicated:
            for file in result.manifest.files:
                self.cache.record(file.digest)
        self._renew_snapshot()
        return result

    def get(self, ref: Ref, progress: Progress = silent, *, accept: Accept = lambda _: None) -> GetResult:
        """A model's files on this machine, verified; fetched when the cache lacks them.

        `accept` is given the manifest before a byte is fetched, and may raise.
        """
        model = self.resolve(ref)
        kept = self.cache.manifest(model)
        if kept:
            accept(kept)
        hit = getting.from_cache(kept, self.cache, progress=progress) if kept else None
        if hit:
            return hit
        if self.offline and kept:
            raise self.not_here(kept)
        if self.offline:
            raise ModelNotFound(f"{model} is not on this machine", hint="run it once without --offline")
        # A model found by name or prefix brings its manifest along; a full digest needs no catalog.
        known = None if isinstance(ref, Digest) else self.catalog.model(model)
        manifest = known.manifest if known else self.bucket.manifest(model)
        accept(manifest)
        try:
            return getting.get(manifest, self.fetching(progress))
        finally:
            self.note_damage(manifest)

    def models(self, selection: Selection | None = None) -> list[Model]:
        """The models that `selection` wants, or all, newest first; raises Refused when the store cannot be listed."""
        self.sync()
        self.require_index()
        return self.catalog.models(selection)

    def model(self, ref: Ref) -> Model:
        """One model with its names and labels; for a full digest nothing is listed, and those are of the last sync."""
        digest = self.resolve(ref)
        return self.catalog.model(digest) or Model(self._manifest(digest))

    def fsck(self, depth: Depth, *, bucket: bool = False, progress: Progress = silent) -> Report:
        """Check the cache and, with `bucket`, the store too, mending what can be mended if `depth` says so.

        Raises Unreachable when the bucket may not be asked.
        """
        if bucket and self.offline:
            raise Unreachable(f"cannot check {self.url} offline", hint="leave out --offline, or --bucket")
        from .fsck.bucket import BucketCheck
        from .fsck.cache import CacheCheck

        report = CacheCheck(self.cache, depth, self._refetch, progress).report()
        if bucket:
            manifests = [model.manifest for model in self.models()]
            report += BucketCheck(self.bucket, self.cache, depth, progress).report(manifests)
        return report

    def set_aside(self, key: str, *, by: str) -> str:
        """Moves an object of the journal that cannot be read out of the way; see fsck.bucket.set_aside."""
        from .fsck.bucket import set_aside

        self.require_writable("set aside in")
        moved = set_aside(self.bucket, key, by=by)
        self.catalog.forget_skipped([key])
        return moved

    def is_cached(self, manifest: Manifest) -> bool:
        """Whether all files of a model are on this machine."""
        return all(self.cache.has(file.digest) for file in manifest.files)

    def note_damage(self, manifest: Manifest) -> None:
        """Add to `warnings` which files of a model were found damaged on this machine."""
        self.warnings += [
            f"{digest.short} was damaged on this machine; what it held is in quarantine"
            for digest in self._found_damaged(manifest)
        ]

    def not_here(self, manifest: Manifest) -> StoreError:
        """The error for a model whose files are not all on this machine, when the network must not be touched."""
        if self._found_damaged(manifest):
            return Damaged(f"{manifest.model} was damaged on this machine", hint="run it once without --offline")
        return ModelNotFound(f"{manifest.model} is not on this machine", hint="run it once without --offline")

    def _found_damaged(self, manifest: Manifest) -> set[Digest]:
        # Said once: what was mended since is no news.
        found = {file.digest for file in manifest.files} & self.cache.set_aside_now
        self.cache.set_aside_now -= found
        return found

    def fetching(self, progress: Progress) -> Fetch:
        """How bytes come from this store into the cache; opens the bucket."""
        return Fetch(self.bucket, self.cache, self._settings.pace, progress, self.warnings)

    def _refetch(self, digest: Digest) -> int:
        if self._embedded:
            raise Damaged("the embedded store has no second copy", hint="put the file again")
        if self.offline:
            raise Unreachable("offline", hint="leave out --offline, or LLSTORE_OFFLINE")
        return getting.get(self._holder(digest), self.fetching(silent)).fetched_bytes

    def _holder(self, digest: Digest) -> Manifest:
        """A manifest that names the blob: for a single file its own, else that of a model it belongs to."""
        try:
            return self._manifest(digest)
        except ModelNotFound:
            known = [model.manifest for model in self.models()]
            holder = next((one for one in known if digest in [file.digest for file in one.files]), None)
            if holder is None:
                raise
            return holder

    def _manifest(self, digest: Digest) -> Manifest:
        kept = self.cache.manifest(digest)
        if kept:
            return kept
        if self.offline:
            raise ModelNotFound(f"{digest} is not on this machine", hint="ask again without --offline")
        return self.bucket.manifest(digest)

    def _renew_snapshot(self) -> None:
        # It saves others time; who may not write it has done what he came for all the same.
        with suppress(StoreError):
            if snapshot_due(self.bucket, self.catalog):
                write_snapshot(self.bucket, self.catalog)

    def swept_until(self, digests: Collection[Digest]) -> float:
        """Until when an open sweep may delete one of these blobs, in the store's seconds; 0 when none may."""
        self.sync()
        now = self.bucket.journal.clock()
        sweeps = self.catalog.sweeps(since=ulid.lowest(now - SWEEP_SECONDS - OVERLAP))
        return swept_until(sweeps, set(digests), now=now)

    def _state_of(self, upload: putting.Upload) -> putting.State:
        until = self.swept_until(upload.digests)
        return putting.State(self.catalog.model(upload.manifest.model), until)

    def _unknown(self, ref: Prefix | Name, *, removed: Digest | None) -> ModelNotFound:
        if removed:
            gone = f"{ref} names {removed.short}, which is not in {self.url}"
            return ModelNotFound(gone, hint=f"llstore log {ref} tells its moves")
        near = get_close_matches(str(ref), self.catalog.names(), n=3) if isinstance(ref, Name) else []
        hint = f"did you mean {' or '.join(near)}?" if near else ""
        if self.offline:
            message = f"no model {ref} is known on this machine"
            return ModelNotFound(message, hint=hint or "ask again without --offline")
        if not self.bucket.source.properties.listable and not self.catalog.latest():
            return ModelNotFound(f"no model {ref} is known of {self.url}", hint=_NO_SNAPSHOT)
        return ModelNotFound(f"no model {ref} in {self.url}", hint=hint or "llstore list shows what is there")

    def _sound(self, digest: Digest, progress: Progress) -> bool:
        # Only the embedded store's own copy can be looked at without fetching it.
        try:
            return not self._embedded or self.cache.find(digest, progress) is not None
        except Damaged:
            return False

    def _starting_with(self, prefix: Prefix) -> Digest | None:
        found = self.catalog.starting_with(prefix.hex)
        if len(found) > 1:
            raise AmbiguousRef(f"{prefix} is the start of {len(found)} digests", candidates=[str(one) for one in found])
        return found[0] if found else None
