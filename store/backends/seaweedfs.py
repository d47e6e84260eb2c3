"""A bucket in a folder of a SeaweedFS filer, reached by the filer's own HTTP.

What the S3 gateway keeps in the bucket `models` is the folder `/buckets/models`: one store can be used through both.
https://github.com/seaweedfs/seaweedfs/wiki/Filer-Server-API
"""

import base64
import json
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote, urlencode

from ..closing import Closing
from ..errors import BucketNotFound, KeyNotFound, Refused, StoreError, Unreachable
from . import pipeline
from .base import Properties, Stat
from .chunks import LEAST, Chunk, ChunkReader
from .wire import Answer, Declined, Wire, failure, whole_size

PORT = 8888  # the filer's own choice
PAGE = 1000
UPLOADS = ".uploads"  # where the S3 gateway keeps uploads that are not complete
_ENCRYPTION = 3  # the field of a bucket's metadata
_FOLDER = 1 << 31  # Go's os.ModeDir
_LISTING = {"Accept": "application/json"}
_BINARY = {"Content-Type": "application/octet-stream"}


@dataclass(frozen=True, slots=True)
class _Found:
    """An entry of a folder: an object, or another folder."""

    name: str
    is_folder: bool
    size: int
    modified: float


class SeaweedBackend(Closing):
    """The objects under `path`, a folder of the filer at `address` (host:port), both as they stand in a URL.

    With the address of the cluster's `master`, large reads go to the volume servers themselves.
    """

    def __init__(self, address: str, path: str, *, master: str | None = None) -> None:
        path = "".join(f"/{part}" for part in path.split("/") if part)
        self.properties = Properties(url=f"seaweedfs://{address}{path}" + (f"?master={master}" if master else ""))
        self._root = f"http://{address}{path}"
        self._wire = Wire(self._root)
        self._chunks = ChunkReader(self._wire, master) if master else None
        self._there = False
        self._ahead: float | None = None

    def close(self) -> None:
        """See Backend."""
        self._wire.close()

    def stat(self, key: str) -> Stat:
        """See Backend."""
        answer = self._ask("HEAD", key)
        if answer.status != 200 or not _is_object(answer):
            raise self._failure(answer, key)
        try:
            if whole_size(answer) is None:  # what stands before the filer has taken it away
                answer = self._wire.first_byte(self._url(key))
            size = int(str(whole_size(answer)))
            modified = parsedate_to_datetime(answer.headers["Last-Modified"]).timestamp()
        except Declined as declined:
            raise self._failure(declined.answer, key) from declined
        except (KeyError, ValueError) as error:
            raise self._garbled(key) from error
        return Stat(key, size, modified)

    def read(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """See Backend."""
        if length == 0:
            self.stat(key)
            return
        begun: tuple[Chunk, ...] = ()  # whose first bytes were given
        if self._chunks and length and length >= LEAST:
            chunks = self._chunks.chunks(self._url(key))
            with closing(self._chunks.read(self._url(key), chunks, start=start, length=length)) as pieces:
                for piece in pieces:
                    begun, start, length = chunks, start + len(piece), length - len(piece)
                    yield piece
            if not length:
                return
        # The filer gives what the volume servers did not.
        with closing(self._wire.read(self._url(key), start=start, length=length, accepts=_is_object)) as pieces:
            first = self._first(pieces, key)
            # Looked at after the filer has begun: what it gives are the chunks of before that.
            if self._chunks and begun and self._chunks.chunks_now(self._url(key)) != begun:
                raise Unreachable(
                    f"{key} in {self.properties.url} was written again while it was read", hint="try again"
                )
            if first:
                yield first
            yield from pieces

    def read_together(self, stats: Sequence[Stat]) -> list[bytes | None]:
        """Many small objects at once; None for each that has to be read by itself (see pipeline.py)."""
        return pipeline.fetch([pipeline.Asked(self._url(stat.key), stat.size) for stat in stats])

    def write(self, key: str, chunks: Iterable[bytes], *, size: int) -> None:
        """See Backend. Raises ValueError when `chunks` are not `size` bytes."""
        # The filer would make every folder on the way, a missing bucket too.
        self._require_root()
        headers = {**_BINARY, "Content-Length": str(size)}
        answer = self._ask("PUT", key, headers=headers, body=_counted(key, chunks, size=size))
        if answer.status not in (200, 201):
            raise self._failure(answer, key)
        self._check_size(key, size)

    def list(self, prefix: str, *, after: str = "") -> Iterator[Stat]:
        """See Backend."""
        self._require_root()
        folder = prefix.rpartition("/")[0]
        yield from self._walk(f"{folder}/" if folder else "", prefix=prefix, after=after)

    def delete(self, key: str) -> None:
        """See Backend."""
        answer = self._ask("DELETE", key)
        if answer.status not in (200, 202, 204, 404):
            raise self._failure(answer, key)

    def clock(self) -> float:
        """See Backend. Read from the Date header of the last answer, good to a second."""
        if self._ahead is None:
            self._ask("HEAD", "")
        return time.time() + (self._ahead or 0.0)

    def _first(self, pieces: Generator[bytes, None, None], key: str) -> bytes:
        try:
            return next(pieces, b"")
        except Declined as declined:
            raise self._failure(declined.answer, key) from declined
        finally:
            if self.properties.ranges != self._wire.ranges:
                self.properties = replace(self.properties, ranges=self._wire.ranges)

    def _walk(self, folder: str, *, prefix: str, after: str) -> Iterator[Stat]:
        begin = max(_seek(folder, prefix), _seek(folder, after))
        for found in self._entries(folder, begin=begin):
            key = folder + found.name
            if not key.startswith(prefix):
                if key > prefix:
                    return
            elif not found.is_folder:
                if key > after:
                    yield Stat(key, found.size, found.modified)
            elif found.name != UPLOADS and (f"{key}/" > after or after.startswith(f"{key}/")):
                yield from self._walk(f"{key}/", prefix=prefix, after=after)

    def _entries(self, folder: str, *, begin: str) -> Iterator[_Found]:
        """What lies in a folder, ordered by name, from some name before `begin` on."""
        # Pages start after a name, and `begin` itself is wanted: its own start comes before it, and not much else does.
        last, more = begin[:-1], True
        while more:
            page, more = self._page(folder, last)
            yield from page
            if more and (not page or page[-1].name <= last):
                raise self._garbled(folder)
            last = page[-1].name if page else last

    def _page(self, folder: str, last: str) -> tuple[tuple[_Found, ...], bool]:
        query = urlencode({"limit": PAGE, "lastFileName": last}, quote_via=quote)
        answer = self._ask("GET", folder, query=query, headers=_LISTING)
        if answer.status == 404 or (answer.status == 200 and _is_object(answer)):
            self._require_root()
            return (), False
        if answer.status != 200:
            raise self._failure(answer, folder)
        try:
            listing = json.loads(answer.body)
            return tuple(map(_found, listing["Entries"] or ())), bool(listing["ShouldDisplayLoadMore"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise self._garbled(folder) from error

    def _check_size(self, key: str, size: int) -> None:
        try:
            stored = self.stat(key).size
        except KeyNotFound:
            stored = None
        if stored != size:
            kept = "nothing" if stored is None else f"{stored} bytes"
            raise Unreachable(f"{self.properties.url} kept {kept} of {size} for {key}", hint="try again")

    def _require_root(self) -> None:
        if self._there:
            return
        self._require_plain_bucket()
        answer = self._ask("HEAD", "")
        if answer.status == 404 or (answer.status == 200 and _is_object(answer)):
            raise BucketNotFound(
                f"no folder at {self.properties.url}",
                hint="create it: the S3 gateway's bucket NAME is the folder /buckets/NAME, or POST to the folder's URL",
            )
        if answer.status != 200:
            raise self._failure(answer, "")
        self._there = True

    def _require_plain_bucket(self) -> None:
        """Raises Refused for a bucket in which the filer does not show what its S3 gateway keeps."""
        place, slash, rest = self._root.partition("/buckets/")
        bucket = rest.partition("/")[0]
        answer = self._wire.ask("GET", f"{place}{slash}{bucket}?metadata=true") if bucket else None
        kept = _kept_by_gateway(answer.body) if answer and answer.status == 200 else ""
        if kept:
            raise Refused(
                f"{self.properties.url} is a bucket that {kept}: the filer does not show what is in it",
                hint=f"use s3://{bucket} with its endpoint",
            )

    def _failure(self, answer: Answer, key: str) -> StoreError:
        # 200 is a folder, which is no object.
        if answer.status in (200, 404):
            self._require_root()
            return KeyNotFound(f"no object {key} in {self.properties.url}")
        return failure(answer, self.properties.url, key=key)

    def _garbled(self, key: str) -> Unreachable:
        return Unreachable(
            f"{self.properties.url} answered for {key or '/'} as no filer does", hint="check the host and the port"
        )

    def _ask(self, method: str, key: str, *, query: str = "", **request: Any) -> Answer:
        answer = self._wire.ask(method, self._url(key) + (f"?{query}" if query else ""), **request)
        try:
            self._ahead = parsedate_to_datetime(answer.headers["Date"]).timestamp() - time.time()
        except (KeyError, ValueError):
            self._ahead = self._ahead or 0.0
        return answer

    def _url(self, key: str) -> str:
        return f"{self._root}/{quote(key)}"


def _is_object(answer: Answer) -> bool:
    # A folder's page was written just now, and says no date.
    return "Last-Modified" in answer.headers


def _kept_by_gateway(body: bytes) -> str:
    """What the S3 gateway does in a bucket that the filer knows nothing of, as the bucket's own entry tells it.

    Its `Content` is a protobuf message, whose third field is the bucket's encryption.
    https://github.com/seaweedfs/seaweedfs/blob/master/weed/pb/s3.proto
    """
    try:
        entry = json.loads(body)
        extended, content = entry.get("Extended") or {}, base64.b64decode(entry.get("Content") or "")
    except (ValueError, AttributeError, TypeError):
        return ""
    if "Seaweed-X-Amz-Versioning" in extended:
        return "keeps versions"
    return "encrypts" if _ENCRYPTION in _fields(content) else ""


def _fields(message: bytes) -> Iterator[int]:
    """The numbers of the fields of a protobuf message, all of which have a length.

    https://protobuf.dev/programming-guides/encoding/
    """
    at = 0
    while at < len(message):
        yield message[at] >> 3
        length = shift = 0
        for byte in message[at + 1 :]:
            at, length, shift = at + 1, length | (byte & 127) << shift, shift + 7
            if byte < 128:
                break
        at += 1 + length


def _found(entry: dict[str, Any]) -> _Found:
    return _Found(
        name=entry["FullPath"].rpartition("/")[2],
        is_folder=bool(entry["Mode"] & _FOLDER),
        size=int(entry["FileSize"]),
        # To the second, as Last-Modified has it.
        modified=float(int(datetime.fromisoformat(entry["Mtime"]).timestamp())),
    )


def _seek(folder: str, after: str) -> str:
    """The least name in `folder` that an object with a key greater than `after` can have, or lie under.

    That is not always the name in `after`: `a/1` is greater than `a.b`, for `/` is greater than `.`.
    """
    if not after.startswith(folder):
        return ""
    name = after[len(folder) :]
    return name[: next((at for at, letter in enumerate(name) if letter <= "/"), len(name))]


def _counted(key: str, chunks: Iterable[bytes], *, size: int) -> Iterator[bytes]:
    # A byte too many would be read as the next request, and a byte too few be waited for.
    done = 0
    for chunk in chunks:
        done += len(chunk)
        if done > size:
            break
        yield chunk
    if done != size:
        raise ValueError(f"{key} should be {size} bytes, and {done} came")
