"""The SHA-256 of a file whose blocks land in any order, computed while they are hot: no second pass."""

import hashlib
import mmap
import threading
from collections.abc import Callable

from ..blocks import BLOCK_SIZE
from ..closing import Closing
from ..digest import Digest
from ..disk import PartFile
from ..errors import DiskError

_STOP_SECONDS = 30.0

Buffer = mmap.mmap


def new_buffer() -> Buffer:
    """Memory for one block, on huge pages where there are any: fewer page faults, faster copies."""
    buffer = mmap.mmap(-1, BLOCK_SIZE)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        buffer.madvise(mmap.MADV_HUGEPAGE)
    return buffer


class Frontier(Closing):
    """Hashes blocks in order on a thread of its own.

    A block that lands is offered with its buffer; a few are held until their turn, the others are read back from the
    part file, where the page cache still has them. So memory stays bounded whatever the order.
    """

    def __init__(self, part: PartFile, *, size: int, spare: int) -> None:
        self._part = part
        self._size = size
        self._count = -(-size // BLOCK_SIZE)
        self._sha256 = hashlib.sha256()
        self._turn = threading.Condition()
        self._landed: set[int] = set()
        self._held: dict[int, Buffer] = {}
        self._free = [new_buffer() for _ in range(spare)]
        self._own = new_buffer()
        self._next = 0
        self._closed = False
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="sha256", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop the thread."""
        with self._turn:
            self._closed = True
            self._turn.notify_all()
        self._thread.join(_STOP_SECONDS)

    def land(self, block: int, buffer: Buffer | None = None) -> Buffer | None:
        """A block is in the part file. Returns another buffer when this one is held, else the same."""
        with self._turn:
            self._landed.add(block)
            if buffer is not None and self._free and block >= self._next:
                self._held[block] = buffer
                buffer = self._free.pop()
            self._turn.notify_all()
            return buffer

    def finish(self, alive: Callable[[], None] = lambda: None) -> Digest:
        """The digest, when all blocks have landed; `alive` is called now and then while it waits."""
        while self._thread.is_alive():
            self._thread.join(0.05)
            alive()
        if self._failure:
            raise self._failure
        return Digest(self._sha256.hexdigest())

    def _run(self) -> None:
        try:
            while self._next < self._count and (taken := self._take()):
                self._sha256.update(taken[1])
                taken[1].release()
                self._give_back(taken[0])
        except BaseException as failure:
            self._failure = failure

    def _take(self) -> tuple[Buffer, memoryview] | None:
        with self._turn:
            self._turn.wait_for(lambda: self._closed or self._next in self._landed)
            if self._closed:
                return None
            buffer = self._held.pop(self._next, None)
            self._landed.discard(self._next)
        length = min(BLOCK_SIZE, self._size - self._next * BLOCK_SIZE)
        if buffer is not None:
            return buffer, memoryview(buffer)[:length]
        view = memoryview(self._own)[:length]
        if self._part.read_at(self._next * BLOCK_SIZE, view) < length:
            raise DiskError(f"{self._part.path} was cut short by another program", hint="run it again")
        return self._own, view

    def _give_back(self, buffer: Buffer) -> None:
        with self._turn:
            self._next += 1
            if buffer is not self._own:
                self._free.append(buffer)
