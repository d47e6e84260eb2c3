"""One connection's work: the pieces of a range, put together into whole blocks in a buffer that is used again."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ..backends import Backend
from ..blocks import BLOCK_SIZE, BlockList
from ..errors import Unreachable
from .frontier import Buffer, new_buffer
from .spans import Span


@dataclass(frozen=True, slots=True)
class Wanted:
    """An object to fetch: its key, its size, and its block list if there is one to be believed."""

    key: str
    size: int
    blocks: BlockList | None

    @property
    def count(self) -> int:
        """How many blocks it has."""
        return -(-self.size // BLOCK_SIZE)

    def length(self, block: int) -> int:
        """The bytes in a block: all but the last are whole."""
        return min(BLOCK_SIZE, self.size - block * BLOCK_SIZE)


class Fetcher:
    """Fetches spans. `arrive` is given each whole block in a buffer, and answers with the buffer for the next.

    `pulled` says how many bytes came over this connection so far, good or bad.
    """

    def __init__(self, backend: Backend, wanted: Wanted, arrive: Callable[[int, Buffer], Buffer]) -> None:
        self.pulled = 0
        self._backend = backend
        self._wanted = wanted
        self._arrive = arrive
        self._buffer = new_buffer()
        self._block = 0
        self._filled = 0

    def fetch(self, span: Span, go_on: Callable[[], bool]) -> None:
        """Fetch a span, while `go_on` says so; raises Unreachable when fewer bytes come than were asked for.

        `go_on` is asked after each piece.
        """
        self._block, self._filled = span.first, 0
        start = span.first * BLOCK_SIZE
        length = min(span.end * BLOCK_SIZE, self._wanted.size) - start
        with _closed(self._backend.read(self._wanted.key, start=start, length=length)) as pieces:
            for piece in pieces:
                self.pulled += len(piece)
                self._take(memoryview(piece), span)
                if not go_on() or self._block == span.end:
                    return
        raise Unreachable(f"{self._backend.properties.url} sent too few bytes of {self._wanted.key}", hint="try again")

    def _take(self, piece: memoryview, span: Span) -> None:
        while piece and self._block < span.end:
            room = self._wanted.length(self._block) - self._filled
            taken = piece[:room]
            self._buffer[self._filled : self._filled + len(taken)] = taken
            self._filled += len(taken)
            piece = piece[len(taken) :]
            if self._filled == self._wanted.length(self._block):
                self._buffer = self._arrive(self._block, self._buffer)
                self._block, self._filled = self._block + 1, 0


@contextmanager
def _closed(pieces: Iterator[bytes]) -> Iterator[Iterator[bytes]]:
    # A range that is left early must let go of its connection now, not when the garbage is collected.
    try:
        yield pieces
    finally:
        getattr(pieces, "close", lambda: None)()
