"""A blob that is read by ranges: from another store, from this machine's cache, or from the middle of a bundle."""

import hashlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from ..backends import Backend
from ..backends.wrapper import released
from ..blocks import BLOCK_SIZE, BlockList
from ..digest import Digest
from ..disk import disk_errors
from ..errors import Damaged, KeyNotFound, ModelNotFound
from ..fingerprint import Fingerprint
from ..layout import blob_key
from ..manifest import FileEntry
from ..progress import Progress
from ..transfer.supply import Supply

AHEAD = 2  # blocks of 8 MiB that are read before they are asked for
_ATTEMPTS = 3  # of a block that came wrong

Read = Callable[[int, int], bytes]


class Ranged(Supply):
    """Bytes given by `read(start, length)`, which several threads call at once.

    Each block is checked by the block list, and the whole by its SHA-256 before the last block leaves: what is not the
    blob never becomes one elsewhere.
    """

    def __init__(self, entry: FileEntry, read: Read, *, label: str) -> None:
        self.label = label
        self.size = entry.size
        self._digest = entry.digest
        self._read = read

    def blocks(self, found: Fingerprint, progress: Progress) -> Iterator[bytes]:
        """See Supply; raises Damaged."""
        hashed, done = hashlib.sha256(), 0
        progress("upload", 0, self.size)
        with released(self._sound_blocks(found.blocks)) as blocks:
            for block in blocks:
                hashed.update(block)
                done += len(block)
                if done == self.size and hashed.hexdigest() != self._digest.hex:
                    raise Damaged(f"{self.label} holds wrong bytes for {self._digest}: they are {hashed.hexdigest()}")
                yield block
                progress("upload", done, self.size)

    def _sound_blocks(self, blocks: BlockList) -> Iterator[bytes]:
        threads = ThreadPoolExecutor(AHEAD, thread_name_prefix="ranged")
        waiting: deque[Future[bytes]] = deque()
        try:
            for index in range(len(blocks.hashes)):
                if len(waiting) == AHEAD:
                    yield waiting.popleft().result()
                waiting.append(threads.submit(self._block, blocks, index))
            while waiting:
                yield waiting.popleft().result()
        finally:
            # What is being read for nobody any more is not waited for.
            threads.shutdown(wait=False, cancel_futures=True)

    def _block(self, blocks: BlockList, index: int) -> bytes:
        start = index * BLOCK_SIZE
        for _ in range(_ATTEMPTS):
            block = self._read(start, min(BLOCK_SIZE, self.size - start))
            if blocks.holds(index, block):
                return block
        raise self._wrong(index)

    def _wrong(self, index: int) -> Damaged:
        return Damaged(f"{self.label} holds wrong bytes for {self._digest}: block {index} is not what it should be")


class Stored(Ranged):
    """A blob in a bucket."""

    def __init__(self, entry: FileEntry, backend: Backend) -> None:
        self._backend = backend
        self._key = blob_key(entry.digest)
        super().__init__(entry, self._range, label=backend.properties.url)

    def _sound_blocks(self, blocks: BlockList) -> Iterator[bytes]:
        try:
            if self._backend.properties.ranges:
                yield from super()._sound_blocks(blocks)
            else:
                yield from self._in_stream(blocks)
        except KeyNotFound as error:
            raise Damaged(f"{self.label} lists {self._digest} but lacks its bytes") from error

    def _range(self, start: int, length: int) -> bytes:
        return b"".join(self._backend.read(self._key, start=start, length=length))

    def _in_stream(self, blocks: BlockList) -> Iterator[bytes]:
        waiting, index = bytearray(), 0
        with released(self._backend.read(self._key)) as pieces:
            for piece in pieces:
                waiting += piece
                while len(waiting) >= min(BLOCK_SIZE, self.size - index * BLOCK_SIZE) > 0:
                    block = bytes(waiting[:BLOCK_SIZE])
                    if not blocks.holds(index, block):
                        raise self._wrong(index)
                    yield block
                    del waiting[:BLOCK_SIZE]
                    index += 1
        if index < len(blocks.hashes) or waiting:
            raise self._wrong(index)


class Absent(Supply):
    """A blob that is not brought along: whoever gets the others must have it."""

    def __init__(self, entry: FileEntry, *, label: str) -> None:
        self.label = label
        self.size = entry.size
        self._digest = entry.digest

    def blocks(self, found: Fingerprint, progress: Progress) -> Iterator[bytes]:
        """Raises ModelNotFound."""
        raise lacking(self.label, [self._digest])


def lacking(label: str, digests: list[Digest]) -> ModelNotFound:
    """The error for blobs that a bundle was made without, and that are not where it is brought."""
    them = "it" if len(digests) == 1 else "them"
    return ModelNotFound(
        f"{label} leaves out {', '.join(map(str, digests))}, and the store lacks {them}",
        hint="import first what it was made to follow",
    )


def in_file(entry: FileEntry, path: Path, *, start: int = 0) -> Ranged:
    """A blob whose bytes stand in a file from `start` on."""

    def read(offset: int, length: int) -> bytes:
        with disk_errors(path), path.open("rb") as file:
            file.seek(start + offset)
            return file.read(length)

    return Ranged(entry, read, label=str(path))
