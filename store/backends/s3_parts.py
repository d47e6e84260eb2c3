"""An object on its way into an S3 bucket in parts: several at once, and resumed where a crash left it."""

import hashlib
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from threading import Event
from typing import TYPE_CHECKING

from ..errors import KeyNotFound, Refused, SourceChanged, StoreError, Unreachable
from .s3_errors import UploadGone, translated

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

PART_SIZE = 8 * 1024 * 1024  # a block, so that a put sends the bytes it hashed without copying them
MAX_PARTS = 10_000  # S3's limit
IN_FLIGHT = 3
ROUNDS = 2  # of botocore's own attempts, four each
_PAUSE_SECONDS = 5.0
_LOOKED_AT = 5  # unfinished uploads of one key; there is one, unless listing failed before


@dataclass(frozen=True, slots=True)
class Goal:
    """The object to be made: `key` is the whole key in the bucket, `url` the store's, for messages."""

    bucket: str
    key: str
    size: int
    url: str


@dataclass(frozen=True, slots=True)
class StoredPart:
    """A part that the server holds already: its size in bytes, and its ETag without the quotes."""

    size: int
    etag: str


@dataclass(frozen=True, slots=True)
class Unfinished:
    """An upload that was begun, by us or by a process before us, and the parts it holds, by number."""

    id: str
    parts: dict[int, StoredPart] = field(default_factory=dict)
    ours: bool = False


