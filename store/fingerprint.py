"""One pass over bytes that gives their digest, their size and their block list."""

import hashlib
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from blake3 import blake3

from .blocks import BLOCK_SIZE, BlockList
from .closing import Closing
from .digest import Digest
from .disk import Bytes


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What a pass over some bytes found."""

    digest: Digest
    blocks: BlockList

    @property
    def size(self) -> int:
        """How many bytes there were."""
        return self.blocks.size


class Fingerprinter(Closing):
    """Hashes a stream one chunk behind its reader, on threads of its own: reading and hashing overlap.

    A chunk given to `update` must not change until the next was taken. At most one waits, so memory stays bounded.
    """

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()
        self._block = blake3()
        self._in_block = 0
        self._hashes: list[bytes] = []
        self._size = 0
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="hash")
        self._running: tuple[Future[None], ...] = ()

    def close(self) -> None:
        """Stop the threads."""
        self._threads.shutdown()

    def update(self, chunk: Bytes) -> None:
        """Take the next bytes of the stream."""
        self._wait()
        self._size += len(chunk)
        self._running = (
            self._threads.submit(self._sha256.update, chunk),
            self._threads.submit(self._add_to_blocks, chunk),
        )

    def finish(self) -> Fingerprint:
        """What the bytes so far are."""
        self._wait()
        tail = (self._block.digest(),) if self._in_block else ()
        blocks = BlockList(self._size, (*self._hashes, *tail))
        return Fingerprint(Digest(self._sha256.hexdigest()), blocks)

    def _wait(self) -> None:
        for future in self._running:
            future.result()

    def _add_to_blocks(self, chunk: Bytes) -> None:
        view = memoryview(chunk)
        while view:
            taken = view[: BLOCK_SIZE - self._in_block]
            self._block.update(taken)
            self._in_block += len(taken)
            view = view[len(taken) :]
            if self._in_block == BLOCK_SIZE:
                self._hashes.append(self._block.digest())
                self._block, self._in_block = blake3(), 0


def fingerprint(chunks: Iterable[Bytes]) -> Fingerprint:
    """The fingerprint of everything in `chunks`."""
    with Fingerprinter() as hasher:
        for chunk in chunks:
            hasher.update(chunk)
        return hasher.finish()
