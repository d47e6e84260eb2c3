"""Fetching a blob into a part file: ranges in parallel, every block checked as it lands, the SHA-256 right behind."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from blake3 import blake3

from ..backends import Backend
from ..blocks import BLOCK_SIZE, BlockList
from ..closing import Closing
from ..disk import PartFile
from ..errors import Damaged, StoreError, Unreachable
from ..fingerprint import Fingerprint
from .fetcher import Fetcher, Wanted
from .frontier import Buffer, Frontier, new_buffer
from .spans import ATTEMPTS, Span, Spans

_SPARE_BUFFERS = 5
_TICK = 0.05
_EQUAL = 5  # fetches: a fault that strikes one range in ten does the same to a block twice in every hundred
_HEADWAY = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Pace:
    """How hard to pull: connections at once, and after how many seconds of no headway a transfer is given up.

    Headway is a new block, or on a slow line a MiB of bytes on all connections together. `rate` is the most bytes a
    second, both ways; None is no limit.
    """

    connections: int = 4
    rate: float | None = None
    timeout: float = 120.0


class Download(Closing):
    """One object on its way into one part file.

    `condemned` says which block came five times with the same bytes that the block list refuses, if any: from there
    on the list was not believed.
    """

    def __init__(self, backend: Backend, wanted: Wanted, part: PartFile, *, pace: Pace) -> None:
        self.condemned: int | None = None
        self._backend, self._wanted, self._part, self._pace = backend, wanted, part, pace
        self._hashes: dict[int, bytes] = {}
        self._refused: dict[int, list[bytes]] = {}
        self._spans = Spans.of(range(wanted.count))
        self._frontier = Frontier(part, size=wanted.size, spare=_SPARE_BUFFERS)
        self._turn = threading.Condition()
        self._failure: BaseException | None = None
        self._last_error: StoreError | None = None
        self._stopping = False
        self._fetchers: list[Fetcher] = []
        self._claimed: set[int] = set()
        self._writing = 0

    def close(self) -> None:
        """Stop. A worker that waits on a dead connection is left to its time-out: it writes nothing any more."""
        with self._turn:
            self._stopping = True
            self._turn.notify_all()
            self._turn.wait_for(lambda: not self._writing)
        self._frontier.close()

    @property
    def fetched(self) -> int:
        """Bytes that came from the store so far, those that were of no use included."""
        return sum(fetcher.pulled for fetcher in list(self._fetchers))

    @property
    def here(self) -> int:
        """Bytes of the object that are in the part file, and right as far as can be known."""
        return sum(map(self._wanted.length, list(self._hashes)))

    @property
    def resumable(self) -> bool:
        """Whether what is here could be checked by the next one who takes it up."""
        return self._wanted.blocks is not None and self.condemned is None

    def adopt(self, progress: Callable[[int], None]) -> None:
        """Take what the part file holds already and the block list confirms; `progress` is given the bytes read."""
        view = memoryview(new_buffer())
        for block in range(self._wanted.count) if self._wanted.blocks else ():
            data = view[: self._wanted.length(block)]
            if not self._part.holds_data(block * BLOCK_SIZE, len(data)):
                continue
            progress(block * BLOCK_SIZE)
            if self._part.read_at(block * BLOCK_SIZE, data) == len(data):
                hashed = blake3(data).digest()
                if self._believable(block, hashed):
                    self._land(block, hashed)
        self._refused.clear()

    def run(self, progress: Callable[[int], None]) -> Fingerprint:
        """Fetch what is missing; `progress` is given the bytes that are here.

        Raises Unreachable when nothing moves, Damaged when a block comes differently each time, and what else the
        backend raises that trying again cannot mend.
        """
        # Twice as many as there are blocks, so that the last one can be hedged too.
        for _ in range(min(self._pace.connections, 2 * len(self._spans.missing))):
            threading.Thread(target=self._work, name="fetch", daemon=True).start()
        self._watch(progress)
        digest = self._frontier.finish(self._check)
        hashes = tuple(self._hashes[block] for block in range(self._wanted.count))
        return Fingerprint(digest, BlockList(self._wanted.size, hashes))

    def _watch(self, progress: Callable[[int], None]) -> None:
        # The caller's thread only waits, so that Ctrl-C is heard at once.
        left, pulled, moved = -1, 0, time.monotonic()
        while left:
            with self._turn:
                self._turn.wait_for(lambda: self._failure or not self._spans.missing, _TICK)
                self._check()
                before, left = left, len(self._spans.missing)
            if left != before:
                progress(self.here)
            if left != before or self.fetched - pulled >= _HEADWAY:
                pulled, moved = self.fetched, time.monotonic()
            elif time.monotonic() - moved > self._pace.timeout:
                raise self._stalled()

    def _check(self) -> None:
        if self._failure:
            raise self._failure

    def _work(self) -> None:
        try:
            fetcher = Fetcher(self._backend, self._wanted, self._arrive)
            self._fetchers.append(fetcher)
            while not self._stopping and self._spans.missing:
                span = self._take()
                if span:
                    self._fetch(span, fetcher)
                else:
                    time.sleep(_TICK)
        except BaseException as failure:
            with self._turn:
                self._failure = self._failure or failure
                self._turn.notify_all()

    def _take(self) -> Span | None:
        with self._turn:
            if not self._backend.properties.ranges:
                # Each range would cost all the bytes before it: one stream takes the rest.
                self._spans.longest = 0
            return self._spans.take(time.monotonic())

    def _fetch(self, span: Span, fetcher: Fetcher) -> None:
        failed = False
        try:
            fetcher.fetch(span, lambda: self._goes_on(span))
        except Unreachable as error:
            failed, self._last_error = True, error
        with self._turn:
            failures = 0 if self._stopping else self._spans.end(span, time.monotonic(), failed=failed)
        # A store that is down is waited for until the time-out: only damage is counted.
        if failures >= ATTEMPTS and not failed:
            raise self._never_the_same(span)

    def _goes_on(self, span: Span) -> bool:
        with self._turn:
            self._spans.move(span, time.monotonic())
            return not self._stopping and any(map(self._spans.wanted, range(span.first, span.end)))

    def _arrive(self, block: int, buffer: Buffer) -> Buffer:
        with memoryview(buffer) as view, view[: self._wanted.length(block)] as data:
            hashed = blake3(data).digest()
            if not self._claim(block, hashed):
                return buffer
            try:
                self._part.write_at(block * BLOCK_SIZE, data)
                self._part.start_writeback(block * BLOCK_SIZE, len(data))
            finally:
                with self._turn:
                    self._writing -= 1
                    self._turn.notify_all()
        return self._land(block, hashed, buffer) or buffer

    def _claim(self, block: int, hashed: bytes) -> bool:
        # A range and its hedge may bring a block at the same moment, and not the same bytes where no list tells: only
        # the first is written, so that what is hashed is what the file holds.
        with self._turn:
            if self._stopping or block in self._claimed or not self._spans.wanted(block):
                return False
            if not self._believable(block, hashed):
                return False
            self._claimed.add(block)
            self._writing += 1
            return True

    def _land(self, block: int, hashed: bytes, buffer: Buffer | None = None) -> Buffer | None:
        with self._turn:
            if not self._spans.land(block):
                return buffer
            self._hashes[block] = hashed
            self._turn.notify_all()
        return self._frontier.land(block, buffer)

    def _believable(self, block: int, hashed: bytes) -> bool:
        if not self._wanted.blocks or self.condemned is not None or self._wanted.blocks.hashes[block] == hashed:
            return True
        refused = self._refused.setdefault(block, [])
        refused.append(hashed)
        if refused.count(hashed) >= _EQUAL:
            # A fault on the way would hardly be the same so often: it is the list, or the object, that is wrong.
            self.condemned = block
            return True
        return False

    def _stalled(self) -> StoreError:
        reason = f": {self._last_error}" if self._last_error else ""
        return Unreachable(
            f"too little came from {self._backend.properties.url} for {self._pace.timeout:g} seconds{reason}",
            hint="run it again: it goes on from what came so far",
        )

    def _never_the_same(self, span: Span) -> StoreError:
        return Damaged(
            f"block {span.first} of {self._wanted.key} came damaged from {self._backend.properties.url}, "
            f"and differently each time ({ATTEMPTS} attempts)",
            hint="check the network and the server's memory",
        )
