"""Getting a model: every byte is counted and hashed on its way into the cache, and visible only when right."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from .blocks import BLOCK_SIZE, BlockList
from .bucket import Bucket
from .cache import Cache
from .digest import Digest
from .disk import PartFile
from .errors import Damaged, KeyNotFound, StoreError
from .fingerprint import Fingerprint
from .layout import PARTIAL, blob_key, blocks_key
from .manifest import FileEntry, Manifest
from .progress import Progress, silent
from .transfer.download import Download, Pace
from .transfer.fetcher import Wanted
from .transfer.flight import single_flight
from .transfer.partial import adopt, create, leave, partials

_PAGE = 4096  # bytes: a part file takes whole pages of its disk
_HEAL = "put the file again with --force"


@dataclass(frozen=True, slots=True)
class CachedFile:
    """One file of a model on this machine, verified. `fetched_bytes` is 0 for a cache hit."""

    entry: FileEntry
    path: Path
    fetched_bytes: int


@dataclass(frozen=True, slots=True)
class GetResult:
    """A model on this machine."""

    manifest: Manifest
    files: tuple[CachedFile, ...]
    seconds: float

    @property
    def path(self) -> Path:
        """The weights file, or the only one."""
        return next(file.path for file in self.files if file.entry == self.manifest.main)

    @property
    def fetched_bytes(self) -> int:
        """Bytes that came from the store."""
        return sum(file.fetched_bytes for file in self.files)


@dataclass(frozen=True, slots=True)
class Fetch:
    """Where bytes come from and go to, how hard to pull, whom to tell, and where remarks are kept.

    What is in `keep` is not evicted to make room.
    """

    bucket: Bucket
    cache: Cache
    pace: Pace = field(default_factory=Pace)
    progress: Progress = silent
    remarks: list[str] = field(default_factory=list)
    keep: frozenset[Digest] = frozenset()


def from_cache(manifest: Manifest, cache: Cache, *, progress: Progress) -> GetResult | None:
    """The model if the cache holds all of it, verified."""
    began = time.monotonic()
    files = []
    for entry in manifest.files:
        path = cache.find(entry.digest, progress)
        if path is None:
            return None
        files.append(CachedFile(entry, path, 0))
    return GetResult(manifest, tuple(files), time.monotonic() - began)


def get(manifest: Manifest, fetch: Fetch) -> GetResult:
    """The model, fetching what the cache lacks; raises Damaged when the store's bytes are not what they should be."""
    began = time.monotonic()
    fetch = replace(fetch, keep=fetch.keep.union(file.digest for file in manifest.files))
    if len(manifest.files) > 1:
        make_room(fetch, [file for file in manifest.files if not fetch.cache.has(file.digest)])
    files = tuple(get_file(entry, fetch) for entry in manifest.files)
    fetch.cache.keep_manifest(manifest)
    return GetResult(manifest, files, time.monotonic() - began)