class PartedWrite:
    """One write in parts. Interrupted or cut off, it leaves its parts for the next write of the same bytes."""

    def __init__(self, client: "S3Client", goal: Goal) -> None:
        self._client = client
        self._goal = goal
        self._stopping = Event()

    def run(self, chunks: Iterable[bytes]) -> None:
        """Send `chunks` and complete the object; raises SourceChanged when they are not as long as they should be.

        When `chunks` raises, what this write began is aborted. Raises Unreachable when the object that was completed
        has another size.
        """
        upload = self._begun() or self._begin()
        try:
            self._complete(upload, self._send(upload, chunks))
        except UploadGone as error:
            if self._stored() != self._goal.size:
                raise Unreachable(str(error), hint=error.hint) from error
        except (Unreachable, Refused):
            raise
        except Exception:
            self._abort(upload)
            raise
        self._check()

    def _begun(self) -> Unfinished | None:
        # An upload is worth resuming for its parts; who may not list them starts anew.
        with suppress(StoreError), self._errors():
            found = [self._look(upload) for upload in self._uploads()[:_LOOKED_AT]]
            return max(found, key=lambda upload: len(upload.parts), default=None)
        return None

    def _uploads(self) -> list[str]:
        pages = self._client.get_paginator("list_multipart_uploads").paginate(
            Bucket=self._goal.bucket, Prefix=self._goal.key
        )
        found = [upload for page in pages for upload in page.get("Uploads", ()) if upload["Key"] == self._goal.key]
        found.sort(key=lambda upload: upload["Initiated"], reverse=True)
        return [upload["UploadId"] for upload in found]

    def _look(self, upload: str) -> Unfinished:
        pages = self._client.get_paginator("list_parts").paginate(
            Bucket=self._goal.bucket, Key=self._goal.key, UploadId=upload
        )
        parts = {
            part["PartNumber"]: StoredPart(part["Size"], part["ETag"].strip('"'))
            for page in pages
            for part in page.get("Parts", ())
        }
        return Unfinished(upload, parts)

    def _begin(self) -> Unfinished:
        with self._errors():
            made = self._client.create_multipart_upload(Bucket=self._goal.bucket, Key=self._goal.key)
        return Unfinished(made["UploadId"], ours=True)

    def _send(self, upload: Unfinished, chunks: Iterable[bytes]) -> "list[CompletedPartTypeDef]":
        with ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="upload") as threads:
            sent: list[Future[CompletedPartTypeDef]] = []
            running: set[Future[CompletedPartTypeDef]] = set()
            try:
                for number, body in enumerate(self._counted(rows(chunks, part_size(self._goal.size))), 1):
                    # Memory holds the parts in flight and the one being filled, whatever the size of the object.
                    if len(running) == IN_FLIGHT:
                        done, running = wait(running, return_when=FIRST_COMPLETED)
                        for future in done:
                            future.result()
                    sent.append(threads.submit(self._part, upload, number, body))
                    running.add(sent[-1])
                return [future.result() for future in sent]
            except BaseException:
                self._stopping.set()
                raise

    def _counted(self, bodies: Iterator[bytes]) -> Iterator[bytes]:
        done = 0
        for body in bodies:
            done += len(body)
            yield body
        if done != self._goal.size:
            raise SourceChanged(f"{done} of {self._goal.size} bytes came for {self._goal.key}", hint="put it again")

    def _part(self, upload: Unfinished, number: int, body: bytes) -> "CompletedPartTypeDef":
        there = upload.parts.get(number)
        if there and there.size == len(body) and there.etag == hashlib.md5(body, usedforsecurity=False).hexdigest():
            return {"ETag": f'"{there.etag}"', "PartNumber": number}
        for _ in range(ROUNDS - 1):
            try:
                return self._send_part(upload, number, body)
            except UploadGone:
                raise
            except Unreachable:
                if self._stopping.wait(_PAUSE_SECONDS):
                    raise
        return self._send_part(upload, number, body)

    def _send_part(self, upload: Unfinished, number: int, body: bytes) -> "CompletedPartTypeDef":
        goal = self._goal
        with self._errors():
            answer = self._client.upload_part(
                Bucket=goal.bucket, Key=goal.key, UploadId=upload.id, PartNumber=number, Body=body
            )
        return {"ETag": answer["ETag"], "PartNumber": number}

    def _complete(self, upload: Unfinished, parts: "list[CompletedPartTypeDef]") -> None:
        with self._errors():
            self._client.complete_multipart_upload(
                Bucket=self._goal.bucket, Key=self._goal.key, UploadId=upload.id, MultipartUpload={"Parts": parts}
            )

    def _check(self) -> None:
        stored = self._stored()
        if stored != self._goal.size:
            raise Unreachable(
                f"{self._goal.url} stored {stored or 0} of {self._goal.size} bytes of {self._goal.key}",
                hint="put it again",
            )

    def _stored(self) -> int | None:
        try:
            with self._errors():
                return self._client.head_object(Bucket=self._goal.bucket, Key=self._goal.key)["ContentLength"]
        except KeyNotFound:
            return None

    def _abort(self, upload: Unfinished) -> None:
        # Another process may be at work on an upload that was found. And where the object exists, aborting what is
        # left of an upload has destroyed it (seaweedfs#10663). A lifecycle rule removes what stays.
        with suppress(StoreError), self._errors():
            if upload.ours and self._stored() is None:
                self._client.abort_multipart_upload(Bucket=self._goal.bucket, Key=self._goal.key, UploadId=upload.id)

    def _errors(self) -> AbstractContextManager[None]:
        return translated(self._goal.url, key=self._goal.key)


def part_size(size: int) -> int:
    """Bytes in a part of an object of `size` bytes: few enough parts for S3, small enough for memory."""
    blocks = -(-size // (MAX_PARTS * PART_SIZE))
    return max(blocks, 1) * PART_SIZE


def rows(chunks: Iterable[bytes], part_size: int) -> Iterator[bytes]:
    """`chunks` again, in pieces of `part_size` bytes; a chunk that is one already is not copied."""
    waiting: list[bytes] = []
    held = 0
    for chunk in chunks:
        waiting.append(chunk)
        held += len(chunk)
        while held >= part_size:
            row = waiting[0] if len(waiting) == 1 else b"".join(waiting)
            yield row if len(row) == part_size else row[:part_size]
            waiting = [row[part_size:]] if len(row) > part_size else []
            held -= part_size
    if waiting:
        yield b"".join(waiting)
