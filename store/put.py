"""Putting files into a store: nothing is visible until the last step, and every step may be repeated.

intent -> open sweep? -> blobs -> block lists -> manifest -> journal entry
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from .assembly import Member, check, in_order, named_role, weights_of
from .backends import Backend
from .blocks import BLOCK_SIZE
from .bucket import Bucket
from .digest import Digest
from .entry import Entry, ended_entry, intent_entry, label_entry, put_entry, tag_entry
from .errors import Damaged, KeyNotFound, RoleConflict, StoreError, Unreachable, Unsafe
from .fingerprint import Fingerprint
from .layout import blob_key, blocks_key, manifest_key
from .manifest import FileEntry, Manifest, Role, role_of
from .model import Model
from .progress import Progress, silent
from .ref import Name
from .transfer.audit import wrong_blocks
from .transfer.source import Source
from .transfer.supply import Supply

ATTEMPTS = 4  # of a whole upload; its parts are tried again by the backend


@dataclass(frozen=True, slots=True)
class PutRequest:
    """A model to put: a file, or with `more` several, each of which may be a folder or a pattern.

    Without a role a file must be a GGUF, whose header says the role; `role` is that of the only file, `roles` those of
    the files whose names fit a pattern. `force` uploads in any case, which heals a damaged object; `verify` reads back
    what the store has.
    """

    path: Path
    more: tuple[Path, ...] = ()
    role: Role | None = None
    roles: tuple[tuple[str, Role], ...] = ()
    name: Name | None = None
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    force: bool = False
    verify: bool = False

    def role_of(self, path: Path) -> Role | None:
        """The role that was asked for, or None."""
        asked = next((role for pattern, role in self.roles if fnmatch(path.name, pattern)), None)
        return asked or self.role


@dataclass(frozen=True, slots=True)
class PutResult:
    """What a put did. `uploaded_bytes` counts the blobs that the store lacked, whole, what came earlier included."""

    manifest: Manifest
    uploaded_bytes: int
    deduplicated: bool
    names: tuple[str, ...]
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class State:
    """What the store knows at a moment: of the model that is being put, and until when a sweep may delete its files."""

    stored: Model | None
    swept_until: float = 0.0


@dataclass(frozen=True, slots=True)
class Examined:
    """A blob to be: what its bytes are, and who supplies them."""

    source: Supply
    found: Fingerprint


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is done for a blob: `force` uploads it in any case, `verify` reads all of it back."""

    force: bool = False
    verify: bool = False
    progress: Progress = silent


@dataclass(frozen=True, slots=True)
class Upload:
    """The examined files of a model, still open; its manifest; and whom to tell as their bytes leave."""

    files: tuple[Examined, ...]
    manifest: Manifest
    progress: Progress

    @property
    def digests(self) -> set[Digest]:
        """All that the store is to hold of it."""
        return {self.manifest.model, *(file.found.digest for file in self.files)}


def open_sources(paths: Sequence[Path], stack: ExitStack) -> list[Source]:
    """The files, opened until `stack` ends; raises Unsafe when one is empty."""
    sources = [stack.enter_context(Source(path)) for path in paths]
    for source in sources:
        if source.size == 0:
            raise Unsafe(f"{source.path} is empty")
    return sources


def examine(sources: Sequence[Source], request: PutRequest, progress: Progress) -> Upload:
    """Read the files once; raises Unsafe when they are not the whole model that they should be."""
    members = [_member(source, request, alone=len(sources) == 1) for source in sources]
    if len(sources) > 1 or members[0].role is Role.SHARD:
        check(members)
    opened = {member.path: source for member, source in zip(members, sources, strict=True)}
    members = in_order(members)
    files = [Examined(opened[member.path], opened[member.path].fingerprint(progress)) for member in members]
    entries = [_entry(member.role, file.found) for member, file in zip(members, files, strict=True)]
    _refuse_doubles(files)
    return Upload(tuple(files), Manifest.of(entries, weights_of(members)), progress)


def _member(source: Source, request: PutRequest, *, alone: bool) -> Member:
    role = request.role_of(source.path)
    if role is None and not alone:
        role = named_role(source.path)
    header = source.header() if role is None or role.is_gguf else None
    return Member(source.path, role or (role_of(header) if header else Role.OTHER), header)


def _entry(role: Role, found: Fingerprint) -> FileEntry:
    return FileEntry(role, found.digest, found.size, Digest.of(found.blocks.encode()))


def _refuse_doubles(files: Sequence[Examined]) -> None:
    first: dict[Digest, str] = {}
    for file in files:
        if file.found.digest in first:
            raise Unsafe(f"{file.source.label} holds the same bytes as {first[file.found.digest]}", hint="put it once")
        first[file.found.digest] = file.source.label


def put(bucket: Bucket, request: PutRequest, upload: Upload, *, look: Callable[[], State]) -> PutResult:
    """Bring examined files into the bucket; `look` tells what the store knows at the moment."""
    with intended(bucket, upload.digests) as intent:
        return _put(bucket, request, upload, look=look, intent=intent)


