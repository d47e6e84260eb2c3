"""Putting a file into a store: nothing is visible until the last step, and every step may be repeated.

intent -> open sweep? -> blob -> block list -> manifest -> journal entry
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .backends import Backend
from .blocks import BLOCK_SIZE
from .bucket import Bucket
from .errors import Damaged, KeyNotFound, RoleConflict, Unreachable, Unsafe
from .fingerprint import Fingerprint
from .journal import Entry, intent_entry, label_entry, put_entry, tag_entry
from .layout import blob_key, blocks_key, manifest_key
from .manifest import Manifest, Role, role_of
from .model import Model
from .progress import Progress
from .ref import Name
from .transfer.audit import wrong_blocks
from .transfer.source import Source

ATTEMPTS = 4  # of a whole upload; its parts are tried again by the backend


@dataclass(frozen=True, slots=True)
class PutRequest:
    """A file to put. Without a role it must be a GGUF, whose header says the role.

    `force` uploads it in any case, which heals a damaged object; `verify` reads back what the store has.
    """

    path: Path
    role: Role | None = None
    name: Name | None = None
    labels: dict[str, str] = field(default_factory=dict)
    force: bool = False
    verify: bool = False


@dataclass(frozen=True, slots=True)
class PutResult:
    """What a put did. `uploaded_bytes` is 0 when the store had the blob, else its size, what came earlier included."""

    manifest: Manifest
    uploaded_bytes: int
    deduplicated: bool
    names: tuple[str, ...]
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Examined:
    """A source after its first pass: its fingerprint, and the manifest it would have."""

    found: Fingerprint
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class Upload:
    """An examined file, still open; and whom to tell as its bytes leave."""

    source: Source
    examined: Examined
    progress: Progress


def examine(source: Source, request: PutRequest, progress: Progress) -> Examined:
    """Read the file once; raises Unsafe when it is empty, or not the whole GGUF it should be."""
    if source.size == 0:
        raise Unsafe(f"{source.path} is empty")
    wants_gguf = request.role is None or request.role.is_gguf
    header = source.header() if wants_gguf else None
    role = request.role or (role_of(header) if header else Role.OTHER)
    found = source.fingerprint(progress)
    return Examined(found, Manifest.single(found, role=role, header=header))


def put(bucket: Bucket, request: PutRequest, *, upload: Upload, stored: Model | None) -> PutResult:
    """Bring an examined file into the bucket, where `stored` is what the catalog knows of the model."""
    manifest = stored.manifest if stored else upload.examined.manifest
    found = upload.examined.found
    _refuse_other_role(manifest, request)
    intent = bucket.journal.append(intent_entry([found.digest]))
    uploaded = _settle(bucket, request, upload, known=stored is not None)
    _write_small(bucket.backend, blocks_key(found.digest), found.blocks.encode())
    _write_small(bucket.backend, manifest_key(manifest.model), manifest.encode())
    entries = [bucket.journal.append(document) for document in _news(manifest, request, stored=stored)]
    names = {*(stored.names if stored else ()), *([str(request.name)] if request.name else ())}
    return PutResult(
        manifest=manifest,
        uploaded_bytes=found.size if uploaded else 0,
        deduplicated=not uploaded,
        names=tuple(sorted(names)),
        entries=(intent, *entries),
    )


def _news(manifest: Manifest, request: PutRequest, *, stored: Model | None) -> Iterator[dict[str, Any]]:
    if stored is None:
        yield put_entry(manifest)
    if request.labels and not (stored and request.labels.items() <= stored.labels.items()):
        yield label_entry(manifest.model, request.labels)
    if request.name and not (stored and str(request.name) in stored.names):
        yield tag_entry(request.name, manifest.model)


def _refuse_other_role(manifest: Manifest, request: PutRequest) -> None:
    if request.role and manifest.main.role is not request.role:
        raise RoleConflict(
            f"{manifest.model} is in the store already, as {manifest.main.role}, not {request.role}",
            hint="put it without --role",
        )


def _settle(bucket: Bucket, request: PutRequest, upload: Upload, *, known: bool) -> bool:
    """See to it that the blob is there; returns whether it was uploaded."""
    found = upload.examined.found
    until = bucket.journal.swept_until(found.digest)
    if until:
        # A sweep may be deleting this very blob: what is there now cannot be relied on until it has ended.
        time.sleep(max(0.0, until - bucket.backend.clock()) + 1)
    if not request.force and not until and _present(bucket.backend, upload, trusted=known and not request.verify):
        return False
    _upload(bucket.source, upload)
    last = len(found.blocks.hashes) - 1
    # Whole parts have been lost by servers that said they had them: some blocks are looked at, or all.
    sample = range(last + 1) if request.verify else sorted({0, last // 2, last})
    if _wrong(bucket.backend, upload, sample):
        raise Damaged(f"{bucket.url} stored other bytes than were sent for {found.digest}", hint="put it again --force")
    return True


def _upload(backend: Backend, upload: Upload) -> None:
    found = upload.examined.found
    for attempt in range(ATTEMPTS):
        try:
            backend.write(blob_key(found.digest), upload.source.blocks(found, upload.progress), size=found.size)
            return
        except Unreachable:
            if attempt == ATTEMPTS - 1:
                raise
            # What a backend can keep of a broken upload it takes up again by itself.
            time.sleep(2.0**attempt / 2)


def _present(backend: Backend, upload: Upload, *, trusted: bool) -> bool:
    """Whether the blob is there. What no live journal entry and no block list vouch for is read back."""
    found = upload.examined.found
    try:
        if backend.stat(blob_key(found.digest)).size != found.size:
            return False
        listed = b"".join(backend.read(blocks_key(found.digest)))
    except KeyNotFound:
        listed = b""
    if trusted and listed == found.blocks.encode():
        return True
    try:
        return not _wrong(backend, upload, range(len(found.blocks.hashes)))
    except KeyNotFound:
        return False


def _wrong(backend: Backend, upload: Upload, sample: Sequence[int]) -> list[int]:
    found = upload.examined.found

    total = min(len(sample) * BLOCK_SIZE, found.size)

    def tell(done: int) -> None:
        upload.progress("verify", min(done * BLOCK_SIZE, total), total)

    return wrong_blocks(backend, blob_key(found.digest), found.blocks, indexes=sample, progress=tell)


def _write_small(backend: Backend, key: str, data: bytes) -> None:
    try:
        if b"".join(backend.read(key)) == data:
            return
    except KeyNotFound:
        pass
    backend.write(key, [data], size=len(data))