def make_room(fetch: Fetch, files: Iterable[FileEntry]) -> None:
    """Room for all of these at once, so that what does not fit is known before a byte moves or a blob is evicted."""
    begun = {part.digest for part in partials(fetch.cache.root / PARTIAL)}
    needed = sum(-(-file.size // _PAGE) * _PAGE for file in files if file.digest not in begun)
    with fetch.cache.room():
        fetch.cache.make_room(needed, keep=fetch.keep)


def get_file(entry: FileEntry, fetch: Fetch) -> CachedFile:
    """One file, fetched when the cache lacks it; raises what `get` raises."""
    path = fetch.cache.find(entry.digest, fetch.progress)
    if path:
        return CachedFile(entry, path, 0)
    folder = fetch.cache.root / PARTIAL
    with single_flight(folder, entry.digest, done=lambda: fetch.cache.has(entry.digest)):
        path = fetch.cache.find(entry.digest, fetch.progress)
        if path:
            return CachedFile(entry, path, 0)
        found = _fetched(entry, fetch)
        fetch.cache.count(misses=1, bytes_fetched=found.fetched_bytes)
        return found


def _fetched(entry: FileEntry, fetch: Fetch) -> CachedFile:
    # The store's own copy is looked at before space is taken for it.
    _check_size(entry, fetch.bucket)
    wanted = Wanted(blob_key(entry.digest), entry.size, _block_list(entry, fetch))
    with (
        _part(entry, wanted, fetch) as part,
        Download(fetch.bucket.source, wanted, part, pace=fetch.pace) as download,
    ):
        with _left_for_later(part, entry, download), _there(entry, fetch.bucket):
            download.adopt(lambda done: fetch.progress("verify", done, entry.size))
            fetch.progress("download", download.here, entry.size)
            found = download.run(lambda done: fetch.progress("download", done, entry.size))
        _judge(entry, found, download, fetch)
        return CachedFile(entry, fetch.cache.admit(part, found), download.fetched)


@contextmanager
def _left_for_later(part: PartFile, entry: FileEntry, download: Download) -> Iterator[None]:
    try:
        yield
    except BaseException:
        download.close()
        # Without a list to check it by, what came so far would be of no use to anybody.
        if download.resumable and download.here:
            with suppress(StoreError):
                leave(part, entry.digest)
        raise


def _part(entry: FileEntry, wanted: Wanted, fetch: Fetch) -> PartFile:
    folder = fetch.cache.root / PARTIAL
    found = adopt(folder, entry.digest, size=entry.size) if wanted.blocks else None
    if found:
        return found
    with fetch.cache.room():
        fetch.cache.make_room(entry.size, keep=fetch.keep)
        part = create(folder, entry.digest, size=entry.size)
    damaged = fetch.cache.quarantined(entry.digest, size=entry.size) if wanted.blocks else None
    if damaged:
        try:
            # Most of its blocks are right: only the others have to come again.
            part.clone(damaged)
        except BaseException:
            part.close()
            raise
    return part


def _check_size(entry: FileEntry, bucket: Bucket) -> None:
    with _there(entry, bucket):
        size = bucket.backend.stat(blob_key(entry.digest)).size
    if size != entry.size:
        raise Damaged(
            f"{bucket.url} holds wrong bytes for {entry.digest}: {size} of them, not {entry.size}", hint=_HEAL
        )


@contextmanager
def _there(entry: FileEntry, bucket: Bucket) -> Iterator[None]:
    try:
        yield
    except KeyNotFound as error:
        raise Damaged(f"{bucket.url} lists {entry.digest} but lacks its bytes", hint=_HEAL) from error


def _block_list(entry: FileEntry, fetch: Fetch) -> BlockList | None:
    try:
        data = b"".join(fetch.bucket.backend.read(blocks_key(entry.digest)))
        blocks = BlockList.decode(data)
    except (KeyNotFound, Damaged) as error:
        fetch.remarks.append(f"the block list of {entry.digest.short} is not usable ({error}): only SHA-256 checks it")
        return None
    if Digest.of(data) != entry.blocks or blocks.size != entry.size:
        fetch.remarks.append(f"the block list of {entry.digest.short} is not the one its manifest names: not used")
        return None
    return blocks


def _judge(entry: FileEntry, found: Fingerprint, download: Download, fetch: Fetch) -> None:
    wrong = download.condemned
    if found.digest == entry.digest:
        if wrong is not None:
            fetch.remarks.append(
                f"the block list of {entry.digest.short} in {fetch.bucket.url} was wrong at block {wrong}, "
                "its SHA-256 is right: the list was made anew here"
            )
        return
    place = "" if wrong is None else f"; the first wrong block is {wrong} ({_span(wrong, entry.size)})"
    raise Damaged(
        f"{fetch.bucket.url} holds wrong bytes for {entry.digest}: their digest is {found.digest}{place}", hint=_HEAL
    )


def _span(block: int, size: int) -> str:
    first = block * BLOCK_SIZE
    return f"bytes {first}-{min(first + BLOCK_SIZE, size) - 1}"