@contextmanager
def intended(bucket: Bucket, digests: Iterable[Digest]) -> Iterator[Entry]:
    """An intent to rely on these blobs, which is over when the work fails for good: then a collector may have them.

    What was cut off, by a kill or a lost network, may be taken up again: that intent holds for its 7 days.
    """
    intent = bucket.journal.append(intent_entry(sorted(digests)))
    try:
        yield intent
    except Unreachable:
        raise
    except StoreError:
        with suppress(StoreError):
            bucket.journal.append(ended_entry(intent.ulid))
        raise


def _put(bucket: Bucket, request: PutRequest, upload: Upload, *, look: Callable[[], State], intent: Entry) -> PutResult:
    # After the intent: what a collector does from here on, it does knowing of it.
    now = look()
    while now.swept_until:
        # A sweep may be deleting these very blobs: what is there now cannot be relied on.
        bucket.wait(now.swept_until)
        now, request = look(), replace(request, force=True)
    manifest = now.stored.manifest if now.stored else upload.manifest
    _refuse_other_role(manifest, request)
    effort = Effort(force=request.force, verify=request.verify, progress=upload.progress)
    uploaded = sum(settle(bucket, file, effort, trusted=now.stored is not None) for file in upload.files)
    keep_manifest(bucket, manifest)
    begun = ended_entry(intent.ulid) if now.stored else put_entry(manifest, intent=intent.ulid)
    entries = [bucket.journal.append(document) for document in (begun, *notes(manifest.model, request, now.stored))]
    names = {*(now.stored.names if now.stored else ()), *([str(request.name)] if request.name else ())}
    return PutResult(
        manifest=manifest,
        uploaded_bytes=uploaded,
        deduplicated=not uploaded,
        names=tuple(sorted(names)),
        entries=(intent, *entries),
    )


def notes(model: Digest, request: PutRequest, stored: Model | None) -> Iterator[dict[str, Any]]:
    """The entries that say of a model what was asked for and is not known yet."""
    labels = {key: value for key, value in request.labels.items() if not stored or stored.labels.get(key) != value}
    annotations = {
        key: value for key, value in request.annotations.items() if not stored or stored.annotations.get(key) != value
    }
    if labels or annotations:
        yield label_entry(model, labels, annotations=annotations)
    if request.name and not (stored and str(request.name) in stored.names):
        yield tag_entry(request.name, model)


def keep_manifest(bucket: Bucket, manifest: Manifest) -> None:
    """Write a manifest, unless it is there."""
    _write_small(bucket.backend, manifest_key(manifest.model), manifest.encode())


def _refuse_other_role(manifest: Manifest, request: PutRequest) -> None:
    if request.role and len(manifest.files) == 1 and manifest.main.role is not request.role:
        raise RoleConflict(
            f"{manifest.model} is in the store already, as {manifest.main.role}, not {request.role}",
            hint="put it without --role",
        )


def settle(bucket: Bucket, file: Examined, effort: Effort, *, trusted: bool) -> int:
    """See to it that a blob and its block list are there; returns how many bytes were uploaded.

    `trusted` says that a live entry of the journal names the blob.
    """
    uploaded = 0
    if effort.force or not _present(bucket.backend, file, effort.progress, trusted=trusted and not effort.verify):
        _upload(bucket.source, file, effort.progress)
        last = len(file.found.blocks.hashes) - 1
        # Whole parts have been lost by servers that said they had them: some blocks are looked at, or all.
        sample = range(last + 1) if effort.verify else sorted({0, last // 2, last})
        if _wrong(bucket.backend, file, sample, effort.progress):
            hint = "put it again --force"
            raise Damaged(f"{bucket.url} stored other bytes than were sent for {file.found.digest}", hint=hint)
        uploaded = file.found.size
    _write_small(bucket.backend, blocks_key(file.found.digest), file.found.blocks.encode())
    return uploaded


def _upload(backend: Backend, file: Examined, progress: Progress) -> None:
    for attempt in range(ATTEMPTS):
        try:
            file.source.send(backend, file.found, progress)
            return
        except Unreachable:
            if attempt == ATTEMPTS - 1:
                raise
            # What a backend can keep of a broken upload it takes up again by itself.
            time.sleep(2.0**attempt / 2)


def _present(backend: Backend, file: Examined, progress: Progress, *, trusted: bool) -> bool:
    """Whether the blob is there. What no live journal entry and no block list vouch for is read back."""
    found = file.found
    try:
        if backend.stat(blob_key(found.digest)).size != found.size:
            return False
        listed = b"".join(backend.read(blocks_key(found.digest)))
    except KeyNotFound:
        listed = b""
    if trusted and listed == found.blocks.encode():
        return True
    try:
        return not _wrong(backend, file, range(len(found.blocks.hashes)), progress)
    except KeyNotFound:
        return False


def _wrong(backend: Backend, file: Examined, sample: Sequence[int], progress: Progress) -> list[int]:
    found = file.found
    total = min(len(sample) * BLOCK_SIZE, found.size)

    def tell(done: int) -> None:
        progress("verify", min(done * BLOCK_SIZE, total), total)

    return wrong_blocks(backend, blob_key(found.digest), found.blocks, indexes=sample, progress=tell)


def _write_small(backend: Backend, key: str, data: bytes) -> None:
    try:
        if b"".join(backend.read(key)) == data:
            return
    except KeyNotFound:
        pass
    backend.write(key, [data], size=len(data))
