"""Reading an object's chunks from SeaweedFS's volume servers, past the filer: half the work for the same bytes.

The filer tells which chunks an object has (`?metadata=true`), the master where a volume lies (`/dir/lookup`).
https://github.com/seaweedfs/seaweedfs/wiki/Master-Server-API
"""

import json
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from threading import Lock
from typing import Any

from ..errors import Unreachable
from .wire import Declined, Wire

LEAST = 1024 * 1024  # below this, asking for the chunks costs more than it saves
_REMEMBERED = 8  # objects
# What only the filer can undo: encryption, compression, chunks that list other chunks.
_NOT_PLAIN = ("cipher_key", "is_compressed", "is_chunk_manifest", "sse_type")


@dataclass(frozen=True, slots=True)
class Chunk:
    """`size` bytes of an object, from `offset` on, under the name `id` (volume, key and cookie)."""

    offset: int
    size: int
    id: str


class ChunkReader:
    """Reads objects of the filer that `wire` reaches, with the help of the master at `master` (host:port)."""

    def __init__(self, wire: Wire, master: str) -> None:
        self._wire = wire
        self._master = master
        self._lock = Lock()
        self._objects: OrderedDict[str, tuple[Chunk, ...]] = OrderedDict()
        self._volumes: dict[str, str] = {}

    def chunks(self, url: str) -> tuple[Chunk, ...]:
        """The chunks of the object at `url`, as they were when last asked for."""
        with self._lock:
            known = self._objects.get(url)
        return self.chunks_now(url) if known is None else known

    def chunks_now(self, url: str) -> tuple[Chunk, ...]:
        """The same, asked for again. None where only the filer can put the object together."""
        answer = self._wire.ask("GET", f"{url}?metadata=true")
        chunks = plain_chunks(_document(answer.body)) if answer.status == 200 else ()
        with self._lock:
            self._objects[url] = chunks
            while len(self._objects) > _REMEMBERED:
                self._objects.popitem(last=False)
        return chunks

    def read(self, url: str, chunks: tuple[Chunk, ...], *, start: int, length: int) -> Generator[bytes, None, None]:
        """The bytes of the object at `url` from its `chunks`: ends early where one of them is out of reach."""
        end = start + length
        try:
            for chunk in _covering(chunks, start, end):
                first = max(start - chunk.offset, 0)
                wanted = min(end - chunk.offset, chunk.size) - first
                # A whole chunk is asked for without a range, which costs the server less.
                asked = wanted if wanted < chunk.size else None
                with closing(self._wire.read(self._where(chunk), start=first, length=asked)) as pieces:
                    yield from pieces
        except (Unreachable, Declined):
            # The object was written again, or a volume has moved.
            with self._lock:
                self._objects.pop(url, None)
                self._volumes.clear()

    def _where(self, chunk: Chunk) -> str:
        volume = chunk.id.partition(",")[0]
        if volume not in self._volumes:
            answer = self._wire.ask("GET", f"http://{self._master}/dir/lookup?volumeId={volume}")
            try:
                place = _document(answer.body)["locations"][0]
                self._volumes[volume] = str(place.get("publicUrl") or place["url"])
            except (KeyError, IndexError, TypeError, AttributeError) as error:
                raise Unreachable(f"the master at {self._master} does not know volume {volume}") from error
        return f"http://{self._volumes[volume]}/{chunk.id}"


def plain_chunks(document: Any) -> tuple[Chunk, ...]:
    """The chunks of an object in the order of its bytes; none when they do not simply follow on one another."""
    try:
        size, entries = int(document["FileSize"]), document.get("chunks") or ()
        if any(entry.get(name) for entry in entries for name in _NOT_PLAIN):
            return ()
        chunks = sorted(
            (Chunk(int(entry.get("offset", 0)), int(entry["size"]), str(entry["file_id"])) for entry in entries),
            key=lambda chunk: chunk.offset,
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return ()
    at = 0
    for chunk in chunks:
        if chunk.offset != at:
            return ()
        at += chunk.size
    return tuple(chunks) if at == size else ()


def _covering(chunks: tuple[Chunk, ...], start: int, end: int) -> tuple[Chunk, ...]:
    first = max(bisect_right(chunks, start, key=lambda chunk: chunk.offset) - 1, 0)
    last = bisect_right(chunks, end - 1, key=lambda chunk: chunk.offset)
    return chunks[first:last]


def _document(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None
